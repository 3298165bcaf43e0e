"""Many files at once: what waits is looked at once, and what comes by the page ends as it would one by one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from satchel.core.entries import Action, Kind
from satchel.core.ids import ROOT_NID
from satchel.core.messages import CreateOp, Stored
from satchel.device.index.rows import LocalRow
from satchel.device.ports import ROOT_PATH, DiskPath, Hint
from satchel.device.tasks import (
    ApplyResult,
    ApplyTask,
    Changed,
    CommitTask,
    Hinted,
    MovePaths,
    NewParent,
    Scanned,
    ScanTask,
    SeenGone,
    SeenMoved,
    SeenNew,
    SeenUnknown,
    TrashUnit,
)
from tests.support.engine_rig import (
    LINK,
    NODE_A,
    NODE_B,
    NODE_C,
    OTHER_LINK,
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


def test_files_of_a_folder_in_flight_wait_behind_it_and_go_when_it_is_there() -> None:
    rig = Rig()
    rig.start(disk=[new_folder(1, "d")])
    (made,) = rig.take_commit()
    assert isinstance(made, CreateOp)
    above = rig.nid(made.node_id)
    rig.scan(new(2, "a.txt", b"one", parent=above), new(3, "b.txt", b"two", parent=above))
    planned = rig.state.progress.plans

    rig.scan(new(4, "c.txt", b"six", parent=above))
    for _ in range(3):
        rig.step()
    assert rig.state.progress.plans <= planned + 1, "what waits for the folder is not planned again and again"
    assert not rig.has(CommitTask)

    rig.answer(Stored(1), head_seq=1)
    rig.step(pushed(0, folder(1, made.node_id, "d", link=LINK, op_id=made.op_id)))
    rig.wait(1)
    assert {op.name for op in rig.take_commit() if isinstance(op, CreateOp)} == {"a.txt", "b.txt", "c.txt"}


def test_a_page_of_own_and_foreign_entries_is_folded_in_order() -> None:
    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one"), new(2, "b.txt", b"two")])
    ops = rig.take_commit()
    rig.answer(Stored(1), Stored(3), head_seq=3)
    own = {op.name: op for op in ops if isinstance(op, CreateOp)}
    first, last = own["a.txt"], own["b.txt"]

    rig.step(
        pushed(
            0,
            entry(1, first.node_id, "a.txt", b"one", link=LINK, op_id=first.op_id),
            entry(2, first.node_id, "c.txt", b"one", link=OTHER_LINK, content_rev=1),
            entry(3, last.node_id, "b.txt", b"two", link=LINK, op_id=last.op_id),
        )
    )

    moved, agreed = rig.index.row(rig.nid(first.node_id)), rig.index.row(rig.nid(last.node_id))
    assert moved is not None and agreed is not None
    assert (moved.remote.name, moved.local.name, moved.synced.name) == ("c.txt", "a.txt", "a.txt")
    assert agreed.remote == agreed.local == agreed.synced
    assert rig.state.position.seq == 3


def test_an_own_entry_of_a_row_that_went_is_folded_as_any_other() -> None:
    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    (made,) = rig.take_commit()
    rig.answer(Stored(1), head_seq=1)
    rig.index.connection.execute("DELETE FROM nodes WHERE node_id = ?", (made.node_id,))

    rig.step(pushed(0, entry(1, made.node_id, "a.txt", b"one", link=LINK, op_id=made.op_id)))

    row = rig.index.row(rig.nid(made.node_id))
    assert row is not None and row.remote is not None and row.local is None


def test_a_snapshot_may_name_a_file_before_its_folder() -> None:
    rig = Rig()
    below = entry(2, NODE_A, "a.txt", b"one", parent=NODE_C)
    beside = entry(3, NODE_B, "b.txt", b"two", parent=NODE_C)
    rig.start([below, beside, folder(1, NODE_C, "d")])

    home = rig.nid(NODE_C)
    for node in (NODE_A, NODE_B):
        row = rig.index.row(rig.nid(node))
        assert row is not None and row.remote.parent == home
    assert rig.index.row(home).remote.name == "d"


def test_what_the_service_has_is_planned_once_when_the_first_scan_is_over() -> None:
    rig = Rig()
    rig.step()
    rig.connect([entry(1, NODE_A, "a.txt", b"one"), entry(2, NODE_B, "b.txt", b"two")])
    assert rig.state.unseen == {rig.nid(NODE_A), rig.nid(NODE_B)}
    before = rig.state.progress.plans
    for _ in range(3):
        rig.step()
    assert rig.state.progress.plans == before

    rig.scan(new(1, "a.txt", b"one"), is_full=True)

    assert not rig.state.unseen
    row = rig.index.row(rig.nid(NODE_A))
    assert row is not None and row.synced == row.local == row.remote, "the equal file is one with its node"
    assert rig.nid(NODE_B) in rig.state.busy, "the other one comes down"


def test_a_stop_between_the_last_write_and_its_settling_leaves_nothing_waiting() -> None:
    rig = Rig()
    rig.start([entry(1, NODE_A, "a.txt", b"one")], [new(1, "a.txt", b"one")])
    rig.index.connection.execute("UPDATE nodes SET dirty = 1 WHERE node_id = ?", (NODE_A,))

    again = rig.restarted()
    again.step()
    again.connect(head=1)
    again.scan(is_full=True)
    again.step()

    assert not again.state.waiting
    assert again.index.dirty_nids() == []


def test_what_stands_in_the_way_for_long_is_looked_at_ever_more_seldom() -> None:
    rig = Rig()
    rig.start([entry(1, NODE_A, "a.txt", b"one")], [new(1, "a.txt", b"one")])
    rig.step(pushed(1, entry(2, NODE_A, "b.txt", b"one", action=Action.MOVE, content_rev=1)))
    for _ in range(8):
        while rig.has(ScanTask) or not rig.has(ApplyTask):
            if rig.has(ScanTask):
                rig.scan()
            else:
                rig.wait(6)
        task = rig.take(ApplyTask)
        (moves,) = task.tasks
        assert isinstance(moves, MovePaths)
        rig.step(ApplyResult(task, (Changed((moves.moves[0].target,), "the name is taken"),)))

    rig.wait(1)
    assert not rig.has(ScanTask), "a look each 20 ms would keep a core busy"
    rig.wait(4)
    assert rig.has(ScanTask), "and it is looked at again"


def test_a_row_that_lost_its_file_to_another_does_not_come_back_as_unknown() -> None:
    rig = Rig()
    rig.start([entry(1, NODE_A, "a.txt", b"one")], [new(1, "a.txt", b"one")])
    nid = rig.nid(NODE_A)
    rig.index.clear_local_unit(nid)

    rig.scan(SeenUnknown(nid, None, b"a.txt", "file_changing", "It moved during the scan.", retry=True))

    row = rig.index.row(nid)
    assert row is not None and row.local is None
    assert rig.index.held() == []


def test_a_folder_that_moved_into_the_one_that_took_its_name_keeps_its_node() -> None:
    rig = Rig()
    rig.start([folder(1, NODE_A, "d")], [new_folder(1, "d")])
    nid = rig.nid(NODE_A)
    row = rig.index.reader.local(nid)
    assert row is not None
    taker = SeenNew(1, ROOT_NID, b"d", stat(999, kind=Kind.FOLDER), b"", b"")

    rig.scan(taker, SeenMoved(nid, row.version, NewParent(1), b"old", row.stat, b"", b""))

    assert rig.index.reader.path_of(nid) == b"d/old"
    (above,) = rig.index.reader.named(ROOT_NID, b"d")
    assert above.nid != nid


def test_a_folder_made_at_the_name_of_one_that_is_in_flight_is_no_clash() -> None:
    """It was renamed, and another made at its name, while the service was still being told of it."""
    rig = Rig()
    rig.start(disk=[new_folder(1, "d")])
    (made,) = rig.take_commit()
    (row,) = rig.index.reader.children(ROOT_NID)
    facts = [
        SeenMoved(row.nid, row.version, ROOT_NID, b"e", row.stat, b"", b""),
        SeenNew(1, ROOT_NID, b"d", stat(999, kind=Kind.FOLDER), b"", b""),
        new(2, "two.txt", b"two", inside=1),
    ]
    rig.scan(*facts)
    assert [one.nid for one in rig.index.reader.children(ROOT_NID)] == [row.nid]
    rig.answer(Stored(1), head_seq=1)
    rig.step(pushed(0, folder(1, made.node_id, "d", link=LINK, op_id=made.op_id)))
    rig.wait(1.0)
    rig.scan(*facts)
    ops = rig.take_commit()
    assert [type(op).__name__ for op in ops] == ["MoveOp", "CreateOp", "CreateOp"]
    assert [op.name for op in ops[1:]] == ["d", "two.txt"]


def test_nothing_is_planned_between_two_parts_that_tell_of_one_name() -> None:
    rig = Rig()
    rig.start([folder(1, NODE_A, "d")], [new_folder(1, "d")])
    row = rig.index.reader.local(rig.nid(NODE_A))
    assert row is not None
    rig.step(Hinted((Hint(ROOT_PATH, None, True),)))
    task = rig.take(ScanTask)
    taker = SeenNew(1, ROOT_NID, b"d", stat(999, kind=Kind.FOLDER), b"", b"")
    rig.step(Scanned(task, (taker,), False, 1, True))
    assert not rig.has(CommitTask)
    moved = SeenMoved(row.nid, row.version, NewParent(1), b"old", row.stat, b"", b"")
    rig.step(Scanned(task, (moved,), True, 1, True))
    assert [type(op).__name__ for op in rig.take_commit()] == ["CreateOp", "MoveOp"]


def two_files_looked_at() -> tuple[Rig, LocalRow, LocalRow, ScanTask]:
    """a.txt and b.txt are synced, and a look at the folder is under way, to be told in parts."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"two"))
    a, b = (rig.index.reader.local(rig.nid(node)) for node in (NODE_A, NODE_B))
    assert a is not None and b is not None
    rig.step(Hinted((Hint(ROOT_PATH, None, True),)))
    task = rig.take(ScanTask)
    return rig, a, b, task


def test_two_files_that_changed_places_are_no_clash_when_two_parts_tell_of_them() -> None:
    """Seed 202, on a slow disk."""
    rig, a, b, task = two_files_looked_at()
    first = SeenMoved(a.nid, a.version, ROOT_NID, b"b.txt", a.stat, hash_of(b"one"), blocks_of(b"one"))
    rig.step(Scanned(task, (first,), False, 1, True))
    assert not rig.has(ApplyTask) and not rig.has(CommitTask)
    second = SeenMoved(b.nid, b.version, ROOT_NID, b"a.txt", b.stat, hash_of(b"two"), blocks_of(b"two"))
    rig.step(Scanned(task, (second,), True, 1, True))
    (swap,) = rig.take_commit()
    assert sorted(place.name for place in swap.placements) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("is_moved", [False, True], ids=["made anew", "moved there"])
def test_a_name_that_only_its_case_tells_from_one_that_went_is_no_clash(is_moved: bool) -> None:
    """Seed 72909: one part told of the new name, the next of the one that went; in between it was a case conflict."""
    rig, a, b, task = two_files_looked_at()
    moved = SeenMoved(b.nid, b.version, ROOT_NID, b"A.txt", b.stat, hash_of(b"two"), blocks_of(b"two"))
    rig.step(Scanned(task, (moved if is_moved else new(1, "A.txt", b"two"),), False, 1))
    assert not rig.has(ApplyTask) and not rig.has(CommitTask)
    rig.step(Scanned(task, (SeenGone(a.nid, a.version),), True, 1))
    rig.wait(5.0)
    ops = rig.take_commit()
    assert "A.txt" in str(ops) and "conflict" not in str(ops)


def test_a_move_into_itself_is_not_believed_and_looked_at_again() -> None:
    rig = Rig()
    rig.start([folder(1, NODE_A, "d")], [new_folder(1, "d")])
    nid = rig.nid(NODE_A)
    row = rig.index.reader.local(nid)
    assert row is not None

    rig.scan(SeenMoved(nid, row.version, nid, b"old", row.stat, b"", b""))

    assert rig.index.reader.path_of(nid) == b"d"
    rig.wait(1)
    assert rig.has(ScanTask)


def test_a_file_met_twice_in_one_scan_is_one_row() -> None:
    """Its folder moved from where the scan had been to where it had not (seed 476: the one file was thrown away)."""
    rig = Rig()
    rig.start(disk=[new_folder(1, "folder")])
    folder_nid = rig.index.reader.children(ROOT_NID)[0].nid
    rig.scan(
        new(2, "a.txt", b"one", parent=folder_nid),
        replace(new(3, "a.txt", b"one", parent=folder_nid), stat=stat(102, b"one")),
    )
    rows = rig.index.reader.children(folder_nid)
    assert [row.name for row in rows] == [b"a.txt"]
    rig.wait(1.0)
    assert not rig.has(ApplyTask)
    assert rig.take(ScanTask).hints == (Hint(DiskPath(b"folder"), frozenset({b"a.txt"})),)


def test_a_new_folder_met_twice_in_one_scan_is_one_row_with_all_that_is_in_it() -> None:
    rig = Rig()
    rig.start(
        disk=[
            new_folder(1, "folder"),
            new(2, "a.txt", b"one", inside=1),
            replace(new_folder(3, "folder"), stat=stat(101, kind=Kind.FOLDER)),
            replace(new(4, "a.txt", b"one", inside=3), stat=stat(102, b"one")),
            new(5, "b.txt", b"two", inside=3),
        ]
    )
    (row,) = rig.index.reader.children(ROOT_NID)
    assert sorted(child.name for child in rig.index.reader.children(row.nid)) == [b"a.txt", b"b.txt"]


def test_where_two_rows_are_recorded_at_one_name_nothing_is_thrown_away() -> None:
    """B took the name of A, and where A went is not seen yet: deleting A must not take what stands at the name."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"one"))
    b = rig.index.reader.local(rig.nid(NODE_B))
    assert b is not None
    rig.scan(SeenMoved(b.nid, b.version, ROOT_NID, b"a.txt", b.stat, hash_of(b"one"), blocks_of(b"one")))

    rig.step(pushed(2, entry(3, NODE_A, "a.txt", b"one", action=Action.DELETE, is_live=False)))
    rig.wait(5.0)
    rig.wait(5.0)

    trashed = [task for batch in rig.pending if isinstance(batch, ApplyTask) for task in batch.tasks]
    assert not any(isinstance(task, TrashUnit) for task in trashed)
    assert rig.has(ScanTask)
