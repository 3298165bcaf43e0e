"""What a person leaves out, and a service that does not know of it."""

from __future__ import annotations

from satchel.core.errors import NotFound
from satchel.core.ids import Nid
from satchel.device.engine import excluding
from satchel.device.service_tasks import ScopeTask, ScopeTold
from satchel.device.tasks import ApplyTask, FetchTask, TrashUnit
from tests.support.engine_rig import NODE_A, NODE_B, NODE_D, Rig, entry, folder, new, new_folder, pushed


def left_out() -> tuple[Rig, Nid]:
    """A folder with a file is synced, then left out, and has left the disk."""
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_A, "a.txt", b"one", parent=NODE_D)],
        [new_folder(1, "d"), new(2, "a.txt", b"one", inside=1)],
    )
    excluding.exclude(rig.state, ["d"])
    rig.step()
    rig.scan()
    rig.wait(2.0)
    return rig, rig.nid(NODE_D)


def test_what_is_left_out_leaves_the_disk_as_one_unit_and_the_service_is_told() -> None:
    rig, nid = left_out()
    (task,) = rig.apply().tasks
    assert isinstance(task, TrashUnit) and task.nid == nid
    assert rig.take(ScopeTask).request.left_out == (NODE_D,)


def test_a_service_that_knows_no_scopes_is_told_once_and_what_it_sends_stays_out() -> None:
    rig, _ = left_out()
    rig.apply()
    rig.step(ScopeTold(rig.take(ScopeTask), NotFound("No such call.", path="scope")))

    rig.step(pushed(2, entry(3, NODE_B, "b.txt", b"two", parent=NODE_D), contents=[b"two"]))
    rig.wait(60.0)

    assert not rig.has(ApplyTask) and not rig.has(FetchTask)
    assert not rig.has(ScopeTask)
    assert not (rig.state.fresh or rig.state.busy or rig.state.waiting)
