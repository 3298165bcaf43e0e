"""Removes what WebDAV clients left: locks that ended, properties of files that were removed for good.

Invariant: a lock that anyone may still use stays, and so do the properties of whatever can come back from the trash.
"""

from __future__ import annotations

from satchel.core.ids import NodeId
from satchel.server.db.engine import Connection, Database, execute_in, fetch_in
from satchel.server.metadata.nodes import PURGED
from satchel.server.ports import Clock
from satchel.server.upkeep.schedule import DAY_S, UPKEEP_KEY, Counts, Task
from satchel.server.upkeep.walk import Standing, Visited, walk

WEBDAV = "webdav"
PAGE_NODES = 500


def tasks(db: Database, clock: Clock) -> list[Task]:
    """Return the task of this part of upkeep."""
    return [Task(WEBDAV, DAY_S, lambda: expire_webdav(db, clock))]


async def expire_webdav(db: Database, clock: Clock, *, page_nodes: int = PAGE_NODES) -> Counts:
    """Remove locks that ended and properties of nodes that no longer exist."""

    async def visit(standing: Standing, after: bytes) -> Visited:
        ns, now_ms = standing.ns, clock.now_ms()

        async def find_txn(conn: Connection) -> tuple[list[NodeId], list[NodeId], bool]:
            rows = await conn.fetch(
                "SELECT DISTINCT node_id FROM dav_properties WHERE ns = $1 AND node_id > $2 ORDER BY node_id LIMIT $3",
                *(ns, after, page_nodes),
            )
            nodes = [NodeId(row[0]) for row in rows]
            # The root folder has no row and never goes.
            there = f"SELECT node_id FROM files WHERE ns = $1 AND state <> {PURGED} AND node_id IN {{keys}}"
            kept = {row[0] for row in await fetch_in(conn, there, nodes, ns)}
            ended = await conn.fetch("SELECT 1 FROM dav_locks WHERE ns = $1 AND expires_at <= $2 LIMIT 1", ns, now_ms)
            return nodes, [node for node in nodes if node not in kept and any(node)], bool(ended)

        nodes, gone, has_ended = await db.read(find_txn)

        async def drop_txn(conn: Connection) -> tuple[int, int]:
            locks = await conn.execute("DELETE FROM dav_locks WHERE ns = $1 AND expires_at <= $2", ns, now_ms)
            sql = "DELETE FROM dav_properties WHERE ns = $1 AND node_id IN {keys}"
            return locks, await execute_in(conn, sql, gone, ns)

        locks, properties = await db.write(UPKEEP_KEY + ns, drop_txn) if gone or has_ended else (0, 0)
        done = {"locks": locks, "properties": properties}
        return Visited(done, nodes[-1] if len(nodes) == page_nodes else None)

    return await walk(db, clock, WEBDAV, visit)
