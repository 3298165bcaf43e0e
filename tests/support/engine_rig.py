"""An engine over an index in memory, whose hands are played by the test: literal facts in, tasks out.

rig = Rig()
rig.start(remote=[entry(1, NODE_A, "a.txt", b"one")], disk=[new(1, "b.txt", b"two")])
task = rig.take(CommitTask)
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, TypeVar

from satchel.core.entries import Action, Entry, Kind
from satchel.core.hashing import Block, block_hash, content_hash, pack_blocks
from satchel.core.ids import ROOT_NID, ROOT_NODE, BlockHash, DeviceId, LinkId, NamespaceId, Nid, NodeId, OpId, Tag
from satchel.core.messages import (
    Changes,
    CommitReply,
    Hello,
    NamespaceHead,
    NamespacesReply,
    Outcome,
    SnapshotPage,
    Stored,
    Welcome,
)
from satchel.core.paths import name_key
from satchel.device.engine import Engine, Now
from satchel.device.engine.state import FROM_DISK, LinkIdentity
from satchel.device.index.store import Index
from satchel.device.ports import ROOT_PATH, Hint, Stat
from satchel.device.service_tasks import (
    Pulled,
    PullTask,
    Reached,
    ReachTask,
    SnapshotTaken,
    SnapshotTask,
    StreamFrameCame,
    StreamTask,
)
from satchel.device.tasks import (
    Applied,
    ApplyResult,
    ApplyTask,
    Changed,
    CommitTask,
    Committed,
    DiskResult,
    DiskTask,
    Fact,
    Hinted,
    LocalFact,
    MovePaths,
    NewParent,
    PlaceFile,
    PlaceFolder,
    PlaceSymlink,
    Scanned,
    ScanTask,
    SeenNew,
    SetAttrs,
    Task,
)
from tests.support.still_clock import StillClock

NS = NamespaceId(b"n" * 16)
DEVICE = DeviceId(b"D" * 16)
LINK = LinkId(b"L" * 16)
OTHER_LINK = LinkId(b"O" * 16)
OTHER_DEVICE = DeviceId(b"E" * 16)
EPOCH = b"e" * 16
OWN_OP = OpId(bytes([FROM_DISK]) + b"o" * 15)
TREE_OP = OpId(bytes([0]) + b"o" * 15)
"""An op id of this link whose operation did not state what was on disk."""
WALL_NS = 1_795_000_000_000_000_000

NODE_A, NODE_B, NODE_C, NODE_D = (NodeId(letter * 16) for letter in (b"a", b"b", b"c", b"d"))

TaskT = TypeVar("TaskT", bound=Task)


def hash_of(data: bytes) -> bytes:
    """Return the content hash of a small file."""
    return content_hash((block_hash(data),)) if data else content_hash(())


def blocks_of(data: bytes) -> bytes:
    """Return the packed blocklist of a small file."""
    return pack_blocks([Block(block_hash(data), len(data))]) if data else b""


def tag(seq: int) -> Tag:
    return Tag(seq.to_bytes(8, "big"))


def entry(
    seq: int,
    node: NodeId,
    name: str,
    data: bytes = b"",
    *,
    parent: NodeId = ROOT_NODE,
    kind: Kind = Kind.FILE,
    action: Action = Action.CREATE,
    is_live: bool = True,
    is_executable: bool = False,
    link: LinkId = OTHER_LINK,
    op_id: OpId = TREE_OP,
    content_rev: int | None = None,
    place_rev: int | None = None,
    is_subtree: bool = False,
) -> Entry:
    """Return a journal entry; data: the file's bytes."""
    is_file = kind is Kind.FILE
    return Entry(
        seq,
        tag(seq),
        int(action),
        node,
        parent,
        name,
        name_key(name),
        int(kind),
        is_live,
        hash_of(data) if is_file else data,
        blocks_of(data) if is_file else b"",
        len(data),
        WALL_NS,
        is_executable,
        seq if content_rev is None else content_rev,
        seq if place_rev is None else place_rev,
        is_subtree,
        DEVICE if link == LINK else OTHER_DEVICE,
        link,
        op_id,
        1,
    )


def folder(seq: int, node: NodeId, name: str, **more: object) -> Entry:
    """Return a journal entry of a folder."""
    return entry(seq, node, name, kind=Kind.FOLDER, **more)  # type: ignore[arg-type]  # passed on as they are


def changes(prev_seq: int, *entries: Entry, head_seq: int | None = None, has_more: bool = False) -> Changes:
    """Return a page of the journal."""
    last = entries[-1].seq if entries else prev_seq
    return Changes(NS, prev_seq, last, tag(last), entries, last if head_seq is None else head_seq, has_more)


def pushed(prev_seq: int, *entries: Entry, contents: Sequence[bytes] = ()) -> StreamFrameCame:
    """Return a frame of the stream. contents: bytes that travel with it."""
    from satchel.core.messages import Pushed

    return StreamFrameCame(
        Pushed(changes(prev_seq, *entries)), {BlockHash(block_hash(data)): data for data in contents}
    )


def stat(inode: int, data: bytes = b"", kind: Kind = Kind.FILE, *, is_executable: bool = False) -> Stat:
    """Return the stat of something as it stands on disk."""
    return Stat(kind, len(data), WALL_NS - 10**12, WALL_NS - 10**12, inode, inode * 7, is_executable)


def new(order: int, name: str, data: bytes = b"", *, parent: Nid | int = ROOT_NID, inside: int = 0) -> SeenNew:
    """Return a file that the scanner saw. inside: the order of a new folder that it is in."""
    home = NewParent(inside) if inside else Nid(parent)
    return SeenNew(order, home, name.encode(), stat(100 + order, data), hash_of(data), blocks_of(data))


def new_folder(order: int, name: str, *, inside: int = 0) -> SeenNew:
    home = NewParent(inside) if inside else ROOT_NID
    return SeenNew(order, home, name.encode(), stat(100 + order, kind=Kind.FOLDER), b"", b"")


class Rig:
    """The engine, its index, and the tasks that it gave and nobody has taken yet."""

    def __init__(self, image: bytes | None = None, *, now_s: float = 1_000.0, unit: NodeId = ROOT_NODE) -> None:
        self.index = Index(":memory:", image=image)
        self.clock = StillClock(WALL_NS, seed=zlib.crc32(image or b""))
        if image is None:
            # As if an earlier start had sent it.
            self.index.put("sent", OWN_OP[7:11] + b"\xff" * 4)
        self.engine = Engine(self.index, LinkIdentity(LINK, DEVICE, "laptop", NS, unit), self.clock)
        self.now_s = now_s
        self.pending: list[Task] = []
        self.hello: Hello | None = None

    @property
    def state(self):  # type: ignore[no-untyped-def]  # the engine's own; tests only look
        return self.engine.state

    def step(self, *facts: Fact) -> list[Task]:
        """Step with the facts; what it gives is pending and returned."""
        tasks = self.engine.step(facts, Now(self.now_s, WALL_NS + int(self.now_s * 1e9)))
        self.pending += tasks
        return tasks

    def wait(self, seconds: float) -> list[Task]:
        """Let so much time pass, then step."""
        self.now_s += seconds
        return self.step()

    def take(self, kind: type[TaskT]) -> TaskT:
        """Take the first pending task of this kind."""
        for at, task in enumerate(self.pending):
            if isinstance(task, kind):
                del self.pending[at]
                return task
        raise AssertionError(f"no {kind.__name__} in {self.pending}")

    def has(self, kind: type[Task]) -> bool:
        return any(isinstance(task, kind) for task in self.pending)

    def restarted(self) -> Rig:
        """Return the rig of the next start, with what the index holds."""
        return Rig(self.index.image(), now_s=self.now_s, unit=self.engine.state.identity.unit)

    # -- hands --------------------------------------------------------------------------------------------------------

    def start(
        self, remote: Sequence[Entry] = (), disk: Sequence[LocalFact] = (), *, epoch: bytes = EPOCH, head: int = 0
    ) -> None:
        """Connect, join if needed, and finish the first scan. Nothing is planned before."""
        self.step()
        self.connect(remote, epoch=epoch, head=head)
        if self.has(StreamTask):
            self.welcome()
        self.scan(*disk, is_full=True)

    def connect(self, remote: Sequence[Entry] = (), *, epoch: bytes = EPOCH, head: int = 0) -> None:
        """Answer what a connection asks, until the link is live."""
        head = max([head, *(each.seq for each in remote)])
        self.take(ReachTask)
        self.step(Reached(NamespacesReply(epoch, "ann", (NamespaceHead(NS, "root", True, head, tag(head)),))))
        if self.has(SnapshotTask):
            self.join(remote, head)

    def join(self, remote: Sequence[Entry], head: int) -> None:
        """Answer the snapshot and the pull after it."""
        page = SnapshotPage(NS, head, tag(head), tuple(sorted(remote, key=lambda each: each.node_id)), False)
        self.step(SnapshotTaken(self.take(SnapshotTask), page))
        if self.has(StreamTask):
            self.welcome()
        self.take(PullTask)
        self.step(Pulled(changes(head)))

    def welcome(self, *, recover: bool = False) -> None:
        """Answer the hello."""
        self.hello = self.take(StreamTask).hello
        self.step(StreamFrameCame(Welcome(EPOCH, recover, DEVICE), {}))

    def scan(self, *facts: LocalFact, is_full: bool = False) -> list[Task]:
        """Answer the pending scan; without one, as a hint about the whole folder gave one."""
        if not self.has(ScanTask):
            self.step(Hinted((Hint(ROOT_PATH, None, True),)))
        return self.step(Scanned(self.take(ScanTask), facts, True, len(facts), is_full, begun_s=self.now_s))

    def take_commit(self) -> tuple[Any, ...]:
        """Take the pending commit request; `answer` answers it. Result: its ops."""
        self._taken = self.take(CommitTask)
        return self._taken.request.ops

    def answer(self, *outcomes: Outcome, head_seq: int = 0) -> list[Task]:
        return self.step(Committed(self._taken, CommitReply(outcomes, head_seq)))

    def commit(self, *outcomes: Outcome, head_seq: int = 0) -> CommitTask:
        """Answer the pending commit request; Result: its task."""
        task = self.take(CommitTask)
        self.step(Committed(task, CommitReply(outcomes, head_seq)))
        return task

    def synced(self, *files: tuple[NodeId, str, bytes]) -> None:
        """Start with these files on both sides, in the linked folder itself."""
        remote = [entry(at, node, name, data) for at, (node, name, data) in enumerate(files, 1)]
        self.start(remote, [new(at, name, data) for at, (_, name, data) in enumerate(files, 1)])
        assert self.engine.is_settled
        self.pending.clear()

    def apply(self, *results: DiskResult, inode: int = 500) -> ApplyTask:
        """Answer the pending batch: as given, or all done. Result: its task."""
        task = self.take(ApplyTask)
        answers = results or tuple(done(one, inode + at) for at, one in enumerate(task.tasks))
        self.step(ApplyResult(task, answers))
        return task

    def nid(self, node: NodeId) -> Nid:
        nid = self.index.reader.nid_of(node)
        assert nid is not None
        return nid

    def held_codes(self) -> list[str]:
        return [code for _, code, _, _ in self.index.held(1_000)]


def done(task: DiskTask, inode: int) -> DiskResult:
    """Return what the applier says when all went as planned."""
    match task:
        case PlaceFile(data=data, staged=staged, is_executable=bit):
            at = stat(inode, data or staged.encode(), is_executable=bit)
            return Applied((at,), trashed="1-x" if task.expected is not None and task.keep_as is None else "")
        case PlaceFolder():
            return Applied((stat(inode, kind=Kind.FOLDER),))
        case PlaceSymlink(target=target):
            return Applied((stat(inode, target, Kind.SYMLINK),))
        case MovePaths(moves=moves):
            return Applied(tuple(move.expected for move in moves))
        case SetAttrs(expected=expected, is_executable=bit):
            return Applied((stat(expected.inode, b"x" * expected.size, is_executable=bit),))
        case _:
            return Applied((), trashed="2-x")


__all__ = ["Changed", "Rig", "Stored", "changes", "entry", "folder", "new", "new_folder", "pushed", "stat"]
