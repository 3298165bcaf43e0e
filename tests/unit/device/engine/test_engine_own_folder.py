"""What becomes of a link when its remote folder goes, or becomes a tree of its own: no file on this disk follows it."""

from __future__ import annotations

import pytest

from satchel.core.entries import Action, Entry, Kind
from satchel.core.messages import NamespaceHead, NamespacesReply, SnapshotPage
from satchel.device.engine.own_folder import BECOMES, STANDS_ALONE
from satchel.device.service_tasks import Reached, ReachTask, SnapshotTaken, SnapshotTask
from satchel.device.tasks import ApplyTask, CommitTask
from tests.support.engine_rig import EPOCH, NODE_A, NODE_B, NODE_D, NS, Rig, entry, folder, new, pushed, tag

SHARED = b"s" * 16
TEAM = folder(1, NODE_D, "team")
OTHER_EPOCH = b"f" * 16


def mounted(seq: int) -> Entry:
    return entry(seq, NODE_D, "team", SHARED, kind=Kind.MOUNT, action=Action.MOUNT)


def joined() -> Rig:
    """A link of a folder of one file, in sync."""
    rig = Rig(unit=NODE_D)
    rig.start([TEAM, entry(2, NODE_A, "a.txt", b"one", parent=NODE_D)], [new(1, "a.txt", b"one")])
    assert rig.engine.is_settled and rig.nid(NODE_A)
    rig.pending.clear()
    return rig


def reached(rig: Rig, *, epoch: bytes = EPOCH, can_write: bool = True) -> None:
    """Connect, at seq 3."""
    rig.step()
    rig.take(ReachTask)
    rig.step(Reached(NamespacesReply(epoch, "ann", (NamespaceHead(NS, "root", can_write, 3, tag(3)),))))


def told_anew(*entries: Entry) -> Rig:
    """The service went back in time, and tells all that is in the linked folder."""
    rig = joined().restarted()
    reached(rig, epoch=OTHER_EPOCH)
    page = SnapshotPage(NS, 3, tag(3), tuple(sorted(entries, key=lambda each: each.node_id)), False)
    rig.step(SnapshotTaken(rig.take(SnapshotTask), page))
    rig.wait(60.0)
    return rig


def test_a_linked_folder_that_is_made_shared_is_followed_at_the_next_start() -> None:
    rig = joined()
    rig.step(pushed(2, mounted(3)))
    rig.wait(60.0)
    assert rig.state.is_turning and rig.index.get(BECOMES) == SHARED
    assert not (rig.has(ApplyTask) or rig.has(CommitTask))


@pytest.mark.parametrize("told", [[], [entry(3, NODE_B, "b.txt", b"two", parent=NODE_D)]])
def test_a_join_that_does_not_name_the_linked_folder_empties_nothing(told: list[Entry]) -> None:
    rig = told_anew(*told)
    assert "was deleted" in rig.state.halted and not rig.state.is_turning
    assert not (rig.has(ApplyTask) or rig.has(CommitTask))


def test_a_join_that_names_it_as_a_shared_one_folds_nothing_and_follows_it() -> None:
    rig = told_anew(mounted(3))
    assert rig.state.is_turning and not rig.state.halted and rig.index.get(BECOMES) == SHARED
    assert not (rig.has(ApplyTask) or rig.has(CommitTask))


def test_a_join_that_names_it_goes_on_and_brings_what_is_new() -> None:
    rig = told_anew(TEAM, entry(3, NODE_B, "b.txt", b"two", parent=NODE_D))
    assert not rig.state.halted and not rig.state.is_turning and rig.nid(NODE_B)


@pytest.mark.parametrize(("stands_alone", "is_halted"), [(1, True), (None, False)])
def test_a_link_that_stands_alone_halts_where_it_may_only_look(stands_alone: int | None, is_halted: bool) -> None:
    rig = joined().restarted()
    rig.index.put(STANDS_ALONE, stands_alone)
    reached(rig, can_write=False)
    assert ("only look" in rig.state.halted) is is_halted
    assert rig.state.is_view_only is not is_halted
