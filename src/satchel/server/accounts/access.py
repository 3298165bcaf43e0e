"""The one question whether someone may do something in a namespace. Invariant: unknown and forbidden answer alike."""

from __future__ import annotations

from collections.abc import Sequence

from satchel.core.access import Right, Role, allows
from satchel.core.errors import NotFound
from satchel.core.ids import AccountId, NamespaceId
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Database, fetch_in


def role_of(principal: Principal, ns: NamespaceId) -> Role:
    """Return what the principal is to the namespace."""
    return Role.OWNER if ns == principal.root_ns else Role.NONE


def authorize(principal: Principal, ns: NamespaceId, right: Right) -> None:
    """Return when the principal has the right in the namespace. Raises: NotFound."""
    if not allows(role_of(principal, ns), right):
        raise NotFound("There is no such namespace.")


async def readers_of(db: Database, namespaces: Sequence[NamespaceId]) -> dict[NamespaceId, tuple[AccountId, ...]]:
    """Return the accounts that may read each namespace; one that is not there has none."""
    rows = await db.read(
        lambda conn: fetch_in(conn, "SELECT ns, owner FROM namespaces WHERE ns IN {keys} AND kind = 'root'", namespaces)
    )
    return {NamespaceId(ns): (AccountId(owner),) for ns, owner in rows}
