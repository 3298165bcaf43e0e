"""Moves a file or a whole folder to the local trash, and puts back what the plan did not know of.

Invariant: a unit is taken away in one rename and only then looked into, so nobody can add to it unseen. Until it was
looked into it stands in staging, from where a restart returns it. Source: docs/design/040, rule 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from satchel.core.entries import Kind
from satchel.core.errors import Fault, FileChanging, NameTaken, NotFound
from satchel.device.applier.hands import Hands, is_same_moved
from satchel.device.applier.names import numbered_names, precious_name
from satchel.device.ports import DiskPath, FileSystem, Listed, Stat, joined, split
from satchel.device.tasks import Applied, Changed, DiskResult, TrashUnit

JUNK_NAMES = frozenset({b".DS_Store", b"Thumbs.db", b"desktop.ini"})
"""Left by file managers in any folder they show. They go to the trash with it and bring no folder back."""


class _Taken(Protocol):
    """A unit that was taken away, in staging or in the trash."""

    async def list(self, below: bytes) -> list[Listed]: ...

    async def restore(self, below: bytes, path: DiskPath) -> Stat: ...


class _InStaging:
    def __init__(self, fs: FileSystem, name: str) -> None:
        self._fs = fs
        self._name = name

    async def list(self, below: bytes) -> list[Listed]:
        return await self._fs.list_staged(self._name, below)

    async def restore(self, below: bytes, path: DiskPath) -> Stat:
        return await self._fs.restore_staged(self._name, path, below)


class _InTrash:
    def __init__(self, fs: FileSystem, name: str) -> None:
        self._fs = fs
        self._name = name

    async def list(self, below: bytes) -> list[Listed]:
        return await self._fs.list_trashed(self._name, below)

    async def restore(self, below: bytes, path: DiskPath) -> Stat:
        return await self._fs.restore_trashed(self._name, below, path)


async def trash_unit(hands: Hands, task: TrashUnit) -> DiskResult:
    """Move the unit to the trash and put back what is in it unexpectedly. Raises: faults; nothing changed."""
    expected = task.members[b""]
    if task.twin is not None:
        where, planned = task.twin
        there = await hands.fs.stat(where)
        if there is None or not there.is_as_planned(planned):
            return Changed((task.path, where), "the equal file that was to take its place is not as it was planned on")
    seen = await hands.fs.stat(task.path)
    if seen is None or not seen.is_as_planned(expected):
        return Changed((task.path,), "what is to be deleted is not as it was planned on")
    staged = precious_name("t", hands.random(), split(task.path)[1])
    try:
        taken = await hands.fs.set_aside(task.path, staged, expected)
    except FileChanging:
        return Changed((task.path,), "it was changed just before it was deleted")
    except NotFound:
        return Changed((task.path,), "what is to be deleted is gone")
    hands.touched.left(task.path)
    if not is_same_moved(taken, expected):
        path, _ = await hands.restore_staged(staged, _again(hands, task.path))
        return Changed((task.path, path), "it was changed just before it was deleted")
    put_back: list[DiskPath] = []
    if expected.kind == Kind.FOLDER:
        try:
            await _put_back(hands, _InStaging(hands.fs, staged), task, put_back)
        except Fault:
            # The disk refuses: the rest goes back whole, so that nothing that was not looked at is hidden.
            path, _ = await hands.restore_staged(staged, _again(hands, task.path))
            return Changed((task.path, path, *put_back), "it could not be looked through before it was deleted")
    if put_back:
        # What was put back must be safe there before the unit, in which it durably stood, is out of recovery's sight.
        await hands.touched.sync(hands.fs)
    try:
        trashed = await hands.fs.trash_staged(staged, task.trashed)
    except Fault:
        # Left in staging it would come back at the next start, when its absence had long been taken for the deletion.
        await hands.restore_staged(staged, _again(hands, task.path))
        raise
    hands.touched.trashed()
    return Applied((), trashed=trashed, put_back=(task.path, *put_back) if put_back else ())


async def look_again(hands: Hands, task: TrashUnit, trashed: str) -> tuple[DiskPath, ...]:
    """Walk a unit in the trash once more, for what a late writer added to it, and put that back. Result: the paths."""
    if task.members[b""].kind != Kind.FOLDER:
        return ()
    put_back: list[DiskPath] = []
    try:
        await _put_back(hands, _InTrash(hands.fs, trashed), task, put_back)
    except NotFound:
        # The trash was emptied by hand.
        pass
    return tuple(put_back)


async def bring_back(hands: Hands, trashed: str, path: DiskPath) -> tuple[DiskPath, ...]:
    """Move all of a unit in the trash to where it stood, and under a name beside it where something else stands.

    A folder that stands there is joined. Result: the paths, none when the trash was emptied. Idempotent.
    """
    top = await hands.fs.stat_trashed(trashed)
    return () if top is None else await _join(hands, _InTrash(hands.fs, trashed), path, top.kind)


async def join_staged(hands: Hands, staged: str, path: DiskPath) -> None:
    """A crash left a folder in staging, and a folder stands where it stood: bring all of it back into that one."""
    await _join(hands, _InStaging(hands.fs, staged), path, Kind.FOLDER)


async def _join(hands: Hands, taken: _Taken, path: DiskPath, kind: Kind | None) -> tuple[DiskPath, ...]:
    pending: list[tuple[DiskPath, DiskPath, Kind | None]] = [(DiskPath(b""), path, kind)]
    back: list[DiskPath] = []
    while pending:
        inside, place, kind = pending.pop()
        there = await hands.fs.stat(place)
        if kind == Kind.FOLDER and there is not None and there.kind == Kind.FOLDER:
            listed = await taken.list(inside)
            pending += [(joined(inside, one.name), joined(place, one.name), one.stat.kind) for one in listed]
        elif there is None or split(place)[1] not in JUNK_NAMES:
            back.append(await _restore(hands, taken, inside, place))
    return tuple(back)


def _again(hands: Hands, path: DiskPath) -> Iterable[DiskPath]:
    """Yield the old place, then names beside it."""
    yield path
    yield from hands.beside(path, b"recovered")


async def _put_back(hands: Hands, taken: _Taken, task: TrashUnit, put_back: list[DiskPath]) -> None:
    """Walk the unit; what `members` does not expect goes back to its place. put_back: grows by the paths."""
    folders = [b""]
    while folders:
        below = folders.pop()
        for one in await taken.list(below):
            inside = joined(DiskPath(below), one.name)
            expected = task.members.get(inside)
            if one.stat.kind == Kind.FOLDER and expected is not None and one.stat.same_thing(expected):
                folders.append(inside)
            elif not _is_expected(one, expected):
                put_back.append(await _restore(hands, taken, inside, joined(task.path, inside)))


def _is_expected(one: Listed, expected: Stat | None) -> bool:
    if expected is None:
        return one.name in JUNK_NAMES and one.stat.kind == Kind.FILE
    # A rename of the folder leaves the ctime of what is in it alone, so an edit that set the mtime back shows here.
    return one.stat.kind != Kind.FOLDER and one.stat.is_as_planned(expected)


async def _restore(hands: Hands, taken: _Taken, inside: bytes, path: DiskPath) -> DiskPath:
    """Put one thing back at `path`, its folders made again; under a name beside it when `path` is taken."""
    folder, name = split(path)
    home = await _require_folder(hands, folder)
    for candidate in numbered_names(name):
        place = joined(home, candidate)
        try:
            await taken.restore(inside, place)
        except NameTaken:
            continue
        hands.touched.arrived(place)
        return place
    raise NameTaken("No free name is left to put a file back.", path=path)


async def _require_folder(hands: Hands, folder: DiskPath) -> DiskPath:
    """Return a folder that is there: `folder`, made again with those above it, or one beside it if that is taken."""
    if not folder:
        return folder
    seen = await hands.fs.stat(folder)
    if seen is not None and seen.kind == Kind.FOLDER:
        return folder
    above, name = split(folder)
    home = await _require_folder(hands, above)
    for candidate in numbered_names(name):
        place = joined(home, candidate)
        try:
            await hands.fs.make_folder(place)
        except NameTaken:
            continue
        hands.touched.arrived(place)
        return place
    raise NameTaken("No free name is left to put a folder back.", path=folder)
