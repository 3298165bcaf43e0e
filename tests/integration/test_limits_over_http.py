"""Limits on real requests to a real service; who waits is told by a clock that only the waits move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from satchel.core.hashing import block_hash
from satchel.core.ids import LinkId, NamespaceId, Tag
from satchel.core.limits import KIB, MIB
from satchel.core.messages import ChangesRequest, CommitRequest, Position, Stored
from satchel.device import wire_http
from satchel.device.pace import BURST_S, Pace
from satchel.device.remote import HttpRemote
from satchel.device.wire_blocks import shut, wire
from tests.contract.test_remote import create
from tests.support.files import noise
from tests.support.server import RunningServer, Session
from tests.support.still_clock import StillClock

RATE = 64 * KIB
LINK, OTHER_LINK = LinkId(b"L" * 16), LinkId(b"M" * 16)
Work = Callable[[HttpRemote, NamespaceId], Awaitable[None]]


@pytest.fixture
def session(server: RunningServer, request: pytest.FixtureRequest) -> Session:
    return server.add_user(f"user{abs(hash(request.node.name)) % 10**9}").sign_in("laptop")


class RecordingClock(StillClock):
    """Waiting takes no time, and is written down; others have their turn meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_s = 0.0

    async def sleep_s(self, seconds: float) -> None:
        self.waited_s += seconds
        await super().sleep_s(seconds)
        await asyncio.sleep(0)


def waited(session: Session, work: Work, *, up: int = 0, down: int = 0) -> float:
    """Return how long the work waited for its turn."""
    clock = RecordingClock()

    async def main() -> None:
        remote = HttpRemote(session.url, session.token, clock=clock, pace=Pace(clock, up=up, down=down))
        try:
            await work(remote, (await remote.namespaces()).namespaces[0].ns)
        finally:
            await remote.close()

    asyncio.run(main())
    return clock.waited_s


def expected_s(size: int) -> float:
    return size / RATE - BURST_S


BLOCKS = [noise(3 * MIB, seed=1), noise(2 * MIB, seed=2), noise(10 * KIB, seed=3)]
SIZE = sum(map(len, BLOCKS))


async def put(remote: HttpRemote, ns: NamespaceId) -> None:
    stored = await remote.put_blocks(ns, [shut(block_hash(data), data) for data in BLOCKS])
    assert stored == tuple(block_hash(data) for data in BLOCKS)


async def get(remote: HttpRemote, ns: NamespaceId) -> None:
    found = await remote.get_blocks(ns, [block_hash(data) for data in BLOCKS])
    assert [found[block_hash(data)] for data in BLOCKS] == BLOCKS


async def commit(remote: HttpRemote, ns: NamespaceId) -> None:
    data = noise(200 * KIB, seed=4)
    request = CommitRequest(ns, LINK, (create(1, "name", data),), (wire(shut(block_hash(data), data)),))
    reply = await remote.commit(request, [data])
    assert isinstance(reply.outcomes[0], Stored)


def test_blocks_arrive_whole_and_wait_as_long_as_the_limit_says(session: Session) -> None:
    assert waited(session, put, up=RATE) == pytest.approx(expected_s(SIZE), rel=0.01)
    assert waited(session, get, down=RATE) == pytest.approx(expected_s(SIZE), rel=0.01)


def test_blocks_are_asked_for_one_by_one_under_a_small_limit(server: RunningServer, session: Session) -> None:
    admin = server.add_user("admin", is_admin=True).sign_in()

    def requests() -> int:
        return server.counters(admin)["satchel_requests_total"].get("POST /sync/v1/blocks/get", 0)

    waited(session, put)
    counts = []
    for rate in (0, RATE, 100 * MIB):
        before = requests()
        waited(session, get, down=rate)
        counts.append(requests() - before)
    assert counts == [1, len(BLOCKS), 1]


def test_a_limit_of_one_direction_leaves_the_other_alone(session: Session) -> None:
    assert waited(session, put, down=RATE) == 0
    assert waited(session, get, up=RATE) == 0


def test_a_commit_with_its_files_keeps_to_the_limit(session: Session) -> None:
    assert waited(session, commit, up=RATE) == pytest.approx(expected_s(200 * KIB), rel=0.05)


def test_a_page_with_small_files_keeps_to_the_limit(session: Session) -> None:
    async def work(remote: HttpRemote, ns: NamespaceId) -> None:
        files = {f"{number}": noise(30 * KIB, seed=10 + number) for number in range(20)}
        blocks = [shut(block_hash(data), data) for data in files.values()]
        ops = tuple(create(10 + number, name, data) for number, (name, data) in enumerate(files.items()))
        await remote.commit(CommitRequest(ns, LINK, ops, tuple(map(wire, blocks))), [block.body for block in blocks])
        _, contents = await remote.changes(ChangesRequest(Position(ns, 0, Tag(b"")), OTHER_LINK))
        assert set(contents.values()) == set(files.values())

    assert waited(session, work, down=RATE) == pytest.approx(expected_s(600 * KIB), rel=0.05)


def test_puts_and_gets_of_many_end_all(session: Session) -> None:
    async def work(remote: HttpRemote, ns: NamespaceId) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(put(remote, ns))
            group.create_task(commit(remote, ns))
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(get(remote, ns))

    assert waited(session, work, up=RATE, down=RATE) > expected_s(4 * SIZE)


class SlowClock(RecordingClock):
    """Waiting takes a twentieth of its time."""

    async def sleep_s(self, seconds: float) -> None:
        await super().sleep_s(seconds)
        await asyncio.sleep(seconds / 20)


def test_a_request_that_waits_for_its_turn_is_not_late(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    # Less time than the waits take: the request is in time only because they do not count.
    monkeypatch.setattr(wire_http, "ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(wire_http, "BYTES_PER_S_MIN", 1 << 40)
    clock = SlowClock()

    async def main() -> None:
        remote = HttpRemote(session.url, session.token, clock=clock, pace=Pace(clock, up=256 * KIB, down=256 * KIB))
        try:
            ns = (await remote.namespaces()).namespaces[0].ns
            await put(remote, ns)
            await get(remote, ns)
        finally:
            await remote.close()

    asyncio.run(main())
    assert clock.waited_s / 20 > 2 * 0.5
