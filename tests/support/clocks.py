"""A clock of the service for tests: a millisecond a look, and randomness that is the same in each run."""

from __future__ import annotations

import asyncio
import hashlib


class SteppingClock:
    """Time goes on by looking at it; `now` can be set. Randomness is a hash of a seed and a counter."""

    def __init__(self, now: int = 1_800_000_000_000, seed: int = 0) -> None:
        self.now = now
        self._seed = seed
        self._drawn = 0

    def now_ms(self) -> int:
        self.now += 1
        return self.now

    def random(self, count: int) -> bytes:
        drawn = b""
        while len(drawn) < count:
            self._drawn += 1
            drawn += hashlib.sha256(f"{self._seed}:{self._drawn}".encode()).digest()
        return drawn[:count]

    async def sleep_s(self, seconds: float) -> None:
        # A turn of the loop: others go on, no time passes.
        await asyncio.sleep(0)

    def used_s(self) -> float:
        return 0.0
