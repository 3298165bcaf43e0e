"""Those that wait for changes: one by the stream, one by long-poll. Each keeps every seq that it saw."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from satchel.core.ids import Tag
from satchel.core.messages import (
    PROTOCOL_VERSION,
    Behind,
    Changes,
    ChangesRequest,
    Hello,
    Position,
    Pushed,
    StreamFrame,
    Welcome,
    decode_frame,
    encode_frame,
)
from tests.chaos.client import PAUSE_S, Client
from tests.chaos.scene import require

OPEN_S = 10.0
SILENCE_S = 60.0
"""A stream pings every 25 s: after so long it is dead."""
POLL_S = 20
FAILED = (aiohttp.ClientError, OSError, TimeoutError)


@dataclass(slots=True)
class StreamFollower:
    """Follows by the stream and asks when it is told to. seen: seqs; connects: how often it had to open the stream."""

    client: Client
    seen: set[int] = field(default_factory=set)
    connects: int = 0
    pulls: int = 0
    _position: Position = field(init=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._position = Position(self.client.account.ns, 0, Tag(b""))

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until the event is set."""
        while not stop.is_set():
            with contextlib.suppress(OSError, TimeoutError, WebSocketException):
                await self._follow(stop)
            self.client.turn()
            await asyncio.sleep(PAUSE_S)

    async def wait_until_seen(self, head: int) -> None:
        """Return when it has seen all up to `head`."""
        while self._position.seq < head:
            self._news.clear()
            await self._news.wait()

    async def _follow(self, stop: asyncio.Event) -> None:
        url = self.client.url.replace("http", "ws", 1) + "/sync/v1/stream"
        headers = {"Authorization": f"Bearer {self.client.account.token}"}
        async with connect(
            url, additional_headers=headers, compression=None, proxy=None, open_timeout=OPEN_S, close_timeout=1
        ) as stream:
            self.connects += 1
            hello = Hello(PROTOCOL_VERSION, b"", self.client.link, self.connects << 32, (self._position,))
            await stream.send(b"".join(encode_frame(hello)))
            while not stop.is_set():
                await self._take(await _frame(stream))

    async def _take(self, frame: StreamFrame) -> None:
        match frame:
            case Welcome(recover=recover):
                require(not recover, "a follower is told to recover, and nothing went back in time")
            case Pushed(changes=page):
                if not self._fold(page):
                    await self._pull()
            case Behind():
                await self._pull()
            case _:
                pass

    def _fold(self, page: Changes) -> bool:
        """Take a page that begins where we are, or before; tell whether it does."""
        require(not page.is_reset, "a follower's place is unknown, and nothing went back in time")
        if page.prev_seq > self._position.seq:
            return False
        self.seen.update(entry.seq for entry in page.entries)
        if page.last_seq > self._position.seq:
            self._position = Position(page.ns, page.last_seq, page.last_tag)
            self._news.set()
        return True

    async def _pull(self) -> None:
        self.pulls += 1
        while True:
            request = ChangesRequest(self._position, self.client.link, with_content=False)
            page, _, _ = await self.client.ask("changes", request, Changes)
            self._fold(page)
            if not page.has_more:
                return


@dataclass(slots=True)
class PollFollower:
    """Follows by `GET /sync/longpoll`, as people's programs do."""

    client: Client
    seen: set[int] = field(default_factory=set)
    connects: int = 0
    pulls: int = 0
    _cursor: str = ""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until the event is set."""
        while not stop.is_set():
            try:
                await self._asked()
            except FAILED:
                self.client.turn()
                await asyncio.sleep(PAUSE_S)

    async def wait_until_seen(self, head: int) -> None:
        """Return when it has seen all up to `head`."""
        while max(self.seen, default=0) < head:
            self._news.clear()
            await self._news.wait()

    async def _asked(self) -> None:
        self.pulls += 1
        route = "sync/longpoll" if self._cursor else "sync"
        query = {"cursor": self._cursor, "timeout": str(POLL_S)} if self._cursor else {}
        timeout = aiohttp.ClientTimeout(total=POLL_S + 40, sock_connect=5)
        headers = {"Authorization": f"Bearer {self.client.account.token}"}
        url = f"{self.client.url}/{route}"
        async with self.client.session.get(url, params=query, headers=headers, timeout=timeout) as response:
            if response.status != 200:
                raise aiohttp.ClientError(str(response.status))
            told = await response.json()
        require(not told["is_reset"], "a cursor is unknown, and nothing went back in time")
        self.seen.update(entry["seq"] for entry in told["entries"])
        self._cursor = told["cursor"]
        if told["entries"]:
            self._news.set()


Follower = StreamFollower | PollFollower


def followers_of(clients: Iterator[Client]) -> list[Follower]:
    """Return a follower for each, by turns of either kind."""
    return [PollFollower(one) if number % 2 else StreamFollower(one) for number, one in enumerate(clients)]


async def _frame(stream: ClientConnection) -> StreamFrame:
    raw = await asyncio.wait_for(stream.recv(), SILENCE_S)
    assert isinstance(raw, bytes)
    return decode_frame(raw, StreamFrame)[0]
