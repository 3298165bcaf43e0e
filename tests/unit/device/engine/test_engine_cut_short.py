"""What overtakes a change of the disk before its record: a stop, or newer entries of the server."""

from __future__ import annotations

from satchel.core.entries import Action
from satchel.core.errors import Unavailable
from satchel.device.service_tasks import ReachTask
from satchel.device.tasks import ApplyTask, CommitTask, Scanned, ScanTask, TrashUnit
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


def cut(rig: Rig) -> None:
    """Answer the pending scan as one that was lost in the middle."""
    rig.step(Scanned(rig.take(ScanTask), (), True, 0, fault=Unavailable("The scan was lost.", where="scan")))


def test_a_look_that_was_cut_short_is_made_anew_at_once_and_then_less_and_less_often() -> None:
    rig = Rig()
    rig.step()
    rig.connect()
    waits = []
    for _ in range(8):
        cut(rig)
        assert not rig.engine.is_settled
        assert not rig.has(ScanTask)
        wait_s = rig.engine.next_wake_s() - rig.now_s
        rig.wait(wait_s)
        waits.append(round(wait_s, 3))
    assert waits == [0.3, 0.6, 1.2, 2.4, 4.8, 5.0, 5.0, 5.0]


def test_a_look_that_was_done_forgets_those_that_were_cut() -> None:
    rig = Rig()
    rig.step()
    rig.connect()
    for _ in range(4):
        cut(rig)
        rig.wait(5.0)
    rig.scan(is_full=True)
    assert rig.engine.is_settled
    rig.wait(3_600.0)
    cut(rig)
    rig.wait(0.3)
    assert rig.has(ScanTask)
