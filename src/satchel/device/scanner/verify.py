"""Reads again, little by little, what stat calls unchanged. Invariant: only a difference in content is reported.

A write through a memory map, or one that put all times back, shows in no stat; so does a disk that forgets. What is
found differs from the last committed version, which the service still keeps. Source: docs/design/040 (scanning).
"""

from __future__ import annotations

from typing import Protocol

from satchel.core.errors import Fault
from satchel.core.ids import Nid
from satchel.device.hashing_files import read_file
from satchel.device.index.rows import LocalRow
from satchel.device.ports import Clock, DiskPath, FileSystem
from satchel.device.scanner.walk import is_unchanged
from satchel.device.tasks import SeenChanged

FILES_AT_ONCE = 500


class KnownFiles(Protocol):
    """The files of the local tree in the order of their nids."""

    def files_after(self, after: Nid, limit: int) -> list[LocalRow]:
        """Return up to `limit` rows of files that are present, with a greater nid, in order."""
        ...

    def path_of(self, nid: Nid) -> DiskPath | None:
        """Return where a row was last seen."""
        ...


async def verify_some(
    fs: FileSystem, known: KnownFiles, clock: Clock, *, after: Nid, budget_bytes: int
) -> tuple[list[SeenChanged], Nid | None]:
    """Read files after `after` until the budget is used up; at most 500 files, at least one.

    Result: what differs, and where to go on; None when all files were read. What changed by its stat too is left to
    the next scan, and what cannot be read to it as well.
    """
    facts: list[SeenChanged] = []
    rows = known.files_after(after, FILES_AT_ONCE)
    for row in rows:
        fact = await _verify(fs, known, clock, row)
        if fact is not None:
            facts.append(fact)
        budget_bytes -= row.stat.size
        if budget_bytes <= 0:
            return facts, row.nid
    return facts, rows[-1].nid if len(rows) == FILES_AT_ONCE else None


async def _verify(fs: FileSystem, known: KnownFiles, clock: Clock, row: LocalRow) -> SeenChanged | None:
    path = known.path_of(row.nid)
    if path is None:
        return None
    try:
        stat = await fs.stat(path)
        if stat is None or stat.kind is not row.kind or not is_unchanged(stat, row.stat):
            return None
        read = await read_file(fs, path, clock)
    except Fault:
        return None
    if read.content == row.content:
        return None
    return SeenChanged(row.nid, row.version, read.stat, read.content, read.blocks)
