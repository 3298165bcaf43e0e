"""Accounts, their devices and tokens. Invariant: a token is stored only as its hash, and works until it is revoked.

A token is 32 random bytes in base64url, shown once. No row of these tables is written in a commit.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from satchel.core.errors import AlreadyExists, LimitExceeded, NotFound, Unauthenticated
from satchel.core.ids import AccountId, DeviceId, NamespaceId, uuid7
from satchel.core.limits import DEVICES_PER_ACCOUNT_MAX
from satchel.core.paths import name_key
from satchel.server.accounts.audit import Action, Event, by, record_txn
from satchel.server.accounts.ending import end_access_txn, require_unchanged_txn
from satchel.server.accounts.members import owned_bytes_txn
from satchel.server.accounts.names import check_name, looked_up
from satchel.server.accounts.passwords import check_new_password, hash_password
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.proving import Proved
from satchel.server.accounts.second_factor import prove_fully, reset_second_factor_txn
from satchel.server.accounts.tokens import token_hash
from satchel.server.db.engine import Connection, Database, fetch_in
from satchel.server.ports import Clock, EphemeralState, NoSealer, Sealer

TOKEN_BYTES = 32
TOKEN_CHARS_MAX = 128
SEEN_GRAIN_MS = 60 * 60 * 1000
"""A device's last visit is written at most this often."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the administrator sees it. used_bytes: of its own files and of the shared folders that it owns, as
    its limit counts them; quota_bytes: None when there is no limit."""

    account_id: AccountId
    name: str
    root_ns: NamespaceId
    is_admin: bool
    is_disabled: bool
    created_ms: int
    used_bytes: int
    quota_bytes: int | None


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account that is to be made: its ids, what it may, and when."""

    account_id: AccountId
    root_ns: NamespaceId
    name: str
    password_hash: str
    is_admin: bool
    quota_bytes: int | None
    now_ms: int


@dataclass(frozen=True, slots=True)
class Device:
    """A signed-in device of an account."""

    device_id: DeviceId
    name: str
    created_ms: int
    seen_ms: int


class NewDevice(NamedTuple):
    """A device that is to be made, and its token."""

    account_id: AccountId
    device_id: DeviceId
    name: str
    token: str
    now_ms: int

    def __repr__(self) -> str:
        return f"NewDevice({self.name!r})"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new device and its token, which is not shown again."""

    token: str
    account_id: AccountId
    account_name: str
    device_id: DeviceId
    root_ns: NamespaceId


# -- accounts ---------------------------------------------------------------------------------------------------------


async def add_user(
    db: Database, clock: Clock, *, name: str, password: str, is_admin: bool = False, quota_bytes: int | None = None
) -> Account:
    """Make an account and its root namespace. Raises: NameInvalid, MessageInvalid, LimitExceeded, AlreadyExists."""
    check_new_password(password)
    check_name(name)
    hashed = await hash_password(password)
    return await register_account(
        db, clock, name=name, password_hash=hashed, is_admin=is_admin, quota_bytes=quota_bytes
    )


async def register_account(
    db: Database,
    clock: Clock,
    *,
    name: str,
    password_hash: str,
    is_admin: bool = False,
    quota_bytes: int | None = None,
) -> Account:
    """Make an account whose password is hashed already (or can never match). Raises: NameInvalid, AlreadyExists."""
    check_name(name)
    made = new_account(clock, name=name, password_hash=password_hash, is_admin=is_admin, quota_bytes=quota_bytes)
    return await db.write(made.account_id, lambda conn: register_account_txn(conn, made))


def new_account(
    clock: Clock, *, name: str, password_hash: str, is_admin: bool = False, quota_bytes: int | None = None
) -> NewAccount:
    """Return an account that is to be made, with its ids."""
    now = clock.now_ms()
    account_id, root_ns = AccountId(uuid7(now, clock.random(10))), NamespaceId(uuid7(now, clock.random(10)))
    return NewAccount(account_id, root_ns, name, password_hash, is_admin, quota_bytes, now)


async def register_account_txn(conn: Connection, new: NewAccount) -> Account:
    """Make the account and its root namespace. Raises: AlreadyExists."""
    account_id, root_ns, name, now = new.account_id, new.root_ns, new.name, new.now_ms
    made = await conn.execute(
        "INSERT INTO accounts"
        " (account_id, name, name_key, password_hash, root_ns, is_admin, is_disabled, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, 0, $7) ON CONFLICT (name_key) DO NOTHING",
        *(account_id, name, name_key(name), new.password_hash, root_ns, int(new.is_admin), now),
    )
    if not made:
        raise AlreadyExists("There is an account of this name.", what="account", name=name)
    await conn.execute(
        "INSERT INTO namespaces"
        " (ns, kind, owner, head_seq, head_tag, head_at, min_seq, bytes_used, quota, created_at)"
        " VALUES ($1, 'root', $2, 0, $3, 0, 0, 0, $4, $5)",
        *(root_ns, account_id, b"", new.quota_bytes, now),
    )
    told = {"is_admin": new.is_admin, "quota_bytes": new.quota_bytes}
    await record_txn(conn, account_id, Event(Action.ACCOUNT_MADE, now, subject=name, detail=told))
    return Account(account_id, name, root_ns, new.is_admin, False, now, 0, new.quota_bytes)


async def list_users(db: Database) -> list[Account]:
    """Return all accounts by name."""
    return await db.read(lambda conn: accounts_txn(conn, "1 = 1 ORDER BY a.name_key"))


async def account_id_of(db: Database, name: str) -> AccountId:
    """Return the id of the account of this name. Raises: NotFound."""
    rows = await db.read(
        lambda conn: conn.fetch("SELECT account_id FROM accounts WHERE name_key = $1", looked_up(name))
    )
    if not rows:
        raise NotFound("There is no such account.", name=name)
    return AccountId(rows[0][0])


async def names_of(db: Database, accounts: Iterable[bytes]) -> dict[bytes, str]:
    """Return the names of the accounts that are there."""
    wanted = sorted(set(accounts))
    rows = await db.read(
        lambda conn: fetch_in(conn, "SELECT account_id, name FROM accounts WHERE account_id IN {keys}", wanted)
    )
    return {row[0]: row[1] for row in rows}


async def account_of(db: Database, principal: Principal) -> Account:
    """Return the principal's own account. Raises: NotFound."""
    found = await db.glance(lambda conn: accounts_txn(conn, "a.account_id = $1", principal.account_id))
    if not found:
        raise NotFound("There is no such account.")
    return found[0]


async def set_password(db: Database, clock: Clock, name: str, password: str, *, keep_devices: bool = False) -> None:
    """Set a new password; devices, sessions and app passwords end unless told otherwise.

    Raises: as `add_user`, NotFound.
    """
    check_new_password(password)
    hashed, now = await hash_password(password), clock.now_ms()

    async def set_txn(conn: Connection, account_id: AccountId) -> None:
        await conn.execute("UPDATE accounts SET password_hash = $2 WHERE account_id = $1", account_id, hashed)
        if not keep_devices:
            await end_access_txn(conn, account_id, now)
        await record_txn(conn, account_id, Event(Action.PASSWORD_CHANGED, now, detail={"keep_devices": keep_devices}))

    await _change_account(db, name, set_txn)


async def disable_user(db: Database, clock: Clock, name: str, *, is_disabled: bool = True) -> None:
    """Shut the account's devices out, or let them in again; nothing is deleted. Raises: NotFound."""

    async def set_txn(conn: Connection, account_id: AccountId) -> None:
        await conn.execute("UPDATE accounts SET is_disabled = $2 WHERE account_id = $1", account_id, int(is_disabled))
        action = Action.ACCOUNT_DISABLED if is_disabled else Action.ACCOUNT_ENABLED
        await record_txn(conn, account_id, Event(action, clock.now_ms()))

    await _change_account(db, name, set_txn)


async def reset_second_factor(db: Database, clock: Clock, name: str) -> None:
    """Ask the account for no codes any more, whose owner lost them all. Raises: NotFound."""

    async def reset_txn(conn: Connection, account_id: AccountId) -> None:
        await reset_second_factor_txn(conn, account_id, clock.now_ms())

    await _change_account(db, name, reset_txn)


async def set_quota(db: Database, clock: Clock, name: str, quota_bytes: int | None) -> None:
    """Limit the bytes that the account may hold; None ends the limit. What is there stays. Raises: NotFound."""

    async def set_txn(conn: Connection, account_id: AccountId) -> None:
        await conn.execute(
            "UPDATE namespaces SET quota = $2 WHERE owner = $1 AND kind = 'root'", account_id, quota_bytes
        )
        told = {"quota_bytes": quota_bytes}
        await record_txn(conn, account_id, Event(Action.QUOTA_CHANGED, clock.now_ms(), detail=told))

    await _change_account(db, name, set_txn)


# -- devices ----------------------------------------------------------------------------------------------------------


async def sign_in(
    db: Database,
    state: EphemeralState,
    clock: Clock,
    *,
    user: str,
    password: str,
    device_name: str,
    code: str = "",
    from_address: str = "",
    sealer: Sealer | None = None,
) -> SignedIn:
    """Make a device of the account and its token. code: of the second factor, where the account has one.

    Raises: Unauthenticated (no such name, wrong password or disabled, all alike), SecondFactorRequired,
    TooManyRequests, LimitExceeded, NameInvalid (the device's name).
    """
    check_name(device_name)
    who = await prove_fully(
        db,
        state,
        clock,
        user=user,
        password=password,
        code=code,
        from_address=from_address,
        sealer=sealer or NoSealer(),
    )
    token, device_id = await register_device(
        db,
        clock,
        account_id=who.account_id,
        name=device_name,
        action=Action.SIGN_IN,
        from_address=from_address,
        proved=who,
    )
    return SignedIn(token, who.account_id, who.name, device_id, who.root_ns)


async def register_device(
    db: Database,
    clock: Clock,
    *,
    account_id: AccountId,
    name: str,
    action: Action = Action.TOKEN_MADE,
    from_address: str = "",
    proved: Proved | None = None,
) -> tuple[str, DeviceId]:
    """Make a device without asking for the password; return its token and id. Raises: NameInvalid, LimitExceeded.

    action: what stands in the audit log; proved: by which password, which must still be the account's.
    """
    check_name(name)
    made = new_device(clock, account_id=account_id, name=name)

    async def register_txn(conn: Connection) -> None:
        if proved is not None:
            await require_unchanged_txn(conn, account_id, proved.password_hash)
        await register_device_txn(conn, made, action, from_address)

    await db.write(account_id, register_txn)
    return made.token, made.device_id


def new_device(clock: Clock, *, account_id: AccountId, name: str) -> NewDevice:
    """Return a device that is to be made, with its token."""
    now = clock.now_ms()
    device_id = DeviceId(uuid7(now, clock.random(10)))
    token = base64.urlsafe_b64encode(clock.random(TOKEN_BYTES)).rstrip(b"=").decode()
    return NewDevice(account_id, device_id, name, token, now)


async def register_device_txn(conn: Connection, made: NewDevice, action: Action, from_address: str) -> None:
    """Make the device. action: what stands in the audit log. Raises: LimitExceeded."""
    account_id, device_id, name, token, now = made
    held = await conn.fetch("SELECT COUNT(*) FROM devices WHERE account_id = $1 AND revoked_at IS NULL", account_id)
    if held[0][0] >= DEVICES_PER_ACCOUNT_MAX:
        raise LimitExceeded(
            "The account has too many devices.",
            limit="DEVICES_PER_ACCOUNT_MAX",
            maximum=DEVICES_PER_ACCOUNT_MAX,
            actual=held[0][0] + 1,
        )
    await conn.execute(
        "INSERT INTO devices (device_id, account_id, name, token_hash, created_at, seen_at, revoked_at)"
        " VALUES ($1, $2, $3, $4, $5, $5, NULL)",
        *(device_id, account_id, name, token_hash(token), now),
    )
    await record_txn(
        conn, account_id, Event(action, now, account_id, device_id, from_address, device_id.hex(), {"name": name})
    )


async def authenticate(db: Database, token: str) -> Principal:
    """Return who holds the token. Raises: Unauthenticated."""
    if not token or len(token) > TOKEN_CHARS_MAX:
        raise Unauthenticated("The token is not valid.")
    rows = await db.glance(
        lambda conn: conn.fetch(
            "SELECT a.account_id, a.name, d.device_id, d.name, a.root_ns, a.is_admin FROM devices d"
            " JOIN accounts a ON a.account_id = d.account_id"
            " WHERE d.token_hash = $1 AND d.revoked_at IS NULL AND a.is_disabled = 0",
            token_hash(token),
        )
    )
    if not rows:
        raise Unauthenticated("The token is not valid.")
    account_id, account_name, device_id, device_name, root_ns, is_admin = rows[0]
    return Principal(account_id, account_name, device_id, device_name, root_ns, bool(is_admin))


async def list_devices(db: Database, principal: Principal) -> list[Device]:
    """Return the account's devices that are signed in, the oldest first."""
    rows = await db.read(
        lambda conn: conn.fetch(
            "SELECT device_id, name, created_at, seen_at FROM devices WHERE account_id = $1 AND revoked_at IS NULL"
            " ORDER BY created_at, device_id",
            principal.account_id,
        )
    )
    return [Device(*row) for row in rows]


async def rename_device(db: Database, principal: Principal, device_id: DeviceId, name: str) -> None:
    """Give one of the account's devices another name. Raises: NameInvalid, NotFound."""
    check_name(name)
    await _change_device(db, principal, device_id, "name = $3", name)


async def revoke_device(
    db: Database, clock: Clock, principal: Principal, device_id: DeviceId, *, from_address: str = ""
) -> None:
    """Make the token of one of the account's devices worthless, for ever. Raises: NotFound."""
    now = clock.now_ms()
    action = Action.SIGN_OUT if device_id == principal.device_id else Action.DEVICE_REVOKED
    event = by(principal, action, now, address=from_address, subject=device_id.hex())
    await _change_device(db, principal, device_id, "revoked_at = $3", now, event)


async def sign_out(db: Database, clock: Clock, principal: Principal, *, from_address: str = "") -> None:
    """Revoke the principal's own device. Raises: NotFound."""
    await revoke_device(db, clock, principal, principal.device_id, from_address=from_address)


async def touch_device(db: Database, clock: Clock, principal: Principal) -> None:
    """Note that the device was here; written at most once an hour."""
    now = clock.now_ms()
    await db.write(
        principal.account_id,
        lambda conn: conn.execute(
            "UPDATE devices SET seen_at = $2 WHERE device_id = $1 AND seen_at < $3",
            *(principal.device_id, now, now - SEEN_GRAIN_MS),
        ),
    )


# -- helpers ----------------------------------------------------------------------------------------------------------


async def accounts_txn(conn: Connection, where: str, *args: bytes) -> list[Account]:
    """Return accounts. where: SQL of ours over `accounts a`."""
    rows = await conn.fetch(
        "SELECT a.account_id, a.name, a.root_ns, a.is_admin, a.is_disabled, a.created_at, n.bytes_used, n.quota"
        f" FROM accounts a JOIN namespaces n ON n.ns = a.root_ns WHERE {where}",
        *args,
    )
    owned = await owned_bytes_txn(conn, [r[0] for r in rows])
    return [Account(r[0], r[1], r[2], bool(r[3]), bool(r[4]), r[5], r[6] + owned.get(r[0], 0), r[7]) for r in rows]


async def _change_account(
    db: Database, name: str, change_txn: Callable[[Connection, AccountId], Awaitable[None]]
) -> None:
    async def find_txn(conn: Connection) -> None:
        rows = await conn.fetch("SELECT account_id FROM accounts WHERE name_key = $1", looked_up(name))
        if not rows:
            raise NotFound("There is no such account.", name=name)
        await change_txn(conn, rows[0][0])

    await db.write(b"accounts", find_txn)


async def _change_device(
    db: Database,
    principal: Principal,
    device_id: DeviceId,
    change: str,
    value: str | int,
    event: Event | None = None,
) -> None:
    async def change_txn(conn: Connection) -> None:
        changed = await conn.execute(
            f"UPDATE devices SET {change} WHERE account_id = $1 AND device_id = $2 AND revoked_at IS NULL",
            *(principal.account_id, device_id, value),
        )
        if not changed:
            raise NotFound("There is no such device.")
        if event is not None:
            await record_txn(conn, principal.account_id, event)

    await db.write(principal.account_id, change_txn)
