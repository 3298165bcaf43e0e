"""Reads again, little by little, what stat calls unchanged. Invariant: only a difference in content is reported.

A write through a memory map, or one that put all times back, shows in no stat; so does a disk that forgets. What is
found differs from the last committed version, which the service still keeps. Source: docs/design/040 (scanning).
"""

from __future__ import annotations

from typing import Protocol

from satchel.core.errors import Fault
from satchel.core.ids import Nid
from satchel.core.limits import MIB
from satchel.device.hashing_files import read_file
from satchel.device.index.rows import LocalRow
from satchel.device.ports import Clock, DiskPath, FileSystem
from satchel.device.scanner.walk import is_unchanged
from satchel.device.tasks import SeenChanged

FILES_AT_ONCE = 500
PASS_DAYS = 100
STEPS_A_DAY = 96
STEP_EVERY_S = 24 * 3_600.0 / STEPS_A_DAY
STEP_BYTES_MAX = 256 * MIB


class KnownFiles(Protocol):
    """The files of the local tree in the order of their nids."""

    def files_after(self, after: Nid, limit: int) -> list[LocalRow]:
        """Return up to `limit` rows of files that are present, with a greater nid, in order."""
        ...

    def path_of(self, nid: Nid) -> DiskPath | None:
        """Return where a row was last seen."""
        ...


def share_of_a_pass(files: int) -> int:
    """Return how many files one step reads, so that a day's steps read about one in a hundred of `files`."""
    return max(1, min(FILES_AT_ONCE, -(-files // (PASS_DAYS * STEPS_A_DAY))))


async def verify_some(
    fs: FileSystem, known: KnownFiles, clock: Clock, *, after: Nid, budget_bytes: int, files_max: int = FILES_AT_ONCE
) -> tuple[list[SeenChanged], Nid | None]:
    """Read files after `after` until the budget is used up; at most `files_max` files (1 to 500), at least one.

    Result: what differs, and where to go on; None when all files were read. What changed by its stat too is left to
    the next scan, and what cannot be read to it as well.
    """
    facts: list[SeenChanged] = []
    rows = known.files_after(after, files_max)
    for row in rows:
        fact = await _verify(fs, known, clock, row)
        if fact is not None:
            facts.append(fact)
        budget_bytes -= row.stat.size
        if budget_bytes <= 0:
            return facts, row.nid
    return facts, rows[-1].nid if len(rows) == files_max else None


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
