"""Garbage: what nobody uses goes in its time, and nothing else ever does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from satchel.core.errors import Unavailable
from satchel.core.hashing import block_hash
from satchel.server.blocks.codec import shut_block
from satchel.server.blocks.refs import BLOCK_CONDEMNED, BLOCK_LIVE, register_txn
from satchel.server.db.engine import Row
from satchel.server.upkeep import garbage
from satchel.server.upkeep.marking import read_brake
from tests.support.upkeep_stores import Play, StoppingDatabase, play
from tests.support.upkeep_world import UNBRAKED, World, data_of

__all__ = ["play"]


def test_an_upload_without_a_commit_goes_step_by_step_and_a_file_stays(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        await world.save(ada, None, data_of(1))
        await world.put(ada, data_of(2))
        assert (await world.gc()).rights_dropped == 0
        world.later(47)
        assert (await world.gc()).rights_dropped == 0
        world.later(2)
        counts = await world.gc()
        assert (counts.rights_dropped, counts.blocks_gone, counts.blocks_condemned) == (1, 1, 0)
        world.later(23)
        assert (await world.gc()).blocks_condemned == 0
        world.later(2)
        assert (await world.gc()).blocks_condemned == 1
        assert await world.state(data_of(2)) == BLOCK_CONDEMNED
        world.later(23)
        assert (await world.gc()).blocks_removed == 0
        world.later(2)
        assert (await world.gc()).blocks_removed == 1
        assert (await world.state(data_of(1)), await world.state(data_of(2))) == (BLOCK_LIVE, None)

    play(scene)


def test_a_purged_file_goes_and_blocks_that_another_version_names_stay(play: Play) -> None:
    async def scene(world: World) -> None:
        ada, ben = await world.owner(), await world.owner()
        purged = await world.save(ada, None, data_of(1), data_of(2), data_of(3))
        await world.save(ada, None, data_of(2))
        await world.save(ben, None, data_of(3), inline=True)
        await world.delete(ada, purged)
        await world.collect()
        assert await world.state(data_of(1)) == BLOCK_LIVE, "what is in the trash stays"
        await world.purge(ada, purged)
        await world.collect()
        assert [await world.state(data_of(number)) for number in (1, 2, 3)] == [None, BLOCK_LIVE, BLOCK_LIVE]
        rights = await world.rows("SELECT COUNT(*) FROM namespace_blocks WHERE ns = $1", ada.ns)
        holders = await world.rows("SELECT COUNT(*) FROM block_refs WHERE ns = $1", ada.ns)
        assert (rights, holders) == ([(1,)], [(1,)])

    play(scene)


def test_an_empty_pack_is_deleted_an_hour_after_its_rows_and_an_open_one_never(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        for number in range(30):
            await world.put(ada, data_of(number))
        before = set(await world.store.names("packs/"))
        world.later(49)
        await world.gc()
        world.later(25)
        await world.gc()
        world.later(25)
        counts = await world.gc()
        assert (counts.blocks_removed, counts.packs_deleted) == (30, 0)
        given_up = counts.packs_given_up
        world.later(0.9)
        assert (await world.gc()).packs_deleted == 0
        assert set(await world.store.names("packs/")) == before
        world.later(0.2)
        assert (await world.gc()).packs_deleted == given_up > 0
        assert set(await world.store.names("packs/")) == set(await world.store.open_names())
        await world.save(ada, None, data_of(5))
        await world.collect()

    play(scene)


def test_no_pack_is_deleted_while_a_pin_stands(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        for number in range(12):
            await world.put(ada, data_of(number))
        await world.execute(
            "INSERT INTO pins (pin_id, reason, created_at, until) VALUES ($1, 'backup', 0, $2)", b"p", 1 << 60
        )
        before = await world.store.names("packs/")
        await world.collect()
        assert await world.store.names("packs/") == before
        await world.execute("DELETE FROM pins")
        assert (await world.gc()).packs_deleted > 0

    play(scene)


def test_any_use_on_the_way_revives(play: Play) -> None:
    async def scene(world: World) -> None:
        ada, ben = await world.owner(), await world.owner()
        data = data_of(7)
        for steps in range(5):
            await world.put(ada, data)
            for _ in range(steps):
                world.later(49)
                await world.gc()
            await world.put(ben, data)
            world.later(25)
            counts = await world.gc()
            assert (counts.blocks_condemned, counts.blocks_removed) == (0, 0), steps
            assert await world.state(data) == BLOCK_LIVE
            file = await world.save(ben, None, data)
            await world.check()
            await world.delete(ben, file)
            await world.purge(ben, file)
            await world.collect(8)
            assert await world.state(data) is None

    play(scene)


def test_a_dry_run_counts_and_changes_nothing(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        for number in range(15):
            await world.put(ada, data_of(number))
        for step in range(6):
            world.later(49)
            before = await _everything(world)
            told = await world.gc(dry_run=True)
            assert await _everything(world) == before
            done = await world.gc()
            if step == 0:
                assert told.rights_dropped == done.rights_dropped == 15
            if step == 1:
                assert told.blocks_condemned == done.blocks_condemned == 15
            if step == 2:
                assert told.blocks_removed == done.blocks_removed == 15

    play(scene)


async def _everything(world: World) -> list[list[Row]]:
    tables = ("blocks", "block_refs", "namespace_blocks", "packs", "block_upkeep", "manifests")
    return [sorted(await world.rows(f"SELECT * FROM {table}"), key=repr) for table in tables]


# -- the brake ---

BRAKED = replace(UNBRAKED, floor_bytes=1_000)


def test_a_run_that_would_condemn_much_condemns_nothing_until_an_administrator_says_so(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        await world.save(ada, None, *(data_of(number) for number in range(10)))
        for number in range(10, 15):
            await world.put(ada, data_of(number))
        for _ in range(5):
            world.later(49)
            counts = await garbage.run(world.db, world.store, world.clock, BRAKED)
        assert counts.alarm and counts.blocks_condemned == counts.blocks_removed == 0
        brake = await read_brake(world.db)
        assert (brake.alarm, brake.would_bytes, brake.total_bytes) == (counts.alarm, 10_000, 30_000)
        counts = await garbage.run(world.db, world.store, world.clock, BRAKED, allow_large=True)
        assert (counts.alarm, counts.blocks_condemned) == ("", 5)
        assert (await read_brake(world.db)).alarm == ""
        world.later(25)
        counts = await garbage.run(world.db, world.store, world.clock, BRAKED)
        assert (counts.alarm, counts.blocks_removed) == ("", 5)

    play(scene)


def test_what_an_administrator_allows_is_as_much_as_was_found_and_ends_after_a_day(play: Play) -> None:
    async def scene(world: World) -> None:
        bounds = replace(BRAKED, blocks_max=2)
        ada = await world.owner()
        await world.save(ada, None, *(data_of(number) for number in range(10)))
        for number in range(10, 16):
            await world.put(ada, data_of(number))
        for _ in range(2):
            world.later(49)
            assert (await garbage.run(world.db, world.store, world.clock, bounds)).blocks_condemned == 0
        counts = await garbage.run(world.db, world.store, world.clock, bounds, allow_large=True)
        assert counts.blocks_condemned == 2
        counts = await garbage.run(world.db, world.store, world.clock, bounds)
        assert (counts.alarm, counts.blocks_condemned) == ("", 2), "the rest of what was allowed"
        world.later(25)
        counts = await garbage.run(world.db, world.store, world.clock, bounds)
        assert counts.alarm and counts.blocks_condemned == counts.blocks_removed == 0

    play(scene)


def test_small_runs_that_together_condemn_much_are_braked_like_a_large_one(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        await world.save(ada, None, *(data_of(number) for number in range(20)))
        condemned = 0
        for number in range(20, 40):
            await world.put(ada, data_of(number))
            world.later(3)
            condemned += (await garbage.run(world.db, world.store, world.clock, BRAKED)).blocks_condemned
        for _ in range(20):
            world.later(3)
            condemned += (await garbage.run(world.db, world.store, world.clock, BRAKED)).blocks_condemned
        assert condemned <= 4

    play(scene)


@pytest.mark.parametrize("table", ["block_refs", "namespace_blocks"])
def test_an_empty_table_of_holders_is_an_alarm_and_no_garbage(play: Play, table: str) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        await world.save(ada, None, *(data_of(number) for number in range(10)))
        kept = await world.rows(f"SELECT * FROM {table}")
        await world.execute(f"DELETE FROM {table}")
        if table == "namespace_blocks":
            await world.execute("DELETE FROM block_refs")
        for _ in range(6):
            world.later(49)
            counts = await world.gc(allow_large=True)
            assert counts.blocks_condemned == counts.blocks_removed == counts.packs_deleted == 0
        assert counts.errors > 0 and (await read_brake(world.db)).alarm == counts.alarm != ""
        for ns, name, *rest in kept if table == "namespace_blocks" else ():
            text = "INSERT INTO namespace_blocks (ns, block_hash, refs, lease_until) VALUES ($1, $2, $3, $4)"
            await world.execute(text, ns, name, *rest)

    play(scene)


@pytest.mark.parametrize(
    "fault",
    [
        "UPDATE namespace_blocks SET refs = refs - 1 WHERE refs > 0",
        "UPDATE namespace_blocks SET refs = -1",
        "UPDATE manifests SET refs = 0",
        "UPDATE manifests SET refs = -1",
    ],
)
def test_counters_that_are_too_low_end_no_right_to_a_block_that_a_version_names(play: Play, fault: str) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        file = await world.save(ada, None, data_of(1), data_of(2))
        await world.save(ada, file, data_of(2), data_of(3))
        await world.execute(fault)
        if "manifests" in fault:
            await world.execute("UPDATE namespace_blocks SET refs = 0")
        for _ in range(6):
            world.later(49)
            counts = await world.gc(allow_large=True)
            assert counts.errors > 0 and counts.alarm
            await world.check()

    play(scene)


def test_a_database_that_fails_while_it_is_read_leaves_everything_and_an_alarm(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        await world.put(ada, *(data_of(number) for number in range(20)))
        world.later(49)
        await world.gc()
        world.later(25)
        for fail_at in range(1, 12):
            broken = Unavailable("It broke.", where="database", reason="test")
            flaky = StoppingDatabase(world.db, fail_at, broken, kinds=("read",))
            with pytest.raises(Unavailable):
                await garbage.run(flaky, world.store, world.clock, replace(UNBRAKED, page=1_000))
            assert (await read_brake(world.db)).alarm == "the run failed: unavailable"
            if await world.rows("SELECT block_hash FROM blocks WHERE condemned_at IS NOT NULL"):
                break
        assert fail_at > 4
        await world.gc()
        assert (await read_brake(world.db)).alarm == ""

    play(scene)


# -- packs without rows ---


def test_a_pack_that_was_stored_and_never_registered_goes_and_its_blocks_can_come_late(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        late = await world.service.store(ada.ns, [shut_block(data_of(1))])  # type: ignore[arg-type]
        world.later(25 * 7)
        await world.gc()
        await world.db.write(
            ada.ns,
            lambda conn: register_txn(conn, ada.ns, late, lease_until_ms=1 << 60, now_ms=world.clock.now),  # type: ignore[arg-type]
        )
        await world.collect(10)
        assert [bytes(part) for part in await world.service.read_bytes(ada.ns, [block_hash(data_of(1))])] == [
            data_of(1)
        ]  # type: ignore[arg-type]

    play(scene)


def test_a_block_that_is_placed_in_a_pack_that_was_given_up_is_asked_for_again(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        late = await world.service.store(ada.ns, [shut_block(data_of(1))])  # type: ignore[arg-type]
        # More, so that the log it is in is closed.
        await world.put(ada, *(data_of(number) for number in range(10, 21)))
        await world.put(ada, data_of(30))
        await world.collect(8)

        async def register() -> None:
            await world.db.write(
                ada.ns,
                lambda conn: register_txn(conn, ada.ns, late, lease_until_ms=1 << 60, now_ms=world.clock.now),  # type: ignore[arg-type]
            )

        with pytest.raises(Unavailable):
            await register()
        await world.save(ada, None, data_of(1))
        await register()

    play(scene)


def test_an_old_database_beside_newer_packs_adopts_none(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        for number in range(12):
            await world.put(ada, data_of(number, 20_000))
        await world.execute("DELETE FROM packs")
        before = await world.store.names("packs/")
        bounds = replace(UNBRAKED, orphans_floor=3)
        for _ in range(10):
            world.later(49)
            counts = await garbage.run(world.db, world.store, world.clock, bounds)
            assert counts.alarm and counts.packs_adopted == 0
        assert await world.store.names("packs/") == before

    play(scene)
