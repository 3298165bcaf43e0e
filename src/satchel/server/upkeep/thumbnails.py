"""Lets go of pictures. Invariant: a namespace keeps the newest ones of contents that it still holds, so many small ones
and so many of pages at most; whatever goes is drawn again when somebody asks for it.
"""

from __future__ import annotations

from satchel.core.ids import NamespaceId
from satchel.core.limits import PAGE_PICTURES_PER_NAMESPACE_MAX, THUMBNAILS_PER_NAMESPACE_MAX
from satchel.server.db.engine import Connection, Database, fetch_in
from satchel.server.documents.thumbnails import THUMBNAILS_KEY
from satchel.server.ports import Clock
from satchel.server.upkeep.schedule import Counts, Task
from satchel.server.upkeep.walk import Standing, Visited, walk

NAME = "thumbnails"
EVERY_S = 3_600.0
PAGE = 500
_HASH_BYTES = 32
_SMALL, _PAGES = "LENGTH(source) <= 33", "LENGTH(source) > 33"
"""What a page's picture is kept by names the page as well."""


def tasks(db: Database, clock: Clock) -> list[Task]:
    """Return the tasks of this part of upkeep."""
    return [Task(NAME, EVERY_S, lambda: drop_thumbnails(db, clock))]


async def drop_thumbnails(
    db: Database,
    clock: Clock,
    *,
    kept_max: int = THUMBNAILS_PER_NAMESPACE_MAX,
    pages_kept_max: int = PAGE_PICTURES_PER_NAMESPACE_MAX,
) -> Counts:
    """Drop pictures of contents that are gone, and the oldest of a namespace that has more than `kept_max` small
    ones or more than `pages_kept_max` of pages."""

    async def visit(standing: Standing, after: bytes) -> Visited:
        ns = standing.ns
        dropped, more = await db.write(THUMBNAILS_KEY + ns, lambda conn: _gone_txn(conn, ns, after))
        if more is None:
            dropped += await db.write(THUMBNAILS_KEY + ns, lambda conn: _oldest_txn(conn, ns, _SMALL, kept_max))
            dropped += await db.write(THUMBNAILS_KEY + ns, lambda conn: _oldest_txn(conn, ns, _PAGES, pages_kept_max))
        return Visited({"thumbnails": dropped}, more)

    return await walk(db, clock, NAME, visit)


async def _gone_txn(conn: Connection, ns: NamespaceId, after: bytes) -> tuple[int, bytes | None]:
    """Drop those of a page whose content no version has; return how many, and where the next page begins."""
    rows = await conn.fetch(
        "SELECT DISTINCT source FROM thumbnails WHERE ns = $1 AND source > $2 ORDER BY source LIMIT $3",
        *(ns, after, PAGE),
    )
    held = "SELECT manifest_id FROM manifests WHERE ns = $1 AND refs > 0 AND manifest_id IN {keys}"
    used = {row[0] for row in await fetch_in(conn, held, sorted({row[0][:_HASH_BYTES] for row in rows}), ns)}
    gone = [source for (source,) in rows if source[:_HASH_BYTES] not in used]
    text = "DELETE FROM thumbnails WHERE ns = $1 AND source = $2"
    dropped = [await conn.execute(text, ns, source) for source in gone]
    return sum(dropped), rows[-1][0] if len(rows) == PAGE else None


async def _oldest_txn(conn: Connection, ns: NamespaceId, which: str, kept_max: int) -> int:
    text = f"SELECT made_at FROM thumbnails WHERE ns = $1 AND {which} ORDER BY made_at DESC LIMIT 1 OFFSET $2"
    rows = await conn.fetch(text, ns, kept_max)
    if not rows:
        return 0
    gone = f"DELETE FROM thumbnails WHERE ns = $1 AND {which} AND made_at <= $2"
    return await conn.execute(gone, ns, rows[0][0])
