"""The one question whether someone may do something in a namespace. Invariant: unknown and forbidden answer alike.

An account's own root is known from its token and costs nothing; for any other namespace `members` is looked at, at each
request, so a right that is taken is gone with the next one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from satchel.core.access import Right, Role, allows
from satchel.core.errors import NotFound
from satchel.core.ids import AccountId, NamespaceId
from satchel.server.accounts.members import State, role_question, roles_of
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, Question, fetch_together


async def role_of(db: Database, principal: Principal, ns: NamespaceId) -> Role:
    """Return what the principal is to the namespace."""
    if ns == principal.root_ns:
        return _limited(principal, Role.OWNER)
    return await db.glance(lambda conn: role_txn(conn, principal, ns))


async def role_txn(conn: Connection, principal: Principal, ns: NamespaceId) -> Role:
    """As `role_of`, inside a transaction."""
    if ns == principal.root_ns:
        return _limited(principal, Role.OWNER)
    [rows] = await fetch_together(conn, [role_question(ns, (principal.account_id,))])
    return _limited(principal, roles_of(rows).get(principal.account_id, Role.NONE))


def _limited(principal: Principal, role: Role) -> Role:
    """Return the role of one who came by a password that only reads, or the role as it is."""
    return role if principal.may_write or role is Role.NONE else Role.VIEWER


async def authorize(db: Database, principal: Principal, ns: NamespaceId, *rights: Right) -> None:
    """Return when the principal has the rights in the namespace. Raises: NotFound."""
    require(await role_of(db, principal, ns), *rights)


async def authorize_txn(conn: Connection, principal: Principal, ns: NamespaceId, *rights: Right) -> None:
    """As `authorize`, inside a transaction."""
    require(await role_txn(conn, principal, ns), *rights)


def require(role: Role, *rights: Right) -> None:
    """Return when the role has all of the rights. Raises: NotFound."""
    if not all(allows(role, right) for right in rights):
        raise NotFound("There is no such namespace.")


async def readers_of(db: Database, namespaces: Sequence[NamespaceId]) -> dict[NamespaceId, tuple[AccountId, ...]]:
    """Return the accounts that may read each namespace; one that is not there has none."""
    roots = "SELECT ns, owner FROM namespaces WHERE ns IN {keys} AND kind = 'root'"
    shared = f"SELECT ns, account_id FROM members WHERE ns IN {{keys}} AND state = {int(State.ACCEPTED)}"
    asked = [Question(text, keys=sorted(set(namespaces))) for text in (roots, shared)]
    found: dict[NamespaceId, list[AccountId]] = defaultdict(list)
    for rows in await db.read(lambda conn: fetch_together(conn, asked)):
        for ns, account in rows:
            found[NamespaceId(ns)].append(AccountId(account))
    return {ns: tuple(sorted(accounts)) for ns, accounts in found.items()}
