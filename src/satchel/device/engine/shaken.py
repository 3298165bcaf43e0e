"""Keeps apart what a look tells of places that this device itself changes meanwhile.

A look goes by paths, and a path through a folder that moves ends in whatever has its name by then: of two folders that
change places, it finds in each what is in the other. What was there for a moment only, and was given back, it may have
seen as well. Invariant: of a row that a task moved, took away or gave back during a look, and of all below it, nothing
that this look tells is folded; it is looked at again when both are over. Source: docs/design/040 (rules 1, 3).
"""

from __future__ import annotations

from collections.abc import Iterable

from satchel.core.entries import Kind
from satchel.core.ids import Nid
from satchel.core.operations import MoveLocal, TrashLocal
from satchel.device.engine.seen import look_soon
from satchel.device.engine.state import Job, State
from satchel.device.engine.trails import doubt_below


def shake_folders(state: State, job: Job) -> None:
    """The job's task is handed out: what is in a folder of it may be found elsewhere from now on."""
    for nid in _folders(state, job):
        state.shaken.setdefault(nid, False)


def steady(state: State, job: Job, *, is_undone: bool) -> None:
    """The task is over. is_undone: what a look saw of its rows meanwhile may have been given back since."""
    if not state.is_scanning:
        for nid in job.nids:
            state.shaken.pop(nid, None)
    elif is_undone:
        for nid in job.nids:
            state.shaken.setdefault(nid, False)


def end_shaken(state: State) -> None:
    """The look is over: queue another where it could not tell, and keep what tasks under way shake."""
    shaken, state.shaken = state.shaken, {}
    for jobs in state.running.values():
        for job in jobs:
            shake_folders(state, job)
    for nid in [nid for nid, is_doubted in shaken.items() if is_doubted]:
        row = state.index.reader.local(nid)
        if row is not None and row.kind is Kind.FOLDER:
            doubt_below(state, nid)
        elif row is not None and (path := state.index.reader.path_of(nid)) is not None:
            look_soon(state, path)


def _folders(state: State, job: Job) -> Iterable[Nid]:
    match job.op:
        case MoveLocal(moves=moves):
            moved = [move.nid for move in moves]
        case TrashLocal(nid=nid):
            moved = [nid]
        case _:
            return ()
    reader = state.index.reader
    return [nid for nid in moved if (row := reader.local(nid)) is not None and row.kind is Kind.FOLDER]
