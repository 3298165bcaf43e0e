"""What the service needs of an event log: 'namespace 7 is at 4711', kept, in order, for whoever follows behind.

Invariant: what `append` returned for is heard by every group at least once, a namespace's events in their order.
The log makes followers faster and nothing more; with it gone, everything is still found by reading the journals.
Source: docs/design/020, 060 (11).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog
from msgspec import Struct

from satchel.core.errors import Fault
from satchel.core.ids import NamespaceId, short

_log = structlog.get_logger("events")


class ChangeEvent(Struct, frozen=True, array_like=True):
    """The journal of `ns` reaches as far as `seq`. at_ms: Unix time in ms at which this was appended."""

    ns: NamespaceId
    seq: int
    at_ms: int


Handle = Callable[[Sequence[ChangeEvent]], Awaitable[None]]


class EventLog(Protocol):
    """A log that several processes append to and several groups follow, each from where it was."""

    async def append(self, events: Sequence[ChangeEvent]) -> None:
        """Append the events in order; durable on return. May append some of them, or all, and still raise.

        Raises: Unavailable (retry) when the log did not take them within a bounded time.
        """
        ...

    async def consume(self, group: str, handle: Handle, *, stop: asyncio.Event) -> None:
        """Hand the events to `handle` until `stop`; the members of a group share them, each group hears all.

        At least once: where the group is moves on only after `handle` returned. When it raises or takes too long, the
        same events come again after a pause. One namespace's events come in order, one call at a time, unless a member
        was taken for dead: then two may hold the same events for a moment, so `handle` must bear hearing them twice.
        A group that is new begins with the oldest event there is. A log that is away is waited for, for ever.
        """
        ...

    async def close(self) -> None:
        """Let go of everything. Consumers are ended by their `stop` before. Later calls raise Unavailable."""
        ...


async def is_handled(group: str, handle: Handle, events: Sequence[ChangeEvent], *, timeout_s: float) -> bool:
    """Tell whether `handle` took the events. What it raised is logged: the caller gives the same ones again."""
    try:
        async with asyncio.timeout(timeout_s):
            await handle(events)
    except Exception as error:
        told = {"group": group, "ns": short(events[0].ns), "count": len(events), "reason": repr(error)}
        # A fault comes from the world and passes; anything else is a mistake of ours, so its trace is kept.
        _log.warning("events.not_handled", **told, exc_info=not isinstance(error, Fault | TimeoutError))
        return False
    return True


async def pause(until: asyncio.Event, seconds: float) -> None:
    """Return after `seconds`, or as soon as `until` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until.wait()
