"""What WebDAV clients left goes when nobody can ask for it any more, over both databases."""

from __future__ import annotations

from satchel.core.ids import ROOT_NODE, NodeId
from satchel.server.db.engine import Database
from satchel.server.metadata.nodes import DEAD, PURGED
from satchel.server.upkeep.webdav import expire_webdav
from tests.support.clocks import SteppingClock
from tests.support.databases import Run
from tests.support.writers import Writer, create_folder, new_id

NOW = 1_900_000_000_000


async def give(db: Database, ada: Writer, node: NodeId, *, expires_at: int) -> None:
    """Give a node a property and a lock."""
    token = new_id()
    await db.write(
        ada.ns,
        lambda conn: conn.execute(
            "INSERT INTO dav_properties (ns, node_id, namespace, name, value, lang) VALUES ($1, $2, 'x', 'y', 'z', '')",
            *(ada.ns, node),
        ),
    )
    await db.write(
        ada.ns,
        lambda conn: conn.execute(
            "INSERT INTO dav_locks (ns, token, node_id, account_id, is_exclusive, is_deep, owner, expires_at)"
            " VALUES ($1, $2, $3, $2, 1, 0, '', $4)",
            *(ada.ns, token, node, expires_at),
        ),
    )


async def left(db: Database, table: str, ada: Writer) -> set[bytes]:
    rows = await db.read(lambda conn: conn.fetch(f"SELECT node_id FROM {table} WHERE ns = $1", ada.ns))
    return {row[0] for row in rows}


def test_locks_that_ended_and_properties_of_what_is_gone_for_good_are_removed(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada, bob = [await Writer.new(db, name=name) for name in ("ada", "bob")]
        live, deleted, purged, never = [NodeId(new_id()) for _ in range(4)]
        for node in (live, deleted, purged):
            await ada.stored(create_folder(node, node.hex()))
        await db.write(
            ada.ns,
            lambda conn: conn.execute_many(
                "UPDATE files SET state = $3 WHERE ns = $1 AND node_id = $2",
                [(ada.ns, deleted, DEAD), (ada.ns, purged, PURGED)],
            ),
        )
        for number, node in enumerate((ROOT_NODE, live, deleted, purged, never)):
            await give(db, ada, node, expires_at=NOW + (-1) ** number * 1_000_000)
        await give(db, bob, ROOT_NODE, expires_at=NOW + 1_000_000)
        counts = await expire_webdav(db, SteppingClock(NOW), page_nodes=2)
        assert (counts.done, counts.has_more) == ({"locks": 2, "properties": 2}, False)
        assert await left(db, "dav_properties", ada) == {ROOT_NODE, live, deleted}
        assert await left(db, "dav_locks", ada) == {ROOT_NODE, deleted, never}
        assert await left(db, "dav_properties", bob) == await left(db, "dav_locks", bob) == {ROOT_NODE}

    run(scenario)
