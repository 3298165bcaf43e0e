"""What was told to be gone is found again elsewhere; of an absence that nobody told of a look at all makes sure."""

from __future__ import annotations

import pytest

from satchel.core.entries import Action, Kind
from satchel.core.ids import ROOT_NID, NodeId
from satchel.core.messages import CreateOp, DeleteOp, MoveOp, Stored
from satchel.device.engine.missing import GONE_MAX, LOOK_AT_ALL_S, TOLD_MAX, TOLD_S, note_told
from satchel.device.index.left_out import Stage
from satchel.device.ports import EVERYTHING, ROOT_PATH, DiskPath, Hint, Stat
from satchel.device.tasks import CommitTask, Hinted, NewParent, ScanTask, SeenGone, SeenNew
from tests.support.engine_rig import (
    LINK,
    NODE_A,
    NODE_B,
    NODE_C,
    Rig,
    blocks_of,
    entry,
    folder,
    hash_of,
    new,
    new_folder,
    pushed,
)

TOLD = Hinted((Hint(ROOT_PATH, frozenset((b"old",))),))
"""A watcher tells of the name."""
OWN = Hint(ROOT_PATH, frozenset((b"old",)))
"""The device itself looks there."""


def rig_with_a_folder() -> Rig:
    """`old` holds a file, and another file stands beside it."""
    rig = Rig()
    rig.start(
        [folder(1, NODE_A, "old"), entry(2, NODE_B, "f", b"one", parent=NODE_A), entry(3, NODE_C, "b", b"two")],
        [new_folder(1, "old"), new(2, "f", b"one", inside=1), new(3, "b", b"two")],
    )
    assert rig.engine.is_settled
    rig.pending.clear()
    return rig


def gone(rig: Rig, node: NodeId) -> SeenGone:
    row = rig.index.reader.local(rig.nid(node))
    assert row is not None
    return SeenGone(row.nid, row.version)


def stat_of(rig: Rig, node: NodeId) -> Stat:
    row = rig.index.reader.local(rig.nid(node))
    assert row is not None
    return row.stat


def looks(rig: Rig) -> tuple[Hint, ...]:
    """Answer the look that is under way with nothing, and return what is looked at after it."""
    rig.wait(LOOK_AT_ALL_S)
    return rig.take(ScanTask).hints


def own_look(rig: Rig) -> None:
    """Let the device look at the name by itself."""
    rig.engine.state.look_later(0.0, DiskPath(b"old"))
    rig.step()
    assert any(isinstance(task, ScanTask) and task.hints == (OWN,) for task in rig.pending)


# -- found again ------------------------------------------------------------------------------------------------------


def test_a_folder_that_one_look_misses_and_the_next_finds_elsewhere_has_moved() -> None:
    """Its deletion waits for two seconds; sent, it would take the versions and links of all that is in it."""
    rig = rig_with_a_folder()
    was, inside = stat_of(rig, NODE_A), stat_of(rig, NODE_B)
    rig.step(TOLD)
    rig.scan(gone(rig, NODE_A))
    rig.wait(0.5)
    assert not rig.has(CommitTask)
    rig.scan(
        SeenNew(1, ROOT_NID, b"new", was, b"", b""),
        SeenNew(2, NewParent(1), b"f", inside, hash_of(b"one"), blocks_of(b"one")),
    )
    (op,) = rig.take(CommitTask).request.ops
    assert isinstance(op, MoveOp) and op.placements[0].node_id == NODE_A and op.placements[0].name == "new"
    rig.wait(60.0)
    assert not rig.has(CommitTask)


def test_a_file_that_comes_again_changed_has_moved_and_was_edited() -> None:
    rig = rig_with_a_folder()
    was = stat_of(rig, NODE_C)
    rig.step(TOLD)
    rig.scan(gone(rig, NODE_C))
    rig.scan(SeenNew(1, rig.nid(NODE_A), b"c", was, hash_of(b"more"), blocks_of(b"more")))
    ops = rig.take(CommitTask).request.ops
    assert any(isinstance(op, MoveOp) and op.placements[0].node_id == NODE_C for op in ops)
    assert not any(isinstance(op, CreateOp | DeleteOp) for op in ops)


def test_a_folder_whose_deletion_was_sent_is_a_new_one() -> None:
    rig = rig_with_a_folder()
    was = stat_of(rig, NODE_A)
    rig.step(TOLD)
    rig.scan(gone(rig, NODE_A))
    rig.wait(2.1)
    (op,) = rig.take_commit()
    assert isinstance(op, DeleteOp)
    rig.answer(Stored(4), head_seq=4)
    dead = folder(4, NODE_A, "old", action=Action.DELETE, is_live=False, link=LINK, op_id=op.op_id)
    rig.step(pushed(3, dead))
    rig.scan(SeenNew(1, ROOT_NID, b"new", was, b"", b""))
    rig.wait(0.5)
    (made,) = rig.take(CommitTask).request.ops
    assert isinstance(made, CreateOp) and made.node_id != NODE_A


def test_another_file_of_the_same_inode_is_a_new_one() -> None:
    rig = rig_with_a_folder()
    was = stat_of(rig, NODE_C)
    rig.step(TOLD)
    rig.scan(gone(rig, NODE_C))
    young = Stat(Kind.FILE, was.size, was.mtime_ns, was.ctime_ns, was.inode, was.birth_ns + 1, False)
    rig.scan(SeenNew(1, ROOT_NID, b"other", young, hash_of(b"two"), blocks_of(b"two")))
    (op,) = rig.take(CommitTask).request.ops
    assert isinstance(op, CreateOp) and op.node_id != NODE_C


# -- told or not ------------------------------------------------------------------------------------------------------


def test_a_folder_that_only_a_look_of_our_own_misses_is_not_gone_before_all_was_looked_at() -> None:
    """Simulation, seed 48316 of 2,400 operations: it had moved, the watcher had lost it, and the device looked at the
    old name alone, since it could not place a file there."""
    rig = rig_with_a_folder()
    own_look(rig)
    rig.scan(gone(rig, NODE_A))
    row = rig.index.row(rig.nid(NODE_A))
    assert row is not None and row.local is not None
    assert EVERYTHING in looks(rig)


def test_a_look_at_all_misses_it_for_good() -> None:
    rig = rig_with_a_folder()
    rig.step(Hinted((EVERYTHING,)))
    rig.scan(gone(rig, NODE_A), is_full=True)
    rig.wait(2.1)
    (op,) = rig.take_commit()
    assert isinstance(op, DeleteOp)


@pytest.mark.parametrize(
    ("hint", "is_told"),
    [
        (Hint(ROOT_PATH, frozenset((b"old",))), True),
        (Hint(ROOT_PATH, None, True), True),
        (Hint(DiskPath(b"elsewhere"), frozenset((b"x",))), False),
        (Hint(DiskPath(b"old"), frozenset((b"f",))), False),
    ],
)
def test_a_watcher_that_told_of_its_folder_told_of_its_absence(hint: Hint, *, is_told: bool) -> None:
    rig = rig_with_a_folder()
    note_told(rig.engine.state, (hint,))
    own_look(rig)
    rig.scan(gone(rig, NODE_A))
    row = rig.index.row(rig.nid(NODE_A))
    assert row is not None and (row.local is None) is is_told


def test_a_file_is_gone_by_any_look() -> None:
    rig = rig_with_a_folder()
    own_look(rig)
    rig.scan(gone(rig, NODE_C))
    row = rig.index.row(rig.nid(NODE_C))
    assert row is not None and row.local is None


def test_what_was_told_is_forgotten_in_time_and_never_too_much() -> None:
    rig = rig_with_a_folder()
    state = rig.engine.state
    note_told(state, (Hint(DiskPath(b"n%d" % number), None) for number in range(TOLD_MAX + 5)))
    assert len(state.told) == TOLD_MAX and DiskPath(b"n4") not in state.told
    note_told(state, (Hint(ROOT_PATH, frozenset((b"old",))),))
    rig.wait(TOLD_S + 1)
    own_look(rig)
    rig.scan(gone(rig, NODE_A))
    row = rig.index.row(rig.nid(NODE_A))
    assert row is not None and row.local is not None


def test_what_is_gone_is_remembered_up_to_a_bound() -> None:
    rig = rig_with_a_folder()
    state = rig.engine.state
    state.gone.update({(inode, 1): rig.nid(NODE_C) for inode in range(GONE_MAX)})
    rig.step(TOLD)
    rig.scan(gone(rig, NODE_A))
    assert len(state.gone) == GONE_MAX and (0, 1) not in state.gone


@pytest.mark.parametrize("stage", [Stage.OUT, Stage.LEAVING])
def test_only_while_something_leaves_the_disk_an_untold_absence_may_be_that(stage: Stage) -> None:
    """What was left out long ago takes nothing from the rest."""
    rig = rig_with_a_folder()
    rig.engine.state.left[rig.nid(NODE_C)] = stage
    own_look(rig)
    rig.scan(gone(rig, NODE_A))
    row = rig.index.row(rig.nid(NODE_A))
    assert row is not None and (row.local is None) is (stage is Stage.LEAVING)
