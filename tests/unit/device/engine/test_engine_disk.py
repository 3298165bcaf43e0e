"""What the disk shows and what is done to it: older versions, busy rows, superseded downloads, late writers."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from satchel.core.entries import Action, Kind
from satchel.core.errors import RootMissing, StorageFull, Unavailable
from satchel.core.ids import ROOT_NID
from satchel.core.messages import CommitReply, CreateOp, EditOp, MoveOp, Stored
from satchel.core.trees import UNKNOWN, Item
from satchel.device.ports import ROOT_PATH, DiskPath, Hint
from satchel.device.service_tasks import StreamEnded
from satchel.device.tasks import (
    Applied,
    ApplyResult,
    ApplyTask,
    Changed,
    CommitTask,
    Committed,
    DiscardTask,
    Failed,
    Fetched,
    FetchedItem,
    FetchTask,
    Hinted,
    LateLooked,
    LateSeen,
    LateTask,
    MovePaths,
    PlaceFile,
    PurgeTask,
    Scanned,
    ScanTask,
    SeenChanged,
    SeenGone,
    SeenMoved,
    SeenUnknown,
    SettleTask,
    StagingSettled,
    TrashUnit,
)
from tests.support.engine_rig import (
    LINK,
    NODE_A,
    NODE_B,
    NODE_C,
    NODE_D,
    Rig,
    blocks_of,
    entry,
    folder,
    hash_of,
    new,
    new_folder,
    pushed,
    stat,
)


def seen_changed(rig: Rig, data: bytes, *, base: int | None = None) -> SeenChanged:
    nid = rig.nid(NODE_A)
    local = rig.index.reader.local(nid)
    assert local is not None
    return SeenChanged(
        nid, local.version if base is None else base, stat(local.stat.inode, data), hash_of(data), blocks_of(data)
    )


def replaced_from_there(rig: Rig, data: bytes = b"two") -> ApplyTask:
    """Another device edited a.txt; the batch that replaces it here is taken."""
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", data, action=Action.EDIT, place_rev=1), contents=[data]))
    return rig.take(ApplyTask)


# -- facts ------------------------------------------------------------------------------------------------------------


def test_a_fact_about_an_older_version_changes_nothing_and_is_looked_at_again() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    local = rig.index.reader.local(rig.nid(NODE_A))
    assert local is not None
    rig.scan(seen_changed(rig, b"two", base=local.version - 1))
    row = rig.index.row(rig.nid(NODE_A))
    assert row is not None and row.local == row.synced
    rig.wait(0.5)
    (hint,) = rig.take(ScanTask).hints
    assert hint.names == frozenset({b"a.txt"}) and not rig.has(CommitTask)


def test_a_fact_about_a_busy_row_changes_nothing_and_is_looked_at_again() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    batch = replaced_from_there(rig)
    rig.scan(seen_changed(rig, b"mine"))
    row = rig.index.row(rig.nid(NODE_A))
    assert row is not None and isinstance(row.local, Item) and row.local.content == hash_of(b"one")
    rig.step(ApplyResult(batch, (Changed((DiskPath(b"a.txt"),), "it is not as planned"),)))
    rig.wait(1.0)
    assert rig.take(ScanTask).hints[0].names == frozenset({b"a.txt"})


def test_a_file_seen_where_the_applier_just_put_one_is_not_taken_for_a_new_one() -> None:
    rig = Rig()
    rig.start([entry(1, NODE_A, "a.txt", b"")])
    batch = rig.take(ApplyTask)
    rig.scan(new(1, "a.txt", b""))
    rig.step(ApplyResult(batch, (Applied((stat(101),)),)))
    assert rig.index.reader.local(rig.nid(NODE_A)) is not None
    assert len(rig.index.reader.children(ROOT_NID)) == 1


def test_what_is_seen_in_a_folder_that_went_meanwhile_is_looked_at_anew() -> None:
    rig = Rig()
    rig.start([folder(1, NODE_D, "d")], [new_folder(1, "d")])
    gone = rig.nid(NODE_D)
    rig.step(pushed(1, folder(2, NODE_D, "d", action=Action.DELETE, is_live=False)))
    rig.wait(2.1)
    scan = _scan_task(rig)
    rig.apply()
    rig.step(Scanned(scan, (new(1, "a.txt", b"one", parent=gone),), True, 1))
    rig.wait(0.5)
    assert rig.take(ScanTask).hints[0].is_deep and not rig.has(CommitTask)


def test_a_name_replaced_by_rename_stays_the_same_node() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    local = rig.index.reader.local(rig.nid(NODE_A))
    assert local is not None
    rig.scan(SeenChanged(local.nid, local.version, stat(999, b"two"), hash_of(b"two"), blocks_of(b"two")))
    (op,) = rig.take_commit()
    assert isinstance(op, EditOp) and op.node_id == NODE_A and op.base_rev == 1


def test_a_rename_is_a_move_of_the_same_node() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    local = rig.index.reader.local(rig.nid(NODE_A))
    assert local is not None
    rig.scan(SeenMoved(local.nid, local.version, ROOT_NID, b"b.txt", local.stat, local.content, b""))
    (op,) = rig.take_commit()
    assert isinstance(op, MoveOp) and [(one.node_id, one.name) for one in op.placements] == [(NODE_A, "b.txt")]


def test_a_file_deleted_and_written_anew_is_an_edit_of_the_same_node() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    local = rig.index.reader.local(rig.nid(NODE_A))
    assert local is not None
    rig.scan(SeenGone(local.nid, local.version))
    rig.wait(0.5)
    rig.scan(new(1, "a.txt", b"two"))
    rig.wait(0.5)
    (op,) = rig.take_commit()
    assert isinstance(op, EditOp) and op.node_id == NODE_A
    rig.wait(5.0)
    assert not rig.has(CommitTask)


def test_what_was_equal_on_first_contact_is_one_file_and_travels_nowhere() -> None:
    rig = Rig()
    rig.start([entry(1, NODE_A, "a.txt", b"same")], [new(1, "a.txt", b"same")])
    assert rig.engine.is_settled and not rig.has(CommitTask) and not rig.has(FetchTask)
    assert rig.index.reader.local(rig.nid(NODE_A)) is not None


def test_two_equal_folders_of_first_contact_become_one() -> None:
    rig = Rig()
    rig.start([folder(1, NODE_D, "d")], [new_folder(1, "d"), new(2, "a.txt", b"one", inside=1)])
    (op,) = rig.take_commit()
    assert isinstance(op, CreateOp) and op.parent_id == NODE_D and op.name == "a.txt"


def test_what_became_unreadable_is_unknown_and_held_until_it_is_read_again() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    nid = rig.nid(NODE_A)
    rig.scan(SeenUnknown(nid, None, b"a.txt", "file_unreadable", "no right", True))
    row = rig.index.row(nid)
    assert row is not None and row.local is UNKNOWN
    assert rig.held_codes() == ["file_unreadable"]
    rig.scan(seen_changed(rig, b"one"))
    assert rig.held_codes() == [] and not rig.has(CommitTask)


def test_a_missing_root_halts_and_nothing_follows_from_it() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.scan()
    rig.step(Scanned(_scan_task(rig), (), True, 0, fault=RootMissing("gone", path="x", reason="missing")))
    assert "gone" in rig.state.halted
    rig.wait(60.0)
    assert not rig.has(CommitTask) and rig.index.dirty_nids() == []


def _scan_task(rig: Rig) -> ScanTask:
    from satchel.device.ports import ROOT_PATH, Hint
    from satchel.device.tasks import Hinted

    rig.step(Hinted((Hint(ROOT_PATH, None, True),)))
    return rig.take(ScanTask)


# -- placing ----------------------------------------------------------------------------------------------------------


def test_a_replacement_expects_the_file_as_it_was_seen() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    local = rig.index.reader.local(rig.nid(NODE_A))
    (task,) = replaced_from_there(rig).tasks
    assert isinstance(task, PlaceFile) and local is not None
    assert task.expected == local.stat and task.data == b"two" and task.keep_as is None


def test_a_download_that_was_superseded_is_dropped_and_the_newer_one_is_fetched() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"two", action=Action.EDIT, place_rev=1)))
    fetch = rig.take(FetchTask)
    rig.step(pushed(2, entry(3, NODE_A, "a.txt", b"three", action=Action.EDIT, place_rev=1)))
    assert not rig.has(FetchTask), "the row is busy"
    rig.step(Fetched(fetch, (FetchedItem(fetch.items[0].nid, "d-2", fetch.items[0].blocks),)))
    assert not rig.has(ApplyTask)
    assert rig.take(DiscardTask).staged == ("d-2",)
    assert rig.take(FetchTask).items[0].content == hash_of(b"three")


def test_a_file_that_changed_before_it_was_replaced_is_looked_at_before_anything_else() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    batch = replaced_from_there(rig)
    rig.step(ApplyResult(batch, (Changed((DiskPath(b"a.txt"),), "it is not as planned"),)))
    rig.wait(0.5)
    assert not rig.has(ApplyTask)
    rig.scan(seen_changed(rig, b"mine"))
    rig.wait(0.5)
    (op,) = rig.take_commit()
    assert isinstance(op, CreateOp) and "conflicted copy" in op.name


def test_what_failed_on_disk_is_not_tried_again_after_a_look_that_had_begun_before() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    batch = replaced_from_there(rig)
    rig.step(Hinted((Hint(ROOT_PATH, None, True),)))
    early, begun_s = rig.take(ScanTask), rig.now_s
    rig.wait(0.5)
    rig.step(ApplyResult(batch, (Changed((DiskPath(b"a.txt"),), "it is not as planned"),)))
    rig.step(Scanned(early, (), True, 0, is_full=True, begun_s=begun_s))
    assert not rig.has(ApplyTask), "it has seen nothing of what was in the way, and the two would turn in a circle"
    rig.wait(0.5)
    rig.scan()
    assert rig.has(ApplyTask)


def test_what_cannot_be_folded_asks_for_one_more_look_however_often_it_is_seen() -> None:
    """Seed 3070: each look asked for the next ones, until the device did nothing else."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.wait(10.0)
    for _ in range(5):
        rig.wait(0.02)
        rig.scan(seen_changed(rig, b"two", base=-1))
    looks = []
    for _ in range(20):
        rig.wait(0.02)
        if rig.has(ScanTask):
            looks.append(rig.take(ScanTask))
            rig.step(Scanned(looks[-1], (), True, 0, begun_s=rig.now_s))
    assert len(looks) == 1


def test_what_changes_while_it_is_in_flight_is_looked_at_once_when_it_is_free() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.scan(seen_changed(rig, b"mine"))
    rig.wait(0.5)
    task = rig.take(CommitTask)
    rig.scan(seen_changed(rig, b"newer"))
    for _ in range(20):
        rig.wait(1.0)
        assert not rig.has(ScanTask), "nobody looks again and again while the service is away"
    rig.step(Committed(task, CommitReply((Stored(2),), 2)))
    rig.step(
        pushed(1, entry(2, NODE_A, "a.txt", b"mine", action=Action.EDIT, link=LINK, op_id=task.request.ops[0].op_id))
    )
    (hint,) = rig.take(ScanTask).hints
    assert hint.names == frozenset({b"a.txt"})


def test_a_full_disk_holds_the_file_and_the_rest_goes_on() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"two"))
    edits = [
        entry(3, NODE_A, "a.txt", b"x", action=Action.EDIT, place_rev=1),
        entry(4, NODE_B, "b.txt", b"y", action=Action.EDIT, place_rev=2),
    ]
    rig.step(pushed(2, *edits, contents=[b"x", b"y"]))
    batch = rig.take(ApplyTask)
    full = StorageFull("the disk is full", where="disk")
    rig.step(ApplyResult(batch, (Failed(full), Applied((stat(77, b"y"),), trashed="1-b"))))
    assert list(rig.state.retry_at) == [rig.nid(NODE_A)]
    rig.take(SettleTask)
    rig.step(StagingSettled(()))
    rig.wait(3.0)
    (again,) = rig.take(ApplyTask).tasks
    assert getattr(again, "path", b"") == b"a.txt"
    row = rig.index.row(rig.nid(NODE_B))
    assert row is not None and row.local == row.remote == row.synced


def test_a_swap_of_names_is_one_task() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"two"))
    moves = [
        entry(3, NODE_A, "b.txt", b"one", action=Action.MOVE, content_rev=1),
        entry(4, NODE_B, "a.txt", b"two", action=Action.MOVE, content_rev=2),
    ]
    rig.step(pushed(2, *moves))
    (task,) = rig.take(ApplyTask).tasks
    assert isinstance(task, MovePaths)
    assert {(one.source, one.target) for one in task.moves} == {(b"a.txt", b"b.txt"), (b"b.txt", b"a.txt")}


def test_a_folder_and_the_one_inside_change_places_as_one_task() -> None:
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "outer"), folder(2, NODE_C, "inner", parent=NODE_D)],
        [new_folder(1, "outer"), new_folder(2, "inner", inside=1)],
    )
    moves = [
        folder(3, NODE_C, "outer", action=Action.MOVE, content_rev=2),
        folder(4, NODE_D, "inner", parent=NODE_C, action=Action.MOVE, content_rev=1),
    ]
    rig.step(pushed(2, *moves))
    (task,) = rig.take(ApplyTask).tasks
    assert isinstance(task, MovePaths)
    # Where each stands at the end, not where its new folder is before it moves.
    ways = {(one.source, one.target) for one in task.moves}
    assert ways == {(b"outer/inner", b"outer"), (b"outer", b"outer/inner")}


def test_a_file_whose_folder_went_while_it_was_placed_is_looked_at() -> None:
    rig = Rig()
    rig.start([folder(1, NODE_D, "d")], [new_folder(1, "d")])
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"one", parent=NODE_D), contents=[b"one"]))
    batch = rig.take(ApplyTask)
    # Meanwhile the file leaves the folder there, and the folder goes on both sides.
    rig.step(pushed(2, entry(3, NODE_A, "a.txt", b"one", action=Action.MOVE, content_rev=2)))
    rig.index.connection.execute("DELETE FROM nodes WHERE nid = ?", (rig.nid(NODE_D),))
    rig.step(ApplyResult(batch, (Applied((stat(77, b"one"),)),)))
    row = rig.index.row(rig.nid(NODE_A))
    assert row is not None and row.local is None, "nothing stands in a folder that has no row"
    rig.wait(0.5)
    assert rig.has(ScanTask)


def test_what_was_being_placed_when_the_service_went_back_is_not_agreed_on() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, entry(2, NODE_B, "b.txt", b"two"), contents=[b"two"]))
    batch = rig.take(ApplyTask)
    rig.step(StreamEnded(Unavailable("The line is lost.", where="stream")))
    rig.wait(60.0)
    rig.connect([entry(1, NODE_A, "a.txt", b"one")], epoch=b"f" * 16)
    rig.step(ApplyResult(batch, (Applied((stat(77, b"two"),)),)))
    row = rig.index.row(rig.nid(NODE_B))
    assert row is not None and row.synced is None, "agreed on, its absence there would delete it here"
    rig.wait(60.0)
    (op,) = rig.take_commit()
    assert isinstance(op, CreateOp) and op.name == "b.txt"


def test_nothing_is_placed_below_a_folder_that_moves_and_no_folder_moves_below_what_is_placed() -> None:
    rig = Rig()
    rig.start([folder(1, NODE_D, "d")], [new_folder(1, "d")])
    renamed = folder(2, NODE_D, "renamed", action=Action.MOVE, content_rev=1)
    inside = entry(3, NODE_A, "a.txt", b"one", parent=NODE_D)
    rig.step(pushed(1, renamed, inside, folder(4, NODE_C, "d"), contents=[b"one"]))
    (batch,) = [task for task in rig.pending if isinstance(task, ApplyTask)]
    (move,) = batch.tasks
    assert isinstance(move, MovePaths), "a path told now would end in the new folder of the old name"
    rig.apply()
    batches = [task for task in rig.pending if isinstance(task, ApplyTask)]
    assert {getattr(one, "path", b"") for each in batches for one in each.tasks} == {b"renamed/a.txt", b"d"}
    # The other way round: the folder moves when what is placed in it is there.
    rig.step(pushed(4, folder(5, NODE_D, "again", action=Action.MOVE, content_rev=1)))
    assert not [task for task in rig.pending[-1:] if isinstance(task, ApplyTask) and task not in batches]
    for _ in batches:
        rig.apply()
    assert any(isinstance(one, MovePaths) for one in rig.take(ApplyTask).tasks)


def test_a_trashed_folder_names_every_member_that_may_go_with_it() -> None:
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_A, "a.txt", b"one", parent=NODE_D)],
        [new_folder(1, "d"), new(2, "a.txt", b"one", inside=1)],
    )
    rig.step(pushed(2, folder(3, NODE_D, "d", action=Action.DELETE, is_live=False)))
    rig.wait(2.1)
    (task,) = rig.take(ApplyTask).tasks
    assert isinstance(task, TrashUnit) and set(task.members) == {b"", b"a.txt"}


def test_a_commit_whose_folder_is_gone_by_then_waits_and_stops_nothing() -> None:
    rig = Rig()
    rig.start(disk=[new_folder(1, "d")])
    (made,) = rig.take_commit()
    rig.scan(new(2, "a.txt", b"one", parent=rig.nid(made.node_id)))
    rig.answer(Stored(1), head_seq=1)
    row = rig.nid(made.node_id)
    rig.index.connection.execute("DELETE FROM nodes WHERE nid = ?", (row,))
    rig.state.busy.pop(row, None)
    rig.wait(1.0)
    assert not rig.has(CommitTask), "nothing is committed into a folder that has no row"


# -- late writers -----------------------------------------------------------------------------------------------------


def replaced(rig: Rig) -> None:
    """a.txt was replaced; what it was is in the trash as 7-a."""
    batch = replaced_from_there(rig)
    rig.step(ApplyResult(batch, (Applied((stat(77, b"two"),), trashed="7-a"),)))
    assert rig.engine.is_settled
    rig.pending.clear()


def looks(rig: Rig) -> list[float]:
    """Let 20 minutes pass, all looks finding nothing. Result: seconds at which one was made."""
    begun_s, found = rig.now_s, []
    for _ in range(2_400):
        rig.wait(0.5)
        if rig.has(LateTask):
            task = rig.take(LateTask)
            found.append(rig.now_s - begun_s)
            rig.step(LateLooked(task, tuple(LateSeen() for _ in task.items)))
    return found


def test_a_replaced_file_is_looked_at_three_times_and_hashed_at_the_last() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    local = rig.index.reader.local(rig.nid(NODE_A))
    assert local is not None
    replaced(rig)
    items = []
    for seconds in (2.0, 28.0, 570.0):
        rig.wait(seconds)
        task = rig.take(LateTask)
        items += task.items
        rig.step(LateLooked(task, (LateSeen(),)))
    known = replace(local.stat, xattrs=None)
    assert [(one.trashed, one.path, one.members) for one in items] == [("7-a", b"a.txt", {b"": known})] * 3
    assert [one.content for one in items] == [b"", b"", hash_of(b"one")]
    rig.wait(10_000.0)
    assert not rig.has(LateTask)


def test_looks_come_after_2_30_and_600_seconds() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    replaced(rig)
    assert looks(rig) == [2.0, 30.0, 600.0]


def test_pending_looks_survive_a_restart() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    replaced(rig)
    rig.wait(2.0)
    rig.step(LateLooked(rig.take(LateTask), (LateSeen(),)))
    again = rig.restarted()
    again.start(head=2)
    again.pending.clear()
    assert looks(again) == [28.0, 598.0]


def test_what_a_late_writer_changed_is_looked_at_as_a_new_file_and_sent() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    replaced(rig)
    rig.wait(2.0)
    rescued = DiskPath(b"a (conflicted copy 2026-11-18).txt")
    rig.step(LateLooked(rig.take(LateTask), (LateSeen((rescued,)),)))
    rig.step() if not rig.has(ScanTask) else None
    task = rig.take(ScanTask)
    assert [hint.names for hint in task.hints] == [frozenset({rescued})]
    rig.step(Scanned(task, (new(1, rescued.decode(), b"late"),), True, 1))
    rig.wait(1.0)
    (op,) = rig.take_commit()
    assert isinstance(op, CreateOp) and op.name == rescued.decode()
    assert looks(rig) == [], "it is out of the trash"


def test_a_look_that_failed_is_made_again() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    replaced(rig)
    rig.wait(2.0)
    rig.step(LateLooked(rig.take(LateTask), (Failed(StorageFull("full", where="disk")),)))
    assert looks(rig) == [60.0, 88.0, 658.0]


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_trashed_folder_is_looked_into_until_the_trash_is_emptied(is_gone: bool) -> None:
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_A, "a.txt", b"one", parent=NODE_D)],
        [new_folder(1, "d"), new(2, "a.txt", b"one", inside=1)],
    )
    rig.step(pushed(2, folder(3, NODE_D, "d", action=Action.DELETE, is_live=False)))
    rig.wait(2.5)
    rig.apply()
    rig.wait(2.0)
    task = rig.take(LateTask)
    (item,) = task.items
    assert set(item.members) == {b"", b"a.txt"} and item.members[b""].kind is Kind.FOLDER
    rig.step(LateLooked(task, (LateSeen((), is_gone),)))
    assert looks(rig) == ([] if is_gone else [28.0, 598.0])


def test_the_trash_is_emptied_once_a_day_of_what_is_thirty_days_old() -> None:
    rig = Rig()
    rig.start()
    first = rig.take(PurgeTask)
    assert rig.clock.now_ns() + 1_000 * 10**9 - first.before_ns == 30 * 86_400 * 10**9
    rig.wait(86_000.0)
    assert not rig.has(PurgeTask)
    rig.wait(500.0)
    second = rig.take(PurgeTask)
    assert second.before_ns - first.before_ns == 86_500 * 10**9


def test_a_clock_that_jumps_years_ahead_empties_no_trash() -> None:
    rig = Rig()
    rig.start()
    first = rig.take(PurgeTask)
    rig.wait(10 * 365 * 86_400.0)
    assert rig.take(PurgeTask).before_ns - first.before_ns <= 2 * 86_400 * 10**9


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_kept_file_is_the_conflicted_copy_that_the_service_has() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"theirs", action=Action.EDIT, place_rev=1)))
    fetch = rig.take(FetchTask)
    rig.scan(seen_changed(rig, b"mine"))
    rig.step(Fetched(fetch, (FetchedItem(fetch.items[0].nid, "d-1", fetch.items[0].blocks),)))
    batch = rig.take(ApplyTask)
    rig.step(ApplyResult(batch, (Changed((DiskPath(b"a.txt"),), "not as planned"),)))
    rig.wait(0.5)
    rig.scan(seen_changed(rig, b"mine"))
    rig.wait(0.5)
    copy_task = rig.take(CommitTask)
    (copy,) = copy_task.request.ops
    assert isinstance(copy, CreateOp)
    rig.step(Committed(copy_task, CommitReply((Stored(3),), 3)))
    fetch = rig.take(FetchTask)
    rig.step(Fetched(fetch, (FetchedItem(fetch.items[0].nid, "d-3", fetch.items[0].blocks),)))
    (task,) = (batch := rig.take(ApplyTask)).tasks
    assert isinstance(task, PlaceFile) and task.keep_as == copy.name.encode() and task.expected is not None
    kept = replace(task.expected, ctime_ns=9)
    rig.step(ApplyResult(batch, (Applied((stat(88, b"theirs"),), kept, copy.name.encode()),)))
    rig.step(pushed(2, entry(3, copy.node_id, copy.name, b"mine", link=LINK, op_id=copy.op_id)))
    rig.scan()
    assert rig.engine.is_settled
    names = {one.name.decode(): one.content for one in rig.index.reader.children(ROOT_NID)}
    assert names == {"a.txt": hash_of(b"theirs"), copy.name: hash_of(b"mine")}


def test_a_file_that_was_moved_is_read_once_more() -> None:
    """A write of the same length in that very moment, its time set back, shows in no stat (seed 5035)."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, entry(2, NODE_A, "b.txt", b"one", action=Action.MOVE, content_rev=1)))
    rig.apply()
    row = rig.index.reader.local(rig.nid(NODE_A))
    assert row is not None and (row.name, row.stat.ctime_ns) == (b"b.txt", 0)
    assert rig.engine.is_settled


def test_a_folder_that_is_moved_while_the_disk_is_looked_at_is_looked_at_once_more() -> None:
    """Seed 36535: the look had begun with a new folder, and what it had not come to was nowhere when it came to it."""
    rig = Rig()
    rig.start([folder(1, NODE_A, "old")], [new_folder(1, "old")])
    rig.step(pushed(1, folder(2, NODE_A, "new", action=Action.MOVE)))
    rig.step(Hinted((Hint(ROOT_PATH, None, True),)))
    rig.apply()
    rig.scan()
    (hint,) = rig.take(ScanTask).hints
    assert hint == Hint(ROOT_PATH, frozenset((b"new",)), True)
