"""The slow pass of a running link finds what no stat shows, when there is nothing else to do and never while paused."""

import asyncio
import os
from pathlib import Path

from satchel.core.ids import DeviceId, LinkId, Nid
from satchel.device.api import Api
from satchel.device.clock import MachineClock
from satchel.device.disk import LocalDisk
from satchel.device.index.store import Index
from satchel.device.links import Link
from satchel.device.remote import HttpRemote
from satchel.device.runner import LinkRunner
from satchel.device.thread_lanes import ThreadLanes
from satchel.device.watcher import new_watcher
from tests.support.engine_rig import hash_of
from tests.support.server import running_server


def local_content(state: Path) -> bytes:
    index = Index(str(state / "index.db"))
    (row,) = index.reader.files_after(Nid(0), 10)
    index.close()
    return row.content


async def two_steps(folder: Path, url: str, name: str, password: str) -> tuple[bytes, bytes]:
    """Let the index hold a wrong content, as if a write showed in no stat. Result: it after a step of each kind."""
    root, state, clock = folder / "root", folder / "state", MachineClock()
    root.mkdir()
    LocalDisk.initialise(os.fsencode(root))
    (root / "a").write_bytes(b"one")
    async with Api(url) as api:
        signed_in = await api.login(name, password, "laptop")
    link = Link(LinkId(os.urandom(16)), str(root), "/", signed_in.root_ns, "00" * 16, "laptop")
    remote, lanes = HttpRemote(url, signed_in.token, clock=clock), ThreadLanes(2)
    runner = LinkRunner(
        link,
        remote,
        device=DeviceId(bytes.fromhex(signed_in.device_id)),
        state_folder=state,
        clock=clock,
        lanes=lanes,
        transfers=lanes,
        watcher=new_watcher(os.fsencode(root), clock),
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(runner.run(stop))
        assert (await runner.wait_in_sync(30)).state == "in_sync"
        other = Index(str(state / "index.db"))
        other.connection.execute("UPDATE nodes SET l_content = ? WHERE l_kind = 1", (hash_of(b"onf"),))
        other.close()
        runner.pause()
        await runner.verify_step()
        paused = local_content(state)
        runner.resume()
        assert (await runner.wait_in_sync(30)).state == "in_sync"
        await runner.verify_step()
        assert (await runner.wait_in_sync(30)).state == "in_sync"
        stop.set()
    await remote.close()
    lanes.close()
    return paused, local_content(state)


def test_what_no_stat_shows_is_found_at_rest_and_not_while_paused(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        user = server.add_user("ann")
        paused, found = asyncio.run(two_steps(tmp_path, user.url, user.name, user.password))
    assert paused == hash_of(b"onf") and found == hash_of(b"one")
