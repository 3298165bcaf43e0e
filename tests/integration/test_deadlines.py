"""Requests that come too slowly are cut, others are not. The deadlines are shortened; nothing is timed here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import uvicorn

from satchel.server.gateway.deadlines import WatchedProtocol, watch
from satchel.server.gateway.raw import Receive, Scope, Send, read_body, respond
from satchel.server.settings import Deadlines

SHORT = Deadlines(header_s=0.3, body_grace_s=0.3, body_bytes_per_s_min=1024)
LONG = replace(SHORT, header_s=60.0, body_grace_s=60.0)
WAIT_S = 30.0


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        with contextlib.suppress(Exception):
            body = await read_body(scope, receive, limit="test", maximum=1 << 20)
            await respond(send, 200, [], [b"%d" % len(body)])


@contextlib.asynccontextmanager
async def listening(deadlines: Deadlines, *, connections: int | None = None) -> AsyncIterator[int]:
    config = uvicorn.Config(
        app,
        port=0,
        http=WatchedProtocol,
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        limit_concurrency=connections,
    )
    server = uvicorn.Server(config)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch(server.server_state.connections, deadlines))
        yield server.servers[0].sockets[0].getsockname()[1]
        watching.cancel()
    await server.shutdown()


async def answer_to(port: int, *pieces: bytes) -> bytes:
    """Send the pieces, keep the connection open, and return all that comes until the other side closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), WAIT_S)
    finally:
        writer.close()


def cut_answer(*pieces: bytes) -> bytes:
    async def main() -> bytes:
        async with listening(SHORT) as port:
            return await answer_to(port, *pieces)

    return asyncio.run(main())


def test_a_connection_that_says_nothing_is_cut() -> None:
    assert b"408" in cut_answer()


def test_a_header_that_does_not_end_is_cut() -> None:
    assert b"408" in cut_answer(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")


def test_a_body_that_does_not_come_is_cut() -> None:
    answer = cut_answer(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", b"ten bytes!")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"phase":"body"' in answer


def test_a_second_request_on_a_connection_has_the_same_deadline() -> None:
    answer = cut_answer(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok", b"GET / HTTP/1.1\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answer


def test_a_header_without_end_is_cut_by_its_length() -> None:
    async def main() -> bytes:
        async with listening(LONG) as port:
            return await answer_to(port, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Long: y\r\n" * 10_000)

    assert b"408" in asyncio.run(main())


def test_a_request_that_comes_in_time_is_answered_after_any_number_of_looks() -> None:
    async def main() -> bytes:
        async with listening(SHORT) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4096\r\n\r\n")
            for _ in range(4):
                writer.write(bytes(1024))
                await writer.drain()
            answer = await asyncio.wait_for(reader.readuntil(b"4096"), WAIT_S)
            writer.close()
            return answer

    assert asyncio.run(main()).startswith(b"HTTP/1.1 200")


UPGRADE = (
    b"GET /stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.mark.parametrize("asked", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", UPGRADE], ids=["request", "stream"])
def test_a_connection_that_is_one_too_many_is_told_when_to_come_again(asked: bytes) -> None:
    async def main() -> tuple[bytes, bytes]:
        async with listening(LONG, connections=1) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            answers = []
            for _ in range(2):
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                answers.append(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n0"), WAIT_S))
                refused = await answer_to(port, asked)
            writer.close()
            return answers[-1], refused

    first, refused = asyncio.run(main())
    # Who was let in stays in, however many came after.
    assert first.startswith(b"HTTP/1.1 200")
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 30" in refused
    assert b'"code":"unavailable"' in refused
