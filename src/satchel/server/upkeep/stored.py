"""The tasks that look after what is stored: garbage, compaction, scrub, recount. Invariant: each reads in pages and is
bounded by what it may write, so a store of any size only makes it take longer.
"""

from __future__ import annotations

import dataclasses

from satchel.core.limits import MIB
from satchel.server.blocks.refs import PACK_LIVE
from satchel.server.db.engine import Database
from satchel.server.ports import BlockStore, Clock, Workers
from satchel.server.upkeep import compaction, garbage, recount, scrub
from satchel.server.upkeep.schedule import DAY_S, Counts, Task

HOUR_S = 3_600
LIMIT_S = 12.0 * HOUR_S
"""For a run over a large store. One that takes longer wants more shards, and is told as failed."""

SCRUB_RUNS = 20 * 24
"""Hourly runs in which all is read once: well within the 30 days, with time for days off."""
SCRUB_BYTES_MIN = 64 * MIB
SCRUB_BYTES_MAX = 32 * 1_024 * MIB


def tasks(db: Database, store: BlockStore, clock: Clock, workers: Workers) -> list[Task]:
    """Return the tasks of this part of upkeep."""

    async def collect(*, is_listing: bool = False) -> Counts:
        bounds = garbage.GarbageBounds()
        counts = await garbage.run(db, store, clock, bounds, is_listing=is_listing)
        is_full = counts.rights_dropped >= bounds.rights_max or counts.blocks_removed >= bounds.blocks_max
        return _told(counts, has_more=is_full)

    async def compact() -> Counts:
        bounds = compaction.CompactionBounds()
        counts = await compaction.run(db, store, clock, workers, bounds)
        return _told(counts, has_more=counts.bytes_copied >= bounds.bytes_max // 2)

    async def read_again() -> Counts:
        bounds = scrub.ScrubBounds(bytes_max=await _scrub_bytes(db))
        counts = await scrub.run(db, store, clock, workers, bounds)
        return _told(counts, has_more=counts.late > counts.packs > 0)

    async def count_again() -> Counts:
        counts = await recount.run(db, store, clock, workers)
        return Counts({"namespaces": counts.namespaces, "blocks": counts.blocks, "found": counts.found.total()})

    return [
        Task("garbage", HOUR_S, collect, LIMIT_S),
        # An object store is listed by a thousand names a request, and each request is paid for.
        Task("stray-packs", DAY_S, lambda: collect(is_listing=True), LIMIT_S),
        Task("compaction", HOUR_S, compact, LIMIT_S),
        Task("scrub", HOUR_S, read_again, LIMIT_S),
        Task("recount", 7 * DAY_S, count_again, LIMIT_S),
    ]


def _told(counts: garbage.GarbageCounts | compaction.CompactionCounts | scrub.ScrubCounts, *, has_more: bool) -> Counts:
    numbers = dataclasses.asdict(counts)
    return Counts({name: value for name, value in numbers.items() if type(value) is int}, has_more)


async def _scrub_bytes(db: Database) -> int:
    """Return how much one run reads: enough to read everything in time."""
    text = f"SELECT COALESCE(SUM(live_bytes), 0) FROM packs WHERE state = {PACK_LIVE}"
    ((stored,),) = await db.read(lambda conn: conn.fetch(text))
    return min(SCRUB_BYTES_MAX, max(SCRUB_BYTES_MIN, int(stored) // SCRUB_RUNS))
