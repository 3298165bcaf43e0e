"""Figures of a run: a table for people, JSON lines for programs, and unit costs for `make capacity`."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypedDict

from bench.load.loops import Sample

RESULTS = "build/load.jsonl"
UNIT_COSTS = "build/load.json"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure. value: what was reached, in `unit`; offered: the open load, in the same unit; limit: what the bare
    operation reached, named by limit_of.

    cpu_us: of the service's process, for one of `unit`'s things (or one of `each`); database_cpu_us, object_cpu_us: of
    the servers behind it; p50_ms and on: from when a request was due.
    """

    stack: str
    name: str
    value: float
    unit: str
    offered: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    limit: float = 0.0
    limit_of: str = ""
    target: str = ""
    cpu_us: float = 0.0
    database_cpu_us: float = 0.0
    object_cpu_us: float = 0.0
    each: str = ""
    note: str = ""

    @property
    def ratio(self) -> float:
        """Return the share of the limit that was reached; 0 without one."""
        return self.value / self.limit if self.limit else 0.0


@dataclass(slots=True)
class Report:
    """All figures of a run, and where it ran."""

    facts: dict[str, object]
    figures: list[Figure] = field(default_factory=list)

    def add(self, figure: Figure) -> None:
        """Take a figure and print its line."""
        self.figures.append(figure)
        print(line_of(figure), flush=True)

    def write(self, folder: Path) -> None:
        """Write both files below `folder`, which is made."""
        results, costs = folder / RESULTS, folder / UNIT_COSTS
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text("".join(json.dumps(asdict(figure)) + "\n" for figure in self.figures))
        source = {name: self.facts[name] for name in ("command", "date", "machine")}
        found = {name: {"value": held, "unit": unit, "source": source} for name, (held, unit) in self._costs().items()}
        costs.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")

    def _costs(self) -> dict[str, tuple[float, str]]:
        costs: dict[str, tuple[float, str]] = {}
        for figure in self.figures:
            key = f"{figure.stack}.{figure.name}".replace(" ", "_").replace(",", "")
            costs[f"{key}.value"] = (_short(figure.value), figure.unit)
            each = figure.each or figure.unit.removesuffix("/s").removesuffix("s")
            for part in ("cpu_us", "database_cpu_us", "object_cpu_us"):
                if value := getattr(figure, part):
                    costs[f"{key}.{part}"] = (_short(value), f"µs of CPU a {each}")
        return costs


HEAD = (
    f"{'stack':9} {'what':34} {'reached':>10} {'unit':12} {'at load':>9} {'p50 ms':>8} {'p99':>8} {'p99.9':>8}"
    f" {'CPU µs':>8} {'db':>7} {'objects':>7} {'of limit':>8}  limit, target, note"
)


def line_of(figure: Figure) -> str:
    """Return a row of the table."""
    bare = f"{_plain(figure.limit)} {figure.limit_of}" if figure.limit else ""
    told = "; ".join(part for part in (bare, figure.target and f"target {figure.target}", figure.note) if part)
    times = [f"{value:8.1f}" if figure.p50_ms else " " * 8 for value in (figure.p50_ms, figure.p99_ms, figure.p999_ms)]
    cpu = [_plain(value) if value else "" for value in (figure.cpu_us, figure.database_cpu_us, figure.object_cpu_us)]
    return (
        f"{figure.stack:9} {figure.name:34} {_plain(figure.value):>10} {figure.unit:12}"
        f" {_plain(figure.offered) if figure.offered else '':>9} {' '.join(times)} {cpu[0]:>8} {cpu[1]:>7} {cpu[2]:>7}"
        f" {f'{figure.ratio:.0%}' if figure.limit else '':>8}  {told}"
    )


class Times(TypedDict):
    """The percentiles of a sample, by the names that `Figure` has for them."""

    p50_ms: float
    p99_ms: float
    p999_ms: float


def times_of(sample: Sample) -> Times:
    """Return the percentiles of a sample."""
    return {
        "p50_ms": _short(sample.percentile_ms(50)),
        "p99_ms": _short(sample.percentile_ms(99)),
        "p999_ms": _short(sample.percentile_ms(99.9)),
    }


def machine() -> str:
    """Return what the figures were taken on, in one line."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = models[0] if models else platform.machine()
    return f"{len(os.sched_getaffinity(0))} cores of {name}, {memory_gib:.0f} GiB, Linux {platform.release()}"


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
