"""Devices that sign in without a password: they show a short code, and somebody who is signed in approves it.

Invariant: the short code alone opens nothing, for whoever approves must be signed in and whoever waits holds a long
secret; an approval makes one device. Times and answers are those of RFC 8628, in our own form.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from satchel.core.errors import NotFound, TooManyRequests, Unavailable
from satchel.core.ids import AccountId
from satchel.core.limits import DEVICE_CODE_MINUTES, DEVICE_CODES_OPEN_MAX
from satchel.server.accounts.audit import Action, by, record_txn
from satchel.server.accounts.guesses import Guessed, pay
from satchel.server.accounts.names import check_name
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import NewDevice, SignedIn, new_device, register_device_txn
from satchel.server.db.engine import Connection, Database, row_lock
from satchel.server.ports import Clock, EphemeralState

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels: no words; nothing that looks like another (RFC 8628, 6.1)."""
USER_CODE_LETTERS = 8
KEY_BYTES = 16
SECRET_BYTES = 32
TOKEN_CHARS_MAX = 128
WAIT_MS = 5_000
SLOWER_MS = 5_000
EARLY_MS = 1_000
"""A poll may be so much early: the network brings some sooner than others."""
TRIES = 3


class Status(StrEnum):
    """How it stands with a device that waits. SLOW_DOWN: it asked too soon."""

    PENDING = "pending"
    SLOW_DOWN = "slow_down"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"


class DeviceCode(NamedTuple):
    """user_code: for people; device_code: the device's secret; times as RFC 8628 names them."""

    user_code: str
    device_code: str
    expires_in_s: int
    interval_s: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A device that waits, as whoever approves sees it. address: where it asked from."""

    device_name: str
    address: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Polled:
    """The answer to a device. signed_in: once, when approved."""

    status: Status
    interval_s: int
    signed_in: SignedIn | None = None


async def begin_device_code(
    db: Database, state: EphemeralState, clock: Clock, *, device_name: str, from_address: str = ""
) -> DeviceCode:
    """Make a code for a device that waits. Raises: NameInvalid, TooManyRequests."""
    check_name(device_name)
    await pay(state, Guessed.DEVICE_CODE, address=from_address)
    for _ in range(TRIES):
        number = int.from_bytes(clock.random(16), "big")
        letters = "".join(LETTERS[number // len(LETTERS) ** at % len(LETTERS)] for at in range(USER_CODE_LETTERS))
        key, secret, now = _key(letters), clock.random(SECRET_BYTES), clock.now_ms()
        row = (key, _hash(secret), device_name, from_address, now, now + DEVICE_CODE_MINUTES * 60_000, WAIT_MS)
        if await db.write(key, lambda conn, row=row: _begin_txn(conn, row)):  # type: ignore[misc]  # bound at once
            token = base64.urlsafe_b64encode(key + secret).rstrip(b"=").decode()
            return DeviceCode(f"{letters[:4]}-{letters[4:]}", token, DEVICE_CODE_MINUTES * 60, WAIT_MS // 1_000)
    raise Unavailable("No code was free.", where="device codes", reason="collision")


async def poll_device_code(db: Database, state: EphemeralState, clock: Clock, device_code: str, address: str) -> Polled:
    """Tell a device how it stands; make it once it is approved. Raises: LimitExceeded, TooManyRequests."""
    key, secret = _parts(device_code)
    now = clock.now_ms()
    made = new_device(clock, account_id=AccountId(b""), name="")
    found = await db.write(key or b"?", lambda conn: _poll_txn(conn, key, _hash(secret), now, made, address))
    if found is None:
        await pay(state, Guessed.DEVICE_SECRET, address=address)
        return Polled(Status.EXPIRED, WAIT_MS // 1_000)
    return found


async def look_at_device_code(
    db: Database, state: EphemeralState, clock: Clock, principal: Principal, user_code: str, *, from_address: str = ""
) -> Waiting:
    """Return which device shows this code. Raises: NotFound, TooManyRequests."""
    await pay(state, Guessed.DEVICE_CODE, address=from_address, subject=principal.account_id.hex())
    rows = await db.read(
        lambda conn: conn.fetch(
            "SELECT device_name, address, created_at FROM device_codes WHERE user_key = $1 AND ends_at > $2"
            " AND account_id IS NULL AND is_denied = 0",
            *(_key(user_code), clock.now_ms()),
        )
    )
    if not rows:
        raise _gone()
    return Waiting(*rows[0])


async def answer_device_code(
    db: Database,
    state: EphemeralState,
    clock: Clock,
    principal: Principal,
    user_code: str,
    *,
    is_approved: bool,
    from_address: str = "",
) -> None:
    """Approve the device that shows this code, for the principal's account, or deny it. Raises: as `look_at…`."""
    await pay(state, Guessed.DEVICE_CODE, address=from_address, subject=principal.account_id.hex())
    key = _key(user_code)

    async def answer_txn(conn: Connection) -> None:
        now = clock.now_ms()
        changed = await conn.execute(
            "UPDATE device_codes SET account_id = $2, is_denied = $3 WHERE user_key = $1 AND ends_at > $4"
            " AND account_id IS NULL AND is_denied = 0",
            *(key, principal.account_id if is_approved else None, int(not is_approved), now),
        )
        if not changed:
            raise _gone()
        rows = await conn.fetch("SELECT device_name, address FROM device_codes WHERE user_key = $1", key)
        if is_approved:
            event = by(
                principal,
                Action.DEVICE_APPROVED,
                now,
                address=from_address,
                subject=rows[0][0],
                asked_from=rows[0][1],
            )
            await record_txn(conn, principal.account_id, event)

    await db.write(principal.account_id, answer_txn)


async def _begin_txn(conn: Connection, row: tuple[bytes, bytes, str, str, int, int, int]) -> bool:
    now = row[4]
    # An hour later, so that a device hears that its code is over.
    await conn.execute("DELETE FROM device_codes WHERE ends_at < $1", now - 60 * 60_000)
    held = await conn.fetch("SELECT COUNT(*) FROM device_codes WHERE ends_at > $1", now)
    if held[0][0] >= DEVICE_CODES_OPEN_MAX:
        raise TooManyRequests("Too many devices wait to be approved.", retry_after_s=60)
    made = await conn.execute(
        "INSERT INTO device_codes (user_key, secret_hash, device_name, address, created_at, ends_at, polled_at,"
        " wait_ms, is_denied, account_id) VALUES ($1, $2, $3, $4, $5, $6, 0, $7, 0, NULL)"
        " ON CONFLICT (user_key) DO NOTHING",
        *row,
    )
    return bool(made)


async def _poll_txn(
    conn: Connection, key: bytes, secret_hash: bytes, now: int, made: NewDevice, address: str
) -> Polled | None:
    rows = await conn.fetch(
        "SELECT secret_hash, device_name, ends_at, polled_at, wait_ms, is_denied, account_id FROM device_codes"
        " WHERE user_key = $1" + row_lock(conn),
        key,
    )
    if not rows or not hmac.compare_digest(rows[0][0], secret_hash):
        return None
    _, device_name, ends_at, polled_at, wait_ms, is_denied, account = rows[0]
    if is_denied or ends_at <= now:
        await conn.execute("DELETE FROM device_codes WHERE user_key = $1", key)
        return Polled(Status.DENIED if is_denied else Status.EXPIRED, wait_ms // 1_000)
    is_early = now - polled_at < wait_ms - EARLY_MS
    if account is None or is_early:
        wait_ms += SLOWER_MS if is_early else 0
        await conn.execute(
            "UPDATE device_codes SET polled_at = $2, wait_ms = $3 WHERE user_key = $1", key, now, wait_ms
        )
        return Polled(Status.SLOW_DOWN if is_early else Status.PENDING, wait_ms // 1_000)
    await conn.execute("DELETE FROM device_codes WHERE user_key = $1", key)
    owner = await conn.fetch(
        "SELECT name, root_ns FROM accounts WHERE account_id = $1 AND is_disabled = 0" + row_lock(conn), account
    )
    if not owner:
        return Polled(Status.DENIED, wait_ms // 1_000)
    device = made._replace(account_id=account, name=device_name)
    await register_device_txn(conn, device, Action.TOKEN_MADE, address)
    signed = SignedIn(made.token, account, owner[0][0], made.device_id, owner[0][1])
    return Polled(Status.APPROVED, wait_ms // 1_000, signed)


def _key(user_code: str) -> bytes:
    """Return the key of a code as people type it."""
    letters = "".join(letter for letter in user_code[:64].upper() if letter in LETTERS)
    return hashlib.sha256(letters.encode()).digest()[:KEY_BYTES]


def _parts(device_code: str) -> tuple[bytes, bytes]:
    try:
        raw = base64.urlsafe_b64decode((device_code if len(device_code) <= TOKEN_CHARS_MAX else "") + "==")
    except (binascii.Error, ValueError):
        raw = b""
    return raw[:KEY_BYTES], raw[KEY_BYTES:]


def _gone() -> NotFound:
    return NotFound("No device shows this code, or it was answered before.")


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
