"""The first account of a store. Invariant: without the code that the server printed at its start nobody makes it.

The code dies when it was used, after an hour, and with the next start. There is no default password.
"""

from __future__ import annotations

import hashlib
import hmac

from satchel.core.errors import Unauthenticated
from satchel.server.accounts.app_passwords import plain_secret, shown_secret
from satchel.server.accounts.audit import STORE_CHAIN, Action, Event, record, record_txn
from satchel.server.accounts.guesses import Guessed, pay
from satchel.server.accounts.names import check_name
from satchel.server.accounts.passwords import check_new_password, hash_password
from satchel.server.accounts.service import Account, NewAccount, new_account, register_account_txn
from satchel.server.db.engine import Connection, Database
from satchel.server.ports import Clock, EphemeralState

CODE_BYTES = 16
CODE_AGE_MS_MAX = 60 * 60 * 1000
_NAME = "first"


async def is_setup_needed(db: Database) -> bool:
    """Tell whether the store has no account."""
    return await db.read(_is_empty_txn)


async def begin_setup(db: Database, clock: Clock) -> str:
    """Return a new set-up code where the store has no account, else an empty text. Codes of before are worthless."""
    code = shown_secret(clock.random(CODE_BYTES))

    async def begin_txn(conn: Connection) -> bool:
        await conn.execute("DELETE FROM setup_codes WHERE name = $1", _NAME)
        if not await _is_empty_txn(conn):
            return False
        await conn.execute(
            "INSERT INTO setup_codes (name, code_hash, ends_at) VALUES ($1, $2, $3)",
            *(_NAME, _hash(code), clock.now_ms() + CODE_AGE_MS_MAX),
        )
        return True

    return code if await db.write(STORE_CHAIN, begin_txn) else ""


async def set_up(
    db: Database, state: EphemeralState, clock: Clock, *, code: str, user: str, password: str, from_address: str = ""
) -> Account:
    """Make the first administrator.

    Raises: Unauthenticated (a wrong, used or old code, or a store with accounts: all alike), TooManyRequests, and as
    `add_user`.
    """
    await pay(state, Guessed.SETUP_CODE, address=from_address)
    rows = await db.read(lambda conn: conn.fetch("SELECT code_hash FROM setup_codes WHERE name = $1", _NAME))
    if not hmac.compare_digest(rows[0][0] if rows else b"", _hash(code)):
        await record(db, STORE_CHAIN, Event(Action.SIGN_IN_FAILED, clock.now_ms(), address=from_address))
        raise _wrong()
    check_new_password(password)
    check_name(user)
    made = new_account(clock, name=user, password_hash=await hash_password(password), is_admin=True)
    return await db.write(STORE_CHAIN, lambda conn: _set_up_txn(conn, made, _hash(code), from_address))


async def _set_up_txn(conn: Connection, made: NewAccount, code_hash: bytes, from_address: str) -> Account:
    used = await conn.execute(
        "DELETE FROM setup_codes WHERE name = $1 AND code_hash = $2 AND ends_at > $3", _NAME, code_hash, made.now_ms
    )
    if not used or not await _is_empty_txn(conn):
        raise _wrong()
    account = await register_account_txn(conn, made)
    event = Event(Action.SET_UP, made.now_ms, account.account_id, address=from_address, subject=made.name)
    await record_txn(conn, STORE_CHAIN, event)
    return account


async def _is_empty_txn(conn: Connection) -> bool:
    return not await conn.fetch("SELECT 1 FROM accounts LIMIT 1")


def _wrong() -> Unauthenticated:
    return Unauthenticated("The set-up code is not valid; the server prints a new one at its start.")


def _hash(code: str) -> bytes:
    return hashlib.sha256(plain_secret(code).encode(errors="replace")).digest()
