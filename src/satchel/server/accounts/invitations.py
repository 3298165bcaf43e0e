"""Invitations to have an account. Invariant: each makes one account at most, with the rights that it names, as long as
whoever invited may still administer. Its token is shown once and stored as a hash.

A token begins with the invitation's id, so that it is found by its key and compared in constant time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from satchel.core.errors import LimitExceeded, MessageInvalid, NotFound
from satchel.core.ids import ID_BYTES, uuid7
from satchel.core.limits import INVITATION_DAYS_MAX, INVITATIONS_OPEN_MAX
from satchel.server.accounts.audit import STORE_CHAIN, Action, Event, record_txn
from satchel.server.accounts.guesses import Guessed, pay
from satchel.server.accounts.names import check_name
from satchel.server.accounts.passwords import check_new_password, hash_password
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import Account, NewAccount, new_account, register_account_txn
from satchel.server.db.engine import Connection, Database
from satchel.server.ports import Clock, EphemeralState

SECRET_BYTES = 32
TOKEN_CHARS_MAX = 128
NOTE_CHARS_MAX = 200
EMAIL_CHARS_MAX = 254
DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation without its token. used_ms, revoked_ms: None while it is open; quota_bytes: None for no limit.

    email: who may use it without the token too, coming from the provider of the sign-in; empty for nobody.
    """

    invitation_id: bytes
    note: str
    is_admin: bool
    quota_bytes: int | None
    created_ms: int
    ends_ms: int
    used_ms: int | None = None
    revoked_ms: int | None = None
    email: str = ""


async def invite(
    db: Database,
    clock: Clock,
    by: Principal | None,
    *,
    note: str = "",
    is_admin: bool = False,
    quota_bytes: int | None = None,
    days: int = 7,
    email: str = "",
) -> tuple[str, Invitation]:
    """Make an invitation; return its token, which is not shown again. by: None for the machine's administrator.

    Raises: MessageInvalid, LimitExceeded.
    """
    _check(note, quota_bytes, days)
    address = checked_email(email) if email else ""
    now = clock.now_ms()
    made = Invitation(
        uuid7(now, clock.random(10)), note, is_admin, quota_bytes, now, now + days * DAY_MS, email=address
    )
    secret = clock.random(SECRET_BYTES)

    async def invite_txn(conn: Connection) -> None:
        held = await conn.fetch(
            "SELECT COUNT(*) FROM invitations WHERE used_at IS NULL AND revoked_at IS NULL AND ends_at > $1", now
        )
        if held[0][0] >= INVITATIONS_OPEN_MAX:
            raise LimitExceeded(
                "There are too many open invitations.",
                limit="INVITATIONS_OPEN_MAX",
                maximum=INVITATIONS_OPEN_MAX,
                actual=held[0][0] + 1,
            )
        await conn.execute(
            "INSERT INTO invitations (invitation_id, secret_hash, invited_by, note, is_admin, quota, created_at,"
            " ends_at, used_at, revoked_at, account_id, email)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL, NULL, NULL, $9)",
            *(made.invitation_id, _hash(secret), by.account_id if by else b"", note, int(is_admin), quota_bytes),
            *(now, made.ends_ms, address),
        )
        told = {"is_admin": is_admin, "quota_bytes": quota_bytes, "days": days}
        await record_txn(conn, STORE_CHAIN, _event(Action.INVITATION_MADE, now, by, made.invitation_id, told))

    await db.write(STORE_CHAIN, invite_txn)
    return base64.urlsafe_b64encode(made.invitation_id + secret).rstrip(b"=").decode(), made


async def list_invitations(db: Database, after: bytes, limit: int) -> list[Invitation]:
    """Return invitations, open or not, in the order they were made. after: an id."""
    rows = await db.read(
        lambda conn: conn.fetch(
            f"SELECT {_COLUMNS} FROM invitations WHERE invitation_id > $1 ORDER BY invitation_id LIMIT $2",
            *(after, limit),
        )
    )
    return [Invitation(row[0], row[1], bool(row[2]), *row[3:]) for row in rows]


async def revoke_invitation(db: Database, clock: Clock, by: Principal | None, invitation_id: bytes) -> None:
    """Make an invitation worthless. Raises: NotFound when it is not open (any more)."""

    async def revoke_txn(conn: Connection) -> None:
        now = clock.now_ms()
        changed = await conn.execute(
            "UPDATE invitations SET revoked_at = $2 WHERE invitation_id = $1 AND used_at IS NULL"
            " AND revoked_at IS NULL",
            *(invitation_id, now),
        )
        if not changed:
            raise NotFound("There is no such invitation.")
        await record_txn(conn, STORE_CHAIN, _event(Action.INVITATION_REVOKED, now, by, invitation_id, {}))

    await db.write(STORE_CHAIN, revoke_txn)


async def look_at_invitation(
    db: Database, state: EphemeralState, clock: Clock, token: str, *, from_address: str = ""
) -> Invitation:
    """Return the open invitation of this token. Raises: NotFound (unknown, used, revoked or old: all alike)."""
    await pay(state, Guessed.INVITATION, address=from_address)
    invitation_id, secret = _parts(token)
    rows = await db.read(
        lambda conn: conn.fetch(
            f"SELECT {_COLUMNS}, secret_hash FROM invitations WHERE invitation_id = $1", invitation_id
        )
    )
    is_known = hmac.compare_digest(rows[0][-1] if rows else b"", _hash(secret))
    if not is_known or rows[0][6] or rows[0][7] or rows[0][5] <= clock.now_ms():
        raise _gone()
    row = rows[0]
    return Invitation(row[0], row[1], bool(row[2]), *row[3:9])


async def accept_invitation(
    db: Database, state: EphemeralState, clock: Clock, *, token: str, user: str, password: str, from_address: str = ""
) -> Account:
    """Make the account that an invitation is for. Raises: as `look_at_invitation` and `add_user`, TooManyRequests."""
    open_one = await look_at_invitation(db, state, clock, token, from_address=from_address)
    check_new_password(password)
    check_name(user)
    made = new_account(
        clock,
        name=user,
        password_hash=await hash_password(password),
        is_admin=open_one.is_admin,
        quota_bytes=open_one.quota_bytes,
    )
    return await db.write(
        STORE_CHAIN, lambda conn: use_invitation_txn(conn, made, open_one.invitation_id, from_address=from_address)
    )


async def use_invitation_txn(conn: Connection, made: NewAccount, invitation_id: bytes, *, from_address: str) -> Account:
    """Make the account and use the invitation up. Raises: NotFound (it is not open any more), AlreadyExists."""
    used = await conn.execute(
        "UPDATE invitations SET used_at = $2, account_id = $3 WHERE invitation_id = $1 AND used_at IS NULL"
        " AND revoked_at IS NULL AND ends_at > $2",
        *(invitation_id, made.now_ms, made.account_id),
    )
    by = await conn.fetch("SELECT invited_by FROM invitations WHERE invitation_id = $1", invitation_id)
    may = await conn.fetch(
        "SELECT 1 FROM accounts WHERE account_id = $1 AND is_admin = 1 AND is_disabled = 0", by[0][0] if by else b""
    )
    if not used or not (may or by[0][0] == b""):
        raise _gone()
    account = await register_account_txn(conn, made)
    event = Event(
        Action.INVITATION_ACCEPTED, made.now_ms, made.account_id, address=from_address, subject=invitation_id.hex()
    )
    await record_txn(conn, STORE_CHAIN, event)
    return account


def folded_email(email: str) -> str:
    """Return an address as it is compared: in small letters, where all of it is ASCII. Folding others would make two
    people's addresses one."""
    return email.lower() if email.isascii() else email


def checked_email(email: str) -> str:
    """Return an address as it is compared. Raises: MessageInvalid."""
    address = folded_email(email.strip())
    before, _, after = address.partition("@")
    is_one = bool(before and after) and "@" not in after and address.isprintable() and " " not in address
    if not is_one or len(address) > EMAIL_CHARS_MAX:
        raise MessageInvalid("This is no e-mail address.", reason="email")
    return address


_COLUMNS = "invitation_id, note, is_admin, quota, created_at, ends_at, used_at, revoked_at, email"


def _check(note: str, quota_bytes: int | None, days: int) -> None:
    if len(note) > NOTE_CHARS_MAX or not (note.isprintable() or not note):
        raise MessageInvalid(f"A note is one line of at most {NOTE_CHARS_MAX} characters.", reason="note")
    if quota_bytes is not None and not 0 <= quota_bytes < 1 << 62:
        raise MessageInvalid("A quota is a number of bytes.", reason="quota_bytes")
    if not 1 <= days <= INVITATION_DAYS_MAX:
        raise MessageInvalid(f"An invitation is open for 1 to {INVITATION_DAYS_MAX} days.", reason="days")


def _event(action: Action, now: int, by: Principal | None, invitation_id: bytes, told: dict[str, int | None]) -> Event:
    actor, device = (by.account_id, by.device_id) if by else (b"", b"")
    return Event(action, now, actor, device, subject=invitation_id.hex(), detail=told)


def _parts(token: str) -> tuple[bytes, bytes]:
    """Return an invitation's id and secret; empty ones for what is no token."""
    try:
        raw = base64.urlsafe_b64decode((token if len(token) <= TOKEN_CHARS_MAX else "") + "==")
    except (binascii.Error, ValueError):
        raw = b""
    return raw[:ID_BYTES], raw[ID_BYTES:]


def _gone() -> NotFound:
    return NotFound("There is no such invitation, or it is not open any more.")


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
