"""A page of a snapshot rests on a place of the journal; a journal without that place is that of a service put back."""

from __future__ import annotations

import pytest

from satchel.core.entries import Action
from satchel.core.errors import Unavailable
from satchel.core.ids import ROOT_NODE, Tag
from satchel.core.messages import (
    Changes,
    NamespaceHead,
    NamespacesReply,
    Position,
    Pushed,
    SnapshotPage,
)
from satchel.device.engine.state import Phase
from satchel.device.service_tasks import (
    Pulled,
    PullTask,
    Reached,
    ReachTask,
    SnapshotTaken,
    SnapshotTask,
    StreamEnded,
    StreamFrameCame,
)
from satchel.device.tasks import ApplyTask, CommitTask
from tests.support.engine_rig import (
    EPOCH,
    NODE_A,
    NODE_B,
    NODE_C,
    NODE_D,
    NS,
    Rig,
    changes,
    entry,
    folder,
    new,
    new_folder,
    pushed,
    tag,
)

OTHER = Tag(b"another!")
UNIT = folder(5, NODE_D, "d")
INSIDE = entry(3, NODE_B, "b.txt", b"two", parent=NODE_D)


def asked() -> tuple[Rig, SnapshotTask]:
    """Return a link that holds a.txt, stands at 5, and asks for a folder that appeared whole."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, folder(5, NODE_D, "d", action=Action.UNDELETE, is_subtree=True)))
    return rig, rig.take(SnapshotTask)


def told(rig: Rig, task: SnapshotTask, seq: int, *, as_of: Tag | None = None) -> None:
    rig.step(SnapshotTaken(task, SnapshotPage(NS, seq, as_of or tag(seq), (INSIDE, UNIT), False)))


def other_page(prev_seq: int, last_seq: int) -> Changes:
    """Return a page of another journal, which names a.txt last."""
    last = entry(last_seq, NODE_A, "a.txt", b"other", action=Action.EDIT, place_rev=1)
    return Changes(NS, prev_seq, last_seq, OTHER, (last,), last_seq)


def assert_union_merge(rig: Rig) -> None:
    """The tree is told anew, and what the service lacks is sent again: nothing of this disk goes."""
    assert rig.state.phase is Phase.JOINING and rig.state.position is None
    assert not rig.state.places
    rig.join([entry(1, NODE_C, "c.txt")], 1)
    rig.wait(2.5)
    (op,) = rig.take(CommitTask).request.ops
    assert (type(op).__name__, op.name) == ("CreateOp", "a.txt")  # type: ignore[union-attr]
    for seconds in (2.0, 30.0, 60.0):
        rig.wait(seconds)
    kinds = {type(one).__name__ for task in rig.pending if isinstance(task, ApplyTask) for one in task.tasks}
    assert kinds <= {"PlaceFile", "PlaceFolder"}, "nothing is trashed"


def test_a_unit_told_from_a_shorter_journal_is_not_believed() -> None:
    """Seed 5413: the answer of a service put back before the line to it was seen to be lost."""
    rig, task = asked()
    told(rig, task, 2)
    assert_union_merge(rig)


def test_a_unit_told_from_where_we_are_in_another_journal_is_not_believed() -> None:
    rig, task = asked()
    told(rig, task, 5, as_of=OTHER)
    assert_union_merge(rig)


def test_a_unit_told_from_beyond_is_met_by_the_feed() -> None:
    rig, task = asked()
    told(rig, task, 7)
    assert rig.state.places == {7: tag(7)} and not rig.engine.is_settled
    rig.step(pushed(5, entry(6, NODE_C, "c.txt", b"3"), entry(7, NODE_A, "x.txt", b"one", action=Action.MOVE)))
    assert not rig.state.places and rig.state.position == Position(NS, 7, tag(7))
    assert rig.state.phase is Phase.LIVE


def test_a_feed_that_has_another_entry_at_a_place_was_put_back() -> None:
    rig, task = asked()
    told(rig, task, 7)
    rig.step(StreamFrameCame(Pushed(other_page(5, 7)), {}))
    assert_union_merge(rig)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_journal_that_ends_before_a_place_was_put_back(is_restarted: bool) -> None:
    """All that the line says at first is that nothing is new since our own place."""
    rig, task = asked()
    told(rig, task, 7)
    if is_restarted:
        rig = rig.restarted()
        rig.step()
        rig.scan(is_full=True)
    else:
        rig.step(StreamEnded(Unavailable("lost", where="test")))
    rig.take(ReachTask)
    rig.step(Reached(NamespacesReply(EPOCH, "ann", (NamespaceHead(NS, "root", True, 5, tag(5)),))))
    if is_restarted:
        rig.welcome()
    rig.pending = [each for each in rig.pending if isinstance(each, PullTask)]
    assert rig.take(PullTask).request.position == Position(NS, 5, tag(5))
    rig.step(Pulled(changes(5)))
    assert_union_merge(rig)


def test_an_answer_to_what_was_asked_before_the_page_says_nothing_of_its_place() -> None:
    rig, task = asked()
    rig.state.wants_pull = True
    rig.step()
    rig.take(PullTask)
    told(rig, task, 7)
    rig.step(Pulled(changes(5)))
    assert rig.state.phase is Phase.LIVE and rig.state.places == {7: tag(7)}


@pytest.mark.parametrize("is_deleted", [False, True])
def test_what_left_a_unit_before_it_was_told_is_where_the_journal_says(is_deleted: bool) -> None:
    """The page is of a later place than the journal is read to: that it does not name a file says nothing else of it,
    and the entry that tells where it went, which comes after the page, is older than that (seed 43826)."""
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_C, "c.txt", b"3", parent=NODE_D)],
        [new_folder(1, "d"), new(2, "c.txt", b"3", inside=1)],
    )
    assert rig.engine.is_settled
    rig.step(pushed(2, folder(3, NODE_D, "d", action=Action.DELETE, is_live=False)))
    rig.step(pushed(3, folder(5, NODE_D, "d", action=Action.UNDELETE, is_subtree=True)))
    rig.step(pushed(5, entry(6, NODE_C, "c.txt", b"3", parent=NODE_D)))
    told(rig, rig.take(SnapshotTask), 9)
    assert not rig.index.is_remote(rig.nid(NODE_C))
    left = (
        entry(8, NODE_C, "c.txt", b"3", parent=NODE_D, action=Action.DELETE, is_live=False)
        if is_deleted
        else entry(8, NODE_C, "c.txt", b"3", action=Action.MOVE, content_rev=6)
    )
    rig.step(pushed(6, left))
    assert rig.index.is_remote(rig.nid(NODE_C)) is not is_deleted


def test_later_pages_of_a_unit_are_of_the_place_of_the_first() -> None:
    """The feed goes on meanwhile, past that place."""
    rig, task = asked()
    rig.step(SnapshotTaken(task, SnapshotPage(NS, 5, tag(5), (INSIDE,), True)))
    rig.step(pushed(5, entry(6, NODE_C, "c.txt", b"3")))
    second = rig.take(SnapshotTask)
    rig.step(SnapshotTaken(second, SnapshotPage(NS, 5, tag(5), (UNIT,), True)))
    rig.step(SnapshotTaken(rig.take(SnapshotTask), SnapshotPage(NS, 5, tag(5), (), False)))
    assert rig.state.phase is Phase.LIVE and rig.state.position == Position(NS, 5, tag(5))
    assert not rig.state.index.get("recovering")


def test_a_unit_told_from_behind_is_folded_up_to_where_we_were() -> None:
    rig, task = asked()
    rig.step(pushed(5, entry(6, NODE_C, "c.txt", b"3"), entry(7, NODE_A, "x.txt", b"one", action=Action.MOVE)))
    told(rig, task, 5)
    assert rig.state.position == Position(NS, 5, tag(5)) and rig.state.places == {7: tag(7)}
    assert rig.take(PullTask).request.position.seq == 5
    rig.step(Pulled(changes(5, entry(6, NODE_C, "c.txt", b"3"), entry(7, NODE_A, "x.txt", b"one"))))
    assert rig.state.position == Position(NS, 7, tag(7)) and not rig.state.places


def test_a_journal_that_lacks_what_came_while_a_unit_was_told_was_put_back() -> None:
    rig, task = asked()
    rig.step(pushed(5, entry(6, NODE_C, "gone.txt", b"3")))
    told(rig, task, 5)
    rig.take(PullTask)
    rig.step(Pulled(changes(5)))
    assert_union_merge(rig)


def test_the_service_is_asked_about_a_place_whose_entry_it_does_not_tell_of() -> None:
    """It is left out here, so the page cannot show it; the service alone can say whether it has it."""
    rig, task = asked()
    told(rig, task, 7)
    rig.step(StreamFrameCame(Pushed(Changes(NS, 5, 9, tag(9), (entry(9, NODE_C, "c.txt", b"3"),), 9)), {}))
    assert rig.take(PullTask).request.position == Position(NS, 7, tag(7))
    rig.step(Pulled(Changes(NS, 9, 9, OTHER, (), 9, is_reset=True)))
    assert_union_merge(rig)


# -- a join -----------------------------------------------------------------------------------------------------------


def joining() -> Rig:
    """Return a rig of which the service stands at 9, and that asks for the first page of the tree."""
    rig = Rig()
    rig.step()
    rig.take(ReachTask)
    rig.step(Reached(NamespacesReply(EPOCH, "ann", (NamespaceHead(NS, "root", True, 9, tag(9)),))))
    return rig


def half_joined() -> Rig:
    """Return the rig of a start that follows one which was told the first page of the tree, as of 9."""
    rig = joining()
    page = SnapshotPage(NS, 9, tag(9), (entry(8, NODE_A, "gone.txt", b"one"),), True)
    rig.step(SnapshotTaken(rig.take(SnapshotTask), page))
    again = rig.restarted()
    again.step()
    again.scan(is_full=True)
    again.take(ReachTask)
    return again


def test_a_row_of_a_join_that_was_cut_short_goes_with_the_journal_that_had_it() -> None:
    rig = half_joined()
    rig.step(Reached(NamespacesReply(EPOCH, "ann", (NamespaceHead(NS, "root", True, 4, tag(4)),))))
    rig.join([], 4)
    assert rig.index.reader.nid_of(NODE_A) is None and rig.engine.is_settled


def test_a_journal_that_went_on_since_is_followed_from_where_the_join_was_cut_short() -> None:
    rig = half_joined()
    rig.step(Reached(NamespacesReply(EPOCH, "ann", (NamespaceHead(NS, "root", True, 20, OTHER),))))
    rig.step(SnapshotTaken(rig.take(SnapshotTask), SnapshotPage(NS, 20, OTHER, (), False)))
    assert rig.take(PullTask).request.position == Position(NS, 9, tag(9))
    rig.step(Pulled(Changes(NS, 20, 20, OTHER, (), 20, is_reset=True)))
    assert rig.state.phase is Phase.JOINING
    rig.join([], 20)
    assert rig.index.reader.nid_of(NODE_A) is None


def test_a_page_of_a_join_whose_line_was_lost_ends_nothing() -> None:
    rig = joining()
    task = rig.take(SnapshotTask)
    rig.step(StreamEnded(Unavailable("lost", where="test")))
    rig.step(SnapshotTaken(task, SnapshotPage(NS, 9, tag(9), (entry(8, NODE_A, "a.txt", b"one"),), False)))
    assert rig.state.position is None and not rig.index.has_unplaced()
    rig.take(ReachTask)
    rig.step(Reached(NamespacesReply(EPOCH, "ann", (NamespaceHead(NS, "root", True, 9, tag(9)),))))
    assert rig.take(SnapshotTask).request.seq == -1


@pytest.mark.parametrize(("seq", "as_of"), [(4, tag(4)), (9, OTHER)])
def test_a_second_page_of_another_place_begins_the_join_anew(seq: int, as_of: Tag) -> None:
    rig = joining()
    page = SnapshotPage(NS, 9, tag(9), (entry(8, NODE_A, "gone.txt", b"one"),), True)
    rig.step(SnapshotTaken(rig.take(SnapshotTask), page))
    rig.step(SnapshotTaken(rig.take(SnapshotTask), SnapshotPage(NS, seq, as_of, (), False)))
    request = rig.take(SnapshotTask).request
    assert (request.unit, request.after, request.seq) == (ROOT_NODE, ROOT_NODE, -1)
    assert rig.index.reader.nid_of(NODE_A) is None or not rig.index.is_remote(rig.nid(NODE_A))


def test_a_long_join_may_end_after_its_place_was_pruned() -> None:
    rig = joining()
    page = SnapshotPage(NS, 9, tag(9), (entry(8, NODE_A, "a.txt", b"one"),), True)
    rig.step(SnapshotTaken(rig.take(SnapshotTask), page))
    rig.step(SnapshotTaken(rig.take(SnapshotTask), SnapshotPage(NS, 9, Tag(b""), (), False)))
    assert rig.state.phase is Phase.LIVE and rig.index.is_remote(rig.nid(NODE_A))


def test_a_place_that_the_journal_no_longer_reaches_back_to_is_given_up() -> None:
    rig, task = asked()
    told(rig, task, 7)
    pruned = Changes(NS, 0, 3_000_000, tag(3_000_000), (), 3_000_000, is_reset=True)
    rig.step(StreamFrameCame(Pushed(pruned), {}))
    assert rig.state.phase is Phase.JOINING and not rig.state.places
    rig.join([entry(1, NODE_A, "a.txt", b"one"), UNIT, INSIDE], 3_000_000)
    assert rig.state.position == Position(NS, 3_000_000, tag(3_000_000))
