"""The watched folders as a tree of watch numbers. Invariant: a renamed folder changes one entry and re-adds nothing.

A watch follows its folder, whatever name that has; so only each folder's own name and parent are kept, and a path is
put together when it is needed.
"""

from __future__ import annotations

from satchel.device.ports import ROOT_PATH, DiskPath, joined


class Watches:
    """Watch number to place, and back."""

    def __init__(self) -> None:
        self._place: dict[int, tuple[int, bytes]] = {}
        self._inside: dict[int, dict[bytes, int]] = {}
        self._inode: dict[int, int] = {}
        self.root = -1

    def __len__(self) -> int:
        return len(self._inside)

    def __contains__(self, number: object) -> bool:
        return number in self._inside

    def add_root(self, number: int) -> None:
        """Note the watch of the linked folder itself."""
        self.root = number
        self._inside.setdefault(number, {})

    def put(self, number: int, parent: int, name: bytes) -> None:
        """Note where a watched folder is. Another one that was noted there is at no known place then."""
        self._leave(number)
        other = self.find(parent, name)
        if other is not None:
            self._place.pop(other, None)
        self._place[number] = (parent, name)
        self._inside.setdefault(parent, {})[name] = number
        self._inside.setdefault(number, {})

    def note_inode(self, number: int, inode: int) -> None:
        """Note which folder a watch follows."""
        self._inode[number] = inode

    def inode(self, number: int) -> int | None:
        """Return which folder a watch follows, as far as that is known."""
        return self._inode.get(number)

    def inode_at(self, parent: int, name: bytes) -> int | None:
        """Return which folder is noted at a place."""
        number = self.find(parent, name)
        return None if number is None else self.inode(number)

    def find(self, parent: int, name: bytes) -> int | None:
        """Return the watch of a folder by its place."""
        return self._inside.get(parent, {}).get(name)

    def path(self, number: int) -> DiskPath | None:
        """Return the folder's path now, None when it or a folder above it is not watched any more."""
        names: list[bytes] = []
        while number != self.root:
            place = self._place.get(number)
            if place is None or len(names) > 4096:
                return None
            number = place[0]
            names.append(place[1])
        path = ROOT_PATH
        for name in reversed(names):
            path = joined(path, name)
        return path

    def depth(self, number: int) -> int:
        """Return how many folders are above it, as far as that is known."""
        depth = 0
        while number != self.root and number in self._place and depth <= 4096:
            number = self._place[number][0]
            depth += 1
        return depth

    def all(self) -> set[int]:
        """Return every watch."""
        return set(self._inside)

    def unit(self, number: int) -> list[int]:
        """Return the watch and all below it."""
        found = [number]
        for one in found:
            found += self._inside.get(one, {}).values()
        return found

    def remove(self, number: int) -> None:
        """Forget one watch."""
        self._leave(number)
        self._place.pop(number, None)
        self._inside.pop(number, None)
        self._inode.pop(number, None)

    def _leave(self, number: int) -> None:
        place = self._place.get(number)
        if place is not None and self._inside.get(place[0], {}).get(place[1]) == number:
            del self._inside[place[0]][place[1]]
