"""Positions by the channels of Valkey or Redis. Invariant: publishing never waits for the server; and who listens
either hears a position, or a newer one of its namespace, or is told that some may have been missed.

A line holds one connection that listens and one that sends. What waits to be sent is one position for each namespace:
the highest says all. The library's own PubSub is not used: it connects anew without a word, which would hide a gap.
Source: docs/design/020, 050 (the bus carries only positions).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError

from satchel.core.ids import NamespaceId
from satchel.core.limits import KIB
from satchel.server.adapters.bus_memory import Listeners
from satchel.server.adapters.redis_server import Outage, RedisServer, server_of
from satchel.server.ports import Clock

START_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
SEND_TIMEOUT_S = 2.0
PING_S = 10.0
SILENCE_S = 15.0
"""A connection on which nothing was heard for so long, not even an answer to a ping, is given up."""
POSITIONS_MAX = 50_000
"""So many positions wait to be sent; past that a channel's give way to the word that some are missing."""
CHANNELS_MAX = 10_000
SEND_POSITIONS_MAX = 5_000
MESSAGE_POSITIONS_MAX = 500
MESSAGE_BYTES_MAX = 64 * KIB
VERSION = b"\x01"

_log = structlog.get_logger("redis")


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """What goes over a channel, after a byte for its version. sender: the line; positions: None says that some
    are missing."""

    sender: Annotated[bytes, msgspec.Meta(max_length=64)]
    positions: (
        Annotated[
            list[tuple[Annotated[bytes, msgspec.Meta(max_length=64)], Annotated[int, msgspec.Meta(ge=0)]]],
            msgspec.Meta(max_length=MESSAGE_POSITIONS_MAX),
        ]
        | None
    )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Message)


@dataclass(slots=True)
class _Waiting:
    """What one channel waits for. is_gap: positions were dropped, so everything is to be looked at."""

    positions: dict[NamespaceId, int] = field(default_factory=dict)
    is_gap: bool = False


class Outbox:
    """What waits to be sent, in the order of channels. Invariant: a position is in it, or a newer one, or its gap."""

    def __init__(self, *, positions_max: int = POSITIONS_MAX, channels_max: int = CHANNELS_MAX) -> None:
        """Past `channels_max` what goes to another channel is lost: its listener cannot be reached either."""
        self._positions_max = positions_max
        self._channels_max = channels_max
        self._channels: dict[str, _Waiting] = {}
        self._count = 0

    def put(self, channel: str, positions: Iterable[tuple[NamespaceId, int]], *, is_gap: bool = False) -> None:
        """Add positions; the highest of a namespace stays."""
        waiting = self._channels.get(channel)
        if waiting is None:
            if len(self._channels) >= self._channels_max:
                return
            waiting = self._channels[channel] = _Waiting()
        if is_gap:
            self._give_way(waiting)
        for ns, seq in positions:
            if waiting.is_gap:
                # It is looked for when the gap is told, which is later than now.
                return
            if ns in waiting.positions:
                waiting.positions[ns] = max(seq, waiting.positions[ns])
            elif self._count >= self._positions_max:
                self._give_way(waiting)
            else:
                waiting.positions[ns] = seq
                self._count += 1

    def take(self, count_max: int = SEND_POSITIONS_MAX) -> dict[str, _Waiting]:
        """Take out what waited longest: so many positions and gaps at most. Empty when nothing waits."""
        taken: dict[str, _Waiting] = {}
        while self._channels and count_max > 0:
            channel, waiting = next(iter(self._channels.items()))
            part = dict(list(waiting.positions.items())[:count_max])
            for ns in part:
                del waiting.positions[ns]
            taken[channel] = _Waiting(part, waiting.is_gap)
            self._count -= len(part)
            count_max -= max(1, len(part))
            if not waiting.positions:
                del self._channels[channel]
        return taken

    def put_back(self, taken: dict[str, _Waiting]) -> None:
        """Add what could not be sent; what came since stays where it is higher."""
        for channel, waiting in taken.items():
            self.put(channel, waiting.positions.items(), is_gap=waiting.is_gap)

    def _give_way(self, waiting: _Waiting) -> None:
        self._count -= len(waiting.positions)
        waiting.positions.clear()
        waiting.is_gap = True


class Line:
    """Channels of one server, to tell positions and to hear them. Made by `opened_bus` and `opened_post`."""

    def __init__(self, server: RedisServer, clock: Clock) -> None:
        self.db = server.db
        self._clock = clock
        self._sender = clock.random(8)
        self._pool = server.pool(connections=2, timeout_s=SEND_TIMEOUT_S)
        self._client = Redis.from_pool(self._pool)
        self._sending = Outage("telling", server.where, clock)
        self._hearing = Outage("listening", server.where, clock)
        self._outbox = Outbox()
        self._has_waiting = asyncio.Event()
        self._is_sent = asyncio.Event()
        self._is_sent.set()
        self._channels: dict[str, Listeners[NamespaceId, int]] = {}
        self._gap_listeners: Listeners[[]] = Listeners()
        self._unconfirmed: set[str] = set()
        self._channels_changed = asyncio.Event()
        self._is_tried = asyncio.Event()
        self._is_closed = False

    @property
    def is_away(self) -> bool:
        """Whether the server was gone when it was last asked."""
        return self._sending.is_on or self._hearing.is_on

    def tell(self, channel: str, positions: Sequence[tuple[NamespaceId, int]]) -> None:
        """Tell those of this process at once, the others soon."""
        own = self._channels.get(channel)
        if own is not None:
            for ns, seq in positions:
                own.tell(ns, seq)
        if positions:
            self._outbox.put(channel, positions)
            self._is_sent.clear()
            self._has_waiting.set()

    def listen(self, channel: str, listener: Callable[[NamespaceId, int], None]) -> Callable[[], None]:
        """Call `listener` for each position; a gap is told once the server knows of it. Return what ends it."""
        listeners = self._channels.get(channel)
        if listeners is None:
            listeners = self._channels[channel] = Listeners()
            self._channels_changed.set()
        end_one = listeners.add(listener)

        def end() -> None:
            end_one()
            if not listeners and self._channels.get(channel) is listeners:
                del self._channels[channel]
                self._channels_changed.set()

        return end

    def on_gap(self, listener: Callable[[], None]) -> Callable[[], None]:
        """See Bus."""
        return self._gap_listeners.add(listener)

    async def wait_until_tried(self, *, timeout_s: float) -> None:
        """Return once the server knows the channels or is found to be gone, or after `timeout_s`."""
        await _happened(self._is_tried, timeout_s=timeout_s)

    async def close(self) -> None:
        """Wait a moment for what is to be sent, then let go of the server."""
        if not self._sending.is_on:
            await _happened(self._is_sent, timeout_s=SEND_TIMEOUT_S)
        self._is_closed = True
        self._channels.clear()
        self._gap_listeners.clear()

    async def send_forever(self) -> None:
        """Send what waits, many at once, and again what could not be sent."""
        try:
            while True:
                self._end_if_closed()
                await self._has_waiting.wait()
                self._has_waiting.clear()
                while taken := self._outbox.take():
                    try:
                        await self._send(taken)
                    except (RedisError, OSError) as error:
                        self._outbox.put_back(taken)
                        await self._clock.sleep_s(self._sending.failed(error))
                        self._sending.may_ask()
                    else:
                        self._sending.worked()
                self._is_sent.set()
        finally:
            with contextlib.suppress(RedisError, OSError):
                await self._client.aclose()

    async def hear_forever(self) -> None:
        """Hear what the channels bring; come again when the connection ends."""
        pause_s = 0.0
        while True:
            while not self._channels:
                self._channels_changed.clear()
                await self._channels_changed.wait()
            try:
                await self._hear()
            except* (RedisError, OSError) as failed:
                pause_s = self._hearing.failed(_first_of(failed))
                self._is_tried.set()
            await self._clock.sleep_s(pause_s)
            self._hearing.may_ask()

    def _end_if_closed(self) -> None:
        """End the task after `close`: up to Python 3.11 `wait_for`, which the library uses, may swallow that it was
        cancelled; and how often it was cancelled says nothing in a task that had a group."""
        if self._is_closed:
            raise asyncio.CancelledError

    async def _send(self, taken: dict[str, _Waiting]) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S), self._client.pipeline(transaction=False) as pipeline:
            for channel, waiting in taken.items():
                for body in self._bodies(waiting):
                    pipeline.publish(channel, body)
            await pipeline.execute()

    def _bodies(self, waiting: _Waiting) -> list[bytes]:
        if waiting.is_gap:
            return [VERSION + _encoder.encode((self._sender, None))]
        positions = list(waiting.positions.items())
        parts = [positions[at : at + MESSAGE_POSITIONS_MAX] for at in range(0, len(positions), MESSAGE_POSITIONS_MAX)]
        return [VERSION + _encoder.encode((self._sender, part)) for part in parts]

    async def _hear(self) -> None:
        """Hear until the connection ends. Raises: a group of RedisError and OSError, always."""
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        try:
            async with asyncio.TaskGroup() as group:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await connection.connect()  # type: ignore[no-untyped-call]  # the library's
                self._end_if_closed()
                group.create_task(self._subscribe_forever(connection))
                group.create_task(self._read_forever(connection))
        finally:
            with contextlib.suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)

    async def _subscribe_forever(self, connection: AbstractConnection) -> None:
        """Have the server know the channels that are wanted; ask now and then whether it is there."""
        asked: set[str] = set()
        self._unconfirmed = set()
        while True:
            self._channels_changed.clear()
            wanted = set(self._channels)
            new, gone = sorted(wanted - asked), sorted(asked - wanted)
            self._unconfirmed = (self._unconfirmed | set(new)) & wanted
            asked = wanted
            if new:
                await _tell(connection, "SUBSCRIBE", *new)
            if gone:
                await _tell(connection, "UNSUBSCRIBE", *gone)
            if not new and not gone:
                await _tell(connection, "PING")
            self._end_if_closed()
            await _happened(self._channels_changed, timeout_s=PING_S)

    async def _read_forever(self, connection: AbstractConnection) -> None:
        while True:
            answer = await connection.read_response(timeout=SILENCE_S)
            if answer is None:
                raise ConnectionLost("nothing was heard any more")
            match answer:
                case [b"message", bytes(channel), bytes(body)]:
                    self._heard(channel.decode(errors="replace"), body)
                case [b"subscribe", bytes(channel), _]:
                    self._confirmed(channel.decode(errors="replace"))
                case _:
                    # An answer to a ping, or the end of a channel.
                    continue

    def _confirmed(self, channel: str) -> None:
        if channel not in self._unconfirmed:
            return
        self._unconfirmed.discard(channel)
        if not self._unconfirmed:
            self._hearing.worked()
            self._is_tried.set()
            # What was told before the server knew of the channels went by.
            self._gap_listeners.tell()

    def _heard(self, channel: str, body: bytes) -> None:
        try:
            message = _decoded(body)
        except msgspec.DecodeError as error:
            _log.warning("redis.malformed", channel=channel, size_bytes=len(body), reason=str(error))
            return
        listeners = self._channels.get(channel)
        if listeners is None or message.sender == self._sender:
            return
        if message.positions is None:
            self._gap_listeners.tell()
            return
        for ns, seq in message.positions:
            listeners.tell(NamespaceId(ns), seq)


class RedisBus:
    """Bus between all processes that use this database of the server."""

    def __init__(self, line: Line) -> None:
        self._line = line
        # Channels, unlike keys, are the same for all databases of a server.
        self._channel = f"positions:{line.db}"
        self._listeners: Listeners[NamespaceId, int] = Listeners()
        self._end = line.listen(self._channel, self._listeners.tell)

    @property
    def is_away(self) -> bool:
        """Whether the server was gone when it was last asked."""
        return self._line.is_away

    async def publish(self, ns: NamespaceId, seq: int) -> None:
        """See Bus."""
        self._line.tell(self._channel, [(ns, seq)])

    def subscribe(self, listener: Callable[[NamespaceId, int], None]) -> Callable[[], None]:
        """See Bus."""
        return self._listeners.add(listener)

    def on_gap(self, listener: Callable[[], None]) -> Callable[[], None]:
        """See Bus."""
        return self._line.on_gap(listener)

    async def close(self) -> None:
        """See Bus. The connections end with `opened_bus`."""
        self._end()
        self._listeners.clear()


class RedisPost:
    """Positions for one process: a notifier tells just the gateways whose devices need to know."""

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def is_away(self) -> bool:
        """Whether the server was gone when it was last asked."""
        return self._line.is_away

    async def tell(self, server_id: str, positions: Sequence[tuple[NamespaceId, int]]) -> None:
        """Tell the process `server_id`, if there is one. Never raises for a server that is down, never waits for it."""
        self._line.tell(_channel_of(server_id), positions)

    def listen(self, server_id: str, listener: Callable[[NamespaceId, int], None]) -> Callable[[], None]:
        """Call `listener` (which must not block or raise) for what is told to `server_id`; return what ends it."""
        return self._line.listen(_channel_of(server_id), listener)

    def on_gap(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when positions may have been missed, and once listening has begun; return what ends it."""
        return self._line.on_gap(listener)


@contextlib.asynccontextmanager
async def opened_bus(url: str, clock: Clock, *, setting: str = "bus_url") -> AsyncIterator[RedisBus]:
    """Yield a bus that listens, or soon will when the server is gone. Raises: SettingInvalid, naming `setting`."""
    async with _opened_line(url, clock, setting) as line:
        bus = RedisBus(line)
        await line.wait_until_tried(timeout_s=START_TIMEOUT_S)
        yield bus


@contextlib.asynccontextmanager
async def opened_post(url: str, clock: Clock, *, setting: str = "bus_url") -> AsyncIterator[RedisPost]:
    """Yield a post. Raises: SettingInvalid, naming `setting`."""
    async with _opened_line(url, clock, setting) as line:
        yield RedisPost(line)


def _decoded(body: bytes) -> _Message:
    """Raises: msgspec.DecodeError (a ValidationError is one)."""
    if body[:1] != VERSION:
        raise msgspec.DecodeError("an unknown version")
    if len(body) > MESSAGE_BYTES_MAX:
        raise msgspec.DecodeError("too long")
    return _decoder.decode(memoryview(body)[1:])


@contextlib.asynccontextmanager
async def _opened_line(url: str, clock: Clock, setting: str) -> AsyncIterator[Line]:
    line = Line(server_of(url, setting=setting), clock)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(line.send_forever()), group.create_task(line.hear_forever())]
            try:
                yield line
            finally:
                await line.close()
                for task in tasks:
                    task.cancel()
    except ExceptionGroup as failed:
        # What the user of the line raised, not that a group of tasks was around it.
        raise failed.exceptions[0] from None


async def _tell(connection: AbstractConnection, *words: str) -> None:
    """Send a command. Raises: RedisError, OSError."""
    try:
        await connection.send_command(*words)
    except AttributeError as error:
        # The reader found the connection lost between the library's look at it and its write, up to Python 3.11 in a
        # task of its own.
        raise ConnectionLost("the connection was lost while it was written to") from error


def _channel_of(server_id: str) -> str:
    return f"server:{server_id}"


def _first_of(failed: ExceptionGroup[Exception]) -> Exception:
    first: Exception = failed
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first


async def _happened(event: asyncio.Event, *, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
