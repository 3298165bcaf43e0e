"""Prunes the journal. Invariant: a reader finds every entry after its place, or is told to start anew; never a gap.

An entry goes when it is old and many came after it. `min_seq` moves in the transaction that deletes the entries, and a
page of the feed looks at both in one view of the database. The entry at `min_seq` stays: it is the oldest place that a
reader can stand at. Source: docs/design (journal and cursor).
"""

from __future__ import annotations

import functools

from satchel.core.ids import NamespaceId
from satchel.core.limits import JOURNAL_AGE_DAYS_MIN, JOURNAL_ENTRIES_MIN
from satchel.server.db.engine import Connection, Database
from satchel.server.metadata.journal import head_txn
from satchel.server.ports import Clock
from satchel.server.upkeep.schedule import DAY_S, Counts, Task
from satchel.server.upkeep.walk import Standing, Visited, walk

NAME = "journal"
PAGE_ENTRIES = 1_000
"""So many go in one transaction: the namespace's row is held for about as long as by a large commit."""
GO_ON = b"more"


def tasks(db: Database, clock: Clock) -> list[Task]:
    """Return the tasks of this part of upkeep."""
    return [Task(NAME, DAY_S, lambda: prune_journals(db, clock))]


async def prune_journals(
    db: Database,
    clock: Clock,
    *,
    age_days: float = JOURNAL_AGE_DAYS_MIN,
    entries_min: int = JOURNAL_ENTRIES_MIN,
    page_entries: int = PAGE_ENTRIES,
) -> Counts:
    """Delete entries older than `age_days` that are not among a namespace's newest `entries_min` (at least one).

    In service it is never less than JOURNAL_ENTRIES_MIN: a device takes a reset within so many entries for a service
    that went back in time, and a deletion that has not seen so many is refused for that alone.
    """
    assert entries_min >= 1
    before_ms = clock.now_ms() - round(age_days * DAY_S * 1_000)

    async def visit(standing: Standing, after: bytes) -> Visited:
        if standing.head_seq - standing.min_seq < entries_min:
            return Visited({})
        prune_txn = functools.partial(
            _prune_page_txn, ns=standing.ns, before_ms=before_ms, entries_min=entries_min, limit=page_entries
        )
        count = await db.write(standing.ns, prune_txn)
        return Visited({"entries": count}, GO_ON if count == page_entries else None)

    return await walk(db, clock, NAME, visit)


async def _prune_page_txn(conn: Connection, ns: NamespaceId, *, before_ms: int, entries_min: int, limit: int) -> int:
    """Delete the oldest entries that may go, at most `limit`; return how many went."""
    head = await head_txn(conn, ns, for_update=True)
    rows = await conn.fetch(
        "SELECT seq, created_at FROM file_changes WHERE ns = $1 AND seq >= $2 AND seq <= $3 ORDER BY seq LIMIT $4",
        *(ns, head.min_seq, head.seq - entries_min, limit),
    )
    # created_at never falls along seq, so the old ones are the first ones.
    old = [seq for seq, created_at in rows if created_at < before_ms]
    if old:
        await conn.execute(
            "DELETE FROM file_changes WHERE ns = $1 AND seq >= $2 AND seq <= $3", ns, head.min_seq, old[-1]
        )
        await conn.execute("UPDATE namespaces SET min_seq = $2 WHERE ns = $1", ns, old[-1] + 1)
    return len(old)
