"""From dirty rows to jobs: loads the closure, asks the planner, and makes its plan a graph of jobs."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence

from satchel.core.entries import Kind
from satchel.core.ids import Nid, NodeId
from satchel.core.operations import (
    CommitCopy,
    CommitCreate,
    CommitEdit,
    CommitUndelete,
    Hold,
    Operation,
    Place,
    Plan,
)
from satchel.core.planner import Context, copy_id, plan
from satchel.core.trees import Item, Row
from satchel.device.engine.acting import record_decisions
from satchel.device.engine.creating import create_new
from satchel.device.engine.dropping import find_dropped, nids_of, waits_for
from satchel.device.engine.excluding import is_out, note_beside, without_left_out
from satchel.device.engine.guard import due_deletions
from satchel.device.engine.results import due_retries, hold_rows, make_ready
from satchel.device.engine.state import Job, Phase, Stage, State
from satchel.device.engine.yielding import yield_own
from satchel.device.index.closure import Closure

CONTENT_COMMITS = (CommitCreate, CommitEdit, CommitCopy, CommitUndelete)


def plan_fresh(state: State) -> None:
    """Plan what is dirty and due, as far as there is room for more work."""
    due_retries(state)
    due_deletions(state)
    if state.phase is not Phase.LIVE or state.halted or state.is_paused or state.leaving_names:
        return
    if state.identity.is_ending and not state.scanned_once:
        # What leaves for good is looked at first.
        return
    while state.fresh and len(state.busy) < state.bounds.busy_rows:
        if not _plan_some(state):
            return


def _plan_some(state: State) -> bool:
    """Plan so many rows as are planned together. Result: whether any were looked at."""
    chosen = sorted(state.fresh - state.busy.keys() - state.snapshot_busy)[: state.bounds.plan_rows]
    if not chosen:
        return False
    state.fresh.difference_update(chosen)
    if state.is_view_only:
        if yielded := yield_own(state, chosen):
            plan_rows(state, yielded)
    elif not create_new(state, chosen):
        plan_rows(state, chosen)
    return True


def plan_rows(state: State, chosen: Sequence[Nid]) -> None:
    """Ask the planner about these rows, sorted and in no job, and make its plan jobs."""
    if state.quiet:
        chosen = sorted({*chosen, *state.quiet.difference(state.busy, state.snapshot_busy)})
        state.quiet.clear()
    closure = Closure(state.index, state.busy.keys() | state.snapshot_busy)
    dirty = closure.load(chosen)
    if not state.scanned_once:
        # What was not seen yet may still be there: a remote-only row waits for the first scan.
        early = {row.nid for row in dirty if row.local is None}
        if early:
            state.unseen |= early
            dirty = [row for row in dirty if row.nid not in early]
            closure = Closure(state.index, state.busy.keys() | state.snapshot_busy)
            closure.load([row.nid for row in dirty])
    dirty = _without_blocked(state, closure, without_left_out(state, closure, dirty))
    if not dirty:
        return
    made = ask_planner(state, closure, dirty)
    state.progress.plans += 1
    _make_jobs(state, made.operations, closure.rows, {row.nid for row in dirty})
    record_decisions(state, made, closure.rows)
    note_beside(state, [each.nid for each in made.decisions if each.rule == "excluded name"])


def ask_planner(state: State, closure: Closure, dirty: list[Row]) -> Plan:
    """Grow the closure to what the planner must see of the dirty rows, and return its plan."""
    closure.grow(dirty)
    copies: dict[NodeId, Row] = {}
    known = -1
    while known != len(closure.rows):
        known = len(closure.rows)
        copies = _copies(state, closure)
        closure.grow(())
    context = Context(
        device_name=state.identity.device_name,
        date=_date(state),
        copies=copies,
        taken=state.index.is_taken,
        spent=frozenset(state.spent),
        excluded=frozenset(nid for nid in state.left if is_out(state, nid)),
    )
    return plan(closure.rows, context)


def _without_blocked(state: State, closure: Closure, dirty: list[Row]) -> list[Row]:
    """Leave out what is new below a folder in flight: a first scan is faster than the service, and finds many."""
    free: list[Row] = []
    for row in dirty:
        above = None
        if row.remote is None and row.synced is None and isinstance(row.local, Item):
            parent = row.local.parent
            above = parent if parent in state.busy else state.blocked.get(parent)
        if above is None:
            free.append(row)
        else:
            state.wait_behind(above, row.nid)
            closure.drop(row.nid)
    return free


def _date(state: State) -> str:
    return datetime.datetime.fromtimestamp(state.now.wall_ns / 1e9, datetime.UTC).astimezone().date().isoformat()


def _both_edited(row: Row) -> bool:
    if not (isinstance(row.remote, Item) and isinstance(row.local, Item)):
        return False
    return row.remote.kind is not Kind.FOLDER and row.remote.content != row.local.content


def _copies(state: State, closure: Closure) -> dict[NodeId, Row]:
    """Rows of conflicted copies that an earlier plan of the same conflict already made."""
    found: dict[NodeId, Row] = {}
    for row in list(closure.rows.values()):
        if _both_edited(row) and not row.is_busy:
            # Up to the first id that nobody has: the planner takes that one, or one before it.
            for number in itertools.count():
                wanted = copy_id(row, number)
                made = closure.by_node_id(wanted)
                if made is not None:
                    found[made.node_id] = made
                elif wanted not in state.spent:
                    break
    return found


def _make_jobs(state: State, operations: tuple[Operation, ...], rows: dict[Nid, Row], chosen: set[Nid]) -> None:
    dropped = find_dropped(state, operations, rows, chosen)
    behind = waits_for(state, operations, dropped, chosen)
    jobs: dict[int, Job] = {}
    seen_seq = state.position.seq if state.position is not None else 0
    sizes = state.index.sizes(op.nid for op in operations if isinstance(op, (*CONTENT_COMMITS, Place)))
    for op in operations:
        if op.index in dropped:
            continue
        if isinstance(op, Hold):
            state.fresh.add(op.nid)
            hold_rows(state, (op.nid,), code=op.reason.name.lower(), reason=op.reason.value)
            continue
        nids = nids_of(state, op)
        known = {nid: rows[nid] for nid in nids if nid in rows}
        job = Job(op, nids, known, size=_size(op, sizes), seen_seq=seen_seq)
        jobs[op.index] = job
        for need in op.needs:
            if need in jobs and jobs[need].stage is not Stage.DONE:
                jobs[need].dependents.append(job)
                job.open_needs += 1
        for nid in nids:
            state.busy[nid] = state.busy.get(nid, 0) + 1
    for job in jobs.values():
        if job.open_needs == 0 and job.stage is Stage.WAITING:
            make_ready(state, job)
    idle = sorted(chosen - state.busy.keys() - state.retry_at.keys() - state.held_back - state.fresh)
    # A stop may have come between the last write and its settling: then all sides are equal, and nobody said so.
    for nid in state.index.settle(idle, keep=lambda nid: nid in state.snapshot_busy):
        above = _above(rows, nid)
        busy = next((folder for folder in above if folder in state.busy), None)
        if busy is not None:
            state.wait_behind(busy, nid)
        elif reasons := behind.get(nid) or _held(state, rows, [nid, *above]):
            state.stall(nid, reasons)
        else:
            state.waiting.add(nid)


def _above(rows: dict[Nid, Row], nid: Nid) -> list[Nid]:
    """Return the folders above the row on either side: until they are done, nothing below them can be planned."""
    found, seen = [nid], {nid}
    for each in found:
        row = rows.get(each)
        for side in (row.local, row.remote) if row is not None else ():
            if isinstance(side, Item) and side.parent not in seen:
                seen.add(side.parent)
                found.append(side.parent)
    return found[1:]


def _held(state: State, rows: dict[Nid, Row], lineage: list[Nid]) -> list[Nid]:
    """Return a row and the folders above it if one of them waits for its time or a look, or cannot be read."""
    is_held = any(
        nid in state.retry_at or nid in state.after_scan or (nid in rows and rows[nid].is_unknown) for nid in lineage
    )
    return lineage if is_held else []


def _size(op: Operation, sizes: dict[Nid, tuple[int, int]]) -> int:
    """Bytes of content that the operation moves. sizes: local and remote, by row."""
    if isinstance(op, (*CONTENT_COMMITS, Place)) and op.item.kind is Kind.FILE:
        local, remote = sizes.get(op.nid, (0, 0))
        return remote if isinstance(op, Place) else local
    return 0
