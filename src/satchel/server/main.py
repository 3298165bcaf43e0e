"""The composition root: settings in, a running service out. Invariant: one service on a data folder, and what was
acknowledged before a stop is there after the next start.

A stop drains: no new connections, streams close with 1001, requests end, stores close.
Source: docs/design/020, 060 (9).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog
import uvicorn

from satchel.core.cutting import require_fast_cutter
from satchel.core.errors import SettingInvalid
from satchel.core.limits import MIB
from satchel.server.accounts.standing import Standings
from satchel.server.adapters.machine import MachineClock, ThreadWorkers
from satchel.server.admin import Admin, answering
from satchel.server.blocks.service import BlockService
from satchel.server.db.opening import open_database
from satchel.server.db.schema import begin_run
from satchel.server.feed.shared import SharedPages
from satchel.server.folder import data_lock
from satchel.server.gateway.app import Gateway
from satchel.server.gateway.counters import Counters
from satchel.server.gateway.deadlines import WatchedProtocol, watch
from satchel.server.gateway.identity import Identity
from satchel.server.gateway.raw import Room
from satchel.server.gateway.services import Services
from satchel.server.notify.waiters import Waiters
from satchel.server.ports import Workers
from satchel.server.settings import Settings
from satchel.server.stores import Work, opened_stores
from satchel.server.upkeep import expiry, pruning, stored, usage
from satchel.server.upkeep.schedule import Scheduler

_log = structlog.get_logger("server")

KEEP_ALIVE_S = 75
WORK_DRAIN_S = 25.0
"""Longer than what upkeep gives a task that runs when it is told to stop."""
BACKLOG = 2_048
GARBAGE_OBJECTS = 20_000
CONNECTIONS_MAX = 20_000
DESCRIPTORS_KEPT = 500
WS_MESSAGE_BYTES_MAX = MIB


@dataclass(frozen=True, slots=True)
class Ready:
    """Where the service listens now. url: with the real port."""

    url: str
    host: str
    port: int


async def serve(
    settings: Settings, *, ready: Callable[[Ready], None] | None = None, stop: asyncio.Event | None = None
) -> None:
    """Run the service until SIGTERM, SIGINT or `stop`; then drain and return. `ready` is called once it answers.

    Raises: SettingInvalid, AlreadyRunning, StorageFailed, Unavailable, VersionUnsupported.
    """
    require_fast_cutter()
    _raise_descriptors()
    begin_logs(settings)
    stopping = stop or asyncio.Event()
    with data_lock(settings.data):
        listener = _listener(settings)
        async with opened(settings) as made:
            with _signals(stopping):
                await _run(settings, made, listener, stopping, ready)
    _log.info("server.stopped")


@dataclass(frozen=True, slots=True)
class Opened:
    """A service put together. work: what runs beside its requests; workers: where its heavy computing runs."""

    services: Services
    work: tuple[Work, ...]
    workers: Workers


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Opened]:
    """Open every store and put the rooms together; close them in the end. The caller holds the data folder."""
    clock = MachineClock()
    async with contextlib.AsyncExitStack() as stack:
        db = await open_database(settings.database_url, clock)
        stack.push_async_callback(db.close)
        facts = await begin_run(db)
        server_id, workers = clock.random(8).hex(), ThreadWorkers()
        stack.callback(workers.close)
        stores = await stack.enter_async_context(opened_stores(settings, db, clock, server_id))
        blocks = BlockService(stores.blocks, db, clock, workers)
        services = Services(
            settings=settings,
            db=db,
            clock=clock,
            blocks=blocks,
            bus=stores.bus,
            state=stores.state,
            waiters=Waiters(stores.bus),
            identity=Identity(db, clock),
            counters=Counters(blocks.counts),
            server_id=server_id,
            facts=facts,
            room=Room(),
            pages=SharedPages(db, blocks),
            standings=Standings(db, clock),
        )
        yield Opened(services, (*stores.work, *_upkeep(services, workers)), workers)


def _upkeep(services: Services, workers: Workers) -> Iterator[Work]:
    """Yield what upkeep runs, where its role is: short tasks do not wait for those that read all that is stored."""
    if "upkeep" in services.settings.roles:
        db, clock = services.db, services.clock
        short = [*expiry.tasks(db, clock), *pruning.tasks(db, clock), *usage.tasks(db, clock)]
        yield Scheduler(short, clock, db).run
        yield Scheduler(stored.tasks(db, services.blocks.store_port, clock, workers), clock, db).run


async def _run(
    settings: Settings,
    made: Opened,
    listener: socket.socket,
    stopping: asyncio.Event,
    ready: Callable[[Ready], None] | None,
) -> None:
    services = made.services
    server = _server(settings, Gateway(services))
    try:
        server.config.load()
    except OSError as error:
        raise SettingInvalid(
            "The certificate or its key cannot be used.", setting="tls_certificate", reason=str(error)
        ) from error
    server.lifespan = server.config.lifespan_class(server.config)
    _collect_rarely()
    await _listen(server, listener, settings)

    def doubt_all() -> None:
        services.identity.forget_all()
        services.waiters.doubt()

    admin = Admin(services.db, services.clock, doubt_all, services.blocks.store_port, made.workers)
    async with answering(settings.admin_socket, admin), asyncio.TaskGroup() as group:
        ticking = group.create_task(server.main_loop())
        watching = group.create_task(watch(server.server_state.connections, settings.deadlines))
        working = [group.create_task(work(stopping)) for work in made.work]
        told = _told(settings, listener)
        _log.info("server.ready", url=told.url, run=services.facts.run)
        if ready is not None:
            ready(told)
        await stopping.wait()
        _log.info("server.stopping")
        services.waiters.stop()
        server.should_exit = True
        await ticking
        await server.shutdown([listener])
        watching.cancel()
        await _ended(working, max(settings.deadlines.drain_s, WORK_DRAIN_S))


async def _ended(working: Sequence[asyncio.Task[None]], seconds: float) -> None:
    """Give what was told to stop so long, then end it."""
    if working:
        await asyncio.wait(working, timeout=seconds)
    for task in working:
        task.cancel()


async def _listen(server: uvicorn.Server, listener: socket.socket, settings: Settings) -> None:
    """Begin to accept, as uvicorn's own start does, but with a deadline for the TLS handshake too."""
    loop = asyncio.get_running_loop()
    deadline_s = settings.deadlines.header_s if server.config.ssl else None

    def connected() -> WatchedProtocol:
        state = server.lifespan.state
        return WatchedProtocol(config=server.config, server_state=server.server_state, app_state=state, _loop=loop)

    accepting = await loop.create_server(
        connected, sock=listener, ssl=server.config.ssl, ssl_handshake_timeout=deadline_s, backlog=BACKLOG
    )
    server.servers = [accepting]
    server.started = True


def _server(settings: Settings, app: Gateway) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="none",
            http=WatchedProtocol,
            ws="websockets-sansio",
            ws_max_size=WS_MESSAGE_BYTES_MAX,
            ws_per_message_deflate=False,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=bool(settings.behind_proxy),
            forwarded_allow_ips=list(settings.behind_proxy) or None,
            limit_concurrency=_connections_max(),
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(settings.deadlines.drain_s)),
            ssl_certfile=settings.tls_certificate or None,
            ssl_keyfile=settings.tls_key or None,
        )
    )


def _connections_max() -> int:
    """Return how many connections leave descriptors for the stores and for what is opened meanwhile."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    kept = min(DESCRIPTORS_KEPT, allowed // 2)
    return CONNECTIONS_MAX if allowed == resource.RLIM_INFINITY else min(CONNECTIONS_MAX, allowed - kept)


def _listener(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingInvalid("This address cannot be listened on.", setting="listen", reason=str(error)) from error
    return listener


def _told(settings: Settings, listener: socket.socket) -> Ready:
    port = listener.getsockname()[1]
    scheme = "https" if settings.tls_key else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return Ready(settings.public_url or f"{scheme}://{host}:{port}", settings.host, port)


def _raise_descriptors() -> None:
    """Take all file descriptors that the system allows: each connection needs one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def _signals(stopping: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    taken = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only the main thread may take signals; elsewhere the caller stops the service by its event.
        with contextlib.suppress(RuntimeError, ValueError):
            loop.add_signal_handler(number, stopping.set)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


def _collect_rarely() -> None:
    """Look for dead circles seldom: a request makes thousands that all die with it, without any."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, 20, 20)


def begin_logs(settings: Settings) -> None:
    """Write logs to standard error: readable, or JSON lines."""
    level = getattr(logging, settings.log_level.upper())
    renderer = structlog.processors.JSONRenderer() if settings.log_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
