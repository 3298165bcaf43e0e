"""Who has a part in a shared folder: rows of `members`, and of `memberships`, the same by account. Invariant: both are
written in one transaction and never differ; whoever has accepted has a mount.

Writers hold the shared namespace's row, so two of them never decide on the same member at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from satchel.core.access import Role
from satchel.core.ids import AccountId, NamespaceId, NodeId
from satchel.server.db.engine import Connection, Question, Row, fetch_in

NO_MOUNT = NodeId(b"")


class State(IntEnum):
    """How far an invitation got."""

    INVITED = 0
    ACCEPTED = 1
    DECLINED = 2


class Member(NamedTuple):
    """One person's part in a shared namespace. name: of the folder, for whoever is invited; times: Unix ms."""

    ns: NamespaceId
    account_id: AccountId
    role: Role
    state: State
    name: str
    invited_by: AccountId
    mount_node: NodeId
    created_at: int
    changed_at: int

    @property
    def is_accepted(self) -> bool:
        """Whether the rights of the role hold."""
        return self.state == State.ACCEPTED


class Membership(NamedTuple):
    """What an account has a part in."""

    ns: NamespaceId
    role: Role
    state: State
    mount_node: NodeId


_COLUMNS = ", ".join(Member._fields)
_KEPT = "INSERT INTO members ({columns}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)" + (
    " ON CONFLICT (ns, account_id) DO UPDATE SET role = excluded.role, state = excluded.state, name = excluded.name,"
    " invited_by = excluded.invited_by, mount_node = excluded.mount_node, changed_at = excluded.changed_at"
)
_KEPT_BY_ACCOUNT = (
    "INSERT INTO memberships (account_id, ns, role, state, mount_node) VALUES ($1, $2, $3, $4, $5)"
    " ON CONFLICT (account_id, ns) DO UPDATE SET role = excluded.role, state = excluded.state,"
    " mount_node = excluded.mount_node"
)


def role_question(ns: NamespaceId, accounts: Iterable[AccountId]) -> Question:
    """Ask what rights the accounts have in a shared namespace; `roles_of` reads the answer."""
    sql = (
        "SELECT account_id, role FROM members WHERE ns = $1 AND account_id IN {keys}"
        f" AND state = {int(State.ACCEPTED)}"
    )
    return Question(sql, (ns,), keys=sorted(set(accounts)))


def roles_of(answer: Sequence[Row]) -> dict[AccountId, Role]:
    """Return the roles of those that have accepted."""
    return {AccountId(account): Role(role) for account, role in answer}


def memberships_question(account: AccountId) -> Question:
    """Ask what an account has a part in; `memberships_of` reads the answer."""
    return Question("SELECT ns, role, state, mount_node FROM memberships WHERE account_id = $1", (account,))


def memberships_of(answer: Sequence[Row]) -> list[Membership]:
    """Return them, by namespace."""
    found = [Membership(ns, Role(role), State(state), node) for ns, role, state, node in answer]
    return sorted(found, key=lambda each: each.ns)


async def memberships_txn(conn: Connection, account: AccountId) -> list[Membership]:
    """Return what an account has a part in, invitations among them, by namespace."""
    question = memberships_question(account)
    return memberships_of(await conn.fetch(question.sql, *question.args))


async def owned_bytes_txn(conn: Connection, accounts: Iterable[AccountId]) -> dict[AccountId, int]:
    """Return how many bytes the shared folders that each account owns hold; those that own none are left out."""
    text = (
        "SELECT account_id, ns FROM memberships WHERE account_id IN {keys}"
        f" AND role = '{Role.OWNER}' AND state = {int(State.ACCEPTED)}"
    )
    owned = [(AccountId(account), NamespaceId(ns)) for account, ns in await fetch_in(conn, text, sorted(set(accounts)))]
    sizes = "SELECT ns, bytes_used FROM namespaces WHERE ns IN {keys}"
    used: dict[bytes, int] = dict(await fetch_in(conn, sizes, sorted({ns for _, ns in owned})))
    found: dict[AccountId, int] = {}
    for account, ns in owned:
        found[account] = found.get(account, 0) + used.get(ns, 0)
    return found


async def members_txn(conn: Connection, ns: NamespaceId) -> list[Member]:
    """Return all members of a namespace, whatever their state, the first one first."""
    rows = await conn.fetch(f"SELECT {_COLUMNS} FROM members WHERE ns = $1 ORDER BY created_at, account_id", ns)
    return [_member(row) for row in rows]


async def member_txn(conn: Connection, ns: NamespaceId, account: AccountId) -> Member | None:
    """Return one person's part in a namespace, None when there is none."""
    rows = await conn.fetch(f"SELECT {_COLUMNS} FROM members WHERE ns = $1 AND account_id = $2", ns, account)
    return _member(rows[0]) if rows else None


async def parts_txn(conn: Connection, account: AccountId, namespaces: Iterable[NamespaceId]) -> list[Member]:
    """Return the account's parts in these namespaces."""
    text = f"SELECT {_COLUMNS} FROM members WHERE ns IN {{keys}} AND account_id = $1"
    return sorted(_member(row) for row in await fetch_in(conn, text, sorted(set(namespaces)), account))


async def keep_member_txn(conn: Connection, member: Member) -> None:
    """Write one person's part, new or changed. The caller holds the namespace's row."""
    role, state = str(member.role), int(member.state)
    row = member._replace(role=role, state=state)  # type: ignore[arg-type]  # as the database takes them
    await conn.execute(_KEPT.replace("{columns}", _COLUMNS), *row)
    await conn.execute(_KEPT_BY_ACCOUNT, member.account_id, member.ns, role, state, member.mount_node)


async def drop_member_txn(conn: Connection, member: Member) -> None:
    """Forget one person's part. The caller holds the namespace's row."""
    key = (member.ns, member.account_id)
    await conn.execute("DELETE FROM members WHERE ns = $1 AND account_id = $2", *key)
    await conn.execute("DELETE FROM memberships WHERE ns = $1 AND account_id = $2", *key)


def _member(row: Row) -> Member:
    found = Member(*row)
    return found._replace(role=Role(found.role), state=State(found.state))
