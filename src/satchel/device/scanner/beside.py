"""Known folders that somebody else looks at beside a walk. Invariant: a folder that is told to be as it was is one that
a look here would have found so at that moment; whatever is not certain the walk looks at itself.

A look at everything finds nearly all as it was, and to say so needs nothing of what the walk has found so far. So the
walk gives away folders from the far end of its stack, some at a time, and gets back what is left of them. Source:
docs/adr/2026-11-29-two-look-at-a-large-folder.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from satchel.core.errors import Fault
from satchel.core.ids import Nid
from satchel.device.ignore import Scope
from satchel.device.ports import DiskPath, FileSystem, joined
from satchel.device.scanner.comparing import compare
from satchel.device.scanner.known import KnownTree
from satchel.device.scanner.looks import Look

FOLDERS_MAX = 64
"""So many are given at once."""
NAMES_MAX = 5_000
"""After so many names the rest goes back: nobody waits long for the other at the end."""
PLACED_MAX = 1_000
"""With more rows that this scan has reported elsewhere, it is no look that finds nearly all as it was."""


class Folder(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A known folder, and where it is."""

    nid: Nid
    path: DiskPath
    inode: int


class Looked(msgspec.Struct, array_like=True):
    """What became of the folders of one request.

    clean: folders of which every name is as it was; same: how many names that are. odd: those that the walk has to look
    at. rest: those that nobody has looked at; what is below a clean folder is among them, or was looked at too.
    """

    clean: list[Folder]
    same: int
    odd: list[Folder]
    rest: list[Folder]


class Looker(Protocol):
    """Looks at folders beside the walk. Requests are answered in their order. None of its calls raises."""

    @property
    def has_room(self) -> bool:
        """True when it takes another request."""
        ...

    def give(self, folders: Sequence[Folder]) -> None:
        """Let it look at these, and below them."""
        ...

    def answers(self, *, is_waited: bool) -> list[Looked]:
        """Return what was answered since. is_waited: wait for one, if any is due; a looker that is lost answers too."""
        ...


async def look_below(fs: FileSystem, known: KnownTree, folders: Iterable[Folder]) -> Looked:
    """Look at the folders and what is below them, as far as a request goes. Reads only."""
    looked = Looked([], 0, [], [])
    waiting = list(folders)
    while waiting and looked.same < NAMES_MAX:
        one = waiting.pop()
        try:
            seen = await compare(fs, known, folder=one.nid, path=one.path, placed=())
        except Fault:
            seen = None
        if seen is None or seen.listed or seen.rows:
            looked.odd.append(one)
            continue
        looked.clean.append(one)
        looked.same += seen.same
        down = [Folder(nid, joined(one.path, name.encode()), inode) for name, _, _, _, inode, nid, _ in seen.folders]
        waiting += sorted(down, key=lambda each: each.path, reverse=True)
    looked.rest = waiting
    return looked


def unlooked(folders: Iterable[Folder]) -> Looked:
    """Return the answer of a looker that is lost."""
    return Looked([], 0, list(folders), [])


class Shared:
    """The part of a walk that is done beside it. looker: None where nobody else looks."""

    def __init__(self, looker: Looker | None, known: KnownTree, placed: set[Nid]) -> None:
        self._looker = looker
        self._known = known
        self._placed = placed
        self._scopes: deque[Scope] = deque()
        """Of the requests that are not answered yet."""
        self._left: dict[Nid, Nid] = {}
        """Folders that rows which this scan has reported elsewhere were in, by row."""

    @property
    def is_due(self) -> bool:
        """True while an answer is awaited."""
        return bool(self._scopes)

    def exchange(self, stack: list[Look], *, is_waited: bool = False) -> int:
        """Give away the far end of the stack and take back what was answered. Result: names that are as they were."""
        if self._looker is None:
            return 0
        same = sum(self._take(stack, looked) for looked in self._looker.answers(is_waited=is_waited))
        while self._looker.has_room and len(self._placed) <= PLACED_MAX and (given := _far_end(stack)):
            scope = given[0].above
            assert scope is not None
            self._scopes.append(scope)
            self._looker.give([Folder(look.parent, look.path, look.inode) for look in given])  # type: ignore[arg-type]  # known ones
        return same

    def _take(self, stack: list[Look], looked: Looked) -> int:
        scope = self._scopes.popleft()
        stack[:0] = [_look(one, scope) for one in looked.rest]
        stack += [_look(one, scope, is_own=True) for one in looked.odd]
        for nid in self._placed.difference(self._left):
            row = self._known.local(nid)
            self._left[nid] = nid if row is None else row.parent
        left = set(self._left.values())
        # Rows that this scan has reported elsewhere: their names are to be looked at as new ones.
        stack += [_look(one, scope, is_own=True, is_deep=False) for one in looked.clean if one.nid in left]
        return looked.same


def _far_end(stack: list[Look]) -> list[Look]:
    """Take folders off the far end, at most half of what is there; none when it is not one that can be given away."""
    count = 0
    while (
        count < min(FOLDERS_MAX, len(stack) // 2) and _is_plain(stack[count]) and stack[count].above is stack[0].above
    ):
        count += 1
    given = stack[:count]
    del stack[:count]
    return given


def _is_plain(look: Look) -> bool:
    """True when a folder's names say all: it is a known one, looked at whole, under no rules of a person."""
    is_whole = look.names is None and look.is_deep and look.unsure is None
    return (
        is_whole
        and not look.is_own
        and isinstance(look.parent, int)
        and look.above is not None
        and not look.above.rules
    )


def _look(folder: Folder, scope: Scope, *, is_own: bool = False, is_deep: bool = True) -> Look:
    return Look(folder.nid, folder.path, folder.inode, is_deep=is_deep, above=scope, is_own=is_own)
