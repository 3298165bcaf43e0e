"""Forgets uploads in parts that were given up or are long finished, and answers kept for repeated requests.

Invariant: nothing goes that anyone could still ask for: whoever asks is held to the same ends.
"""

from __future__ import annotations

from satchel.core.limits import IDEMPOTENCY_KEY_HOURS
from satchel.server.db.engine import Connection, Database
from satchel.server.metadata.upload_sessions import AGE_MS, HOUR_MS, IDLE_MS
from satchel.server.ports import Clock
from satchel.server.upkeep.schedule import DAY_S, UPKEEP_KEY, Counts, Task

UPLOADS, REQUESTS = "uploads", "requests"
PAGE = 200
GRACE_MS = HOUR_MS


def tasks(db: Database, clock: Clock) -> list[Task]:
    """Return the tasks of this part of upkeep."""
    return [
        Task(UPLOADS, DAY_S / 4, lambda: forget_uploads(db, clock)),
        Task(REQUESTS, DAY_S / 24, lambda: forget_requests(db, clock)),
    ]


async def forget_uploads(db: Database, clock: Clock, *, page: int = PAGE) -> Counts:
    """Remove uploads whose time is over; their blocks are collected once their leases are."""
    now = clock.now_ms() - GRACE_MS
    ends = (now - IDLE_MS, now - AGE_MS)

    async def remove_txn(conn: Connection) -> int:
        rows = await conn.fetch(
            "SELECT account_id, upload_id FROM upload_sessions WHERE seen_at < $1 OR created_at < $2 LIMIT $3",
            *(*ends, page),
        )
        removed = 0
        for account, upload in rows:
            # Looked at again: its caller may have gone on with it meanwhile.
            gone = await conn.execute(
                "DELETE FROM upload_sessions WHERE account_id = $1 AND upload_id = $2"
                " AND (seen_at < $3 OR created_at < $4)",
                *(account, upload, *ends),
            )
            if gone:
                await conn.execute("DELETE FROM upload_parts WHERE account_id = $1 AND upload_id = $2", account, upload)
            removed += gone
        return removed

    removed = await db.write(UPKEEP_KEY, remove_txn)
    return Counts({"uploads": removed}, has_more=removed == page)


async def forget_requests(db: Database, clock: Clock, *, page: int = 10 * PAGE) -> Counts:
    """Remove answers that are older than anyone can ask for."""
    before = clock.now_ms() - IDEMPOTENCY_KEY_HOURS * HOUR_MS - GRACE_MS

    async def remove_txn(conn: Connection) -> int:
        rows = await conn.fetch(
            "SELECT account_id, key_hash FROM idempotent_requests WHERE created_at < $1 LIMIT $2", before, page
        )
        await conn.execute_many(
            "DELETE FROM idempotent_requests WHERE account_id = $1 AND key_hash = $2 AND created_at < $3",
            [(*row, before) for row in rows],
        )
        return len(rows)

    removed = await db.write(UPKEEP_KEY, remove_txn)
    return Counts({"requests": removed}, has_more=removed == page)
