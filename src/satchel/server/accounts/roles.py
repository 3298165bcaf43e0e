"""What administrators change of accounts. Invariant: an administrator who can sign in is always left.

Two who take the right from each other at once are one after another: both hold the end of the store's audit chain.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from satchel.core.errors import MessageInvalid, NotFound
from satchel.core.ids import AccountId
from satchel.server.accounts.audit import STORE_CHAIN, Action, by, lock_chain_txn, record_txn
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.second_factor import reset_second_factor_txn
from satchel.server.accounts.service import Account, accounts_txn
from satchel.server.db.engine import Connection, Database, fetch_in
from satchel.server.ports import Clock

QUOTA_BYTES_MAX = 1 << 62


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be different; None: as it is. quota_bytes counts where is_quota_set, None then for no limit.

    is_second_factor_ended: codes are asked for no more, of somebody who lost the app and the recovery codes.
    """

    is_admin: bool | None = None
    is_disabled: bool | None = None
    is_quota_set: bool = False
    quota_bytes: int | None = None
    is_second_factor_ended: bool = False


async def list_accounts(db: Database, after: bytes, limit: int) -> list[Account]:
    """Return accounts in the order they were made. after: an id."""
    return await db.read(
        lambda conn: accounts_txn(conn, f"a.account_id > $1 ORDER BY a.account_id LIMIT {int(limit)}", after)
    )


async def with_second_factor(db: Database, accounts: Collection[AccountId]) -> frozenset[AccountId]:
    """Return those of the accounts that are asked for a code."""
    text = "SELECT account_id FROM second_factors WHERE is_enabled = 1 AND account_id IN {keys}"
    rows = await db.read(lambda conn: fetch_in(conn, text, sorted(accounts)))
    return frozenset(AccountId(row[0]) for row in rows)


async def change_account(db: Database, clock: Clock, admin: Principal | None, account_id: bytes, told: Change) -> None:
    """Change an account. admin: None for the machine's administrator, who needs no other one to be left.

    Raises: NotFound, MessageInvalid (a quota that is none; no administrator would be left).
    """
    if told.quota_bytes is not None and not 0 <= told.quota_bytes < QUOTA_BYTES_MAX:
        raise MessageInvalid("A quota is a number of bytes.", reason="quota_bytes")
    account = AccountId(account_id)

    async def change_txn(conn: Connection) -> None:
        await lock_chain_txn(conn, STORE_CHAIN)
        rows = await conn.fetch("SELECT is_admin, is_disabled FROM accounts WHERE account_id = $1", account)
        if not rows:
            raise NotFound("There is no such account.")
        was_admin, was_disabled = bool(rows[0][0]), bool(rows[0][1])
        is_admin = was_admin if told.is_admin is None else told.is_admin
        is_disabled = was_disabled if told.is_disabled is None else told.is_disabled
        await conn.execute(
            "UPDATE accounts SET is_admin = $2, is_disabled = $3 WHERE account_id = $1",
            *(account, int(is_admin), int(is_disabled)),
        )
        left = await conn.fetch("SELECT 1 FROM accounts WHERE is_admin = 1 AND is_disabled = 0 LIMIT 1")
        if admin is not None and not left:
            raise MessageInvalid("No administrator would be left who can sign in.", reason="last administrator")
        now = clock.now_ms()
        if is_admin != was_admin:
            await record_txn(conn, account, by(admin, Action.ROLE_CHANGED, now, is_admin=is_admin))
        if is_disabled != was_disabled:
            action = Action.ACCOUNT_DISABLED if is_disabled else Action.ACCOUNT_ENABLED
            await record_txn(conn, account, by(admin, action, now))
        if told.is_quota_set:
            await conn.execute(
                "UPDATE namespaces SET quota = $2 WHERE owner = $1 AND kind = 'root'", account, told.quota_bytes
            )
            await record_txn(conn, account, by(admin, Action.QUOTA_CHANGED, now, quota_bytes=told.quota_bytes))
        if told.is_second_factor_ended:
            await reset_second_factor_txn(conn, account, now, admin)

    await db.write(STORE_CHAIN, change_txn)
