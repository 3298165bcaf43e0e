"""The service in this process, over stores in memory, for tests that come between two of its steps."""

from __future__ import annotations

from dataclasses import dataclass

from satchel.core.ids import NamespaceId
from satchel.server.accounts.service import register_account, register_device
from satchel.server.accounts.standing import Standings
from satchel.server.adapters.bus_memory import MemoryBus
from satchel.server.adapters.machine import MachineClock
from satchel.server.adapters.state_memory import MemoryState
from satchel.server.blocks.service import BlockService
from satchel.server.db.engine import Database
from satchel.server.db.schema import migrate, store_facts
from satchel.server.db.sqlite import InlineSqliteDatabase
from satchel.server.feed.shared import SharedPages
from satchel.server.gateway.counters import Counters
from satchel.server.gateway.device import DeviceApp
from satchel.server.gateway.identity import Identity
from satchel.server.gateway.raw import Message, Room
from satchel.server.gateway.readiness import Readiness
from satchel.server.gateway.services import Services
from satchel.server.notify.renewals import Renewals
from satchel.server.notify.waiters import Waiters
from satchel.server.settings import load_settings
from satchel.simulation.stores import InlineWorkers, MemoryBlocks


@dataclass
class MemoryService:
    """One account over stores in memory."""

    services: Services
    app: DeviceApp
    token: str
    ns: NamespaceId

    async def ask(self, call: str, body: bytes) -> tuple[int, bytes]:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"authorization", b"Bearer " + self.token.encode())]
        scope: Message = {"type": "http", "method": "POST", "path": f"/sync/v1/{call}", "headers": headers}
        await self.app(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


async def open_service(store: Database | None = None) -> MemoryService:
    """Return a service with one account. store: an open store of its own; without it, one in memory."""
    clock, bus = MachineClock(), MemoryBus()
    state = MemoryState(clock)
    if store is None:
        store = InlineSqliteDatabase()
        await migrate(store, clock)
    db = store
    account = await register_account(db, clock, name="ann", password_hash="none", quota_bytes=1 << 20)
    token, _ = await register_device(db, clock, account_id=account.account_id, name="laptop")
    workers = InlineWorkers()
    blocks = BlockService(MemoryBlocks(), db, clock, workers)
    services = Services(
        settings=load_settings({"data": "/nowhere"}),
        db=db,
        clock=clock,
        blocks=blocks,
        bus=bus,
        state=state,
        renewals=Renewals(state),
        waiters=Waiters(bus),
        identity=Identity(db, clock),
        counters=Counters(blocks.counts),
        server_id=clock.random(8).hex(),
        facts=await store_facts(db),
        room=Room(),
        pages=SharedPages(db, blocks),
        standings=Standings(db, clock),
        workers=workers,
        readiness=Readiness(db, blocks.store_port),
    )
    return MemoryService(services, DeviceApp(services), token, account.root_ns)
