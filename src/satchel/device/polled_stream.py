"""A stream for a device whose WebSocket does not get through (some proxies let none pass): it asks instead.

Invariant: whoever reads it cannot tell it from the real one, but by when news comes: after `POLL_S`. Source:
docs/protocol/device.md, Stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from satchel.core.errors import Unavailable
from satchel.core.ids import BlockHash
from satchel.core.limits import FEED_PAGE_ENTRIES_MAX
from satchel.core.messages import Changes, ChangesRequest, Hello, Ping, Position, Pushed, StreamFrame, Welcome
from satchel.device.ports import Clock

POLL_S = 5.0
HELLO_S = 60.0
"""How often the hello is said again: another start of the link may be newer by now."""
TRY_AGAIN_S = 600.0
"""After so long it ends, and the WebSocket is tried again."""

Contents = dict[BlockHash, bytes]
AskChanges = Callable[[ChangesRequest], Awaitable[tuple[Changes, Contents]]]
SayHello = Callable[[Hello], Awaitable[Welcome]]


class PolledStream:
    """What `open_stream` gives when no WebSocket does. `begin` it first; then each `next_frame` gives one."""

    def __init__(self, hello: Hello, *, say: SayHello, ask: AskChanges, clock: Clock) -> None:
        self._hello = hello
        self._say = say
        self._ask = ask
        self._clock = clock
        self._positions = list(hello.positions)
        self._waiting: list[StreamFrame] = []
        self._begun_s = self._said_s = clock.monotonic_s()

    async def begin(self) -> None:
        """Say the hello. Raises: any fault of the call."""
        self._waiting.append(await self._say(self._hello))

    async def next_frame(self, timeout_s: float) -> tuple[StreamFrame, Contents]:
        """Wait for news for at most `POLL_S`; a ping when there is none. Raises: any fault of a call, Unavailable."""
        if self._waiting:
            return self._waiting.pop(0), {}
        await asyncio.sleep(min(POLL_S, timeout_s / 2))
        now_s = self._clock.monotonic_s()
        if now_s - self._begun_s > TRY_AGAIN_S:
            raise Unavailable("The stream is tried again.", where="stream", reason="polling")
        if now_s - self._said_s > HELLO_S:
            self._said_s = now_s
            welcome = await self._say(self._hello)
            if welcome.recover:
                return welcome, {}
        for at, position in enumerate(self._positions):
            asked = ChangesRequest(
                position, self._hello.link, FEED_PAGE_ENTRIES_MAX, with_xattrs=self._hello.with_xattrs
            )
            page, contents = await self._ask(asked)
            if page.entries or page.is_reset or page.last_seq > position.seq:
                self._positions[at] = Position(position.ns, page.last_seq, page.last_tag)
                return Pushed(page), contents
        return Ping(), {}
