"""HTTP without a framework, for the routes that must cost little. Invariant: no body is read past its limit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

from satchel.core.errors import Fault, LimitExceeded, MessageInvalid, TooManyRequests, Unavailable
from satchel.core.ids import AccountId
from satchel.core.limits import KIB, MIB, REQUESTS_PER_ACCOUNT_MAX

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HELD = "satchel.held"
"""Where a request's scope has what is let go after its answer."""
JOINED_BYTES_MAX = 64 * KIB
"""Shorter answers, and runs of short pieces, go out in one write: a copy costs less than a call."""
SEND_TIMEOUT_S = 60.0
SENT_BYTES_MAX = 256 * KIB
"""Who does not take so much in that time is let go: 4 KiB a second are enough, whatever the length of the pieces."""
ALL_BODIES_BYTES_MAX = 512 * MIB
ACCOUNT_BODIES_BYTES_MAX = 128 * MIB
WORKING_MAX = 2 * REQUESTS_PER_ACCOUNT_MAX
"""What a process answers in about a tenth of a second: whoever is admitted does not wait longer for the others."""


class Disconnected(Exception):  # no fault: nobody is left to be answered
    """The other side went away while it was being read or written."""


class Room:
    """How much may be in memory, and in work, at once. Invariant: no account takes more than a quarter of the memory,
    or half of the work."""

    def __init__(self) -> None:
        self._taken = 0
        self._of_account: Counter[AccountId] = Counter()
        self._working = 0
        self._work_of_account: Counter[AccountId] = Counter()

    @property
    def is_full(self) -> bool:
        """Whether one more request would be refused, whoever asked; a cheap look before anything is done for it."""
        return self._working >= WORKING_MAX

    @contextmanager
    def working(self, account: AccountId, *, is_transfer: bool = False) -> Iterator[None]:
        """Hold a place while a request is worked on, which is not while its body comes or its answer goes.

        With too many at work, one more would only make all of them late: it is told at once to come again.
        is_transfer: its body or answer is streamed while the block runs, so it counts for its account alone.
        Raises: TooManyRequests for the account's own, Unavailable for all.
        """
        if self._work_of_account[account] >= REQUESTS_PER_ACCOUNT_MAX:
            raise TooManyRequests("This account has too many requests at once.", retry_after_s=1)
        places = 0 if is_transfer else 1
        if self._working + places > WORKING_MAX:
            raise Unavailable("The server has too much to do right now.", where="gateway", reason="requests")
        self._working += places
        self._work_of_account[account] += 1
        try:
            yield
        finally:
            self._working -= places
            self._work_of_account[account] -= 1
            if not self._work_of_account[account]:
                del self._work_of_account[account]

    @contextmanager
    def taken(self, account: AccountId, size: int) -> Iterator[None]:
        """Hold room for a body of `size` bytes while the block runs. Raises: Unavailable (retry) when there is none."""
        if self._taken + size > ALL_BODIES_BYTES_MAX or self._of_account[account] + size > ACCOUNT_BODIES_BYTES_MAX:
            raise Unavailable("The server has too much to do right now.", where="gateway", reason="bodies")
        self._taken += size
        self._of_account[account] += size
        try:
            yield
        finally:
            self._taken -= size
            self._of_account[account] -= size
            if not self._of_account[account]:
                del self._of_account[account]


def declared_bytes(scope: Scope, *, maximum: int) -> int:
    """Return how long the body says it is, `maximum` when it does not say."""
    declared = header(scope["headers"], b"content-length")
    return min(int(declared), maximum) if declared.isdigit() else maximum


def patient(send: Send) -> Send:
    """Return a `send` that raises Disconnected when the other side takes less than SENT_BYTES_MAX in a minute."""

    async def timed(message: Message) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await send(message)
        except TimeoutError:
            raise Disconnected from None

    async def in_parts(message: Message) -> None:
        body = memoryview(message.get("body", b""))
        at = 0
        while len(body) - at > SENT_BYTES_MAX:
            await timed({**message, "body": body[at : at + SENT_BYTES_MAX], "more_body": True})
            at += SENT_BYTES_MAX
        await timed({**message, "body": body[at:]} if at else message)

    return in_parts


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
    joining = Joining()
    for piece in pieces:
        for part in joining.add(piece):
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": joining.rest()})


class Joining:
    """Puts small pieces of an answer together, so that a write is worth its cost. Long ones pass as they are."""

    def __init__(self) -> None:
        self._small: list[bytes | memoryview] = []
        self._size = 0

    def add(self, piece: bytes | memoryview) -> Sequence[bytes | memoryview]:
        """Take the next piece; return what is to be written now, in order."""
        if len(piece) >= JOINED_BYTES_MAX:
            return (self.rest(), piece) if self._small else (piece,)
        self._small.append(piece)
        self._size += len(piece)
        return (self.rest(),) if self._size >= JOINED_BYTES_MAX else ()

    def rest(self) -> bytes:
        """Return what was taken and not yet given back."""
        joined = b"".join(self._small)
        self._small.clear()
        self._size = 0
        return joined


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
