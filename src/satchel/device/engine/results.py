"""The life of a job: acknowledged, finished, failed. Keeps `busy`, the needs and the retries true.

Invariant: a row leaves `busy` only here, and is settled as it leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from satchel.core.errors import Fault
from satchel.core.ids import Nid
from satchel.core.operations import (
    Adopt,
    Agree,
    CommitAttr,
    CommitCopy,
    CommitCreate,
    CommitDelete,
    CommitEdit,
    CommitMove,
    CommitUndelete,
    Hold,
)
from satchel.device.engine.state import RETRY_S_MAX, RETRY_S_MIN, Job, Stage, State
from satchel.device.index.left_out import drop_left, put_left
from satchel.device.index.left_trash import move_trash
from satchel.device.ports import DiskPath
from satchel.device.tasks import DiscardTask

LOOK_AGAIN_S = 0.02
"""Longer than the clock's grain, within which the scanner cannot be sure of a file."""
LOOK_AGAIN_S_MAX = 5.0

COMMITS = (CommitCreate, CommitCopy, CommitEdit, CommitAttr, CommitMove, CommitDelete, CommitUndelete)


def acknowledge(state: State, job: Job) -> None:
    """The operation holds: what needed it may go."""
    dependents, job.dependents = job.dependents, []
    for each in dependents:
        each.open_needs -= 1
        if each.open_needs == 0 and each.stage is Stage.WAITING:
            make_ready(state, each)


def make_ready(state: State, job: Job) -> None:
    """All needs hold: the job enters its lane, or is done at once when it only changes the index."""
    if job.is_stale:
        fail(state, job)
        return
    job.stage = Stage.READY
    match job.op:
        case Adopt():
            _adopt(state, job, job.op)
        case Agree() | Hold():
            finish(state, job)
        case op if isinstance(op, COMMITS):
            state.ready_commits.append(job)
        case _:
            state.ready_disk.append(job)


def _adopt(state: State, job: Job, op: Adopt) -> None:
    index = state.index
    if (stage := state.left.pop(op.nid, None)) is not None:
        drop_left(index, op.nid)
        put_left(index, op.into, stage)
        state.left[op.into] = stage
        state.leaves_at.pop(op.nid, None)
        move_trash(index, op.nid, op.into)
    index.take_local(op.nid, op.into)
    if state.is_scanning:
        state.adopted[op.nid] = op.into
    children = index.move_children(op.nid, op.into)
    finish(state, job)
    state.touch([op.nid, op.into, *children])


def outdate(state: State) -> None:
    """Mark every job there is as stale: what is under way may come back, and then counts as never done."""
    lanes = (state.ready_commits, state.ready_uploads, state.ready_disk, state.ready_fetch, state.listless)
    pending = [job for lane in (*lanes, *state.running.values(), *state.following.values()) for job in lane]
    pending += state.uploading.values()
    while pending:
        job = pending.pop()
        if not job.is_stale:
            job.is_stale = True
            pending += job.dependents


def finish(state: State, job: Job) -> None:
    """The job is over: its rows may be planned again. Idempotent."""
    finish_all(state, (job,))


def finish_all(state: State, jobs: Iterable[Job], touched: Iterable[Nid] = (), stated: Collection[Nid] = ()) -> None:
    """As `finish`, for many jobs, in order. touched: rows to settle with theirs; stated: those that may be clean."""
    over: list[Nid] = []
    for job in jobs:
        if job.stage is not Stage.DONE:
            acknowledge(state, job)
            job.stage = Stage.DONE
            _leave(state, job)
            over += job.nids
    free = [nid for nid in over if nid not in state.busy]
    clean = set(stated).difference(state.index.dirty_of(stated)) if stated else set()
    state.touch(list(dict.fromkeys((*touched, *stated, *free))), clean=clean)


def _leave(state: State, job: Job) -> None:
    state.carrying.pop(job.nids[0], None)
    for nid in job.nids:
        left = state.busy.get(nid, 0) - 1
        if left > 0:
            state.busy[nid] = left
        else:
            state.free(nid)
    for key in job.claims:
        if state.claimed.get(key) is job:
            del state.claimed[key]


def fail(state: State, job: Job) -> None:
    """The job changed nothing: it and all that need it leave; their rows are planned again."""
    if job.stage is Stage.DONE:
        return
    pending, order, known = [job], [job], {id(job)}
    while pending:
        for each in pending.pop().dependents:
            if each.stage in (Stage.WAITING, Stage.READY) and id(each) not in known:
                known.add(id(each))
                order.append(each)
                pending.append(each)
            elif id(each) not in known:
                # It travels already (in the same request): its own outcome tells, and it waits for this one no more.
                each.open_needs -= 1
    if staged := tuple(each.staged for each in order if each.staged):
        state.tasks.append(DiscardTask(staged))
    for each in order:
        each.stage = Stage.DONE
        each.dependents = []
        _leave(state, each)
    for each in order:
        state.touch([nid for nid in each.nids if nid not in state.busy])


def retry_backoff_s(tries: int) -> float:
    """Return the wait before the next try: 1 s, doubled each time, at most 10 min."""
    return min(RETRY_S_MAX, RETRY_S_MIN * 2.0 ** min(tries, 10))


def fail_later(state: State, job: Job, *, code: str, reason: str, wait_s: float | None = None) -> None:
    """As `fail`, and hold the job's rows for a growing while, with a line in status."""
    fail(state, job)
    hold_rows(state, job.nids, code=code, reason=reason, wait_s=wait_s)


def hold_rows(state: State, nids: tuple[Nid, ...], *, code: str, reason: str, wait_s: float | None = None) -> None:
    """Hold dirty rows until a next try, which a new fact brings forward."""
    for nid in nids:
        if nid not in state.fresh and nid not in state.deleting:
            continue
        tries = state.tries[nid] = state.tries.get(nid, 0) + 1
        delay_s = retry_backoff_s(tries) if wait_s is None else wait_s
        state.fresh.discard(nid)
        state.deleting.discard(nid)
        state.retry_at[nid] = state.now.monotonic_s + delay_s
        if tries > 1 or wait_s is not None:
            state.index.hold(nid, code, reason, state.now.wall_ns // 1_000_000 + int(delay_s * 1000))


def fail_with(state: State, job: Job, fault: Fault) -> None:
    """Hold the job's rows with the fault's code and words."""
    fail_later(state, job, code=fault.code, reason=str(fault))


def fail_until_scanned(state: State, job: Job) -> None:
    """The disk is not what was planned on: look at it, then plan again; with nothing to look at, a little later."""
    fail(state, job)
    for nid in job.nids:
        if nid not in state.fresh and nid not in state.deleting:
            continue
        path = state.index.reader.path_of(nid)
        if path is None:
            hold_rows(state, (nid,), code="place_gone", reason="its folder is not there yet")
            continue
        _wait_for_look(state, nid, (path,))


def fail_until_sure(state: State, job: Job, young: Sequence[Nid]) -> None:
    """Files of a unit were read so soon after they were written that another write may not show: look at them first.

    young: they. The first row of the job waits for that, and what is planned with it waits behind it.
    """
    fail(state, job)
    top = job.nids[0]
    if top not in state.fresh and top not in state.deleting:
        return
    paths = [state.index.reader.path_of(nid) for nid in young]
    _wait_for_look(state, top, [path for path in paths if path is not None])


def _wait_for_look(state: State, nid: Nid, paths: Sequence[DiskPath]) -> None:
    """Plan the row again when these were looked at, a growing while from now."""
    state.fresh.discard(nid)
    state.deleting.discard(nid)
    state.misses[nid] = state.misses.get(nid, 0) + 1
    wait_s = look_again_s(state, (nid,))
    state.after_scan[nid] = state.now.monotonic_s + wait_s
    for path in paths:
        state.look_later(wait_s, path)


def look_again_s(state: State, nids: tuple[Nid, ...]) -> float:
    """Return the wait before the next look: what stands in the way may be there as long as a slow request takes."""
    misses = max((state.misses.get(nid, 0) for nid in nids), default=0)
    return min(LOOK_AGAIN_S_MAX, LOOK_AGAIN_S * 2.0 ** min(max(misses - 1, 0), 10))


def due_retries(state: State) -> None:
    """Queue held rows whose time has come, with what waits for them."""
    if not state.retry_at:
        return
    due = sorted(nid for nid, at_s in state.retry_at.items() if at_s <= state.now.monotonic_s)
    for nid in due:
        del state.retry_at[nid]
        if nid not in state.busy and state.index.exists(nid):
            state.fresh.add(nid)
    state.release(due)
