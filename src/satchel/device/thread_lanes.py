"""Lanes of the daemon: a bounded thread pool and task groups. Invariant: no thread outlives the call that started it.

A cancelled call waits for its thread: it holds an open file, and the caller is about to close or remove that file. One
such piece of work is a few MiB, so the wait is short. Source: docs/design/style (async).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from satchel.device.drive import drive

T = TypeVar("T")

THREADS = 6
"""Enough to keep two disks' queues and two cores busy; a thread mostly waits for fsync."""


class ThreadLanes:
    """The `Lanes` port over asyncio. One for the whole daemon; close it at the end."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="satchel-transfer")

    async def run(self, work: Callable[[], T]) -> T:
        job = self._pool.submit(work)
        future = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not job.cancel():
                await _ended(future)
            raise

    async def disk(self, coro: Coroutine[object, None, T]) -> T:
        try:
            return await self.run(lambda: drive(coro))
        finally:
            coro.close()

    async def each(self, jobs: Sequence[Callable[[], Awaitable[T]]], limit: int) -> list[T]:
        if len(jobs) == 1:
            return [await jobs[0]()]
        results: dict[int, T] = {}
        waiting = iter(enumerate(jobs))

        async def work() -> None:
            for index, job in waiting:
                results[index] = await job()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(limit, len(jobs))):
                    group.create_task(work())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [results[index] for index in range(len(jobs))]

    def close(self) -> None:
        """Wait for what still runs and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


async def _ended(future: asyncio.Future[T]) -> None:
    while not future.done():
        try:
            await asyncio.wait([future], timeout=1)
        except asyncio.CancelledError:
            # The caller raises the first cancellation; a second one changes nothing about the running thread.
            continue
    if not future.cancelled():
        future.exception()
