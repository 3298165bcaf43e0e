"""Figures as Prometheus reads them. Invariant: counting is an addition to a plain number; text is made when asked for.

No label holds what a person, a device or a stored thing is called: labels come from fixed lists, and what is on none of
them is `other`. Source: the Prometheus text format 0.0.4; docs/adr/2026-11-29-metrics-without-a-library.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the parts of a histogram of times."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SERIES_MAX = 2_000
"""So many series of one metric are shown: more would be a label that should not be one."""

_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


@dataclass(frozen=True, slots=True)
class Metric:
    """One name that is served. help: what it says, with its unit; labels: their names, in order."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


class Histogram:
    """How many values fell into which part, and their sum."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._counts)

    def quantile(self, part: float) -> float:
        """Return the bound below which this part of the values lies, as exactly as the bounds are; 0 without values."""
        wanted, below = part * self.count, 0
        for bound, count in zip((*self._bounds, self._bounds[-1]), self._counts, strict=True):
            below += count
            if count and below >= wanted:
                return bound
        return 0.0

    def parts(self) -> Iterator[tuple[str, int]]:
        """Yield each upper bound with how many values were not above it."""
        below = 0
        for bound, count in zip((*self._bounds, None), self._counts, strict=True):
            below += count
            yield "+Inf" if bound is None else f"{bound:g}", below


Labels = tuple[str, ...]
Series = Mapping[Labels, float | Histogram]
"""Values by the values of the metric's labels; `()` where it has none."""


def rendered(found: Iterable[tuple[Metric, Series]]) -> bytes:
    """Return the text of these metrics, in their order. One without a value is named all the same."""
    lines: list[str] = []
    for metric, series in found:
        lines.append(f"# HELP {metric.name} {metric.help}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for values in sorted(series)[:SERIES_MAX]:
            value = series[values]
            labels = [f'{name}="{text.translate(_ESCAPED)}"' for name, text in zip(metric.labels, values, strict=True)]
            if isinstance(value, Histogram):
                for bound, count in value.parts():
                    limit = f'le="{bound}"'
                    lines.append(f"{metric.name}_bucket{_braced([*labels, limit])} {count}")
                lines.append(f"{metric.name}_sum{_braced(labels)} {value.sum!r}")
                lines.append(f"{metric.name}_count{_braced(labels)} {value.count}")
            else:
                lines.append(f"{metric.name}{_braced(labels)} {value!r}")
    return ("\n".join(lines) + "\n").encode()


def _braced(labels: Sequence[str]) -> str:
    return "{" + ",".join(labels) + "}" if labels else ""
