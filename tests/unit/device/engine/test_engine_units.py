"""Folders that appear whole on the service: a snapshot tells their units, and they come with all that is in them."""

from __future__ import annotations

from satchel.core.entries import Action, Kind
from satchel.core.ids import ROOT_NODE
from satchel.core.messages import (
    Changes,
    NamespaceHead,
    NamespacesReply,
    Pushed,
    SnapshotPage,
    SnapshotRequest,
)
from satchel.device.engine.state import Phase
from satchel.device.service_tasks import (
    PullTask,
    Reached,
    ReachTask,
    SnapshotTaken,
    SnapshotTask,
    StreamFrameCame,
)
from satchel.device.tasks import (
    ApplyTask,
    CommitTask,
)
from tests.support.engine_rig import (
    EPOCH,
    LINK,
    NODE_A,
    NODE_B,
    NODE_C,
    NODE_D,
    NS,
    Rig,
    entry,
    folder,
    new,
    new_folder,
    pushed,
    tag,
)


def test_a_folder_that_appears_whole_is_fetched_by_its_snapshot_before_it_is_planned() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, folder(5, NODE_D, "d", action=Action.UNDELETE, is_subtree=True)))
    task = rig.take(SnapshotTask)
    assert task.request == SnapshotRequest(NS, NODE_D, ROOT_NODE, -1, link=LINK)
    assert not rig.has(ApplyTask)
    inside = entry(3, NODE_B, "b.txt", parent=NODE_D)
    page = SnapshotPage(NS, 5, tag(5), (inside, folder(5, NODE_D, "d")), False)
    rig.step(SnapshotTaken(task, page))
    batch = rig.take(ApplyTask)
    assert [getattr(one, "path", b"") for one in batch.tasks] == [b"d", b"d/b.txt"]


def test_a_page_of_a_unit_that_comes_during_a_new_join_ends_no_join() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, folder(5, NODE_D, "d", action=Action.UNDELETE, is_subtree=True)))
    unit = rig.take(SnapshotTask)
    pruned = Changes(NS, 9, 9, tag(9), (), 3_000_000, is_reset=True)
    rig.step(StreamFrameCame(Pushed(pruned), {}))
    join = rig.take(SnapshotTask)
    assert join.request.unit == ROOT_NODE
    rig.step(SnapshotTaken(unit, SnapshotPage(NS, 9, tag(9), (folder(5, NODE_D, "d"),), False)))
    assert rig.state.phase is Phase.JOINING
    assert rig.index.is_remote(rig.nid(NODE_A))
    rows = (entry(1, NODE_A, "a.txt", b"one"), folder(5, NODE_D, "d"))
    rig.step(SnapshotTaken(join, SnapshotPage(NS, 9, tag(9), rows, False)))
    assert rig.state.phase is Phase.LIVE
    assert [getattr(task, "path", b"") for task in rig.take(ApplyTask).tasks] == [b"d"]


def test_a_unit_that_was_not_told_yet_is_asked_for_again_after_a_crash() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, folder(5, NODE_D, "d", action=Action.MOVE)))
    assert rig.has(SnapshotTask)
    again = rig.restarted()
    again.step()
    again.scan(is_full=True)
    again.take(ReachTask)
    again.step(Reached(NamespacesReply(EPOCH, "ann", (NamespaceHead(NS, "root", True, 5, tag(5)),))))
    assert again.take(SnapshotTask).request.unit == NODE_D


def test_what_came_while_a_unit_was_told_is_folded_once_more() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, folder(2, NODE_D, "d"), entry(3, NODE_B, "b.txt", b"two", parent=NODE_D)))
    rig.step(pushed(3, entry(4, NODE_D, "d", kind=Kind.FOLDER, is_live=False, action=Action.DELETE)))
    rig.step(pushed(4, folder(5, NODE_D, "d", action=Action.UNDELETE, is_subtree=True)))
    rig.step(pushed(5, entry(6, NODE_C, "c.txt", b"new", parent=NODE_D)))
    task = rig.take(SnapshotTask)
    rig.step(SnapshotTaken(task, SnapshotPage(NS, 5, tag(5), (folder(5, NODE_D, "d"),), False)))
    # c.txt came after the snapshot's place in the journal, so its silence says nothing; from there all is asked again.
    assert rig.index.is_remote(rig.nid(NODE_C))
    assert rig.state.position.seq == 5
    assert rig.take(PullTask).request.position.seq == 5


def rig_with_a_deleted_folder() -> Rig:
    """`d` holds two files; it was deleted on the service, and this device has not let it go yet."""
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_B, "b.txt", b"two", parent=NODE_D), entry(3, NODE_C, "c.txt", b"c")],
        [new_folder(1, "d"), new(2, "b.txt", b"two", inside=1), new(3, "c.txt", b"c")],
    )
    rig.step(pushed(3, folder(4, NODE_D, "d", is_live=False, action=Action.DELETE)))
    assert not rig.index.is_remote(rig.nid(NODE_B))
    return rig


def test_a_folder_that_comes_back_before_it_was_let_go_has_all_in_it() -> None:
    """A person takes back a deletion in the same moment. That what was in it lives again has no seq of its own, and
    what is older than the deletion was passed over: the device said that it was in sync, without the files."""
    rig = rig_with_a_deleted_folder()
    rig.step(pushed(4, folder(5, NODE_D, "d", action=Action.UNDELETE, is_subtree=True)))
    inside = entry(2, NODE_B, "b.txt", b"two", parent=NODE_D)
    page = SnapshotPage(NS, 5, tag(5), (inside, folder(5, NODE_D, "d")), False)
    rig.step(SnapshotTaken(rig.take(SnapshotTask), page))
    rig.wait(60.0)
    assert rig.index.is_remote(rig.nid(NODE_B)) and not rig.has(ApplyTask) and not rig.has(CommitTask)
    assert rig.engine.is_settled


def test_a_page_from_before_a_deletion_brings_nothing_back() -> None:
    rig = rig_with_a_deleted_folder()
    rig.step(pushed(4, folder(5, NODE_D, "d", action=Action.UNDELETE, is_subtree=True)))
    asked = rig.take(SnapshotTask)
    rig.step(pushed(5, entry(6, NODE_B, "b.txt", b"two", parent=NODE_D, is_live=False, action=Action.DELETE)))
    inside = entry(2, NODE_B, "b.txt", b"two", parent=NODE_D)
    rig.step(SnapshotTaken(asked, SnapshotPage(NS, 5, tag(5), (inside, folder(5, NODE_D, "d")), False)))
    assert not rig.index.is_remote(rig.nid(NODE_B))


def test_nothing_in_a_folder_that_came_back_is_let_go_before_all_of_it_was_told() -> None:
    rig = rig_with_a_deleted_folder()
    rig.step(pushed(4, folder(5, NODE_D, "d", action=Action.UNDELETE, is_subtree=True)))
    assert rig.has(SnapshotTask)
    rig.wait(60.0)
    assert not rig.has(ApplyTask)
