"""At first contact the remote tree comes before the first scan, unless the service is out of reach."""

from __future__ import annotations

from satchel.core.errors import Unavailable
from satchel.core.ids import DeviceId, LinkId, NamespaceId
from satchel.device.engine import Engine, Now
from satchel.device.engine.state import LinkIdentity
from satchel.device.index.store import Index
from satchel.device.tasks import Reached, ReachTask, ScanTask
from tests.support.still_clock import StillClock


def an_engine() -> Engine:
    identity = LinkIdentity(LinkId(b"l" * 16), DeviceId(b"d" * 16), "Laptop", NamespaceId(b"n" * 16))
    return Engine(Index(":memory:"), identity, StillClock())


def test_the_first_scan_waits_for_the_remote_tree() -> None:
    tasks = an_engine().step([], Now(0.0, 0))

    assert [type(task) for task in tasks] == [ReachTask]


def test_a_service_out_of_reach_does_not_hold_the_first_scan() -> None:
    engine = an_engine()
    engine.step([], Now(0.0, 0))

    tasks = engine.step([Reached(None, Unavailable("down", where="test"))], Now(1.0, 0))

    assert any(isinstance(task, ScanTask) for task in tasks)
