"""Tells who waits of what changed outside a commit. Invariant: what is told was durable before."""

from __future__ import annotations

from collections.abc import Iterable

from satchel.core.ids import NamespaceId
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.services import Services
from satchel.server.metadata.journal import heads_txn
from satchel.server.sharing.people import Touched, leave


async def tell_heads(services: Services, namespaces: Iterable[NamespaceId]) -> None:
    """Tell the newest positions of these namespaces."""
    wanted = sorted(set(namespaces))
    if wanted:
        for ns, head in sorted((await services.db.read(lambda conn: heads_txn(conn, wanted))).items()):
            await services.bus.publish(ns, head.seq)


async def tell_touched(services: Services, touched: Touched) -> None:
    """Have those whose rights changed look again, and tell their devices of the change.

    A process that holds other connections of theirs looks by itself, within the time of a ping.
    """
    await tell_heads(services, touched.namespaces)
    for account in touched.accounts:
        services.waiters.doubt(account)


async def leave_share(services: Services, principal: Principal, ns: NamespaceId, *, from_address: str = "") -> None:
    """End the principal's part in a shared folder. Raises: NotFound, ShareRefused."""
    await tell_touched(services, await leave(services.db, services.clock, principal, ns, from_address=from_address))
