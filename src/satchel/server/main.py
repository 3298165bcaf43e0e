"""The composition root: settings in, a running service out. Invariant: one service on a data folder, and what was
acknowledged before a stop is there after the next start.

A stop drains: readiness says no, streams close with 1001 one after another, and for a while everything is still
answered; then no new connections, requests end, stores close. A second signal ends the while.
Source: docs/design/020, 060 (9).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import structlog
import uvicorn

from satchel.core.cutting import require_fast_cutter
from satchel.core.errors import SettingInvalid
from satchel.core.limits import MIB
from satchel.core.retention import VersionPolicy
from satchel.server.accounts.setup import begin_setup
from satchel.server.accounts.standing import Standings
from satchel.server.adapters.blocks_measured import MeasuredBlocks
from satchel.server.adapters.machine import MachineClock, ThreadWorkers
from satchel.server.admin import Admin, answering, own_folders
from satchel.server.blocks.service import BlockService
from satchel.server.db.measured import MeasuredDatabase
from satchel.server.db.opening import open_database
from satchel.server.db.schema import begin_run
from satchel.server.event_log import pause
from satchel.server.feed.shared import SharedPages
from satchel.server.folder import data_lock
from satchel.server.gateway.app import Gateway
from satchel.server.gateway.cookies import cookies_of
from satchel.server.gateway.counters import Counters
from satchel.server.gateway.deadlines import WatchedProtocol, watch
from satchel.server.gateway.identity import Identity
from satchel.server.gateway.raw import Room
from satchel.server.gateway.readiness import Readiness
from satchel.server.gateway.services import Services
from satchel.server.logs import begin_logs
from satchel.server.monitor import Monitor, Sources
from satchel.server.notify.renewals import Renewals
from satchel.server.notify.waiters import Waiters
from satchel.server.ports import Poster, Workers
from satchel.server.search.texts import Reading
from satchel.server.settings import Settings
from satchel.server.stores import Work, opened_provider, opened_sealer, opened_stores, opened_traces, sealing_key
from satchel.server.upkeep import (
    ended_links,
    expiry,
    naming,
    pruning,
    requests,
    rewinds,
    stored,
    texts,
    thinning,
    thumbnails,
    trash,
    usage,
    webdav,
    webhooks,
)
from satchel.server.upkeep.backup.marks import require_in_service
from satchel.server.upkeep.overseeing import StoreOverseer
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
STREAMS_LOOK_S = 0.02
WS_PING_S = 60.0
"""Our own `Ping` keeps a connection open; this one, which has to be answered, finds devices that are gone."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Where the service listens now. url: with the real port; metrics_port: 0 when there are none.

    setup_code: makes the first account; empty where there is one.
    """

    url: str
    host: str
    port: int
    metrics_port: int = 0
    setup_code: str = field(default="", repr=False)


async def serve(
    settings: Settings, *, ready: Callable[[Ready], None] | None = None, stop: asyncio.Event | None = None
) -> None:
    """Run the service until SIGTERM, SIGINT or `stop`; then drain and return. `ready` is called once it answers.

    Raises: SettingInvalid, AlreadyRunning, StorageFailed, Unavailable, VersionUnsupported.
    """
    require_fast_cutter()
    _raise_descriptors()
    begin_logs(settings.log_level, is_json=settings.log_json, known=settings.secrets())
    stopping = stop or asyncio.Event()
    with data_lock(settings.data):
        listener = _listener(settings)
        async with opened(settings) as made:
            with _signals(stopping) as hurry:
                await _run(settings, made, listener, Stop(stopping, hurry), ready)
    _log.info("server.stopped")


@dataclass(frozen=True, slots=True)
class Stop:
    """asked: the service is to stop; hurry: without waiting for others to notice."""

    asked: asyncio.Event
    hurry: asyncio.Event


@dataclass(frozen=True, slots=True)
class Opened:
    """A service put together. work: what runs beside its requests; workers: where its heavy computing runs."""

    services: Services
    work: tuple[Work, ...]
    workers: Workers
    monitor: Monitor


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Opened]:
    """Open every store and put the rooms together; close them in the end. The caller holds the data folder."""
    clock = MachineClock()
    async with contextlib.AsyncExitStack() as stack:
        db = MeasuredDatabase(await open_database(settings.database_url, clock))
        stack.push_async_callback(db.close)
        await require_in_service(db)
        facts = await begin_run(db)
        server_id, workers = clock.random(8).hex(), ThreadWorkers()
        stack.callback(workers.close)
        await stack.enter_async_context(opened_traces(settings, server_id))
        stores = await stack.enter_async_context(opened_stores(settings, db, clock, server_id))
        provider = await stack.enter_async_context(opened_provider(settings, clock))
        store = MeasuredBlocks(stores.blocks)
        blocks = BlockService(store, db, clock, workers)
        services = Services(
            settings=settings,
            db=db,
            clock=clock,
            blocks=blocks,
            bus=stores.bus,
            state=stores.state,
            renewals=Renewals(stores.state),
            waiters=Waiters(stores.bus),
            identity=Identity(db, clock, cookies_of(settings)),
            counters=Counters(blocks.counts),
            server_id=server_id,
            facts=facts,
            room=Room(),
            pages=SharedPages(db, blocks),
            standings=Standings(db, clock),
            workers=workers,
            readiness=Readiness(db, store, stores.state, stores.away),
            posts=_poster(settings),
            provider=provider,
            sealer=opened_sealer(settings, clock),
            overseer=StoreOverseer(db),
        )
        schedulers = tuple(_upkeep(services, workers))
        monitor = Monitor(Sources(services, db, store, stores.relay, stores.notifier, schedulers))
        counting = functools.partial(services.hits.keep, db, clock)
        yield Opened(services, (*stores.work, *(each.run for each in schedulers), counting), workers, monitor)


def _poster(settings: Settings) -> Poster:
    # Only here: most processes never send anything, and its client is large.
    from satchel.server.adapters.posts_http import HttpPoster

    return HttpPoster(settings.webhook_networks)


def _upkeep(services: Services, workers: Workers) -> Iterator[Scheduler]:
    """Yield what upkeep runs, where its role is: short tasks wait neither for documents that are read nor for those
    that read all that is stored."""
    if "upkeep" in services.settings.roles:
        db, clock, told = services.db, services.clock, services.settings
        short = [*expiry.tasks(db, clock), *pruning.tasks(db, clock), *usage.tasks(db, clock)]
        short += ended_links.tasks(db, clock)
        short += naming.tasks(db, clock)
        short += thumbnails.tasks(db, clock)
        policy = None if told.versions_keep_all_days is None else VersionPolicy(told.versions_keep_all_days)
        short += [*thinning.tasks(db, clock, policy), *trash.tasks(db, clock, told.trash_keep_days)]
        short += webdav.tasks(db, clock)
        short += rewinds.tasks(db, clock, policy)
        short += requests.tasks(db, clock)
        short += webhooks.tasks(db, clock, services.posts)
        yield Scheduler(short, clock, db)
        yield Scheduler(texts.tasks(Reading(db, services.blocks, services.documents, workers), clock), clock, db)
        yield Scheduler(stored.tasks(db, services.blocks.store_port, clock, workers), clock, db)


async def _run(
    settings: Settings,
    made: Opened,
    listener: socket.socket,
    stop: Stop,
    ready: Callable[[Ready], None] | None,
) -> None:
    services, ending = made.services, asyncio.Event()
    setup_code = await begin_setup(services.db, services.clock) if "gateway" in settings.roles else ""
    server = _server(settings, Gateway(services))
    try:
        server.config.load()
    except OSError as error:
        raise SettingInvalid(
            "The certificate or its key cannot be used.", setting="tls_certificate", reason=str(error)
        ) from error
    server.lifespan = server.config.lifespan_class(server.config)
    _collect_rarely()
    await _listen(server, listener, settings, services.counters)

    def doubt_all() -> None:
        services.identity.forget_all()
        services.waiters.doubt()

    store, folders = services.blocks.store_port, own_folders(settings)
    key = functools.partial(sealing_key, settings)
    admin = Admin(services.db, services.clock, doubt_all, store, made.workers, folders, key)
    async with (
        answering(settings.admin_socket, admin),
        made.monitor.serving(settings.metrics_listen) as metrics_port,
        asyncio.TaskGroup() as group,
    ):
        ticking = group.create_task(server.main_loop())
        watching = group.create_task(watch(server.server_state.connections, settings.deadlines))
        working = [group.create_task(work(ending)) for work in made.work]
        lagging = group.create_task(made.monitor.watch_lag()) if metrics_port else None
        told = _told(settings, listener, metrics_port)
        _log.info("server.ready", url=told.url, run=services.facts.run, metrics_port=metrics_port)
        if ready is not None:
            ready(replace(told, setup_code=setup_code))
        await stop.asked.wait()
        await _drained(settings, services, stop.hurry)
        ending.set()
        services.waiters.stop()
        await _streams_ended(services.counters, settings.deadlines.drain_s)
        server.should_exit = True
        await ticking
        await server.shutdown([listener])
        watching.cancel()
        if lagging is not None:
            lagging.cancel()
        await _ended(working, max(settings.deadlines.drain_s, WORK_DRAIN_S))


async def _drained(settings: Settings, services: Services, hurry: asyncio.Event) -> None:
    """Have new work go elsewhere: first the balancer is given time to notice, then streams end one after another.

    All that comes meanwhile is answered. Where the process has no gateway, nobody sends it anything.
    """
    wait_s = settings.drain_wait_s if "gateway" in settings.roles else 0.0
    services.readiness.is_draining = True
    _log.info("server.draining", wait_s=wait_s, waiting=len(services.waiters))
    if wait_s > 0:
        await pause(hurry, wait_s / 2)
        await services.waiters.drain(wait_s / 2, hurry)
    _log.info("server.stopping", hurried=hurry.is_set())


async def _streams_ended(counters: Counters, seconds: float) -> None:
    """Give streams so long to say why they end: what is still open then is closed without a word of ours."""
    for _ in range(round(seconds / STREAMS_LOOK_S)):
        if not counters.streams:
            return
        await asyncio.sleep(STREAMS_LOOK_S)


async def _ended(working: Sequence[asyncio.Task[None]], seconds: float) -> None:
    """Give what was told to stop so long, then end it."""
    if working:
        await asyncio.wait(working, timeout=seconds)
    for task in working:
        task.cancel()


async def _listen(server: uvicorn.Server, listener: socket.socket, settings: Settings, counters: Counters) -> None:
    """Begin to accept, as uvicorn's own start does, but with a deadline for the TLS handshake too."""
    loop = asyncio.get_running_loop()
    deadline_s = settings.deadlines.header_s if server.config.ssl else None

    def connected() -> WatchedProtocol:
        state = server.lifespan.state
        made = WatchedProtocol(config=server.config, server_state=server.server_state, app_state=state, _loop=loop)
        made.counters = counters
        return made

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
            ws_ping_interval=WS_PING_S,
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


def _told(settings: Settings, listener: socket.socket, metrics_port: int) -> Ready:
    port = listener.getsockname()[1]
    scheme = "https" if settings.tls_key else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return Ready(settings.public_url or f"{scheme}://{host}:{port}", settings.host, port, metrics_port)


def _raise_descriptors() -> None:
    """Take all file descriptors that the system allows: each connection needs one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def _signals(stopping: asyncio.Event) -> Iterator[asyncio.Event]:
    """Set `stopping` at the first signal that asks for a stop, and the event that is yielded at the second."""
    loop = asyncio.get_running_loop()
    taken = []
    hurry = asyncio.Event()

    def told() -> None:
        (hurry if stopping.is_set() else stopping).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        # Only the main thread may take signals; elsewhere the caller stops the service by its event.
        with contextlib.suppress(RuntimeError, ValueError):
            loop.add_signal_handler(number, told)
            taken.append(number)
    try:
        yield hurry
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


def _collect_rarely() -> None:
    """Look for dead circles seldom: a request makes thousands that all die with it, without any."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, 20, 20)
