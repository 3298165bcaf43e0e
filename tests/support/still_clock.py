"""A device's clock for tests: it stands still until it is moved, and its randomness is the same in each run."""

from __future__ import annotations

import hashlib


class StillClock:
    """Implements the device's `Clock`. Sleeping moves it. boots: starts of the machine."""

    def __init__(self, now_ns: int = 1_795_000_000_000_000_000, seed: int = 0) -> None:
        self.wall_ns = now_ns
        self._seed = seed
        self._drawn = 0
        self.boots = 1

    def boot(self) -> bytes:
        return b"start %d" % self.boots

    def now_ns(self) -> int:
        return self.wall_ns

    def monotonic_s(self) -> float:
        return self.wall_ns / 1e9

    def random(self, count: int) -> bytes:
        drawn = b""
        while len(drawn) < count:
            self._drawn += 1
            drawn += hashlib.sha256(f"{self._seed}:{self._drawn}".encode()).digest()
        return drawn[:count]

    async def sleep_s(self, seconds: float) -> None:
        self.wall_ns += int(seconds * 1e9)
