"""A running link whose folder is scanned in a process of its own: killed, paused and ended while it scans."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from satchel.core.ids import DeviceId, LinkId
from satchel.device.api import Api
from satchel.device.clock import MachineClock
from satchel.device.disk import LocalDisk
from satchel.device.index.store import Index
from satchel.device.links import Link
from satchel.device.remote import HttpRemote
from satchel.device.runner import LinkRunner
from satchel.device.tasks import Hinted, Task
from satchel.device.thread_lanes import ThreadLanes
from satchel.device.watcher import new_watcher
from tests.support.server import User, running_server

FILES = 1_500
WAIT_S = 60.0
LOOK_AGAIN_S = 0.002

Deed = Callable[[LinkRunner, asyncio.Event, int], Awaitable[None]]


async def linked(folder: Path, user: User, deed: Deed) -> int:
    """Run a link of a folder with FILES files, and do the deed when a process has begun to scan it.

    Result: how many files were in sync at the end.
    """
    root, clock, lanes = folder / "root", MachineClock(), ThreadLanes(2)
    root.mkdir(parents=True)
    LocalDisk.initialise(os.fsencode(root))
    for at in range(FILES):
        (root / str(at)).write_text(f"{at} of {folder.name}")
    async with Api(user.url) as api:
        signed_in = await api.login(user.name, user.password, "laptop")
    link = Link(LinkId(os.urandom(16)), str(root), "/", signed_in.root_ns, "00" * 16, "laptop")
    remote = HttpRemote(user.url, signed_in.token, clock=clock)
    runner = LinkRunner(
        link,
        remote,
        device=DeviceId(bytes.fromhex(signed_in.device_id)),
        state_folder=folder / "state",
        clock=clock,
        lanes=lanes,
        transfers=lanes,
        watcher=new_watcher(os.fsencode(root), clock),
    )
    runner.scanner.names_min = FILES
    stop = asyncio.Event()
    try:
        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            group.create_task(runner.run(stop))
            await deed(runner, stop, await pid_of(runner, clock))
            stop.set()
    finally:
        await remote.close()
        lanes.close()
    index = Index(str(folder / "state/index.db"))
    try:
        return index.count_files()
    finally:
        index.close()


async def pid_of(runner: LinkRunner, clock: MachineClock) -> int:
    """Wait until a process scans."""
    while (pid := runner.scanner.pid) is None:
        await clock.sleep_s(LOOK_AGAIN_S)
    return pid


async def has_ended(process: int) -> bool:
    """Wait for the process of this handle."""
    try:
        return bool(await asyncio.to_thread(lambda: select.select([process], [], [], WAIT_S)[0]))
    finally:
        os.close(process)


async def kill(runner: LinkRunner, stop: asyncio.Event, pid: int) -> None:
    process = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert await has_ended(process)
    assert (await runner.wait_in_sync(WAIT_S)).state == "in_sync"


async def pause(runner: LinkRunner, stop: asyncio.Event, pid: int) -> None:
    process = os.pidfd_open(pid)
    runner.pause()
    assert await has_ended(process)
    assert runner.status().state == "paused"
    runner.resume()
    assert (await runner.wait_in_sync(WAIT_S)).state == "in_sync"
    assert (started := runner.scanner.started) > 1
    assert (await runner.wait_in_sync(WAIT_S)).state == "in_sync"
    assert runner.scanner.started == started, "at rest the thread looks"


async def end(runner: LinkRunner, stop: asyncio.Event, pid: int) -> None:
    process = os.pidfd_open(pid)
    stop.set()
    assert await has_ended(process)


async def break_engine(runner: LinkRunner, stop: asyncio.Event, pid: int) -> None:
    def step(facts: object, now: object) -> list[Task]:
        raise ZeroDivisionError

    process = os.pidfd_open(pid)
    while runner._parts.acquire(blocking=False):
        # As if the engine were far behind: the next part waits.
        pass
    runner._engine.step = step  # type: ignore[method-assign]
    runner.put(Hinted(()))
    try:
        await asyncio.sleep(WAIT_S)
    finally:
        assert await has_ended(process)


@pytest.mark.parametrize("deed", [kill, pause])
def test_a_link_misses_nothing_when_its_scan_is_cut_short(tmp_path: Path, deed: Deed) -> None:
    with running_server(tmp_path) as server:
        assert asyncio.run(linked(tmp_path / "link", server.add_user("ann"), deed)) == FILES


def test_a_link_that_is_ended_leaves_no_process(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        assert asyncio.run(linked(tmp_path / "link", server.add_user("ann"), end)) <= FILES


def test_a_link_that_fails_leaves_no_process_and_no_thread(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, pytest.raises(ExceptionGroup) as failed:
        asyncio.run(linked(tmp_path / "link", server.add_user("ann"), break_engine))
    assert failed.group_contains(ZeroDivisionError, depth=2)
