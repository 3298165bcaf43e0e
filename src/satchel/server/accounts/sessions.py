"""Browsers that are signed in. Invariant: a session ends when it was not used for a week, after a month, when it is
revoked, and with the password; a new sign-in never goes on with an old session's token.

A token begins with the account's id, so that a session is found within its account; it is stored as a hash.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from satchel.core.errors import NotFound, Unauthenticated
from satchel.core.ids import ID_BYTES, AccountId, DeviceId, uuid7
from satchel.core.limits import SESSION_AGE_DAYS_MAX, SESSION_IDLE_DAYS_MAX, SESSIONS_PER_ACCOUNT_MAX
from satchel.server.accounts.audit import Action, Event, by, record_txn
from satchel.server.accounts.ending import require_unchanged_txn
from satchel.server.accounts.names import check_name
from satchel.server.accounts.principal import Means, Principal
from satchel.server.accounts.proving import Proved
from satchel.server.accounts.tokens import token_hash
from satchel.server.db.engine import Connection, Database
from satchel.server.ports import Clock

SECRET_BYTES = 32
TOKEN_CHARS_MAX = 128
DAY_MS = 24 * 60 * 60 * 1000
IDLE_MS_MAX = SESSION_IDLE_DAYS_MAX * DAY_MS
AGE_MS_MAX = SESSION_AGE_DAYS_MAX * DAY_MS
SEEN_GRAIN_MS = 60 * 60 * 1000
"""A last visit is written at most this often."""


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in, without its token."""

    session_id: bytes
    name: str
    created_ms: int
    seen_ms: int
    ends_ms: int


async def begin_session(
    db: Database,
    clock: Clock,
    who: Proved,
    *,
    name: str,
    replaced: str = "",
    from_address: str = "",
    means: str = "password",
) -> tuple[str, Session]:
    """Sign a browser in; return its token. replaced: the token that the browser had before, worthless from now on.

    means: how its owner was proved, for the audit log.

    Past the limit the session that was unused for longest ends. Raises: NameInvalid, Unauthenticated (the password was
    changed meanwhile).
    """
    check_name(name)
    now = clock.now_ms()
    made = Session(uuid7(now, clock.random(10)), name, now, now, now + AGE_MS_MAX)
    token = _new_token(clock, who.account_id)

    async def begin_txn(conn: Connection) -> None:
        await require_unchanged_txn(conn, who.account_id, who.password_hash)
        await _sweep_txn(conn, who.account_id, now)
        await conn.execute(
            "INSERT INTO sessions (account_id, session_id, token_hash, name, created_at, seen_at, ends_at)"
            " VALUES ($1, $2, $3, $4, $5, $5, $6)",
            *(who.account_id, made.session_id, token_hash(token), name, now, made.ends_ms),
        )
        told = {"name": name, "means": means}
        event = Event(Action.SIGN_IN, now, who.account_id, made.session_id, from_address, made.session_id.hex(), told)
        await record_txn(conn, who.account_id, event)

    await db.write(who.account_id, begin_txn)
    if replaced:
        await forget_token(db, replaced)
    return token, made


async def authenticate_session(db: Database, clock: Clock, token: str) -> Principal:
    """Return who holds the token. Raises: Unauthenticated."""
    now, account = clock.now_ms(), _account_in(token)
    rows = await db.glance(
        lambda conn: conn.fetch(
            "SELECT a.account_id, a.name, s.session_id, s.name, a.root_ns, a.is_admin, s.seen_at FROM sessions s"
            " JOIN accounts a ON a.account_id = s.account_id WHERE s.account_id = $1 AND s.token_hash = $2"
            " AND s.ends_at > $3 AND s.seen_at > $4 AND a.is_disabled = 0",
            *(account, token_hash(token), now, now - IDLE_MS_MAX),
        )
    )
    if not rows:
        raise Unauthenticated("The session is over.")
    account_id, account_name, session_id, name, root_ns, is_admin, seen_ms = rows[0]
    if seen_ms < now - SEEN_GRAIN_MS:
        await db.write(
            account_id,
            lambda conn: conn.execute(
                "UPDATE sessions SET seen_at = $3 WHERE account_id = $1 AND session_id = $2",
                *(account_id, session_id, now),
            ),
        )
    return Principal(account_id, account_name, DeviceId(session_id), name, root_ns, bool(is_admin), means=Means.SESSION)


async def rotate_session(db: Database, clock: Clock, principal: Principal) -> str:
    """Give the principal's session another token and return it. Raises: Unauthenticated."""
    token = _new_token(clock, principal.account_id)
    changed = await db.write(
        principal.account_id,
        lambda conn: conn.execute(
            "UPDATE sessions SET token_hash = $3 WHERE account_id = $1 AND session_id = $2",
            *(principal.account_id, principal.device_id, token_hash(token)),
        ),
    )
    if not changed:
        raise Unauthenticated("The session is over.")
    return token


async def list_sessions(db: Database, clock: Clock, principal: Principal) -> list[Session]:
    """Return the account's browsers that are signed in, the oldest first."""
    now = clock.now_ms()
    rows = await db.read(
        lambda conn: conn.fetch(
            "SELECT session_id, name, created_at, seen_at, ends_at FROM sessions WHERE account_id = $1"
            " AND ends_at > $2 AND seen_at > $3 ORDER BY created_at, session_id",
            *(principal.account_id, now, now - IDLE_MS_MAX),
        )
    )
    return [Session(*row) for row in rows]


async def revoke_session(
    db: Database, clock: Clock, principal: Principal, session_id: bytes, *, from_address: str = ""
) -> None:
    """End one of the account's sessions. Raises: NotFound."""

    async def revoke_txn(conn: Connection) -> None:
        changed = await conn.execute(
            "DELETE FROM sessions WHERE account_id = $1 AND session_id = $2", principal.account_id, session_id
        )
        if not changed:
            raise NotFound("There is no such session.")
        action = Action.SIGN_OUT if session_id == principal.device_id else Action.SESSION_REVOKED
        event = by(principal, action, clock.now_ms(), address=from_address, subject=session_id.hex())
        await record_txn(conn, principal.account_id, event)

    await db.write(principal.account_id, revoke_txn)


async def forget_token(db: Database, token: str) -> None:
    """End the session of a token, if there is one."""
    account = _account_in(token)
    await db.write(
        account,
        lambda conn: conn.execute(
            "DELETE FROM sessions WHERE account_id = $1 AND token_hash = $2", account, token_hash(token)
        ),
    )


async def _sweep_txn(conn: Connection, account_id: AccountId, now: int) -> None:
    """Remove what is over, and the ones unused for longest until there is room for another."""
    await conn.execute(
        "DELETE FROM sessions WHERE account_id = $1 AND (ends_at <= $2 OR seen_at <= $3)",
        *(account_id, now, now - IDLE_MS_MAX),
    )
    rows = await conn.fetch(
        "SELECT session_id FROM sessions WHERE account_id = $1 ORDER BY seen_at DESC, session_id DESC", account_id
    )
    gone = [(account_id, row[0]) for row in rows[SESSIONS_PER_ACCOUNT_MAX - 1 :]]
    await conn.execute_many("DELETE FROM sessions WHERE account_id = $1 AND session_id = $2", gone)


def _new_token(clock: Clock, account_id: AccountId) -> str:
    return base64.urlsafe_b64encode(account_id + clock.random(SECRET_BYTES)).rstrip(b"=").decode()


def _account_in(token: str) -> AccountId:
    """Return the account that a token names; an empty id for what is no token."""
    try:
        raw = base64.urlsafe_b64decode(token + "==") if len(token) <= TOKEN_CHARS_MAX else b""
    except (binascii.Error, ValueError):
        raw = b""
    return AccountId(raw[:ID_BYTES])
