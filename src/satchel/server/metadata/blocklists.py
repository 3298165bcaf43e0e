"""Blocklists by content hash: the rows of `manifests`. Invariant: a blocklist never changes."""

from __future__ import annotations

from collections.abc import Iterable

from satchel.core.hashing import PACKED_BYTES
from satchel.core.ids import NamespaceId
from satchel.server.db.engine import Connection, fetch_in


async def blocklists_txn(
    conn: Connection, ns: NamespaceId, ids: Iterable[bytes], *, blocks_max: int | None = None
) -> dict[bytes, bytes]:
    """Return packed blocklists by content hash; unknown ones, and those longer than `blocks_max`, are left out."""
    bound = "" if blocks_max is None else f" AND LENGTH(blocks) <= {blocks_max * PACKED_BYTES}"
    sql = f"SELECT manifest_id, blocks FROM manifests WHERE ns = $1 AND manifest_id IN {{keys}}{bound}"
    return {row[0]: row[1] for row in await fetch_in(conn, sql, sorted(set(ids)), ns)}
