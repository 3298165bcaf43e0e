"""A small index in memory for the scanner's tests: it holds the local tree and takes the scanner's facts.

It is strict: a fact about an old version, a parent nobody knows, or two nodes with one name are the scanner's mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import msgspec

from satchel.core.entries import Kind
from satchel.core.hashing import packed_content_hash
from satchel.core.ids import ROOT_NID, Nid
from satchel.device.index.rows import LocalRow
from satchel.device.ports import ROOT_PATH, Brief, DiskPath, joined
from satchel.device.tasks import LocalFact, NewParent, SeenChanged, SeenGone, SeenMoved, SeenNew, SeenUnknown


class KnownModel:
    """The local tree, by nid."""

    def __init__(self) -> None:
        self.rows: dict[Nid, LocalRow] = {}
        self.unknown: set[Nid] = set()
        self.shared: set[Nid] = set()
        self._next = 1

    # -- what the scanner reads ---------------------------------------------------------------------------------------

    def children(self, nid: Nid) -> list[LocalRow]:
        return [row for row in self.rows.values() if row.parent == nid]

    def briefs(self, nid: Nid) -> list[Brief]:
        return [
            (row.name.decode(), stat.ctime_ns, stat.mtime_ns, stat.size, stat.inode, row.nid, int(row.kind))
            for row in self.children(nid)
            for stat in (row.stat,)
        ]

    def briefs_named(self, parent: Nid, names: Iterable[str]) -> list[Brief]:
        wanted = set(names)
        return [row for row in self.briefs(parent) if row[0] in wanted]

    def names(self, nid: Nid) -> Iterator[str]:
        return (row.name.decode() for row in self.children(nid))

    def all_named(self, parent: Nid, names: Iterable[bytes]) -> list[LocalRow]:
        wanted = set(names)
        return [row for row in self.children(parent) if row.name in wanted]

    def holds(self, rows: int) -> bool:
        return len(self.rows) >= rows

    def mounts(self) -> frozenset[Nid]:
        return frozenset(self.shared)

    def find(self, parent: Nid, name: bytes) -> LocalRow | None:
        return next((row for row in self.rows.values() if (row.parent, row.name) == (parent, name)), None)

    def named(self, parent: Nid, name: bytes) -> list[LocalRow]:
        return [row for row in self.rows.values() if (row.parent, row.name) == (parent, name)]

    def by_identity(self, inode: int, birth_ns: int) -> list[LocalRow]:
        return [row for row in self.rows.values() if (row.stat.inode, row.stat.birth_ns) == (inode, birth_ns)]

    def inodes_of(self, inodes: Iterable[int]) -> set[int]:
        return {row.stat.inode for row in self.rows.values()} & set(inodes)

    def local(self, nid: Nid) -> LocalRow | None:
        return self.rows.get(nid)

    def path_of(self, nid: Nid) -> DiskPath | None:
        path = b""
        while nid != ROOT_NID:
            row = self.rows.get(nid)
            if row is None:
                return None
            path = row.name + (b"/" + path if path else b"")
            nid = row.parent
        return DiskPath(path)

    def files_after(self, after: Nid, limit: int) -> list[LocalRow]:
        rows = [row for nid, row in sorted(self.rows.items()) if nid > after and row.kind is Kind.FILE]
        return [row for row in rows if row.nid not in self.unknown][:limit]

    # -- what the scanner found ---------------------------------------------------------------------------------------

    def take(self, facts: Iterable[LocalFact]) -> None:
        """Record the facts of one scan, in order."""
        made: dict[int, Nid] = {}
        for fact in facts:
            match fact:
                case SeenNew():
                    self._take_new(fact, made)
                case SeenChanged():
                    row = self._row(fact.nid, fact.base)
                    self._keep(replace(row, content=_content(fact, row)), fact)
                case SeenMoved():
                    row = self._row(fact.nid, fact.base)
                    place = replace(row, parent=self._parent(fact.parent, made), name=fact.name)
                    self._keep(replace(place, content=_content(fact, row)), fact)
                case SeenGone():
                    self._drop(self._row(fact.nid, fact.base).nid)
                case SeenUnknown():
                    self._take_unknown(fact)
        places = [(row.parent, row.name) for row in self.rows.values()]
        assert len(places) == len(set(places)), "two nodes have one name"

    def _take_new(self, fact: SeenNew, made: dict[int, Nid]) -> None:
        nid = Nid(self._next)
        self._next += 1
        assert fact.stat.kind is not None
        if fact.stat.kind is Kind.FILE:
            assert packed_content_hash(fact.blocks) == fact.content
        parent = self._parent(fact.parent, made)
        made[fact.order] = nid
        self.rows[nid] = LocalRow(nid, parent, fact.name, fact.stat.kind, fact.stat, fact.content, 1)

    def _take_unknown(self, fact: SeenUnknown) -> None:
        if fact.nid is None:
            return
        row = self.rows[fact.nid]
        self.unknown.add(fact.nid)
        self.rows[fact.nid] = replace(row, stat=msgspec.structs.replace(row.stat, ctime_ns=0), version=row.version + 1)

    def _row(self, nid: Nid, base: int) -> LocalRow:
        row = self.rows[nid]
        assert row.version == base, "the fact is about another version"
        return row

    def _keep(self, row: LocalRow, fact: SeenChanged | SeenMoved) -> None:
        self.unknown.discard(row.nid)
        self.rows[row.nid] = replace(row, stat=fact.stat, version=row.version + 1)

    def _parent(self, parent: Nid | NewParent, made: dict[int, Nid]) -> Nid:
        nid = made[parent.order] if isinstance(parent, NewParent) else parent
        assert nid == ROOT_NID or self.rows[nid].kind is Kind.FOLDER
        return nid

    def _below(self, nid: Nid) -> list[Nid]:
        found = [row.nid for row in self.rows.values() if row.parent == nid]
        for child in list(found):
            found += self._below(child)
        return found

    def _drop(self, nid: Nid) -> None:
        for gone in [nid, *self._below(nid)]:
            self.unknown.discard(gone)
            del self.rows[gone]

    # -- what a test asks ---------------------------------------------------------------------------------------------

    def nid_at(self, path: str) -> Nid:
        """Return the row at a path; it must be there."""
        nid = ROOT_NID
        for name in path.encode().split(b"/"):
            row = self.find(nid, name)
            assert row is not None, path
            nid = row.nid
        return nid

    def tree(self) -> dict[DiskPath, tuple[Kind, bytes]]:
        """Return every path with its kind and content; what is unknown is left out with all below it."""
        found: dict[DiskPath, tuple[Kind, bytes]] = {}
        waiting = [(ROOT_NID, ROOT_PATH)]
        while waiting:
            nid, path = waiting.pop()
            for row in self.children(nid):
                if row.nid in self.unknown:
                    continue
                place = joined(path, row.name)
                found[place] = (row.kind, row.content)
                waiting.append((row.nid, place))
        return found


def _content(fact: SeenChanged | SeenMoved, row: LocalRow) -> bytes:
    if row.kind is Kind.FILE and (fact.blocks or fact.content != row.content):
        assert packed_content_hash(fact.blocks) == fact.content
    return fact.content
