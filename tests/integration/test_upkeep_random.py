"""Users and upkeep in any order, stopped at any point, under a clock that jumps: no block of a version is ever lost."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

import pytest

from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.messages import CreateOp, EditOp, NeedBlocks, Op, Stored
from satchel.server.db.engine import Database
from satchel.server.ports import BlockStore
from satchel.server.upkeep import compaction, garbage, recount, scrub
from satchel.server.upkeep.compaction import CompactionBounds
from tests.support.upkeep_stores import Play, StoppingDatabase, StoppingStore, play
from tests.support.upkeep_world import UNBRAKED, File, Owner, World, data_of
from tests.support.writers import content_of, new_id, op_id

__all__ = ["play"]

SEEDS = int(os.environ.get("UPKEEP_SEEDS", "1"))
FIRST_SEED = int(os.environ.get("UPKEEP_SEED", "1"))
STEPS = 150
BLOCKS = 60
COMPACTION = CompactionBounds(merge_min=2, young_ms=0, pack_bytes=10_000, live_share=0.8)


class Run:
    """One random run. Each step is drawn from the seed alone."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.told: list[str] = []
        self.removed = 0

    async def play(self) -> None:
        for _ in range(2):
            await self.world.owner()
        steps = {
            self.save: 6,
            self.edit: 5,
            self.commit_without_bytes: 5,
            self.upload: 4,
            self.delete: 2,
            self.purge: 5,
            self.time: 14,
            self.collect: 12,
            self.collect_stopped: 8,
            self.collect_twice: 2,
            self.compact: 4,
            self.compact_stopped: 3,
            self.scrub: 1,
            self.recount: 1,
        }
        for _ in range(STEPS):
            step = self.chance.choices(list(steps), list(steps.values()))[0]
            self.told.append(step.__name__)
            before = await self._count()
            await step()
            if step.__name__.startswith("collect"):
                self.removed += max(0, before - await self._count())
            await self.world.check()

    async def _count(self) -> int:
        return int((await self.world.rows("SELECT COUNT(*) FROM blocks"))[0][0])

    def blocks(self) -> list[bytes]:
        return [data_of(self.chance.randrange(BLOCKS)) for _ in range(self.chance.randrange(1, 4))]

    def owner(self) -> Owner:
        return self.chance.choice(self.world.owners)

    def file(self, owner: Owner) -> File | None:
        return self.chance.choice(list(owner.files.values())) if owner.files else None

    async def save(self) -> None:
        await self.world.save(self.owner(), None, *self.blocks(), inline=self.chance.random() < 0.5)

    async def edit(self) -> None:
        owner = self.owner()
        file = self.file(owner)
        if file is not None and not file.is_deleted:
            await self.world.save(owner, file, *self.blocks(), inline=self.chance.random() < 0.5)

    async def commit_without_bytes(self) -> None:
        """What the service says it has, it has."""
        owner, blocks = self.owner(), self.blocks()
        file = self.file(owner)
        op: Op
        if file is None or file.is_deleted or self.chance.random() < 0.5:
            file = File(NodeId(new_id()))
            op = CreateOp(op_id(), file.node_id, ROOT_NODE, file.node_id.hex(), Kind.FILE, content_of(*blocks))
        else:
            op = EditOp(op_id(), file.node_id, file.rev, content_of(*blocks))
        outcome = await self.world.commit(owner, op)
        assert isinstance(outcome, Stored | NeedBlocks), outcome
        if isinstance(outcome, Stored):
            self.world.saved(owner, file, outcome.seq, tuple(blocks))

    async def upload(self) -> None:
        await self.world.put(self.owner(), *self.blocks())

    async def delete(self) -> None:
        owner = self.owner()
        file = self.file(owner)
        if file is not None and not file.is_deleted:
            await self.world.delete(owner, file)

    async def purge(self) -> None:
        owner = self.owner()
        file = self.file(owner)
        if file is not None:
            await self.world.purge(owner, file)

    async def time(self) -> None:
        hours = self.chance.choice([0.3, 1.5, 5, 25, 25, 49, 49, 24 * 31, -3, -30, 49, 27, 24 * 365 * 10])
        self.world.later(hours if abs(hours) < 24 * 365 or self.chance.random() < 0.1 else 26)

    async def collect(self) -> None:
        counts = await self.world.gc()
        assert (counts.errors, counts.alarm, counts.packs_revived) == (0, "", 0)

    async def collect_twice(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(self.world.gc())

    async def collect_stopped(self) -> None:
        await self._stopped(lambda db, store: garbage.run(db, store, self.world.clock, UNBRAKED), 40)

    async def compact(self) -> None:
        world = self.world
        await compaction.run(world.db, world.store, world.clock, world.workers, COMPACTION)

    async def compact_stopped(self) -> None:
        world = self.world
        await self._stopped(lambda db, store: compaction.run(db, store, world.clock, world.workers, COMPACTION), 15)

    async def _stopped(self, work: Callable[[Database, BlockStore], Awaitable[object]], most: int) -> None:
        is_after = self.chance.random() < 0.5
        db: Database = self.world.db
        store: BlockStore = self.world.store
        if self.chance.random() < 0.7:
            number = self.chance.randrange(1, most)
            db = StoppingDatabase(db, number, asyncio.CancelledError(), is_after=is_after)
        else:
            store = StoppingStore(store, self.chance.randrange(1, 4), is_after=is_after)
        try:
            await work(db, store)
        except asyncio.CancelledError:
            self.told[-1] += " (stopped)"

    async def scrub(self) -> None:
        world = self.world
        counts = await scrub.run(world.db, world.store, world.clock, world.workers, everything=True)
        assert (counts.damaged, counts.alarm) == (0, "")

    async def recount(self) -> None:
        world = self.world
        counts = await recount.run(world.db, world.store, world.clock, world.workers)
        assert dict(counts.found) == {}


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEEDS))
def test_no_block_of_a_version_is_lost_whatever_happens(play: Play, seed: int) -> None:
    async def scene(world: World) -> None:
        run = Run(world, seed)
        try:
            await run.play()
        except BaseException:
            print(f"UPKEEP_SEED={seed}:", ", ".join(run.told))
            raise
        assert run.removed > 0, "nothing was ever collected: the run shows nothing"

    play(scene)
