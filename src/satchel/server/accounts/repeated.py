"""Answers kept for requests that may come again: each under the key that its caller made for it. Invariant: of requests
with one key one is worked on at a time, and an answer that was kept is given unchanged for a day.

A key belongs to an account and to one request: the same key for another one is refused. Source: docs/use/api.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from satchel.core.errors import KeyReused, LimitExceeded, RequestInProgress
from satchel.core.ids import AccountId
from satchel.core.limits import IDEMPOTENCY_KEY_HOURS, IDEMPOTENCY_KEYS_MAX
from satchel.server.db.engine import Connection, Database, row_lock

KEPT_MS = IDEMPOTENCY_KEY_HOURS * 3_600_000
CLAIM_MS = 120_000
"""So long a request is taken for being worked on when its process says nothing any more."""
RETRY_S = 2
_ONE = "account_id = $1 AND key_hash = $2"


@dataclass(frozen=True, slots=True)
class Key:
    """A request's key. asked: hash of its method and address; claim: random, of whoever works on it now."""

    account_id: AccountId
    key_hash: bytes
    asked: bytes
    claim: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that was given. body: hash of what came with the request; headers: JSON."""

    body: bytes
    status: int
    headers: str
    answer: bytes


def hashed_key(key: str) -> bytes:
    """Return the name that a key has in rows."""
    return hashlib.sha256(key.encode()).digest()


async def claim(db: Database, key: Key, now_ms: int) -> Kept | None:
    """Return the answer that was given to this request, or take it to be worked on and return None.

    Raises: RequestInProgress, KeyReused, LimitExceeded.
    """

    async def claim_txn(conn: Connection) -> Kept | None:
        one = (key.account_id, key.key_hash)
        rows = await conn.fetch(
            "SELECT asked, body, claimed_until, status, headers, answer, created_at FROM idempotent_requests"
            f" WHERE {_ONE}{row_lock(conn)}",
            *one,
        )
        if rows and rows[0][6] <= now_ms - KEPT_MS:
            await conn.execute(f"DELETE FROM idempotent_requests WHERE {_ONE}", *one)
            rows = []
        if not rows:
            await _begin_txn(conn, key, now_ms)
            return None
        asked, body, claimed_until, status, headers, answer, _ = rows[0]
        if asked != key.asked:
            raise KeyReused("This Idempotency-Key was used for another request.")
        if status:
            return Kept(body, status, headers, answer)
        if claimed_until > now_ms:
            raise _in_progress()
        # Its process died before it answered: whatever it did, nobody was told.
        await conn.execute(
            f"UPDATE idempotent_requests SET claim = $3, claimed_until = $4 WHERE {_ONE}",
            *(*one, key.claim, now_ms + CLAIM_MS),
        )
        return None

    return await db.write(key.account_id, claim_txn)


async def renew(db: Database, key: Key, now_ms: int) -> None:
    """Say that the request is still being worked on."""
    await db.write(
        key.account_id,
        lambda conn: conn.execute(
            f"UPDATE idempotent_requests SET claimed_until = $4 WHERE {_ONE} AND claim = $3 AND status = 0",
            *(key.account_id, key.key_hash, key.claim, now_ms + CLAIM_MS),
        ),
    )


async def keep(db: Database, key: Key, kept: Kept) -> None:
    """Keep the answer to a request that was taken."""
    await db.write(
        key.account_id,
        lambda conn: conn.execute(
            "UPDATE idempotent_requests SET body = $4, status = $5, headers = $6, answer = $7"
            f" WHERE {_ONE} AND claim = $3",
            *(key.account_id, key.key_hash, key.claim, kept.body, kept.status, kept.headers, kept.answer),
        ),
    )


async def let_go(db: Database, key: Key) -> None:
    """Keep no answer: asked again, the request is worked on again."""
    await db.write(
        key.account_id,
        lambda conn: conn.execute(
            f"DELETE FROM idempotent_requests WHERE {_ONE} AND claim = $3 AND status = 0",
            *(key.account_id, key.key_hash, key.claim),
        ),
    )


async def _begin_txn(conn: Connection, key: Key, now_ms: int) -> None:
    held = await conn.fetch("SELECT COUNT(*) FROM idempotent_requests WHERE account_id = $1", key.account_id)
    if held[0][0] >= IDEMPOTENCY_KEYS_MAX:
        raise LimitExceeded(
            "The account has used too many keys today.",
            limit="IDEMPOTENCY_KEYS_MAX",
            maximum=IDEMPOTENCY_KEYS_MAX,
            actual=held[0][0] + 1,
        )
    made = await conn.execute(
        "INSERT INTO idempotent_requests (account_id, key_hash, asked, body, claim, claimed_until, status, headers,"
        " answer, created_at) VALUES ($1, $2, $3, $4, $5, $6, 0, '', $4, $7)"
        " ON CONFLICT (account_id, key_hash) DO NOTHING",
        *(key.account_id, key.key_hash, key.asked, b"", key.claim, now_ms + CLAIM_MS, now_ms),
    )
    if not made:
        raise _in_progress()


def _in_progress() -> RequestInProgress:
    return RequestInProgress("This request is being worked on.", retry_after_s=RETRY_S)
