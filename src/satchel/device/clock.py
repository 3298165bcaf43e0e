"""The machine's time, randomness and sleep: the adapter of the `Clock` port in the daemon and the command line."""

from __future__ import annotations

import asyncio
import os
import time


class MachineClock:
    """The `Clock` port over this machine."""

    def now_ns(self) -> int:
        """Wall clock, Unix ns."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """A clock that never goes back, in seconds."""
        return time.monotonic()

    def random(self, count: int) -> bytes:
        """Return bytes that nobody can guess."""
        return os.urandom(count)

    async def sleep_s(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)
