"""Cuts requests that come too slowly, and those on connections that are too many. Invariant: no connection holds a
place for long without giving a whole request.

uvicorn has no deadline for headers or bodies, so its connection notes when each phase began and how much came, which
costs a request nothing, and one watch looks at all connections once a second. A body counts as slow only while we are
ready to read it. Source: docs/design/050 (limits), 060 (7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from satchel.core.limits import KIB
from satchel.server.gateway.counters import Counters
from satchel.server.gateway.raw import Receive, Scope, Send
from satchel.server.settings import Deadlines

LOOK_S = 1.0
HEADER_BYTES_MAX = 64 * KIB
_IDLE, _HEADER, _BODY = 0, 1, 2
_CUT = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%s"
)
_BODY_TEXT = (
    b'{"error":{"code":"request_timed_out","message":"The request came too slowly.",'
    b'"hint":"Check the network between this device and the server.","fields":{"phase":"%s"},"id":""}}'
)
_FULL_TEXT = (
    b'{"error":{"code":"unavailable","message":"The server has no room for more connections.",'
    b'"hint":"Satchel tries again by itself.","fields":{},"id":""}}'
)
_FRAGMENT_TEXT = (
    b'{"error":{"code":"message_invalid","message":"The address holds a \'#\'.",'
    b'"hint":"Write a \'#\' in a name as %23.","fields":{"reason":"fragment"},"id":""}}'
)
_FULL_HEADERS = [
    (b"content-type", b"application/json"),
    (b"retry-after", b"30"),
    (b"connection", b"close"),
    (b"content-length", b"%d" % len(_FULL_TEXT)),
]
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    + b"".join(b"%s: %s\r\n" % header for header in _FULL_HEADERS)
    + b"\r\n"
    + _FULL_TEXT
)


class WatchedProtocol(HttpToolsProtocol):
    """uvicorn's connection that knows since when it waits for what."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.counters: Counters | None = None
        self._phase = _HEADER
        self._since = self.loop.time()
        self._came = 0
        self._head = 0
        # uvicorn's own answer past the limit says nothing of when to come again, and none goes to streams.
        self._connections_max, self.limit_concurrency = self.limit_concurrency, None
        self._is_admitted = False

    def data_received(self, data: bytes) -> None:
        """Bytes came; a header that does not end within 64 KiB is cut."""
        super().data_received(data)
        if self._phase == _HEADER:
            self._head += len(data)
            if self._head > HEADER_BYTES_MAX:
                self.cut("header")

    def on_message_begin(self) -> None:
        """A request's first byte came."""
        super().on_message_begin()
        self._phase = _HEADER
        self._since = self.loop.time()

    def handle_websocket_upgrade(self) -> None:
        """A stream begins, unless this connection is one too many."""
        if self._is_too_many():
            self.transport.write(_FULL)
            self.transport.close()
        else:
            super().handle_websocket_upgrade()

    def on_headers_complete(self) -> None:
        """The header is whole; the body's time begins."""
        if self._is_too_many():
            self.app = _answer_full
        self._head = 0
        self._phase = _BODY
        self._since = self.loop.time()
        self._came = 0
        app = self.app
        if b"#" in self.url:
            self.app = _answer_fragment
        super().on_headers_complete()
        self.app = app

    def on_body(self, body: bytes) -> None:
        """A part of the body came."""
        self._came += len(body)
        if self.counters is not None:
            self.counters.received_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._phase = _IDLE
        super().on_message_complete()

    def _is_too_many(self) -> bool:
        """Tell whether there are too many connections; one that was let in stays in."""
        is_full = self._connections_max is not None and len(self.connections) > self._connections_max
        self._is_admitted = self._is_admitted or not is_full
        return not self._is_admitted

    def late(self, now: float, deadlines: Deadlines) -> str:
        """Return the phase that is too slow, or an empty text. now: the loop's time."""
        waited = now - self._since
        if self._phase == _HEADER and waited > deadlines.header_s:
            return "header"
        if self._phase != _BODY or waited <= deadlines.body_grace_s:
            return ""
        if self.flow is not None and self.flow.read_paused:
            # We are the slow one: what waits in the kernel is not counted against the sender.
            self._since, self._came = now, 0
            return ""
        if self._came < waited * deadlines.body_bytes_per_s_min:
            return "body"
        self._since, self._came = now, 0
        return ""

    def cut(self, phase: str) -> None:
        """Answer 408 where an answer can still be given, and close."""
        if self.transport is None or self.transport.is_closing():
            return
        if self.counters is not None:
            self.counters.cut[phase] += 1
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            text = _BODY_TEXT % phase.encode()
            self.transport.write(_CUT % (len(text), text))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


async def _answer_full(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 503, "headers": _FULL_HEADERS})
    await send({"type": "http.response.body", "body": _FULL_TEXT})


async def _answer_fragment(scope: Scope, receive: Receive, send: Send) -> None:
    # Cut off, as the parser does, `DELETE /folder/#old` would delete the folder. From RFC 9112 3.2: it has no fragment.
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_FRAGMENT_TEXT))]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": _FRAGMENT_TEXT})


async def watch(connections: Iterable[object], deadlines: Deadlines) -> None:
    """Cut slow connections until cancelled. connections: the server's own live set."""
    loop = asyncio.get_running_loop()
    look_s = min(LOOK_S, deadlines.header_s / 4)
    while True:
        await asyncio.sleep(look_s)
        now = loop.time()
        for connection in list(connections):
            if isinstance(connection, WatchedProtocol):
                phase = connection.late(now, deadlines)
                if phase:
                    connection.cut(phase)
