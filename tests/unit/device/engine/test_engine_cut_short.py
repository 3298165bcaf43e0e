"""What overtakes a change of the disk before its record: a stop, or newer entries of the server."""

from __future__ import annotations

from satchel.core.entries import Action
from satchel.device.tasks import ApplyTask, CommitTask, ReachTask, TrashUnit
from tests.support.engine_rig import NODE_A, Rig, entry, new, pushed


def cut_while_placing() -> Rig:
    """Return the rig of the start after a run that was killed when a remote file was on disk and not yet recorded."""
    rig = Rig()
    rig.synced()
    rig.step(pushed(0, entry(1, NODE_A, "a.txt", b"remote", action=Action.CREATE), contents=(b"remote",)))
    assert rig.has(ApplyTask)
    return rig.restarted()


def test_the_first_scan_comes_before_any_newer_entry() -> None:
    again = cut_while_placing()
    again.step()
    assert not again.has(ReachTask)
    again.scan(new(1, "a.txt", b"remote"), is_full=True)
    assert again.has(ReachTask)


def test_a_file_that_was_placed_and_not_recorded_is_no_new_file_when_it_moved_meanwhile() -> None:
    again = cut_while_placing()
    again.step()
    again.scan(new(1, "a.txt", b"remote"), is_full=True)
    again.connect(head=1)
    moved = entry(2, NODE_A, "b.txt", b"remote", action=Action.MOVE)
    again.step(pushed(1, moved))
    again.wait(5.0)
    assert not again.has(CommitTask)
    (batch,) = (task for task in again.pending if isinstance(task, ApplyTask))
    assert [type(task).__name__ for task in batch.tasks] == ["MovePaths"]


def test_a_start_with_nothing_unplaced_connects_at_once() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"a"))
    again = rig.restarted()
    again.step()
    assert again.has(ReachTask)


def test_a_file_deleted_on_the_server_while_it_is_placed_is_deleted_here_too() -> None:
    rig = Rig()
    rig.synced()
    rig.step(pushed(0, entry(1, NODE_A, "a.txt", b"remote"), contents=(b"remote",)))
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"remote", action=Action.DELETE, is_live=False)))
    rig.apply()
    rig.wait(5.0)
    assert not rig.has(CommitTask)
    assert any(
        isinstance(task, TrashUnit) for batch in rig.pending if isinstance(batch, ApplyTask) for task in batch.tasks
    )
