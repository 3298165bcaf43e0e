"""Time, randomness and threads of this machine. Invariant: the only place of the service that asks it for them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from satchel.core.errors import Unavailable

T = TypeVar("T")

WAITING_MAX = 256
WORK_TIMEOUT_S = 120.0


class MachineClock:
    """Clock of this machine."""

    def now_ms(self) -> int:
        """See Clock."""
        return time.time_ns() // 1_000_000

    def random(self, count: int) -> bytes:
        """See Clock."""
        return os.urandom(count)

    async def sleep_s(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(seconds)

    def used_s(self) -> float:
        """See Clock."""
        return time.process_time()


class ThreadWorkers:
    """Workers in a pool of threads, as many as processors and at least two; at most 256 calls wait."""

    def __init__(self, count: int = 0) -> None:
        self._pool = ThreadPoolExecutor(count or max(2, os.cpu_count() or 2), thread_name_prefix="worker")
        self._room = asyncio.Semaphore(WAITING_MAX)

    async def run(self, work: Callable[[], T]) -> T:
        """See Workers. Raises: Unavailable when no worker was free for two minutes."""
        try:
            async with asyncio.timeout(WORK_TIMEOUT_S), self._room:
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except TimeoutError:
            raise Unavailable("No worker is free.", where="workers", reason="timeout") from None

    def close(self) -> None:
        """Let the threads end when their work is done."""
        self._pool.shutdown(wait=False, cancel_futures=True)
