"""Whether somebody is who they say: name and password. Invariant: a name that nobody has costs the same work and the
same answer as a wrong password, and each try is paid for before.
"""

from __future__ import annotations

from typing import NamedTuple

from satchel.core.errors import Unauthenticated
from satchel.core.ids import AccountId, NamespaceId
from satchel.server.accounts.audit import STORE_CHAIN, Action, Event, record
from satchel.server.accounts.guesses import Guessed, pay
from satchel.server.accounts.names import looked_up
from satchel.server.accounts.passwords import check_password_size, matches
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Database
from satchel.server.ports import Clock, EphemeralState


class Proved(NamedTuple):
    """An account whose owner was here."""

    account_id: AccountId
    name: str
    root_ns: NamespaceId
    password_hash: str


async def prove(
    db: Database, state: EphemeralState, clock: Clock, *, user: str, password: str, from_address: str = ""
) -> Proved:
    """Return whose name and password these are; the account's guesses count anew from here.

    Raises: Unauthenticated (no such name, wrong password or disabled, all alike), TooManyRequests, LimitExceeded.
    """
    check_password_size(password)
    key = looked_up(user)
    rows = await db.read(
        lambda conn: conn.fetch(
            "SELECT account_id, name, root_ns, password_hash, is_disabled, signed_in_at FROM accounts"
            " WHERE name_key = $1",
            key,
        )
    )
    since = rows[0][5] if rows else 0
    await pay(state, Guessed.PASSWORD, address=from_address, subject=key or "nobody", since=since)
    is_right = await matches(password, rows[0][3] if rows else None)
    if not is_right or rows[0][4]:
        # What was typed in place of a name may be a password: it stands nowhere.
        chain = rows[0][0] if rows else STORE_CHAIN
        await record(db, chain, Event(Action.SIGN_IN_FAILED, clock.now_ms(), address=from_address))
        raise Unauthenticated("The name or the password is wrong.")
    found = Proved(*rows[0][:4])
    await note_sign_in(db, clock, found.account_id)
    return found


async def prove_again(
    db: Database, state: EphemeralState, clock: Clock, principal: Principal, password: str, *, from_address: str = ""
) -> None:
    """Return when the password is that of the principal's account. Raises: as `prove`."""
    check_password_size(password)
    rows = await db.read(
        lambda conn: conn.fetch(
            "SELECT password_hash, name_key, signed_in_at FROM accounts WHERE account_id = $1", principal.account_id
        )
    )
    hashed, key, since = rows[0] if rows else (None, "nobody", 0)
    await pay(state, Guessed.PASSWORD, address=from_address, subject=key, since=since)
    if not await matches(password, hashed):
        event = Event(
            Action.SIGN_IN_FAILED, clock.now_ms(), principal.account_id, principal.device_id, address=from_address
        )
        await record(db, principal.account_id, event)
        raise Unauthenticated("The password is wrong.")
    await note_sign_in(db, clock, principal.account_id)


async def note_sign_in(db: Database, clock: Clock, account_id: AccountId) -> None:
    """Count guesses anew from now on."""
    await db.write(
        account_id,
        lambda conn: conn.execute(
            "UPDATE accounts SET signed_in_at = $2 WHERE account_id = $1", account_id, clock.now_ms()
        ),
    )
