"""Which points are done and how they went: JSON lines, appended as each ends, read again at the next start.

Invariant: a line is whole or is not counted; the last line about a point is what holds.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Collection, Sequence
from pathlib import Path


class Ledger:
    """The ledger of one driver. path: made with its folder when missing."""

    def __init__(self, path: Path, *, is_fresh: bool = False) -> None:
        self._path = path
        self._points: dict[str, tuple[str, list[str]]] = {}
        self._complete: dict[str, int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_fresh:
            path.unlink(missing_ok=True)
        if path.exists():
            for line in path.read_text().splitlines():
                self._take(line)

    def _take(self, line: str) -> None:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            # A run that was stopped while it wrote.
            return
        if "complete" in row:
            self._complete[row["complete"]] = row["calls"]
        else:
            self._points[row["point"]] = (row["how"], row["wrong"])

    def _write(self, row: dict[str, object]) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def has(self, point: str) -> bool:
        """True when the point is done."""
        return point in self._points

    def add(self, point: str, how: str, wrong: Sequence[str]) -> None:
        """Note how a point went."""
        self._points[point] = (how, list(wrong))
        self._write({"point": point, "how": how, "wrong": list(wrong)})

    def complete(self, scenario: str, calls: int) -> None:
        """Note that all points of a scenario are done. calls: how many calls it makes."""
        self._complete[scenario] = calls
        self._write({"complete": scenario, "calls": calls})

    def is_complete(self, scenario: str) -> bool:
        """True when no point of the scenario is left."""
        return scenario in self._complete

    def _counts(self, scenarios: Collection[str]) -> collections.Counter[str]:
        return collections.Counter(how for point, (how, _) in self._points.items() if point.split("|")[0] in scenarios)

    def failed(self) -> list[str]:
        """Return the points that did not hold."""
        return [point for point, (how, _) in self._points.items() if how == "failed"]

    def line_of(self, scenario: str, what: str = "calls") -> str:
        """Return one line about a scenario. what: of which it makes so many."""
        counts = self._counts((scenario,))
        return f"{scenario:44} {self._complete.get(scenario, 0):4} {what}, {_told(counts)}"

    def total(self, asked: Collection[str]) -> str:
        """Return the line that sums up the scenarios that were asked for."""
        complete = sum(each in self._complete for each in asked)
        return f"{complete} of {len(asked)} scenarios complete: {_told(self._counts(asked))}"


def _told(counts: collections.Counter[str]) -> str:
    points = sum(counts.values())
    held = counts["held"]
    share = f"{100 * held / points:.2f} %" if points else "-"
    rest = "".join(f", {count} {how}" for how, count in sorted(counts.items()) if how != "held")
    return f"{held} of {points} points recovered ({share}){rest}"
