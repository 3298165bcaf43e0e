"""Compares all names of a folder with its rows at once: a look at everything finds nearly all as they were.

Invariant: a name that is left out here is one that a look at it alone would have found unchanged and not ignored.
Where that is not certain (two rows at one name, a row that this scan has placed, an ignored name) it is not left out.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from satchel.core.entries import Kind
from satchel.core.ids import Nid
from satchel.device.ignore import BUILT_IN_SIGNS, IGNORE_FILE, is_built_in
from satchel.device.index.rows import LocalRow
from satchel.device.ports import LISTED_AT_ONCE_MAX, Brief, DiskPath, FileSystem, Listed
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
    rows = _Rows(known, folder, placed)
    found = await fs.compare_folder(path, rows.of)
    names = {one.name for one in found.others}
    if IGNORE_FILE in names:
        return None
    names.update(name.encode() for name in rows.left())
    # Read after the listing, as what was made meanwhile has to be known by now.
    return Seen(found.others, known.all_named(folder, names) if names else [], found.folders, found.same)


class _Rows:
    """The rows of a folder, given out for the names that its listing brings."""

    def __init__(self, known: KnownTree, folder: Nid, placed: Collection[Nid]) -> None:
        self._known = known
        self._folder = folder
        self._placed = placed
        self._given: list[dict[str, Brief]] = []
        self._apart: set[str] = set()
        self._listed = array("q")
        """Hashes of the names that were listed, where they were too many for all rows at once."""

    def of(self, names: list[str]) -> dict[str, Brief]:
        """Return rows of the names; of a folder that is listed at once, all there are."""
        if not self._given and len(names) < LISTED_AT_ONCE_MAX:
            rows = self._known.briefs(self._folder)
        else:
            rows = self._known.briefs_named(self._folder, names)
            self._listed.extend(map(hash, names))
        expected = {row[0]: row for row in rows}
        apart = {name for name in expected if name[0] in _SIGNS and _is_special(name, expected[name])}
        if len(expected) < len(rows):
            apart.update(name for name, count in Counter(row[0] for row in rows).items() if count > 1)
        if self._placed:
            apart.update(row[0] for row in rows if row[5] in self._placed)
        for name in apart:
            del expected[name]
        self._apart |= apart
        self._given.append(expected)
        return expected

    def left(self) -> Iterator[str]:
        """Yield the names of rows that were not found as they say, that nothing was listed of, or that are odd."""
        yield from self._apart
        for expected in self._given:
            yield from expected
        if self._listed:
            listed = array("q", sorted(self._listed))
            for name in self._known.names(self._folder):
                at = bisect_left(listed, hash(name))
                if at == len(listed) or listed[at] != hash(name):
                    yield name


def _is_special(name: str, row: Brief) -> bool:
    return name == _IGNORE_FILE or is_built_in(name.encode(), is_folder=row[6] == Kind.FOLDER)
