"""What is to come back from the local trash after the service went back: told while the disk refuses it."""

from __future__ import annotations

from satchel.core.errors import StorageFailed
from satchel.device.engine.bringing_back import load_doubted
from satchel.device.index.left_trash import doubt_trash, put_trash
from satchel.device.links import Link
from satchel.device.ports import DiskPath
from satchel.device.reporting import describe, held_items, is_at_rest
from satchel.device.tasks import BringBackTask, BroughtBack
from tests.support.engine_rig import LINK, NODE_A, Rig

REFUSED = StorageFailed("The disk refused.", where="disk", reason="EIO")


def doubting(*names: str) -> Rig:
    """Return a link at rest that has these in its trash, to be compared again."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    for name in names:
        put_trash(rig.index, name, rig.nid(NODE_A), DiskPath(b"left/" + name.encode()))
    doubt_trash(rig.index, [rig.nid(NODE_A)])
    load_doubted(rig.state)
    return rig


def test_what_the_disk_refuses_to_take_back_is_told_with_its_reason_and_tried_again() -> None:
    rig = doubting("one")
    rig.step()
    task = rig.take(BringBackTask)
    assert not rig.engine.is_idle and not held_items(rig.engine)
    rig.step(BroughtBack(task, fault=REFUSED))
    (held,) = held_items(rig.engine)
    assert (held.path, held.code) == ("left/one", REFUSED.code) and held.next_try_ms > 0
    link = Link(LINK, "/tree", "/", "", "", "")
    assert describe(rig.engine, link, {}, "").state == "attention" and is_at_rest(rig.engine)
    assert not rig.engine.is_settled and not rig.has(BringBackTask)
    rig.wait(61.0)
    rig.step(BroughtBack(rig.take(BringBackTask)))
    assert not held_items(rig.engine) and rig.engine.is_settled


def test_what_is_refused_keeps_no_other_waiting_and_only_all_of_it_is_rest() -> None:
    rig = doubting("one", "two")
    rig.step()
    first = rig.take(BringBackTask)
    rig.step(BroughtBack(first, fault=REFUSED))
    assert not rig.engine.is_idle
    rig.wait(61.0)
    second = rig.take(BringBackTask)
    assert second.trashed != first.trashed
    rig.step(BroughtBack(second))
    assert [item.path for item in held_items(rig.engine)] == ["left/one"]
