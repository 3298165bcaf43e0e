"""The hints of one scan, by folder. Invariant: a hint is dropped only when a look at its folder has covered it."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

from satchel.core.ids import Nid
from satchel.device.ports import ROOT_PATH, DiskPath, Hint, split
from satchel.device.scanner.places import Places

NAMES_MAX = 64
"""With more names than this in one folder, the folder is listed instead."""

Names = frozenset[bytes] | None


def _depth(path: DiskPath) -> int:
    return path.count(b"/") + 1 if path else 0


class Hints:
    """What is still to be looked at, each folder once."""

    def __init__(self, hints: Iterable[Hint]) -> None:
        self._waiting: dict[DiskPath, tuple[Names, bool]] = {}
        self._order: deque[DiskPath] = deque()
        self._stood: dict[DiskPath, Nid] = {}
        for hint in hints:
            self._add(hint.folder, hint.names, is_deep=hint.is_deep)

    def _add(self, folder: DiskPath, names: Names, *, is_deep: bool) -> None:
        self._waiting[folder] = self._merged(folder, names, is_deep=is_deep)

    def _merged(self, folder: DiskPath, names: Names, *, is_deep: bool) -> tuple[Names, bool]:
        waiting = self._waiting.get(folder)
        if waiting is not None:
            names = None if names is None or waiting[0] is None else names | waiting[0]
            is_deep = is_deep or waiting[1]
        return (None if names is None or len(names) > NAMES_MAX else names), is_deep

    async def lift(self, places: Places) -> None:
        """Let every hint of a folder that does not stand where the index has it be preceded by one in its parent.

        There the folder shows as new, moved, replaced or gone; its own hint waits until it is looked at.
        """
        heap = [(-_depth(path), path) for path in self._waiting]
        heapq.heapify(heap)
        while heap:
            _, path = heapq.heappop(heap)
            standing = None if path == ROOT_PATH else await places.standing(path)
            if standing is not None:
                self._stood[path] = standing[0]
            if path == ROOT_PATH or standing is not None:
                continue
            folder, name = split(path)
            if folder not in self._waiting:
                heapq.heappush(heap, (-_depth(folder), folder))
            self._add(folder, frozenset((name,)), is_deep=False)
        self._order.extend(sorted(self._waiting, key=lambda path: (_depth(path), path)))

    def next_folder(self) -> DiskPath | None:
        """Return the next folder with a waiting hint, those above first; None when none waits."""
        while self._order:
            if self._order[0] in self._waiting:
                return self._order[0]
            self._order.popleft()
        return None

    def take(self, folder: DiskPath, names: Names, *, is_deep: bool) -> tuple[Names, bool]:
        """Take the folder's hint off and return what is to be looked at there, with what is looked at anyway."""
        merged = self._merged(folder, names, is_deep=is_deep)
        self._waiting.pop(folder, None)
        return merged

    def put_off(self, folder: DiskPath) -> Nid | None:
        """Pass over a hint whose folder is not there; it is taken when the folder is found after all, or never.

        Result: the folder, if it stood there when the hints were lifted: its parent is not looked at for it.
        """
        assert self._order[0] == folder
        self._order.popleft()
        return self._stood.pop(folder, None)

    def follow(self, old: DiskPath | None, new: DiskPath) -> None:
        """Take the hints at and below a moved folder's old place for its new one too, and look at those there again.

        A hint tells of a path as it was at one moment of many: what is hinted at the old place may be meant for what
        stands there now, and what is hinted at the new one for what has just been found to stand there.
        """
        for path in self._below(old) if old is not None else ():
            names, is_deep = self._waiting[path]
            self._add(DiskPath(new + path[len(old or b"") :]), names, is_deep=is_deep)
        self._order.extend(self._below(new))

    def _below(self, folder: DiskPath) -> list[DiskPath]:
        """Return what waits at or below a folder, those above first."""
        found = [path for path in self._waiting if path == folder or path.startswith(folder + b"/")]
        return sorted(found, key=lambda path: (_depth(path), path))
