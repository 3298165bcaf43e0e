"""Lets the service's state win where this account may not change it: a shared folder with view only, or one that ends.

Nothing is committed there. What only this disk has goes to the trash under a name that was noted first, and from there
into the person's own files (`satchel.device.unsynced`); what was merely moved, marked or deleted here is as it was.
Invariant: no byte that the service does not hold is out of a person's sight for longer than that takes.
"""

from __future__ import annotations

from collections.abc import Sequence

from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NID, Nid
from satchel.core.operations import TrashLocal
from satchel.core.trees import Item, Row
from satchel.device.engine.excluding import YOUNG_S
from satchel.device.engine.results import COMMITS, fail, hold_rows
from satchel.device.engine.state import Job, Phase, State
from satchel.device.index.mounts import Carried, forget_service, kept_name, put_carried
from satchel.device.ports import DiskPath, Hint, split

BUSY_WAIT_S = 0.5
VIEW_ONLY = "view_only"


def set_view_only(state: State, *, is_view_only: bool) -> None:
    """The service said whether this account may change what is in here. What was to be committed is planned anew."""
    if is_view_only and not state.is_view_only:
        for lane in (state.ready_commits, state.ready_uploads):
            for job in list(lane):
                fail(state, job)
            lane.clear()
    state.is_view_only = is_view_only


def begin_ending(state: State) -> None:
    """At a start of a link whose part is over: to this tree, the service has nothing any more."""
    state.is_view_only = True
    state.position = None
    state.phase = Phase.LIVE
    for waiting in (state.snapshot_units, state.snapshot_busy, state.doubted, state.left, state.taken, state.held_back):
        waiting.clear()
    state.scope_nodes, state.scope_told = [], b""
    with state.index.transaction():
        # Should the part begin anew, all is told again.
        state.index.put("seq", None)
        state.index.put("scope", b"")
        forget_service(state.index)
    state.fresh = set(state.index.dirty_nids())


def yield_own(state: State, chosen: Sequence[Nid]) -> list[Nid]:
    """Take what is only here out of the way. Result: the rows that are to be planned, which lead to no commit."""
    rest: list[Nid] = []
    tops: dict[Nid, None] = {}
    for nid in chosen:
        row = state.index.row(nid)
        if row is None or not isinstance(row.local, Item):
            if row is not None and row.local is None and row.synced is not None and isinstance(row.remote, Item):
                # It was deleted here, and comes back.
                state.index.set_synced(nid, None)
            rest.append(nid)
        elif _is_own(row, row.local):
            tops[_top(state, nid)] = None
        else:
            if row.synced is not None and (row.local.place, row.local.attributes) != (
                row.synced.place,
                row.synced.attributes,
            ):
                # As if it had been agreed on: then only the service has a say.
                known = row.synced.at(*row.local.place)
                bit, xattrs = row.local.attributes
                state.index.set_synced(nid, known.holding(known.content, is_executable=bit, xattrs=xattrs))
            rest.append(nid)
    for top in tops:
        _carry(state, top)
    return [nid for nid in rest if nid not in state.busy]


def _is_own(row: Row, local: Item) -> bool:
    """Tell whether the row holds here what the service may not have."""
    if local.kind is Kind.FOLDER:
        return row.remote is None and row.synced is None
    is_there = isinstance(row.remote, Item) and row.remote.content == local.content
    return not is_there and (row.synced is None or row.synced.content != local.content)


def _top(state: State, nid: Nid) -> Nid:
    """Return the highest folder around the row that is only here as well, or the row."""
    top, at = nid, nid
    while True:
        row = state.index.row(at)
        if row is None or not isinstance(row.local, Item):
            return top
        if at == nid or _is_own(row, row.local):
            top = at
        else:
            return top
        at = row.local.parent
        if at == ROOT_NID:
            return top


def _carry(state: State, top: Nid) -> None:
    unit = state.index.unit("l", top)
    state.fresh.difference_update(unit)
    rows = {nid: row for nid in unit if (row := state.index.row(nid)) is not None}
    is_folder = any(isinstance(row.local, Item) and row.local.kind is Kind.FOLDER for row in rows.values())
    # What a scan has not told of yet would be put back, and the folder be found again, for as long as scans are made.
    is_coming = is_folder and state.is_scanning
    if is_coming or any(nid in state.busy or nid in state.snapshot_busy for nid in unit):
        state.fresh.add(top)
        hold_rows(state, (top,), code=VIEW_ONLY, reason="something in it is being worked on", wait_s=BUSY_WAIT_S)
        return
    path = state.index.reader.path_of(top)
    if is_folder and path and state.index.has_young(unit):
        # It would be put back, and be young again by that, for as long as each look comes at once.
        state.fresh.add(top)
        hold_rows(state, (top,), code=VIEW_ONLY, reason="something in it was just written", wait_s=BUSY_WAIT_S)
        folder, name = split(path)
        state.later_hints.append((state.now.monotonic_s + YOUNG_S, Hint(folder, frozenset((name,)), True)))
        return
    state.carrying[top] = kept_name(state.identity.ns, state.now.wall_ns, state.clock.random(4))
    job = Job(TrashLocal(0, (), top, tuple(unit)), tuple(unit), rows)
    for nid in unit:
        state.busy[nid] = state.busy.get(nid, 0) + 1
    state.ready_disk.append(job)


def name_carried(state: State, nid: Nid, path: DiskPath) -> str:
    """Return what something that is carried is called in the trash, noted before it goes there; "" for all else."""
    name = state.carrying.get(nid, "")
    if name:
        put_carried(state.index, Carried(name, nid, path))
    return name


def is_refused_here(state: State, op: object) -> bool:
    """Tell whether an operation would change what this account may only look at."""
    return state.is_view_only and isinstance(op, COMMITS)
