"""Brings back from the local trash what a person leaves out, when the service went back in time and may have lost it.

What was left out had left this disk since the service had it; a service that was put back may not have it any more. So
it is compared once more: it comes back to its place, what the service does not have is uploaded as ever, and then it
leaves again. Invariant: noted with the recovery, and until it is back the unit does not leave. Source:
docs/design/040, rule 1.
"""

from __future__ import annotations

from satchel.core.errors import Fault
from satchel.core.ids import ROOT_NID
from satchel.core.trees import Item
from satchel.device.engine.excluding import set_stage
from satchel.device.engine.state import Phase, State
from satchel.device.index.left_out import Stage, let_back
from satchel.device.index.left_trash import LeftTrash, doubt_trash, doubted, forget_trash
from satchel.device.ports import ROOT_PATH, DiskPath, Hint, joined
from satchel.device.tasks import BringBackTask, BroughtBack

RETRY_S = 60.0
"""The disk refused."""


def doubt_left(state: State) -> None:
    """The service went back: what is left out leaves anew, after it came back to be compared."""
    wanted = [nid for nid, stage in state.left.items() if stage in (Stage.OUT, Stage.RETURNING, Stage.LEAVING)]
    found = doubt_trash(state.index, wanted)
    for nid in sorted(found):
        if state.left[nid] is Stage.OUT:
            let_back(state.index, nid)
            set_stage(state, nid, Stage.LEAVING)
            # A page that still leaves it out says nothing of what the service has in it.
            state.scope_told = None
            state.index.put("scope", b"")
    load_doubted(state)


def load_doubted(state: State) -> None:
    """At start as well: what is still to come back."""
    state.doubted = doubted(state.index)


def next_back(state: State) -> None:
    """Hand out what is to come back, one at a time, once the service has told all that it has."""
    if not state.doubted or state.is_bringing_back or state.now.monotonic_s < state.next_back_s:
        return
    is_told = state.phase is Phase.LIVE and not (state.is_snapshotting or state.snapshot_units)
    if not is_told or not state.scanned_once or state.is_scanning:
        return
    state.is_bringing_back = True
    one = state.doubted[0]
    state.tasks.append(BringBackTask(one.trashed, _place_of(state, one)))


def _place_of(state: State, one: LeftTrash) -> DiskPath:
    """Where the service has its unit now, if this disk has that folder; else where it stood."""
    row = state.index.row(one.nid)
    if row is None or not isinstance(row.remote, Item):
        return one.path
    parent = row.remote.parent
    folder = ROOT_PATH if parent == ROOT_NID else state.index.reader.path_of(parent)
    if folder is None:
        return one.path
    top = joined(folder, row.remote.name.encode())
    return joined(top, one.inside) if one.inside else top


def refused_back(state: State) -> list[tuple[LeftTrash, Fault]]:
    """Return what the disk refused to take back, and why; it is tried again every minute."""
    return [(one, state.back_faults[one.trashed]) for one in state.doubted if one.trashed in state.back_faults]


def fold_brought_back(state: State, fact: BroughtBack) -> None:
    """It is back and is looked at; or it is not in the trash any more, or the disk refused."""
    state.is_bringing_back = False
    if fact.fault is not None:
        state.next_back_s = state.now.monotonic_s + RETRY_S
        state.back_faults[fact.task.trashed] = fact.fault
        # What the disk refuses for good keeps no other waiting.
        state.doubted.append(state.doubted.pop(0))
        return
    state.back_faults.pop(fact.task.trashed, None)
    forget_trash(state.index, fact.task.trashed)
    load_doubted(state)
    for path in fact.paths:
        folder, _, name = path.rpartition(b"/")
        state.hints.append(Hint(DiskPath(folder), frozenset((name,)), True))
