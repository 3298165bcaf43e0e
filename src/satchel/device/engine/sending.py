"""Commit operations to requests, and what came of them.

Batching (docs/design/050): idle, commit at once; otherwise when a request is full, or when the previous reply is in and
250 ms have passed. An operation travels only when its needs stand earlier in the same request or are acknowledged. The
same op id is kept until an outcome is known, so an unknown outcome is safe to repeat.
"""

from __future__ import annotations

import itertools
from typing import assert_never

from satchel.core.entries import Entry, Kind
from satchel.core.errors import EpochChanged
from satchel.core.hashing import Block, unpack_blocks
from satchel.core.ids import HASH_BYTES, ID_BYTES, ROOT_NID, BlockHash, ContentHash, Nid, NodeId, OpId
from satchel.core.limits import (
    BLOCKS_PER_COMMIT_MAX,
    INLINE_UP_BYTES_MAX,
    MIB,
)
from satchel.core.messages import (
    AttrOp,
    CommitRequest,
    Conflict,
    Content,
    CreateOp,
    DeleteOp,
    EditOp,
    Moved,
    MoveOp,
    NeedBlocks,
    Op,
    Outcome,
    Placement,
    Refused,
    Stored,
    UndeleteOp,
)
from satchel.core.operations import (
    CommitAttr,
    CommitCopy,
    CommitCreate,
    CommitDelete,
    CommitEdit,
    CommitMove,
    CommitUndelete,
    PlannedMove,
)
from satchel.core.trees import Item
from satchel.device.engine.mounts import put_back
from satchel.device.engine.pages import parent_nid, shows_what_is_in
from satchel.device.engine.results import (
    COMMITS,
    acknowledge,
    fail,
    fail_later,
    fail_until_scanned,
    fail_with,
    finish,
    make_ready,
)
from satchel.device.engine.scope import ask_for_hidden
from satchel.device.engine.state import BATCH_PAUSE_S, CONFIRMED, FROM_DISK, Job, Phase, Stage, State
from satchel.device.index.bulk import to_commit
from satchel.device.index.rows import ToCommit
from satchel.device.ports import ROOT_PATH, DiskPath, joined
from satchel.device.tasks import CommitTask, Committed, InlineSource, LocalSource, Uploaded, UploadTask

CONTENT_COMMITS = (CommitCreate, CommitUndelete, CommitCopy, CommitEdit)
INLINE_BODY_BYTES_MAX = 8 * MIB - 512 * 1024
OP_BYTES = 200
"""About what an operation takes beside its content."""
XATTRS_WAIT_S = 600.0
"""An older service may be replaced by one that keeps them."""
REFUSAL_WAIT_S = {"quota_exceeded": 60.0, "name_invalid": 3600.0, "too_deep": 3600.0, "forbidden": 600.0}


class _Batch:
    """A request being filled, and what is known of the rows that may come into it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._rows: dict[Nid, ToCommit | None] = {}
        self._folders: dict[Nid, DiskPath | None] = {ROOT_NID: ROOT_PATH}
        self._nodes: dict[Nid, NodeId] = {ROOT_NID: state.identity.unit}
        self.jobs: list[Job] = []
        self.ops: list[Op] = []
        self.inline: list[InlineSource | None] = []
        self.bytes = 0
        self.blocks = 0

    @property
    def is_full(self) -> bool:
        return len(self.ops) >= self._state.bounds.commit_ops or self.bytes >= INLINE_BODY_BYTES_MAX * 0.95

    def foresee(self, first: Job) -> None:
        """Read the rows of this job, and of those that come after it into this request, together."""
        nids: list[Nid] = []
        room = INLINE_BODY_BYTES_MAX - self.bytes
        others = max(0, self._state.bounds.commit_ops - len(self.ops))
        for job in itertools.chain((first,), itertools.islice(self._state.ready_commits, others)):
            if isinstance(job.op, CONTENT_COMMITS) and job.op.nid not in self._rows:
                nids.append(job.op.nid)
            room -= job.size + OP_BYTES
            if room < 0:
                break
        found = to_commit(self._state.index, nids)
        for nid in nids:
            self._rows[nid] = found.get(nid)

    def row(self, job: Job, nid: Nid) -> ToCommit | None:
        """Return what a commit says of a row of the job, None when its local side is not there."""
        if nid not in self._rows:
            self.foresee(job)
        return self._rows[nid]

    def remote_seq(self, job: Job, nid: Nid) -> int:
        """Return the seq of the newest entry folded onto a row of the job, 0 for none."""
        row = self.row(job, nid)
        return row.remote_seq if row is not None else self._state.index.remote_seq(nid)

    def path(self, row: ToCommit) -> DiskPath | None:
        """Return where the file stands on disk."""
        if row.parent not in self._folders:
            self._folders[row.parent] = self._state.index.reader.path_of(row.parent)
        folder = self._folders[row.parent]
        return None if folder is None else joined(folder, row.name)

    def blocklist(self, content: bytes) -> bytes | None:
        """Return the packed blocklist of a content, None when it is not known here."""
        return self._state.index.reader.blocklist(content)

    def doubt(self, nid: Nid) -> None:
        """Its blocklist is lost: the look that follows reads the file again."""
        self._state.index.doubt_local(nid)

    def node(self, nid: Nid) -> NodeId:
        """Return the node id of a row. Raises: _RowGone."""
        if nid not in self._nodes:
            row = self._rows.get(nid)
            node_id = row.node_id if row is not None else self._state.index.node_id_of(nid)
            if node_id is None:
                raise _RowGone
            self._nodes[nid] = node_id
        return self._nodes[nid]


_REVIVING = (CommitCreate, CommitUndelete)
"""Each may be sent as the revival of a node that the service knows as deleted."""


def next_commits(state: State) -> None:
    """Hand out commit requests as the batching rule allows.

    None goes before the service has answered a hello of this start, and all was folded that there was then. To an older
    index a file that took another's name is an edit of that one, and the service would take it: only a move, which
    changes no content, came in between.
    """
    if not (state.is_answered and _is_caught_up(state)):
        return
    while state.may_ask and state.ready_commits and state.counts["commit"] < state.bounds.commits_in_flight:
        if not _may_send(state):
            return
        batch = _fill(state)
        if not batch.jobs:
            return
        _send(state, batch)


def _is_caught_up(state: State) -> bool:
    if not state.is_caught_up:
        state.is_caught_up = state.position is not None and state.position.seq >= state.catches_up_at
    return state.is_caught_up


def _may_send(state: State) -> bool:
    if state.ready_commits[0].is_urgent or len(state.ready_commits) >= state.bounds.commit_ops:
        return True
    if sum(job.size for job in state.ready_commits) >= INLINE_BODY_BYTES_MAX:
        return True
    return state.counts["commit"] == 0 and state.now.monotonic_s - state.last_reply_s >= BATCH_PAUSE_S


def _fill(state: State) -> _Batch:
    batch = _Batch(state)
    satisfied: dict[int, int] = {}
    left_over: list[Job] = []
    queue = state.ready_commits
    while queue and not batch.is_full:
        job = queue.popleft()
        if job.stage is Stage.DONE:
            continue
        added = _add(state, batch, job)
        if added is None:
            left_over.append(job)
            break
        if not added:
            continue
        for each in job.dependents:
            satisfied[id(each)] = satisfied.get(id(each), 0) + 1
            if satisfied[id(each)] == each.open_needs and isinstance(each.op, COMMITS) and each.stage is Stage.WAITING:
                each.stage = Stage.READY
                queue.append(each)
    for job in reversed(left_over):
        queue.appendleft(job)
    # Dependents that no longer fit wait for the acknowledgement again.
    waiting = [job for job in queue if job.open_needs > 0]
    if waiting:
        for job in waiting:
            job.stage = Stage.WAITING
        kept = [job for job in queue if job.open_needs == 0]
        queue.clear()
        queue.extend(kept)
    return batch


def _add(state: State, batch: _Batch, job: Job) -> bool | None:
    """Add the job. Result: False when it failed instead, None when the request has no room for it."""
    if isinstance(job.op, CommitAttr) and job.op.is_xattrs_only and not state.sends_xattrs:
        reason = "this server is too old to keep extended attributes; all else is synced"
        fail_later(state, job, code="xattrs_unsupported", reason=reason, wait_s=XATTRS_WAIT_S)
        return False
    try:
        made = _wire(state, batch, job)
    except _RowGone:
        made = None
    if made is None:
        fail_until_scanned(state, job)
        return False
    op, inline = made
    size = (inline.size if inline is not None else 0) + len(getattr(op, "xattrs", None) or b"")
    blocks = len(getattr(getattr(op, "content", None), "blocks", b"")) // 36
    if batch.jobs and (batch.bytes + size > INLINE_BODY_BYTES_MAX or batch.blocks + blocks > BLOCKS_PER_COMMIT_MAX):
        return None
    batch.jobs.append(job)
    batch.ops.append(op)
    batch.inline.append(inline)
    batch.bytes += size + OP_BYTES
    batch.blocks += blocks
    return True


def _send(state: State, batch: _Batch) -> None:
    number = state.next_number()
    for job in batch.jobs:
        job.stage = Stage.RUNNING
    state.running[number] = batch.jobs
    state.counts["commit"] += 1
    state.sent.remember()
    request = CommitRequest(state.identity.ns, state.identity.link, tuple(batch.ops), (), state.position)
    nids = tuple(job.nids for job in batch.jobs)
    state.tasks.append(CommitTask(number, request, nids, tuple(batch.inline)))


# -- from operations to the wire ------------------------------------------------------------------------------


class _RowGone(Exception):
    """A row that the operation names was dropped meanwhile: both sides deleted it."""


def _wire(state: State, batch: _Batch, job: Job) -> tuple[Op, InlineSource | None] | None:
    """Return the op as it travels and its inline content; None when the local file is not there any more."""
    op = job.op
    match op:
        case CommitCreate() | CommitUndelete():
            row = batch.row(job, op.nid)
            return _wire_new(state, batch, job, op.item, row.node_id if row is not None else batch.node(op.nid))
        case CommitCopy():
            return _wire_new(state, batch, job, op.item, op.copy_id)
        case CommitEdit():
            return _wire_edit(state, batch, job, op)
        case CommitAttr():
            op_id = _name_op(state, job)
            return AttrOp(op_id, batch.node(op.nid), op.base_rev, op.is_executable, _xattrs(state, op.xattrs)), None
        case CommitMove():
            op_id = _name_op(state, job)
            return MoveOp(op_id, tuple(_placement(batch, move) for move in op.moves)), None
        case CommitDelete():
            op_id = _name_op(state, job)
            return DeleteOp(op_id, batch.node(op.nid), job.seen_seq), None
        case _:
            raise AssertionError(op)


def _placement(batch: _Batch, move: PlannedMove) -> Placement:
    return Placement(batch.node(move.nid), move.base_rev, batch.node(move.parent), move.name)


def _name_op(state: State, job: Job) -> OpId:
    """Give the operation its id, once. Of a conflicted copy this disk holds nothing yet, so nothing is agreed by it."""
    if job.op_id is None:
        flags = 0 if isinstance(job.op, CommitCopy) else FROM_DISK
        if isinstance(job.op, CommitDelete) and job.op.nid in state.allowed:
            flags |= CONFIRMED
        job.op_id = state.new_op_id(flags)
    return job.op_id


def _wire_new(
    state: State, batch: _Batch, job: Job, item: Item, node_id: NodeId
) -> tuple[Op, InlineSource | None] | None:
    op = job.op
    assert isinstance(op, (CommitCreate, CommitUndelete, CommitCopy))
    op_id = _name_op(state, job)
    content, inline, mtime_ns = None, None, 0
    if item.kind is Kind.FILE:
        found = _content(batch, job, op.nid, item)
        if found is None:
            return None
        content, inline, mtime_ns = found
    target = item.content.decode() if item.kind is Kind.SYMLINK else ""
    xattrs = _xattrs(state, item.xattrs)
    parent = batch.node(item.parent)
    is_dead_there = not isinstance(op, CommitCopy) and batch.remote_seq(job, op.nid) > 0
    if isinstance(op, CommitUndelete) or is_dead_there:
        return UndeleteOp(
            op_id, node_id, parent, item.name, content, target, mtime_ns, item.is_executable, False, xattrs
        ), inline
    return CreateOp(
        op_id, node_id, parent, item.name, int(item.kind), content, target, mtime_ns, item.is_executable, xattrs
    ), inline


def _wire_edit(state: State, batch: _Batch, job: Job, op: CommitEdit) -> tuple[Op, InlineSource | None] | None:
    op_id = _name_op(state, job)
    if op.item.kind is Kind.SYMLINK:
        return EditOp(op_id, batch.node(op.nid), op.base_rev, None, op.item.content.decode()), None
    found = _content(batch, job, op.nid, op.item)
    if found is None:
        return None
    content, inline, mtime_ns = found
    xattrs = _xattrs(state, op.item.xattrs)
    return EditOp(op_id, batch.node(op.nid), op.base_rev, content, "", mtime_ns, op.item.is_executable, xattrs), inline


def _xattrs(state: State, packed: bytes) -> bytes | None:
    """Return the extended attributes as an operation says them; None, which leaves them, when they are not synced."""
    return packed if state.sends_xattrs else None


def _content(batch: _Batch, job: Job, nid: Nid, item: Item) -> tuple[Content, InlineSource | None, int] | None:
    row = batch.row(job, nid)
    path = batch.path(row) if row is not None else None
    if row is None or path is None:
        return None
    stat = row.stat
    if row.content != item.content:
        # The bytes are not (or no more) those of the file on disk; only what the service has already can be named.
        named = batch.blocklist(item.content)
        if named is None:
            return None
        return Content(ContentHash(item.content), named, _size(unpack_blocks(named))), None, stat.mtime_ns
    if row.blocks is None:
        batch.doubt(nid)
        return None
    content = Content(ContentHash(item.content), row.blocks, stat.size)
    inline = None
    if 0 < stat.size <= INLINE_UP_BYTES_MAX and not job.is_urgent:
        # Short enough to be one block, and so the list is its hash and its length.
        inline = InlineSource(BlockHash(row.blocks[:HASH_BYTES]), stat.size, LocalSource(path, stat))
    return content, inline, stat.mtime_ns


def _size(blocks: list[Block]) -> int:
    return sum(block.size for block in blocks)


# -- what came of it ------------------------------------------------------------------------------------------


def fold_committed(state: State, fact: Committed) -> None:
    """Take the outcomes of one request."""
    jobs = state.running.pop(fact.task.number)
    state.counts["commit"] -= 1
    state.last_reply_s = state.now.monotonic_s
    if fact.reply is None:
        assert fact.fault is not None
        _take_back(state, jobs, fact)
        return
    state.calm_tries = 0
    state.head_seq = max(state.head_seq, fact.reply.head_seq)
    unread = set(fact.unread)
    outcomes = iter(fact.reply.outcomes)
    for position, job in enumerate(jobs):
        if job.is_stale:
            fail(state, job)
        elif position in unread:
            path = state.index.reader.path_of(job.nids[0])
            fail_until_scanned(state, job)
            if path is not None:
                state.look_later(0.2, path)
        else:
            _take(state, job, next(outcomes), fact.reply.head_seq)


def _take_back(state: State, jobs: list[Job], fact: Committed) -> None:
    """Nothing is known: the same request may go again with the same op ids."""
    assert fact.fault is not None
    if isinstance(fact.fault, EpochChanged):
        # Nothing was done: what the service is now is asked anew, and both sides are merged.
        state.phase = Phase.OFFLINE
    elif not fact.fault.retryable:
        for job in jobs:
            fail_with(state, job, fact.fault)
        return
    state.calm_down(fact.fault)
    for job in reversed(jobs):
        if job.stage is Stage.DONE:
            continue
        if job.is_stale:
            fail(state, job)
            continue
        job.stage = Stage.WAITING
        job.tries += 1
        if job.tries > 3 and len(jobs) == 1 and fact.fault.code not in ("unavailable", "too_many_requests"):
            fail_with(state, job, fact.fault)
        elif job.open_needs == 0:
            job.stage = Stage.READY
            state.ready_commits.appendleft(job)


def _take(state: State, job: Job, outcome: Outcome, head_seq: int) -> None:
    match outcome:
        case Stored(seq=seq):
            _follow(state, job, seq or head_seq)
        case NeedBlocks(hashes=hashes):
            _need(state, job, frozenset(hashes))
        case Conflict(current=current) if isinstance(job.op, CommitCopy) and _is_spent(job.op, current):
            state.spent.add(job.op.copy_id)
            _contest(state, job, head_seq, "conflict")
        case Conflict(current=current) if isinstance(job.op, CommitCreate) and _is_dead(state, job.op, current):
            state.index.set_remote_dead(job.op.nid, current.seq if current is not None else 0)
            _contest(state, job, head_seq, "conflict")
        case Moved() if isinstance(job.op, _REVIVING) and _is_told(state, head_seq):
            # The node went over to a shared folder, and what the feed brought of that left this one here.
            state.index.renew(job.op.nid, state.clock.random(ID_BYTES))
            fail_later(state, job, code="conflict", reason="another namespace has the node", wait_s=0.05)
        case Conflict(current=current) if isinstance(job.op, _REVIVING) and _is_hidden(
            state, job.op, current, head_seq
        ):
            # An older index came back, with an older word on what is left out: what stood there on this disk is apart
            # from what stands there on the service, as all around it.
            state.index.renew(job.op.nid, state.clock.random(ID_BYTES))
            fail_later(state, job, code="conflict", reason="the service has it in what is left out here", wait_s=0.05)
        case Conflict() | Moved():
            _contest(state, job, head_seq, "conflict")
        case Refused(code=code, detail=detail):
            if code in REFUSAL_WAIT_S:
                fail_later(state, job, code=code, reason=detail or code, wait_s=REFUSAL_WAIT_S[code])
            elif code == "depends_on_refused":
                fail(state, job)
            elif code == "holds_mount" and isinstance(job.op, CommitDelete):
                put_back(state, job)
            elif code == "not_found" and isinstance(job.op, _REVIVING):
                # A service restored from an older backup never knew the node, or a mount ended where something is kept
                # now: nothing is agreed on, and the next plan makes it anew.
                state.index.forget_remote(job.op.nid)
                state.index.clear_synced([job.op.nid])
                fail_later(state, job, code=code, reason="the service does not know it", wait_s=0.05)
            else:
                _contest(state, job, head_seq, code)
        case _:
            assert_never(outcome)


def _is_told(state: State, head_seq: int) -> bool:
    """True when the feed has brought all that there was when the service answered."""
    return state.position is not None and head_seq <= state.position.seq


def _is_hidden(state: State, op: CommitCreate | CommitUndelete, current: Entry | None, head_seq: int) -> bool:
    """True when the node lives where this link is told of nothing, and nothing else is to be told of it."""
    if current is None or not current.is_live or current.node_id != state.index.node_id_of(op.nid):
        return False
    if not _is_told(state, head_seq):
        return False
    return not shows_what_is_in(state, parent_nid(state, current.parent_id))


def _is_spent(op: CommitCopy, current: Entry | None) -> bool:
    return current is not None and current.node_id == op.copy_id and not current.is_live


def _is_dead(state: State, op: CommitCreate, current: Entry | None) -> bool:
    """True when the service knows the node as deleted, though the feed never told us: then it is to be revived."""
    return current is not None and not current.is_live and current.node_id == state.index.node_id_of(op.nid)


def _follow(state: State, job: Job, seq: int) -> None:
    """Stored: its rows stay busy until the feed has brought it."""
    state.progress.bytes_up_done += job.size
    acknowledge(state, job)
    if state.position is not None and seq <= state.position.seq:
        finish(state, job)
        return
    job.stage = Stage.FOLLOWING
    state.following.setdefault(seq, []).append(job)


def _contest(state: State, job: Job, head_seq: int, code: str) -> None:
    """Somebody was first. Once the feed has brought it, the planner sees both sides; meanwhile a growing wait."""
    tries = max((state.tries.get(nid, 0) for nid in job.nids), default=0)
    fail_later(state, job, code=code, reason="the service has a newer state", wait_s=None if tries else 0.05)
    if state.position is not None and head_seq > state.position.seq:
        state.wants_pull = True
    ask_for_hidden(state, job.nids)


def _need(state: State, job: Job, hashes: frozenset[bytes]) -> None:
    """The service lacks blocks of this file: send them, then commit again."""
    op = job.op
    assert isinstance(op, (CommitCreate, CommitCopy, CommitEdit, CommitUndelete))
    local = state.index.reader.local(op.nid)
    path = state.index.reader.path_of(op.nid)
    if local is None or path is None or local.content != op.item.content or job.tries > 8:
        fail_until_scanned(state, job)
        return
    job.tries += 1
    at, wanted = 0, []
    for block in state.index.blocks_of(op.item.content):
        if block.hash in hashes:
            wanted.append((block.hash, block.size, at))
            hashes -= {block.hash}
        at += block.size
    job.stage = Stage.READY
    job.is_urgent = True
    job.upload = UploadTask(op.nid, state.identity.ns, LocalSource(path, local.stat), tuple(wanted))
    state.ready_uploads.append(job)


def next_uploads(state: State) -> None:
    """Hand out files whose blocks are to be sent."""
    while state.may_ask and state.ready_uploads and state.counts["upload"] < state.bounds.uploads_in_flight:
        job = state.ready_uploads.popleft()
        if job.stage is Stage.DONE or job.upload is None:
            continue
        job.stage = Stage.RUNNING
        state.counts["upload"] += 1
        state.uploading[job.upload.nid] = job
        state.tasks.append(job.upload)


def fold_uploaded(state: State, fact: Uploaded) -> None:
    """The blocks are there (commit again), or not."""
    state.counts["upload"] -= 1
    job = state.uploading.pop(fact.task.nid)
    if job.is_stale:
        fail(state, job)
    elif fact.fault is None:
        make_ready(state, job)
        state.ready_commits.remove(job)
        state.ready_commits.appendleft(job)
    elif fact.fault.code == "file_changing":
        fail_until_scanned(state, job)
        state.look_later(0.2, fact.task.source.path)
    elif fact.fault.code in ("unavailable", "too_many_requests"):
        state.calm_down(fact.fault)
        job.stage = Stage.READY
        state.ready_uploads.appendleft(job)
    else:
        fail_with(state, job, fact.fault)
