"""What the scanner has to know of the index. Invariant: reads only, and only rows whose local side is present."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from satchel.core.ids import Nid
from satchel.device.index.rows import LocalRow
from satchel.device.ports import Brief, DiskPath


class KnownTree(Protocol):
    """The local tree as it was last recorded. `index.reader.IndexReader` is one. Calls are cheap and synchronous."""

    def children(self, nid: Nid) -> list[LocalRow]:
        """Return the rows in a folder, in any order."""
        ...

    def briefs(self, nid: Nid) -> list[Brief]:
        """Return what the rows in a folder say, in any order; an unknown one says ctime 0."""
        ...

    def briefs_named(self, parent: Nid, names: Iterable[str]) -> list[Brief]:
        """Return what the rows of exactly these names in a folder say, as `briefs` does."""
        ...

    def names(self, nid: Nid) -> Iterator[str]:
        """Yield the names of the rows in a folder, one by one."""
        ...

    def all_named(self, parent: Nid, names: Iterable[bytes]) -> list[LocalRow]:
        """Return all rows of exactly these names in a folder, as `named` does."""
        ...

    def holds(self, rows: int) -> bool:
        """Return whether there are so many rows; no more are looked at."""
        ...

    def find(self, parent: Nid, name: bytes) -> LocalRow | None:
        """Return the row of exactly this name in a folder."""
        ...

    def named(self, parent: Nid, name: bytes) -> list[LocalRow]:
        """Return all rows of exactly this name: two, when the move of one is not recorded yet."""
        ...

    def by_identity(self, inode: int, birth_ns: int) -> list[LocalRow]:
        """Return the rows last seen as this file: several for hard links."""
        ...

    def inodes_of(self, inodes: Iterable[int]) -> set[int]:
        """Return those of the inodes that any row was last seen with."""
        ...

    def local(self, nid: Nid) -> LocalRow | None:
        """Return one row."""
        ...

    def mounts(self) -> frozenset[Nid]:
        """Return the folders that are shared ones: another link looks at what is in them."""
        ...

    def path_of(self, nid: Nid) -> DiskPath | None:
        """Return where a row was last seen."""
        ...
