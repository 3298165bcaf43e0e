"""Forgets links that ended long ago. Invariant: one that opens, or that its maker could let open again by another end
within the time, stays.

Source: docs/operate/upkeep.md.
"""

from __future__ import annotations

from satchel.server.db.engine import Connection, Database, execute_in, fetch_in, row_lock
from satchel.server.ports import Clock
from satchel.server.upkeep.schedule import DAY_S, UPKEEP_KEY, Counts, Task
from satchel.server.upkeep.walk import Standing, Visited, walk

LINKS = "links"
KEPT_DAYS = 90
PAGE_SHARES = 1_000
_DAY_MS = DAY_S * 1_000
_ENDED = "(revoked_at < $2 OR expires_at < $2)"


def tasks(db: Database, clock: Clock) -> list[Task]:
    """Return the tasks of this part of upkeep."""
    return [Task(LINKS, DAY_S, lambda: forget_links(db, clock))]


async def forget_links(
    db: Database, clock: Clock, *, kept_days: int = KEPT_DAYS, page_shares: int = PAGE_SHARES
) -> Counts:
    """Remove links that were revoked, or ended by themselves, longer ago than `kept_days`, with their tokens."""
    before_ms = clock.now_ms() - kept_days * _DAY_MS

    async def visit(standing: Standing, after: bytes) -> Visited:
        ns = standing.ns
        rows = await db.read(
            lambda conn: conn.fetch(
                "SELECT share_id, revoked_at, expires_at FROM shares WHERE ns = $1 AND share_id > $2"
                " ORDER BY share_id LIMIT $3",
                *(ns, after, page_shares),
            )
        )
        ended = [row[0] for row in rows if any(end is not None and end < before_ms for end in row[1:])]

        async def remove_txn(conn: Connection) -> int:
            # Looked at again, locked: its maker may have given it another end meanwhile.
            found = await fetch_in(
                conn,
                "SELECT share_id, token_hash FROM shares WHERE ns = $1 AND share_id IN {keys} AND"
                f" {_ENDED}{row_lock(conn)}",
                ended,
                *(ns, before_ms),
            )
            await execute_in(conn, "DELETE FROM share_tokens WHERE token_hash IN {keys}", [row[1] for row in found])
            return await execute_in(
                conn, "DELETE FROM shares WHERE ns = $1 AND share_id IN {keys}", [row[0] for row in found], ns
            )

        removed = await db.write(UPKEEP_KEY + ns, remove_txn) if ended else 0
        return Visited({"links": removed}, rows[-1][0] if len(rows) == page_shares else None)

    return await walk(db, clock, LINKS, visit)
