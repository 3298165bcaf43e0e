"""What the service says: entries fold onto the remote tree, own ones agree what they stated, gaps are asked for."""

from __future__ import annotations

import msgspec
import pytest

from satchel.core.entries import Action, Kind
from satchel.core.errors import EpochChanged, Unauthenticated, Unavailable, VersionUnsupported
from satchel.core.ids import ROOT_NID, OpId
from satchel.core.messages import (
    Behind,
    Changes,
    ChangesRequest,
    NamespaceHead,
    NamespacesReply,
    Position,
    Pushed,
    Welcome,
)
from satchel.core.trees import Item
from satchel.device.engine.state import FROM_DISK, Phase
from satchel.device.service_tasks import (
    Pulled,
    PullTask,
    Reached,
    ReachTask,
    SnapshotTask,
    StreamEnded,
    StreamFrameCame,
    StreamTask,
)
from satchel.device.tasks import (
    ApplyTask,
    CommitTask,
    DiscardTask,
    Fetched,
    FetchedItem,
    FetchTask,
    PlaceFile,
    SeenGone,
)
from tests.support.engine_rig import (
    DEVICE,
    EPOCH,
    LINK,
    NODE_A,
    NODE_B,
    NODE_C,
    NODE_D,
    NS,
    OWN_OP,
    TREE_OP,
    Rig,
    blocks_of,
    changes,
    entry,
    hash_of,
    new,
    pushed,
    stat,
    tag,
)


def sides(rig: Rig, node: bytes) -> tuple[object, object, object]:
    row = rig.index.row(rig.nid(node))  # type: ignore[arg-type]
    assert row is not None
    return row.remote, row.local, row.synced


# -- own commits ------------------------------------------------------------------------------------------------------


def moved_and_edited(rig: Rig) -> None:
    """The disk shows a.txt as b.txt with other bytes; both commits are on their way."""
    rig.synced((NODE_A, "a.txt", b"one"))
    nid = rig.nid(NODE_A)
    rig.index.set_local(nid, ROOT_NID, "b.txt", hash_of(b"two"), stat(7, b"two"))
    rig.state.touch([nid])
    rig.index.put_local_blocks(hash_of(b"two"), blocks_of(b"two"))


def test_an_own_edit_agrees_on_the_content_alone() -> None:
    rig = Rig()
    moved_and_edited(rig)
    own = entry(2, NODE_A, "a.txt", b"two", action=Action.EDIT, link=LINK, op_id=OWN_OP, place_rev=1)
    rig.step(pushed(1, own))
    _, _, synced = sides(rig, NODE_A)
    assert synced == Item(ROOT_NID, "a.txt", Kind.FILE, hash_of(b"two"))


def test_an_own_move_agrees_on_the_place_alone() -> None:
    rig = Rig()
    moved_and_edited(rig)
    own = entry(2, NODE_A, "b.txt", b"one", action=Action.MOVE, link=LINK, op_id=OWN_OP, content_rev=1)
    rig.step(pushed(1, own))
    _, _, synced = sides(rig, NODE_A)
    assert synced == Item(ROOT_NID, "b.txt", Kind.FILE, hash_of(b"one"))


@pytest.mark.parametrize("op_id", [TREE_OP, OpId(bytes(16))])
def test_an_own_commit_that_stated_nothing_of_the_disk_agrees_nothing(op_id: OpId) -> None:
    rig = Rig()
    moved_and_edited(rig)
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"two", action=Action.EDIT, link=LINK, op_id=op_id, place_rev=1)))
    _, _, synced = sides(rig, NODE_A)
    assert synced == Item(ROOT_NID, "a.txt", Kind.FILE, hash_of(b"one"))


def test_the_entry_of_another_link_never_agrees_by_itself() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"two", action=Action.EDIT, op_id=OWN_OP, place_rev=1)))
    _, local, synced = sides(rig, NODE_A)
    assert local == synced == Item(ROOT_NID, "a.txt", Kind.FILE, hash_of(b"one"))


def test_a_reply_never_writes_the_remote_side() -> None:
    from satchel.core.messages import Stored

    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    task = rig.commit(Stored(1), head_seq=1)
    (op,) = task.request.ops
    remote, local, synced = sides(rig, op.node_id)  # type: ignore[union-attr]
    assert (remote, synced) == (None, None) and isinstance(local, Item)
    assert not rig.engine.is_settled, "the row stays busy until the feed has brought it"
    own = entry(1, op.node_id, "a.txt", b"one", link=LINK, op_id=op.op_id)  # type: ignore[union-attr]
    rig.step(pushed(0, own))
    assert rig.engine.is_settled and not rig.has(CommitTask)


# -- the feed ---------------------------------------------------------------------------------------------------------


def test_a_gap_in_the_feed_folds_nothing_and_asks_again_from_where_we_are() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(4, entry(5, NODE_B, "b.txt", b"five")))
    assert rig.index.reader.nid_of(NODE_B) is None
    assert rig.state.position == Position(NS, 1, tag(1))
    assert rig.take(PullTask).request == ChangesRequest(Position(NS, 1, tag(1)), LINK)


def test_a_page_of_a_journal_that_was_put_back_folds_nothing_and_is_asked_for_again() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    other = msgspec.structs.replace(entry(1, NODE_B, "b.txt", b"another first"), tag=tag(9))
    for page in (changes(0, other), changes(0, other, entry(2, NODE_C, "c.txt", b"second"))):
        last = page.entries[-1]
        rig.step(StreamFrameCame(Pushed(msgspec.structs.replace(page, last_tag=last.tag)), {}))
        assert rig.index.reader.nid_of(NODE_B) is None and rig.index.reader.nid_of(NODE_C) is None
        assert rig.state.position == Position(NS, 1, tag(1))
        assert rig.take(PullTask).request == ChangesRequest(Position(NS, 1, tag(1)), LINK)
        rig.state.is_pulling = False


def test_a_page_that_overlaps_is_folded_from_where_we_are() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    stale = entry(1, NODE_A, "stale.txt", b"old")
    rig.step(pushed(0, stale, entry(2, NODE_B, "b.txt", b"two")))
    remote, _, _ = sides(rig, NODE_A)
    assert isinstance(remote, Item) and remote.name == "a.txt"
    assert rig.state.position == Position(NS, 2, tag(2))


def test_an_old_page_moves_the_position_back_never() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"two"))
    rig.step(pushed(0, entry(1, NODE_A, "x.txt", b"old")))
    assert rig.state.position == Position(NS, 2, tag(2))
    assert rig.engine.is_settled


def test_a_page_with_more_behind_it_is_followed_by_the_next() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(StreamFrameCame(Behind(Position(NS, 9, tag(9))), {}))
    rig.take(PullTask)
    rig.step(Pulled(changes(1, entry(2, NODE_B, "b.txt", b"two"), head_seq=9, has_more=True)))
    assert rig.take(PullTask).request.position == Position(NS, 2, tag(2))


def test_a_pull_that_failed_is_asked_again_after_a_while() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(StreamFrameCame(Behind(Position(NS, 2, tag(2))), {}))
    rig.take(PullTask)
    rig.step(Pulled(None, {}, Unavailable("lost", where="test")))
    assert not rig.has(PullTask)
    rig.wait(1.0)
    assert rig.take(PullTask).request.position == Position(NS, 1, tag(1))


def test_what_left_the_linked_folder_is_gone_for_this_link() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"one", parent=NODE_D, action=Action.MOVE, content_rev=1)))
    remote, local, _ = sides(rig, NODE_A)
    assert remote is None and isinstance(local, Item)


# -- recovery ---------------------------------------------------------------------------------------------------------


OTHER_EPOCH = b"f" * 16


def assert_union_merge(rig: Rig, remote: list[object], head: int, *, again: str = "CreateOp") -> None:
    """The service has lost a.txt and has c.txt: a.txt is sent again, nothing is trashed or deleted."""
    rig.join(remote, head)  # type: ignore[arg-type]
    rig.wait(2.5)
    request = rig.take(CommitTask).request
    assert [(type(op).__name__, op.name) for op in request.ops] == [(again, "a.txt")]  # type: ignore[union-attr]
    (placed,) = rig.take(ApplyTask).tasks
    assert isinstance(placed, PlaceFile) and placed.path == b"c.txt" and placed.expected is None
    for seconds in (2.0, 30.0):
        rig.wait(seconds)
    assert not rig.has(ApplyTask)


def test_a_reset_of_the_feed_merges_by_snapshot_and_an_agreed_file_that_it_lacks_was_deleted() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"two"))
    pruned = 1_000_009
    reset = Changes(NS, 0, 0, tag(0), (), pruned, is_reset=True)
    rig.step(StreamFrameCame(Behind(Position(NS, pruned, tag(pruned))), {}))
    rig.take(PullTask)
    rig.step(Pulled(reset))
    assert rig.state.phase is Phase.JOINING
    rig.join([entry(1, NODE_A, "a.txt", b"one")], pruned)
    assert not rig.has(ApplyTask), "deletions wait for quiet"
    rig.wait(2.5)
    (task,) = rig.take(ApplyTask).tasks
    assert getattr(task, "path", b"") == b"b.txt"


@pytest.mark.parametrize("head", [1, 2, 900])
def test_a_journal_that_never_had_our_place_is_a_union_merge_without_deletions(head: int) -> None:
    """The database was put back by hand, under the same epoch; it may have gone on since."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"two"))
    again = rig.restarted()
    again.step()
    again.take(ReachTask)
    other = NamespaceHead(NS, "root", True, head, b"another!")  # type: ignore[arg-type]
    again.step(Reached(NamespacesReply(EPOCH, "ann", (other,))))
    again.take(PullTask)
    again.step(Pulled(Changes(NS, head, head, tag(head), (), head, is_reset=True)))
    again.welcome()
    again.scan(is_full=True)
    assert_union_merge(again, [entry(1, NODE_C, "c.txt"), entry(2, NODE_B, "b.txt", b"two")], head)


def test_an_entry_of_this_link_that_this_index_never_sent_agrees_nothing() -> None:
    """The index is that of an older image, or of a copied device: what it then sent says nothing of this disk."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    unknown = OpId(bytes([FROM_DISK]) + b"x" * 15)
    rig.step(
        pushed(
            1,
            entry(2, NODE_A, "a.txt", b"two", action=Action.EDIT, link=LINK, op_id=unknown, place_rev=1),
            entry(3, NODE_B, "b.txt", b"three", link=LINK, op_id=unknown),
        )
    )
    assert sides(rig, NODE_A)[2] == Item(ROOT_NID, "a.txt", Kind.FILE, hash_of(b"one"))
    assert sides(rig, NODE_B)[1:] == (None, None), "new here, not deleted here"


def test_an_entry_that_an_earlier_start_sent_after_all_that_this_index_knows_of_it_is_a_recovery() -> None:
    """Seed 30319: a power cut took back the end of the index. A file that had been known as new, at another name, was
    met as the node that it had been before, and gave way to what that node held since."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    run = b"run1"
    rig.index.put("sent", run + (7).to_bytes(4, "big"))

    def sent(count: int) -> OpId:
        return OpId(bytes([FROM_DISK]) + bytes(6) + run + count.to_bytes(4, "big") + b"x")

    known, lost = (
        pushed(1, entry(2, NODE_A, "a.txt", b"two", action=Action.EDIT, link=LINK, op_id=sent(count), place_rev=1))
        for count in (7, 8)
    )
    for frame, phase in ((known, Phase.LIVE), (lost, Phase.JOINING)):
        again = rig.restarted()
        again.step()
        again.connect(head=2)
        again.welcome()
        again.step(frame)
        assert again.state.phase is phase
        assert bool(again.index.get("recovering")) is (phase is Phase.JOINING)


def test_the_epoch_of_another_server_is_a_union_merge_without_deletions() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"two"))
    again = rig.restarted()
    again.step()
    again.take(ReachTask)
    heads = rig_heads(9)
    again.step(Reached(NamespacesReply(OTHER_EPOCH, "ann", heads)))  # type: ignore[arg-type]
    assert again.has(SnapshotTask), "positions of another epoch mean nothing"
    again.scan(is_full=True)
    assert_union_merge(again, [entry(1, NODE_C, "c.txt"), entry(2, NODE_B, "b.txt", b"two")], 9)


def test_a_welcome_that_asks_for_recovery_is_a_union_merge_without_deletions() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"two"))
    rig.step(StreamFrameCame(Welcome(OTHER_EPOCH, True, DEVICE), {}))
    assert_union_merge(rig, [entry(1, NODE_C, "c.txt"), entry(2, NODE_B, "b.txt", b"two")], 9)


def reached_anew(*told: int) -> Rig:
    """Return a device that was in sync, after a restart. told: the versions that the service spoke of."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    again = rig.restarted()
    again.step()
    again.take(ReachTask)
    again.step(Reached(NamespacesReply(EPOCH, "ann", rig_heads(2), *told)))  # type: ignore[arg-type]
    return again


@pytest.mark.parametrize(("told", "said"), [((), 1), ((2, 1), 2), ((7, 2), 3)])
def test_a_hello_speaks_the_newest_version_that_the_service_knows_too(told: tuple[int, ...], said: int) -> None:
    again = reached_anew(*told)
    assert again.take(StreamTask).hello.version == said


def test_a_service_that_was_replaced_since_it_told_its_version_is_asked_again() -> None:
    again = reached_anew(2, 1)
    again.take(StreamTask)
    again.step(StreamEnded(VersionUnsupported("refused", what="protocol", found="?", known=2)))
    again.take(ReachTask)
    again.step(Reached(NamespacesReply(EPOCH, "ann", rig_heads(2))))  # type: ignore[arg-type]
    assert again.take(StreamTask).hello.version == 1 and not again.state.halted


@pytest.mark.parametrize(("welcomed", "spoken"), [(0, 2), (2, 2), (3, 3), (7, 3)])
def test_a_service_that_became_newer_before_the_hello_is_spoken_to_as_such(welcomed: int, spoken: int) -> None:
    again = reached_anew(2, 1)
    again.take(StreamTask)
    again.step(StreamFrameCame(Welcome(EPOCH, False, DEVICE, welcomed), {}))
    assert again.state.version == spoken


def test_a_service_without_a_version_in_common_halts_with_a_clear_line() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    again = rig.restarted()
    again.step()
    again.take(ReachTask)
    again.step(Reached(NamespacesReply(EPOCH, "ann", rig_heads(2), 9, 8)))  # type: ignore[arg-type]
    assert "no version of the protocol in common" in again.state.halted
    assert not again.has(StreamTask)


def test_a_start_that_is_no_news_to_the_service_is_an_older_image_and_counts_higher_from_then_on() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"two"))
    again = rig.restarted()
    again.step()
    again.take(ReachTask)
    again.step(Reached(NamespacesReply(EPOCH, "ann", rig_heads(2))))  # type: ignore[arg-type]
    before = again.take(StreamTask).hello.run
    again.step(StreamFrameCame(Welcome(EPOCH, True, DEVICE), {}))
    again.scan(is_full=True)
    assert_union_merge(again, [entry(1, NODE_C, "c.txt"), entry(2, NODE_B, "b.txt", b"two")], 9, again="UndeleteOp")
    again.step(StreamEnded(Unavailable("lost", where="test")))
    again.take(ReachTask)
    again.step(Reached(NamespacesReply(EPOCH, "ann", rig_heads(9))))  # type: ignore[arg-type]
    after = again.take(StreamTask).hello.run
    assert after >> 32 > (before >> 32) + 60_000 and after & 0xFFFF_FFFF == before & 0xFFFF_FFFF
    assert not again.state.halted


def test_a_start_that_was_welcomed_and_is_then_outdated_has_a_twin_and_halts() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(StreamFrameCame(Welcome(EPOCH, True, DEVICE), {}))
    assert "satchel login" in rig.state.halted and not rig.has(SnapshotTask)
    rig.step(pushed(1, entry(2, NODE_B, "b.txt", b"two"), contents=[b"two"]))
    rig.wait(60.0)
    assert not rig.has(CommitTask) and not rig.has(ApplyTask)


def test_in_a_union_merge_different_contents_of_one_name_are_both_kept() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(StreamFrameCame(Welcome(OTHER_EPOCH, True, DEVICE), {}))
    rig.join([entry(1, NODE_A, "a.txt", b"server")], 9)
    rig.wait(1.0)
    (op,) = rig.take(CommitTask).request.ops
    assert type(op).__name__ == "CreateOp" and "conflicted copy" in op.name  # type: ignore[union-attr]
    assert not rig.has(ApplyTask), "the local file keeps its name until its bytes are safe"


def test_a_server_of_another_epoch_over_the_stream_reaches_out_again() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.state.has_stream = True
    rig.step(StreamEnded(EpochChanged("other server", expected="e", actual="f")))
    assert rig.has(ReachTask) and rig.state.phase is Phase.REACHING


def test_revs_of_another_epoch_are_forgotten() -> None:
    """A restored server counts from an earlier seq on; what it says then is newer than all that was known before."""
    rig = Rig()
    rig.start([entry(90, NODE_A, "a.txt", b"one")], [new(1, "a.txt", b"one")])
    rig.step(StreamFrameCame(Welcome(OTHER_EPOCH, True, DEVICE), {}))
    rig.join([entry(40, NODE_A, "a.txt", b"earlier")], 50)
    remote, local, synced = sides(rig, NODE_A)
    assert isinstance(remote, Item) and remote.content == hash_of(b"earlier")
    assert isinstance(local, Item) and local.content == hash_of(b"one") and synced is None


def test_a_row_that_only_the_lost_future_had_goes() -> None:
    rig = Rig()
    rig.start([entry(1, NODE_A, "a.txt", b"one"), entry(2, NODE_B, "b.txt", b"two")], [new(1, "a.txt", b"one")])
    rig.step(StreamFrameCame(Welcome(OTHER_EPOCH, True, DEVICE), {}))
    rig.join([entry(1, NODE_A, "a.txt", b"one")], 1)
    fetch = rig.take(FetchTask)
    rig.step(Fetched(fetch, (FetchedItem(fetch.items[0].nid, "d-1", fetch.items[0].blocks),)))
    assert rig.take(DiscardTask).staged == ("d-1",)
    assert rig.index.reader.nid_of(NODE_B) is None and rig.engine.is_settled


def test_a_commit_that_waited_for_the_feed_of_another_epoch_waits_no_more() -> None:
    from satchel.core.messages import Stored

    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    rig.commit(Stored(700), head_seq=700)
    rig.step(StreamFrameCame(Welcome(OTHER_EPOCH, True, DEVICE), {}))
    rig.join([], 3)
    rig.wait(1.0)
    assert type(rig.take(CommitTask).request.ops[0]).__name__ == "CreateOp"


def test_a_node_that_the_service_holds_as_deleted_is_revived_in_a_union_merge() -> None:
    from satchel.core.messages import Conflict

    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    (first,) = rig.take_commit()
    dead = entry(7, first.node_id, "a.txt", b"one", is_live=False)
    rig.answer(Conflict(dead), head_seq=0)
    rig.wait(1.0)
    (again,) = rig.take_commit()
    assert type(again).__name__ == "UndeleteOp" and again.node_id == first.node_id


# -- the connection ---------------------------------------------------------------------------------------------------


def rig_heads(head: int) -> tuple[object, ...]:
    from satchel.core.messages import NamespaceHead

    return (NamespaceHead(NS, "root", True, head, tag(head)),)


def test_a_wrong_token_halts_with_words_and_touches_nothing() -> None:
    rig = Rig()
    rig.step()
    rig.take(ReachTask)
    rig.step(Reached(None, Unauthenticated("no such token")))
    assert "satchel login" in rig.state.halted
    rig.pending.clear()
    rig.wait(3_600.0)
    assert rig.pending == []


def test_an_absent_server_is_asked_less_and_less() -> None:
    rig = Rig()
    rig.step()
    waits = []
    for _ in range(12):
        task = rig.take(ReachTask)
        waits.append(task.after_s)
        rig.step(Reached(None, Unavailable("refused", where="test")))
    assert waits[0] == 0.0 and waits[3] > waits[1] and 20.0 < waits[-1] < 40.0


def test_a_remote_folder_that_is_not_there_halts_the_link() -> None:
    rig = Rig()
    rig.step()
    rig.take(ReachTask)
    rig.step(Reached(NamespacesReply(EPOCH, "ann", ())))
    assert "not there" in rig.state.halted


def test_an_offline_or_halted_engine_sleeps() -> None:
    rig = Rig()
    rig.start(disk=[new(1, "a.txt", b"one")])
    rig.take(StreamTask) if rig.has(StreamTask) else None
    rig.step(StreamEnded(Unavailable("lost", where="test")))
    rig.scan(new(2, "b.txt", b"two"))
    rig.wait(5.0)
    assert rig.engine.next_wake_s() > rig.now_s + 1.0
    rig.state.halted = "halted for the test"
    rig.wait(100.0)
    assert rig.engine.next_wake_s() > rig.now_s + 1.0


def test_a_deletion_elsewhere_comes_to_this_disk_after_the_quiet() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"one", action=Action.DELETE, is_live=False)))
    assert not rig.has(ApplyTask)
    rig.wait(2.1)
    (task,) = rig.apply().tasks
    assert getattr(task, "path", b"") == b"a.txt"
    assert rig.engine.is_settled and rig.index.reader.nid_of(NODE_A) is None


def test_a_node_gone_on_both_sides_leaves_no_work() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    local = rig.index.reader.local(rig.nid(NODE_A))
    assert local is not None
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"one", action=Action.DELETE, is_live=False)))
    rig.scan(SeenGone(local.nid, local.version))
    rig.wait(3.0)
    assert rig.engine.is_settled and not rig.has(ApplyTask) and not rig.has(CommitTask)
