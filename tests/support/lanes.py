"""Runs work with the lanes of the daemon, and with those of the simulation and no event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from satchel.device.drive import drive
from satchel.device.thread_lanes import ThreadLanes
from satchel.device.transfer import Lanes, SequentialLanes

Work = Callable[[Lanes], Coroutine[object, None, None]]
Run = Callable[[Work], None]


def run_threads(work: Work) -> None:
    """Run the work on asyncio, with threads for the disk."""

    async def main() -> None:
        lanes = ThreadLanes(4)
        try:
            await work(lanes)
        finally:
            lanes.close()

    asyncio.run(main())


def run_sequential(work: Work) -> None:
    """Run the work without an event loop; it may never suspend."""
    drive(work(SequentialLanes()))


@pytest.fixture(params=[run_threads, run_sequential], ids=["threads", "sequential"])
def run(request: pytest.FixtureRequest) -> Run:
    """Give both, one after the other."""
    found: Run = request.param
    return found
