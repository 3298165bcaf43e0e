"""When the volume is synced, and what that is noted for; what a power cut takes is tested on disks that forget."""

from __future__ import annotations

from satchel.core.entries import Action
from satchel.core.errors import StorageFailed
from satchel.device.engine.power_cuts import doubt_all
from satchel.device.tasks import ApplyTask, CommitTask, ScanTask, SeenGone, SyncVolumeTask, VolumeSynced
from tests.support.engine_rig import NODE_A, NODE_B, Rig, entry, new, pushed


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


def test_what_a_look_could_not_tell_stays_in_doubt_until_another_does() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"two"))
    doubt_all(rig.state)
    rig.step(pushed(2, entry(3, NODE_A, "a.txt", b"one", action=Action.ATTR, is_executable=True)))
    assert rig.has(ApplyTask)
    gone = [SeenGone(nid, rig.index.reader.local(nid).version) for nid in (rig.nid(NODE_A), rig.nid(NODE_B))]
    rig.scan(*gone, is_full=True)
    assert rig.index.row(rig.nid(NODE_A)).local is not None, "it is in flight, so this look tells nothing of it"
    rig.apply()
    rig.wait(11.0)
    assert rig.has(ScanTask), "all is looked at once more"
    row = rig.index.reader.local(rig.nid(NODE_A))
    rig.scan(SeenGone(rig.nid(NODE_A), row.version), is_full=True)
    rig.wait(60.0)
    assert rig.index.row(rig.nid(NODE_A)).synced is None
    assert not rig.has(CommitTask), "neither counts as deleted"
