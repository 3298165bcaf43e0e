"""What every route works with, put together once at start. Invariant: routes hold no state of their own."""

from __future__ import annotations

from dataclasses import dataclass, field

from satchel.server.accounts.standing import Standings
from satchel.server.blocks.service import BlockService
from satchel.server.db.engine import Database
from satchel.server.db.schema import StoreFacts
from satchel.server.documents.extracting import Extractor
from satchel.server.documents.thumbnails import Thumbnailer
from satchel.server.feed.shared import SharedPages
from satchel.server.gateway.counters import Counters
from satchel.server.gateway.identity import Identity
from satchel.server.gateway.raw import Room
from satchel.server.gateway.readiness import Readiness
from satchel.server.notify.renewals import Renewals
from satchel.server.notify.waiters import Waiters
from satchel.server.ports import (
    Bus,
    Clock,
    EphemeralState,
    NoOverseer,
    NoPoster,
    NoSealer,
    Overseer,
    Poster,
    Sealer,
    SignInProvider,
    Workers,
)
from satchel.server.settings import Settings
from satchel.server.sharing.hits import Hits


@dataclass(frozen=True, slots=True)
class Services:
    """The rooms and ports that the gateway calls.

    server_id: a random id of this process; facts: what the store said of itself at start.
    """

    settings: Settings
    db: Database
    clock: Clock
    blocks: BlockService
    bus: Bus
    state: EphemeralState
    renewals: Renewals
    waiters: Waiters
    identity: Identity
    counters: Counters
    server_id: str
    facts: StoreFacts
    room: Room
    readiness: Readiness
    pages: SharedPages
    standings: Standings
    workers: Workers
    hits: Hits = field(default_factory=Hits)
    posts: Poster = field(default_factory=NoPoster)
    documents: Extractor = field(default_factory=Extractor)
    thumbnails: Thumbnailer = field(default_factory=Thumbnailer)
    provider: SignInProvider | None = None
    sealer: Sealer = field(default_factory=NoSealer)
    overseer: Overseer = field(default_factory=NoOverseer)
