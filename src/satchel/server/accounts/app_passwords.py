"""Passwords for programs that know only a name and a password (WebDAV). Invariant: each is made by us with 128 random
bits, stored as a hash, shown once, named and revocable; it opens nothing but what asks for one, and never administers.

No slow hash is needed for what nobody can guess, so that a request costs one look. For that reason too a right one is
never refused because others guessed.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from satchel.core.errors import LimitExceeded, NotFound, Unauthenticated
from satchel.core.ids import DeviceId, uuid7
from satchel.core.limits import APP_PASSWORDS_PER_ACCOUNT_MAX
from satchel.server.accounts.audit import STORE_CHAIN, Action, Event, by, record, record_txn
from satchel.server.accounts.guesses import Guessed, pay
from satchel.server.accounts.names import check_name, looked_up
from satchel.server.accounts.principal import Means, Principal
from satchel.server.db.engine import Connection, Database
from satchel.server.ports import Clock, EphemeralState

SECRET_BYTES = 16
SECRET_CHARS_MAX = 128
SEEN_GRAIN_MS = 60 * 60 * 1000
"""A last use is written at most this often."""


@dataclass(frozen=True, slots=True)
class AppPassword:
    """An app password without its secret. seen_ms: its last use, to the hour."""

    password_id: bytes
    name: str
    may_write: bool
    created_ms: int
    seen_ms: int


async def authenticate_basic(
    db: Database, state: EphemeralState, clock: Clock, *, user: str, password: str, from_address: str
) -> Principal:
    """Return who holds this app password. The caller refuses writes unless `may_write`.

    Raises: Unauthenticated (unknown name, unknown or revoked password, disabled account: all alike), TooManyRequests.
    """
    rows = await db.glance(
        lambda conn: conn.fetch(
            "SELECT a.account_id, a.name, p.password_id, p.name, a.root_ns, p.may_write, p.seen_at FROM accounts a"
            " JOIN app_passwords p ON p.account_id = a.account_id"
            " WHERE a.name_key = $1 AND a.is_disabled = 0 AND p.secret_hash = $2 AND p.revoked_at IS NULL",
            *(looked_up(user), _hash(password)),
        )
    )
    if not rows:
        await pay(state, Guessed.APP_PASSWORD, address=from_address, subject=looked_up(user) or "nobody")
        event = Event(Action.SIGN_IN_FAILED, clock.now_ms(), address=from_address, detail={"means": "app_password"})
        await record(db, STORE_CHAIN, event)
        raise Unauthenticated("The name or the app password is wrong.")
    account_id, account, password_id, name, root_ns, may_write, seen_ms = rows[0]
    now = clock.now_ms()
    if seen_ms < now - SEEN_GRAIN_MS:
        await db.write(
            account_id,
            lambda conn: conn.execute(
                "UPDATE app_passwords SET seen_at = $3 WHERE account_id = $1 AND password_id = $2",
                *(account_id, password_id, now),
            ),
        )
    return Principal(
        account_id,
        account,
        DeviceId(password_id),
        name,
        root_ns,
        means=Means.APP_PASSWORD,
        may_write=bool(may_write),
    )


async def add_app_password(
    db: Database, clock: Clock, principal: Principal, *, name: str, may_write: bool, from_address: str = ""
) -> tuple[str, AppPassword]:
    """Make an app password; return its secret, which is not shown again. Raises: NameInvalid, LimitExceeded."""
    check_name(name)
    now = clock.now_ms()
    made = AppPassword(uuid7(now, clock.random(10)), name, may_write, now, 0)
    secret = shown_secret(clock.random(SECRET_BYTES))

    async def add_txn(conn: Connection) -> None:
        held = await conn.fetch(
            "SELECT COUNT(*) FROM app_passwords WHERE account_id = $1 AND revoked_at IS NULL", principal.account_id
        )
        if held[0][0] >= APP_PASSWORDS_PER_ACCOUNT_MAX:
            raise LimitExceeded(
                "The account has too many app passwords.",
                limit="APP_PASSWORDS_PER_ACCOUNT_MAX",
                maximum=APP_PASSWORDS_PER_ACCOUNT_MAX,
                actual=held[0][0] + 1,
            )
        await conn.execute(
            "INSERT INTO app_passwords"
            " (account_id, password_id, secret_hash, name, may_write, created_at, seen_at, revoked_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, 0, NULL)",
            *(principal.account_id, made.password_id, _hash(secret), name, int(may_write), now),
        )
        event = by(
            principal,
            Action.APP_PASSWORD_MADE,
            now,
            address=from_address,
            subject=made.password_id.hex(),
            name=name,
            may_write=may_write,
        )
        await record_txn(conn, principal.account_id, event)

    await db.write(principal.account_id, add_txn)
    return secret, made


async def list_app_passwords(db: Database, principal: Principal) -> list[AppPassword]:
    """Return the account's app passwords that work, the oldest first."""
    rows = await db.read(
        lambda conn: conn.fetch(
            "SELECT password_id, name, may_write, created_at, seen_at FROM app_passwords"
            " WHERE account_id = $1 AND revoked_at IS NULL ORDER BY created_at, password_id",
            principal.account_id,
        )
    )
    return [AppPassword(row[0], row[1], bool(row[2]), row[3], row[4]) for row in rows]


async def revoke_app_password(
    db: Database, clock: Clock, principal: Principal, password_id: bytes, *, from_address: str = ""
) -> None:
    """Make an app password worthless, for ever. Raises: NotFound."""

    async def revoke_txn(conn: Connection) -> None:
        now = clock.now_ms()
        changed = await conn.execute(
            "UPDATE app_passwords SET revoked_at = $3 WHERE account_id = $1 AND password_id = $2"
            " AND revoked_at IS NULL",
            *(principal.account_id, password_id, now),
        )
        if not changed:
            raise NotFound("There is no such app password.")
        event = by(principal, Action.APP_PASSWORD_REVOKED, now, address=from_address, subject=password_id.hex())
        await record_txn(conn, principal.account_id, event)

    await db.write(principal.account_id, revoke_txn)


def shown_secret(raw: bytes) -> str:
    """Return random bytes as people copy them: groups of four small letters and digits."""
    text = base64.b32encode(raw).decode().rstrip("=").lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def plain_secret(typed: str) -> str:
    """Return a secret of ours as it is hashed, however it was typed."""
    return typed[:SECRET_CHARS_MAX].lower().replace("-", "").replace(" ", "")


def _hash(secret: str) -> bytes:
    return hashlib.sha256(plain_secret(secret).encode(errors="replace")).digest()
