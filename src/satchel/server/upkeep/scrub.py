"""Reads every stored block again within 30 days and hashes it. Invariant: it changes no stored byte, it only tells.

Packs come in turn, the one that was read longest ago first; a run ends when its budget is used up. What is bad is
quarantined: it heals when any device sends the block again. Source: docs/design/030 (blocks and packs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from satchel.core.ids import PackId
from satchel.core.limits import MIB
from satchel.server.blocks.refs import BLOCK_DAMAGED, PACK_LIVE
from satchel.server.db.engine import Connection, Database
from satchel.server.ports import BlockStore, Clock, Workers
from satchel.server.upkeep.marking import UPKEEP_KEY, Brake, read_brake, write_brake
from satchel.server.upkeep.reading import blocks_of_pack, clear, quarantine, read_verified

_log = structlog.get_logger("upkeep.scrub")

DAY_MS = 24 * 3_600_000
BRAKE = "scrub"


@dataclass(frozen=True, slots=True)
class ScrubBounds:
    """bytes_max: read in one run. again_ms: a pack that was read less long ago is left; cycle_ms: by then it is late.

    damaged_max: more in one run is rather a disk that is not mounted than rot; the run ends and marks no more.
    """

    bytes_max: int = 1_024 * MIB
    again_ms: int = 14 * DAY_MS
    cycle_ms: int = 30 * DAY_MS
    damaged_max: int = 1_000
    page: int = 256


@dataclass(slots=True)
class ScrubCounts:
    """What a run read and found. late: packs that were last read longer ago than the cycle, before this run.

    damaged: blocks in quarantine after the run, found_damaged: those of this run; healed: good again, or stored anew.
    """

    packs: int = 0
    blocks: int = 0
    bytes: int = 0
    found_damaged: int = 0
    healed: int = 0
    damaged: int = 0
    late: int = 0
    alarm: str = ""


async def run(
    db: Database,
    store: BlockStore,
    clock: Clock,
    workers: Workers,
    bounds: ScrubBounds | None = None,
    *,
    everything: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> ScrubCounts:
    """Read packs until the budget is used up. Safe to stop, to repeat, and beside itself.

    everything: each pack, whatever the budget and however lately it was read. progress: told the bytes read so far.
    Raises: Unavailable, StorageFailed.
    """
    bounds = bounds or ScrubBounds()
    counts = ScrubCounts()
    # A store that does not answer at all holds nothing that could be called damaged.
    await store.probe()
    began_ms = clock.now_ms()
    counts.late = await _late(db, began_ms - bounds.cycle_ms)
    counts.healed += await _forget_healed(db)
    until_ms = began_ms if everything else began_ms - bounds.again_ms
    while not counts.alarm:
        packs = await _next_packs(db, until_ms, bounds.page)
        for pack_id in packs:
            await _read_pack(db, store, clock, workers, bounds, counts, pack_id)
            progress(counts.bytes)
            if counts.alarm or (counts.bytes >= bounds.bytes_max and not everything):
                break
        if len(packs) < bounds.page or (counts.bytes >= bounds.bytes_max and not everything):
            break
    ((counts.damaged,),) = await db.read(lambda conn: conn.fetch("SELECT COUNT(*) FROM block_damage"))
    await _tell(db, clock, counts)
    return counts


async def _next_packs(db: Database, until_ms: int, size: int) -> list[PackId]:
    text = (
        f"SELECT pack_id FROM packs WHERE state = {PACK_LIVE} AND verified_at < $1"
        " ORDER BY verified_at, pack_id LIMIT $2"
    )
    return [row[0] for row in await db.read(lambda conn: conn.fetch(text, until_ms, size))]


async def _read_pack(
    db: Database,
    store: BlockStore,
    clock: Clock,
    workers: Workers,
    bounds: ScrubBounds,
    counts: ScrubCounts,
    pack_id: PackId,
) -> None:
    began_ms = clock.now_ms()
    async for group in blocks_of_pack(db, pack_id):
        read = await read_verified(store, workers, [block for block, _ in group])
        marked = {block.hash for block, state in group if state == BLOCK_DAMAGED}
        bad = [one for one in read if one[1] is None and one[0].hash not in marked]
        counts.blocks += len(group)
        counts.bytes += sum(block.stored_size for block, _ in group)
        counts.healed += await clear(db, [b for b, part, _ in read if part is not None and b.hash in marked])
        if counts.found_damaged + len(bad) > bounds.damaged_max:
            counts.alarm = f"more than {bounds.damaged_max} blocks cannot be read; is the disk mounted?"
            return
        counts.found_damaged += len(await quarantine(db, store, workers, bad, now_ms=began_ms))
    counts.packs += 1
    text = "UPDATE packs SET verified_at = $2 WHERE pack_id = $1 AND verified_at < $2"
    await db.write(UPKEEP_KEY, lambda conn: conn.execute(text, pack_id, began_ms))


async def _late(db: Database, before_ms: int) -> int:
    text = (
        f"SELECT COUNT(*) FROM packs WHERE state = {PACK_LIVE} AND verified_at < $1 AND created_at < $1"
        " AND EXISTS (SELECT 1 FROM blocks b WHERE b.pack_id = packs.pack_id)"
    )
    return int((await db.read(lambda conn: conn.fetch(text, before_ms)))[0][0])


async def _forget_healed(db: Database) -> int:
    """Forget the damage of blocks that were stored anew; return how many. Those that were removed are forgotten too."""

    async def forget_txn(conn: Connection) -> int:
        return await conn.execute(
            "DELETE FROM block_damage WHERE NOT EXISTS (SELECT 1 FROM blocks b"
            f" WHERE b.block_hash = block_damage.block_hash AND b.state = {BLOCK_DAMAGED})"
        )

    return await db.write(UPKEEP_KEY, forget_txn)


async def _tell(db: Database, clock: Clock, counts: ScrubCounts) -> None:
    """Keep an alarm while blocks are damaged; say what was found."""
    reason = counts.alarm or (f"{counts.damaged} stored blocks are damaged" if counts.damaged else "")
    if reason:
        _log.error("scrub.damage", reason=reason, found=counts.found_damaged)
    if counts.late:
        _log.warning("scrub.late", packs=counts.late)
    brake = await read_brake(db, BRAKE)
    if brake.alarm != reason:
        now_ms = clock.now_ms()
        await write_brake(db, Brake(alarm=reason, raised_at_ms=now_ms if reason else 0), now_ms=now_ms, name=BRAKE)
    _log.info("scrub.done", packs=counts.packs, blocks=counts.blocks, bytes=counts.bytes)
