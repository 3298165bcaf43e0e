"""A file that was read just after it was written is looked at once more before it goes with its folder."""

from __future__ import annotations

from msgspec.structs import replace

from satchel.core.entries import Action
from satchel.device.tasks import ApplyTask, ScanTask, SeenChanged, TrashUnit
from tests.support.engine_rig import (
    NODE_A,
    NODE_B,
    NODE_D,
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


def deleted_elsewhere() -> Rig:
    """Return a link with a folder of two files, one read within the clock's grain, that another device deleted."""
    rig = Rig()
    just_written = new(2, "a.txt", b"one", inside=1)
    rig.start(
        [
            folder(1, NODE_D, "d"),
            entry(2, NODE_A, "a.txt", b"one", parent=NODE_D),
            entry(3, NODE_B, "b.txt", b"two", parent=NODE_D),
        ],
        [
            new_folder(1, "d"),
            replace(just_written, stat=replace(just_written.stat, ctime_ns=0)),
            new(3, "b.txt", b"two", inside=1),
        ],
    )
    rig.step(pushed(3, folder(4, NODE_D, "d", action=Action.DELETE, is_live=False, is_subtree=True)))
    rig.wait(3.0)
    return rig


def seen_again(rig: Rig, data: bytes) -> None:
    """Let the look that was asked for see the file, written long ago by now."""
    rig.wait(0.1)
    (hint,) = rig.pending[-1].hints if isinstance(rig.pending[-1], ScanTask) else ()
    assert (hint.folder, hint.names) == (b"d", frozenset({b"a.txt"}))
    local = rig.index.reader.local(rig.nid(NODE_A))
    assert local is not None
    rig.scan(SeenChanged(local.nid, local.version, stat(102, data), hash_of(data), blocks_of(data)))


def test_a_folder_that_another_device_deleted_goes_whole_after_that_look() -> None:
    rig = deleted_elsewhere()
    assert not rig.has(ApplyTask)
    seen_again(rig, b"one")
    rig.wait(0.1)
    (task,) = rig.take(ApplyTask).tasks
    assert isinstance(task, TrashUnit) and set(task.members) == {b"", b"a.txt", b"b.txt"}
    assert all(one.ctime_ns for one in task.members.values())


def test_what_that_look_finds_written_stays() -> None:
    rig = deleted_elsewhere()
    seen_again(rig, b"another")
    ops = rig.take_commit()
    assert "a.txt" in {getattr(op, "name", "") for op in ops}
    rig.wait(3.0)
    assert not any(
        isinstance(one, TrashUnit) and b"a.txt" in one.members
        for task in rig.pending
        if isinstance(task, ApplyTask)
        for one in task.tasks
    )
