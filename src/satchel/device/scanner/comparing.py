"""Compares all names of a folder with its rows at once: a look at everything finds nearly all as they were.

Invariant: a name that is left out here is one that a look at it alone would have found unchanged and not ignored.
Where that is not certain (two rows at one name, a row that this scan has placed, an ignored name) it is not left out.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from satchel.core.entries import Kind
from satchel.core.ids import Nid
from satchel.device.ignore import BUILT_IN_SIGNS, IGNORE_FILE, is_built_in
from satchel.device.index.rows import LocalRow
from satchel.device.ports import Brief, DiskPath, FileSystem, Listed
from satchel.device.scanner.known import KnownTree

_SIGNS = BUILT_IN_SIGNS.decode()
_IGNORE_FILE = IGNORE_FILE.decode()


@dataclass(slots=True)
class Seen:
    """What a folder holds. listed, rows: names and rows to be compared one by one; rows hold two for a name that two
    are recorded at. folders: rows of folders that are as they were; same: how many names are.
    """

    listed: list[Listed]
    rows: list[LocalRow] = field(default_factory=list)
    folders: list[Brief] = field(default_factory=list)
    same: int = 0


async def compare(
    fs: FileSystem, known: KnownTree, *, folder: Nid, path: DiskPath, placed: Collection[Nid]
) -> Seen | None:
    """Return what is not as it was in a known folder; None when it has rules of its own, by which all has to be seen.

    placed: rows that this scan has reported elsewhere. Raises: as `FileSystem.list_folder`.
    """
    expected, apart = _expected(known.briefs(folder), placed)
    found = await fs.compare_folder(path, expected)
    names = {one.name for one in found.others}
    if IGNORE_FILE in names:
        return None
    names.update(name.encode() for name in itertools.chain(apart, expected))
    # Read after the listing, as what was made meanwhile has to be known by now.
    rows = known.all_named(folder, names) if names else []
    return Seen(found.others, rows, found.folders, found.same)


def _expected(rows: list[Brief], placed: Collection[Nid]) -> tuple[dict[str, Brief], set[str]]:
    """Return rows by name, and the names that must be looked at one by one."""
    expected = {row[0]: row for row in rows}
    apart = {name for name in expected if name[0] in _SIGNS and _is_special(name, expected[name])}
    if len(expected) < len(rows):
        apart.update(name for name, count in Counter(row[0] for row in rows).items() if count > 1)
    if placed:
        apart.update(row[0] for row in rows if row[5] in placed)
    for name in apart:
        del expected[name]
    return expected, apart


def _is_special(name: str, row: Brief) -> bool:
    return name == _IGNORE_FILE or is_built_in(name.encode(), is_folder=row[6] == Kind.FOLDER)
