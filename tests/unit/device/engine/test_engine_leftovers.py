"""A task of the disk that failed may have left something in staging, which is not gone."""

from __future__ import annotations

from satchel.core.errors import StorageFailed
from satchel.device.ports import DiskPath
from satchel.device.tasks import ApplyTask, Failed, ScanTask, SettleTask, StagingSettled
from tests.support.engine_rig import NODE_A, NODE_B, Rig, entry, pushed

REFUSED = StorageFailed("refused", where="test")


def failed() -> Rig:
    """Return a link of which one batch failed, with another file that waits to be placed."""
    rig = Rig()
    rig.start()
    rig.step(pushed(0, entry(1, NODE_A, "a.txt", b"one"), contents=[b"one"]))
    rig.apply(Failed(REFUSED))
    rig.step(pushed(1, entry(2, NODE_B, "b.txt", b"two"), contents=[b"two"]))
    return rig


def test_staging_is_settled_before_anything_is_placed_or_looked_at() -> None:
    rig = failed()
    rig.state.look_again(DiskPath(b"a.txt"))
    rig.wait(1.0)
    rig.take(SettleTask)
    assert not rig.has(ApplyTask) and not rig.has(ScanTask) and not rig.engine.is_idle
    rig.step(StagingSettled((DiskPath(b"back.txt"),)))
    assert rig.has(ApplyTask) and b"back.txt" in (rig.take(ScanTask).hints[0].names or ())


def test_a_disk_that_refuses_is_asked_again_less_and_less_often() -> None:
    rig = failed()
    waits: list[float] = []
    for _ in range(9):
        begun_s = rig.now_s
        while not rig.has(SettleTask):
            rig.wait(max(rig.engine.next_wake_s() - rig.now_s, 0.01))
        waits.append(rig.now_s - begun_s)
        rig.take(SettleTask)
        rig.step(StagingSettled((), REFUSED))
        assert not rig.has(ApplyTask)
    assert waits[1] >= 1.0 and waits == sorted(waits) and waits[-1] <= 61.0
