"""The end of everything that opens an account. Invariant: after a new password nothing made with an old one works."""

from __future__ import annotations

from satchel.core.errors import Unauthenticated
from satchel.core.ids import AccountId
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, row_lock


async def end_access_txn(
    conn: Connection, account_id: AccountId, now_ms: int, *, but: Principal | None = None, app_passwords: bool = True
) -> None:
    """Revoke devices, end sessions and open approvals, and app passwords too unless told otherwise.

    but: the one device or session that goes on.
    """
    kept = but.device_id if but else b""
    await conn.execute(
        "UPDATE devices SET revoked_at = $2 WHERE account_id = $1 AND revoked_at IS NULL AND device_id <> $3",
        *(account_id, now_ms, kept),
    )
    await conn.execute("DELETE FROM sessions WHERE account_id = $1 AND session_id <> $2", account_id, kept)
    await conn.execute("DELETE FROM device_codes WHERE account_id = $1", account_id)
    if app_passwords:
        await conn.execute(
            "UPDATE app_passwords SET revoked_at = $2 WHERE account_id = $1 AND revoked_at IS NULL",
            *(account_id, now_ms),
        )


async def require_unchanged_txn(conn: Connection, account_id: AccountId, password_hash: str) -> None:
    """Return while the password is the one that was proved, and hold it so until the transaction ends.

    Raises: Unauthenticated when it was changed meanwhile, or the account shut out.
    """
    rows = await conn.fetch(
        "SELECT password_hash FROM accounts WHERE account_id = $1 AND is_disabled = 0" + row_lock(conn), account_id
    )
    if not rows or rows[0][0] != password_hash:
        raise Unauthenticated("The name or the password is wrong.")
