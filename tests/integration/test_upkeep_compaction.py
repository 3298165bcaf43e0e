"""Compaction: small and sparse packs become few full ones, and no reader and no block notices."""

from __future__ import annotations

import asyncio

import pytest

from satchel.core.errors import StorageFailed
from satchel.core.hashing import block_hash
from satchel.core.messages import GetRequest
from satchel.server.blocks.codec import shut_block
from satchel.server.blocks.refs import BLOCK_DAMAGED, BLOCK_LIVE, move_txn
from satchel.server.upkeep import compaction
from satchel.server.upkeep.compaction import CompactionBounds, CompactionCounts
from satchel.simulation.stores import MemoryBlocks
from tests.integration.test_upkeep_scrub import overwrite
from tests.support.upkeep_stores import Play, StoppingDatabase, StoppingStore, play
from tests.support.upkeep_world import World, data_of

__all__ = ["play"]


async def run(world: World, bounds: CompactionBounds | None = None) -> CompactionCounts:
    return await compaction.run(world.db, world.store, world.clock, world.workers, bounds)


async def small_packs(world: World, count: int = 30) -> None:
    ada = world.owners[0] if world.owners else await world.owner()
    for number in range(count):
        await world.save(ada, None, data_of(number))


def test_small_packs_are_merged_and_the_old_ones_leave_an_hour_later(play: Play) -> None:
    async def scene(world: World) -> None:
        await small_packs(world, 60)
        before = set(await world.store.names("packs/"))
        assert (await run(world)).blocks_moved == 0, "they are young"
        world.later(0.2)
        still_open = await world.store.open_names()
        counts = await run(world)
        assert counts.packs_emptied == len(before) - len(before & still_open) > 3
        await world.check()
        assert before <= set(await world.store.names("packs/"))
        world.later(0.9)
        await world.gc()
        assert before <= set(await world.store.names("packs/"))
        world.later(0.2)
        await world.gc()
        assert set(await world.store.names("packs/")) & before == before & still_open
        await world.check()
        assert (await run(world)).blocks_moved == 0, "one pack is left; alone it is not copied again"

    play(scene)


def test_a_young_pack_is_not_measured_as_more_of_its_blocks_may_come(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        await world.put(ada, data_of(1))
        await run(world)
        assert await world.rows("SELECT live_bytes FROM packs") == [(0,)]

    play(scene)


def test_a_pack_that_is_mostly_dead_is_rewritten(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        for first in range(0, 40, 10):
            blocks = [data_of(number) for number in range(first, first + 10)]
            await world.put(ada, *blocks)
            await world.save(ada, None, *blocks[:3])
        await run(world)
        await world.collect()
        bounds = CompactionBounds(small_bytes=0)
        old = {(await world.span(data_of(number))).name for number in range(0, 40, 10)} - await world.store.open_names()
        counts = await run(world, bounds)
        assert counts.packs_emptied == len(old) > 0 and counts.blocks_moved >= 3
        # The copies went to the log that was open: that one is mostly dead too once it is closed.
        await run(world, bounds)
        assert (await run(world, bounds)).blocks_moved == 0
        await world.collect()
        assert not old & set(await world.store.names("packs/"))

    play(scene)


def test_many_tiny_blocks_in_a_full_pack_are_no_dead_bytes(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        await world.put(ada, *(b"%d" % number for number in range(900)))
        await world.put(ada, data_of(1))
        world.later(1)
        assert (await run(world, CompactionBounds(small_bytes=0))).blocks_moved == 0

    play(scene)


def test_a_run_copies_no_more_than_its_budget(play: Play) -> None:
    async def scene(world: World) -> None:
        await small_packs(world, 60)
        world.later(1)
        bounds = CompactionBounds(bytes_max=30_000, merge_min=2, pack_bytes=8_000)
        counts = await run(world, bounds)
        assert 0 < counts.bytes_copied <= 30_000
        while counts.blocks_moved:
            await world.check()
            world.later(1)
            before = counts
            counts = await run(world, CompactionBounds(bytes_max=30_000, merge_min=8))
            assert before.packs_seen
        await world.collect()

    play(scene)


def test_a_reader_that_holds_an_old_place_finds_the_block_at_its_new_one(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        size = 3 * 1024 * 1024
        for number in range(6):
            await world.save(ada, None, data_of(number, size))
        await world.put(ada, data_of(10))
        names = tuple(block_hash(data_of(number, size)) for number in range(6))
        reply, bodies = await world.service.get(GetRequest(ada.ns, names))  # type: ignore[arg-type]
        got = [bytes(await anext(bodies))]
        world.later(1)
        assert (await run(world, CompactionBounds(small_bytes=1 << 30, merge_min=1))).blocks_moved > 3
        world.later(2)
        assert (await world.gc()).packs_deleted > 3
        got += [bytes(body) async for body in bodies]
        assert [block_hash(body) for body in got] == [block.hash for block in reply.blocks]

    play(scene)


def test_a_bad_block_is_marked_and_left_where_it_is(play: Play) -> None:
    async def scene(world: World) -> None:
        await small_packs(world, 40)
        ada = world.owners[0]
        rotten = await world.save(ada, None, data_of(100))
        await small_packs(world, 0)
        await world.put(ada, *(data_of(number) for number in range(200, 215)))
        await world.put(ada, data_of(300))
        span = await world.span(data_of(100))
        overwrite(world.store, span, b"rotten")
        world.later(1)
        counts = await run(world)
        assert (counts.blocks_damaged, await world.state(data_of(100))) == (1, BLOCK_DAMAGED)
        assert await world.span(data_of(100)) == span
        world.later(2)
        await world.gc()
        assert span.name in await world.store.names("packs/")
        await world.put(ada, data_of(100))
        assert await world.state(data_of(100)) == BLOCK_LIVE
        assert rotten.versions

    play(scene)


def test_a_store_that_lost_everything_is_not_compacted_away(play: Play) -> None:
    async def scene(world: World) -> None:
        await small_packs(world, 40)
        world.later(1)
        kept = dict(world.store.objects) if isinstance(world.store, MemoryBlocks) else {}
        if not kept:
            return
        world.store.objects.clear()  # type: ignore[attr-defined]
        with pytest.raises(StorageFailed):
            await run(world, CompactionBounds(damaged_max=3))
        world.store.objects.update(kept)  # type: ignore[attr-defined]

    play(scene)


def test_a_stop_at_any_point_loses_nothing_and_the_next_run_ends_the_work(play: Play) -> None:
    async def scene(world: World) -> None:
        await small_packs(world, 24)
        for number in range(1, 60):
            world.later(1)
            is_after = bool(number % 2)
            stopping = StoppingDatabase(world.db, 1 + number // 4, asyncio.CancelledError(), is_after=is_after)
            store = StoppingStore(world.store, 1 + number // 8, is_after=is_after)
            which = (stopping, world.store) if number % 4 < 2 else (world.db, store)
            try:
                await compaction.run(*which, world.clock, world.workers, CompactionBounds(merge_min=1))
            except asyncio.CancelledError:
                await world.check()
        await world.collect(10)
        await run(world, CompactionBounds(merge_min=1))
        await world.collect(10)
        assert len(await world.store.names("packs/")) <= 3

    play(scene)


def test_a_block_that_stands_elsewhere_by_now_is_not_moved(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        (old,) = await world.service.store(ada.ns, [shut_block(data_of(1))])  # type: ignore[arg-type]
        await world.save(ada, None, data_of(1))
        await small_packs(world, 8)
        stale = old._replace(offset=old.offset + 1)
        moves = [(stale, old.pack_id, 1)]
        assert await world.db.write(b"x", lambda conn: move_txn(conn, moves, now_ms=1)) == set()

    play(scene)


def test_two_runs_at_once_move_each_block_once(play: Play) -> None:
    async def scene(world: World) -> None:
        await small_packs(world, 40)
        world.later(1)
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(run(world)) for _ in range(2)]
        moved = sum(task.result().blocks_moved for task in runs)
        assert moved <= 40
        await world.check()
        await world.collect(10)

    play(scene)
