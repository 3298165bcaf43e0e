"""What is plainly new goes past the planner, with the jobs that the planner would have led to, on random trees."""

from __future__ import annotations

import random

import pytest

from satchel.core.creating import plan_creates
from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NID, Nid, NodeId
from satchel.core.paths import name_key
from satchel.core.planner import Context, plan
from satchel.core.trees import Item, Row
from satchel.device.engine import planning
from satchel.device.engine.creating import create_new
from satchel.device.engine.state import Job, State
from tests.support.engine_rig import Rig, entry, stat

CASES = 300
PARTS = 4
KINDS = (Kind.FILE, Kind.FOLDER, Kind.FOLDER, Kind.SYMLINK)


def content_of(nid: int, kind: Kind) -> bytes:
    return b"" if kind is Kind.FOLDER else nid.to_bytes(32, "big")


# -- the decision alone -----------------------------------------------------------------------------------------------


def forest(choice: random.Random) -> tuple[dict[Nid, Item], set[Nid]]:
    """Return new items by nid, in order, and the agreed folders; a folder may have a greater nid than what is in it."""
    nids = [Nid(nid) for nid in choice.sample(range(1, 60), choice.randrange(1, 30))]
    items: dict[Nid, Item] = {}
    agreed: set[Nid] = set()
    folders = [ROOT_NID]
    for nid in nids:
        kind = choice.choice(KINDS)
        is_agreed = kind is Kind.FOLDER and choice.random() < 0.4
        above = [each for each in folders if not is_agreed or each == ROOT_NID or each in agreed]
        items[nid] = Item(choice.choice(above), f"{nid}", kind, content_of(nid, kind), choice.random() < 0.2)
        if kind is Kind.FOLDER:
            folders.append(nid)
        if is_agreed:
            agreed.add(nid)
    return dict(sorted(items.items())), agreed


def node(nid: int) -> NodeId:
    return NodeId(nid.to_bytes(16, "big"))


@pytest.mark.parametrize("part", range(PARTS))
def test_the_planner_gives_the_same_creates_in_the_same_order(part: int) -> None:
    for seed in range(part * CASES, (part + 1) * CASES):
        items, agreed = forest(random.Random(seed))
        rows = {
            nid: Row(nid, node(nid), item, item, item) if nid in agreed else Row(nid, node(nid), None, item, None)
            for nid, item in items.items()
        }
        planned = plan(rows, Context("laptop", "2026-11-22"))
        assert not planned.decisions
        fresh = {nid: item for nid, item in items.items() if nid not in agreed}
        assert tuple(plan_creates(fresh, agreed) or ()) == planned.operations, seed


def test_a_folder_of_which_nothing_is_certain_sends_all_to_the_planner() -> None:
    inside = Item(Nid(2), "a", Kind.FILE, content_of(3, Kind.FILE))
    assert plan_creates({Nid(3): inside}, set()) is None
    assert plan_creates({Nid(2): Item(ROOT_NID, "f", Kind.FILE), Nid(3): inside}, set()) is None
    one, other = Item(Nid(2), "a", Kind.FOLDER), Item(Nid(1), "b", Kind.FOLDER)
    assert plan_creates({Nid(1): one, Nid(2): other}, set()) is None


# -- with an index ----------------------------------------------------------------------------------------------------


def put(choice: random.Random, rig: Rig, nid: Nid, item: Item, others: list[Item], *, past: str) -> None:
    """Write the row as it would stand in the index after some past."""
    index = rig.index
    index.connection.execute("INSERT INTO nodes (nid, node_id) VALUES (?, ?)", (nid, node(nid)))
    remote = item
    if past in ("remote name", "moved", "made on both") and others:
        other = choice.choice(others)
        remote = item.at(other.parent, other.name)
    if past in (
        "agreed",
        "remote only",
        "remote name",
        "remote dead",
        "edited",
        "moved",
        "made on both",
        "agreed busy",
    ):
        told = entry(nid, node(nid), remote.name, item.content, kind=item.kind, is_executable=item.is_executable)
        index.set_remote(nid, remote.parent, told)
        index.connection.execute("UPDATE nodes SET r_content = ? WHERE nid = ?", (item.content, nid))
    if past == "remote dead":
        index.clear_remote_unit(nid, nid)
    if past in ("agreed", "edited", "moved", "agreed busy", "deleted there"):
        index.set_synced(nid, item)
    if past not in ("remote only", "remote name"):
        local = item.holding(content_of(nid + 1000, item.kind), is_executable=item.is_executable, xattrs=b"")
        seen = local if past == "edited" else item
        looks = stat(nid, b"x" * (nid % 7), item.kind, is_executable=item.is_executable)
        index.set_local(nid, seen.parent, seen.name, seen.content, looks)
    if past == "unknown":
        index.set_local_unknown(nid)


ODD_PASTS = (
    *("remote only", "remote name", "remote dead", "edited", "moved", "made on both", "unknown", "deleted there"),
    *("busy", "agreed busy", "moved", "moved"),
)


def world(seed: int) -> tuple[Rig, list[Nid]]:
    """Return an engine over an index with new rows and, often, some that are odd; and rows that it is to plan."""
    choice = random.Random(seed)
    rig = Rig()
    rig.start()
    share = choice.choice((0.0, 0.1, 0.3))
    items: dict[Nid, Item] = {}
    is_agreed: dict[Nid, bool] = {ROOT_NID: True}
    odd: set[Nid] = set()
    for nid in map(Nid, range(1, choice.randrange(2, 25))):
        kind = choice.choice(KINDS)
        past = choice.choice(ODD_PASTS) if choice.random() < share else choice.choice(("new", "new", "agreed"))
        folders = [ROOT_NID, *(each for each, item in items.items() if item.kind is Kind.FOLDER)]
        if past == "agreed":
            folders = [each for each in folders if is_agreed[each]]
        used = {(item.parent, name_key(item.name)) for item in items.values()}
        parent = choice.choice(folders)
        name = choice.choice((f"{nid}", "name", "NAME", "Name")) if choice.random() < 0.3 else f"{nid}"
        if (parent, name_key(name)) in used and choice.random() > share:
            name = f"{nid}"
        item = Item(parent, name, kind, content_of(nid, kind), kind is Kind.FILE and choice.random() < 0.2)
        put(choice, rig, nid, item, list(items.values()), past=past)
        items[nid] = item
        if past not in ("new", "agreed"):
            odd.add(nid)
        is_agreed[nid] = past in ("agreed", "agreed busy", "moved")
        if past in ("busy", "agreed busy"):
            rig.state.busy[nid] = 1
    rig.state.fresh = set(rig.index.settle(items)) - rig.state.busy.keys()
    if choice.random() < 0.1:
        rig.state.snapshot_busy = {nid for nid in items if choice.random() < 0.2}
        rig.state.fresh -= rig.state.snapshot_busy
    share = choice.choice((0.0, 0.0, 0.2, 1.0))
    chosen = [nid for nid in sorted(rig.state.fresh) if nid not in odd or choice.random() < share]
    rig.state.fresh.difference_update(chosen)
    return rig, chosen


def told(state: State) -> tuple[object, ...]:
    """Return what was made of the rows; of a job all that its way depends on."""

    def of(job: Job) -> tuple[object, ...]:
        needed = [of(each) for each in job.dependents]
        return job.op, job.nids, job.stage, job.open_needs, job.size, job.seen_seq, job.op_id, needed

    lanes = (state.ready_commits, state.ready_disk, state.ready_fetch, state.ready_uploads)
    waits = (state.busy, state.fresh, state.behind, state.blocked, state.waiting, state.retry_at, state.tries)
    return [[of(job) for job in lane] for lane in lanes], waits, state.progress.plans, state.index.held()


@pytest.mark.parametrize("part", range(PARTS))
def test_jobs_are_those_that_the_planner_leads_to(part: int) -> None:
    past = 0
    for seed in range(part * CASES, (part + 1) * CASES):
        (short, chosen), (long, _) = world(seed), world(seed)
        if chosen and create_new(short.state, chosen):
            past += 1
            planning.plan_rows(long.state, chosen)
            assert told(short.state) == told(long.state), seed
        else:
            assert told(short.state) == told(long.state), "a row that needs the planner changes nothing"
    assert CASES * 0.3 < past < CASES * 0.9
