"""What stands in a folder that is not on the disk would never be missed, so nothing is noted there."""

from __future__ import annotations

from satchel.device.tasks import ApplyResult, ApplyTask, Changed, PlaceFile, PlaceFolder, ScanTask
from tests.support.engine_rig import NODE_A, NODE_B, Rig, done, entry, folder, pushed


def test_a_file_is_not_noted_in_a_folder_that_could_not_be_made() -> None:
    rig = Rig()
    rig.start()
    rig.step(pushed(0, folder(1, NODE_A, "d"), entry(2, NODE_B, "f", b"one", parent=NODE_A), contents=[b"one"]))
    task = rig.take(ApplyTask)
    made, placed = task.tasks
    assert isinstance(made, PlaceFolder) and isinstance(placed, PlaceFile)
    rig.step(ApplyResult(task, (Changed((made.path,), "the name is taken"), done(placed, 500))))
    row = rig.index.row(rig.nid(NODE_B))
    assert row is not None and row.local is None and row.synced is None
    rig.wait(1.0)
    assert rig.has(ScanTask), "it stands somewhere, and is looked for"


def test_what_goes_into_a_folder_is_told_which_one_that_is() -> None:
    rig = Rig()
    rig.start()
    rig.step(pushed(0, folder(1, NODE_A, "d")))
    rig.apply(inode=77)
    rig.step(pushed(1, entry(2, NODE_B, "f", b"one", parent=NODE_A), contents=[b"one"]))
    (placed,) = rig.take(ApplyTask).tasks
    assert isinstance(placed, PlaceFile) and placed.home is not None
    home = rig.index.reader.local(rig.nid(NODE_A))
    assert home is not None and placed.home == home.stat
