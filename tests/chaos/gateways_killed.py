"""Gateways are killed every few seconds and upkeep runs all the time without any grace: nothing in use ever goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from satchel.core.errors import Unavailable
from satchel.core.retention import DAY_MS
from satchel.server.adapters.blocks_object import ObjectBlocks
from satchel.server.adapters.machine import MachineClock, ThreadWorkers
from satchel.server.db.engine import Database
from satchel.server.db.opening import open_database
from satchel.server.upkeep import compaction, garbage, scrub
from satchel.server.upkeep.compaction import CompactionBounds
from satchel.server.upkeep.dropping import Brake
from satchel.server.upkeep.garbage import GarbageBounds
from satchel.server.upkeep.scrub import ScrubBounds
from satchel.server.upkeep.trash import TrashBounds, purge_trash
from tests.chaos.load import Load, finish, load
from tests.chaos.scene import Figures, Scene, require
from tests.chaos.servers import EVERY_ROLE, LEAN, Environment, Servers, running_service

WRITERS = 50
KILLS = 60
BETWEEN_S = 4.0
NO_GRACE = GarbageBounds(gone_ms=0, condemned_ms=0, old_ms=0, unused_ms=0, floor_bytes=1 << 50, orphans_floor=1 << 30)
"""Nothing waits, and the brake, which has tests of its own, is off."""
ANY_PACK = CompactionBounds(merge_min=2, young_ms=0)
EVERY_PACK = ScrubBounds(again_ms=0)
PURGED_SHARE = 0.5
UNBRAKED = TrashBounds(brake=Brake(floor=1 << 40, share=1.0))
LATER_MS = 49 * 3_600_000


class LaterClock(MachineClock):
    """Two days on, so that the leases of uploads that were just made have ended."""

    def now_ms(self) -> int:
        return super().now_ms() + LATER_MS


async def run(scene: Scene, servers: Servers) -> Figures:
    """Kill one after the other; expire, collect, merge and read beside it."""
    writers, kills = scene.count(WRITERS, least=8), scene.count(KILLS, least=3)
    environment = await servers.environment()
    chance = scene.chance("kills")
    figures = Figures({"writers": writers, "gateways killed": kills})
    roles = LEAN if servers.is_lean else EVERY_ROLE
    done: Counter[str] = Counter()
    async with (
        running_service(scene.folder, environment.variables, roles) as service,
        load(scene, service, environment, writers=writers, follow=not servers.is_lean) as running,
    ):
        async with _upkeep(environment, running, done):
            for number in range(1, kills + 1):
                await asyncio.sleep(scene.seconds(BETWEEN_S, least=0.4) * (0.5 + chance.random()))
                victim = chance.choice(service.gateways)
                await asyncio.to_thread(victim.kill)
                await running.more(1)
                await asyncio.to_thread(victim.start)
                scene.tell(f"{number} killed, {running.ops:,} ops acknowledged, {dict(done)}")
            await running.more(writers)
        await finish(running, figures)
    figures |= dict(sorted(done.items()))
    return figures


@contextlib.asynccontextmanager
async def _upkeep(environment: Environment, running: Load, done: Counter[str]) -> AsyncIterator[None]:
    """Run every task over and over beside the block."""
    db = await open_database(environment.database_url, MachineClock())
    store, workers = ObjectBlocks(environment.blocks_url, MachineClock()), ThreadWorkers()
    stop = asyncio.Event()

    async def collect() -> None:
        clock = LaterClock()
        while not stop.is_set():
            done["versions expired"] += await _expire(db, running)
            with contextlib.suppress(Unavailable):
                counts = await garbage.run(db, store, clock, NO_GRACE)
                require(counts.errors == 0, f"garbage met what does not fit: {counts}")
                done["blocks removed"] += counts.blocks_removed
                done["packs deleted"] += counts.packs_deleted
            await asyncio.sleep(0.05)

    async def merge() -> None:
        while not stop.is_set():
            with contextlib.suppress(Unavailable):
                merged = await compaction.run(db, store, MachineClock(), workers, ANY_PACK)
                done["packs merged"] += merged.packs_emptied
                found = await scrub.run(db, store, MachineClock(), workers, EVERY_PACK)
                require(found.found_damaged == 0, f"scrub found what it should not: {found}")
                done["packs scrubbed"] += found.packs
            await asyncio.sleep(0.05)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(collect())
            group.create_task(merge())
            yield
            stop.set()
        # What a pack holds was noted while blocks still came to it: a run with nobody beside it notes it anew.
        running.stop_writing.set()
        await asyncio.wait(running.writing)
        while versions := await _purge(db):
            done["versions expired"] += versions
        await compaction.run(db, store, MachineClock(), workers, ANY_PACK)
    finally:
        workers.close()
        await store.close()
        await db.close()


async def _expire(db: Database, running: Load) -> int:
    """Let some deleted files be deleted for long and take them out of the trash; return how many versions went."""
    expired = []
    for writer in running.writers:
        gone = [made for made in writer.nodes.values() if not made.is_live]
        expired += [(writer, made) for made in gone[: max(1, round(len(gone) * PURGED_SHARE))]]
    rows = [(writer.client.account.ns, made.node_id) for writer, made in expired]
    text = "UPDATE files SET deleted_at = 1 WHERE ns = $1 AND node_id = $2 AND deleted_at IS NOT NULL"
    try:
        await db.write(b"expire", lambda conn: conn.execute_many(text, rows))
        # From here on they may be gone, whether or not this run gets to them.
        for writer, made in expired:
            del writer.nodes[made.node_id]
        return await _purge(db)
    except Unavailable:
        return 0


async def _purge(db: Database) -> int:
    counts = await purge_trash(db, MachineClock(), keep_days=1, now_ms=DAY_MS + 2, bounds=UNBRAKED)
    return counts.done.get("versions", 0)
