"""Reads the truth that counters only repeat. Invariant: a block that any version names is found, whatever is counted.

Counters say where to look; these say what may go. All reads are in pages, outside of any lock: what is used from now
on is seen by the second look that each deletion takes under its lock. Source: docs/design/030, reference on data loss.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

import msgspec

from satchel.core.hashing import packed_hashes
from satchel.core.ids import BlockHash, NamespaceId
from satchel.server.db.engine import Connection, Database, Row

UPKEEP_KEY = b"upkeep"
"""Group-commit key of upkeep's own transactions."""

MANIFESTS_PAGE = 64
ROWS_PAGE = 4_096


async def namespace_ids(db: Database) -> AsyncIterator[NamespaceId]:
    """Yield all namespaces, in order."""
    last = NamespaceId(b"")
    text = "SELECT ns FROM namespaces WHERE ns > $1 ORDER BY ns LIMIT $2"
    while True:
        after = last
        rows = await db.read(lambda conn, after=after: conn.fetch(text, after, ROWS_PAGE))  # type: ignore[misc]
        for row in rows:
            yield row[0]
        if len(rows) < ROWS_PAGE:
            return
        last = rows[-1][0]


async def used_blocks(db: Database, ns: NamespaceId, wanted: Collection[BlockHash]) -> set[BlockHash]:
    """Return those of `wanted` that a version or a file of the namespace names, by its blocklists alone.

    No counter is believed: a manifest that is counted as unused is looked for among versions and files.
    """
    used: set[BlockHash] = set()
    uncounted: dict[bytes, set[BlockHash]] = {}
    last = b""
    while True:
        after = last

        async def page_txn(conn: Connection, after: bytes = after) -> tuple[int, bytes, list[tuple[bytes, int, Row]]]:
            rows = await conn.fetch(
                "SELECT manifest_id, refs, blocks FROM manifests WHERE ns = $1 AND manifest_id > $2"
                " ORDER BY manifest_id LIMIT $3",
                *(ns, after, MANIFESTS_PAGE),
            )
            named = [(row[0], row[1], tuple({h for h in packed_hashes(row[2]) if h in wanted})) for row in rows]
            return len(rows), rows[-1][0] if rows else b"", [one for one in named if one[2]]

        count, last, named = await db.read(page_txn)
        for manifest_id, refs, hashes in named:
            if refs > 0:
                used.update(hashes)
            else:
                uncounted[manifest_id] = set(hashes)
        if count < MANIFESTS_PAGE:
            break
    for manifest_id in await named_contents(db, ns, uncounted):
        used |= uncounted[manifest_id]
    return used


async def named_contents(db: Database, ns: NamespaceId, wanted: Collection[bytes]) -> set[bytes]:
    """Return those of the content hashes that a version or a file of the namespace has."""
    found: set[bytes] = set()
    if not wanted:
        return found
    versions = (
        "SELECT node_id, rev, content FROM file_versions WHERE ns = $1 AND (node_id, rev) > ($2, $3)"
        " ORDER BY node_id, rev LIMIT $4"
    )
    files = "SELECT node_id, 0, content FROM files WHERE ns = $1 AND node_id > $2 AND $3 >= 0 ORDER BY node_id LIMIT $4"
    for text in (versions, files):
        node_id, rev = b"", 0
        while True:
            place = (ns, node_id, rev, ROWS_PAGE)
            rows = await db.read(lambda conn, text=text, place=place: conn.fetch(text, *place))  # type: ignore[misc]
            found.update(row[2] for row in rows if row[2] in wanted)
            if len(rows) < ROWS_PAGE:
                break
            node_id, rev = rows[-1][0], rows[-1][1]
    return found


async def rights_to(db: Database, wanted: Collection[BlockHash]) -> set[BlockHash]:
    """Return those of `wanted` that any namespace has a right to."""
    found: set[BlockHash] = set()
    place: tuple[bytes, bytes] = (b"", b"")
    while True:

        async def page_txn(
            conn: Connection, place: tuple[bytes, bytes] = place
        ) -> tuple[int, tuple[bytes, bytes], set[BlockHash]]:
            rows = await conn.fetch(
                "SELECT ns, block_hash FROM namespace_blocks WHERE (ns, block_hash) > ($1, $2)"
                " ORDER BY ns, block_hash LIMIT $3",
                *(*place, ROWS_PAGE),
            )
            end = (rows[-1][0], rows[-1][1]) if rows else place
            return len(rows), end, {row[1] for row in rows if row[1] in wanted}

        count, place, some = await db.read(page_txn)
        found |= some
        if count < ROWS_PAGE:
            return found


async def blocks_in_use(db: Database, wanted: Collection[BlockHash]) -> set[BlockHash]:
    """Return those of `wanted` that any namespace has a right to or any version names."""
    found = await rights_to(db, wanted)
    async for ns in namespace_ids(db):
        found |= await used_blocks(db, ns, wanted)
    return found


class Brake(msgspec.Struct, frozen=True):
    """Why garbage is not condemned, and how much an administrator has let go.

    alarm: what was wrong, "" while nothing is. allowed_bytes: may be condemned until `allowed_until_ms`, whatever part
    of all it is; what was condemned up to `allowed_since_ms` is accounted for.
    """

    alarm: str = ""
    raised_at_ms: int = 0
    would_bytes: int = 0
    total_bytes: int = 0
    allowed_bytes: int = 0
    allowed_until_ms: int = 0
    allowed_since_ms: int = 0


async def read_brake(db: Database, name: str = "garbage") -> Brake:
    """Return the state of the brake of one kind of upkeep; without a row nothing is wrong."""
    rows = await db.read(lambda conn: conn.fetch("SELECT value FROM block_upkeep WHERE name = $1", name))
    return msgspec.json.decode(rows[0][0], type=Brake) if rows else Brake()


async def write_brake(db: Database, brake: Brake, *, now_ms: int, name: str = "garbage") -> None:
    """Keep the state of the brake."""
    text = (
        "INSERT INTO block_upkeep (name, value, changed_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at"
    )
    packed = msgspec.json.encode(brake)
    await db.write(UPKEEP_KEY, lambda conn: conn.execute(text, name, packed, now_ms))
