"""Who takes part in a shared folder: inviting, accepting, leaving, handing over. Invariant: a namespace has one owner,
and an accepted member has its mount; a member's row and the mount's node change in one transaction.

Whoever changes a part holds the rows of the shared namespace and of the root in which the mount stands, in the order of
their ids. What is refused by a right answers as if there were nothing. Each act stands in the audit log of the folder's
owner, and of the one whom it is about. Source: docs/design/060 (2, 12), 085.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from satchel.core.access import Right, Role
from satchel.core.errors import NotFound, QuotaExceeded, ShareRefused, Unavailable
from satchel.core.ids import AccountId, NamespaceId
from satchel.core.paths import name_key
from satchel.server.accounts.access import authorize_txn
from satchel.server.accounts.audit import Action, Event, by, record_in_txn
from satchel.server.accounts.members import (
    NO_MOUNT,
    Member,
    State,
    drop_member_txn,
    keep_member_txn,
    member_txn,
    members_txn,
    memberships_txn,
)
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, Work, fetch_in
from satchel.server.metadata.journal import heads_txn
from satchel.server.metadata.mounts import author_of, lock_namespaces_txn, mount_txn, service_author, unmount_txn
from satchel.server.metadata.quota import quota_here_txn
from satchel.server.ports import Clock
from satchel.server.sharing.bounds import require_place, require_room
from satchel.server.sharing.conversion import SHARING_KEY

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Touched:
    """What a change reached: accounts whose rights changed, and namespaces whose journals have news."""

    accounts: tuple[AccountId, ...]
    namespaces: tuple[NamespaceId, ...] = ()


async def invite(
    db: Database,
    clock: Clock,
    principal: Principal,
    ns: NamespaceId,
    people: Sequence[tuple[str, Role]],
    *,
    from_address: str = "",
) -> Touched:
    """Invite accounts by name; who takes part already keeps the role. All or none.

    Raises: NotFound (the namespace, or an account), ShareRefused (`self`, `role`), LimitExceeded.
    """

    async def invite_txn(conn: Connection) -> Touched:
        await lock_namespaces_txn(conn, [ns])
        await authorize_txn(conn, principal, ns, Right.ADMINISTER)
        members = {member.account_id: member for member in await members_txn(conn, ns)}
        name = await _name_txn(conn, principal, members[principal.account_id])
        invited = []
        for user, role in people:
            account = await _invited_txn(conn, principal, user, role)
            known = members.get(account)
            if known is not None and known.is_accepted:
                continue
            if known is None:
                require_place(members)
                require_room(await memberships_txn(conn, account))
            now = clock.now_ms()
            member = Member(ns, account, role, State.INVITED, name, principal.account_id, NO_MOUNT, now, now)
            members[account] = member
            await keep_member_txn(conn, member)
            invited.append(account)
            event = _act(principal, Action.SHARE_OFFERED, now, ns, from_address, account=account, role=role)
            await record_in_txn(conn, (principal.account_id,), event)
        return Touched(tuple(invited))

    return await _changed(db, [ns], invite_txn)


async def require_people(db: Database, principal: Principal, people: Sequence[tuple[str, Role]]) -> None:
    """Check who is to be invited to what is not shared yet. Raises: NotFound (an account), ShareRefused."""

    async def require_txn(conn: Connection) -> None:
        for user, role in people:
            await _invited_txn(conn, principal, user, role)

    await db.read(require_txn)


async def _invited_txn(conn: Connection, principal: Principal, user: str, role: Role) -> AccountId:
    _require_given(role)
    account = await _account_txn(conn, user)
    if account == principal.account_id:
        raise ShareRefused("The owner needs no invitation.", reason="self")
    return account


async def accept(
    db: Database, clock: Clock, principal: Principal, ns: NamespaceId, *, from_address: str = ""
) -> Touched:
    """Take up an invitation: the folder is mounted in the root, under its name or one like it. Idempotent.

    Raises: NotFound, AlreadyExists.
    """
    root = principal.root_ns

    async def accept_txn(conn: Connection) -> Touched:
        await lock_namespaces_txn(conn, [ns, root])
        member = await member_txn(conn, ns, principal.account_id)
        if member is None or member.state == State.DECLINED:
            raise NotFound("There is no such invitation.")
        if member.is_accepted:
            return Touched(())
        node = await mount_txn(conn, clock, root, author_of(principal), target=ns, name=member.name)
        now = clock.now_ms()
        await keep_member_txn(conn, member._replace(state=State.ACCEPTED, mount_node=node, changed_at=now))
        event = _act(principal, Action.SHARE_ACCEPTED, now, ns, from_address, role=member.role)
        await record_in_txn(conn, (await _owner_txn(conn, ns), principal.account_id), event)
        return Touched((principal.account_id,), (root,))

    return await _changed(db, [ns, root], accept_txn)


async def decline(db: Database, clock: Clock, principal: Principal, ns: NamespaceId, *, from_address: str = "") -> None:
    """Turn an invitation down; the owner sees it, and may invite again. Raises: NotFound."""

    async def decline_txn(conn: Connection) -> None:
        await lock_namespaces_txn(conn, [ns])
        member = await member_txn(conn, ns, principal.account_id)
        if member is None or member.is_accepted:
            raise NotFound("There is no such invitation.")
        now = clock.now_ms()
        await keep_member_txn(conn, member._replace(state=State.DECLINED, changed_at=now))
        event = _act(principal, Action.SHARE_DECLINED, now, ns, from_address)
        await record_in_txn(conn, (await _owner_txn(conn, ns), principal.account_id), event)

    await _changed(db, [ns], decline_txn)


async def change_role(
    db: Database,
    clock: Clock,
    principal: Principal,
    ns: NamespaceId,
    account: AccountId,
    role: Role,
    *,
    from_address: str = "",
) -> Touched:
    """Give a member another role. Raises: NotFound, ShareRefused (`role`, `owner`)."""

    async def change_txn(conn: Connection) -> Touched:
        await lock_namespaces_txn(conn, [ns])
        await authorize_txn(conn, principal, ns, Right.ADMINISTER)
        member = await _member_txn(conn, ns, account)
        _require_given(role)
        now = clock.now_ms()
        await keep_member_txn(conn, member._replace(role=role, changed_at=now))
        before = member.role
        event = _act(
            principal, Action.SHARE_CHANGED, now, ns, from_address, account=account, role=role, role_before=before
        )
        await record_in_txn(conn, (principal.account_id, account), event)
        return Touched((account,))

    return await _changed(db, [ns], change_txn)


async def remove(
    db: Database, clock: Clock, principal: Principal, ns: NamespaceId, account: AccountId, *, from_address: str = ""
) -> Touched:
    """End somebody's part, or withdraw the invitation. Raises: NotFound, ShareRefused (`owner`)."""
    roots = await db.read(lambda conn: _roots_txn(conn, [account]))

    async def remove_txn(conn: Connection) -> Touched:
        await lock_namespaces_txn(conn, [ns, *roots.values()])
        await authorize_txn(conn, principal, ns, Right.ADMINISTER)
        touched = await _end_txn(conn, clock, [await _member_txn(conn, ns, account)], roots)
        event = _act(principal, Action.SHARE_REMOVED, clock.now_ms(), ns, from_address, account=account)
        await record_in_txn(conn, (principal.account_id, account), event)
        return touched

    return await _changed(db, [ns, *roots.values()], remove_txn)


async def leave(
    db: Database, clock: Clock, principal: Principal, ns: NamespaceId, *, from_address: str = ""
) -> Touched:
    """End one's own part. Raises: NotFound, ShareRefused (`owner`: hand it over first)."""
    account, root = principal.account_id, principal.root_ns

    async def leave_txn(conn: Connection) -> Touched:
        await lock_namespaces_txn(conn, [ns, root])
        await authorize_txn(conn, principal, ns, Right.READ)
        touched = await _end_txn(conn, clock, [await _member_txn(conn, ns, account)], {account: root})
        event = _act(principal, Action.SHARE_LEFT, clock.now_ms(), ns, from_address)
        await record_in_txn(conn, (await _owner_txn(conn, ns), account), event)
        return touched

    return await _changed(db, [ns, root], leave_txn)


async def transfer(
    db: Database, clock: Clock, principal: Principal, ns: NamespaceId, account: AccountId, *, from_address: str = ""
) -> Touched:
    """Make an accepted member the owner; who was it stays as an editor. Its bytes count against the new one from now.

    Raises: NotFound, ShareRefused (`owner`, `not_accepted`), QuotaExceeded.
    """

    async def transfer_txn(conn: Connection) -> Touched:
        await lock_namespaces_txn(conn, [ns])
        await authorize_txn(conn, principal, ns, Right.ADMINISTER)
        heir = await _member_txn(conn, ns, account)
        if not heir.is_accepted:
            raise ShareRefused("Only who has accepted can own it.", reason="not_accepted")
        owner = await member_txn(conn, ns, principal.account_id)
        assert owner is not None
        now = clock.now_ms()
        await keep_member_txn(conn, owner._replace(role=Role.EDITOR, changed_at=now))
        await keep_member_txn(conn, heir._replace(role=Role.OWNER, changed_at=now))
        await conn.execute("UPDATE namespaces SET owner = $2 WHERE ns = $1", ns, account)
        head = (await heads_txn(conn, [ns]))[ns]
        quota = await quota_here_txn(conn, ns, head)
        if quota is not None and head.bytes_used > quota:
            raise QuotaExceeded("The new owner has no room for it.")
        event = _act(principal, Action.SHARE_HANDED_OVER, now, ns, from_address, account=account)
        await record_in_txn(conn, (principal.account_id, account), event)
        return Touched((principal.account_id, account))

    return await _changed(db, [ns], transfer_txn)


async def stop(db: Database, clock: Clock, principal: Principal, ns: NamespaceId, *, from_address: str = "") -> Touched:
    """End the parts of all but the owner, and all invitations. The folder stays a namespace, of the owner alone.

    Raises: NotFound, Unavailable (somebody accepted meanwhile; ask again).
    """

    async def look_txn(conn: Connection) -> dict[AccountId, NamespaceId]:
        await authorize_txn(conn, principal, ns, Right.ADMINISTER)
        return await _roots_txn(conn, [member.account_id for member in await members_txn(conn, ns)])

    roots = await db.read(look_txn)

    async def stop_txn(conn: Connection) -> Touched:
        await lock_namespaces_txn(conn, [ns, *roots.values()])
        await authorize_txn(conn, principal, ns, Right.ADMINISTER)
        members = [member for member in await members_txn(conn, ns) if member.role != Role.OWNER]
        if any(member.account_id not in roots for member in members):
            raise Unavailable("Somebody came in meanwhile.", where="sharing", reason="members")
        touched = await _end_txn(conn, clock, members, roots)
        event = _act(principal, Action.SHARE_ENDED, clock.now_ms(), ns, from_address, members=len(members))
        await record_in_txn(conn, (principal.account_id, *(member.account_id for member in members)), event)
        return touched

    return await _changed(db, [ns, *roots.values()], stop_txn)


# -- parts of these ---------------------------------------------------------------------------------------------------


def _act(
    principal: Principal,
    action: Action,
    now_ms: int,
    ns: NamespaceId,
    address: str,
    *,
    account: AccountId | None = None,
    **told: str | int,
) -> Event:
    """Return an act for the audit log. account: of somebody else, whom it is about."""
    whom = {} if account is None else {"account": account.hex()}
    return by(principal, action, now_ms, address=address, subject=ns.hex(), **whom, **told)


async def _owner_txn(conn: Connection, ns: NamespaceId) -> AccountId:
    """Return who owns a namespace that is there."""
    rows = await conn.fetch("SELECT owner FROM namespaces WHERE ns = $1", ns)
    return AccountId(rows[0][0])


async def _changed(db: Database, namespaces: Collection[NamespaceId], work: Work[T]) -> T:
    """Run the work in a transaction that it shares with nobody who locks other namespaces."""
    return await db.write(SHARING_KEY + b"".join(sorted(set(namespaces))), work)


async def _end_txn(
    conn: Connection, clock: Clock, members: Sequence[Member], roots: dict[AccountId, NamespaceId]
) -> Touched:
    """Forget the members and take their mounts away. The caller holds the rows of all roots."""
    told = []
    for member in members:
        if member.is_accepted:
            root = roots[member.account_id]
            await unmount_txn(conn, clock, root, service_author(member.account_id), member.mount_node)
            told.append(root)
        await drop_member_txn(conn, member)
    return Touched(tuple(member.account_id for member in members), tuple(told))


async def _member_txn(conn: Connection, ns: NamespaceId, account: AccountId) -> Member:
    """Return a member whose part may end or change. Raises: NotFound, ShareRefused for the owner."""
    member = await member_txn(conn, ns, account)
    if member is None:
        raise NotFound("There is no such member.")
    if member.role == Role.OWNER:
        raise ShareRefused("The owner hands the folder over first.", reason="owner")
    return member


async def _account_txn(conn: Connection, user: str) -> AccountId:
    text = "SELECT account_id FROM accounts WHERE name_key = $1 AND is_disabled = 0"
    rows = await conn.fetch(text, name_key(user).encode(errors="replace").decode().replace("\0", "?/"))
    if not rows:
        raise NotFound("There is no such account.", name=user)
    return AccountId(rows[0][0])


async def _roots_txn(conn: Connection, accounts: Collection[AccountId]) -> dict[AccountId, NamespaceId]:
    rows = await fetch_in(conn, "SELECT account_id, root_ns FROM accounts WHERE account_id IN {keys}", accounts)
    return {AccountId(account): NamespaceId(root) for account, root in rows}


async def _name_txn(conn: Connection, principal: Principal, owner: Member) -> str:
    """Return what the owner calls the folder now."""
    text = "SELECT name FROM files WHERE ns = $1 AND node_id = $2"
    rows = await conn.fetch(text, principal.root_ns, owner.mount_node)
    return rows[0][0] if rows else owner.name


def _require_given(role: Role) -> None:
    if role not in (Role.EDITOR, Role.VIEWER):
        raise ShareRefused("A member is an editor or a viewer.", reason="role")
