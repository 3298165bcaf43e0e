"""The event log of one process. Invariant: an event stays until every group that follows has had it handled.

It is gone with the process, so it suits followers that read the journals when they start. A namespace is in one
partition; a member takes a partition that nobody holds, so one namespace is in one pair of hands at a time and nothing
is handed over when members come and go.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from satchel.core.errors import Unavailable
from satchel.server.event_log import ChangeEvent, Handle, is_handled, pause

PARTITIONS = 8
EVENTS_MAX = 100_000
BATCH_MAX = 500
HANDLE_S = 60.0
PAUSE_S = 1.0


@dataclass(slots=True)
class _Partition:
    """first: the offset of the oldest event that is kept."""

    first: int = 0
    events: list[ChangeEvent] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.first + len(self.events)

    def forget_before(self, offset: int) -> int:
        """Drop what stands before `offset`; return how many that were."""
        count = max(0, min(offset, self.end) - self.first)
        del self.events[:count]
        self.first += count
        return count


@dataclass(slots=True)
class _Group:
    """offsets: of the next event to handle, by partition. held: partitions that a member has in its hands."""

    offsets: list[int]
    held: set[int] = field(default_factory=set)
    turn: int = 0
    """The partition to look at first, so that a busy one does not keep the others waiting."""


class MemoryLog:
    """EventLog within one process.

    events_max: so many are kept; past them those that every group has handled go first, and while a group has handled
    none of them `append` raises. With no group at all the oldest go.
    handle_s: how long a call of `handle` may take; pause_s: how long events wait after it failed.
    """

    def __init__(
        self,
        *,
        partitions: int = PARTITIONS,
        events_max: int = EVENTS_MAX,
        batch_max: int = BATCH_MAX,
        handle_s: float = HANDLE_S,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._partitions = [_Partition() for _ in range(partitions)]
        self._groups: dict[str, _Group] = {}
        self._waiting: set[asyncio.Event] = set()
        self._count = 0
        self._events_max, self._batch_max = events_max, batch_max
        self._handle_s, self._pause_s = handle_s, pause_s
        self._is_closed = False

    async def append(self, events: Sequence[ChangeEvent]) -> None:
        """See EventLog."""
        if self._is_closed:
            raise Unavailable("The event log is closed.", where="event log", reason="closed")
        if self._count + len(events) > self._events_max:
            self._make_room(len(events))
        for event in events:
            self._partitions[zlib.crc32(event.ns) % len(self._partitions)].events.append(event)
        self._count += len(events)
        self._wake()

    async def consume(self, group: str, handle: Handle, *, stop: asyncio.Event) -> None:
        """See EventLog."""
        if group not in self._groups:
            self._groups[group] = _Group([partition.first for partition in self._partitions])
        following = self._groups[group]
        news = asyncio.Event()
        self._waiting.add(news)
        try:
            async with asyncio.TaskGroup() as tasks:
                stopping = tasks.create_task(_wake_at(stop, news))
                while not stop.is_set():
                    news.clear()
                    if (number := self._free(following)) is None:
                        await news.wait()
                    else:
                        await self._hand_out(group, following, number, handle, stop)
                stopping.cancel()
        finally:
            self._waiting.discard(news)

    async def close(self) -> None:
        """See EventLog."""
        self._is_closed = True

    def _free(self, following: _Group) -> int | None:
        """Return a partition that has events for the group and is in nobody's hands."""
        count = len(self._partitions)
        for step in range(count):
            number: int = (following.turn + step) % count
            if number not in following.held and following.offsets[number] < self._partitions[number].end:
                following.turn = (number + 1) % count
                return number
        return None

    async def _hand_out(self, group: str, following: _Group, number: int, handle: Handle, stop: asyncio.Event) -> None:
        partition, offset = self._partitions[number], following.offsets[number]
        begin = offset - partition.first
        events = tuple(partition.events[begin : begin + self._batch_max])
        following.held.add(number)
        try:
            if await is_handled(group, handle, events, timeout_s=self._handle_s):
                following.offsets[number] = offset + len(events)
            else:
                await pause(stop, self._pause_s)
        finally:
            following.held.discard(number)
            # Another member may have passed this partition by while it was held.
            self._wake()

    def _make_room(self, count: int) -> None:
        for number, partition in enumerate(self._partitions):
            needed = min((group.offsets[number] for group in self._groups.values()), default=None)
            if needed is None:
                surplus = self._count + count - self._events_max
                needed = partition.first + max(0, min(surplus, len(partition.events)))
            self._count -= partition.forget_before(needed)
        if self._count + count > self._events_max:
            raise Unavailable("The event log is full.", where="event log", reason="a group does not keep up")

    def _wake(self) -> None:
        for news in self._waiting:
            news.set()


async def _wake_at(stop: asyncio.Event, news: asyncio.Event) -> None:
    await stop.wait()
    news.set()
