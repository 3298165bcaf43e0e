"""The way that sending and fetching run things side by side. Invariant: no disk call blocks the loop that decides.

`Lanes` is a port: threads and task groups in the daemon (`thread_lanes`), one after another in the simulation. So the
transfer's own code knows neither asyncio nor threads. Source: docs/design/040 (simulation).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Protocol, TypeVar

from satchel.core.ids import Nid
from satchel.device.ports import FileSystem, OpenFile
from satchel.device.tasks import LocalSource

T = TypeVar("T")

Progress = Callable[[Nid, int], None]
"""Told after each step: the file's row and how many more of its bytes are done. Cheap, never raises, on the loop."""


def no_progress(nid: Nid, size_bytes: int) -> None:
    """Tell nobody."""


class Lanes(Protocol):
    """Where blocking work goes, and how several jobs run at once."""

    async def run(self, work: Callable[[], T]) -> T:
        """Run plain blocking work (hashing, compressing) off the loop."""
        ...

    async def disk(self, coro: Coroutine[object, None, T]) -> T:
        """Run a coroutine that awaits the disk port alone; even when cancelled it is over before this raises."""
        ...

    async def each(self, jobs: Sequence[Callable[[], Awaitable[T]]], limit: int) -> list[T]:
        """Run all jobs, started in order and at most `limit` at once; results in order of the jobs.

        The first exception ends the others and is raised as it is.
        """
        ...


class SequentialLanes:
    """Lanes for the simulation: one thing after another, on the caller's own coroutine."""

    async def run(self, work: Callable[[], T]) -> T:
        return work()

    async def disk(self, coro: Coroutine[object, None, T]) -> T:
        return await coro

    async def each(self, jobs: Sequence[Callable[[], Awaitable[T]]], limit: int) -> list[T]:
        return [await job() for job in jobs]


async def on_disk(lanes: Lanes, work: Callable[[], Coroutine[object, None, T]]) -> T:
    """Do `work` on the disk: a job for `each`, which makes the coroutine only when its turn comes."""
    return await lanes.disk(work())


async def open_source(fs: FileSystem, source: LocalSource) -> OpenFile:
    """Open the file that a source names, in the folder or in the local trash. Raises: NotFound, FileUnreadable."""
    if source.trashed:
        return await fs.open_trashed(source.trashed)
    return await fs.open_file(source.path)
