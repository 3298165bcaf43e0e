"""Takes back what was done to the linked folder, and ends conflicts, on a person's word.

Invariant: rule 2 holds here as for the applier: what stands at a name is read first and must be what the record says;
what is taken away goes to the local trash, and what comes back takes a free name or swaps. Each change is an act of its
own, so that it can be taken back as well. The engine then finds the changes as if a person had made them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from satchel.core.conflicts import original_name
from satchel.core.entries import Kind
from satchel.core.errors import Fault, FileChanging, NameTaken
from satchel.core.hashing import EMPTY_CONTENT
from satchel.core.ids import ROOT_NODE, Nid
from satchel.core.limits import MIB
from satchel.core.xattrs import is_packed
from satchel.device.applier import Applier
from satchel.device.hashing_files import read_file
from satchel.device.index.activity import Act, What
from satchel.device.ports import ROOT_PATH, Clock, DiskPath, FileSystem, OpenFile, Stat, joined, split
from satchel.device.status import Amended
from satchel.device.tasks import (
    Applied,
    ApplyTask,
    DiskTask,
    MovePath,
    MovePaths,
    PlaceFile,
    PlaceSymlink,
    SetAttrs,
    TrashUnit,
)

NO_NID = Nid(0)
COPY_PIECE_BYTES = 8 * MIB
READ_TRIES = 5
PAUSE_S = 0.02
"""After so long the disk's clock tells one write from the next: the same file may have been put back just before."""
FREE_NAMES_MAX = 100
MEMBERS_MAX = 100_000
"""A folder with more in it that came back is not taken away again."""
OWN_RULES = ("undo", "resolved")
"""What a person asked for; whatever was made by it is taken back too."""


class _Refused(Exception):
    """This one cannot be done, and why."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """What stands at a path. content: hash of a file, target of a symlink, seal of a folder; members as `TrashUnit`."""

    stat: Stat
    content: bytes
    members: dict[bytes, Stat]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one: the word for the person, the act to record, and what went to the trash, as `TrashUnit`."""

    told: Amended
    act: Act | None = None
    trashed: dict[bytes, Stat] | None = None


class Amender:
    """Works on one linked folder. Never suspends on a real disk, as its ports; pause: waits for so many seconds."""

    def __init__(
        self, fs: FileSystem, applier: Applier, clock: Clock, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._fs = fs
        self._applier = applier
        self._clock = clock
        self._pause = pause
        self._made: list[DiskPath] = []

    async def undo(self, acts: Sequence[Act], *, with_new: bool) -> list[Done]:
        """Take the acts back, the last first. with_new: what came new goes to the trash too. Faults become words."""
        done: list[Done] = []
        for act in reversed(acts):
            try:
                made = await self._undo(act, with_new=with_new)
            except (_Refused, Fault) as fault:
                made = Done(Amended(act.path, act.what.name.lower(), _word(fault)))
            done += [*self._folders_made(), made]
        return done

    def _folders_made(self) -> list[Done]:
        """Return the folders that were made for what came back in them, each an act of its own."""
        made, self._made = self._made, []
        told = "its folder is there again"
        return [
            Done(
                Amended(path.decode(), "removed", told, is_done=True),
                Act(What.CREATED, ROOT_NODE, path.decode(), "undo"),
            )
            for path in made
        ]

    async def _undo(self, act: Act, *, with_new: bool) -> Done:
        path = DiskPath(act.path.encode())
        match act.what:
            case What.REPLACED:
                return await self._put_back_content(act, path)
            case What.REMOVED:
                return await self._put_back(act, path)
            case What.MOVED:
                return await self._move_back(act, path)
            case What.CREATED:
                if not with_new and act.rule not in OWN_RULES:
                    raise _Refused("it came new and stays; --new moves it to the trash")
                return await self._take_away(act, path)
            case What.EXECUTABLE | What.NOT_EXECUTABLE:
                return await self._set_bit(act, path)
            case _:
                raise _Refused("nothing was done to the disk")

    async def _put_back_content(self, act: Act, path: DiskPath) -> Done:
        if act.beside:
            raise _Refused(f"what it held stands beside it: {act.beside}")
        if not act.trashed:
            raise _Refused("what it held is not in the local trash")
        standing = await self._expect(path, act.content)
        trashed = await self._fs.stat_trashed(act.trashed)
        if trashed is None:
            raise _Refused("what it held is not in the local trash any more; see 'satchel versions'")
        task = await self._placing(path, standing.stat, trashed, act.was_content, act.trashed)
        made = replace(act, rule="undo", was_content=act.content, content=act.was_content)
        return await self._swap(task, made, standing, "its earlier content is back")

    async def _put_back(self, act: Act, path: DiskPath) -> Done:
        if not act.trashed or await self._fs.stat_trashed(act.trashed) is None:
            raise _Refused("it is not in the local trash any more; see 'satchel trash list'")
        await self._ensure_folder(split(path)[0])
        try:
            await self._fs.restore_trashed(act.trashed, b"", path)
        except NameTaken:
            raise _Refused("another file has its name now") from None
        await self._fs.sync_folder(split(path)[0])
        content = act.was_content or await self._seal_of(path)
        made = Act(What.CREATED, act.node_id, act.path, "undo", content=content)
        return Done(Amended(act.path, "removed", "it is back", is_done=True), made)

    async def _ensure_folder(self, folder: DiskPath) -> None:
        if folder == ROOT_PATH or await self._fs.stat(folder) is not None:
            return
        await self._ensure_folder(split(folder)[0])
        await self._fs.make_folder(folder)
        self._made.append(folder)
        await self._fs.sync_folder(split(folder)[0])

    async def _move_back(self, act: Act, path: DiskPath) -> Done:
        stat = await self._fs.stat(path)
        if stat is None:
            raise _Refused("it is not there any more")
        target = DiskPath(act.was_path.encode())
        await self._ensure_folder(split(target)[0])
        await self._apply(MovePaths((MovePath(NO_NID, path, target, stat),)))
        made = replace(act, path=act.was_path, was_path=act.path, rule="undo")
        return Done(Amended(act.path, "moved", f"it is at {act.was_path} again", is_done=True), made)

    async def _take_away(self, act: Act, path: DiskPath) -> Done:
        standing = await self._expect(path, act.content)
        if standing.stat.kind is Kind.FOLDER and standing.content != act.content:
            raise _Refused("the folder is not empty")
        return await self._trash(act, path, standing, "undo", "it is in the trash")

    async def _trash(self, act: Act, path: DiskPath, standing: _Standing, rule: str, told: str) -> Done:
        result = await self._apply(TrashUnit(NO_NID, path, standing.members))
        content = b"" if standing.stat.kind is Kind.FOLDER else standing.content
        made = Act(What.REMOVED, act.node_id, act.path, rule, was_content=content, trashed=result.trashed)
        return Done(Amended(act.path, "trashed", told, is_done=True), made, standing.members)

    async def _set_bit(self, act: Act, path: DiskPath) -> Done:
        stat = await self._fs.stat(path)
        wanted = act.what is What.NOT_EXECUTABLE
        if stat is None or stat.kind is not Kind.FILE or stat.is_executable is wanted:
            raise _Refused("it is not as it was left")
        await self._apply(SetAttrs(NO_NID, path, wanted, stat))
        made = replace(act, what=What.EXECUTABLE if wanted else What.NOT_EXECUTABLE, rule="undo")
        return Done(Amended(act.path, "executable", "the bit is as before", is_done=True), made)

    # -- conflicts ----------------------------------------------------------------------------------------------------

    async def resolve(self, copy: Act, original: Act, keep: str) -> list[Done]:
        """End one conflict. copy, original: node id and path of each; keep: copy, original, both or newest."""
        try:
            return await self._resolve(copy, original, keep)
        except (_Refused, Fault) as fault:
            return [Done(Amended(copy.path, keep, _word(fault)))]

    async def _resolve(self, copy: Act, original: Act, keep: str) -> list[Done]:
        copy_path, path = DiskPath(copy.path.encode()), DiskPath(original.path.encode())
        mine = await self._standing(copy_path)
        if mine.stat.kind is Kind.FOLDER:
            raise _Refused("it is a folder; move what you want by hand")
        if keep == "both":
            return [await self._rename_copy(copy, copy_path, mine)]
        if await self._fs.stat(path) is None:
            if keep == "original":
                raise _Refused(f"{original.path} is not there any more, so this is the only one")
            return [await self._move_copy(copy, copy_path, mine, path)]
        other = await self._standing(path)
        if other.stat.kind is Kind.FOLDER:
            raise _Refused(f"{original.path} is a folder")
        if keep == "newest":
            keep = "copy" if mine.stat.mtime_ns > other.stat.mtime_ns else "original"
        done: list[Done] = []
        if keep == "copy" and mine.content != other.content:
            task = await self._placing(path, other.stat, mine.stat, mine.content, "", copy_path)
            made = Act(What.REPLACED, original.node_id, original.path, "resolved", "", other.content, mine.content)
            done.append(await self._swap(task, made, other, "holds what the copy held"))
        done.append(await self._trash(copy, copy_path, mine, "resolved", "the copy is in the trash"))
        return done

    async def _move_copy(self, copy: Act, source: DiskPath, standing: _Standing, target: DiskPath) -> Done:
        await self._apply(MovePaths((MovePath(NO_NID, source, target, standing.stat),)))
        name = target.decode()
        made = Act(What.MOVED, copy.node_id, name, "resolved", was_path=copy.path)
        return Done(Amended(copy.path, "moved", f"is called {name} now", is_done=True), made)

    async def _rename_copy(self, copy: Act, source: DiskPath, standing: _Standing) -> Done:
        folder, raw = split(source)
        stem, dot, extension = original_name(raw.decode()).rpartition(".")
        stem, extension = (stem, dot + extension) if stem else (extension, "")
        for number in range(2, FREE_NAMES_MAX):
            target = joined(folder, f"{stem} ({number}){extension}".encode())
            if await self._fs.stat(target) is None:
                return await self._move_copy(copy, source, standing, target)
        raise _Refused("no free name is left")

    # -- the disk -----------------------------------------------------------------------------------------------------

    async def _placing(
        self, path: DiskPath, expected: Stat, source: Stat, content: bytes, trashed: str, beside: DiskPath = ROOT_PATH
    ) -> PlaceFile | PlaceSymlink:
        """Return the task that puts a copy of something at `path`; source: its stat, in the trash or at `beside`."""
        if source.kind is Kind.SYMLINK:
            return PlaceSymlink(NO_NID, path, content, expected)
        file = await self._fs.open_trashed(trashed) if trashed else await self._fs.open_file(beside)
        try:
            staged, xattrs = await self._staged(file, source)
        finally:
            await file.close()
        bit = source.is_executable
        return PlaceFile(NO_NID, path, staged, None, source.mtime_ns, bit, expected, xattrs=xattrs)

    async def _staged(self, file: OpenFile, source: Stat) -> tuple[str, bytes]:
        """Copy an open file into staging. Result: its name there, and the extended attributes that it has."""
        staged = await self._fs.stage()
        try:
            at = 0
            while at < source.size:
                length = min(COPY_PIECE_BYTES, source.size - at)
                await staged.copy_from(file, at, length)
                at += length
            seen = await file.stat()
            xattrs = seen.xattrs if is_packed(seen.xattrs) else b""
            await staged.finish(mtime_ns=source.mtime_ns, is_executable=source.is_executable, xattrs=xattrs)
            if not (await file.stat()).same_file(source):
                raise _Refused("it changed while it was copied")
        except BaseException:
            await staged.discard()
            raise
        return staged.name, xattrs

    async def _swap(self, task: PlaceFile | PlaceSymlink, made: Act, old: _Standing, told: str) -> Done:
        result = await self._apply(task)
        made = replace(made, trashed=result.trashed)
        return Done(Amended(made.path, "replaced", told, is_done=True), made, old.members)

    async def _apply(self, task: DiskTask) -> Applied:
        (result,) = (await self._applier.apply(ApplyTask(0, (task,)))).results
        if isinstance(result, Applied):
            return result
        raise _Refused(getattr(result, "reason", "") or _word(getattr(result, "fault", Fault(""))))

    async def _expect(self, path: DiskPath, content: bytes) -> _Standing:
        """Return what stands at the path. Raises: _Refused when it is not this content."""
        standing = await self._standing(path)
        if standing.content != content and not (standing.stat.kind is Kind.FOLDER and not content):
            raise _Refused("it was changed since")
        return standing

    async def _standing(self, path: DiskPath) -> _Standing:
        stat = await self._fs.stat(path)
        if stat is None:
            raise _Refused("it is not there any more")
        if stat.kind is Kind.SYMLINK:
            return _Standing(stat, await self._fs.read_link(path), {b"": stat})
        if stat.kind is Kind.FOLDER:
            members = await self._members(path, stat)
            return _Standing(stat, _seal(members), members)
        for _ in range(READ_TRIES):
            try:
                read = await read_file(self._fs, path, self._clock)
            except FileChanging:
                continue
            if read.stat.ctime_ns:
                return _Standing(read.stat, read.content if read.stat.size else EMPTY_CONTENT, {b"": read.stat})
            self._pause(PAUSE_S)
        raise _Refused("it was written this moment; try again")

    async def _seal_of(self, path: DiskPath) -> bytes:
        """Return the seal of a folder that has just come back; without one it is not taken away again."""
        try:
            return (await self._standing(path)).content
        except (_Refused, Fault):
            return b""

    async def _members(self, path: DiskPath, top: Stat) -> dict[bytes, Stat]:
        """Return what is in a folder, by its path below it, and the folder itself. Raises: _Refused when it is much."""
        members, waiting = {b"": top}, [b""]
        for below in waiting:
            for one in await self._fs.list_folder(joined(path, below) if below else path):
                inside = joined(DiskPath(below), one.name)
                members[inside] = one.stat
                if one.stat.kind is Kind.FOLDER:
                    waiting.append(inside)
            if len(members) > MEMBERS_MAX:
                raise _Refused(f"more than {MEMBERS_MAX:,} files are in it")
        return members


def _seal(members: dict[bytes, Stat]) -> bytes:
    """Return a hash that changes with anything that is done in the folder; empty for an empty one.

    No ctime of the folder itself: being moved changes it.
    """
    inside = sorted((path, stat) for path, stat in members.items() if path)
    told = repr([(path, stat.kind, stat.inode, stat.size, stat.mtime_ns, stat.ctime_ns) for path, stat in inside])
    return hashlib.sha256(told.encode()).digest() if inside else b""


def _word(fault: Exception) -> str:
    return (fault.message if isinstance(fault, Fault) else str(fault)).rstrip(".") or "it cannot be done"
