"""Tells the service what a person leaves out on this link, and asks for what comes back.

Invariant: a page that leaves out anything but what was told is not believed. Source: docs/design/050.
"""

from __future__ import annotations

from collections.abc import Collection

from satchel.core.errors import Unavailable
from satchel.core.ids import Nid, scope_mark
from satchel.core.messages import ScopeRequest
from satchel.device.engine.excluding import forget, hiding_top, left_out_nodes, scope_of, untake
from satchel.device.engine.link_run import is_run_due, leap, run_of, run_told
from satchel.device.engine.state import Phase, State
from satchel.device.index.left_out import Stage, put_left
from satchel.device.service_tasks import ScopeTask, ScopeTold


def is_believed(state: State, scope: bytes) -> bool:
    """Tell whether a page leaves out nothing that this link is to see; else the service is told again, and asked."""
    if scope in (b"", scope_of(state), state.scope_told):
        return True
    state.scope_told = None
    return False


def next_scope(state: State) -> None:
    """Tell the service what is left out, when that changed; then ask for what comes back."""
    is_calm = state.now.monotonic_s >= state.calm_until_s
    if state.phase not in (Phase.LIVE, Phase.JOINING) or state.is_telling or not is_calm:
        return
    is_due = state.is_answered and is_run_due(state)
    if is_due or scope_of(state) != state.scope_told:
        state.is_telling = True
        run = run_of(state) if is_due else 0
        request = ScopeRequest(state.identity.ns, state.identity.link, tuple(state.scope_nodes), run)
        state.tasks.append(ScopeTask(request))
    elif state.phase is Phase.LIVE:
        _ask_for_returning(state)


def fold_scope(state: State, fact: ScopeTold) -> None:
    """The service leaves that out now. A page that was not believed is asked for again."""
    state.is_telling = False
    if fact.fault is not None and fact.fault.retryable:
        state.calm_down(fact.fault)
        return
    if fact.newest_start:
        if not state.is_welcomed:
            # It has recovered, and is not past it yet; once it was welcomed, the stream's end tells of a twin.
            leap(state, fact.newest_start)
        state.calm_down(Unavailable("Another start of this link is newer.", where="service", reason="run"))
        return
    run_told(state, fact.task.request.run)
    # A service that knows no scopes leaves nothing out, so nothing is missing either.
    was_doubted = state.scope_told is None
    state.scope_told = scope_mark(fact.task.request.left_out)
    state.index.put("scope", state.scope_told)
    state.wants_pull = state.wants_pull or state.phase is Phase.LIVE
    if was_doubted:
        # Once is a late word of before; a service that forgets each time is not asked without pause.
        state.calm_down(Unavailable("The service left out something else.", where="service", reason="scope"))


def load_scope(state: State) -> None:
    """At start: what was told last, and what was coming back."""
    told = state.index.get("scope")
    state.scope_told = told if isinstance(told, bytes) else b""
    state.scope_nodes = left_out_nodes(state)
    for nid in [nid for nid in sorted(state.taken) if state.left[nid] is Stage.RETURNING]:
        with state.index.transaction():
            _look_for(state, nid)
    known = state.index.get("beside_left_out")
    state.beside = [Nid(int(each)) for each in known.split(",")] if isinstance(known, str) and known else []
    _look_at_returning(state)


def _look_at_returning(state: State) -> None:
    """Until the service has told all of it, what comes back is not planned."""
    state.snapshot_busy |= {nid for nid, stage in state.left.items() if stage is Stage.RETURNING}


def _ask_for_returning(state: State) -> None:
    for nid in sorted(nid for nid, stage in state.left.items() if stage is Stage.RETURNING):
        node_id = state.index.node_id_of(nid)
        if nid in state.taken and nid in state.busy:
            # It may be being taken just now: until that is known, an absence must not become a deletion.
            continue
        if nid in state.taken:
            _look_for(state, nid)
        if node_id is None:
            forget(state, nid)
        elif node_id not in state.snapshot_units and node_id != state.unit_asked:
            state.snapshot_busy.add(nid)
            state.snapshot_units.append(node_id)


def ask_for_hidden(state: State, nids: Collection[Nid]) -> None:
    """The service has a newer state of rows. In what leaves since it was moved out of sight the feed tells of none.

    So all of the unit is asked for, as to a link that leaves nothing out.
    """
    for nid in nids:
        top = hiding_top(state, nid)
        node_id = state.index.node_id_of(top) if top is not None else None
        if node_id is not None and node_id not in state.snapshot_units and node_id != state.unit_asked:
            state.snapshot_units.append(node_id)


def _look_for(state: State, nid: Nid) -> None:
    """Whether it was taken is not known: it counts as not seen here, and what is there is met again."""
    path = state.index.reader.path_of(nid)
    untake(state, nid)
    put_left(state.index, nid, Stage.RETURNING)
    if path:
        state.look_again(path)


def has_returned(state: State, nid: Nid, untold: Collection[Nid]) -> None:
    """All of the unit was told, but for the untold: it is an ordinary one, and what hid and was told is in sight."""
    if not state.left:
        return
    told = set(state.index.unit("r", nid)).difference(untold, (nid,))
    for hiding in [each for each, stage in state.left.items() if stage is Stage.HIDING and each in told]:
        forget(state, hiding)
    if state.left.get(nid) is Stage.RETURNING:
        forget(state, nid)
