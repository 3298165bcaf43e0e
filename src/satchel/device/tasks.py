"""Values between the engine and its hands (scanner, transfer, applier): one task handed out, one result reported.

Invariant: a task carries everything its hand needs, paths and expected stats included; a hand decides nothing and
reports what happened. A precondition that no longer holds changes nothing and is reported as `Changed`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec

from satchel.core.errors import Fault
from satchel.core.ids import BlockHash, ContentHash, NamespaceId, Nid
from satchel.core.messages import (
    CommitReply,
    CommitRequest,
)
from satchel.device.ports import DiskPath, Hint, Stat
from satchel.device.service_tasks import (
    Pulled,
    PullTask,
    Reached,
    ReachTask,
    ScopeTask,
    ScopeTold,
    SnapshotTaken,
    SnapshotTask,
    StreamEnded,
    StreamFrameCame,
    StreamTask,
)

# -- looking at the disk ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScanTask:
    """Look at what the hints name; `Hint(ROOT_PATH, None, True)` is a full scan."""

    hints: tuple[Hint, ...]


class _Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A scan makes them by the hundred thousand, perhaps in another process. None refers to one that refers back."""


class NewParent(_Seen, frozen=True):
    """Parent of something seen inside a folder that is itself new in this scan: `order` of that SeenNew."""

    order: int


class SeenNew(_Seen, frozen=True):
    """Something no row knows, by name or identity. order: counts up in one scan; a parent comes before its children."""

    order: int
    parent: Nid | NewParent
    name: bytes
    stat: Stat
    content: bytes
    """Content hash of a file, target of a symlink, empty for a folder."""
    blocks: bytes
    """Packed blocklist of a file."""


class SeenChanged(_Seen, frozen=True):
    """A known node at its known place with other content, bit or stat. base: the row's `l_version` that was compared.

    For a file replaced by rename (an editor's save) too: the stat's identity is then the new one.
    """

    nid: Nid
    base: int
    stat: Stat
    content: bytes
    blocks: bytes
    """Packed blocklist; empty when the file was not read."""


class SeenMoved(_Seen, frozen=True):
    """A known node at another place, by its identity (inode and birth time); content as for SeenChanged."""

    nid: Nid
    base: int
    parent: Nid | NewParent
    name: bytes
    stat: Stat
    content: bytes
    blocks: bytes


class SeenGone(_Seen, frozen=True):
    """A known node whose folder was listed without error and does not hold it, and that was found nowhere else."""

    nid: Nid
    base: int


class SeenUnknown(_Seen, frozen=True):
    """Cannot be told: unreadable, still changing, name not UTF-8, special file, ignored, foreign mount.

    nid: the known row, or None for what no row knows (parent and name tell where). retry: look again later."""

    nid: Nid | None
    parent: Nid | NewParent | None
    name: bytes
    code: str
    reason: str
    retry: bool


LocalFact = SeenNew | SeenChanged | SeenMoved | SeenGone | SeenUnknown


@dataclass(frozen=True, slots=True)
class Scanned:
    """A part of a scan. facts: in order; is_last: the scan is over. files_seen: for progress.

    A scan may report several parts, so that the first files travel while the rest is hashed. fault: it ended early
    (RootMissing), and nothing may be derived from it. begun_s: when it began to look, on the monotonic clock: it shows
    everything as it was then or later.
    """

    task: ScanTask
    facts: tuple[LocalFact, ...]
    is_last: bool
    files_seen: int
    is_full: bool = False
    fault: Fault | None = None
    begun_s: float = -math.inf


# -- sending ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LocalSource:
    """Where bytes can be read on this disk: a file as it was last seen. path or trashed name."""

    path: DiskPath
    stat: Stat
    offset: int = 0
    trashed: str = ""


@dataclass(frozen=True, slots=True)
class InlineSource:
    """A small file of one block whose bytes travel in the commit."""

    hash: BlockHash
    size: int
    source: LocalSource


@dataclass(frozen=True, slots=True)
class CommitTask:
    """One commit request; `inline` files are read, checked against their hash and added by the transfer.

    The ops of files that are no longer as `inline` says are left out of the request and reported in `unread`.
    nids, inline: for each op its rows, and its inline content if any.
    """

    number: int
    request: CommitRequest
    nids: tuple[tuple[Nid, ...], ...]
    inline: tuple[InlineSource | None, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """reply.outcomes: one for each op that was sent, in order (`unread` ops have none). fault: nothing is known."""

    task: CommitTask
    reply: CommitReply | None
    unread: tuple[int, ...] = ()
    """Indices of ops whose file changed or cannot be read."""
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class UploadTask:
    """Send the blocks of one file that the service lacks. blocks: (hash, size, offset in the file)."""

    nid: Nid
    ns: NamespaceId
    source: LocalSource
    blocks: tuple[tuple[BlockHash, int, int], ...]


@dataclass(frozen=True, slots=True)
class Uploaded:
    """fault: FileChanging when the file is no longer as the task says; others as the service gave them."""

    task: UploadTask
    fault: Fault | None = None


# -- fetching ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FetchItem:
    """One file to build in staging. blocks: packed blocklist, empty when the transfer has to ask for it (size > 0).

    sources: where blocks can be had from this disk; data: the whole content when it came with the feed.
    """

    nid: Nid
    content: ContentHash
    size: int
    blocks: bytes
    mtime_ns: int
    is_executable: bool
    sources: dict[BlockHash, tuple[LocalSource, ...]] = field(default_factory=dict)
    data: bytes | None = None
    xattrs: bytes = b""


@dataclass(frozen=True, slots=True)
class FetchTask:
    """Files to build; small ones come many in one task."""

    number: int
    ns: NamespaceId
    items: tuple[FetchItem, ...]


@dataclass(frozen=True, slots=True)
class ManifestTask:
    """Ask for blocklists that did not fit into their entries, so that local blocks can be found before fetching."""

    ns: NamespaceId
    ids: tuple[ContentHash, ...]


@dataclass(frozen=True, slots=True)
class ManifestsTaken:
    """manifests: packed blocklist by content hash, of those that the service has."""

    task: ManifestTask
    manifests: dict[ContentHash, bytes] = field(default_factory=dict)
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class FetchedItem:
    """staged: name in staging, finished (fsynced, mtime and bit set) and verified; blocks: the blocklist used."""

    nid: Nid
    staged: str
    blocks: bytes
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a FetchTask staged, item by item; each is whole and verified, or has its fault."""

    task: FetchTask
    items: tuple[FetchedItem, ...]


# -- changing the disk ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlaceFile:
    """Put a staged file (or `data`, written and fsynced on the way) at `path`.

    expected: stat of what stands there and is to be swapped out; None: the name must be free.
    keep_as: name in the same folder for the swapped-out file; else it goes to the local trash.
    home: the folder that the path is to lead to, here and below; None: the root, or one that this batch makes.
    """

    nid: Nid
    path: DiskPath
    staged: str
    data: bytes | None
    mtime_ns: int
    is_executable: bool
    expected: Stat | None
    keep_as: bytes | None = None
    xattrs: bytes = b""
    home: Stat | None = None


@dataclass(frozen=True, slots=True)
class PlaceFolder:
    """Make a folder; the name must be free."""

    nid: Nid
    path: DiskPath
    xattrs: bytes = b""
    home: Stat | None = None


@dataclass(frozen=True, slots=True)
class PlaceSymlink:
    """expected: stat of the symlink (or file) to swap out, None for a free name."""

    nid: Nid
    path: DiskPath
    target: bytes
    expected: Stat | None
    keep_as: bytes | None = None
    home: Stat | None = None


@dataclass(frozen=True, slots=True)
class MovePath:
    """expected: stat of what is to move; only kind and identity (inode, birth time) are compared for a folder."""

    nid: Nid
    source: DiskPath
    target: DiskPath
    expected: Stat
    home: Stat | None = None


@dataclass(frozen=True, slots=True)
class MovePaths:
    """One move, or a swap or cycle of several done together (all or none as far as the disk allows)."""

    moves: tuple[MovePath, ...]


@dataclass(frozen=True, slots=True)
class TrashUnit:
    """Move a file or folder to the local trash. members: relative path below it (b"" itself) -> expected stat.

    What is found inside that is not expected is put back at its place (with its folders). trashed: the name that it
    gets there, for whoever must find it again though the outcome was never told; empty: any. twin: where an equal file
    stands that is to come to this place instead: while that one is not as planned, nothing is taken away.
    """

    nid: Nid
    path: DiskPath
    members: dict[bytes, Stat]
    trashed: str = ""
    twin: tuple[DiskPath, Stat] | None = None


@dataclass(frozen=True, slots=True)
class SetAttrs:
    """Set the executable bit of a file, and extended attributes. expected: stat as it was planned on.

    xattrs: None leaves them as they are. In `expected` None says that nothing is known of those that are there.
    """

    nid: Nid
    path: DiskPath
    is_executable: bool
    expected: Stat
    xattrs: bytes | None = None


DiskTask = PlaceFile | PlaceFolder | PlaceSymlink | MovePaths | TrashUnit | SetAttrs


@dataclass(frozen=True, slots=True)
class ApplyTask:
    """A batch for one worker; each touched folder is fsynced once at its end."""

    number: int
    tasks: tuple[DiskTask, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """It is done and durable. stats: new stat (birth time included) of each nid that the task names, in its order.

    kept: stat of the swapped-out file under its keep_as name. trashed: name in the trash, "" when none.
    """

    stats: tuple[Stat, ...]
    kept: Stat | None = None
    kept_name: bytes = b""
    trashed: str = ""
    put_back: tuple[DiskPath, ...] = ()
    """Paths that an unexpected content inside a trashed unit was put back to; they are to be looked at again."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The disk is not what was planned on; nothing was changed. paths: where to look again."""

    paths: tuple[DiskPath, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A fault; nothing was changed, but what could not be taken back may be in staging.

    The row is held with the fault's code and tried again later.
    """

    fault: Fault


DiskResult = Applied | Changed | Failed


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """results: one for each task, in order."""

    task: ApplyTask
    results: tuple[DiskResult, ...]


# -- leftovers and the trash ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DiscardTask:
    """Delete finished downloads that nobody wants any more. Reports nothing: what stays, the next start deletes."""

    staged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettleTask:
    """Decide, as a start does, on what a task that failed left in staging. No batch may be under way."""


@dataclass(frozen=True, slots=True)
class StagingSettled:
    """paths: where something was put back, to be looked at. fault: why something is still in staging."""

    paths: tuple[DiskPath, ...]
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class LateItem:
    """Something in the local trash that a program may still write to. path: where it stood.

    members: relative path below it (b"" itself) -> stat when it went. content: hash to compare with, empty: stat alone
    tells. looks: how many were made before.
    """

    trashed: str
    path: DiskPath
    members: dict[bytes, Stat]
    content: bytes
    looks: int


@dataclass(frozen=True, slots=True)
class LateTask:
    """Look at these again; what changed comes back to the linked folder."""

    items: tuple[LateItem, ...]


@dataclass(frozen=True, slots=True)
class LateSeen:
    """paths: where something was brought back to, durably. is_gone: it is not in the trash any more."""

    paths: tuple[DiskPath, ...] = ()
    is_gone: bool = False


LateResult = LateSeen | Failed


@dataclass(frozen=True, slots=True)
class LateLooked:
    """results: one for each item, in order."""

    task: LateTask
    results: tuple[LateResult, ...]


@dataclass(frozen=True, slots=True)
class BringBackTask:
    """Move something out of the trash to where it stood. What stands there stays: folders are joined."""

    trashed: str
    path: DiskPath


@dataclass(frozen=True, slots=True)
class BroughtBack:
    """paths: where it is, durably; none when it was not in the trash."""

    task: BringBackTask
    paths: tuple[DiskPath, ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class PurgeTask:
    """Delete for good what went to the trash before then."""

    before_ns: int


@dataclass(frozen=True, slots=True)
class Purged:
    """count: how much was deleted."""

    task: PurgeTask
    count: int
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class SyncVolumeTask:
    """Make durable what the disk shows. version: the index's newest local version when this was asked."""

    version: int


@dataclass(frozen=True, slots=True)
class VolumeSynced:
    """What the disk showed when the task was asked survives a power cut, unless there is a fault."""

    task: SyncVolumeTask
    fault: Fault | None = None


# -- all of them ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hinted:
    """The watcher's word."""

    hints: tuple[Hint, ...]


Task = (
    ScanTask
    | CommitTask
    | UploadTask
    | FetchTask
    | ManifestTask
    | ApplyTask
    | DiscardTask
    | SettleTask
    | LateTask
    | BringBackTask
    | PurgeTask
    | SyncVolumeTask
    | ReachTask
    | SnapshotTask
    | StreamTask
    | PullTask
    | ScopeTask
)
Fact = (
    Scanned
    | Committed
    | Uploaded
    | Fetched
    | ManifestsTaken
    | ApplyResult
    | StagingSettled
    | LateLooked
    | BroughtBack
    | Purged
    | VolumeSynced
    | Reached
    | SnapshotTaken
    | StreamFrameCame
    | StreamEnded
    | Pulled
    | ScopeTold
    | Hinted
)
