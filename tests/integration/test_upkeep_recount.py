"""Recount: each counter that is off is found by its kind, put right when asked, and nothing else is touched."""

from __future__ import annotations

import random

import pytest

from satchel.core.hashing import block_hash
from satchel.server.blocks.refs import BLOCK_LIVE
from satchel.server.db.engine import Row
from satchel.server.upkeep import compaction, recount
from satchel.server.upkeep.recount import KINDS, REPAIRED, RecountBounds, RecountCounts
from tests.integration.test_upkeep_scrub import overwrite
from tests.support.upkeep_stores import Play, play
from tests.support.upkeep_world import World, data_of

__all__ = ["play"]


async def run(world: World, *, repair: bool = False, deep: bool = False) -> RecountCounts:
    bounds = RecountBounds(page=5, hashes_max=7)
    return await recount.run(world.db, world.store, world.clock, world.workers, bounds, repair=repair, deep=deep)


async def filled(world: World) -> None:
    """Two accounts with files, versions, shared and repeated blocks, a deleted and a purged file, an upload."""
    ada, ben = await world.owner(), await world.owner()
    first = await world.save(ada, None, data_of(1), data_of(2), data_of(1))
    await world.save(ada, first, data_of(2), data_of(3))
    await world.save(ada, None, data_of(1), data_of(2), data_of(1))
    await world.save(ada, None)
    for number in range(4, 24):
        await world.save(ada, None, data_of(number), inline=bool(number % 2))
    await world.save(ben, None, data_of(2), data_of(30))
    deleted = await world.save(ben, None, data_of(31))
    await world.delete(ben, deleted)
    purged = await world.save(ben, None, data_of(32), data_of(30))
    await world.delete(ben, purged)
    await world.purge(ben, purged)
    await world.put(ben, data_of(33))


async def everything(world: World) -> list[list[Row]]:
    tables = ("blocks", "block_refs", "namespace_blocks", "packs", "manifests", "file_versions", "files")
    return [sorted(await world.rows(f"SELECT * FROM {table}"), key=repr) for table in tables]


def test_a_store_in_order_has_no_difference_at_any_time(play: Play) -> None:
    async def scene(world: World) -> None:
        await filled(world)
        for _ in range(8):
            counts = await run(world, deep=True)
            assert (dict(counts.found), counts.is_clean) == ({}, True)
            world.later(25)
            await world.gc()
            await compaction.run(world.db, world.store, world.clock, world.workers)
        assert (counts.namespaces, counts.rights > 20, counts.manifests > 20) == (2, True, True)

    play(scene)


FAULTS = {
    "manifest_count_low": ("UPDATE manifests SET refs = refs - 1 WHERE refs > 0", 25),
    "manifest_count_high": ("UPDATE manifests SET refs = refs + 1", 26),
    "right_count_low": ("UPDATE namespace_blocks SET refs = refs - 1 WHERE refs > 0", 26),
    "right_count_high": ("UPDATE namespace_blocks SET refs = refs + 1", 28),
    "right_missing": ("DELETE FROM namespace_blocks WHERE refs = 1", 24),
    "holder_missing": ("DELETE FROM block_refs", 28),
    "pack_missing": ("UPDATE packs SET state = 2", 0),
    "pack_bytes_wrong": ("UPDATE packs SET live_bytes = 7", 0),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_kind_of_difference_is_found_and_put_right_only_when_asked(play: Play, kind: str) -> None:
    async def scene(world: World) -> None:
        await filled(world)
        sound = await everything(world)
        fault, count = FAULTS[kind]
        await world.execute(fault)
        broken = await everything(world)
        counts = await run(world)
        assert counts.found[kind] >= max(1, count - 3), dict(counts.found)
        assert counts.is_clean == (kind in recount.FIGURES)
        assert counts.examples[kind] and counts.repaired.total() == 0
        assert await everything(world) == broken
        counts = await run(world, repair=True)
        assert counts.repaired[kind] == counts.found[kind] > 0
        again = await run(world)
        assert again.is_clean and not again.found, dict(again.found)
        if kind in ("manifest_count_low", "manifest_count_high", "right_count_low", "right_count_high"):
            assert await everything(world) == sound
        await world.collect()

    play(scene)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("block_missing", "DELETE FROM blocks WHERE size = 2000"),
        ("pack_missing", "UPDATE packs SET state = 4"),
        ("holder_without_right", "DELETE FROM namespace_blocks WHERE refs = 0"),
    ],
)
def test_what_cannot_be_repaired_is_told_and_left(play: Play, kind: str, fault: str) -> None:
    async def scene(world: World) -> None:
        await filled(world)
        kept = {table: await world.rows(f"SELECT * FROM {table}") for table in ("blocks", "packs")}
        await world.execute(fault)
        broken = await everything(world)
        for repair in (False, True):
            counts = await run(world, repair=repair)
            assert counts.found[kind] > 0 and counts.repaired[kind] == 0 and not counts.is_clean
        assert await everything(world) == broken
        await world.execute("UPDATE packs SET state = 1")
        for row in kept["blocks"] if kind == "block_missing" else ():
            marks = ", ".join(f"${at + 1}" for at in range(len(row)))
            await world.execute(f"INSERT INTO blocks VALUES ({marks}) ON CONFLICT DO NOTHING", *row)

    play(scene)


def test_a_version_without_its_blocklist_is_told(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        file = await world.save(ada, None, data_of(1))
        await world.execute("DELETE FROM manifests")
        counts = await run(world, repair=True)
        assert counts.found["manifest_missing"] == 1 and not counts.is_clean
        del ada.files[file.node_id]

    play(scene)


def test_many_counters_off_at_once_are_put_right_and_then_garbage_takes_only_what_is_unused(play: Play) -> None:
    async def scene(world: World) -> None:
        await filled(world)
        await world.execute("UPDATE manifests SET refs = 0")
        await world.execute("UPDATE namespace_blocks SET refs = 0")
        world.later(49)
        assert (await world.gc()).errors > 0
        await run(world, repair=True)
        assert (await run(world)).is_clean
        await world.collect()
        assert await world.state(data_of(33)) is None
        assert await world.state(data_of(23)) == BLOCK_LIVE

    play(scene)


def test_random_faults_in_counters_are_all_put_right(play: Play) -> None:
    async def scene(world: World) -> None:
        await filled(world)
        sound = await everything(world)
        chance = random.Random(4711)
        for _ in range(6):
            for table, key in (("manifests", "manifest_id"), ("namespace_blocks", "block_hash")):
                for row in await world.rows(f"SELECT ns, {key} FROM {table}"):
                    if chance.random() < 0.3:
                        text = f"UPDATE {table} SET refs = $3 WHERE ns = $1 AND {key} = $2"
                        await world.execute(text, row[0], row[1], chance.randrange(-2, 5))
            await run(world, repair=True)
            assert (await run(world)).is_clean
            assert await everything(world) == sound

    play(scene)


def test_a_deep_run_reads_every_block(play: Play) -> None:
    async def scene(world: World) -> None:
        await filled(world)
        overwrite(world.store, await world.span(data_of(33)), b"rotten")
        counts = await run(world)
        assert counts.is_clean and counts.scrub is None
        counts = await run(world, deep=True)
        assert counts.scrub is not None and counts.scrub.damaged == 1 and not counts.is_clean
        assert counts.scrub.blocks == counts.blocks
        assert block_hash(data_of(33))

    play(scene)


def test_every_kind_has_words() -> None:
    assert set(KINDS) >= REPAIRED
