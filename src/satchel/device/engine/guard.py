"""Guards deletions: they wait for quiet, and many at once wait for a person's word. Source: docs/design/040, rule 7."""

from __future__ import annotations

from satchel.core.entries import Kind
from satchel.core.ids import Nid
from satchel.core.operations import CommitDelete, Operation, TrashLocal
from satchel.core.trees import Item, Row
from satchel.device.engine.state import (
    ALLOWED_DELETION,
    DELETE_FILES_FREE,
    DELETE_QUIET_S,
    DELETE_SHARE_FREE,
    DELETE_WAIT_S_MAX,
    DELETE_WINDOW_S,
    HELD_DELETION,
    State,
)


def due_deletions(state: State) -> None:
    """Queue the collected deletions once no other came for 2 s (at most 30 s), and all that appeared whole was told."""
    if not state.deleting or state.is_unit_untold:
        return
    now_s = state.now.monotonic_s
    if now_s - state.delete_last_s >= DELETE_QUIET_S or now_s - state.delete_first_s >= DELETE_WAIT_S_MAX:
        state.fresh |= state.deleting - state.busy.keys()
        state.deleting.clear()


def deletions_to_hold(state: State, operations: tuple[Operation, ...], rows: dict[Nid, Row]) -> list[Operation]:
    """Return those deletions of a plan that are too many to go without a word.

    A file counts once in a window: what was refused, or met something newer, is planned again.
    """
    deletions = [op for op in operations if isinstance(op, (CommitDelete, TrashLocal)) and not _is_allowed(state, op)]
    files = {nid for op in deletions for nid in op.nids if nid in rows and _is_file(rows[nid])}
    now_s, window = state.now.monotonic_s, state.delete_window
    while window and next(iter(window.values())) < now_s - DELETE_WINDOW_S:
        del window[next(iter(window))]
    new = files - window.keys()
    if not new:
        return []
    some = len(new) + len(window)
    if some > DELETE_FILES_FREE and some > _files_before(state, len(window)) * DELETE_SHARE_FREE:
        return list(deletions)
    window.update(dict.fromkeys(sorted(new), now_s))
    return []


def _files_before(state: State, recent: int) -> int:
    """Return how many files there were when the window began; counted through all rows, so only once in a window."""
    now_s = state.now.monotonic_s
    if state.delete_base is None or now_s - state.delete_base[0] > DELETE_WINDOW_S:
        state.delete_base = (now_s, state.index.count_files() + recent)
    return state.delete_base[1]


def _is_file(row: Row) -> bool:
    side = row.synced or row.local or row.remote
    return isinstance(side, Item) and side.kind is not Kind.FOLDER


def _is_allowed(state: State, op: CommitDelete | TrashLocal) -> bool:
    return op.nid in state.allowed or state.identity.is_ending


def hold_deletion(state: State, op: CommitDelete | TrashLocal) -> None:
    """Hold a unit until a person allows or undoes it."""
    direction = "here" if isinstance(op, CommitDelete) else "on another device"
    reason = f"{len(op.nids)} items were deleted {direction} at once; 'satchel held allow' or 'satchel held undo'"
    for nid in op.nids:
        state.held_back.add(nid)
        state.fresh.discard(nid)
        state.deleting.discard(nid)
        state.index.hold(nid, HELD_DELETION, reason, None)


def allow_held(state: State) -> int:
    """A person allows all held deletions. Durable before anything follows. Result: how many rows."""
    held = [nid for nid, code, _, _ in state.index.held(1_000_000) if code == HELD_DELETION]
    with state.index.durable():
        for nid in held:
            state.index.hold(nid, ALLOWED_DELETION, "allowed", None)
    state.allowed |= set(held)
    state.held_back -= set(held)
    state.fresh |= set(held) - state.busy.keys()
    return len(held)


def allow_units(state: State, nids: list[Nid]) -> None:
    """Deletions of these rows were allowed elsewhere. Kept in the index, so that a restart does not ask."""
    for nid in nids:
        state.index.hold(nid, ALLOWED_DELETION, "allowed on another device", None)
    state.allowed |= set(nids)


def undo_held(state: State) -> int:
    """A person wants the files back: forget what was agreed, so that the side that still has them counts as new."""
    held = [nid for nid, code, _, _ in state.index.held(1_000_000) if code == HELD_DELETION]
    with state.index.durable():
        state.index.clear_synced(held)
        state.index.release(held)
    state.held_back -= set(held)
    with state.index.transaction():
        state.touch(held)
    return len(held)


def load_held(state: State) -> None:
    """At start: what was held stays held, what was allowed stays allowed."""
    for nid, code, _, _ in state.index.held(1_000_000):
        if code == HELD_DELETION:
            state.held_back.add(nid)
            state.fresh.discard(nid)
        elif code == ALLOWED_DELETION:
            state.allowed.add(nid)
