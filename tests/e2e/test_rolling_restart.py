"""Two gateways behind a balancer are restarted one after the other while a device commits and another one listens:
no request fails that the device's own rules do not send again, and nothing is lost or done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from satchel.core.entries import Kind
from satchel.core.errors import Fault
from satchel.core.hashing import block_hash
from satchel.core.ids import ROOT_NODE, LinkId, NamespaceId, NodeId, OpId, Tag
from satchel.core.messages import ChangesRequest, CommitRequest, CreateOp, Hello, Position, Pushed, Stored
from satchel.device.clock import MachineClock
from satchel.device.remote import HttpRemote
from satchel.device.wire_blocks import shut, wire
from tests.support.balancer import Balancer, balancing
from tests.support.postgres import PostgresServer
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.server import RunningServer, Session, ask
from tests.support.wire import content_of

WRITER, READER = LinkId(b"W" * 16), LinkId(b"R" * 16)
DRAIN_WAIT_S = 1.0
ROUND_FILES = 10
"""So many files are committed before and after each step of the restarts."""
RETRIES_MAX = 50
FRAME_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Told:
    """What the devices saw. faults: of requests that were sent again."""

    committed: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    streams: int = 0


@pytest.fixture(scope="module")
def gateways(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, s3_server: S3Server
) -> Iterator[list[RunningServer]]:
    folder = tmp_path_factory.mktemp("rolling")
    environment = {
        "SATCHEL_DATABASE_URL": postgres_server.create("rolling"),
        "SATCHEL_BLOCKS_URL": s3_server.url("rolling"),
        "SATCHEL_DRAIN_WAIT_S": str(DRAIN_WAIT_S),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }
    made = [RunningServer(folder / name, ("--roles", "gateway"), environment) for name in ("one", "other")]
    try:
        for each in made:
            each.start()
        yield made
    finally:
        for each in made:
            each.stop()


async def sent_again(told: Told, work, *arguments):  # type: ignore[no-untyped-def]
    """Return what the call returns, by the device's rules: a fault that says so is tried again, with a pause."""
    for attempt in range(RETRIES_MAX):
        try:
            return await work(*arguments)
        except Fault as fault:
            told.faults.append(str(fault))
            assert fault.retryable, fault
            await asyncio.sleep(0.05 * min(attempt, 10))
    raise AssertionError(f"it is never answered: {told.faults[-3:]}")


async def commit_some(remote: HttpRemote, ns: NamespaceId, told: Told, count: int) -> None:
    for number in range(len(told.committed), len(told.committed) + count):
        data = b"content %d" % number
        name, ids = f"file {number}", block_hash(data)[:16]
        op = CreateOp(OpId(ids), NodeId(ids), ROOT_NODE, name, int(Kind.FILE), content_of(data))
        block = shut(block_hash(data), data)
        request = CommitRequest(ns, WRITER, (op,), (wire(block),))
        reply = await sent_again(told, remote.commit, request, [block.body])
        assert isinstance(reply.outcomes[0], Stored), reply
        told.committed.append(name)


async def listen_forever(remote: HttpRemote, session: Session, told: Told, opened: asyncio.Event) -> None:
    """Hold a stream; open it anew whenever it is closed, as a device does."""
    ns = NamespaceId(session.root_ns)
    run = 0
    while True:
        run += 1
        with contextlib.suppress(Fault):
            await remote.open_stream(Hello(1, b"", READER, run, (Position(ns, 0, Tag(b"")),)))
            while (frame := await remote.next_frame(FRAME_TIMEOUT_S)) is not None:
                if not isinstance(frame[0], Pushed) and not opened.is_set():
                    told.streams += 1
                    opened.set()
        await asyncio.sleep(0.05)


async def restart(gateway: RunningServer, busy) -> None:  # type: ignore[no-untyped-def]
    """Stop the gateway and start it again while `busy` goes on; its readiness says no before it stops answering."""
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(asyncio.to_thread(gateway.stop))
        while not stopping.done():
            await busy()
    assert stopping.result() == 0
    await busy()
    await asyncio.to_thread(gateway.start)


async def scenario(gateways: list[RunningServer], session: Session, balancer: Balancer) -> Told:
    told, opened = Told(), asyncio.Event()
    clock = MachineClock()
    writer = HttpRemote(balancer.url, session.token, clock=clock)
    reader = HttpRemote(balancer.url, session.token, clock=clock)
    ns = NamespaceId(session.root_ns)

    async def busy() -> None:
        await commit_some(writer, ns, told, ROUND_FILES)

    try:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen_forever(reader, session, told, opened))
            async with asyncio.timeout(FRAME_TIMEOUT_S):
                await opened.wait()
            for gateway in gateways:
                opened.clear()
                await restart(gateway, busy)
                await busy()
            # Its gateway went down once: it has a stream again.
            async with asyncio.timeout(FRAME_TIMEOUT_S):
                await opened.wait()
            listening.cancel()
        page, _ = await writer.changes(ChangesRequest(Position(ns, 0, Tag(b"")), READER))
        assert [entry.name for entry in page.entries] == told.committed
    finally:
        await writer.close()
        await reader.close()
    return told


def test_a_rolling_restart_is_noticed_by_no_device(gateways: list[RunningServer]) -> None:
    user = gateways[0].add_user("ann")
    session = user.sign_in("laptop")

    async def main() -> None:
        async with balancing(gateways) as balancer:
            told = await scenario(gateways, session, balancer)
            assert len(told.committed) >= 6 * ROUND_FILES
            assert told.streams >= 2
            assert balancer.refused == 0
            assert set(balancer.handed) == {0, 1}

    asyncio.run(main())


def test_a_draining_gateway_says_so_first_and_still_answers(gateways: list[RunningServer]) -> None:
    gateway = gateways[0]
    session = gateway.add_user("ben").sign_in("laptop")
    process = gateway.process
    assert process is not None
    process.terminate()
    answer = ask(gateway.url, "GET", "/ready")
    while answer.status == 200:
        answer = ask(gateway.url, "GET", "/ready")
    assert answer.json()["not_ready"] == ["draining"]
    told = session.ask("GET", "/api/v1/account")
    assert (told.status, told.headers["connection"]) == (200, "close")
    assert ask(gateway.url, "GET", "/health").status == 200
    # A second signal ends the wait; what was begun ends in order all the same.
    assert gateway.stop() == 0
    gateway.start()
