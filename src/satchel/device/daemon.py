"""The device's one long-running process: every link's runner, and the control socket.

Invariant: one daemon on one SATCHEL_HOME (a file lock held for life); it ends within DRAIN_S of being asked to, with
every started disk change finished or undone by the next start. Run as `python -m satchel.device.daemon`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from satchel import __version__
from satchel.core.errors import AlreadyRunning, Fault, MessageInvalid, NotLinked
from satchel.core.ids import LinkId, short
from satchel.device.clock import MachineClock
from satchel.device.control import SOCKET_NAME, Request
from satchel.device.control_server import ControlServer
from satchel.device.credentials import Credentials, load
from satchel.device.explaining import Conflict, conflicts_in
from satchel.device.following_shared import follow_shared
from satchel.device.index.damage import closed, ready, suspecting
from satchel.device.keeper import LinkKeeper, OpenRunner, Runner
from satchel.device.links import Link, LinkStore, index_folder
from satchel.device.local_page import LocalPage
from satchel.device.logs import EventLog, configure_logs
from satchel.device.memory import collect_rarely
from satchel.device.mount_keepers import SETTLE_S_MAX, MountKeepers, forget_mount, settle_mounts
from satchel.device.mounted import Board
from satchel.device.pace import Pace
from satchel.device.ports import Clock
from satchel.device.remote import HttpRemote
from satchel.device.runner import LinkRunner
from satchel.device.settings import DIRECTIONS, Settings, load_settings, rate_of, set_setting, wanted_limits
from satchel.device.status import Amended, DaemonStatus, Excluded, HeldItem, Limits, LinkStatus
from satchel.device.thread_lanes import ThreadLanes
from satchel.device.watcher import new_watcher

log = EventLog(__name__)

LOCK_NAME = "daemon.lock"
DRAIN_S = 5.0
HOME_CHECK_S = 10.0
CONFLICTS_MAX = 500
LINK_THREADS = 6
"""Threads that look at and change the linked folders."""


class Daemon:
    """All links of one SATCHEL_HOME. who: (server URL, account, device name) as `status` shows them.

    groups: gets the shared folders in each linked folder, by its local path.
    """

    def __init__(
        self,
        home: Path,
        open_runner: OpenRunner,
        clock: Clock,
        who: tuple[str, str, str],
        pace: Pace,
        groups: dict[str, MountKeepers] | None = None,
    ) -> None:
        self._home = home
        self._store = LinkStore(home)
        self._open_runner = open_runner
        self._clock = clock
        self._who = who
        self._pace = pace
        self._keepers: dict[LinkId, LinkKeeper] = {}
        self._groups = {} if groups is None else groups
        self._started_ms = clock.now_ns() // 1_000_000
        self._stop = asyncio.Event()
        self._page = LocalPage(self._handle, clock.random)

    def stop(self) -> None:
        """Ask the daemon to end."""
        self._stop.set()

    async def run(self) -> None:
        """Sync all links until `stop`."""
        control = ControlServer(self._home, self._handle)
        async with asyncio.TaskGroup() as group:
            self._group = group
            async with control.listening():
                await self._reload()
                log.info("daemon.started", links=len(self._keepers), version=__version__)
                page = group.create_task(self._page.run())
                await self._until_stopped()
                page.cancel()
            await self._drain()
        log.info("daemon.stopped")

    async def _until_stopped(self) -> None:
        """Wait for `stop`, or until the home is gone: without it nobody could stop or ask this daemon any more."""
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(HOME_CHECK_S):
                    await self._stop.wait()
            except TimeoutError:
                if not (self._home / SOCKET_NAME).exists():
                    log.warning("daemon.home_gone")
                    return

    async def _drain(self) -> None:
        running: list[MountKeepers | LinkKeeper] = [*self._groups.values(), *self._keepers.values()]
        for one in running:
            one.stop()
        try:
            async with asyncio.timeout(DRAIN_S):
                for one in running:
                    await one.is_over.wait()
        except TimeoutError:
            log.warning("daemon.drain_cut", limit_s=DRAIN_S)
            for task in self._tasks():
                task.cancel()

    def _tasks(self) -> list[asyncio.Task[object]]:
        return [task for task in asyncio.all_tasks() if task.get_name().startswith("link-")]

    async def _reload(self) -> None:
        """Read the list of links again: end those that are gone, start those that are new."""
        wanted = {link.link_id: link for link in self._store.links()}
        gone = [self._keepers.pop(link_id) for link_id in list(self._keepers) if link_id not in wanted]
        for keeper in gone:
            keeper.stop()
        for keeper in gone:
            await self._end_group(keeper.link)
            await keeper.is_over.wait()
            # What the index knew of an ended link helps nobody; a new link of the same folder begins with a merge.
            shutil.rmtree(index_folder(self._home, keeper.link.link_id), ignore_errors=True)
        for link_id, link in wanted.items():
            if link_id not in self._keepers:
                keeper = self._keepers[link_id] = LinkKeeper(link, self._open_runner, self._clock)
                board = Board(link, self._clock.monotonic_s)
                before = self._mounted_before(link)
                shared = MountKeepers(
                    self._home, keeper, board, self._open_runner, self._clock, self._note_mounted, before
                )
                self._groups[link.local] = shared
                self._group.create_task(shared.run(), name=f"link-mounts-{link_id.hex()}")
                self._group.create_task(keeper.run(), name=f"link-{link_id.hex()}")

    def _mounted_before(self, link: Link) -> list[Link]:
        """Return the links of the shared folders that the last life knew in a linked one."""
        try:
            return [each for each in self._store.mounted() if each.outer == link.local]
        except Fault as fault:
            # It is written anew; what it named keeps its index.
            log.warning("mount.list_unread", code=fault.code)
            return []

    async def _end_group(self, link: Link) -> None:
        """End the links of the shared folders in a linked one that ends, and forget what was known of them."""
        group = self._groups.get(link.local)
        if group is None or group.board.link.link_id != link.link_id:
            return
        links = group.links
        group.stop()
        await group.is_over.wait()
        del self._groups[link.local]
        for inner in links:
            shared = frozenset(one.path for one in group.board.mounted)
            await asyncio.to_thread(forget_mount, self._home, inner, shared, self._clock)
        await self._note_mounted()

    async def _note_mounted(self) -> None:
        """Let the command line know of the shared folders."""
        links = tuple(link for group in self._groups.values() for link in group.links)
        if links or self._store.mounted():
            await asyncio.to_thread(self._store.put_mounted, links)

    async def _handle(self, request: Request) -> object:
        """Answer one request of the command line. Raises: NotLinked, MessageInvalid."""
        match request.do:
            case "ping":
                return {}
            case "status":
                return self.status()
            case "reload":
                await self._reload()
                return {}
            case "page":
                return await self._page.open()
            case "conflicts":
                return await self._conflicts(request)
            case "set_limits":
                return await asyncio.to_thread(self._set_limits, request)
            case "limit":
                # The daemon's own environment wins over the file, now as at the next start.
                return take_limits(load_settings(), self._pace)
            case "stop":
                self.stop()
                return {"pid": os.getpid()}
            case "wait":
                return await self._wait(request)
            case "undo" | "resolve":
                return await self._amend(request)
            case "exclude" | "include" | "excluded":
                return self._scope(request)
        return self._do(request.do, self._with_shared(self._named(request)))

    async def _amend(self, request: Request) -> list[tuple[str, list[Amended]]]:
        """Take back the last run, or end conflicts, link by link. Result: by linked folder."""
        told: list[tuple[str, list[Amended]]] = []
        for keeper in self._named(request):
            if request.do == "undo":
                told.append((keeper.link.local, await keeper.undo(with_new=request.with_new)))
            else:
                told.append((keeper.link.local, await keeper.resolve(request.paths, request.keep)))
        return told

    def _scope(self, request: Request) -> list[tuple[str, list[Excluded]]]:
        """Change or tell what is left out, link by link. Result: by linked folder."""
        told: list[tuple[str, list[Excluded]]] = []
        for keeper in self._named(request):
            match request.do:
                case "exclude":
                    found = keeper.exclude(request.paths)
                case "include":
                    found = keeper.include(request.paths)
                case _:
                    found = keeper.excluded()
            told.append((keeper.link.local, found))
        return told

    async def _conflicts(self, request: Request) -> list[tuple[str, list[Conflict]]]:
        """Return the conflicted copies on this disk, by linked folder."""
        links = [keeper.link for keeper in self._with_shared(self._named(request))]
        return await asyncio.to_thread(
            lambda: [
                (link.local, conflicts_in(index_folder(self._home, link.link_id), link.device_name, CONFLICTS_MAX))
                for link in links
            ]
        )

    def _set_limits(self, request: Request) -> Limits:
        """Keep the limits that are asked for, and let them hold."""
        for direction, rate in wanted_limits(request.limits).items():
            set_setting(self._home, DIRECTIONS[direction], rate)
        return take_limits(load_settings(), self._pace)

    def _do(self, what: str, keepers: list[LinkKeeper]) -> object:
        match what:
            case "pause" | "resume" | "hint":
                for keeper in keepers:
                    {"pause": keeper.pause, "resume": keeper.resume, "hint": keeper.hint_all}[what]()
                return len(keepers)
            case "held":
                held: list[tuple[str, list[HeldItem]]] = [(keeper.link.local, keeper.held()) for keeper in keepers]
                return held
            case "allow_held":
                return sum(keeper.allow_held() for keeper in keepers)
            case "undo_held":
                return sum(keeper.undo_held() for keeper in keepers)
        raise MessageInvalid("The daemon does not know this request.", reason=what)

    def _named(self, request: Request) -> list[LinkKeeper]:
        if not request.local:
            return self._every()
        found = [keeper for keeper in self._every() if keeper.link.local == request.local]
        if not found:
            raise NotLinked("That folder is not linked.", path=request.local)
        return found

    def _every(self) -> list[LinkKeeper]:
        """Return all keepers: linked folders first, then the shared folders in them."""
        return [*self._keepers.values(), *(keeper for group in self._groups.values() for keeper in group.keepers)]

    def _with_shared(self, keepers: list[LinkKeeper]) -> list[LinkKeeper]:
        """Add the shared folders that stand in these."""
        outside = {keeper.link.local for keeper in keepers}
        inside = [keeper for keeper in self._every() if keeper.link.outer in outside and keeper not in keepers]
        return [*keepers, *inside]

    async def _wait(self, request: Request) -> list[LinkStatus]:
        """Wait until all is in sync: what comes into one folder may concern the other, so more than once."""
        until = self._clock.monotonic_s() + request.timeout_s
        known: dict[LinkId, LinkStatus] = {}
        keepers = self._named(request)
        while True:
            for keeper in keepers:
                if keeper.link.local in self._groups:
                    await self._groups[keeper.link.local].settled(max(0.0, until - self._clock.monotonic_s()))
            every = self._with_shared(keepers)
            left_s = max(0.0, until - self._clock.monotonic_s())
            async with asyncio.TaskGroup() as group:
                waits = [(keeper, group.create_task(keeper.wait_in_sync(left_s))) for keeper in every]
            known = {keeper.link.link_id: wait.result() for keeper, wait in waits}
            keepers = [keeper for keeper in keepers if keeper in self._every()]
            is_same = [each.link for each in self._with_shared(keepers)] == [each.link for each in every]
            if (is_same and self._is_at_rest(every)) or self._clock.monotonic_s() >= until:
                return list(known.values())

    def _is_at_rest(self, keepers: list[LinkKeeper]) -> bool:
        """Tell whether none of several began anew while the others were waited for."""
        return len(keepers) == 1 or all(keeper.status().state != "syncing" for keeper in keepers)

    def status(self) -> DaemonStatus:
        """Return what `satchel status` shows."""
        server, account, device = self._who
        links = tuple(keeper.status() for keeper in self._every())
        limits = limits_of(self._pace)
        return DaemonStatus(os.getpid(), __version__, self._started_ms, server, account, device, links, limits)


def take_limits(settings: Settings, pace: Pace) -> Limits:
    """Let the limits of the settings hold from now on, and return them."""
    pace.set_rates(up=rate_of(settings.limit_up) or 0, down=rate_of(settings.limit_down) or 0)
    return limits_of(pace)


def limits_of(pace: Pace) -> Limits:
    """Return the limits that hold."""
    return Limits(pace.up.rate or None, pace.down.rate or None)


@contextlib.contextmanager
def only_daemon(home: Path) -> Iterator[None]:
    """Hold the lock of this SATCHEL_HOME. Raises: AlreadyRunning with the pid of the holder."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(home / LOCK_NAME, "a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            pid = lock.read(32).decode(errors="replace").strip()
            raise AlreadyRunning("A daemon runs on this SATCHEL_HOME already.", path=str(home), pid=pid) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n".encode())
        lock.flush()
        yield


def run_daemon(settings: Settings, *, to_terminal: bool) -> int:
    """Run the daemon until SIGTERM, SIGINT or `stop`; return the exit code.

    Raises: AlreadyRunning, NotSignedIn, SettingInvalid.
    """
    with only_daemon(settings.home):
        configure_logs(settings.home, settings.log_level, to_terminal=to_terminal)
        known = load(settings.home)
        collect_rarely()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(settings, known))
    return 0


async def _run(settings: Settings, known: Credentials) -> None:
    clock, lanes = MachineClock(), ThreadLanes(LINK_THREADS)
    # Of their own, so that a saved file is never looked at behind the compression of a large one.
    transfers = ThreadLanes(settings.transfer_threads)
    pace = Pace(clock)
    take_limits(settings, pace)

    groups: dict[str, MountKeepers] = {}

    @contextlib.asynccontextmanager
    async def open_runner(link: Link) -> AsyncIterator[Runner]:
        folder = index_folder(settings.home, link.link_id)
        board = groups[link.outer or link.local].board
        if not await asyncio.to_thread(ready, folder, clock):
            log.warning("index.set_aside", link=short(link.link_id))
        if not link.outer:
            await groups[link.local].settled(SETTLE_S_MAX)
            with suspecting(folder):
                await asyncio.to_thread(settle_mounts, settings.home, link, clock)
                link = await asyncio.to_thread(follow_shared, settings.home, link)
        remote = HttpRemote(known.url, known.token, clock=clock, pace=pace)
        try:
            with suspecting(folder):
                yield LinkRunner(
                    link,
                    remote,
                    device=known.device,
                    state_folder=folder,
                    clock=clock,
                    lanes=lanes,
                    transfers=transfers,
                    watcher=board.inbox(link.link_id) if link.outer else new_watcher(os.fsencode(link.local), clock),
                    board=board,
                )
            await asyncio.to_thread(closed, folder, clock)
        finally:
            await remote.close()

    daemon = Daemon(settings.home, open_runner, clock, (known.url, known.account, known.device_name), pace, groups)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stop)
    try:
        await daemon.run()
    finally:
        lanes.close()
        transfers.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def main() -> int:
    """Entry point of the background process: faults go to the log, and to stderr for who started it."""
    settings = load_settings()
    try:
        return run_daemon(settings, to_terminal=False)
    except Fault as fault:
        log.error("daemon.not_started", code=fault.code, message=fault.message)
        sys.stderr.write(f"{fault.message} {fault.hint}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
