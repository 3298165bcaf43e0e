"""Removes deleted units for good, because somebody says so. Invariant: a deleted unit goes whole or can be restored
whole: one row decides, under the namespace's row, and what died with it is out of everybody's reach with that.

What hangs on them, versions and what is beneath, goes with the next round of upkeep (`server.upkeep.trash`), for which
they are due at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from satchel.core.access import Right
from satchel.core.ids import NamespaceId, NodeId
from satchel.core.limits import LIST_PAGE_MAX
from satchel.server.accounts.access import authorize, authorize_txn
from satchel.server.accounts.audit import Action, by, record_txn
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, execute_in, fetch_in
from satchel.server.metadata.journal import Head, head_txn
from satchel.server.metadata.nodes import DEAD, PURGED, node_of
from satchel.server.metadata.tree import left_behind_txn
from satchel.server.ports import Clock

DUE_NOW_MS = 1
"""What was removed by somebody has this time of deletion: upkeep takes it first, however long the trash is kept."""
_LAST_ID = NodeId(b"\xff" * 17)


class Purged(NamedTuple):
    """removed: how many units. has_more: the next call removes further ones."""

    removed: int
    has_more: bool


async def purge_units(
    db: Database,
    clock: Clock,
    principal: Principal,
    ns: NamespaceId,
    chosen: Sequence[NodeId] | None,
    *,
    before_ms: int,
    from_address: str = "",
    limit: int = LIST_PAGE_MAX,
) -> Purged:
    """Remove deleted units for good: those that are chosen (LIST_PAGE_MAX at most), or, with None, all that were
    deleted before `before_ms` (Unix time), at most `limit` of them in a call.

    Ids that are in the trash no more count for nothing, so it can be repeated. Raises: NotFound (also for whoever is
    not the namespace's owner), Unavailable.
    """
    # The database of somebody else's namespace is not written to, not even tried.
    await authorize(db, principal, ns, Right.PURGE)

    async def purge_txn(conn: Connection) -> Purged:
        await authorize_txn(conn, principal, ns, Right.PURGE)
        head = await head_txn(conn, ns, for_update=True)
        if chosen is not None:
            found, has_more = await _chosen_txn(conn, ns, chosen), False
        else:
            found = await _all_txn(conn, ns, before_ms, limit + 1)
            found, has_more = found[:limit], len(found) > limit
        if found:
            await mark_purged_txn(conn, ns, found, head, due_ms=DUE_NOW_MS)
            now_ms = clock.now_ms()
            event = by(principal, Action.PURGED, now_ms, address=from_address, ns=ns.hex(), deleted=len(found))
            await record_txn(conn, principal.account_id, event)
        return Purged(len(found), has_more)

    return await db.write(ns, purge_txn)


async def mark_purged_txn(
    conn: Connection, ns: NamespaceId, ids: Iterable[NodeId], head: Head, *, due_ms: int | None = None
) -> None:
    """Mark dead nodes as removed for good; the namespace's row is locked. due_ms: their place in the trash's index;
    None: the time of their deletion.

    cleared_seq: no entry of the journal beyond it speaks of the node as it was, or of anything below.
    """
    await execute_in(
        conn,
        f"UPDATE files SET state = {PURGED}, content = $2, size = 0, xattrs = NULL, cleared_seq = $3,"
        " deleted_at = COALESCE($4, deleted_at) WHERE ns = $1 AND node_id IN {keys}",
        *(ids, ns, b"", head.seq, due_ms),
    )


async def _chosen_txn(conn: Connection, ns: NamespaceId, chosen: Sequence[NodeId]) -> list[NodeId]:
    text = (
        f"SELECT node_id FROM files WHERE ns = $1 AND node_id IN {{keys}} AND deleted_at IS NOT NULL AND state = {DEAD}"
    )
    found = {row[0] for row in await fetch_in(conn, text, sorted(set(chosen)), ns)}
    if rest := set(chosen) - found:
        found |= rest & {node_of(row).node_id for row in await left_behind_txn(conn, ns, _LAST_ID, LIST_PAGE_MAX)}
    return sorted(found)


async def _all_txn(conn: Connection, ns: NamespaceId, before_ms: int, limit: int) -> list[NodeId]:
    rows = await conn.fetch(
        f"SELECT node_id FROM files WHERE ns = $1 AND deleted_at IS NOT NULL AND deleted_at < $2 AND state = {DEAD}"
        " ORDER BY deleted_at, node_id LIMIT $3",
        *(ns, before_ms, limit),
    )
    found = [row[0] for row in rows]
    if len(found) < limit:
        found += [node_of(row).node_id for row in await left_behind_txn(conn, ns, _LAST_ID, limit - len(found))]
    return found
