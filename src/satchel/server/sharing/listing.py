"""What somebody takes part in, and who takes part in it. Invariant: members alone see the members."""

from __future__ import annotations

from dataclasses import dataclass

from satchel.core.access import Right, Role
from satchel.core.ids import AccountId, NamespaceId
from satchel.server.accounts.access import authorize_txn
from satchel.server.accounts.members import Member, State, members_txn, memberships_txn, parts_txn
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, fetch_in
from satchel.server.metadata.tree import path_in
from satchel.server.metadata.view import View


@dataclass(frozen=True, slots=True)
class Share:
    """A shared folder as one of its members sees it. path: of its mount; used_bytes: before compression."""

    ns: NamespaceId
    path: str
    role: Role
    owner: str
    used_bytes: int
    created_ms: int


@dataclass(frozen=True, slots=True)
class Person:
    """One who takes part, or was invited."""

    account_id: AccountId
    name: str
    role: Role
    state: State
    changed_ms: int


@dataclass(frozen=True, slots=True)
class Invitation:
    """What somebody was invited to. name: what the folder was called then."""

    ns: NamespaceId
    name: str
    role: Role
    invited_by: str
    created_ms: int


async def shares_of(db: Database, principal: Principal) -> list[Share]:
    """Return the shared folders that the principal owns or has accepted, by namespace."""

    async def read_txn(conn: Connection) -> list[Share]:
        parts = {each.ns: each for each in await memberships_txn(conn, principal.account_id)}
        mounted = {ns: each for ns, each in parts.items() if each.state == State.ACCEPTED}
        text = "SELECT ns, owner, bytes_used, created_at FROM namespaces WHERE ns IN {keys}"
        rows = sorted(await fetch_in(conn, text, list(mounted)))
        names = await _names_txn(conn, {row[1] for row in rows})
        view = View(principal.root_ns)
        await view.load_txn(conn, {each.mount_node for each in mounted.values()}, set())
        return [
            Share(ns, path_in(view, mounted[ns].mount_node), mounted[ns].role, names.get(owner, ""), used, created)
            for ns, owner, used, created in rows
        ]

    return await db.read(read_txn)


async def mount_path(db: Database, principal: Principal, ns: NamespaceId) -> str:
    """Return where a shared folder stands in the principal's tree. Raises: NotFound when it has no part in it."""

    async def read_txn(conn: Connection) -> str:
        await authorize_txn(conn, principal, ns, Right.READ)
        [part] = await parts_txn(conn, principal.account_id, [ns])
        view = View(principal.root_ns)
        await view.load_txn(conn, {part.mount_node}, set())
        return path_in(view, part.mount_node)

    return await db.read(read_txn)


async def people_of(db: Database, principal: Principal, ns: NamespaceId) -> list[Person]:
    """Return all who take part in a shared folder, the first one first. Raises: NotFound."""

    async def read_txn(conn: Connection) -> list[Person]:
        await authorize_txn(conn, principal, ns, Right.READ)
        members = await members_txn(conn, ns)
        names = await _names_txn(conn, {member.account_id for member in members})
        return [
            Person(each.account_id, names.get(each.account_id, ""), each.role, each.state, each.changed_at)
            for each in members
        ]

    return await db.read(read_txn)


async def invitations_of(db: Database, principal: Principal) -> list[Invitation]:
    """Return the invitations that the principal has not answered, by namespace."""

    async def read_txn(conn: Connection) -> list[Invitation]:
        open_ones = [
            each.ns for each in await memberships_txn(conn, principal.account_id) if each.state == State.INVITED
        ]
        parts: list[Member] = await parts_txn(conn, principal.account_id, open_ones)
        names = await _names_txn(conn, {each.invited_by for each in parts})
        return [
            Invitation(each.ns, each.name, each.role, names.get(each.invited_by, ""), each.changed_at) for each in parts
        ]

    return await db.read(read_txn)


async def _names_txn(conn: Connection, accounts: set[AccountId]) -> dict[AccountId, str]:
    rows = await fetch_in(conn, "SELECT account_id, name FROM accounts WHERE account_id IN {keys}", sorted(accounts))
    return {AccountId(account): name for account, name in rows}
