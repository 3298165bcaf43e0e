"""What waits is counted whole, though only the head of it is told."""

from __future__ import annotations

from satchel.device.engine.state import ALLOWED_DELETION
from satchel.device.links import Link
from satchel.device.reporting import describe
from satchel.device.status import HELD_SHOWN_MAX
from tests.support.engine_rig import LINK, NODE_A, Rig


def test_all_that_waits_is_counted_though_only_a_part_is_told() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    link = Link(LINK, "/tree", "/", "", "", "")
    for count in (3, HELD_SHOWN_MAX + 50):
        for number in range(count):
            rig.index.put_unread(b"%d" % number, "name_invalid", "no name", None)
        told = describe(rig.engine, link, {}, "")
        assert (told.held, len(told.held_items)) == (count, min(count, HELD_SHOWN_MAX))
    assert told.message.startswith(f"{HELD_SHOWN_MAX + 50} items cannot")
    rig.index.hold(rig.nid(NODE_A), "quota_exceeded", "no room", None)
    assert describe(rig.engine, link, {}, "").held == HELD_SHOWN_MAX + 51
    rig.index.hold(rig.nid(NODE_A), ALLOWED_DELETION, "", None)
    assert describe(rig.engine, link, {}, "").held == HELD_SHOWN_MAX + 50
