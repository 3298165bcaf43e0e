"""Connections that are held: streams of devices and long-polls of programs, thousands in one process of the generator.

Each comes from one of several loopback addresses, so that ports do not run out; a stream answers the server's pings.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from bench.load.http_line import Cut, Line, address, request
from satchel.core.ids import LinkId, NamespaceId, Tag
from satchel.core.messages import Hello, Position, encode_frame

SOURCES = 64
OPENING = 128
"""So many connections are on their way at once."""
WELCOME_TIMEOUT_S = 300.0
_TEXT_END = b"\r\n\r\n"
_BINARY, _PING, _PONG, _CLOSE = 2, 9, 10, 8


@dataclass(frozen=True, slots=True)
class Follower:
    """Who holds a stream: a token, the link that it says, and where its namespace stands."""

    token: str
    link: bytes
    ns: bytes
    seq: int
    tag: bytes


class Stream(asyncio.Protocol):
    """One stream. heard: the loop's time of each frame that pushed something."""

    def __init__(self, head: bytes, hello: bytes) -> None:
        self.heard: list[float] = []
        self.frames = 0
        self.welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head, self._hello = head, hello
        self._is_open = False
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # The faster loop's own class has no common ancestor with this one.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        if not self._is_open:
            end = self._buffer.find(_TEXT_END)
            if end < 0:
                return
            if not self._buffer.startswith(b"HTTP/1.1 101"):
                self._fail()
                return
            del self._buffer[: end + len(_TEXT_END)]
            self._is_open = True
            self._write(_BINARY, self._hello)
        while self._take():
            pass

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._fail()

    async def heard_of(self, pushes: int) -> None:
        """Return once so many frames have pushed something."""
        while len(self.heard) < pushes:
            self._news.clear()
            await self._news.wait()

    def close(self) -> None:
        """End it without a word, as a device that is switched off does."""
        if self._transport is not None:
            self._transport.abort()

    def _fail(self) -> None:
        if not self.welcomed.done():
            self.welcomed.set_exception(Cut())

    def _take(self) -> bool:
        """Take one frame off the buffer, if a whole one is there."""
        if len(self._buffer) < 2:
            return False
        opcode, size, at = self._buffer[0] & 15, self._buffer[1] & 127, 2
        if size >= 126:
            at = 4 if size == 126 else 10
            size = int.from_bytes(self._buffer[2:at], "big")
        if len(self._buffer) < at + size:
            return False
        payload = bytes(self._buffer[at : at + size])
        del self._buffer[: at + size]
        if opcode == _PING:
            self._write(_PONG, payload)
        elif opcode == _CLOSE:
            self.close()
        elif opcode == _BINARY:
            self._heard(payload)
        return True

    def _heard(self, payload: bytes) -> None:
        self.frames += 1
        if not self.welcomed.done():
            self.welcomed.set_result(None)
        elif b"pushed" in payload[:64] or b"behind" in payload[:64]:
            self.heard.append(self._loop.time())
            self._news.set()

    def _write(self, opcode: int, payload: bytes) -> None:
        # A mask of zeros is allowed and leaves the bytes as they are.
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        assert self._transport is not None
        self._transport.write(bytes((0x80 | opcode,)) + length + bytes(4) + payload)


async def open_streams(url: str, followers: Sequence[Follower], *, path: str = "/sync/v1/stream") -> list[Stream]:
    """Open a stream for each and return once all were welcomed. Raises: Cut, TimeoutError."""
    loop, turns = asyncio.get_running_loop(), asyncio.Semaphore(OPENING)

    async def open_one(number: int, follower: Follower) -> Stream:
        async with turns, asyncio.timeout(WELCOME_TIMEOUT_S):
            hello = Hello(
                1, b"", LinkId(follower.link), 1, (Position(NamespaceId(follower.ns), follower.seq, Tag(follower.tag)),)
            )
            _, stream = await loop.create_connection(
                lambda: Stream(_handshake(path, follower.token), b"".join(encode_frame(hello))),
                *address(url),
                local_addr=(source(number), 0),
            )
            await stream.welcomed
            return stream

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(open_one(number, follower)) for number, follower in enumerate(followers)]
    return [task.result() for task in tasks]


async def open_longpolls(url: str, asked: Sequence[bytes], *, timeout_s: float) -> list[Line]:
    """Send a request on a connection of its own for each and leave it without waiting for the answer."""
    lines: list[Line] = []
    async with asyncio.timeout(timeout_s):
        for number, raw in enumerate(asked):
            line = await Line.open(url, source=source(number))
            line.send(raw)
            lines.append(line)
    return lines


def source(number: int) -> str:
    """Return a loopback address of our own, one of 64."""
    return f"127.0.0.{2 + number % SOURCES}"


def waiting_request(cursor: str, token: str) -> bytes:
    """Return a long-poll of the longest time that is allowed."""
    return request("GET", f"/sync/longpoll?cursor={cursor}&timeout=480", token=token)


async def news_of(streams: Sequence[Stream], rounds: int, *, timeout_s: float) -> None:
    """Return once each stream has heard so many pushes. Raises: TimeoutError."""
    async with asyncio.timeout(timeout_s):
        for stream in streams:
            await stream.heard_of(rounds)


def _handshake(path: str, token: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nhost: load\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\nauthorization: Bearer {token}\r\n\r\n"
    ).encode()
