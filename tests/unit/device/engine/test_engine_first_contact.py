"""At first contact the look begins at once, and what it sees is folded onto the remote tree, if that is in reach."""

from __future__ import annotations

import pytest

from satchel.core.errors import Unavailable
from satchel.core.ids import ROOT_NID
from satchel.core.messages import CreateOp, NamespaceHead, NamespacesReply, SnapshotPage
from satchel.device.engine.local_facts import EVERYTHING
from satchel.device.engine.loop import REST_S
from satchel.device.service_tasks import Reached, ReachTask, SnapshotTaken, SnapshotTask
from satchel.device.tasks import Hinted, Scanned, ScanTask, SeenNew
from tests.support.engine_rig import EPOCH, NODE_A, NS, Rig, entry, folder, new, new_folder, tag


def reached(head: int) -> Reached:
    return Reached(NamespacesReply(EPOCH, "ann", (NamespaceHead(NS, "root", True, head, tag(head)),)))


def part(rig: Rig, *facts: SeenNew, is_last: bool = False) -> Scanned:
    """Return a part of the scan that is under way."""
    return Scanned(next(t for t in rig.pending if isinstance(t, ScanTask)), facts, is_last, len(facts), is_full=True)


def test_the_first_scan_begins_at_once() -> None:
    tasks = Rig().step()

    assert {type(task) for task in tasks} == {ReachTask, ScanTask}


def test_what_the_first_scan_sees_waits_for_the_remote_tree_and_is_equal_to_it() -> None:
    rig = Rig()
    rig.step()
    rig.step(part(rig, new(1, "a.txt", b"one")))
    rig.step(reached(1), part(rig, new(2, "b.txt", b"two"), is_last=True))
    assert rig.index.reader.children(ROOT_NID) == []

    page = SnapshotPage(NS, 1, tag(1), (entry(1, NODE_A, "a.txt", b"one"),), False)
    rig.step(SnapshotTaken(rig.take(SnapshotTask), page))

    row = rig.index.row(rig.nid(NODE_A))
    assert row is not None and row.synced == row.local == row.remote
    assert [each.name for each in rig.index.reader.children(ROOT_NID)] == [b"a.txt", b"b.txt"]
    assert rig.state.scanned_once and not rig.state.held_parts


def test_many_held_parts_are_folded_in_order_over_several_steps() -> None:
    rig = Rig()
    rig.step()
    count = 50
    for number in range(count):
        rig.step(part(rig, new(number + 1, f"{number}", b"one"), is_last=number == count - 1))
    rig.step(reached(0))

    rig.step(SnapshotTaken(rig.take(SnapshotTask), SnapshotPage(NS, 0, tag(0), (), False)))
    seen = len(rig.index.reader.children(ROOT_NID))
    assert 0 < seen < count
    assert rig.engine.next_wake_s() <= rig.now_s + 0.001, "the rest does not wait for any fact"
    while rig.state.held_parts:
        rig.step()

    nids = {each.name: each.nid for each in rig.index.reader.children(ROOT_NID)}
    assert [int(name) for name, _ in sorted(nids.items(), key=lambda each: each[1])] == list(range(count))
    assert rig.state.scanned_once


def test_a_service_out_of_reach_does_not_hold_what_is_seen() -> None:
    rig = Rig()
    rig.step()
    rig.step(part(rig, new(1, "a.txt", b"one")))

    rig.step(Reached(None, Unavailable("down", where="test")))

    assert [each.name for each in rig.index.reader.children(ROOT_NID)] == [b"a.txt"]


def test_after_a_while_of_rest_contents_are_found_at_once() -> None:
    rig = Rig()
    rig.start([entry(1, NODE_A, "a.txt", b"one")], [new(1, "a.txt", b"one")])
    rig.step()
    assert rig.engine.is_settled and not rig.index.has_contents

    begun_s = rig.now_s
    for _ in range(20):
        rig.now_s = rig.engine.next_wake_s()
        rig.step()
        if rig.now_s < begun_s + REST_S:
            assert not rig.index.has_contents

    assert rig.index.has_contents


@pytest.mark.parametrize(
    ("begun_after_s", "is_full", "looks_again"),
    [(0.5, True, False), (-0.5, True, True), (0.0, True, True), (0.5, False, True)],
)
def test_a_look_that_begins_after_everything_was_asked_for_is_enough(
    begun_after_s: float, is_full: bool, looks_again: bool
) -> None:
    rig = Rig()
    rig.step()
    rig.connect()
    rig.wait(1)
    rig.step(Hinted((EVERYTHING,)))
    begun_s = rig.now_s + begun_after_s
    task = rig.take(ScanTask)

    rig.wait(1)
    rig.step(Scanned(task, (new(1, "a.txt", b"one"),), False, 1, is_full, None, begun_s))
    rig.step(Scanned(task, (), True, 0, is_full, None, begun_s))

    assert rig.has(ScanTask) is looks_again


def test_what_is_asked_for_after_a_look_began_is_looked_at_next() -> None:
    rig = Rig()
    rig.step()
    rig.connect()
    task = rig.take(ScanTask)
    begun_s = rig.now_s
    rig.wait(1)
    rig.step(Scanned(task, (), False, 1, True, None, begun_s))

    rig.step(Hinted((EVERYTHING,)))
    rig.step(Scanned(task, (), True, 0, True, None, begun_s))

    assert rig.has(ScanTask)


def test_what_is_seen_in_a_folder_that_became_the_one_of_the_service_is_in_that_one() -> None:
    rig = Rig()
    rig.step()
    rig.take(ReachTask)
    rig.step(Reached(None, Unavailable("down", where="test")))
    rig.step(part(rig, new_folder(1, "d")))
    rig.connect([folder(1, NODE_A, "d")])
    assert rig.index.reader.path_of(rig.nid(NODE_A)) == b"d", "the two are one"

    rig.step(part(rig, new(2, "a.txt", b"one", inside=1), is_last=True))

    assert [each.name for each in rig.index.reader.children(rig.nid(NODE_A))] == [b"a.txt"]
    (made,) = rig.take_commit()
    assert isinstance(made, CreateOp) and made.parent_id == NODE_A
