"""The stream misses nothing that is told while it is pushing: the service in this process, stopped at that moment."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NODE, LinkId, NamespaceId, NodeId, OpId, Tag
from satchel.core.messages import (
    PROTOCOL_VERSION,
    CommitRequest,
    CreateOp,
    Hello,
    Position,
    Pushed,
    StreamFrame,
    decode_frame,
    encode_frame,
)
from satchel.server.adapters.bus_memory import MemoryBus
from satchel.server.gateway import stream
from satchel.server.gateway.device import DeviceApp
from satchel.server.gateway.raw import Message
from satchel.server.gateway.stream import serve_stream
from tests.support.memory_service import MemoryService, open_service

WAIT_S_MAX = 20.0


async def commit(service: MemoryService, number: int) -> None:
    """Make one folder."""
    node = bytes([number]) * 16
    op = CreateOp(OpId(node), NodeId(node), ROOT_NODE, f"{number}", int(Kind.FOLDER), None)
    request = CommitRequest(service.ns, LinkId(b"laptop"), (op,), ())
    status, _ = await service.ask("commit", b"".join(encode_frame(request)))
    assert status == 200


class Phone:
    """The other end of a stream. is_disturbed: while the next page goes out, another change is committed."""

    def __init__(self, service: MemoryService) -> None:
        self._service = service
        self.seqs: list[int] = []
        self.is_complete = asyncio.Event()
        self.has_begun = asyncio.Event()
        self.wanted = 0
        self.is_disturbed = False

    async def follow(self) -> None:
        hello = Hello(
            PROTOCOL_VERSION, b"", LinkId(b"phone"), 1, (Position(NamespaceId(self._service.ns), 0, Tag(b"")),)
        )
        said = [{"type": "websocket.connect"}, {"type": "websocket.receive", "bytes": b"".join(encode_frame(hello))}]

        async def receive() -> Message:
            if said:
                return said.pop(0)
            await asyncio.Event().wait()
            raise AssertionError

        headers = [(b"authorization", b"Bearer " + self._service.token.encode())]
        scope: Message = {"type": "websocket", "path": "/sync/v1/stream", "headers": headers}
        await serve_stream(self._service.services, scope, receive, self._send)

    async def _send(self, message: Message) -> None:
        if message["type"] != "websocket.send":
            return
        frame, _ = decode_frame(message["bytes"], StreamFrame)
        if not isinstance(frame, Pushed):
            return
        if self.is_disturbed:
            self.is_disturbed = False
            await commit(self._service, 2)
            # Whoever tells of it has told by now.
            await asyncio.sleep(0.1)
        self.seqs += [entry.seq for entry in frame.changes.entries]
        self.has_begun.set()
        if len(self.seqs) >= self.wanted:
            self.is_complete.set()


async def followed(service: MemoryService, phone: Phone) -> list[int]:
    """Follow until all that is wanted is there."""
    following = asyncio.create_task(phone.follow())
    try:
        async with asyncio.timeout(WAIT_S_MAX):
            await phone.is_complete.wait()
    finally:
        following.cancel()
    return phone.seqs


def test_what_is_committed_while_a_page_goes_out_is_pushed_next() -> None:
    async def main() -> None:
        service = await open_service()
        phone = Phone(service)
        phone.wanted, phone.is_disturbed = 2, True
        await commit(service, 1)
        assert await followed(service, phone) == [1, 2]

    asyncio.run(main())


def test_what_was_told_before_the_feed_shows_it_is_looked_for_again() -> None:
    """A reader may lag behind the commit that it was told of."""

    async def main() -> None:
        service = await open_service()
        phone = Phone(service)
        phone.wanted = 2
        await commit(service, 1)
        following = asyncio.create_task(followed(service, phone))
        async with asyncio.timeout(WAIT_S_MAX):
            await phone.has_begun.wait()
        await service.services.bus.publish(service.ns, 2)
        await asyncio.sleep(0.2)
        await commit(service, 2)
        assert await following == [1, 2]

    asyncio.run(main())


def test_what_nobody_tells_of_is_found_by_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another gateway took it, and Valkey, Kafka or the notifiers are gone."""
    monkeypatch.setattr(stream, "PING_S", 0.05)
    monkeypatch.setattr(stream, "RECHECK_S", 0.05)

    async def main() -> None:
        service = await open_service()
        elsewhere = dataclasses.replace(service, app=DeviceApp(dataclasses.replace(service.services, bus=MemoryBus())))
        phone = Phone(service)
        phone.wanted = 2
        await commit(service, 1)
        following = asyncio.create_task(followed(service, phone))
        async with asyncio.timeout(WAIT_S_MAX):
            await phone.has_begun.wait()
        await commit(elsewhere, 2)
        assert await following == [1, 2]

    asyncio.run(main())
