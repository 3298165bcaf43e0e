"""Opens what the settings' URLs name: block store, short-lived state, bus, and the log behind it. Invariant: a client
library is imported only where a URL asks for it, and what was opened is closed in the opposite order.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from satchel import __version__
from satchel.core.errors import SettingInvalid, StorageFailed
from satchel.server.accounts.access import readers_of
from satchel.server.adapters.blocks_local import LocalBlocks
from satchel.server.adapters.bus_memory import MemoryBus
from satchel.server.adapters.bus_posted import PostedBus
from satchel.server.adapters.state_memory import MemoryState
from satchel.server.blocks.shared_puts import SharedPuts
from satchel.server.db.engine import Database
from satchel.server.notify.notifier import Notifier
from satchel.server.notify.relay import Relay
from satchel.server.ports import BlockStore, Bus, Clock, EphemeralState, NoSealer, Sealer, SignInProvider
from satchel.server.settings import Settings

Work = Callable[[asyncio.Event], Coroutine[object, object, None]]
"""What a process does beside its requests, until the event is set."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The ports of one process, and what has to run beside its requests.

    away: those that only make things faster, by name, and whether each was gone when last asked. relay, notifier: where
    an event log is configured.
    """

    blocks: BlockStore
    state: EphemeralState
    bus: Bus
    away: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    relay: Relay | None = None
    notifier: Notifier | None = None

    @property
    def work(self) -> tuple[Work, ...]:
        """Return what runs beside requests."""
        return tuple(each.run for each in (self.relay, self.notifier) if each is not None)


@contextlib.asynccontextmanager
async def opened_stores(settings: Settings, db: Database, clock: Clock, server_id: str) -> AsyncIterator[Stores]:
    """Open all of them. Raises: SettingInvalid, StorageFailed, Unavailable."""
    async with contextlib.AsyncExitStack() as stack:
        blocks = await stack.enter_async_context(opened_blocks(settings, clock))
        away: dict[str, Callable[[], bool]] = {}
        state = _state(settings, clock, away)
        stack.push_async_callback(state.close)
        if settings.bus_url.startswith("kafka://"):
            bus, relay, notifier = await _posted(stack, settings, db, clock, state, server_id, away)
        else:
            bus, relay, notifier = await _bus(stack, settings, clock, away), None, None
        stack.push_async_callback(bus.close)
        yield Stores(blocks, state, bus, away, relay, notifier)


@contextlib.asynccontextmanager
async def opened_blocks(settings: Settings, clock: Clock) -> AsyncIterator[BlockStore]:
    """Open the block store alone. Raises: SettingInvalid, StorageFailed, Unavailable."""
    blocks = await _blocks(settings, clock)
    try:
        yield blocks
    finally:
        await blocks.close()


async def _blocks(settings: Settings, clock: Clock) -> BlockStore:
    if settings.blocks_url.startswith("file://"):
        return LocalBlocks(settings.blocks_folder)
    with _extra("blocks_url"):
        from satchel.server.adapters.blocks_object import open_object_blocks
    return SharedPuts(await open_object_blocks(settings.blocks_url, clock))


def _state(settings: Settings, clock: Clock, away: dict[str, Callable[[], bool]]) -> EphemeralState:
    if settings.state_url.startswith("memory://"):
        return MemoryState(clock)
    with _extra("state_url"):
        from satchel.server.adapters.state_redis import RedisState
    state = RedisState(settings.state_url, clock)
    away["state"] = lambda: state.is_away
    return state


async def _bus(
    stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock, away: dict[str, Callable[[], bool]]
) -> Bus:
    if settings.bus_url.startswith("memory://"):
        return MemoryBus()
    with _extra("bus_url"):
        from satchel.server.adapters.bus_redis import opened_bus
    bus = await stack.enter_async_context(opened_bus(settings.bus_url, clock))
    away["bus"] = lambda: bus.is_away
    return bus


async def _posted(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    db: Database,
    clock: Clock,
    state: EphemeralState,
    server_id: str,
    away: dict[str, Callable[[], bool]],
) -> tuple[Bus, Relay, Notifier | None]:
    """Return the bus of a process whose positions go through a log of events, and what carries them there and back."""
    with _extra("bus_url"):
        from satchel.server.adapters.bus_redis import opened_post
        from satchel.server.adapters.log_kafka import KafkaLog, KafkaPlace
    post = await stack.enter_async_context(opened_post(settings.state_url, clock, setting="state_url"))
    place = KafkaPlace.from_url(settings.bus_url)
    log = KafkaLog(place, clock, user=settings.kafka_user, password=settings.kafka_password)
    stack.push_async_callback(log.close)
    relay = Relay(db, log, clock)
    is_notifier = "notifier" in settings.roles
    notifier = Notifier(log, state, post, lambda namespaces: readers_of(db, namespaces)) if is_notifier else None
    away["bus"] = lambda: post.is_away
    away["events"] = lambda: bool(relay.counts.fault)
    return PostedBus(post, server_id, relay.wake), relay, notifier


@contextlib.asynccontextmanager
async def opened_provider(settings: Settings, clock: Clock) -> AsyncIterator[SignInProvider | None]:
    """Open the provider that people sign in by, where the settings name one. It is not asked before somebody comes."""
    told = settings.oidc
    if told is None:
        yield None
        return
    from satchel.server.adapters.oidc import Client, OidcProvider

    provider = OidcProvider(Client(told.issuer, told.client_id, told.secret), clock)
    try:
        yield provider
    finally:
        await provider.close()


def opened_sealer(settings: Settings, clock: Clock) -> Sealer:
    """Return what seals secrets: with the key of the settings, or, where the database is embedded, that of the data
    folder, made at the first start. The caller holds the folder. Raises: SettingInvalid, StorageFailed."""
    from satchel.server.adapters.sealer import KeySealer, key_in, key_of

    if settings.secrets_key:
        return KeySealer(key_of(settings.secrets_key, "secrets_key"), clock)
    if not settings.database_url.startswith("sqlite:"):
        # Each process has a data folder of its own: a key in one of them would be no other's.
        return NoSealer()
    try:
        return KeySealer(key_in(settings.data, clock), clock)
    except OSError as error:
        raise StorageFailed("The key of secrets cannot be kept.", where=settings.data, reason=str(error)) from error


def sealing_key(settings: Settings) -> str:
    """Return what `opened_sealer` seals with, in hex, for a backup; empty for nothing. Raises: SettingInvalid,
    StorageFailed."""
    from satchel.server.adapters.sealer import kept_key, key_of

    if settings.secrets_key:
        return key_of(settings.secrets_key, "secrets_key").hex()
    if not settings.database_url.startswith("sqlite:"):
        return ""
    try:
        return (kept_key(settings.data) or b"").hex()
    except OSError as error:
        raise StorageFailed("The key of secrets cannot be read.", where=settings.data, reason=str(error)) from error


KeyPlaced = Literal["none", "kept", "written", "to be set"]


def place_sealing_key(settings: Settings, key: str) -> KeyPlaced:
    """Put a backup's key where `opened_sealer` finds it. Safe to repeat. Return what came of it: `none` in the backup,
    `kept` (it is there already), `written` into the data folder, or there and `to be set` in the settings too, since
    they name another one, or none where the database is not embedded. Raises: SettingInvalid, StorageFailed.
    """
    from satchel.server.adapters.sealer import keep_key, kept_key, key_of

    if not key:
        return "none"
    if sealing_key(settings) == key:
        return "kept"
    try:
        if kept_key(settings.data) != (wanted := key_of(key, "secrets_key")):
            keep_key(settings.data, wanted)
    except OSError as error:
        raise StorageFailed("The key of secrets cannot be kept.", where=settings.data, reason=str(error)) from error
    is_read = not settings.secrets_key and settings.database_url.startswith("sqlite:")
    return "written" if is_read else "to be set"


@contextlib.asynccontextmanager
async def opened_traces(settings: Settings, server_id: str) -> AsyncIterator[None]:
    """Send traces while the block runs, where the settings say so. Raises: SettingInvalid."""
    if not settings.trace_endpoint:
        yield
        return
    with _extra("trace_endpoint", "trace"):
        from satchel.server.adapters.traces_otel import traced
    async with traced(settings.trace_endpoint, version=__version__, server_id=server_id):
        yield


@contextlib.contextmanager
def _extra(setting: str, extra: str = "cluster") -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        reason = f"it needs the extra '{extra}': pip install 'satchel[{extra}]'"
        raise SettingInvalid("A client library is missing.", setting=setting, reason=reason) from error
