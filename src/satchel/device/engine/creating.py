"""Makes jobs of rows that are new on this disk and in nobody's way, past the planner: a first upload has many.

Invariant: rows and jobs are then as if the planner had been asked about the same rows; where that is not certain, it
is asked. Source: docs/design/040 (planner).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from satchel.core.creating import plan_creates
from satchel.core.ids import ROOT_NID, Nid
from satchel.core.operations import CommitCreate
from satchel.core.trees import Item
from satchel.device.engine.state import Job, Stage, State
from satchel.device.index.bulk import agreed_folders, only_here


def create_new(state: State, chosen: Sequence[Nid]) -> bool:
    """Plan these rows if all of them are plainly new, in order. Result: False when the planner has to be asked.

    chosen: rows that are in no job, sorted.
    """
    found = only_here(state.index, chosen)
    if len(found) != len(chosen):
        return False
    behind: dict[Nid, Nid] = {}
    items: dict[Nid, Item] = {}
    for nid in chosen:
        item = found[nid].item
        parent = item.parent
        above = parent if parent in state.busy else state.blocked.get(parent) or behind.get(parent)
        if above is None:
            items[nid] = item
        else:
            behind[nid] = above
    folders = {item.parent for item in items.values()} - items.keys() - {ROOT_NID}
    operations = plan_creates(items, agreed_folders(state.index, folders) - state.snapshot_busy)
    if operations is None:
        return False
    for nid, above in behind.items():
        state.wait_behind(above, nid)
    if operations:
        state.progress.plans += 1
        _make_jobs(state, operations, {nid: found[nid].size for nid in items})
    return True


def _make_jobs(state: State, operations: Sequence[CommitCreate], sizes: Mapping[Nid, int]) -> None:
    seen_seq = state.position.seq if state.position is not None else 0
    jobs: list[Job] = []
    for op in operations:
        job = Job(op, (op.nid,), {}, size=sizes[op.nid], seen_seq=seen_seq)
        jobs.append(job)
        state.busy[op.nid] = 1
        if op.needs:
            jobs[op.needs[0]].dependents.append(job)
            job.open_needs = 1
        else:
            job.stage = Stage.READY
            state.ready_commits.append(job)
