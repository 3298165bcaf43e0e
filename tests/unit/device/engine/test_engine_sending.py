"""Commits: the op id stays until an outcome is known, blocks that lack go first, refusals are held and retried."""

from __future__ import annotations

import pytest

from satchel.core.entries import Action
from satchel.core.errors import EpochChanged, FileChanging, FileUnreadable, QuotaExceeded, Unauthenticated, Unavailable
from satchel.core.hashing import block_hash
from satchel.core.ids import BlockHash
from satchel.core.merge import copy_id
from satchel.core.messages import (
    CommitReply,
    Conflict,
    CreateOp,
    DeleteOp,
    EditOp,
    NeedBlocks,
    Op,
    Refused,
    Stored,
)
from satchel.device.service_tasks import ReachTask, StreamEnded
from satchel.device.tasks import (
    ApplyTask,
    CommitTask,
    Committed,
    FetchTask,
    PlaceFile,
    SeenChanged,
    SeenGone,
    Uploaded,
    UploadTask,
)
from tests.support.engine_rig import (
    LINK,
    NODE_A,
    NODE_B,
    Rig,
    blocks_of,
    entry,
    hash_of,
    new,
    new_folder,
    pushed,
    stat,
)

MISSING = BlockHash(block_hash(b"one"))


def only_op(task: CommitTask) -> Op:
    (op,) = task.request.ops
    return op


def edit(rig: Rig, data: bytes, node: bytes = NODE_A) -> None:
    """The scanner sees other bytes in the file."""
    nid = rig.nid(node)  # type: ignore[arg-type]
    local = rig.index.reader.local(nid)
    assert local is not None
    rig.scan(SeenChanged(nid, local.version, stat(local.stat.inode, data), hash_of(data), blocks_of(data)))


def follow(rig: Rig, op: Op, seq: int, name: str, data: bytes) -> None:
    """The feed brings the entry of a create."""
    assert isinstance(op, CreateOp)
    rig.step(pushed(seq - 1, entry(seq, op.node_id, name, data, link=LINK, op_id=op.op_id)))


# -- op ids -----------------------------------------------------------------------------------------------------------


def test_blocks_that_the_service_lacks_are_sent_and_the_same_op_goes_again() -> None:
    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    first = rig.commit(NeedBlocks((MISSING,)))
    upload = rig.take(UploadTask)
    assert upload.source.path == b"a.txt" and upload.blocks == ((MISSING, 3, 0),)
    rig.step(Uploaded(upload))
    second = rig.take(CommitTask)
    assert only_op(second).op_id == only_op(first).op_id
    assert second.inline == (None,), "the service has the bytes by now"
    rig.step(Committed(second, CommitReply((Stored(1),), 1)))
    follow(rig, only_op(second), 1, "a.txt", b"one")
    assert rig.engine.is_settled


def test_only_the_blocks_that_lack_are_sent_from_their_place_in_the_file() -> None:
    from satchel.core.hashing import Block, content_hash, pack_blocks
    from satchel.core.ids import ROOT_NID
    from satchel.device.tasks import SeenNew

    parts = [b"first part", b"second", b"third part!"]
    whole = content_hash([block_hash(part) for part in parts])
    packed = pack_blocks([Block(block_hash(part), len(part)) for part in parts])
    rig = Rig()
    data = b"".join(parts).ljust(6_000_000, b".")
    rig.start(disk=[SeenNew(1, ROOT_NID, b"big", stat(101, data), whole, packed)])
    rig.commit(NeedBlocks((BlockHash(block_hash(b"second")), BlockHash(block_hash(b"third part!")))))
    assert [(size, at) for _, size, at in rig.take(UploadTask).blocks] == [(6, 10), (11, 16)]


def test_an_unknown_outcome_is_asked_again_with_the_same_op_id() -> None:
    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    first = rig.take(CommitTask)
    rig.step(Committed(first, None, fault=Unavailable("the reply was lost", where="test")))
    assert not rig.has(CommitTask), "a lost service is asked after a while"
    rig.wait(60.0)
    second = rig.take(CommitTask)
    assert second.request.ops == first.request.ops
    rig.step(Committed(second, CommitReply((Stored(1),), 1)))
    follow(rig, only_op(second), 1, "a.txt", b"one")
    assert rig.engine.is_settled


def test_another_edit_is_another_op() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    edit(rig, b"two")
    first = rig.take(CommitTask)
    op = only_op(first)
    rig.step(Committed(first, CommitReply((Stored(2),), 2)))
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"two", action=Action.EDIT, link=LINK, op_id=op.op_id, place_rev=1)))
    edit(rig, b"three")
    rig.wait(1.0)
    assert only_op(rig.take(CommitTask)).op_id != op.op_id


def test_a_signed_out_device_does_not_repeat_a_commit_blindly() -> None:
    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    rig.step(Committed(rig.take(CommitTask), None, fault=Unauthenticated("no such token")))
    assert not rig.has(CommitTask)
    assert rig.index.dirty_nids(), "the work is not lost"


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "wait_s"), [("quota_exceeded", 60.0), ("name_invalid", 3600.0), ("too_deep", 3600.0), ("forbidden", 600.0)]
)
def test_a_refusal_is_held_with_its_code_and_tried_again_and_the_rest_goes_on(code: str, wait_s: float) -> None:
    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one"), new(2, "b.txt", b"two")])
    task = rig.commit(Refused(code, "because"), Stored(1), head_seq=1)
    follow(rig, task.request.ops[1], 1, "b.txt", b"two")
    assert [(held, reason) for _, held, reason, _ in rig.index.held()] == [(code, "because")]
    rig.wait(wait_s - 1.0)
    assert not rig.has(CommitTask)
    rig.wait(2.0)
    again = only_op(rig.take(CommitTask))
    assert isinstance(again, CreateOp) and again.name == "a.txt"
    rig.pending.append(CommitTask(rig.state.number, again, (), ()))  # type: ignore[arg-type]
    rig.pending.pop()


def test_a_quota_fault_while_blocks_are_sent_is_held_too() -> None:
    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    rig.commit(NeedBlocks((MISSING,)))
    full = QuotaExceeded("no room", used_bytes=10, quota_bytes=10)
    upload = rig.take(UploadTask)
    rig.step(Uploaded(upload, full))
    nid = rig.state.retry_at
    assert len(nid) == 1 and not rig.has(CommitTask)
    rig.wait(5.0)
    rig.step(Uploaded(rig.take(UploadTask), full)) if rig.has(UploadTask) else rig.commit(NeedBlocks((MISSING,)))
    if rig.has(UploadTask):
        rig.step(Uploaded(rig.take(UploadTask), full))
    assert rig.held_codes() == ["quota_exceeded"]


def test_a_new_fact_brings_a_held_row_forward() -> None:
    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    op = only_op(rig.commit(Refused("quota_exceeded", "no room")))
    assert isinstance(op, CreateOp)
    edit(rig, b"", op.node_id)
    rig.wait(0.5)
    smaller = only_op(rig.take(CommitTask))
    assert isinstance(smaller, CreateOp) and smaller.content is not None and smaller.content.size == 0
    assert rig.held_codes() == []


def test_what_depends_on_a_refused_folder_waits_with_it() -> None:
    rig = Rig()
    rig.start(disk=[new_folder(1, "d"), new(2, "a.txt", b"one", inside=1)])
    rig.commit(Refused("name_invalid", "no such name"), Refused("depends_on_refused"))
    rig.wait(10.0)
    assert not rig.has(CommitTask)
    assert len(rig.index.dirty_nids()) == 2


def test_what_was_sent_with_a_folder_that_failed_waits_for_it_no_more() -> None:
    rig = Rig()
    rig.start(disk=[new_folder(1, "d"), new(2, "a.txt", b"one", inside=1)])
    rig.commit(Conflict(None), NeedBlocks((MISSING,)))
    rig.step(Uploaded(rig.take(UploadTask)))
    lost = Unavailable("lost", where="test")
    for _ in range(3):
        while rig.has(CommitTask):
            rig.step(Committed(rig.take(CommitTask), None, fault=lost))
        rig.wait(60.0)
    names = [op.name for op in rig.take(CommitTask).request.ops if isinstance(op, CreateOp)]
    assert sorted(names) == ["a.txt", "d"]


def test_a_file_that_changed_before_it_was_sent_is_looked_at_and_not_committed() -> None:
    from satchel.device.tasks import ScanTask

    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    task = rig.take(CommitTask)
    rig.step(Committed(task, CommitReply((), 0), unread=(0,)))
    rig.wait(0.5)
    (hint,) = rig.take(ScanTask).hints
    assert hint.names == frozenset({b"a.txt"})
    assert not rig.has(CommitTask)


@pytest.mark.parametrize("fault", [FileChanging("it grows", path="a.txt"), FileUnreadable("no right", path="a.txt")])
def test_a_file_that_cannot_be_read_for_sending_does_not_stop_the_others(fault: FileChanging | FileUnreadable) -> None:
    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one"), new(2, "b.txt", b"two")])
    task = rig.commit(NeedBlocks((MISSING,)), Stored(1), head_seq=1)
    rig.step(Uploaded(rig.take(UploadTask), fault))
    follow(rig, task.request.ops[1], 1, "b.txt", b"two")
    assert len(rig.index.dirty_nids()) == 1


# -- stale revs and conflicts -----------------------------------------------------------------------------------------


def test_a_stale_rev_waits_for_the_feed_and_then_makes_a_copy_before_the_name_changes() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    edit(rig, b"mine")
    op = only_op(rig.commit(Conflict(entry(2, NODE_A, "a.txt", b"theirs", place_rev=1)), head_seq=2))
    assert isinstance(op, EditOp) and op.base_rev == 1
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"theirs", action=Action.EDIT, place_rev=1), contents=[b"theirs"]))
    rig.wait(1.0)
    copy_task = rig.take(CommitTask)
    copy = only_op(copy_task)
    assert isinstance(copy, CreateOp) and copy.name.startswith("a (laptop's conflicted copy")
    assert not rig.has(ApplyTask) and not rig.has(FetchTask), "the local name stays until the copy is safe"
    rig.step(Committed(copy_task, CommitReply((Stored(3),), 3)))
    (placed,) = rig.take(ApplyTask).tasks
    assert isinstance(placed, PlaceFile) and placed.path == b"a.txt" and placed.data == b"theirs"
    assert placed.keep_as == copy.name.encode()


def test_a_copy_is_agreed_only_by_what_the_disk_shows() -> None:
    """The entry of a conflicted copy states nothing of this disk: synced follows once the kept file stands there."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    edit(rig, b"mine")
    rig.commit(Conflict(None), head_seq=2)
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"theirs", action=Action.EDIT, place_rev=1), contents=[b"theirs"]))
    rig.wait(1.0)
    copy = only_op(rig.commit(Stored(3), head_seq=3))
    assert isinstance(copy, CreateOp)
    rig.step(pushed(2, entry(3, copy.node_id, copy.name, b"mine", link=LINK, op_id=copy.op_id)))
    row = rig.index.row(rig.nid(copy.node_id))
    assert row is not None and row.synced is None and row.local is None


def test_a_copy_that_an_earlier_run_made_under_its_second_id_is_found_again() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    edit(rig, b"mine")
    rig.commit(Conflict(None), head_seq=2)
    row = rig.index.row(rig.nid(NODE_A))
    assert row is not None
    first, second = (copy_id(row, number) for number in (0, 1))
    page = [
        entry(2, first, "other", b"other"),
        entry(3, second, "a (copy).txt", b"mine"),
        entry(4, NODE_A, "a.txt", b"theirs", action=Action.EDIT, place_rev=1),
    ]
    rig.step(pushed(1, *page, contents=[b"theirs"]))
    rig.wait(1.0)
    assert not rig.has(CommitTask), "the bytes are safe on the service already"
    placed = [one for one in rig.take(ApplyTask).tasks if getattr(one, "path", b"") == b"a.txt"]
    assert [getattr(one, "keep_as", None) for one in placed] == [b"a (copy).txt"]


def test_a_delete_that_came_too_late_is_no_deletion() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    local = rig.index.reader.local(rig.nid(NODE_A))
    assert local is not None
    rig.scan(SeenGone(local.nid, local.version))
    rig.wait(2.1)
    op = only_op(rig.commit(Refused("changed_since"), head_seq=2))
    assert isinstance(op, DeleteOp) and op.seen_seq == 1
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"edited", action=Action.EDIT, place_rev=1), contents=[b"edited"]))
    rig.wait(3.0)
    (placed,) = rig.take(ApplyTask).tasks
    assert isinstance(placed, PlaceFile) and placed.data == b"edited"


def test_a_delete_names_what_was_seen_when_it_was_planned_and_not_when_it_is_sent() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.scan(new(2, "b.txt", b"two"))
    task = rig.take(CommitTask)
    local = rig.index.reader.local(rig.nid(NODE_A))
    assert local is not None
    rig.scan(SeenGone(local.nid, local.version))
    rig.wait(2.1)
    assert not rig.has(CommitTask), "the request before is still on its way"
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"edited", action=Action.EDIT, place_rev=1)))
    rig.step(Committed(task, CommitReply((Stored(3),), 3)))
    rig.wait(0.5)
    op = only_op(rig.take(CommitTask))
    assert isinstance(op, DeleteOp) and op.seen_seq == 1, "so the service refuses to delete the edit"


def test_a_busy_row_is_not_planned_again() -> None:
    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    task = rig.take(CommitTask)
    for _ in range(5):
        rig.wait(30.0)
    assert not rig.has(CommitTask) and not rig.has(ApplyTask)
    rig.step(Committed(task, CommitReply((Stored(1),), 1)))


def test_after_a_restart_the_dirty_rows_bring_the_work_back() -> None:
    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    node = only_op(rig.take(CommitTask))
    assert isinstance(node, CreateOp)
    again = rig.restarted()
    again.start()
    op = only_op(again.take(CommitTask))
    assert isinstance(op, CreateOp) and op.node_id == node.node_id, "so the service knows that it is the same file"


def test_two_files_of_one_node_id_never_arise_from_two_scans() -> None:
    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    rig.take(CommitTask)
    rig.scan(new(1, "a.txt", b"one"))
    assert len(rig.index.dirty_nids()) == 1
    assert NODE_B not in [rig.index.node_id_of(nid) for nid in rig.index.dirty_nids()]


def test_a_commit_says_how_far_the_journal_is_known() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    edit(rig, b"mine")
    rig.wait(0.5)
    assert rig.take(CommitTask).request.position == rig.state.position


def test_a_service_that_was_put_back_is_asked_anew_and_the_work_stays() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    edit(rig, b"mine")
    rig.wait(0.5)
    task = rig.take(CommitTask)
    rig.step(Committed(task, None, fault=EpochChanged("It was put back.", expected="a", actual="b")))
    assert rig.has(ReachTask) and not rig.held_codes()
    rig.connect([entry(1, NODE_A, "a.txt", b"theirs")], epoch=b"f" * 16)
    rig.scan(is_full=True)
    rig.wait(1.0)
    (op,) = rig.take_commit()
    assert isinstance(op, CreateOp) and "conflicted copy" in op.name, "no edit of what others did since"


def test_a_commit_that_was_under_way_when_the_service_went_back_is_planned_anew() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    edit(rig, b"mine")
    rig.wait(0.5)
    task = rig.take(CommitTask)
    rig.step(StreamEnded(Unavailable("The line is lost.", where="stream")))
    rig.wait(60.0)
    rig.connect([entry(1, NODE_A, "a.txt", b"theirs")], epoch=b"f" * 16)
    # Its answer comes when the new journal is known: the rev that it expected is by chance that of another state.
    rig.step(Committed(task, None, fault=Unavailable("Nobody knows.", where="commit")))
    rig.wait(60.0)
    (op,) = rig.take_commit()
    assert isinstance(op, CreateOp) and "conflicted copy" in op.name


# -- an index that went back ------------------------------------------------------------------------------------------


def test_nothing_is_committed_before_the_service_has_answered_this_start() -> None:
    """Seed 5104: an older index came back, and took the file that had another's name by then for an edit of that one.
    The service took the edit, for only the name had changed there; what the file held before was seen by nobody more.
    """
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    again = rig.restarted()
    again.step()
    again.connect(head=1)
    again.scan(is_full=True)
    edit(again, b"edited")
    again.wait(60.0)
    assert not again.has(CommitTask)
    again.welcome()
    assert isinstance(only_op(again.take(CommitTask)), EditOp)


def test_nothing_is_committed_before_all_was_folded_that_there_was_at_the_start() -> None:
    """What this link sent before tells whether this index has lost the end of an earlier start."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    again = rig.restarted()
    again.step()
    again.connect(head=2)
    again.welcome()
    again.scan(is_full=True)
    edit(again, b"edited")
    again.wait(60.0)
    assert not again.has(CommitTask)
    again.step(pushed(1, entry(2, NODE_B, "b.txt", b"two"), contents=[b"two"]))
    assert isinstance(only_op(again.take(CommitTask)), EditOp)
