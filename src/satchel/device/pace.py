"""Keeps what travels within the limits that a person has set. Invariant: every wait ends, in the order of asking.

A token bucket without a queue: the bytes that are asked for form one line, and time passes along it at the limit's
rate. Who asks gets the next place in the line and waits until time has passed it. A long body asks for a small part at
a time, so whoever comes later has its turn after one part of each body under way, however long these are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from satchel.core.limits import KIB
from satchel.device.ports import Clock

BURST_S = 1.0
"""What was not used is kept for so long."""
DEBT_S = 2.0
"""What comes unasked is made up for by at most so long a pause of all else."""
REQUEST_S = 8.0
LOOK_S = 0.5
"""Whoever waits looks at the limit again after this time at most: it may be another one by then."""
WAIT_S_MIN = 0.001
PART_S = 0.125
PART_BYTES_MIN = 1 * KIB
PART_BYTES_MAX = 64 * KIB
SHORT_BYTES_MAX = 64 * KIB
LONG_AT_ONCE = 2
"""Long bodies of one kind under way: a server ends what comes too slowly, so few of them share a small limit."""

PutOff = Callable[[float], None]
"""Told before each wait how many seconds it takes, so that a request's time stands still meanwhile."""


def no_deadline(seconds: float) -> None:
    """Put nothing off."""


class Bucket:
    """One direction. rate: bytes a second, 0 for no limit. For one event loop."""

    def __init__(self, clock: Clock, rate: int = 0) -> None:
        self._clock = clock
        self._rate = rate
        self._asked = 0.0
        self._passed = float(rate) * BURST_S
        self._seen_s = clock.monotonic_s()

    @property
    def rate(self) -> int:
        return self._rate

    def set_rate(self, rate: int) -> None:
        """Change the limit; it counts at once, also for those who wait."""
        self._look()
        if not self._rate:
            # What travelled without a limit is not made up for.
            self._asked = self._passed = 0.0
        self._rate = rate

    @property
    def part_bytes(self) -> int:
        """How much of a long body goes at a time."""
        if not self._rate:
            return 1 << 40
        return max(PART_BYTES_MIN, min(PART_BYTES_MAX, int(self._rate * PART_S)))

    def count_max(self, size: int, maximum: int) -> int:
        """How many of about `size` bytes to ask for together, so that whoever is next waits a few seconds."""
        return max(1, min(maximum, int(self._rate * REQUEST_S / size))) if self._rate else maximum

    async def take(self, size: int, put_off: PutOff = no_deadline) -> None:
        """Return when `size` more bytes may travel."""
        while size > 0 and self._rate:
            part = min(size, self.part_bytes)
            await self._turn(part, put_off)
            size -= part

    async def _turn(self, part: int, put_off: PutOff) -> None:
        self._look()
        self._asked += part
        place = self._asked
        while self._rate and place > self._passed:
            wait_s = max(WAIT_S_MIN, min((place - self._passed) / self._rate, LOOK_S))
            put_off(wait_s)
            await self._clock.sleep_s(wait_s)
            self._look()

    def spend(self, size: int) -> None:
        """Count what has travelled unasked; what is asked for afterwards waits a little longer."""
        if self._rate:
            self._look()
            self._asked = max(self._asked, min(self._asked + size, self._passed + DEBT_S * self._rate))

    async def parts(self, body: AsyncIterator[bytes], put_off: PutOff) -> AsyncIterator[bytes | memoryview]:
        """Yield the body in parts, each when it may travel."""
        async for piece in body:
            view, at = memoryview(piece), 0
            while at < len(view):
                size = min(len(view) - at, self.part_bytes)
                await self.take(size, put_off)
                # A piece that leaves whole leaves as it is.
                yield piece if size == len(view) else view[at : at + size]
                at += size

    def _look(self) -> None:
        now_s = self._clock.monotonic_s()
        self._passed += max(0.0, now_s - self._seen_s) * self._rate
        self._passed = min(self._passed, self._asked + BURST_S * self._rate)
        self._seen_s = now_s


class Pace:
    """Both directions of one device, for all its links."""

    def __init__(self, clock: Clock, *, up: int = 0, down: int = 0) -> None:
        self.up = Bucket(clock, up)
        self.down = Bucket(clock, down)
        self._rooms: dict[str, asyncio.Semaphore] = {}

    def set_rates(self, *, up: int, down: int) -> None:
        """Change the limits, in bytes a second, 0 for none."""
        self.up.set_rate(up)
        self.down.set_rate(down)

    def room(self, kind: str, bucket: Bucket) -> AbstractAsyncContextManager[object]:
        """Hold one of the few places for long bodies of this kind; without a limit there is room for all."""
        if not bucket.rate:
            return contextlib.nullcontext()
        return self._rooms.setdefault(kind, asyncio.Semaphore(LONG_AT_ONCE))
