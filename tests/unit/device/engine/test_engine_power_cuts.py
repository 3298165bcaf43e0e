"""When the volume is synced, and what that is noted for; what a power cut takes is tested on disks that forget."""

from __future__ import annotations

from satchel.core.errors import StorageFailed
from satchel.device.tasks import SyncVolumeTask, VolumeSynced
from tests.support.engine_rig import NODE_A, Rig, new


def synced_rig() -> Rig:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    return rig


def test_the_volume_is_synced_a_minute_after_the_last_sync_if_anything_changed() -> None:
    rig = synced_rig()
    rig.wait(59.0)
    assert not rig.has(SyncVolumeTask)
    rig.wait(2.0)
    task = rig.take(SyncVolumeTask)
    assert task.version == rig.index.version
    rig.step(VolumeSynced(task))
    assert rig.index.get("durable") == task.version
    rig.wait(600.0)
    assert not rig.has(SyncVolumeTask), "nothing changed since"
    rig.scan(new(2, "b.txt", b"two"))
    rig.wait(61.0)
    assert rig.take(SyncVolumeTask).version > task.version


def test_a_sync_that_failed_proves_nothing_and_comes_again() -> None:
    rig = synced_rig()
    rig.wait(61.0)
    task = rig.take(SyncVolumeTask)
    rig.step(VolumeSynced(task, StorageFailed("The disk failed.", where="volume")))
    assert rig.index.get("durable") in (None, 0)
    rig.wait(61.0)
    assert rig.has(SyncVolumeTask)


def test_while_something_in_doubt_cannot_be_looked_at_nothing_is_synced_and_nobody_spins() -> None:
    rig = synced_rig()
    rig.wait(30.0)
    rig.state.unseen_doubts = {rig.nid(NODE_A)}
    rig.wait(31.0)
    assert not rig.has(SyncVolumeTask)
    assert rig.engine.next_wake_s() > rig.now_s + 1.0
