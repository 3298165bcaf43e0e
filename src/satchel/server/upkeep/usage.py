"""Counts anew what each namespace uses, and repairs `bytes_used` where it is wrong. Invariant: a repair is the truth of
the moment it is written, whatever is committed meanwhile.

The truth is what the commit adds up: the size, before compression, of each block that manifests in use here name, once.
It is counted in one view of the database without a lock. A difference is a finding: nothing should make one. Few blocks
are then counted again while the namespace's row is held; of many, the count is taken when nothing changed since.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog

from satchel.core.ids import NamespaceId, short
from satchel.server.db.engine import Connection, Database, fetch_in
from satchel.server.metadata.journal import Head, head_txn
from satchel.server.ports import Clock
from satchel.server.upkeep.schedule import DAY_S, Counts, Task
from satchel.server.upkeep.walk import Standing, Visited, walk

_log = structlog.get_logger("upkeep")

NAME = "usage"
PAGE_BLOCKS = 5_000
LOCKED_BLOCKS_MAX = 10_000
"""So many blocks are counted in a fraction of a second: commits may wait for that."""
BLOCKS_MAX = 10_000_000
"""A namespace of more blocks is not counted: its view of the database would be held for minutes (PostgreSQL was seen to
count 60,000 a second, SQLite 200,000), and a run is ended after five."""
LOOKS_MAX = 3
LOOKED_AGAIN_BLOCKS_MAX = 1_000_000


class Usage(NamedTuple):
    """What a namespace uses. blocks: rows that were read; lost: blocks in use of which nothing is known."""

    bytes: int
    blocks: int
    lost: int
    is_whole: bool = True


def tasks(db: Database, clock: Clock) -> list[Task]:
    """Return the tasks of this part of upkeep."""
    return [Task(NAME, DAY_S, lambda: recount_usage(db, clock))]


async def recount_usage(db: Database, clock: Clock, *, locked_blocks_max: int = LOCKED_BLOCKS_MAX) -> Counts:
    """Compare each namespace's `bytes_used` with what it uses, and repair it.

    Counts: `namespaces` that were looked at, `repaired`, and `unsettled`: wrong, but changing too fast, too large, or
    with blocks in use that are lost; nothing is changed there.
    """

    async def visit(standing: Standing, after: bytes) -> Visited:
        verdict = await _settle(db, standing.ns, locked_blocks_max)
        return Visited({"namespaces": 1, **({} if verdict == "right" else {verdict: 1})})

    return await walk(db, clock, NAME, visit)


async def _settle(db: Database, ns: NamespaceId, locked_blocks_max: int) -> str:
    """Return `right`, `repaired` or `unsettled`."""

    async def look_txn(conn: Connection) -> tuple[Head, Usage]:
        return await head_txn(conn, ns), await usage_txn(conn, ns)

    for _ in range(LOOKS_MAX):
        head, usage = await db.read(look_txn)
        if not usage.is_whole or usage.lost:
            _log.error("upkeep.usage_unknown", ns=short(ns), blocks=usage.blocks, lost=usage.lost)
            return "unsettled"
        if head.bytes_used == usage.bytes:
            return "right"
        if await _repair(db, ns, head, usage, locked_blocks_max):
            return "repaired"
        if usage.blocks > LOOKED_AGAIN_BLOCKS_MAX:
            break
    _log.warning("upkeep.usage_unsettled", ns=short(ns), recorded=head.bytes_used, counted=usage.bytes)
    return "unsettled"


async def _repair(db: Database, ns: NamespaceId, seen: Head, usage: Usage, locked_blocks_max: int) -> bool:
    """Write the truth under the namespace's row; False when what was seen is no longer so, or was right after all."""

    async def repair_txn(conn: Connection) -> tuple[int, int] | None:
        head = await head_txn(conn, ns, for_update=True)
        truth = usage
        if usage.blocks <= locked_blocks_max:
            truth = await usage_txn(conn, ns, blocks_max=2 * max(PAGE_BLOCKS, locked_blocks_max))
        elif (head.seq, head.bytes_used) != (seen.seq, seen.bytes_used):
            # More is used only with a new seq, less only with fewer bytes: neither, and the count still holds.
            return None
        if not truth.is_whole or truth.lost or truth.bytes == head.bytes_used:
            return None
        await conn.execute("UPDATE namespaces SET bytes_used = $2 WHERE ns = $1", ns, truth.bytes)
        return head.bytes_used, truth.bytes

    repaired = await db.write(ns, repair_txn)
    if repaired is None:
        return False
    _log.error("upkeep.usage_repaired", ns=short(ns), recorded=repaired[0], counted=repaired[1])
    return True


async def usage_txn(conn: Connection, ns: NamespaceId, *, blocks_max: int = BLOCKS_MAX) -> Usage:
    """Count what the namespace uses. is_whole: False when there are more blocks than `blocks_max`."""
    after, size_total, seen, lost = b"", 0, 0, 0
    while seen < blocks_max:
        rows = await conn.fetch(
            "SELECT block_hash, refs FROM namespace_blocks WHERE ns = $1 AND block_hash > $2"
            " ORDER BY block_hash LIMIT $3",
            *(ns, after, PAGE_BLOCKS),
        )
        used = [hash_ for hash_, refs in rows if refs > 0]
        sizes = await fetch_in(conn, "SELECT block_hash, size FROM blocks WHERE block_hash IN {keys}", used)
        size_total += sum(size for _, size in sizes)
        lost += len(used) - len(sizes)
        seen += len(rows)
        if len(rows) < PAGE_BLOCKS:
            return Usage(size_total, seen, lost)
        after = rows[-1][0]
    return Usage(size_total, seen, lost, is_whole=False)
