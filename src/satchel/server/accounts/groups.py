"""Groups of accounts. Invariant: administrators make them and say who is in them; a group's id outlives its names, and
no two groups have one name at a time.

Whoever makes, renames or removes one holds the end of the store's audit chain: two at once are one after another.
"""

from __future__ import annotations

from dataclasses import dataclass

from satchel.core.errors import AlreadyExists, LimitExceeded, NotFound
from satchel.core.ids import AccountId, uuid7
from satchel.core.limits import GROUP_MEMBERS_MAX, GROUPS_MAX
from satchel.core.paths import name_key
from satchel.server.accounts.audit import STORE_CHAIN, Action, by, lock_chain_txn, record_txn
from satchel.server.accounts.names import check_name
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database
from satchel.server.ports import Clock


@dataclass(frozen=True, slots=True)
class Group:
    """A group. members: how many."""

    group_id: bytes
    name: str
    created_ms: int
    members: int


@dataclass(frozen=True, slots=True)
class GroupMember:
    """An account in a group."""

    account_id: AccountId
    name: str
    added_ms: int


async def add_group(db: Database, clock: Clock, admin: Principal, name: str) -> Group:
    """Make a group without members. Raises: NameInvalid, AlreadyExists, LimitExceeded."""
    check_name(name)
    now = clock.now_ms()
    made = Group(uuid7(now, clock.random(10)), name, now, 0)

    async def add_txn(conn: Connection) -> None:
        await _claim_name_txn(conn, name, b"")
        held = await conn.fetch("SELECT COUNT(*) FROM groups_of_accounts")
        if held[0][0] >= GROUPS_MAX:
            raise LimitExceeded(
                "There are too many groups.", limit="GROUPS_MAX", maximum=GROUPS_MAX, actual=held[0][0] + 1
            )
        await conn.execute(
            "INSERT INTO groups_of_accounts (group_id, name, name_key, created_at) VALUES ($1, $2, $3, $4)",
            *(made.group_id, name, name_key(name), now),
        )
        await record_txn(conn, STORE_CHAIN, by(admin, Action.GROUP_MADE, now, subject=name, id=made.group_id.hex()))

    await db.write(STORE_CHAIN, add_txn)
    return made


async def rename_group(db: Database, clock: Clock, admin: Principal, group_id: bytes, name: str) -> None:
    """Give a group another name. Raises: NameInvalid, AlreadyExists, NotFound."""
    check_name(name)

    async def rename_txn(conn: Connection) -> None:
        await _claim_name_txn(conn, name, group_id)
        changed = await conn.execute(
            "UPDATE groups_of_accounts SET name = $2, name_key = $3 WHERE group_id = $1",
            *(group_id, name, name_key(name)),
        )
        if not changed:
            raise _gone()
        event = by(admin, Action.GROUP_CHANGED, clock.now_ms(), subject=group_id.hex(), name=name)
        await record_txn(conn, STORE_CHAIN, event)

    await db.write(STORE_CHAIN, rename_txn)


async def remove_group(db: Database, clock: Clock, admin: Principal, group_id: bytes) -> None:
    """Remove a group; its members' accounts stay. Raises: NotFound."""

    async def remove_txn(conn: Connection) -> None:
        await lock_chain_txn(conn, STORE_CHAIN)
        if not await conn.execute("DELETE FROM groups_of_accounts WHERE group_id = $1", group_id):
            raise _gone()
        await conn.execute("DELETE FROM group_members WHERE group_id = $1", group_id)
        event = by(admin, Action.GROUP_REMOVED, clock.now_ms(), subject=group_id.hex())
        await record_txn(conn, STORE_CHAIN, event)

    await db.write(STORE_CHAIN, remove_txn)


async def add_member(db: Database, clock: Clock, admin: Principal, group_id: bytes, account_id: bytes) -> None:
    """Put an account into a group. Idempotent. Raises: NotFound, LimitExceeded."""

    async def add_txn(conn: Connection) -> None:
        await lock_chain_txn(conn, STORE_CHAIN)
        await _require_txn(conn, group_id)
        if not await conn.fetch("SELECT 1 FROM accounts WHERE account_id = $1", account_id):
            raise _gone()
        held = await conn.fetch("SELECT COUNT(*) FROM group_members WHERE group_id = $1", group_id)
        if held[0][0] >= GROUP_MEMBERS_MAX:
            raise LimitExceeded(
                "The group has too many members.",
                limit="GROUP_MEMBERS_MAX",
                maximum=GROUP_MEMBERS_MAX,
                actual=held[0][0] + 1,
            )
        now = clock.now_ms()
        added = await conn.execute(
            "INSERT INTO group_members (group_id, account_id, added_at) VALUES ($1, $2, $3)"
            " ON CONFLICT (group_id, account_id) DO NOTHING",
            *(group_id, account_id, now),
        )
        if added:
            event = by(admin, Action.GROUP_CHANGED, now, subject=group_id.hex(), added=account_id.hex())
            await record_txn(conn, STORE_CHAIN, event)

    await db.write(STORE_CHAIN, add_txn)


async def remove_member(db: Database, clock: Clock, admin: Principal, group_id: bytes, account_id: bytes) -> None:
    """Take an account out of a group. Raises: NotFound."""

    async def remove_txn(conn: Connection) -> None:
        removed = await conn.execute(
            "DELETE FROM group_members WHERE group_id = $1 AND account_id = $2", group_id, account_id
        )
        if not removed:
            raise _gone()
        event = by(admin, Action.GROUP_CHANGED, clock.now_ms(), subject=group_id.hex(), removed=account_id.hex())
        await record_txn(conn, STORE_CHAIN, event)

    await db.write(STORE_CHAIN, remove_txn)


async def list_groups(db: Database, after: bytes, limit: int) -> list[Group]:
    """Return all groups in the order they were made. after: an id."""
    rows = await db.read(
        lambda conn: conn.fetch(
            f"SELECT {_COLUMNS} FROM groups_of_accounts g WHERE g.group_id > $1 ORDER BY g.group_id LIMIT $2",
            *(after, limit),
        )
    )
    return [Group(*row) for row in rows]


async def groups_of(db: Database, account_id: AccountId, after: bytes, limit: int) -> list[Group]:
    """Return the groups that an account is in. after: an id."""
    rows = await db.read(
        lambda conn: conn.fetch(
            f"SELECT {_COLUMNS} FROM group_members m JOIN groups_of_accounts g ON g.group_id = m.group_id"
            " WHERE m.account_id = $1 AND g.group_id > $2 ORDER BY g.group_id LIMIT $3",
            *(account_id, after, limit),
        )
    )
    return [Group(*row) for row in rows]


async def list_members(db: Database, group_id: bytes, after: bytes, limit: int) -> list[GroupMember]:
    """Return a group's members in the order of their ids. after: an account's id. Raises: NotFound."""

    async def list_txn(conn: Connection) -> list[GroupMember]:
        await _require_txn(conn, group_id)
        rows = await conn.fetch(
            "SELECT a.account_id, a.name, m.added_at FROM group_members m JOIN accounts a"
            " ON a.account_id = m.account_id WHERE m.group_id = $1 AND m.account_id > $2"
            " ORDER BY m.account_id LIMIT $3",
            *(group_id, after, limit),
        )
        return [GroupMember(*row) for row in rows]

    return await db.read(list_txn)


_COLUMNS = "g.group_id, g.name, g.created_at, (SELECT COUNT(*) FROM group_members c WHERE c.group_id = g.group_id)"


async def _require_txn(conn: Connection, group_id: bytes) -> None:
    if not await conn.fetch("SELECT 1 FROM groups_of_accounts WHERE group_id = $1", group_id):
        raise _gone()


async def _claim_name_txn(conn: Connection, name: str, own: bytes) -> None:
    """Hold the right to give a name, when no other group has it."""
    await lock_chain_txn(conn, STORE_CHAIN)
    rows = await conn.fetch(
        "SELECT 1 FROM groups_of_accounts WHERE name_key = $1 AND group_id <> $2", name_key(name), own
    )
    if rows:
        raise AlreadyExists("There is a group of this name.", what="group", name=name)


def _gone() -> NotFound:
    return NotFound("There is no such group or account.")
