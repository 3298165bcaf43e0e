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
from satchel.device.index.damage import closed, ready, suspecting
from satchel.device.keeper import LinkKeeper, OpenRunner, Runner
from satchel.device.links import Link, LinkStore, index_folder
from satchel.device.logs import EventLog, configure_logs
from satchel.device.memory import collect_rarely
from satchel.device.pace import Pace
from satchel.device.ports import Clock
from satchel.device.remote import HttpRemote
from satchel.device.runner import LinkRunner
from satchel.device.settings import Settings, load_settings, rate_of
from satchel.device.status import Amended, DaemonStatus, Excluded, HeldItem, Limits, LinkStatus
from satchel.device.thread_lanes import ThreadLanes
from satchel.device.watcher import new_watcher

log = EventLog(__name__)

LOCK_NAME = "daemon.lock"
DRAIN_S = 5.0
HOME_CHECK_S = 10.0
LINK_THREADS = 6
"""Threads that look at and change the linked folders."""


class Daemon:
    """All links of one SATCHEL_HOME. who: (server URL, account, device name) as `status` shows them."""

    def __init__(
        self, home: Path, open_runner: OpenRunner, clock: Clock, who: tuple[str, str, str], pace: Pace
    ) -> None:
        self._home = home
        self._store = LinkStore(home)
        self._open_runner = open_runner
        self._clock = clock
        self._who = who
        self._pace = pace
        self._keepers: dict[LinkId, LinkKeeper] = {}
        self._started_ms = clock.now_ns() // 1_000_000
        self._stop = asyncio.Event()

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
                await self._until_stopped()
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
        keepers = list(self._keepers.values())
        for keeper in keepers:
            keeper.stop()
        try:
            async with asyncio.timeout(DRAIN_S):
                for keeper in keepers:
                    await keeper.is_over.wait()
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
            await keeper.is_over.wait()
            # What the index knew of an ended link helps nobody; a new link of the same folder begins with a merge.
            shutil.rmtree(index_folder(self._home, keeper.link.link_id), ignore_errors=True)
        for link_id, link in wanted.items():
            if link_id not in self._keepers:
                keeper = self._keepers[link_id] = LinkKeeper(link, self._open_runner, self._clock)
                self._group.create_task(keeper.run(), name=f"link-{link_id.hex()}")

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
            case "limit":
                # The daemon's own environment wins over the file, now as at the next start.
                return take_limits(load_settings(), self._pace)
            case "stop":
                self.stop()
                return {"pid": os.getpid()}
            case "wait":
                return await self._wait(self._named(request), request.timeout_s)
            case "undo" | "resolve":
                return await self._amend(request)
            case "exclude" | "include" | "excluded":
                return self._scope(request)
        return self._do(request.do, self._named(request))

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
            return list(self._keepers.values())
        found = [keeper for keeper in self._keepers.values() if keeper.link.local == request.local]
        if not found:
            raise NotLinked("That folder is not linked.", path=request.local)
        return found

    async def _wait(self, keepers: list[LinkKeeper], timeout_s: float) -> list[LinkStatus]:
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(keeper.wait_in_sync(timeout_s)) for keeper in keepers]
        return [wait.result() for wait in waits]

    def status(self) -> DaemonStatus:
        """Return what `satchel status` shows."""
        server, account, device = self._who
        links = tuple(keeper.status() for keeper in self._keepers.values())
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

    @contextlib.asynccontextmanager
    async def open_runner(link: Link) -> AsyncIterator[Runner]:
        folder = index_folder(settings.home, link.link_id)
        if not await asyncio.to_thread(ready, folder, clock):
            log.warning("index.set_aside", link=short(link.link_id))
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
                    watcher=new_watcher(os.fsencode(link.local), clock),
                )
            await asyncio.to_thread(closed, folder, clock)
        finally:
            await remote.close()

    daemon = Daemon(settings.home, open_runner, clock, (known.url, known.account, known.device_name), pace)
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
