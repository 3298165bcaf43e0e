"""The device's seams: disk, watcher, service, clock; every adapter passes the contract suite of its port.

A path is relative to the linked folder: name bytes joined by b"/"; b"" is the folder itself. Every method of FileSystem
resolves beneath the root and never follows a symlink. Real disk adapters never suspend, so a worker thread drives such
coroutines to their end; in the simulation each call is a scheduling point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NewType, Protocol

import msgspec

from satchel.core.entries import Kind
from satchel.core.ids import BlockHash, ContentHash, NamespaceId, Nid
from satchel.core.messages import (
    Changes,
    ChangesRequest,
    CommitReply,
    CommitRequest,
    Hello,
    NamespacesReply,
    ScopeReply,
    ScopeRequest,
    SnapshotPage,
    SnapshotRequest,
    StreamFrame,
)

DiskPath = NewType("DiskPath", bytes)
ROOT_PATH = DiskPath(b"")


def joined(folder: DiskPath, name: bytes) -> DiskPath:
    """Return the path of `name` in `folder`."""
    return DiskPath(folder + b"/" + name if folder else name)


def split(path: DiskPath) -> tuple[DiskPath, bytes]:
    """Return (folder, name) of a path that is not the root."""
    folder, _, name = path.rpartition(b"/")
    return DiskPath(folder), name


class Stat(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the disk says of one name, without following a symlink.

    kind: None for a special file (socket, device, fifo) or a foreign mount. birth_ns: 0 where it was not asked for or
    the volume has none. device: only to detect foreign mounts within a run, never stored. xattrs: packed, or one of the
    signs of `core.xattrs`; None where nothing can be said: not asked for (as in a listing), not synced here, not held
    by the volume. They are read after all else, so a later change shows in another ctime.
    """

    kind: Kind | None
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    birth_ns: int
    is_executable: bool
    device: int = 0
    xattrs: bytes | None = None

    def same_file(self, other: Stat) -> bool:
        """True when both are the same file, unchanged as far as stat tells; ctime left out, since renames change it."""
        return (self.kind, self.size, self.mtime_ns, self.inode) == (
            other.kind,
            other.size,
            other.mtime_ns,
            other.inode,
        ) and (not self.birth_ns or not other.birth_ns or self.birth_ns == other.birth_ns)

    def same_thing(self, other: Stat) -> bool:
        """True when both are the same thing, whatever happened to it: kind, inode and, where known, birth time."""
        is_born_equal = not self.birth_ns or not other.birth_ns or self.birth_ns == other.birth_ns
        return self.kind == other.kind and self.inode == other.inode and is_born_equal

    def is_as_planned(self, expected: Stat) -> bool:
        """True when a file is as expected in all that stat tells; a folder: when it is the same one.

        An expected ctime of 0 says that the scanner was not sure of the content, so nothing equals it.
        """
        if expected.kind == Kind.FOLDER:
            return self.same_thing(expected)
        return (
            self.same_file(expected)
            and self.ctime_ns == expected.ctime_ns
            and self.is_executable == expected.is_executable
        )


class Listed(msgspec.Struct, frozen=True, gc=False):
    """One name in a folder; stat without birth time."""

    name: bytes
    stat: Stat


Brief = tuple[str, int, int, int, int, Nid, int]
"""What a row says of a name: (name, ctime, mtime, size, inode, nid, kind). A plain tuple, as the index gives it: a look
at everything compares one for each name that there is."""

RowsOf = Callable[[list[str]], dict[str, Brief]]
"""Gives the rows of listed names, by name; those that are found as they say are taken out of what it gave."""

LISTED_AT_ONCE_MAX = 50_000
"""So many names of a folder are compared at once, which bounds the memory that a very large folder takes."""


@dataclass(slots=True)
class Compared:
    """A folder's names against what rows say of them.

    others: names that no row describes just so, sorted by name. folders: the rows of folders that are as their rows
    say. same: how many names are as their rows say.
    """

    others: list[Listed]
    folders: list[Brief]
    same: int


class OpenFile(Protocol):
    """A regular file opened for reading."""

    async def stat(self) -> Stat:
        """Return the stat of the open file, birth time included."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes; fewer only at the end. Raises: FileUnreadable."""
        ...

    async def close(self) -> None: ...


class StagedFile(Protocol):
    """A file being written in the hidden staging folder of the same volume."""

    name: str

    async def write(self, data: bytes | memoryview) -> None:
        """Append. Raises: StorageFull, StorageFailed."""
        ...

    async def copy_from(self, source: OpenFile, offset: int, length: int) -> None:
        """Append a range of another file of this volume, sharing its blocks where the disk can."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Return what was written, for verification."""
        ...

    async def finish(self, *, mtime_ns: int, is_executable: bool, xattrs: bytes = b"") -> Stat:
        """Set mtime, bit and attributes, fsync, close; the file stays staged. Raises: StorageFull, StorageFailed.

        Attributes that the volume does not take are no fault: the stat shows which the file has.
        """
        ...

    async def discard(self) -> None:
        """Close and remove. Idempotent."""
        ...

    async def close(self) -> None:
        """Close without finishing; the file stays staged as it is. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Volume:
    """Identity of the linked folder: the marker's id and the file-system id; both must stay."""

    marker: bytes
    filesystem: bytes


class FileSystem(Protocol):
    """The linked folder and its hidden state folder (`.satchel`: marker, staging, trash), on one volume."""

    async def check_root(self) -> Volume:
        """Return the root's identity. Raises: RootMissing when the folder, its marker or its volume is not there."""
        ...

    async def list_folder(self, path: DiskPath) -> list[Listed]:
        """Return all names but the state folder, sorted by name. Raises: FileUnreadable; NotFound when not there."""
        ...

    async def compare_folder(self, path: DiskPath, rows_of: RowsOf) -> Compared:
        """List a folder, as `list_folder`, and tell what is not as the rows say.

        rows_of: called at least once, with LISTED_AT_ONCE_MAX names but for the last time. Raises: as `list_folder`.
        """
        ...

    async def stat(self, path: DiskPath) -> Stat | None:
        """Return the stat with birth time, None when not there. Raises: FileUnreadable."""
        ...

    async def open_file(self, path: DiskPath) -> OpenFile:
        """Open a regular file. Raises: FileUnreadable, NotFound."""
        ...

    async def read_short(self, path: DiskPath, bytes_max: int) -> tuple[Stat, bytes] | None:
        """Return a whole regular file of at most `bytes_max` bytes as it was at one moment; None when it is longer.

        Raises: FileChanging when its stat was another after the reading than before, FileUnreadable, NotFound.
        """
        ...

    async def open_trashed(self, name: str) -> OpenFile:
        """Open a file in the local trash, as a source of blocks. Raises: NotFound."""
        ...

    async def read_link(self, path: DiskPath) -> bytes:
        """Return a symlink's target. Raises: FileUnreadable, NotFound."""
        ...

    async def stage(self) -> StagedFile:
        """Make an empty staged file. Raises: StorageFull, StorageFailed."""
        ...

    async def open_staged(self, name: str) -> StagedFile:
        """Reopen a staged file by name, to go on or to read it. Raises: NotFound."""
        ...

    async def stage_symlink(self, target: bytes) -> str:
        """Make a staged symlink. Result: its name in staging. Raises: StorageFull, StorageFailed."""
        ...

    async def stat_staged(self, name: str) -> Stat | None:
        """Stat with birth time of what is staged under the name, None when nothing is."""
        ...

    async def rename_staged(self, name: str, new_name: str) -> None:
        """Give a staged file another, free name. Raises: NameTaken, NotFound.

        Names in staging decide what a crash leaves: `d-…` is a download, which may be thrown away; anything else may
        be a user's file and is kept. So a download is renamed before it is exchanged with a user's file.
        """
        ...

    async def discard_staged(self, name: str) -> None:
        """Delete a download from staging. Idempotent. Refuses a name that does not start with `d-` (our mistake)."""
        ...

    async def set_aside(self, path: DiskPath, name: str, expected: Stat | None = None) -> Stat:
        """Move a file or folder into staging under a free name, noting durably where it stood.

        expected: as for `move`. Result: stat of what moved. Raises: NameTaken, NotFound, FileChanging. For what takes
        several steps (a unit on its way to the trash, a cycle of moves): a crash between them leaves it there, with its
        note.
        """
        ...

    async def origin_of_staged(self, name: str) -> DiskPath | None:
        """Return where something that was set aside stood; None for a download, an exchanged file, or a lost note."""
        ...

    async def place_staged(self, name: str, path: DiskPath, home: Stat | None = None) -> Stat:
        """Move a finished staged file to a free name (RENAME_NOREPLACE). Raises: NameTaken, NotFound (no folder).

        home: the folder that the path is to lead to. A user may have given its name to another: that counts as none.
        """
        ...

    async def exchange_staged(
        self, name: str, path: DiskPath, expected: Stat | None = None
    ) -> tuple[Stat, Stat | None]:
        """Swap a finished staged file with the file at `path` (RENAME_EXCHANGE); `name` holds the old one now.

        expected: as for `move`. Result: the stats of the swapped-out file and of the one that stands at `path` now,
        None when a user was quicker. Raises: NotFound when nothing stands at `path`, FileChanging.
        """
        ...

    async def move(
        self, source: DiskPath, target: DiskPath, expected: Stat | None = None, home: Stat | None = None
    ) -> Stat:
        """Move to a free name. home: the folder of the target, as for `place_staged`. Result: stat of what moved.

        expected: what a plan rests on. A rename gives another ctime, which hides a write that set its mtime back; so
        the looks just before and just after are part of the same call. Raises: NameTaken, NotFound, FileChanging when
        what stands there is not as expected; nothing moved then.
        """
        ...

    async def exchange(
        self, one: DiskPath, other: DiskPath, expected: tuple[Stat, Stat] | None = None
    ) -> tuple[Stat | None, Stat | None]:
        """Swap two names. expected: of both, as for `move`.

        Result: the stats of what stands at `one` and at `other` now, None where a user was quicker. Raises: NotFound,
        FileChanging; nothing is swapped then.
        """
        ...

    async def make_folder(self, path: DiskPath, home: Stat | None = None) -> Stat:
        """home: as for `place_staged`. Raises: NameTaken, NotFound (no parent), StorageFull."""
        ...

    async def make_symlink(self, path: DiskPath, target: bytes) -> Stat:
        """Raises: NameTaken, NotFound (no parent), StorageFull."""
        ...

    async def set_executable(self, path: DiskPath, is_executable: bool, expected: Stat | None = None) -> Stat:
        """expected: as for `move`. Raises: NotFound, FileUnreadable, FileChanging."""
        ...

    async def set_xattrs(self, path: DiskPath, xattrs: bytes, expected: bytes) -> Stat:
        """Give a file or folder these extended attributes instead of those expected. Durable on return.

        Result: its stat; UNHELD in it when the disk did not take them all. Raises: FileChanging when it has others than
        expected, NotFound, FileUnreadable.
        """
        ...

    async def trash(self, path: DiskPath) -> str:
        """Move a file or a whole folder to the local trash. Result: its name there. Raises: NotFound."""
        ...

    async def trash_staged(self, name: str, trashed: str = "") -> str:
        """Move a swapped-out file or what was set aside to the trash, under this name or any other.

        Result: its name there. Raises: NotFound.
        """
        ...

    async def list_trashed(self, name: str, below: bytes = b"") -> list[Listed]:
        """List a trashed folder, for the walk after the move. Raises: NotFound."""
        ...

    async def stat_trashed(self, name: str, below: bytes = b"") -> Stat | None:
        """Stat with birth time of something in the trash."""
        ...

    async def restore_trashed(self, name: str, below: bytes, path: DiskPath) -> Stat:
        """Move something out of the trash to a free name. Raises: NameTaken, NotFound."""
        ...

    async def restore_staged(self, name: str, path: DiskPath, below: bytes = b"", home: Stat | None = None) -> Stat:
        """Move an exchanged file or what was set aside (or a part `below` it) from staging to a free name.

        home: as for `place_staged`. Raises: NameTaken, NotFound.
        """
        ...

    async def list_staged(self, name: str = "", below: bytes = b"") -> list[Listed]:
        """List staging, or a folder that was set aside into it. Raises: NotFound."""
        ...

    async def sync_folder(self, path: DiskPath) -> None:
        """fsync a folder. Raises: StorageFailed; nothing when the folder is gone."""
        ...

    async def sync_trash(self) -> None:
        """fsync the trash folder, so that what was moved there is found there. Raises: StorageFailed."""
        ...

    async def sync_volume(self) -> None:
        """Make durable whatever anybody did on the root's volume so far. Raises: RootMissing, StorageFailed.

        It can take as long as the volume has unwritten bytes; nothing that is waited for may rest on it.
        """
        ...

    async def kept_in_trash(self) -> list[tuple[str, DiskPath | None]]:
        """Return what has no time in the trash, so that `purge_trash` keeps it, and where each stood if known."""
        ...

    async def purge_trash(self, before_ns: int) -> int:
        """Delete for good what was trashed before then. Result: how many."""
        ...

    async def free_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Hint:
    """Something may have changed in a folder. names: which (None: any). is_deep: look at everything below too."""

    folder: DiskPath
    names: frozenset[bytes] | None = None
    is_deep: bool = False


EVERYTHING = Hint(ROOT_PATH, None, True)
"""The whole linked folder is to be looked at."""


class Watcher(Protocol):
    """Hints of change. Never a proof: what is lost is found by the next scan."""

    async def start(self) -> bool:
        """Watch the whole root. False: degraded (out of watches), budgeted scans are needed; `status_line` says why."""
        ...

    async def next_hints(self, timeout_s: float) -> list[Hint]:
        """Wait for settled hints; an overflow is `Hint(ROOT_PATH, None, True)`. Empty at the timeout."""
        ...

    async def stop(self) -> None: ...

    @property
    def is_degraded(self) -> bool:
        """True when parts of the tree are not watched (any more)."""
        ...

    @property
    def status_line(self) -> str: ...


@dataclass(frozen=True, slots=True)
class OutgoingBlock:
    """A block as it is sent: body is compressed when codec says so."""

    hash: BlockHash
    size: int
    codec: int
    body: bytes


class Remote(Protocol):
    """The service, for one signed-in device. Every call raises Unavailable when it cannot be reached, else Faults."""

    async def commit(self, request: CommitRequest, bodies: Sequence[bytes]) -> CommitReply:
        """Commit; safe to repeat with the same op ids. Unknown outcome: Unavailable."""
        ...

    async def put_blocks(self, ns: NamespaceId, blocks: Sequence[OutgoingBlock]) -> tuple[BlockHash, ...]:
        """Store blocks; result: those durable now. Idempotent."""
        ...

    async def get_blocks(self, ns: NamespaceId, hashes: Sequence[BlockHash]) -> dict[BlockHash, bytes]:
        """Return the verified, decompressed blocks that the service could give; those missing are left out."""
        ...

    async def changes(self, request: ChangesRequest) -> tuple[Changes, dict[BlockHash, bytes]]:
        """Return a page and its inline contents, verified, by block hash."""
        ...

    async def snapshot(self, request: SnapshotRequest) -> SnapshotPage: ...

    async def manifests(self, ns: NamespaceId, ids: Sequence[ContentHash]) -> dict[ContentHash, bytes]: ...

    async def namespaces(self) -> NamespacesReply: ...

    async def set_scope(self, request: ScopeRequest) -> ScopeReply:
        """Make this all that a link leaves out. Idempotent; durable on return."""
        ...

    async def open_stream(self, hello: Hello) -> None:
        """Connect the stream and send the hello; the welcome is the first frame that `next_frame` gives."""
        ...

    async def next_frame(self, timeout_s: float) -> tuple[StreamFrame, dict[BlockHash, bytes]] | None:
        """Return the next frame and its contents, None at the timeout. Raises: Unavailable when the line is lost."""
        ...

    async def close_stream(self) -> None: ...

    async def close(self) -> None: ...


class Times(Protocol):
    """What time it is: the part of `Clock` that reading files needs."""

    def now_ns(self) -> int:
        """Wall clock, Unix ns."""
        ...

    def monotonic_s(self) -> float: ...


class Clock(Times, Protocol):
    """Time, randomness and sleep."""

    def boot(self) -> bytes:
        """Return which start of the machine this is: another after each power cut. Empty when that cannot be told."""
        ...

    def random(self, count: int) -> bytes: ...

    async def sleep_s(self, seconds: float) -> None: ...
