"""The `FileSystem` port in memory, for the simulation and for tests that no real disk can give.

Invariant: it answers as `LocalDisk` does (one contract suite runs over both), is deterministic, and after `crash` every
call of the old generation is refused, so that no `finally` of an abandoned coroutine tidies up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from satchel.core.entries import Kind
from satchel.core.errors import (
    Fault,
    FileChanging,
    FileUnreadable,
    NameInvalid,
    NameTaken,
    NotFound,
    RootMissing,
    StorageFull,
)
from satchel.core.limits import XATTRS_BYTES_MAX
from satchel.core.xattrs import UNHELD
from satchel.device.ports import ROOT_PATH, Brief, Compared, DiskPath, Listed, OpenFile, RowsOf, Stat, Volume, split
from satchel.simulation.fake_volume import CrashMode, FakeVolume, Inode, TimeSource

STATE_NAME = b".satchel"
GAP = ":gap"
"""What `before_call` gets after the name of a call that has looked and is about to change."""
BeforeCall = Callable[[str, tuple[object, ...]], Fault | None]
Pause = Callable[[], Awaitable[None]]


class DeadGeneration(BaseException):
    """A call on a disk whose machine has crashed. No handler of faults may catch it."""


class FakeOpenFile:
    """A file of the fake disk, open for reading."""

    def __init__(self, disk: FakeDisk, inode: Inode) -> None:
        self._disk = disk
        self._inode = inode

    async def stat(self) -> Stat:
        await self._disk.enter("file_stat")
        return self._disk.stat_of(self._inode)

    async def read(self, offset: int, length: int) -> bytes:
        await self._disk.enter("file_read", offset, length)
        return self._inode.data[offset : offset + length]

    async def close(self) -> None:
        pass


class FakeStagedFile:
    """A file in staging, open for writing."""

    def __init__(self, disk: FakeDisk, name: str, inode: Inode) -> None:
        self.name = name
        self._disk = disk
        self._inode = inode
        self._is_open = True

    async def write(self, data: bytes | memoryview) -> None:
        await self._disk.enter("staged_write", self.name, len(data))
        self._disk.volume.require_room(len(data))
        self._inode.data += data
        self._inode.mtime_ns = self._inode.ctime_ns = self._disk.volume.tick()

    async def copy_from(self, source: OpenFile, offset: int, length: int) -> None:
        data = await source.read(offset, length)
        await self.write(data)
        if len(data) < length:
            raise FileChanging("A file became shorter while it was copied.", path=self.name)

    async def read(self, offset: int, length: int) -> bytes:
        await self._disk.enter("staged_read", self.name)
        return self._inode.data[offset : offset + length]

    async def finish(self, *, mtime_ns: int, is_executable: bool, xattrs: bytes = b"") -> Stat:
        try:
            await self._disk.enter("staged_finish", self.name)
        except Fault:
            await self.discard()
            raise
        self._is_open = False
        self._inode.mtime_ns = mtime_ns
        self._inode.is_executable = is_executable
        if self._disk.takes(xattrs):
            self._inode.xattrs = xattrs
        self._inode.ctime_ns = self._disk.volume.tick()
        self._inode.save()
        return self._disk.stat_of(self._inode)

    async def discard(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        await self._disk.enter("staged_discard", self.name)
        self._disk.remove(self._disk.staging, self._disk.raw(self.name))

    async def close(self) -> None:
        self._is_open = False


class FakeDisk:
    """A linked folder in memory.

    pause: awaited at each call, the scheduling point. before_call: sees each call's name and arguments; a fault that it
    returns is raised instead of the call, but for one in a gap. root_state: "missing" (folder gone) or "empty" (its
    volume is not mounted, so an empty folder stands there). has_xattrs: extended attributes are synced; holds_xattrs:
    the volume has any, in all of xattrs_bytes_max for a file. The user's side is `FakeUser`.
    """

    def __init__(
        self,
        clock: TimeSource,
        *,
        capacity_bytes: int | None = None,
        free_bytes_min: int = 0,
        before_call: BeforeCall | None = None,
        pause: Pause | None = None,
        has_xattrs: bool = False,
    ) -> None:
        self.clock = clock
        self.has_xattrs = has_xattrs
        self.holds_xattrs = True
        self.xattrs_bytes_max = 2 * XATTRS_BYTES_MAX
        self.volume = FakeVolume(clock, capacity_bytes)
        self.free_bytes_min = free_bytes_min
        self.before_call = before_call
        self.pause = pause
        self.marker = b"fake-root-marker"
        self.root_state = "ok"
        self.generation = 0
        self.calls = 0
        self._is_dead = False
        self._numbers = 0

    @property
    def root(self) -> Inode:
        """The linked folder."""
        return self.volume.root

    @property
    def staging(self) -> Inode:
        """Where what is on its way stands."""
        return self.volume.staging

    # -- the machine --------------------------------------------------------------------------------------------------

    async def enter(self, name: str, *args: object) -> None:
        """Begin a call: refuse a dead machine, let others run, ask for a fault."""
        self._require_alive()
        if self.pause is not None:
            await self.pause()
            self._require_alive()
        self.calls += 1
        fault = self.before_call(name, args) if self.before_call is not None else None
        if fault is not None:
            raise fault
        if self.root_state == "missing" or (self.root_state == "empty" and name not in ("list_folder", "stat")):
            raise RootMissing("The linked folder is not there.", path="fake", reason=self.root_state)

    def _require_alive(self) -> None:
        if self._is_dead:
            raise DeadGeneration

    def die(self) -> None:
        """From now on every call is refused; `crash` or `restart` give the disk that is left."""
        self._is_dead = True

    def crash(self, mode: CrashMode = "strict", seed: int = 0) -> FakeDisk:
        """Cut the power: this disk is dead from now on. Result: the disk as the next start finds it, same hooks."""
        self._is_dead = True
        left = FakeDisk(self.clock, before_call=self.before_call, pause=self.pause, has_xattrs=self.has_xattrs)
        left.holds_xattrs, left.xattrs_bytes_max = self.holds_xattrs, self.xattrs_bytes_max
        left.volume = self.volume.after_crash(mode, seed)
        left.free_bytes_min = self.free_bytes_min
        left.marker = self.marker
        left.root_state = self.root_state
        left.generation = self.generation + 1
        left._numbers = self._numbers
        return left

    def restart(self) -> FakeDisk:
        """Kill the process only: the kernel keeps all that was done. Result: the disk for the next start."""
        self.volume.sync_all()
        return self.crash()

    def take_after(self, disk: FakeDisk) -> None:
        """Be on the same volume as another one, with names in staging of its own."""
        self.volume = disk.volume
        self.holds_xattrs, self.xattrs_bytes_max = disk.holds_xattrs, disk.xattrs_bytes_max
        self.free_bytes_min, self.marker, self.root_state = disk.free_bytes_min, disk.marker, disk.root_state
        self.generation = disk.generation + 1
        self.volume.handles += 1
        self._numbers = self.volume.handles << 20

    def stat_of(self, inode: Inode) -> Stat:
        """Return the stat with all that the port tells."""
        return inode.stat(has_xattrs=self.has_xattrs and self.holds_xattrs)

    def takes(self, xattrs: bytes) -> bool:
        """Tell whether attributes that are to be set are."""
        return self.has_xattrs and self.holds_xattrs and len(xattrs) <= self.xattrs_bytes_max

    # -- resolving ----------------------------------------------------------------------------------------------------

    def _parent(self, path: DiskPath, home: Stat | None = None) -> tuple[Inode, bytes]:
        self._require_path(path)
        if not path:
            raise NameInvalid("The linked folder itself stays where it is.", name="", reason="root")
        above, name = split(path)
        folder = self.volume.folder(self.root, above)
        if home is not None and not self.stat_of(folder).same_thing(home):
            raise NotFound("The folder is gone; another has its name.", path=repr(path))
        return folder, name

    @staticmethod
    def _require_path(path: DiskPath) -> None:
        raw = bytes(path)
        names = raw.split(b"/") if raw else [b"-"]
        is_plain = b"\0" not in raw and b"" not in names and b"." not in names and b".." not in names
        if not is_plain or names[0] == STATE_NAME:
            raise NameInvalid("This is no path in the linked folder.", name=repr(path), reason="path")

    @staticmethod
    def raw(name: str) -> bytes:
        """Return the bytes of one name in staging or in the trash."""
        raw = name.encode(errors="surrogateescape")
        if not raw or b"/" in raw or raw in (b".", b".."):
            raise NotFound("This is no name in the state folder.", path=name)
        return raw

    @staticmethod
    def _require(folder: Inode, name: bytes) -> Inode:
        found = folder.entries.get(name)
        if found is None:
            raise NotFound("Nothing is there.", path=repr(name))
        return found

    @staticmethod
    def _require_free(folder: Inode, name: bytes) -> None:
        if len(name) > 255:
            raise NameInvalid("This disk cannot hold the name.", name=repr(name), reason="ENAMETOOLONG")
        if name in folder.entries:
            raise NameTaken("The name is taken.", path=repr(name))

    def remove(self, folder: Inode, name: bytes) -> None:
        """Unlink one name, if it is there."""
        found = folder.entries.get(name)
        if found is not None:
            self.volume.do((folder, name, None))
            self.volume.free(found)

    def _rename(self, source: tuple[Inode, bytes], target: tuple[Inode, bytes]) -> Stat:
        moved = self._require(*source)
        self._require_free(*target)
        if moved.kind == Kind.FOLDER and _is_inside(target[0], moved):
            raise NameInvalid("A folder cannot go into itself.", name=repr(target[1]), reason="EINVAL")
        self.volume.do((*source, None), (*target, moved))
        return self.stat_of(moved)

    def _require_as_planned(self, call: str, path: DiskPath, expected: Stat | None) -> None:
        """Look just before a change. A user may come between the two, though it is one call."""
        if expected is None:
            return
        if not self.stat_of(self._require(*self._parent(path))).is_as_planned(expected):
            raise FileChanging("It is not as it was planned on.", path=path)
        if self.before_call is not None:
            self.before_call(call + GAP, (path,))

    def _swap(self, one: tuple[Inode, bytes], other: tuple[Inode, bytes]) -> None:
        first, second = self._require(*one), self._require(*other)
        if _is_inside(other[0], first) or _is_inside(one[0], second):
            raise NameInvalid("A folder cannot change places with what is in it.", name=repr(one[1]), reason="EINVAL")
        self.volume.do((*one, second), (*other, first))

    # -- looking ------------------------------------------------------------------------------------------------------

    async def check_root(self) -> Volume:
        await self.enter("check_root")
        return self.volume_now()

    def volume_now(self) -> Volume:
        """As `check_root`, at once."""
        return Volume(self.marker, b"fake-volume")

    async def list_folder(self, path: DiskPath) -> list[Listed]:
        return [Listed(name, one.stat(has_birth=False)) for name, one in await self._entries(path)]

    async def _entries(self, path: DiskPath) -> list[tuple[bytes, Inode]]:
        await self.enter("list_folder", path)
        self._require_path(path)
        is_empty = self.root_state == "empty" and not path
        return [] if is_empty else sorted(self.volume.folder(self.root, path).entries.items())

    async def compare_folder(self, path: DiskPath, rows_of: RowsOf) -> Compared:
        found = await self._entries(path)
        names = {name.decode(errors="surrogateescape"): (name, one) for name, one in found}
        rows = rows_of(list(names))
        others: list[Listed] = []
        folders: list[Brief] = []
        for text, (name, one) in names.items():
            row = rows.get(text)
            if row is None or (one.ctime_ns, one.mtime_ns, one.size, one.number, one.kind) != (*row[1:5], row[6]):
                others.append(Listed(name, one.stat(has_birth=False)))
                continue
            del rows[text]
            if one.kind == Kind.FOLDER:
                folders.append(row)
        return Compared(others, folders, len(names) - len(others))

    async def stat(self, path: DiskPath) -> Stat | None:
        await self.enter("stat", path)
        if not path:
            return self.stat_of(self.root)
        if self.root_state == "empty":
            return None
        try:
            folder, name = self._parent(path)
        except NotFound:
            return None
        found = folder.entries.get(name)
        return None if found is None else self.stat_of(found)

    async def open_file(self, path: DiskPath) -> FakeOpenFile:
        await self.enter("open_file", path)
        return FakeOpenFile(self, _regular(self._require(*self._parent(path))))

    async def read_short(self, path: DiskPath, bytes_max: int) -> tuple[Stat, bytes] | None:
        file = await self.open_file(path)
        before = await file.stat()
        if before.size > bytes_max:
            return None
        data = await file.read(0, before.size)
        if len(data) != before.size or await file.stat() != before:
            raise FileChanging("A file changed while it was being read.", path=path)
        await file.close()
        return before, data

    async def read_link(self, path: DiskPath) -> bytes:
        await self.enter("read_link", path)
        found = self._require(*self._parent(path))
        if found.kind != Kind.SYMLINK:
            raise FileUnreadable("This is no symlink.", path=repr(path), reason="EINVAL")
        return found.target

    async def free_bytes(self) -> int:
        await self.enter("free_bytes")
        capacity = self.volume.capacity_bytes
        return 1 << 40 if capacity is None else capacity - self.volume.used_bytes()

    # -- staging ------------------------------------------------------------------------------------------------------

    async def stage(self) -> FakeStagedFile:
        await self.enter("stage")
        name, inode = self._stage(Kind.FILE, b"")
        return FakeStagedFile(self, name, inode)

    async def stage_symlink(self, target: bytes) -> str:
        await self.enter("stage_symlink", target)
        return self._stage(Kind.SYMLINK, target)[0]

    def _stage(self, kind: Kind, target: bytes) -> tuple[str, Inode]:
        capacity = self.volume.capacity_bytes
        if capacity is not None and capacity - self.volume.used_bytes() < self.free_bytes_min:
            raise StorageFull("The disk is nearly full.", where="fake")
        self._numbers += 1
        name = f"d-{self._numbers:x}"
        inode = self.volume.inode(kind, target=target)
        self.volume.do((self.staging, name.encode(), inode))
        return name, inode

    async def open_staged(self, name: str) -> FakeStagedFile:
        await self.enter("open_staged", name)
        return FakeStagedFile(self, name, _regular(self._require(self.staging, self.raw(name))))

    async def stat_staged(self, name: str) -> Stat | None:
        await self.enter("stat_staged", name)
        found = self.staging.entries.get(self.raw(name))
        return None if found is None else self.stat_of(found)

    async def rename_staged(self, name: str, new_name: str) -> None:
        await self.enter("rename_staged", name, new_name)
        staging = self.staging
        self._rename((staging, self.raw(name)), (staging, self.raw(new_name)))

    async def discard_staged(self, name: str) -> None:
        assert name.startswith("d-"), "only a download may be thrown away"
        await self.enter("discard_staged", name)
        self.remove(self.staging, self.raw(name))

    async def list_staged(self, name: str = "", below: bytes = b"") -> list[Listed]:
        await self.enter("list_staged", name, below)
        path = (self.raw(name) if name else b"") + (b"/" + below if below else b"")
        return _listed(self.volume.folder(self.staging, path))

    async def origin_of_staged(self, name: str) -> DiskPath | None:
        await self.enter("origin_of_staged", name)
        path = self.volume.notes.get(name)
        return None if path is None else DiskPath(path)

    # -- changing -----------------------------------------------------------------------------------------------------

    async def place_staged(self, name: str, path: DiskPath, home: Stat | None = None) -> Stat:
        await self.enter("place_staged", name, path)
        return self._rename((self.staging, self.raw(name)), self._parent(path, home))

    async def exchange_staged(
        self, name: str, path: DiskPath, expected: Stat | None = None
    ) -> tuple[Stat, Stat | None]:
        assert not name.startswith("d-"), "a crash now would take the user's file for a download"
        await self.enter("exchange_staged", name, path)
        staged = (self.staging, self.raw(name))
        self._require_as_planned("exchange_staged", path, expected)
        place = self._parent(path)
        self._swap(staged, place)
        return self.stat_of(self._require(*staged)), self.stat_of(self._require(*place))

    async def set_aside(self, path: DiskPath, name: str, expected: Stat | None = None) -> Stat:
        assert not name.startswith("d-"), "what is set aside is the user's"
        await self.enter("set_aside", path, name)
        self._require_as_planned("set_aside", path, expected)
        stat = self._rename(self._parent(path), (self.staging, self.raw(name)))
        self.volume.notes[name] = path
        return stat

    async def restore_staged(self, name: str, path: DiskPath, below: bytes = b"", home: Stat | None = None) -> Stat:
        await self.enter("restore_staged", name, path, below)
        folder, last = self._inside(self.staging, name, below)
        stat = self._rename((folder, last), self._parent(path, home))
        if not below:
            self.volume.notes.pop(name, None)
        return stat

    def _inside(self, top: Inode, name: str, below: bytes) -> tuple[Inode, bytes]:
        if not below:
            return top, self.raw(name)
        folder, last = split(DiskPath(self.raw(name) + b"/" + below))
        return self.volume.folder(top, folder), last

    async def move(
        self, source: DiskPath, target: DiskPath, expected: Stat | None = None, home: Stat | None = None
    ) -> Stat:
        await self.enter("move", source, target)
        self._require_as_planned("move", source, expected)
        return self._rename(self._parent(source), self._parent(target, home))

    async def exchange(
        self, one: DiskPath, other: DiskPath, expected: tuple[Stat, Stat] | None = None
    ) -> tuple[Stat | None, Stat | None]:
        await self.enter("exchange", one, other)
        if expected is not None:
            self._require_as_planned("exchange", one, expected[0])
            self._require_as_planned("exchange", other, expected[1])
        first, second = self._parent(one), self._parent(other)
        self._swap(first, second)
        return self.stat_of(self._require(*first)), self.stat_of(self._require(*second))

    async def make_folder(self, path: DiskPath, home: Stat | None = None) -> Stat:
        await self.enter("make_folder", path)
        self._parent(path, home)
        return self._make(path, Kind.FOLDER, b"")

    async def make_symlink(self, path: DiskPath, target: bytes) -> Stat:
        await self.enter("make_symlink", path, target)
        return self._make(path, Kind.SYMLINK, target)

    def _make(self, path: DiskPath, kind: Kind, target: bytes) -> Stat:
        folder, name = self._parent(path)
        self._require_free(folder, name)
        inode = self.volume.inode(kind, target=target)
        self.volume.do((folder, name, inode))
        return self.stat_of(inode)

    async def set_executable(self, path: DiskPath, is_executable: bool, expected: Stat | None = None) -> Stat:
        await self.enter("set_executable", path, is_executable)
        self._require_as_planned("set_executable", path, expected)
        found = _regular(self._require(*self._parent(path)))
        found.is_executable = is_executable
        found.ctime_ns = self.volume.tick()
        found.save()
        return self.stat_of(found)

    async def set_xattrs(self, path: DiskPath, xattrs: bytes, expected: bytes) -> Stat:
        await self.enter("set_xattrs", path, xattrs)
        found = self._require(*self._parent(path))
        if found.kind == Kind.SYMLINK:
            raise FileUnreadable("A symlink is on the way.", path=repr(path), reason="ELOOP")
        if self.stat_of(found).xattrs != expected:
            raise FileChanging("It has other extended attributes by now.", path=path)
        if not self.takes(xattrs):
            return replace(self.stat_of(found), xattrs=UNHELD)
        found.xattrs = xattrs
        found.ctime_ns = self.volume.tick()
        found.save()
        return self.stat_of(found)

    async def sync_folder(self, path: DiskPath) -> None:
        await self.enter("sync_folder", path)
        try:
            self.volume.sync(self.volume.folder(self.root, path))
        except NotFound:
            return

    # -- the local trash ----------------------------------------------------------------------------------------------

    def _trash_name(self) -> str:
        self._numbers += 1
        return f"{self.volume.tick()}-{self._numbers:08x}"

    async def trash(self, path: DiskPath) -> str:
        await self.enter("trash", path)
        name = self._trash_name()
        self._rename(self._parent(path), (self.volume.trash, name.encode()))
        return name

    async def trash_staged(self, name: str, trashed: str = "") -> str:
        await self.enter("trash_staged", name)
        trashed = trashed or self._trash_name()
        self._rename((self.staging, self.raw(name)), (self.volume.trash, trashed.encode()))
        note = self.volume.notes.pop(name, None)
        if note is not None:
            self.volume.notes[trashed] = note
        return trashed

    async def open_trashed(self, name: str) -> FakeOpenFile:
        await self.enter("open_trashed", name)
        top, _, below = name.partition("/")
        folder, last = self._inside(self.volume.trash, top, below.encode(errors="surrogateescape"))
        return FakeOpenFile(self, _regular(self._require(folder, last)))

    async def list_trashed(self, name: str, below: bytes = b"") -> list[Listed]:
        await self.enter("list_trashed", name, below)
        return _listed(self.volume.folder(self.volume.trash, self.raw(name) + (b"/" + below if below else b"")))

    async def stat_trashed(self, name: str, below: bytes = b"") -> Stat | None:
        await self.enter("stat_trashed", name, below)
        try:
            folder, last = self._inside(self.volume.trash, name, below)
        except NotFound:
            return None
        found = folder.entries.get(last)
        return None if found is None else self.stat_of(found)

    async def restore_trashed(self, name: str, below: bytes, path: DiskPath) -> Stat:
        await self.enter("restore_trashed", name, below, path)
        return self._rename(self._inside(self.volume.trash, name, below), self._parent(path))

    async def sync_trash(self) -> None:
        await self.enter("sync_trash")
        self.volume.sync(self.volume.trash)

    async def sync_volume(self) -> None:
        await self.enter("sync_volume")
        self.volume.sync_all()

    async def kept_in_trash(self) -> list[tuple[str, DiskPath | None]]:
        await self.enter("kept_in_trash")
        names = [name.decode() for name in sorted(self.volume.trash.entries) if not name.partition(b"-")[0].isdigit()]
        notes = self.volume.notes
        return [(name, DiskPath(notes[name]) if name in notes else None) for name in names]

    async def purge_trash(self, before_ns: int) -> int:
        await self.enter("purge_trash", before_ns)
        trash = self.volume.trash
        born = {name: name.partition(b"-")[0] for name in trash.entries}
        due = [name for name, head in born.items() if head.isdigit() and int(head) < before_ns]
        for name in due:
            self.remove(trash, name)
        return len(due)


def _listed(folder: Inode) -> list[Listed]:
    return [Listed(name, one.stat(has_birth=False)) for name, one in sorted(folder.entries.items())]


def _regular(inode: Inode) -> Inode:
    if inode.kind != Kind.FILE:
        raise FileUnreadable("This is no regular file.", path="", reason="kind")
    return inode


def _is_inside(folder: Inode, top: Inode) -> bool:
    """True when `folder` is `top` or lies in it."""
    waiting = [top]
    for one in waiting:
        if one is folder:
            return True
        waiting += [below for below in one.entries.values() if below.kind == Kind.FOLDER]
    return False


__all__ = ["ROOT_PATH", "DeadGeneration", "FakeDisk", "FakeOpenFile", "FakeStagedFile"]
