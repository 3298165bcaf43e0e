"""Lanes: jobs in order and bounded, threads over when the call is, and no hidden suspension."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from satchel.core.errors import FileChanging
from satchel.device.drive import drive
from satchel.device.thread_lanes import ThreadLanes
from satchel.device.transfer import Lanes
from tests.support.lanes import Run, run

__all__ = ["run"]

WAIT_S = 20


async def value(number: int) -> int:
    return number


def test_results_come_in_the_order_of_the_jobs(run: Run) -> None:
    async def work(lanes: Lanes) -> None:
        assert await lanes.each([partial(value, index) for index in range(50)], 3) == list(range(50))
        assert await lanes.each([], 3) == []
        assert await lanes.run(lambda: 7) == 7
        assert await lanes.disk(value(8)) == 8

    run(work)


def test_the_first_fault_is_raised_as_it_is(run: Run) -> None:
    async def fail() -> int:
        raise FileChanging(path=b"x")

    async def work(lanes: Lanes) -> None:
        jobs: list[Callable[[], Awaitable[int]]] = [partial(value, 1), fail, partial(value, 2), fail]
        with pytest.raises(FileChanging):
            await lanes.each(jobs, 2)
        with pytest.raises(FileChanging):
            await lanes.disk(fail())

    run(work)


def test_no_more_jobs_than_the_limit_run_at_once() -> None:
    async def main() -> None:
        lanes = ThreadLanes(2)
        running = most = 0

        async def job() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

        await lanes.each([job] * 20, 4)
        assert most == 4
        lanes.close()

    asyncio.run(main())


def test_a_cancelled_call_waits_for_its_thread() -> None:
    async def main() -> None:
        lanes = ThreadLanes(1)
        started, go_on, over = threading.Event(), threading.Event(), threading.Event()

        def work() -> None:
            started.set()
            assert go_on.wait(WAIT_S)
            over.set()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(lanes.run(work))
            assert await asyncio.to_thread(started.wait, WAIT_S)
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
            go_on.set()
        assert task.cancelled()
        assert over.is_set()
        lanes.close()

    asyncio.run(main())


def test_work_that_never_got_a_thread_is_not_waited_for() -> None:
    async def main() -> None:
        lanes = ThreadLanes(1)
        started, go_on, ran = threading.Event(), threading.Event(), threading.Event()

        def hold() -> None:
            started.set()
            assert go_on.wait(WAIT_S)

        async def late() -> None:
            ran.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(lanes.run(hold))
            assert await asyncio.to_thread(started.wait, WAIT_S)
            queued = group.create_task(lanes.disk(late()))
            await asyncio.sleep(0)
            queued.cancel()
            with pytest.raises(asyncio.CancelledError):
                await queued
            go_on.set()
        assert not ran.is_set()
        lanes.close()

    asyncio.run(main())


def test_a_port_that_suspends_is_our_own_mistake() -> None:
    async def suspends() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError):
        drive(suspends())
