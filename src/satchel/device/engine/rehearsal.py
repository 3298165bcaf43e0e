"""An engine that looks at both sides and plans, and does nothing: for `sync --dry-run`.

Invariant: it works on a copy of the index in memory and hands out tasks that only read (looks at the disk, questions to
the service); what it would do comes back as data. Source: docs/design/040 (planner).
"""

from __future__ import annotations

from collections.abc import Sequence

from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NID, Nid
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
    MoveLocal,
    Operation,
    Place,
    SetAttributes,
    TrashLocal,
)
from satchel.core.trees import Item
from satchel.device.engine.guard import deletions_to_hold
from satchel.device.engine.local_facts import fold_held, next_scan
from satchel.device.engine.loop import Engine
from satchel.device.engine.mounts import weigh_mounts
from satchel.device.engine.own_folder import BECOMES
from satchel.device.engine.planning import ask_planner
from satchel.device.engine.remote_facts import next_unit, pull, reach
from satchel.device.engine.state import Phase, State
from satchel.device.engine.yielding import is_refused_here, yield_own
from satchel.device.index.closure import Closure
from satchel.device.index.mounts import mounts_with_rows
from satchel.device.status import PlannedChange

ROWS_MAX = 10_000

_WORDS: dict[type[Operation], tuple[str, str]] = {
    CommitCreate: ("up", "create"),
    CommitCopy: ("up", "conflicted copy"),
    CommitEdit: ("up", "edit"),
    CommitAttr: ("up", "attributes"),
    CommitMove: ("up", "move"),
    CommitDelete: ("up", "delete"),
    CommitUndelete: ("up", "revive"),
    Place: ("down", "create"),
    MoveLocal: ("down", "move"),
    TrashLocal: ("down", "delete"),
    SetAttributes: ("down", "attributes"),
    Hold: ("", "wait"),
}


class RehearsingEngine(Engine):
    """Folds facts as the engine does and asks for what tells more; never plans by itself."""

    def _go_on(self) -> None:
        state = self.state
        fold_held(state, len(state.held_parts))
        next_scan(state)
        next_unit(state)
        if state.phase is Phase.OFFLINE and (state.scanned_once or not state.was_unfinished):
            reach(state)
        if state.wants_pull and state.may_ask:
            state.wants_pull = False
            pull(state)

    @property
    def has_looked(self) -> bool:
        """True when both sides are known as they are now."""
        state = self.state
        if state.index.get(BECOMES):
            return True
        if state.identity.is_ending:
            # The service is asked for nothing: it has nothing there for this account any more.
            return state.scanned_once
        is_behind = state.position is None or state.position.seq < state.head_seq
        return state.phase is Phase.LIVE and state.scanned_once and not (is_behind or state.is_pulling)

    def planned(self) -> tuple[list[PlannedChange], int]:
        """Return what would be done now, and how many changed rows are left out because there are too many."""
        state = self.state
        if state.index.get(BECOMES):
            # What is in it is told once the link has followed it.
            return [PlannedChange("", "becomes shared", "")], 0
        weigh_mounts(state)
        becoming = mounts_with_rows(state.index)
        elsewhere = {nid for mount in becoming for nid in _below(state, mount)}
        nids = [nid for nid in state.index.dirty_nids() if nid not in elsewhere]
        chosen: Sequence[Nid] = nids[:ROWS_MAX]
        if state.is_view_only:
            chosen = yield_own(state, chosen)
        closure = Closure(state.index, ())
        plan = ask_planner(state, closure, closure.load(chosen))
        held = deletions_to_hold(state, plan.operations, closure.rows)
        held_at = {op.index for op in held}
        rules = {each.nid: each.rule for each in plan.decisions}
        path_of = state.index.reader.remote_path_of
        changes = [PlannedChange("", "becomes shared", path_of(nid).lstrip("/")) for nid in becoming]
        changes += [
            PlannedChange("", "keep apart", path_of(nid).lstrip("/"), count=len(state.index.unit("l", nid)))
            for nid in state.carrying
        ]
        changes += [
            change
            for op in plan.operations
            if not (isinstance(op, Adopt | Agree) or is_refused_here(state, op))
            for change in _changes(state, op, rules, is_held=op.index in held_at)
        ]
        return changes, max(0, len(nids) - ROWS_MAX)


def _below(state: State, nid: Nid) -> set[Nid]:
    """Return what stands below a row here or on the service."""
    return {*state.index.unit("l", nid), *state.index.unit("r", nid)} - {nid}


def _changes(state: State, op: Operation, rules: dict[Nid, str], *, is_held: bool) -> list[PlannedChange]:
    direction, what = _WORDS[type(op)]
    path_of = state.index.reader.remote_path_of
    if isinstance(op, CommitMove | MoveLocal):
        return [
            PlannedChange(
                direction,
                what,
                path_of(move.nid).lstrip("/"),
                _place(state, move.parent, move.name),
                rule=rules.get(move.nid, ""),
            )
            for move in op.moves
        ]
    if isinstance(op, Place) and op.replaces is not None:
        what = "edit"
    count = len(op.nids) if isinstance(op, CommitDelete | TrashLocal) else 1
    item = getattr(op, "item", None)
    path = _place(state, item.parent, item.name) if isinstance(item, Item) else path_of(op.nid).lstrip("/")
    size = _size(state, op, item) if isinstance(item, Item) and item.kind is Kind.FILE else 0
    reason = op.reason.value if isinstance(op, Hold) else "many deletions at once wait for a word" if is_held else ""
    return [PlannedChange(direction, what, path, "", rules.get(op.nid, ""), size, count, reason)]


def _size(state: State, op: Operation, item: Item) -> int:
    assert not isinstance(op, CommitMove | MoveLocal)
    local, remote = state.index.sizes([op.nid]).get(op.nid, (0, 0))
    return remote if isinstance(op, Place) else local


def _place(state: State, parent: Nid, name: str) -> str:
    above = "" if parent == ROOT_NID else state.index.reader.remote_path_of(parent).strip("/")
    return f"{above}/{name}" if above else name
