"""Keeps off this disk what a person leaves out (selective sync), and brings it back.

A word is noted durably first. Then what lies there and is not uploaded is uploaded as ever; once all of it equals a
committed state, the unit goes to the local trash in one move, and the row of its top is all that stays. The top is
followed by its node id: moved and renamed it stays out. What another device moves into it leaves this disk in the same
way, what is moved out of it appears.
Invariants: from the word on, nothing that is absent there is ever taken for deleted; only what equals a committed state
leaves the disk; what was made here meanwhile is put back and is new. The service is told what is left out, and leaves
it out of its pages; a page that leaves out anything else is not believed. Source: docs/design/040, 050.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from satchel.core.entries import Entry, Kind
from satchel.core.errors import Fault, LimitExceeded, NotFound
from satchel.core.ids import ROOT_NID, Nid, NodeId, scope_mark
from satchel.core.limits import SCOPE_NODES_MAX
from satchel.core.operations import CommitMove, Operation, Place, TrashLocal
from satchel.core.paths import name_key
from satchel.core.trees import Item, Row
from satchel.device.engine.acting import note_left
from satchel.device.engine.late import remember_trashed
from satchel.device.engine.link_run import may_leave, raise_run
from satchel.device.engine.mounts import holds_mount
from satchel.device.engine.results import make_ready
from satchel.device.engine.state import Job, State
from satchel.device.index.closure import Closure
from satchel.device.index.left_out import (
    Stage,
    above_of,
    dirty_below,
    drop_left,
    hide_remote,
    holds_any_file,
    is_changing_below,
    leaving_unit,
    put_left,
    remote_child,
    stand_still,
    stands_at_excluded,
    take_off,
)
from satchel.device.index.left_trash import drop_trash, forget_trash, nest_trash, put_trash
from satchel.device.ports import DiskPath, Hint, Stat, split
from satchel.device.tasks import Applied, DiskTask, TrashUnit

LOOK_S = 1.0
"""How often a unit that leaves is looked at while there is other work, or after the disk was not as expected."""
YOUNG_S = 0.1
"""After so long the disk's clock tells one write from the next."""
GOING = (Stage.LEAVING, Stage.HIDING)
NOTES_MAX = 20
HELD_WAIT_S = 30.0


# -- a person's word --------------------------------------------------------------------------------------------------


def exclude(state: State, paths: Sequence[str]) -> list[Nid]:
    """Keep these off this disk from now on. Durable before anything follows. Result: their rows.

    paths: relative to the linked folder. Raises: NotFound, LimitExceeded; then nothing is noted.
    """
    found = [_find(state, path) for path in paths]
    if ROOT_NID in found:
        raise Fault("The whole linked folder cannot be left out; 'satchel unlink' ends the link.")
    if any(holds_mount(state, nid) for nid in found):
        raise Fault("A shared folder is not left out as a whole: leave out what is in it, or leave it (share leave).")
    wanted = [nid for nid in found if not _is_going_with(state, nid)]
    if len({*state.left, *wanted}) > SCOPE_NODES_MAX:
        raise LimitExceeded(
            "Too many files and folders are left out.",
            limit="SCOPE_NODES_MAX",
            maximum=SCOPE_NODES_MAX,
            actual=len({*state.left, *wanted}),
        )
    inside = [each for each in state.left if any(above in wanted for above in _tops(state, each))]
    with state.index.durable():
        for nid in inside:
            drop_left(state.index, nid)
        for nid in wanted:
            put_left(state.index, nid, Stage.LEAVING)
        if state.is_answered:
            # Else what this start says first would pass for a later one, though it may be an old index.
            raise_run(state, wanted)
    with state.index.transaction():
        for nid in inside:
            top = next(above for above in _tops(state, nid) if above in wanted)
            nest_trash(state.index, [nid], top, state.index.reader.path_of(top))
            forget(state, nid)
        for nid in wanted:
            set_stage(state, nid, Stage.LEAVING)
    for nid in wanted:
        state.snapshot_busy.discard(nid)
        state.left_wait.pop(nid, None)
        state.hints += _looks_at(state, nid)
    return found


def include(state: State, paths: Sequence[str]) -> list[Nid]:
    """Bring these back. Durable before anything follows. Result: their rows. Raises: NotFound, and notes nothing."""
    known: dict[str, list[Nid]] = {}
    for nid, path in paths_of(state).items():
        # What was deleted on the service may have left its name to another.
        known.setdefault(path, []).append(nid)
    missing = [path for path in paths if path not in known]
    if missing:
        raise NotFound(f"{missing[0]} is not left out; see 'satchel exclude list'.", path=missing[0])
    wanted = [nid for path in dict.fromkeys(paths) for nid in known[path]]
    # What is not on the service has nothing to be asked for. What has not left yet is asked for as well: some of it may
    # have been moved in meanwhile and be hiding.
    asked = {nid for nid in wanted if state.index.is_remote(nid)}
    with state.index.durable():
        for nid in wanted:
            drop_left(state.index, nid)
            if nid in asked:
                put_left(state.index, nid, Stage.RETURNING, taken=nid in state.taken or nid in state.busy)
    with state.index.transaction():
        for nid in wanted:
            if nid in state.busy:
                # It may be being taken just now: its outcome tells, or the next start.
                state.taken.add(nid)
            else:
                untake(state, nid)
            if nid in asked:
                set_stage(state, nid, Stage.RETURNING)
                state.snapshot_busy.add(nid)
            else:
                forget(state, nid)
        state.touch(wanted)
    return wanted


def untake(state: State, nid: Nid) -> None:
    """An earlier start was just taking it, and may have: what is not on this disk now was not deleted."""
    if nid in state.taken:
        gone = state.index.clear_local_unit(nid)
        state.index.clear_synced(gone)
        state.taken.discard(nid)
        state.touch(gone)


def paths_of(state: State) -> dict[Nid, str]:
    """Return what a person leaves out, by row, with its path relative to the linked folder."""
    nids = sorted(nid for nid, stage in state.left.items() if stage is not Stage.HIDING)
    told = state.index.reader.remote_paths_of(nids)
    return {nid: told[nid].lstrip("/") for nid in nids}


def _find(state: State, path: str) -> Nid:
    nid: Nid | None = ROOT_NID
    for name in path.split("/") if path else ():
        assert nid is not None
        row, there = state.index.reader.find(nid, name.encode()), remote_child(state.index, nid, name_key(name))
        is_out_there = there is not None and state.left.get(there) is Stage.OUT
        nid = there if row is None or is_out_there else row.nid
        if nid is None:
            raise NotFound(f"Nothing is known of {path}.", path=path)
    assert nid is not None
    return nid


def _looks_at(state: State, nid: Nid) -> list[Hint]:
    """Return the hint that looks at all of a unit, none when it is not on this disk."""
    path = state.index.reader.path_of(nid)
    if not path:
        return []
    folder, name = split(path)
    return [Hint(folder, frozenset((name,)), True)]


def _is_going_with(state: State, nid: Nid) -> bool:
    """Tell whether the row, or a folder around it, is kept off or on its way already."""
    stages = {state.left.get(each) for each in (nid, *_tops(state, nid))}
    return bool(stages & {Stage.LEAVING, Stage.OUT, Stage.HIDING})


def _tops(state: State, nid: Nid) -> list[Nid]:
    """Return the folders around a row, from the nearest up."""
    found: list[Nid] = []
    above = above_of(state.index, nid)
    while above is not None and above != ROOT_NID and above not in found:
        found.append(above)
        above = above_of(state.index, above)
    return found


def set_stage(state: State, nid: Nid, stage: Stage) -> None:
    """Note how far the row is on its way."""
    state.left[nid] = stage
    if stage not in GOING:
        state.leaves_at.pop(nid, None)
    put_left(state.index, nid, stage, taken=nid in state.taken)
    _reconsider(state)


def forget(state: State, nid: Nid) -> None:
    """The row is an ordinary one again."""
    state.left.pop(nid, None)
    state.leaves_at.pop(nid, None)
    state.taken.discard(nid)
    drop_left(state.index, nid)
    drop_trash(state.index, nid)
    state.snapshot_busy.discard(nid)
    state.touch([nid])
    state.fresh.update(each for each in dirty_below(state.index, nid) if each not in state.busy)
    _reconsider(state)


def _reconsider(state: State) -> None:
    """Something is left out, or no more: what was quiet because of that is looked at anew."""
    state.scope_nodes = left_out_nodes(state)
    state.fresh |= {nid for nid in state.quiet if nid not in state.busy and state.index.exists(nid)}
    state.quiet.clear()


# -- leaving the disk -------------------------------------------------------------------------------------------------


def is_going(state: State) -> bool:
    """Tell whether anything is on its way off this disk, or back, and nothing holds it."""
    stages = [stage for nid, stage in state.left.items() if nid not in state.left_held]
    return any(stage is not Stage.OUT for stage in stages) or scope_of(state) != state.scope_told


def next_leaving(state: State) -> None:
    """Hand out the units that can leave now: all that is in them is committed, and nothing of them is in flight.

    None leaves before the service has answered a hello of this start, and was told a number of it that no index has
    from before the leaving: should one come back, the service tells it that it is old, and it takes nothing for deleted
    that left the disk since.
    """
    if not state.is_answered:
        return
    awaited = {one.nid for one in state.doubted}
    going = sorted(nid for nid, stage in state.left.items() if stage in GOING and nid not in awaited)
    if not going or not state.scanned_once or state.is_scanning or state.hints or state.held_parts:
        return
    now_s = state.now.monotonic_s
    if (state.fresh or state.busy) and now_s < state.next_leave_s:
        return
    state.next_leave_s = now_s + LOOK_S
    unnumbered = [nid for nid in going if nid not in state.leaves_at]
    if unnumbered:
        raise_run(state, unnumbered)
    for top in going:
        if top not in state.busy and now_s >= state.left_wait.get(top, 0.0) and may_leave(state, top):
            _leave(state, top)


def _leave(state: State, top: Nid) -> None:
    if not state.index.exists(top):
        forget(state, top)
        return
    if holds_mount(state, top):
        # What is in a shared folder is another link's: its own end comes first.
        state.left_held.add(top)
        state.left_wait[top] = state.now.monotonic_s + HELD_WAIT_S
        return
    is_hiding = state.left[top] is Stage.HIDING
    unit = leaving_unit(state.index, top, any_place=is_hiding)
    state.left_held.discard(top)
    if any(nid in state.busy for nid in (*unit.members, *state.index.unit("r", top))):
        return
    if unit.elsewhere and _absorb(state, unit.elsewhere):
        return
    path = state.index.reader.path_of(top)
    if unit.waiting or unit.elsewhere or (path is not None and is_changing_below(state.index, path)):
        if not (state.fresh or state.deleting or state.after_scan):
            state.left_held.add(top)
    elif unit.is_unsure:
        state.left_wait[top] = state.now.monotonic_s + YOUNG_S
        state.later_hints += [(state.left_wait[top], hint) for hint in _looks_at(state, top)]
    elif unit.members:
        job = Job(TrashLocal(0, (), top, unit.members), unit.members, {})
        for nid in unit.members:
            state.busy[nid] = 1
        put_left(state.index, top, state.left[top], taken=True)
        make_ready(state, job)
    else:
        take_out(state, top)


def _absorb(state: State, elsewhere: Sequence[Nid]) -> bool:
    """What another device moved in, to where this disk has no folder for it, leaves from where it stands here."""
    moved = [nid for nid in elsewhere if nid not in state.left and _has_no_home(state, nid)]
    for nid in moved:
        stand_still(state.index, nid)
        set_stage(state, nid, Stage.HIDING)
    state.touch(moved)
    return bool(moved)


def _has_no_home(state: State, nid: Nid) -> bool:
    row = state.index.row(nid)
    if row is None or not isinstance(row.remote, Item) or row.remote.parent == ROOT_NID:
        return False
    return state.index.reader.local(row.remote.parent) is None


def take_out(state: State, top: Nid) -> list[Nid]:
    """Nothing of the unit is on this disk any more. Result: its rows."""
    is_hiding = state.left[top] is Stage.HIDING
    path = state.index.reader.path_of(top)
    nested = [nid for nid in state.left if nid != top and top in _tops(state, nid)]
    kept = [nid for nid in nested if is_hiding and state.left[nid] is Stage.OUT]
    touched = take_off(state.index, top, stays=not is_hiding, busy=state.busy, kept=kept)
    nest_trash(state.index, [nid for nid in nested if nid not in kept], top, path)
    state.taken.discard(top)
    for nid in nested:
        if nid not in kept:
            state.left.pop(nid)
            state.leaves_at.pop(nid, None)
            drop_left(state.index, nid)
    if is_hiding:
        state.left.pop(top)
        state.leaves_at.pop(top, None)
        drop_left(state.index, top)
        _reconsider(state)
    else:
        set_stage(state, top, Stage.OUT)
    state.left_held.discard(top)
    for nid in touched:
        state.after_scan.pop(nid, None)
    state.touch(touched)
    return touched


def name_trash(state: State, nid: Nid, path: DiskPath) -> str:
    """Decide what the unit is called in the trash, and note it before it goes there: a stop may hide the outcome."""
    name = f"{state.now.wall_ns}-{state.clock.random(4).hex()}"
    if state.left[nid] is not Stage.HIDING:
        put_trash(state.index, name, nid, path)
    return name


def has_left(state: State, job: Job, task: TrashUnit, result: Applied) -> None:
    """The unit is in the local trash; what was put back is looked at anew."""
    assert isinstance(job.op, TrashLocal)
    row = state.index.row(job.op.nid)
    content = row.local.content if row is not None and isinstance(row.local, Item) else b""
    remember_trashed(state, result.trashed, task.path, task.members, content)
    if row is not None:
        note_left(state, row.node_id, task, result.trashed)
    is_hiding = state.left[job.op.nid] is Stage.HIDING
    if state.left[job.op.nid] is Stage.RETURNING:
        # A person took the word back meanwhile.
        state.taken.add(job.op.nid)
        untake(state, job.op.nid)
        put_left(state.index, job.op.nid, Stage.RETURNING)
    else:
        take_out(state, job.op.nid)
    if not is_hiding:
        put_trash(state.index, result.trashed, job.op.nid, task.path)


def put_off(state: State, job: Job, task: DiskTask, *, is_sure: bool) -> None:
    """The unit is looked at again, a little later. is_sure: this job did not take it; else it may have."""
    if isinstance(job.op, TrashLocal) and (nid := job.op.nid) in state.left:
        state.left_wait[nid] = state.now.monotonic_s + LOOK_S
        if not is_sure:
            state.taken.add(nid)
        elif isinstance(task, TrashUnit):
            forget_trash(state.index, task.trashed)
        if state.left[nid] is Stage.RETURNING:
            untake(state, nid)
        put_left(state.index, nid, state.left[nid], taken=nid in state.taken)


def stands_again(state: State, paths: Collection[DiskPath]) -> None:
    """A start found these in staging and put them back: what an earlier start was just taking was not taken."""
    for nid in sorted(state.taken):
        if state.index.reader.path_of(nid) in paths:
            state.taken.discard(nid)
            put_left(state.index, nid, state.left[nid])


def is_another(state: State, nid: Nid, stat: Stat) -> bool:
    """Something stands at the place of a row. Tell whether it is another than what an earlier start took from there.

    Then the unit is out, and what stands there is to be looked at anew.
    """
    row = state.index.reader.local(nid) if nid in state.taken and state.left.get(nid) in GOING else None
    if row is None or (row.stat.inode, row.stat.birth_ns) == (stat.inode, stat.birth_ns):
        return False
    path = state.index.reader.path_of(nid)
    take_out(state, nid)
    if path is not None:
        state.look_again(path)
    return True


def absence_is_leaving(state: State, nid: Nid) -> bool:
    """The row is not on the disk any more. Tell whether that is no deletion; then what follows from it is done.

    It is none within what leaves the disk. Around it, what leaves is gone now, and the rest is for the caller.
    """
    if not any(stage in GOING for stage in state.left.values()):
        return False
    if state.left.get(nid) in GOING:
        take_out(state, nid)
        return True
    if any(state.left.get(each) in GOING for each in _tops(state, nid)):
        gone = state.index.clear_local_unit(nid)
        state.index.clear_synced(gone)
        state.touch(gone)
        return True
    for top in [each for each, stage in state.left.items() if stage in GOING and nid in _tops(state, each)]:
        take_out(state, top)
    return False


# -- planning around it -----------------------------------------------------------------------------------------------


def without_left_out(state: State, closure: Closure, dirty: list[Row]) -> list[Row]:
    """Leave out what is not to come to this disk, and folders that only stand where something left out does."""
    if not state.left:
        return dirty
    kept: list[Row] = []
    for row in dirty:
        if row.local is None and isinstance(row.remote, Item) and _is_below_going(state, row.nid):
            # A folder around it may still come out of what leaves: then it is planned after all.
            state.quiet.add(row.nid)
            closure.drop(row.nid)
        elif _is_quiet(state, row):
            state.quiet.add(row.nid)
            closure.drop(row.nid)
        else:
            kept.append(row)
    return kept


def _is_below_going(state: State, nid: Nid) -> bool:
    return any(state.left.get(each) in GOING for each in (nid, *_tops(state, nid)))


def _is_quiet(state: State, row: Row) -> bool:
    """True for an empty folder that is only here, at the name of what is left out: often it holds what is ignored.

    It becomes a conflict when anything that is synced is put into it.
    """
    top: Nid | None = None
    nid = row.nid
    while nid != ROOT_NID:
        known = state.index.row(nid)
        if known is None or known.remote is not None or known.synced is not None or not isinstance(known.local, Item):
            break
        if stands_at_excluded(state.index, nid):
            top = nid
        nid = known.local.parent
    return top is not None and not holds_any_file(state.index, top)


def is_barred(state: State, op: Operation, *, is_home: bool) -> bool:
    """Tell whether an operation must not be done for what leaves the disk: bring anything there, or move it back.

    is_home: a file moves into what it brings, and has changes that stay on this disk until it has.
    """
    if not state.left:
        return False
    if isinstance(op, Place) and op.replaces is None:
        return not (is_home and op.item.kind is Kind.FOLDER) and _is_below_going(state, op.item.parent)
    if isinstance(op, CommitMove):
        return any(state.left.get(move.nid) is Stage.HIDING for move in op.moves)
    return False


# -- what the service says --------------------------------------------------------------------------------------------


def is_out(state: State, folder: Nid) -> bool:
    """Tell whether what stands in this folder is out of sight."""
    return state.left.get(folder) is Stage.OUT


def hide(state: State, nid: Nid, entry: Entry) -> list[Nid]:
    """The node stands outside of what this link shows now. Result: the rows for which that is as a deletion there.

    Where something is left out it went there: it leaves this disk once what was changed here is committed.
    """
    index = state.index
    stage = state.left.get(nid)
    if stage is Stage.OUT:
        hide_remote(index, index.unit("r", nid))
        return []
    if Stage.OUT not in state.left.values():
        return index.clear_remote_unit(nid, entry.seq)
    if keep_place(state, nid, entry) and stage is not Stage.HIDING:
        set_stage(state, nid, Stage.HIDING)
    return []


def keep_place(state: State, nid: Nid, entry: Entry) -> bool:
    """Take all of an entry but the place: the row shall not move anywhere before it leaves. Result: whether it did."""
    row = state.index.row(nid)
    if row is None or not isinstance(row.remote, Item) or state.index.remote_seq(nid) >= entry.seq:
        return False
    known = replace(entry, name=row.remote.name, name_key=name_key(row.remote.name))
    state.index.set_remote(nid, row.remote.parent, known)
    return True


def is_hiding(state: State, nid: Nid) -> bool:
    """Tell whether the row is, or stands in, what leaves this disk since it went out of sight."""
    return hiding_top(state, nid) is not None


def hiding_top(state: State, nid: Nid) -> Nid | None:
    """Return what leaves this disk since it went out of sight, and which the row is or stands in; None for others."""
    if not state.left:
        return None
    return next((each for each in (nid, *_tops(state, nid)) if state.left.get(each) is Stage.HIDING), None)


def shows_again(state: State, nid: Nid) -> bool:
    """The node stands in sight. Tell whether it was on its way out of it: then all below it has to be asked for."""
    if state.left.get(nid) is not Stage.HIDING:
        return False
    forget(state, nid)
    return True


def tidy_below(state: State) -> None:
    """Drop what a snapshot told of that is out of sight."""
    for top in sorted(nid for nid, stage in state.left.items() if stage is Stage.OUT):
        below = [nid for nid in state.index.unit("r", top) if nid != top]
        if below:
            hide_remote(state.index, below)
            state.touch(below)


# -- for the service ---------------------------------------------------------------------------------------------------


def scope_of(state: State) -> bytes:
    """Return the mark of what the service is to leave out."""
    return scope_mark(state.scope_nodes)


def left_out_nodes(state: State) -> list[NodeId]:
    """Return what the service is to leave out."""
    tops = sorted(nid for nid, stage in state.left.items() if stage is Stage.OUT)
    return [node_id for nid in tops if (node_id := state.index.node_id_of(nid)) is not None]


# -- for people -------------------------------------------------------------------------------------------------------


def note_beside(state: State, nids: Sequence[Nid]) -> None:
    """Remember what stepped aside for something that is left out, for status."""
    if nids:
        state.beside = list(dict.fromkeys((*state.beside, *nids)))[-NOTES_MAX:]
        state.index.put("beside_left_out", ",".join(str(nid) for nid in state.beside))


def notes(state: State) -> list[str]:
    """Return lines for status: what stands aside for something left out, and what is in the way of leaving."""
    told: list[str] = []
    for nid in state.beside:
        path = state.index.reader.path_of(nid)
        if path and b" (selective sync conflict" in split(path)[1]:
            told.append(f"{_text(path)} was made at the name of something that is left out here, so it was renamed")
    for nid in sorted(state.quiet):
        path = state.index.reader.path_of(nid)
        if path and stands_at_excluded(state.index, nid):
            told.append(
                f"{_text(path)} stays on this disk alone: what it holds is not synced, and its name is left out"
            )
    return told[:NOTES_MAX]


def _text(path: DiskPath) -> str:
    return path.decode(errors="backslashreplace")
