"""The second factor: codes of an app (TOTP), and recovery codes for the day that the phone is lost.

Invariant: a code is taken once, and none of before it ever again; what is taken is decided by one row's change, so that
of two sign-ins at once with one code one fails. The app's secret has to be computed with, so it is stored sealed with
the service's key, where it has one; a secret whose key is lost opens nothing, and recovery codes go on.
Source: RFC 6238 (SHA-1, 6 digits, 30 s), RFC 4226.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import NamedTuple
from urllib.parse import quote

from satchel.core.errors import AlreadyExists, NotFound, SecondFactorRequired, Unauthenticated
from satchel.core.ids import AccountId
from satchel.server.accounts.app_passwords import plain_secret, shown_secret
from satchel.server.accounts.audit import Action, Event, by, record, record_txn
from satchel.server.accounts.guesses import Guessed, pay
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.proving import Proved, prove, prove_again
from satchel.server.db.engine import Connection, Database
from satchel.server.ports import Clock, EphemeralState, NoSealer, Sealer

SECRET_BYTES = 20
STEP_S = 30
DIGITS = 6
STEPS_OFF_MAX = 1
"""So many steps may an app's clock be early or late."""
RECOVERY_CODES = 10
RECOVERY_BYTES = 16
CODE_CHARS_MAX = 64
ISSUER = "Satchel"
_NO_SEALER = NoSealer()


class Enrolment(NamedTuple):
    """What an app is given: the secret as people type it, and the address that a QR code holds."""

    secret: str
    uri: str


class SecondFactor(NamedTuple):
    """Whether codes are asked for, and how many recovery codes are left."""

    is_enabled: bool
    recovery_codes: int


async def prove_fully(
    db: Database,
    state: EphemeralState,
    clock: Clock,
    *,
    user: str,
    password: str,
    code: str = "",
    from_address: str = "",
    sealer: Sealer = _NO_SEALER,
) -> Proved:
    """As `prove`, with the code where the account asks for one. Raises: SecondFactorRequired, and as `prove`."""
    who = await prove(db, state, clock, user=user, password=password, from_address=from_address)
    await _require(db, state, clock, who.account_id, code, from_address, sealer)
    return who


async def begin_second_factor(
    db: Database,
    state: EphemeralState,
    clock: Clock,
    principal: Principal,
    password: str,
    *,
    from_address: str = "",
    sealer: Sealer = _NO_SEALER,
) -> Enrolment:
    """Make a secret, which counts once a code of it was confirmed. Raises: as `prove_again`, AlreadyExists."""
    await prove_again(db, state, clock, principal, password, from_address=from_address)
    secret = clock.random(SECRET_BYTES)
    stored = sealer.seal(secret, principal.account_id)

    async def begin_txn(conn: Connection) -> None:
        await conn.execute("DELETE FROM second_factors WHERE account_id = $1 AND is_enabled = 0", principal.account_id)
        made = await conn.execute(
            "INSERT INTO second_factors (account_id, secret, is_enabled, last_step, created_at)"
            " VALUES ($1, $2, 0, 0, $3) ON CONFLICT (account_id) DO NOTHING",
            *(principal.account_id, stored, clock.now_ms()),
        )
        if not made:
            raise AlreadyExists("The account has a second factor.", what="second factor", name="")

    await db.write(principal.account_id, begin_txn)
    text = base64.b32encode(secret).decode()
    label = quote(f"{ISSUER}:{principal.account_name}", safe="")
    return Enrolment(text, f"otpauth://totp/{label}?secret={text}&issuer={ISSUER}")


async def confirm_second_factor(
    db: Database,
    state: EphemeralState,
    clock: Clock,
    principal: Principal,
    code: str,
    *,
    from_address: str = "",
    sealer: Sealer = _NO_SEALER,
) -> list[str]:
    """Ask for codes from now on; return the recovery codes, which are not shown again. Other browsers are signed out.

    Raises: NotFound (nothing was begun), Unauthenticated (a wrong code), TooManyRequests.
    """
    account = principal.account_id
    await pay(state, Guessed.SECOND_FACTOR, address=from_address, subject=account.hex())
    codes = _new_codes(clock)

    async def confirm_txn(conn: Connection) -> bool:
        rows = await conn.fetch("SELECT secret, last_step FROM second_factors WHERE account_id = $1", account)
        if not rows:
            raise NotFound("No second factor was begun.")
        now = clock.now_ms()
        secret = sealer.unseal(rows[0][0], account)
        step = None if secret is None else step_of(secret, code, now)
        changed = step is not None and await conn.execute(
            "UPDATE second_factors SET is_enabled = 1, last_step = $2 WHERE account_id = $1 AND is_enabled = 0"
            " AND last_step < $2",
            *(account, step),
        )
        if not changed:
            return False
        await _put_codes_txn(conn, account, codes)
        await conn.execute(
            "DELETE FROM sessions WHERE account_id = $1 AND session_id <> $2", account, principal.device_id
        )
        await record_txn(conn, account, by(principal, Action.SECOND_FACTOR_SET, now, address=from_address))
        return True

    if not await db.write(account, confirm_txn):
        raise Unauthenticated("The code is wrong.")
    return codes


async def end_second_factor(
    db: Database, state: EphemeralState, clock: Clock, principal: Principal, password: str, *, from_address: str = ""
) -> None:
    """Ask for no codes any more. Raises: as `prove_again`, NotFound."""
    await prove_again(db, state, clock, principal, password, from_address=from_address)

    async def end_txn(conn: Connection) -> None:
        if not await conn.execute("DELETE FROM second_factors WHERE account_id = $1", principal.account_id):
            raise NotFound("The account has no second factor.")
        await conn.execute("DELETE FROM recovery_codes WHERE account_id = $1", principal.account_id)
        event = by(principal, Action.SECOND_FACTOR_ENDED, clock.now_ms(), address=from_address)
        await record_txn(conn, principal.account_id, event)

    await db.write(principal.account_id, end_txn)


async def renew_recovery_codes(
    db: Database, state: EphemeralState, clock: Clock, principal: Principal, password: str, *, from_address: str = ""
) -> list[str]:
    """Return other recovery codes; those of before are worthless. Raises: as `prove_again`, NotFound."""
    await prove_again(db, state, clock, principal, password, from_address=from_address)
    codes = _new_codes(clock)

    async def renew_txn(conn: Connection) -> None:
        account = principal.account_id
        if not await conn.fetch("SELECT 1 FROM second_factors WHERE account_id = $1 AND is_enabled = 1", account):
            raise NotFound("The account has no second factor.")
        await _put_codes_txn(conn, account, codes)
        event = by(principal, Action.RECOVERY_CODES_MADE, clock.now_ms(), address=from_address)
        await record_txn(conn, account, event)

    await db.write(principal.account_id, renew_txn)
    return codes


async def reset_second_factor_txn(
    conn: Connection, account_id: AccountId, now_ms: int, admin: Principal | None = None
) -> None:
    """Take the second factor away, for an administrator (None: of the machine); nothing where there is none."""
    await conn.execute("DELETE FROM recovery_codes WHERE account_id = $1", account_id)
    if await conn.execute("DELETE FROM second_factors WHERE account_id = $1", account_id):
        await record_txn(conn, account_id, by(admin, Action.SECOND_FACTOR_ENDED, now_ms))


async def second_factor_of(db: Database, principal: Principal) -> SecondFactor:
    """Return whether codes are asked for."""

    async def look_txn(conn: Connection) -> SecondFactor:
        account = principal.account_id
        rows = await conn.fetch("SELECT 1 FROM second_factors WHERE account_id = $1 AND is_enabled = 1", account)
        left = await conn.fetch(
            "SELECT COUNT(*) FROM recovery_codes WHERE account_id = $1 AND used_at IS NULL", account
        )
        return SecondFactor(bool(rows), left[0][0])

    return await db.read(look_txn)


def code_at(secret: bytes, step: int) -> str:
    """Return the code of a time step."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    start = digest[-1] & 0xF
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_of(secret: bytes, typed: str, now_ms: int) -> int | None:
    """Return the newest step near now whose code was typed; None when it is none of them."""
    code = typed[:CODE_CHARS_MAX].replace(" ", "").encode(errors="replace")
    now = now_ms // 1_000 // STEP_S
    steps = range(now - STEPS_OFF_MAX, now + STEPS_OFF_MAX + 1)
    matching = [step for step in steps if hmac.compare_digest(code_at(secret, step).encode(), code)]
    return max(matching, default=None)


async def _require(
    db: Database,
    state: EphemeralState,
    clock: Clock,
    account: AccountId,
    code: str,
    from_address: str,
    sealer: Sealer,
) -> None:
    rows = await db.read(
        lambda conn: conn.fetch(
            "SELECT secret, last_step FROM second_factors WHERE account_id = $1 AND is_enabled = 1", account
        )
    )
    if not rows:
        return
    if not code:
        raise SecondFactorRequired("This account asks for a code of its app too.")
    stored, last_step = rows[0]
    # A code that was taken begins the count anew: whoever has the app is not kept out by own sign-ins.
    await pay(state, Guessed.SECOND_FACTOR, address=from_address, subject=account.hex(), since=last_step)
    now = clock.now_ms()
    if not await db.write(account, lambda conn: _take_txn(conn, account, stored, sealer, code, now, from_address)):
        told = {"means": "second_factor"}
        await record(db, account, Event(Action.SIGN_IN_FAILED, now, address=from_address, detail=told))
        raise Unauthenticated("The code is wrong, or was used before.")


async def _take_txn(
    conn: Connection, account: AccountId, stored: bytes, sealer: Sealer, code: str, now_ms: int, from_address: str
) -> bool:
    """Use the code up, one of the app's or a recovery code; False when it is neither."""
    secret = sealer.unseal(stored, account)
    step = None if secret is None else step_of(secret, code, now_ms)
    if secret is not None and step is not None:
        # Sealed again: a secret of before there was a key is sealed by being used.
        taken = await conn.execute(
            "UPDATE second_factors SET last_step = $2, secret = $4 WHERE account_id = $1 AND secret = $3"
            " AND is_enabled = 1 AND last_step < $2",
            *(account, step, stored, sealer.seal(secret, account)),
        )
        return bool(taken)
    used = await conn.execute(
        "UPDATE recovery_codes SET used_at = $3 WHERE account_id = $1 AND code_hash = $2 AND used_at IS NULL",
        *(account, _hash(code), now_ms),
    )
    if used:
        await record_txn(conn, account, Event(Action.RECOVERY_CODE_USED, now_ms, account, address=from_address))
    return bool(used)


async def _put_codes_txn(conn: Connection, account: AccountId, codes: list[str]) -> None:
    await conn.execute("DELETE FROM recovery_codes WHERE account_id = $1", account)
    await conn.execute_many(
        "INSERT INTO recovery_codes (account_id, code_hash, used_at) VALUES ($1, $2, NULL)",
        [(account, _hash(code)) for code in codes],
    )


def _new_codes(clock: Clock) -> list[str]:
    return [shown_secret(clock.random(RECOVERY_BYTES)) for _ in range(RECOVERY_CODES)]


def _hash(code: str) -> bytes:
    return hashlib.sha256(plain_secret(code).encode(errors="replace")).digest()
