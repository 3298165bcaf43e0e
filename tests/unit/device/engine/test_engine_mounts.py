"""A folder that was made a shared one: until devices sync those, it is held as it is, and the rest goes on."""

from __future__ import annotations

from satchel.core.entries import Action, Kind
from satchel.device.tasks import ApplyTask, CommitTask
from tests.support.engine_rig import NODE_A, NODE_B, NODE_D, Rig, entry, folder, new, new_folder, pushed


def test_a_folder_that_became_a_mount_is_held_and_nothing_of_it_is_touched() -> None:
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_A, "a.txt", b"one", parent=NODE_D)],
        [new_folder(1, "d"), new(2, "a.txt", b"one", inside=1)],
    )
    mount = entry(3, NODE_D, "d", b"n" * 16, kind=Kind.MOUNT, action=Action.MOUNT)
    rig.step(pushed(2, mount, entry(4, NODE_B, "b.txt", b"two"), contents=[b"two"]))
    rig.wait(5.0)
    assert [task.path for task in rig.apply().tasks] == [b"b.txt"]
    rig.wait(60.0)
    assert not rig.has(ApplyTask) and not rig.has(CommitTask)
    assert rig.held_codes() == ["kind_unsupported"]
    assert rig.index.reader.path_of(rig.nid(NODE_A)) == b"d/a.txt"
