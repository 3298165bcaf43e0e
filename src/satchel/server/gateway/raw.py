"""HTTP without a framework, for the routes that must cost little. Invariant: no body is read past its limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

from satchel.core.errors import Fault, LimitExceeded, MessageInvalid
from satchel.core.limits import KIB

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

JOINED_BYTES_MAX = 64 * KIB
"""Shorter answers go out in one write: a copy costs less than a call."""


class Disconnected(Exception):  # no fault: nobody is left to be answered
    """The other side went away while it was being read or written."""


async def read_body(scope: Scope, receive: Receive, *, limit: str, maximum: int) -> bytes:
    """Return the whole body. Raises: LimitExceeded naming `limit` (before reading, when the length is declared)."""
    declared = header(scope["headers"], b"content-length")
    if declared and (not declared.isdigit() or int(declared) > maximum):
        raise _too_long(limit, maximum, declared.decode("latin-1"))
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= maximum:
        return body
    parts, size = [body], len(body)
    while message.get("more_body", False):
        if size > maximum:
            break
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if size > maximum:
        raise _too_long(limit, maximum, size)
    return b"".join(parts)


async def respond(
    send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], pieces: Sequence[bytes | memoryview]
) -> None:
    """Send an answer that is whole in memory. The caller's headers hold no length."""
    size = sum(len(piece) for piece in pieces)
    start = {
        "type": "http.response.start",
        "status": status,
        "headers": [*headers, (b"content-length", b"%d" % size)],
    }
    await send(start)
    if size <= JOINED_BYTES_MAX:
        await send({"type": "http.response.body", "body": b"".join(pieces)})
        return
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    """Return a header's value, empty when it is missing. wanted: in lower case."""
    for name, value in headers:
        if name == wanted:
            return value
    return b""


def _too_long(limit: str, maximum: int, actual: object) -> Fault:
    if isinstance(actual, str) and not actual.isdigit():
        return MessageInvalid("The request's length is no number.", reason="content-length")
    return LimitExceeded("The request's body is too long.", limit=limit, maximum=maximum, actual=actual)
