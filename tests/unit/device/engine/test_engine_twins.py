"""A file that only this disk has goes, because an equal one comes to its place: only while that one is as it was."""

from __future__ import annotations

from satchel.core.entries import Action
from satchel.core.errors import StorageFailed
from satchel.device.tasks import ApplyResult, ApplyTask, Failed, MovePaths, SettleTask, StagingSettled, TrashUnit
from tests.support.engine_rig import NODE_A, Rig, entry, new, pushed


def test_the_equal_file_that_stands_elsewhere_is_named_to_the_applier() -> None:
    """Seed 401444: a move was done but reported as failed; its old name was written anew before the next look."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    known = rig.index.reader.local(rig.nid(NODE_A))
    assert known is not None
    rig.step(pushed(1, entry(2, NODE_A, "e.txt", b"one", action=Action.MOVE, content_rev=1)))
    task = rig.take(ApplyTask)
    assert isinstance(task.tasks[0], MovePaths)
    rig.step(ApplyResult(task, (Failed(StorageFailed("a full journal", where="disk", reason="eio")),)))
    rig.take(SettleTask)
    rig.step(StagingSettled((), None))
    rig.scan(new(1, "e.txt", b"one"), is_full=True)
    task = rig.take(ApplyTask)
    (trash,) = [each for each in task.tasks if isinstance(each, TrashUnit)]
    assert trash.path == b"e.txt"
    assert trash.twin == (b"a.txt", known.stat)
