"""Five hundred streams wait: what they cost the database, while nothing happens and when something does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from satchel.core.ids import LinkId, NamespaceId, Tag
from satchel.core.messages import Hello, Ping, Position, Pushed, StreamFrame, Welcome, decode_frame, encode_frame
from satchel.server.accounts.service import authenticate, register_device, revoke_device
from satchel.server.accounts.standing import Standings
from satchel.server.feed.shared import GROUP_MAX, SharedPages
from satchel.server.gateway import stream
from satchel.server.gateway.identity import Identity
from satchel.server.gateway.raw import Message
from satchel.server.gateway.services import Services
from satchel.server.notify import waiters
from tests.support.memory_service import open_service
from tests.support.recording import RecordingDatabase
from tests.support.writers import Writer

STREAMS = 500
WAIT_S = 60.0


class Device:
    """The other end of a stream. frames: those that came and were not taken."""

    def __init__(self, services: Services, token: str, hello: Hello) -> None:
        self.frames: asyncio.Queue[StreamFrame] = asyncio.Queue()
        self.code = 0
        self.ended = asyncio.Event()
        self._services, self._token = services, token
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._said.put_nowait({"type": "websocket.connect"})
        self._said.put_nowait({"type": "websocket.receive", "bytes": b"".join(encode_frame(hello))})

    async def run(self) -> None:
        headers = [(b"authorization", b"Bearer " + self._token.encode())]
        scope = {"type": "websocket", "path": "/sync/v1/stream", "headers": headers}
        await stream.serve_stream(self._services, scope, self._said.get, self._send)
        self.ended.set()

    def leave(self) -> None:
        self._said.put_nowait({"type": "websocket.disconnect"})

    async def next(self) -> StreamFrame:
        return await asyncio.wait_for(self.frames.get(), WAIT_S)

    async def _send(self, message: Message) -> None:
        if message["type"] == "websocket.send":
            self.frames.put_nowait(decode_frame(message["bytes"], StreamFrame)[0])
        self.code = message.get("code", self.code)


@dataclass(frozen=True, slots=True)
class World:
    """A service in memory and the devices that are connected to it."""

    services: Services
    db: RecordingDatabase
    writer: Writer
    devices: list[Device]


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[World]:
    made = await open_service()
    first, clock = made.services, made.services.clock
    db = RecordingDatabase(first.db)
    services = replace(
        first,
        db=db,
        identity=Identity(db, clock),
        pages=SharedPages(db, first.blocks),
        standings=Standings(db, clock),
    )
    account = await authenticate(db, made.token)
    tokens = [
        (await register_device(db, clock, account_id=account.account_id, name=f"device {number}"))[0]
        for number in range(4)
    ]
    place = Position(NamespaceId(made.ns), 0, Tag(b""))
    devices = [
        Device(services, tokens[number % 4], Hello(1, b"", LinkId(number.to_bytes(16, "big")), 1, (place,)))
        for number in range(STREAMS)
    ]
    async with asyncio.TaskGroup() as group:
        for device in devices:
            group.create_task(device.run())
        for device in devices:
            assert isinstance(await device.next(), Welcome)
        yield World(services, db, Writer(db, clock, account), devices)
        for device in devices:
            device.leave()


@pytest.fixture(autouse=True)
def many_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters, "STREAMS_PER_ACCOUNT_MAX", STREAMS)


def test_a_waiting_stream_asks_the_database_nothing() -> None:
    async def main() -> None:
        async with connected() as world:
            await settled(world)
            world.db.statements.clear()
            # Each stream is woken and looks at its positions; none of it is news.
            await world.services.bus.publish(NamespaceId(world.writer.ns), 0)
            await world.services.bus.publish(NamespaceId(b"x" * 16), 99)
            await settled(world)
            assert world.db.statements == []

    asyncio.run(main())


def test_streams_that_are_looked_after_together_cost_a_few_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PING_S", 0.2)
    monkeypatch.setattr(stream, "RECHECK_S", 0.3)

    async def main() -> None:
        async with connected() as world:
            world.db.statements.clear()
            for device in world.devices:
                for _ in range(3):
                    assert isinstance(await device.next(), Ping)
            # Each was pinged three times and so checked at least once.
            assert 0 < len(world.db.statements) < STREAMS // 2

    asyncio.run(main())


def test_a_change_is_looked_up_for_all_at_once() -> None:
    async def main() -> None:
        async with connected() as world:
            await settled(world)
            seq = await commit(world)
            world.db.statements.clear()
            await world.services.bus.publish(NamespaceId(world.writer.ns), seq)
            for device in world.devices:
                told = await device.next()
                assert isinstance(told, Pushed)
                assert [entry.name for entry in told.changes.entries] == ["note"]
            groups = -(-STREAMS // GROUP_MAX) + 1
            assert len(world.db.statements) <= 8 * groups

    asyncio.run(main())


def test_all_streams_of_a_revoked_device_end_and_no_others() -> None:
    async def main() -> None:
        async with connected() as world:
            lost = await authenticate(world.db, world.devices[0]._token)
            await revoke_device(world.db, world.services.clock, lost, lost.device_id)
            world.services.waiters.doubt(lost.account_id)
            for device in world.devices[::4]:
                await asyncio.wait_for(device.ended.wait(), WAIT_S)
            await settled(world)
            codes = [device.code for device in world.devices]
            assert codes == [stream.CLOSE_REVOKED if number % 4 == 0 else 0 for number in range(STREAMS)]

    asyncio.run(main())


async def commit(world: World) -> int:
    """Make a folder and return where the journal is then; nobody is told of it."""
    await world.writer.folder("note")
    rows = await world.db.read(
        lambda conn: conn.fetch("SELECT head_seq FROM namespaces WHERE ns = $1", world.writer.ns)
    )
    return int(rows[0][0])


async def settled(world: World) -> None:
    """Return once nothing asks the database any more."""
    quiet = 0
    while quiet < 50:
        count = len(world.db.statements)
        await asyncio.sleep(0)
        quiet = quiet + 1 if len(world.db.statements) == count else 0
