"""One kept HTTP/1.1 connection of the load generator. Invariant: one request at a time; every answer is read whole.

No client library stands between: the generator has one core and must cost less than what it asks.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

CONNECT_TIMEOUT_S = 30.0


class Cut(Exception):
    """The connection ended before the answer did."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. body: only where it was asked for; size: bytes of the body; retry_after: the header's text."""

    status: int
    size: int
    body: bytes
    retry_after: str


class Line(asyncio.Protocol):
    """A connection that asks and waits."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Reply] | None = None
        self._size = 0
        self._kept: list[bytes] | None = None
        self._retry_after = ""

    @staticmethod
    async def open(url: str, *, source: str = "127.0.0.1") -> Line:
        """Connect to the service, from a loopback address of our own."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, line = await loop.create_connection(Line, *address(url), local_addr=(source, 0))
        return line

    async def ask(self, raw: bytes, *, with_body: bool = False) -> Reply:
        """Send a whole request and return its answer. Raises: Cut."""
        self._kept = [] if with_body else None
        return await self.send(raw)

    def send(self, raw: bytes) -> asyncio.Future[Reply]:
        """Send a whole request; return what its answer will be in. Raises: Cut."""
        if self._transport is None or self._transport.is_closing():
            raise Cut
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(raw)
        return self._waiting

    def close(self) -> None:
        """End the connection; an answer that is still to come is let go."""
        self._waiting = None
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # The faster loop's own class has no common ancestor with this one.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Cut())

    def on_message_begin(self) -> None:
        """The parser's word for an answer's first byte."""
        self._size, self._retry_after = 0, ""

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser's word for a header."""
        if name.lower() == b"retry-after":
            self._retry_after = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """The parser's word for a part of the body."""
        self._size += len(body)
        if self._kept is not None:
            self._kept.append(body)

    def on_message_complete(self) -> None:
        """The parser's word for the answer's end."""
        reply = Reply(self._parser.get_status_code(), self._size, b"".join(self._kept or ()), self._retry_after)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(reply)


def address(url: str) -> tuple[str, int]:
    """Return host and port of a URL that names both."""
    where = urlsplit(url)
    assert where.hostname is not None and where.port is not None
    return where.hostname, where.port


def request(method: str, path: str, *, token: str = "", body: bytes = b"", media: str = "application/json") -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "host: load", f"content-length: {len(body)}"]
    if body:
        lines.append(f"content-type: {media}")
    if token:
        lines.append(f"authorization: Bearer {token}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
