"""Which operations of a plan must not go now, and what their rows wait for."""

from __future__ import annotations

from satchel.core.ids import Nid, NodeId
from satchel.core.operations import (
    Adopt,
    CommitCopy,
    CommitDelete,
    CommitMove,
    MoveLocal,
    Operation,
    Place,
    TrashLocal,
)
from satchel.core.trees import Row
from satchel.device.engine.excluding import is_barred
from satchel.device.engine.guard import deletions_to_hold, hold_deletion
from satchel.device.engine.results import hold_rows
from satchel.device.engine.state import State
from satchel.device.engine.yielding import is_refused_here
from satchel.device.index.reader import MOVED_ACROSS

EDGE_WAIT_S = 1.0


def _copy_nid(state: State, copy: NodeId) -> Nid:
    """The row of a conflicted copy, made before anything is known of it, so that nobody else plans it meanwhile."""
    nid = state.index.reader.nid_of(copy)
    return state.index.add(copy) if nid is None else nid


def nids_of(state: State, op: Operation) -> tuple[Nid, ...]:
    """Return the rows that the operation is about."""
    match op:
        case CommitCopy():
            return op.nid, _copy_nid(state, op.copy_id)
        case Place(keep_id=keep_id) if keep_id is not None:
            return op.nid, _copy_nid(state, keep_id)
        case CommitMove() | MoveLocal():
            return tuple(move.nid for move in op.moves)
        case CommitDelete() | TrashLocal():
            return op.nids
        case Adopt():
            return (op.nid, op.into)
        case _:
            return (op.nid,)


def _waits_at_edge(state: State, op: Operation, *, is_wanted: bool) -> bool:
    """Hold a deletion while what it is about may just have gone over to a neighbouring link: that comes first."""
    if state.edge is None or not isinstance(op, CommitDelete):
        return False
    if state.edge.may_delete(state.index.seen_as(op.nids), is_wanted=is_wanted):
        return False
    state.fresh.update(op.nids)
    reason = "it waits until the shared folder beside it was looked at, and has what may have been moved there"
    hold_rows(state, op.nids, code=MOVED_ACROSS, reason=reason, wait_s=EDGE_WAIT_S)
    return True


def _needed_to_keep(operations: tuple[Operation, ...]) -> set[int]:
    """Indexes of what has to be done before what this disk alone has of a file stands beside it."""
    needed: set[int] = set()
    for op in reversed(operations):
        if (isinstance(op, Place) and op.keep_as is not None) or op.index in needed:
            needed.update(op.needs)
    return needed


def find_dropped(state: State, operations: tuple[Operation, ...], rows: dict[Nid, Row], chosen: set[Nid]) -> set[int]:
    """Indexes of operations that must not go now: held deletions, rows that wait, and all that need those.

    No deletion goes before the service has answered a hello of this start: until then this index may be that of an
    older image, and what it misses on the disk was taken off it later, by a word that only the newer one had.
    """
    waiting = state.retry_at.keys() | state.after_scan.keys() | state.held_back
    needed = {need for op in operations for need in op.needs}
    wanted = {need for op in operations if not isinstance(op, CommitDelete) for need in op.needs}
    homes = _needed_to_keep(operations) if state.left else set()
    dropped: set[int] = set()
    for op in operations:
        nids = nids_of(state, op)
        premature = isinstance(op, (CommitDelete, TrashLocal)) and op.index not in needed and op.nid in state.deleting
        is_early = premature or (isinstance(op, CommitDelete) and not state.is_answered)
        is_over_edge = not is_early and _waits_at_edge(state, op, is_wanted=op.index in wanted)
        if (
            is_over_edge
            or is_early
            or is_refused_here(state, op)
            or is_barred(state, op, is_home=op.index in homes)
            or any(nid in waiting and nid not in chosen for nid in nids)
        ):
            dropped.add(op.index)
    held = deletions_to_hold(state, tuple(op for op in operations if op.index not in dropped), rows)
    for op in held:
        dropped.add(op.index)
        assert isinstance(op, (CommitDelete, TrashLocal))
        hold_deletion(state, op)
    for op in operations:
        if any(need in dropped for need in op.needs):
            dropped.add(op.index)
    return dropped


def waits_for(
    state: State, operations: tuple[Operation, ...], dropped: set[int], chosen: set[Nid]
) -> dict[Nid, set[Nid]]:
    """Tell, of the chosen rows, which can go no earlier than others that wait for their time or a look.

    Result: with each such row, those others and all that leads to them. Without news of one of these, a plan of the
    row would be the same again. A row with anything dropped for another reason is not in it: any news may free that.
    """
    waiting = state.retry_at.keys() | state.after_scan.keys()
    reasons: dict[int, set[Nid]] = {}
    behind: dict[Nid, set[Nid]] = {}
    free: set[Nid] = set()
    for op in operations:
        if op.index not in dropped:
            continue
        nids = nids_of(state, op)
        found = {nid for nid in nids if nid in waiting and nid not in chosen}
        for need in op.needs:
            found |= reasons.get(need, set())
        reasons[op.index] = found.union(nids) if found else found
        for nid in chosen.intersection(nids):
            if found:
                behind.setdefault(nid, set()).update(found - {nid})
            else:
                free.add(nid)
    return {nid: found for nid, found in behind.items() if nid not in free}
