"""Scrub: what rots is found within the cycle, told, never overwritten, and heals when the block comes again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from satchel.core.errors import BlockDamaged, StorageFailed
from satchel.core.hashing import block_hash
from satchel.core.messages import EditOp, NeedBlocks, Stored
from satchel.server.adapters.blocks_local import LocalBlocks
from satchel.server.blocks.refs import BLOCK_DAMAGED, BLOCK_LIVE
from satchel.server.ports import Span
from satchel.server.upkeep import scrub
from satchel.server.upkeep.marking import read_brake
from satchel.server.upkeep.scrub import ScrubBounds, ScrubCounts
from satchel.simulation.stores import MemoryBlocks
from tests.support.upkeep_stores import Play, play
from tests.support.upkeep_world import World, data_of
from tests.support.writers import content_of, op_id

__all__ = ["play"]

EVERY_DAY = 24.0


async def run(world: World, bounds: ScrubBounds | None = None, *, everything: bool = False) -> ScrubCounts:
    return await scrub.run(world.db, world.store, world.clock, world.workers, bounds, everything=everything)


def overwrite(store: object, span: Span, data: bytes) -> bytes:
    """Put other bytes where a block is, as a bad disk would; return what was there."""
    if isinstance(store, MemoryBlocks):
        whole = store.objects[span.name]
        store.objects[span.name] = whole[: span.offset] + data + whole[span.offset + len(data) :]
        return whole[span.offset : span.offset + len(data)]
    assert isinstance(store, LocalBlocks)
    path = Path(store._root) / span.name
    old = path.read_bytes()[span.offset : span.offset + len(data)]
    with open(path, "r+b") as file:
        os.pwrite(file.fileno(), data, span.offset)
    return old


def test_a_sound_store_is_read_once_in_its_turn(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        await world.save(ada, None, *(data_of(number) for number in range(40)))
        world.later(1)
        counts = await run(world)
        assert (counts.blocks, counts.damaged, counts.alarm) == (40, 0, "")
        world.later(1)
        assert (await run(world)).blocks == 0
        world.later(24 * 15)
        assert (await run(world)).blocks == 40

    play(scene)


@pytest.mark.parametrize("bits", [b"?", b"\x00" * 100])
def test_each_wrong_block_is_found_marked_and_left_as_it_is(play: Play, bits: bytes) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        file = await world.save(ada, None, *(data_of(number) for number in range(30)))
        kept = {}
        for number in range(0, 30, 3):
            span = await world.span(data_of(number))
            kept[number] = (span, overwrite(world.store, span, bits))
        world.later(1)
        counts = await run(world)
        assert counts.found_damaged == counts.damaged == 10
        assert (await read_brake(world.db, "scrub")).alarm == "10 stored blocks are damaged"
        for number in range(30):
            assert await world.state(data_of(number)) == (BLOCK_DAMAGED if number in kept else BLOCK_LIVE)
        for span, _ in kept.values():
            assert (await world.store.get([Span(span.name, span.offset, len(bits))])) == [bits]
        with pytest.raises(BlockDamaged):
            await world.service.read_bytes(ada.ns, [block_hash(data_of(0))])  # type: ignore[arg-type]
        # The bytes are right again (a cable, a cache): what hashes to its name is good.
        for span, old in kept.values():
            overwrite(world.store, span, old)
        world.later(24 * 15)
        counts = await run(world)
        assert (counts.healed, await world.state(data_of(0))) == (10, BLOCK_LIVE)
        await run(world)
        assert (await read_brake(world.db, "scrub")).alarm == ""
        assert file.versions

    play(scene)


def test_a_damaged_block_heals_when_anybody_sends_it_again(play: Play) -> None:
    async def scene(world: World) -> None:
        ada, ben = await world.owner(), await world.owner()
        await world.save(ada, None, *(data_of(number) for number in range(5)))
        bad = await world.span(data_of(3))
        overwrite(world.store, bad, b"rotten")
        world.later(1)
        assert (await run(world)).damaged == 1
        await world.put(ben, data_of(3))
        assert await world.state(data_of(3)) == BLOCK_LIVE
        assert await world.span(data_of(3)) != bad
        await world.check()
        world.later(24 * 15)
        counts = await run(world)
        assert (counts.damaged, counts.found_damaged) == (0, 0)

    play(scene)


def test_a_place_that_was_read_before_the_damage_was_found_does_not_end_the_quarantine(play: Play) -> None:
    async def scene(world: World) -> None:
        from satchel.server.blocks.codec import shut_block

        ada = await world.owner()
        await world.put(ada, data_of(1))
        known = await world.service.store(ada.ns, [shut_block(data_of(1))])  # type: ignore[arg-type]
        overwrite(world.store, await world.span(data_of(1)), b"rotten")
        world.later(1)
        await run(world)
        await world.service.register(ada.ns, known)  # type: ignore[arg-type]
        assert await world.state(data_of(1)) == BLOCK_DAMAGED

    play(scene)


def test_a_missing_pack_is_damage_and_a_store_that_is_away_is_not(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        for number in range(12):
            await world.put(ada, data_of(number))
        span = await world.span(data_of(0))
        await world.store.delete(span.name)
        world.later(1)
        counts = await run(world)
        assert counts.damaged >= 1 and await world.state(data_of(0)) == BLOCK_DAMAGED
        reasons = await world.rows("SELECT DISTINCT reason FROM block_damage")
        assert reasons == [("missing",)]
        for name in await world.store.names("packs/"):
            await world.store.delete(name)
        world.later(24 * 15)
        counts = await run(world, ScrubBounds(damaged_max=0))
        assert counts.alarm and counts.found_damaged == 0

        async def refuses() -> None:
            raise StorageFailed("It is away.", where="test", reason="test")

        world.store.probe = refuses  # type: ignore[method-assign]
        with pytest.raises(StorageFailed):
            await run(world)

    play(scene)


def test_a_budget_is_kept_and_every_block_is_read_within_the_cycle(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        for number in range(60):
            await world.put(ada, data_of(number))
        overwrite(world.store, await world.span(data_of(17)), b"rotten")
        read, most = 0, 0
        for _ in range(29):
            world.later(EVERY_DAY)
            counts = await run(world, ScrubBounds(bytes_max=6_000))
            read += counts.blocks
            most = max(most, counts.bytes)
            assert counts.late == 0
        assert read >= 60 and counts.damaged == 1
        assert most <= 24_000

    play(scene)


def test_late_packs_are_told(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        await world.put(ada, data_of(1))
        world.later(24 * 31)
        assert (await run(world)).late == 1
        assert (await run(world)).late == 0

    play(scene)


def test_a_commit_that_names_a_damaged_block_asks_for_it_and_so_heals_it(play: Play) -> None:
    async def scene(world: World) -> None:
        ada = await world.owner()
        file = await world.save(ada, None, data_of(1), data_of(2))
        overwrite(world.store, await world.span(data_of(1)), b"?")
        world.later(1)
        assert (await run(world)).found_damaged == 1
        blocks = (data_of(1), data_of(3))
        await world.put(ada, data_of(3))
        edit = EditOp(op_id(), file.node_id, file.rev, content_of(*blocks))
        assert await world.commit(ada, edit) == NeedBlocks((block_hash(data_of(1)),))
        await world.put(ada, data_of(1))
        outcome = await world.commit(ada, edit)
        assert isinstance(outcome, Stored)
        world.saved(ada, file, outcome.seq, blocks)
        assert await world.state(data_of(1)) == BLOCK_LIVE
        assert (await run(world, everything=True)).damaged == 0

    play(scene)
