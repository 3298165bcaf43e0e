"""The machine's time, randomness and sleep: the adapter of the `Clock` port in the daemon and the command line."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

DRAWN_BYTES = 4_096
BOOT_ID = "/proc/sys/kernel/random/boot_id"


class MachineClock:
    """The `Clock` port over this machine."""

    def __init__(self) -> None:
        self._drawn = b""
        self._lock = threading.Lock()

    def boot(self) -> bytes:
        """Return the kernel's name of this start of the machine, empty where it gives none."""
        try:
            return Path(BOOT_ID).read_bytes().strip()
        except OSError:
            return b""

    def now_ns(self) -> int:
        """Wall clock, Unix ns."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """A clock that never goes back, in seconds."""
        return time.monotonic()

    def random(self, count: int) -> bytes:
        """Return bytes that nobody can guess, each once. Many are drawn at a time: each call of the kernel costs."""
        with self._lock:
            if len(self._drawn) < count:
                self._drawn = os.urandom(max(count, DRAWN_BYTES))
            given, self._drawn = self._drawn[:count], self._drawn[count:]
            return given

    async def sleep_s(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)
