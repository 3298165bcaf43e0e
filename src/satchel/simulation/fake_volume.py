"""A volume in memory that knows what a power cut would leave of it.

Invariant: what was fsynced is there after `crash`; what was not may be gone. The model is that of the journalling file
systems Satchel runs on: one rename is one step even between two folders; a folder's steps reach the disk in their
order; fsync of a folder takes along the earlier steps of the other folders that its own steps touch; a file's bytes
are safe only by fsync of the file. Inode numbers are reused at once, as ext4 does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal, Protocol

from satchel.core.entries import Kind
from satchel.core.errors import FileUnreadable, NotFound, StorageFull
from satchel.device.ports import Stat

DEVICE = 1
CrashMode = Literal["strict", "reordered"]
"""strict: nothing but what was fsynced is left. reordered: of the rest a random part, each folder's in order."""


class TimeSource(Protocol):
    """What tells the volume the time."""

    def now_ns(self) -> int: ...


@dataclass(slots=True, eq=False)
class Inode:
    """A file, folder or symlink. saved_*: what a power cut leaves of it."""

    number: int
    kind: Kind
    birth_ns: int
    mtime_ns: int
    ctime_ns: int
    is_executable: bool = False
    xattrs: bytes = b""
    data: bytes = b""
    target: bytes = b""
    entries: dict[bytes, Inode] = field(default_factory=dict)
    links: int = 0
    above: Inode | None = None
    """The folder that a folder stands in."""
    saved_data: bytes = b""
    saved_mtime_ns: int = 0
    saved_is_executable: bool = False
    saved_xattrs: bytes = b""
    saved_entries: dict[bytes, Inode] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes, as stat tells them."""
        return len(self.target) if self.kind is Kind.SYMLINK else len(self.data)

    def stat(self, *, has_birth: bool = True, has_xattrs: bool = False) -> Stat:
        birth_ns = self.birth_ns if has_birth else 0
        xattrs = self.xattrs if has_xattrs and self.kind != Kind.SYMLINK else None
        bit = self.is_executable
        return Stat(self.kind, self.size, self.mtime_ns, self.ctime_ns, self.number, birth_ns, bit, DEVICE, xattrs)

    def save(self) -> None:
        """fsync of the inode itself."""
        self.saved_data = self.data
        self.saved_mtime_ns = self.mtime_ns
        self.saved_is_executable = self.is_executable
        self.saved_xattrs = self.xattrs


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One change of names, all or nothing. changes: (folder, name, what it names then)."""

    changes: tuple[tuple[Inode, bytes, Inode | None], ...]


class FakeVolume:
    """Folders and files, their names changed by steps. capacity_bytes: None is endless."""

    def __init__(self, clock: TimeSource, capacity_bytes: int | None = None) -> None:
        self.clock = clock
        self.capacity_bytes = capacity_bytes
        self.pending: list[Step] = []
        self.notes: dict[str, bytes] = {}
        self._last_ns = 0
        self._free: list[int] = []
        self._next = 2
        self.root = self.inode(Kind.FOLDER)
        self.staging = self.inode(Kind.FOLDER)
        self.trash = self.inode(Kind.FOLDER)
        self.stagings: dict[bytes, Inode] = {}
        """Those of shared folders that stand in the linked one, by namespace."""
        self.handles = 0

    # -- inodes -------------------------------------------------------------------------------------------------------

    def tick(self) -> int:
        """Return a time that was never returned before: today's kernels stamp so finely."""
        self._last_ns = max(self.clock.now_ns(), self._last_ns + 1)
        return self._last_ns

    def inode(self, kind: Kind, *, target: bytes = b"") -> Inode:
        """Make an inode with the newest freed number."""
        number = self._free.pop() if self._free else self._next
        if number == self._next:
            self._next += 1
        now = self.tick()
        made = Inode(number, kind, now, now, now, target=target)
        made.save()
        return made

    def staging_of(self, ns: bytes) -> Inode:
        """Return the staging folder of a shared folder, made if need be: as durable as the first one."""
        if ns not in self.stagings:
            self.stagings[ns] = self.inode(Kind.FOLDER)
        return self.stagings[ns]

    def used_bytes(self) -> int:
        """Return the bytes in all files that have a name."""
        return sum(len(one.data) for one in self.everything())

    def everything(self) -> list[Inode]:
        """Return every inode with a name, and the tops."""
        found = [self.root, self.staging, self.trash, *self.stagings.values()]
        for one in found:
            found += one.entries.values()
        return found

    def require_room(self, coming: int) -> None:
        if self.capacity_bytes is not None and self.used_bytes() + coming > self.capacity_bytes:
            raise StorageFull("The disk is full.", where="fake")

    # -- names --------------------------------------------------------------------------------------------------------

    def folder(self, top: Inode, path: bytes) -> Inode:
        """Return the folder at `path`. Raises: NotFound, FileUnreadable for a symlink on the way."""
        at = top
        for name in path.split(b"/") if path else ():
            found = at.entries.get(name)
            if found is not None and found.kind == Kind.SYMLINK:
                raise FileUnreadable("A symlink is on the way.", path=repr(path), reason="ELOOP")
            if found is None or found.kind != Kind.FOLDER:
                raise NotFound("Nothing is there.", path=repr(path))
            at = found
        return at

    def do(self, *changes: tuple[Inode, bytes, Inode | None]) -> None:
        """Change names in one step."""
        now = self.tick()
        for folder, name, inode in changes:
            before = folder.entries.pop(name, None)
            if before is not None:
                before.links -= 1
                before.ctime_ns = now
            if inode is not None:
                folder.entries[name] = inode
                inode.links += 1
                inode.above = folder
                inode.ctime_ns = now
            folder.mtime_ns = folder.ctime_ns = now
        self.pending.append(Step(changes))

    def free(self, inode: Inode) -> None:
        """Give an inode's number back when nothing names it any more."""
        if inode.links <= 0:
            self._free.append(inode.number)

    def sync(self, folder: Inode) -> None:
        """fsync a folder: its steps, and what those rest on."""
        needed = {id(folder)}
        taken: set[int] = set()
        for at in range(len(self.pending) - 1, -1, -1):
            touched = {id(one) for one, _, _ in self.pending[at].changes}
            if touched & needed:
                needed |= touched
                taken.add(at)
        self._save([step for at, step in enumerate(self.pending) if at in taken])
        self.pending = [step for at, step in enumerate(self.pending) if at not in taken]

    def sync_with_names(self, folder: Inode) -> None:
        """fsync a folder, and the names that lead to it: what the kernel has written out can be reached."""
        at: Inode | None = folder
        while at is not None and self.pending:
            self.sync(at)
            at = at.above

    def sync_names_of(self, inode: Inode) -> None:
        """Write out the names that lead to an inode, as fsync of a new file does."""
        for folder in self.everything():
            if any(one is inode for one in folder.entries.values()):
                self.sync_with_names(folder)

    def sync_all(self) -> None:
        """Write out everything, as the kernel does in time."""
        for inode in self.everything():
            inode.save()
        self._save(self.pending)
        self.pending = []

    @staticmethod
    def _save(steps: list[Step]) -> None:
        for step in steps:
            for folder, name, inode in step.changes:
                folder.saved_entries.pop(name, None)
                if inode is not None:
                    folder.saved_entries[name] = inode

    # -- power cut ----------------------------------------------------------------------------------------------------

    def after_crash(self, mode: CrashMode, seed: int) -> FakeVolume:
        """Return what a power cut leaves. This volume must not be used any more."""
        rng = random.Random(seed)
        if mode == "reordered":
            self._save_some(rng)
        left = FakeVolume(self.clock, self.capacity_bytes)
        left._last_ns = self._last_ns
        left.notes = dict(self.notes)
        copies: dict[int, Inode] = {}
        left.handles = self.handles
        left.stagings = {ns: Inode(old.number, Kind.FOLDER, 0, 0, 0) for ns, old in self.stagings.items()}
        tops = [(left.root, self.root), (left.staging, self.staging), (left.trash, self.trash)]
        for top, old in (*tops, *((left.stagings[ns], old) for ns, old in self.stagings.items())):
            copies[id(old)] = top
            top.number, top.birth_ns, top.mtime_ns, top.ctime_ns = old.number, old.birth_ns, old.mtime_ns, old.ctime_ns
        waiting = [self.root, self.staging, self.trash, *self.stagings.values()]
        for old in waiting:
            copy = copies[id(old)]
            for name, below in old.saved_entries.items():
                if id(below) not in copies:
                    copies[id(below)] = _left_of(below, mode, rng)
                    waiting.append(below)
                copies[id(below)].links += 1
                copies[id(below)].above = copy
                copy.entries[name] = copies[id(below)]
            copy.saved_entries = dict(copy.entries)
        used = {copy.number for copy in copies.values()}
        left._next = max(used) + 1
        left._free = [number for number in range(left._next - 1, 1, -1) if number not in used]
        return left

    def _save_some(self, rng: random.Random) -> None:
        stopped: set[int] = set()
        for step in self.pending:
            touched = {id(folder) for folder, _, _ in step.changes}
            if touched & stopped or rng.random() < 0.5:
                # What is in a folder cannot be there before the folder is.
                stopped |= touched | {id(inode) for _, _, inode in step.changes if inode is not None}
            else:
                self._save([step])


def _left_of(inode: Inode, mode: CrashMode, rng: random.Random) -> Inode:
    data = inode.saved_data
    if mode == "reordered" and inode.data != data:
        # All of it, none of it, or a torn write.
        data = rng.choice((data, inode.data, inode.data[: rng.randrange(len(inode.data) + 1)]))
    copy = Inode(
        inode.number,
        inode.kind,
        inode.birth_ns,
        inode.saved_mtime_ns if inode.kind == Kind.FILE else inode.mtime_ns,
        inode.ctime_ns,
        inode.saved_is_executable,
        inode.saved_xattrs,
        data,
        inode.target,
    )
    copy.save()
    return copy
