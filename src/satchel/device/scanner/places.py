"""Where things are now: the index's tree, corrected by what this scan has already found out.

Invariant: each row is placed at most once in a scan, and a row's old place is asked of the disk before a move is
believed. Source: docs/design/040 (rule 3) and its rules for moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from satchel.core.entries import Kind
from satchel.core.errors import Fault
from satchel.core.ids import ROOT_NID, Nid
from satchel.device.index.rows import LocalRow
from satchel.device.ports import ROOT_PATH, DiskPath, FileSystem, Stat, joined
from satchel.device.scanner.known import KnownTree
from satchel.device.tasks import NewParent

CHAIN_ROWS_MAX = 64
"""A rotation of more names than this is taken as edits."""

Parent = Nid | NewParent


@dataclass(frozen=True, slots=True)
class Step:
    """`row` stands where `before` stood: at `path`, and looks like `stat`."""

    row: LocalRow
    before: LocalRow
    path: DiskPath
    stat: Stat


class Places:
    """Answers, for one scan, where a row is and which row a file on disk is."""

    def __init__(self, fs: FileSystem, known: KnownTree) -> None:
        self._fs = fs
        self._known = known
        self._folder_now: dict[Nid, DiskPath] = {}
        self._at: dict[DiskPath, Parent] = {}
        self._strange: set[int] = set()
        self.placed: set[Nid] = set()
        """Rows reported at a new place, as edited, unknown or gone: no other fact of this scan may claim them."""
        self.gone: set[Nid] = set()
        """Rows reported as gone before the end: what the index held below them is gone with them."""

    def folder_moved(self, nid: Nid, path: DiskPath) -> None:
        """Note that a known folder stands at `path` now."""
        self._folder_now[nid] = path
        self._at[path] = nid

    def folder_made(self, path: DiskPath, order: int) -> None:
        """Note that the folder at `path` is new in this scan."""
        self._at[path] = NewParent(order)

    def folder_at(self, path: DiskPath, known: Parent) -> Parent:
        """Return the folder that this scan found at `path`; `known` where it found nothing other than the index has."""
        return self._at.get(path, known)

    async def stat(self, path: DiskPath) -> Stat | None:
        """Return the stat; None when nothing is there or it cannot be told."""
        try:
            return await self._fs.stat(path)
        except Fault:
            return None

    async def standing(self, path: DiskPath) -> tuple[Nid, Stat] | None:
        """Return the known folder that stands at `path`; None when nothing does, or another than the index knows."""
        nid = ROOT_NID
        row: LocalRow | None = None
        at = ROOT_PATH
        for name in path.split(b"/") if path else ():
            at = joined(at, name)
            noted = self._at.get(at)
            if isinstance(noted, NewParent):
                return None
            row = self._known.local(noted) if noted is not None else self._known.find(nid, name)
            if row is None or row.kind is not Kind.FOLDER or (noted is None and row.nid in self.placed):
                return None
            nid = row.nid
        stat = await self.stat(path)
        if stat is None or (path and stat.kind is not Kind.FOLDER):
            return None
        if row is not None and path not in self._at and not is_identity(stat, row.stat):
            return None
        return nid, stat

    def path_now(self, row: LocalRow) -> DiskPath | None:
        """Return where the row would stand if only folders had moved."""
        names = [row.name]
        parent = row.parent
        while parent != ROOT_NID and parent not in self._folder_now:
            above = self._known.local(parent)
            if above is None:
                return None
            names.append(above.name)
            parent = above.parent
        path = ROOT_PATH if parent == ROOT_NID else self._folder_now[parent]
        for name in reversed(names):
            path = joined(path, name)
        return path

    def expect(self, stats: Sequence[Stat]) -> None:
        """Find out at once which of these files no row was ever seen as; it holds until the next call."""
        inodes = {stat.inode for stat in stats}
        self._strange = inodes - self._known.inodes_of(inodes) if inodes else set()

    def row_of(self, stat: Stat, *, but: Nid | None = None) -> LocalRow | None:
        """Return the known row that this file on disk is, by inode and birth time, unless it is placed already."""
        if stat.inode in self._strange:
            return None
        for row in self._known.by_identity(stat.inode, stat.birth_ns):
            if row.kind is not stat.kind or row.nid in self.placed or row.nid == but or self._is_below_gone(row):
                continue
            # Without birth times an inode may have been used again; then size and mtime must speak for it too.
            if not stat.birth_ns and stat.kind is Kind.FILE and not row.stat.same_file(stat):
                continue
            return row
        return None

    def _is_below_gone(self, row: LocalRow) -> bool:
        above: LocalRow | None = row if self.gone else None
        while above is not None and above.parent not in self.gone:
            above = self._known.local(above.parent)
        return above is not None

    async def moved_folder(self, stat: Stat) -> LocalRow | None:
        """Return the known folder that this folder is, when its old place does not hold it any more."""
        row = self.row_of(stat)
        if row is None:
            return None
        old = self.path_now(row)
        there = None if old is None else await self.stat(old)
        return None if there is not None and is_identity(there, row.stat) else row

    async def moved_file(self, stat: Stat) -> tuple[LocalRow, list[Step]] | None:
        """Return the known row that a file at a new name is, and the rows that moved up behind it.

        None when it is new: no row, a second name of a file that still stands, or a row whose place something new has
        taken (an editor's save: the row stays there).
        """
        row = self.row_of(stat)
        if row is None:
            return None
        steps: list[Step] = []
        last = row
        while len(steps) < CHAIN_ROWS_MAX:
            old = self.path_now(last)
            there = None if old is None else await self.stat(old)
            if old is None or there is None:
                return row, steps
            if is_identity(there, last.stat):
                return None
            if there.kind is not last.kind:
                # A folder where a file was continues nothing.
                return row, steps
            occupant = self.row_of(there)
            if occupant is not None and occupant.nid != last.nid and self.path_now(occupant) == old:
                # Recorded there already, beside the row that left.
                return row, steps
            if occupant is None or occupant.nid == row.nid or any(step.row.nid == occupant.nid for step in steps):
                return None
            steps.append(Step(occupant, last, old, there))
            last = occupant
        return None

    async def cycle(self, row: LocalRow) -> list[Step]:
        """Return the steps of a closed exchange of known nodes that `row` is part of; empty when there is none."""
        steps: list[Step] = []
        last = row
        while len(steps) < CHAIN_ROWS_MAX:
            old = self.path_now(last)
            there = None if old is None else await self.stat(old)
            occupant = None if there is None else self.row_of(there)
            if old is None or there is None or occupant is None or any(step.row.nid == occupant.nid for step in steps):
                return []
            steps.append(Step(occupant, last, old, there))
            if occupant.nid == row.nid:
                return steps if len(steps) > 1 else []
            last = occupant
        return []


def is_identity(one: Stat, other: Stat) -> bool:
    """True for the same file at two moments: inode and birth time, where the volume has one."""
    return (one.kind, one.inode, one.birth_ns) == (other.kind, other.inode, other.birth_ns)
