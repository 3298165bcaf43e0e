"""What a person leaves out, and a service that does not know of it."""

from __future__ import annotations

from satchel.core.entries import Action, Entry
from satchel.core.errors import NotFound, Unavailable
from satchel.core.ids import Nid, scope_mark
from satchel.core.messages import (
    Changes,
    Conflict,
    CreateOp,
    NamespaceHead,
    NamespacesReply,
    Pushed,
    SnapshotPage,
    Stored,
    UndeleteOp,
)
from satchel.core.trees import Item
from satchel.device.engine import excluding
from satchel.device.service_tasks import (
    Reached,
    ReachTask,
    ScopeTask,
    ScopeTold,
    SnapshotTaken,
    SnapshotTask,
    StreamEnded,
    StreamFrameCame,
    StreamTask,
)
from satchel.device.tasks import (
    ApplyTask,
    FetchTask,
    MovePaths,
    PlaceFile,
    PlaceFolder,
    SeenChanged,
    SeenMoved,
    TrashUnit,
)
from tests.support.engine_rig import (
    LINK,
    NODE_A,
    NODE_B,
    NODE_C,
    NODE_D,
    NS,
    Rig,
    blocks_of,
    entry,
    folder,
    hash_of,
    new,
    new_folder,
    pushed,
    stat,
    tag,
)


def leaving() -> tuple[Rig, ScopeTask]:
    """A folder with a file is synced, then left out, and the service is asked first for a new number of this start."""
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_A, "a.txt", b"one", parent=NODE_D)],
        [new_folder(1, "d"), new(2, "a.txt", b"one", inside=1)],
    )
    excluding.exclude(rig.state, ["d"])
    rig.step()
    rig.scan()
    rig.wait(2.0)
    return rig, rig.take(ScopeTask)


def left_out() -> tuple[Rig, Nid]:
    """And it is leaving the disk."""
    rig, asked = leaving()
    rig.step(ScopeTold(asked))
    rig.wait(2.0)
    return rig, rig.nid(NODE_D)


def test_what_is_left_out_leaves_the_disk_as_one_unit_and_the_service_is_told() -> None:
    rig, nid = left_out()
    (task,) = rig.apply().tasks
    assert isinstance(task, TrashUnit) and task.nid == nid
    told = rig.take(ScopeTask).request
    assert told.left_out == (NODE_D,) and not told.run


def test_nothing_leaves_the_disk_before_the_service_knows_a_number_from_after_the_word() -> None:
    """An index from between the hello and the word came back: it said the number that the next start had to say anyway,
    and deleted for all what had left the disk."""
    rig, asked = leaving()
    hello = rig.hello
    assert hello is not None
    assert asked.request.left_out == () and asked.request.run >> 32 == (hello.run >> 32) + 1
    assert asked.request.run & 0xFFFFFFFF == hello.run & 0xFFFFFFFF, "it is the same start"
    rig.step(ScopeTold(asked, Unavailable("lost", where="test")))
    rig.wait(60.0)
    assert not rig.has(ApplyTask)
    rig.step(ScopeTold(rig.take(ScopeTask), newest_start=(asked.request.run >> 32) + 5))
    rig.wait(60.0)
    assert not rig.has(ApplyTask), "another start is newer, and the stream will say that this one is a twin"
    assert rig.take(ScopeTask).request.run == asked.request.run
    rig.step(ScopeTold(asked))
    rig.wait(2.0)
    rig.apply()
    assert not rig.take(ScopeTask).request.run and not rig.has(ScopeTask)


def test_words_before_the_hello_do_not_make_an_old_index_pass_for_a_later_start() -> None:
    """Seed 48635 of 2,400 operations: each word took the next number, so an index that had come back said a higher one
    than the start that it had forgotten, and what had left the disk since was deleted for all."""
    rig, _ = leaving()
    again = rig.restarted()
    number = again.state.index.get("run")
    excluding.exclude(again.state, ["d"])
    again.step()
    again.connect(head=2)
    again.welcome()
    again.scan(is_full=True)
    assert again.hello is not None and again.hello.run >> 32 == number
    again.wait(2.0)
    assert not again.has(ApplyTask)
    assert again.take(ScopeTask).request.run >> 32 == number + 1


def test_a_start_that_recovered_goes_past_the_newest_one() -> None:
    """Seeds 20054 and 30229: the index was lost and the clock had gone back by years, so the number of the new one was
    too low for a thousand tries."""
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_A, "a.txt", b"one", parent=NODE_D)],
        [new_folder(1, "d"), new(2, "a.txt", b"one", inside=1)],
    )
    again = rig.restarted()
    again.step()
    again.connect(head=2)
    again.welcome(recover=True)
    again.join([folder(1, NODE_D, "d"), entry(2, NODE_A, "a.txt", b"one", parent=NODE_D)], 2)
    again.scan(is_full=True)
    excluding.exclude(again.state, ["d"])
    again.step()
    asked = again.take(ScopeTask)
    newest = (asked.request.run >> 32) + 1_000_000_000
    again.step(ScopeTold(asked, newest_start=newest))
    again.wait(60.0)
    run = again.take(ScopeTask).request.run
    assert run >> 32 == newest + 1


def test_nothing_leaves_the_disk_before_the_service_has_answered_this_start() -> None:
    """Seed 2706: an index from before the word came back. The service knew of no newer start, so what had left the disk
    was deleted for all."""
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_A, "a.txt", b"one", parent=NODE_D)],
        [new_folder(1, "d"), new(2, "a.txt", b"one", inside=1)],
    )
    excluding.exclude(rig.state, ["d"])
    again = rig.restarted()
    again.step()
    again.connect(head=2)
    again.scan(is_full=True)
    again.wait(2.0)
    assert again.state.scanned_once and not again.has(ApplyTask)
    again.welcome()
    again.wait(2.0)
    assert not again.has(ApplyTask)
    again.step(ScopeTold(again.take(ScopeTask)))
    again.wait(2.0)
    (task,) = again.apply().tasks
    assert isinstance(task, TrashUnit) and task.nid == again.nid(NODE_D)


def test_a_tree_told_without_what_comes_back_after_a_recovery_is_asked_for_again() -> None:
    """Seed 31377: the page was told as of before, when it was left out, so what came back looked new."""
    rig, _ = left_out()
    rig.apply()
    rig.step(ScopeTold(rig.take(ScopeTask), None))
    rig.step(StreamEnded(Unavailable("lost", where="test")))
    rig.pending = [task for task in rig.pending if isinstance(task, ReachTask)]
    rig.take(ReachTask)
    rig.step(Reached(NamespacesReply(b"f" * 16, "ann", (NamespaceHead(NS, "root", True, 2, tag(2)),))))
    page = SnapshotPage(NS, 2, tag(2), (folder(1, NODE_D, "d"),), False, scope_mark((NODE_D,)))
    rig.step(SnapshotTaken(rig.take(SnapshotTask), page))
    assert not rig.has(StreamTask), "the join is not over"
    told = rig.take(ScopeTask)
    assert told.request.left_out == ()
    rig.step(ScopeTold(told, None))
    rig.wait(1.0)
    assert rig.take(SnapshotTask).request.seq == -1


def test_a_service_that_knows_no_scopes_is_told_once_and_what_it_sends_stays_out() -> None:
    rig, _ = left_out()
    rig.apply()
    rig.step(ScopeTold(rig.take(ScopeTask), NotFound("No such call.", path="scope")))

    rig.step(pushed(2, entry(3, NODE_B, "b.txt", b"two", parent=NODE_D), contents=[b"two"]))
    rig.wait(60.0)

    assert not rig.has(ApplyTask) and not rig.has(FetchTask)
    assert not rig.has(ScopeTask)
    assert not (rig.state.fresh or rig.state.busy or rig.state.waiting)


def test_a_file_that_both_sides_moved_into_what_leaves_does_not_keep_it_here() -> None:
    """Seed 301567: where the service has it, this disk has no folder any more, so its move was waited for for ever."""
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_A, "a.txt", b"one")],
        [new_folder(1, "d"), new(2, "a.txt", b"one")],
    )
    excluding.exclude(rig.state, ["d"])
    row = rig.index.reader.local(rig.nid(NODE_A))
    assert row is not None
    rig.step(
        pushed(
            2,
            folder(3, NODE_C, "e", parent=NODE_D),
            entry(4, NODE_A, "b.txt", b"one", parent=NODE_C, action=Action.MOVE, content_rev=2),
        )
    )
    rig.scan(SeenMoved(row.nid, row.version, rig.nid(NODE_D), b"c.txt", row.stat, row.content, b""), is_full=True)
    rig.step(ScopeTold(rig.take(ScopeTask)))
    rig.wait(2.0)
    (task,) = rig.apply().tasks
    assert isinstance(task, TrashUnit) and set(task.members) == {b"", b"c.txt"}


def test_what_lies_deep_in_what_is_out_stays_out_of_sight_when_a_service_tells_all_of_it() -> None:
    """Seed 500474: the service left nothing out any more, and told of a file before the folder that it is in."""
    rig, _ = left_out()
    rig.apply()
    rig.step(ScopeTold(rig.take(ScopeTask), None))
    rows = (entry(5, NODE_B, "b.txt", b"two", parent=NODE_C), folder(4, NODE_C, "e", parent=NODE_D))
    for head in (3_000_000, 6_000_000):
        rig.step(StreamFrameCame(Pushed(Changes(NS, 2, head, tag(head), (), head, is_reset=True)), {}))
        page = SnapshotPage(NS, head, tag(head), (*rows, folder(1, NODE_D, "d")), False)
        rig.step(SnapshotTaken(rig.take(SnapshotTask), page))
        rig.wait(2.0)
        assert not rig.has(ApplyTask) and not rig.has(FetchTask)
        told = rig.index.reader.nid_of(NODE_B)
        assert told is None or not rig.index.is_remote(told)


def test_what_is_to_be_revived_and_lives_out_of_sight_is_made_anew_here() -> None:
    """Seeds 4640 and 5583: an older index came back with an older word, and what stood on this disk had its nodes in
    what is left out. They were told of nowhere, so they were to be revived, and held as a conflict for ever."""
    rig, _ = left_out()
    rig.apply()
    rig.step(ScopeTold(rig.take(ScopeTask)))
    rig.step(pushed(2, entry(3, NODE_B, "b.txt", b"two"), contents=[b"two"]))
    rig.apply()
    row = rig.index.reader.local(rig.nid(NODE_B))
    assert row is not None
    rig.step(pushed(3, entry(4, NODE_B, "b.txt", b"two", action=Action.DELETE, is_live=False)))
    rig.scan(SeenChanged(row.nid, row.version, stat(900, b"edited"), hash_of(b"edited"), blocks_of(b"edited")))
    (op,) = rig.take_commit()
    assert isinstance(op, UndeleteOp) and op.node_id == NODE_B
    rig.answer(Conflict(entry(4, NODE_B, "b.txt", b"two", parent=NODE_D)), head_seq=4)
    rig.wait(1.0)
    (op,) = rig.take_commit()
    assert isinstance(op, CreateOp) and op.node_id != NODE_B and op.name == "b.txt"


def test_a_file_that_both_sides_edited_moves_into_a_new_folder_of_what_leaves() -> None:
    """Seed 34717: the folder was not brought, since it leaves; so the file never moved, its own content
    never stood beside the other's, and what was left out stayed for ever."""
    rig, asked = leaving()
    row = rig.index.reader.local(rig.nid(NODE_A))
    assert row is not None
    rig.scan(SeenChanged(row.nid, row.version, stat(501, b"mine"), hash_of(b"mine"), blocks_of(b"mine")))
    rig.take_commit()
    moved = entry(4, NODE_A, "b.txt", b"theirs", parent=NODE_C, action=Action.MOVE, content_rev=4)
    rig.step(pushed(2, folder(3, NODE_C, "e", parent=NODE_D), moved, contents=[b"theirs"]))
    rig.answer(Conflict(moved), head_seq=4)
    rig.wait(2.0)
    (op,) = rig.take_commit()
    rig.answer(Stored(5), head_seq=5)
    rig.step(pushed(4, entry(5, op.node_id, op.name, b"mine", parent=NODE_C, link=LINK, op_id=op.op_id)))
    rig.step(ScopeTold(asked))
    done = list(rig.apply().tasks)
    for _ in range(3):
        rig.wait(2.0)
        done += rig.apply().tasks
    assert [type(task) for task in done] == [PlaceFolder, MovePaths, PlaceFile, TrashUnit]
    placed, left = done[2:]
    assert isinstance(placed, PlaceFile) and placed.keep_as is not None
    assert isinstance(left, TrashUnit) and set(left.members) == {b"", b"e", b"e/b.txt"}


def edited_on_both_sides_out_of_sight() -> tuple[Rig, Entry]:
    """Return a link that asks what the service holds of a file: it was moved there into what is left out here and
    edited, and edited here too. With what the service will tell of it."""
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_A, "a.txt", b"one")], [new_folder(1, "d"), new(2, "a.txt", b"one")]
    )
    excluding.exclude(rig.state, ["d"])
    rig.step()
    rig.scan()
    rig.wait(2.0)
    rig.step(ScopeTold(rig.take(ScopeTask)))
    rig.wait(2.0)
    rig.apply()
    rig.step(ScopeTold(rig.take(ScopeTask)))
    row = rig.index.reader.local(rig.nid(NODE_A))
    assert row is not None
    rig.scan(SeenChanged(row.nid, row.version, stat(501, b"mine"), hash_of(b"mine"), blocks_of(b"mine")))
    rig.take_commit()
    rig.step(pushed(2, entry(3, NODE_A, "b.txt", b"one", parent=NODE_D, action=Action.MOVE, content_rev=2)))
    there = entry(4, NODE_A, "b.txt", b"theirs", parent=NODE_D, place_rev=3)
    rig.answer(Conflict(there), head_seq=4)
    return rig, there


def test_a_file_that_both_sides_edited_leaves_when_the_other_edit_came_after_it_was_moved_out_of_sight() -> None:
    """Seed 37190: the service told what it held only when it was asked, and of that the row itself was passed over;
    so the edit of this disk was sent, and refused as older, for ever."""
    rig, there = edited_on_both_sides_out_of_sight()
    rig.step(SnapshotTaken(rig.take(SnapshotTask), SnapshotPage(NS, 4, tag(4), (there,), False)))
    rig.wait(2.0)
    (op,) = rig.take_commit()
    assert isinstance(op, CreateOp) and op.content is not None and op.content.content_hash == hash_of(b"mine")
    assert op.node_id != NODE_A and op.name != "a.txt"


def test_what_is_told_of_a_file_out_of_sight_is_no_deletion_while_that_comes_back() -> None:
    rig, there = edited_on_both_sides_out_of_sight()
    excluding.include(rig.state, ["d"])
    rig.step(SnapshotTaken(rig.take(SnapshotTask), SnapshotPage(NS, 4, tag(4), (there,), False)))
    row = rig.index.row(rig.nid(NODE_A))
    assert row is not None and isinstance(row.remote, Item) and row.remote.content == hash_of(b"theirs")
