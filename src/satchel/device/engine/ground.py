"""Which places of the linked folder are being changed: no folder moves under what is being placed in it.

Invariant: of two tasks under way at once none moves or trashes a folder that a path of the other leads through. A path
is told when a task is handed out; one that led through a folder on the move would end in whatever has its name by then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from satchel.device.ports import DiskPath


@dataclass(frozen=True, slots=True)
class Steps:
    """What a task touches. paths: all of it; shaken: those of folders that move or go, old and new."""

    paths: tuple[DiskPath, ...]
    shaken: tuple[DiskPath, ...] = ()


class Ground:
    """The steps of all batches under way, by batch number."""

    def __init__(self) -> None:
        self._held: dict[int, list[Steps]] = {}
        self._led_through: Counter[bytes] = Counter()
        self._shaken: Counter[bytes] = Counter()

    def is_taken(self, steps: Steps) -> bool:
        """Tell whether these steps must wait for some that are under way."""
        if self._shaken and any(above in self._shaken for path in steps.paths for above in _above(path)):
            return True
        return any(path in self._led_through for path in steps.shaken)

    def enter(self, number: int, steps: Steps) -> None:
        """The steps are under way from now on, in this batch."""
        self._held.setdefault(number, []).append(steps)
        self._led_through.update(_all_above(steps.paths))
        self._shaken.update(steps.shaken)

    def leave(self, number: int) -> None:
        """The batch is over."""
        for steps in self._held.pop(number, ()):
            self._led_through.subtract(_all_above(steps.paths))
            self._shaken.subtract(steps.shaken)
        self._led_through = +self._led_through
        self._shaken = +self._shaken


def _all_above(paths: Iterable[DiskPath]) -> Iterator[bytes]:
    for path in paths:
        yield from _above(path)


def _above(path: DiskPath) -> Iterator[bytes]:
    end = path.rfind(b"/")
    while end > 0:
        yield path[:end]
        end = path.rfind(b"/", 0, end)
