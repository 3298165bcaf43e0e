"""What people change of their own account. Invariant: a new password is given for the old one, and ends what that
opened.
"""

from __future__ import annotations

from satchel.server.accounts.audit import Action, by, record_txn
from satchel.server.accounts.ending import end_access_txn
from satchel.server.accounts.passwords import check_new_password, hash_password
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.proving import prove_again
from satchel.server.db.engine import Connection, Database
from satchel.server.ports import Clock, EphemeralState


async def change_password(
    db: Database,
    state: EphemeralState,
    clock: Clock,
    principal: Principal,
    *,
    old: str,
    new: str,
    keep_others: bool = False,
    from_address: str = "",
) -> None:
    """Set another password. All other devices, sessions and app passwords of the account end unless told otherwise.

    Raises: Unauthenticated (the old one is wrong), TooManyRequests, MessageInvalid, LimitExceeded.
    """
    check_new_password(new)
    await prove_again(db, state, clock, principal, old, from_address=from_address)
    hashed = await hash_password(new)

    async def change_txn(conn: Connection) -> None:
        now = clock.now_ms()
        await conn.execute("UPDATE accounts SET password_hash = $2 WHERE account_id = $1", principal.account_id, hashed)
        if not keep_others:
            await end_access_txn(conn, principal.account_id, now, but=principal)
        event = by(principal, Action.PASSWORD_CHANGED, now, address=from_address, keep_others=keep_others)
        await record_txn(conn, principal.account_id, event)

    await db.write(principal.account_id, change_txn)


async def sign_out_others(db: Database, clock: Clock, principal: Principal, *, from_address: str = "") -> None:
    """End all other devices and sessions of the account; app passwords stay."""

    async def end_txn(conn: Connection) -> None:
        now = clock.now_ms()
        await end_access_txn(conn, principal.account_id, now, but=principal, app_passwords=False)
        event = by(principal, Action.SESSION_REVOKED, now, address=from_address, subject="all others")
        await record_txn(conn, principal.account_id, event)

    await db.write(principal.account_id, end_txn)
