"""Blocks by name: verified, kept once, given to who has the right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from satchel.core.errors import BlockDamaged, BlockMismatch, LimitExceeded, MessageInvalid
from satchel.core.hashing import block_hash
from satchel.core.ids import BlockHash, NamespaceId
from satchel.core.messages import CODEC_RAW, GetRequest, PutRequest, WireBlock
from satchel.server.adapters.machine import MachineClock
from satchel.server.blocks.refs import add_refs_txn, drop_refs_txn, missing_txn
from satchel.server.blocks.service import BlockService
from satchel.server.db.schema import migrate
from satchel.server.db.sqlite import InlineSqliteDatabase
from satchel.simulation.stores import InlineWorkers, MemoryBlocks

ANN = NamespaceId(b"A" * 16)
BEN = NamespaceId(b"B" * 16)


class World:
    """A service over a store and a database in memory."""

    def __init__(self) -> None:
        self.db = InlineSqliteDatabase()
        self.store = MemoryBlocks()
        self.service = BlockService(self.store, self.db, MachineClock(), InlineWorkers())

    async def put(self, ns: NamespaceId, *blocks: bytes) -> tuple[BlockHash, ...]:
        wires = tuple(WireBlock(block_hash(data), len(data), CODEC_RAW, len(data)) for data in blocks)
        return (await self.service.put(PutRequest(ns, wires), blocks)).stored

    async def get(self, ns: NamespaceId, *hashes: BlockHash) -> tuple[list[bytes], tuple[BlockHash, ...]]:
        reply, bodies = await self.service.get(GetRequest(ns, hashes))
        return [bytes(body) async for body in bodies], reply.missing

    def stored_bytes(self) -> int:
        return sum(len(data) for data in self.store.objects.values())


def run(work: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        await migrate(world.db, MachineClock())
        await work(world)

    asyncio.run(main())


def test_blocks_come_back_in_the_order_asked() -> None:
    async def work(world: World) -> None:
        one, two = await world.put(ANN, b"one", b"two")
        assert await world.get(ANN, two, one, two) == ([b"two", b"one", b"two"], ())

    run(work)


def test_a_block_with_a_wrong_hash_is_refused_and_nothing_of_its_request_is_kept() -> None:
    async def work(world: World) -> None:
        good = WireBlock(block_hash(b"good"), 4, CODEC_RAW, 4)
        bad = WireBlock(block_hash(b"none"), 4, CODEC_RAW, 4)
        with pytest.raises(BlockMismatch):
            await world.service.put(PutRequest(ANN, (good, bad)), [b"good", b"evil"])
        assert world.store.objects == {}
        assert await world.get(ANN, good.hash) == ([], (good.hash,))

    run(work)


def test_a_known_hash_gives_no_right_to_another_accounts_block() -> None:
    async def work(world: World) -> None:
        (secret,) = await world.put(ANN, b"ann's secret")
        assert await world.get(BEN, secret) == ([], (secret,))
        assert await world.service.read_inline(BEN, [secret]) == {}
        assert await world.db.read(lambda conn: missing_txn(conn, BEN, [secret])) == {secret}

    run(work)


def test_equal_blocks_of_two_accounts_are_stored_once_after_the_bytes_have_come() -> None:
    async def work(world: World) -> None:
        (name,) = await world.put(ANN, b"the same bytes")
        held = world.stored_bytes()
        assert await world.put(BEN, b"the same bytes") == (name,)
        assert world.stored_bytes() == held
        assert await world.get(BEN, name) == ([b"the same bytes"], ())
        assert (world.service.counts.received, world.service.counts.duplicate) == (2, 1)

    run(work)


def test_a_block_twice_in_one_request_is_stored_once() -> None:
    async def work(world: World) -> None:
        one = await world.put(ANN, b"twice", b"twice")
        assert one[0] == one[1]
        assert world.stored_bytes() < 2 * (len(b"twice") + 49)

    run(work)


def test_a_stored_block_that_is_gone_or_short_is_damage_never_wrong_bytes() -> None:
    async def work(world: World) -> None:
        (name,) = await world.put(ANN, bytes(100_000))
        for pack, data in list(world.store.objects.items()):
            world.store.objects[pack] = data[:-1]
        with pytest.raises(BlockDamaged):
            await world.get(ANN, name)
        with pytest.raises(BlockDamaged):
            await world.service.read_bytes(ANN, [name])
        assert await world.service.read_inline(ANN, [name]) == {}

    run(work)


def test_rotten_bytes_are_damage_and_never_given_out_as_a_file() -> None:
    async def work(world: World) -> None:
        (name,) = await world.put(ANN, b"as it was written")
        for pack, data in list(world.store.objects.items()):
            world.store.objects[pack] = data[:-1] + b"?"
        with pytest.raises(BlockDamaged):
            await world.service.read_bytes(ANN, [name])

    run(work)


def test_a_service_cuts_nothing_off_a_file_that_it_shuts_itself() -> None:
    async def work(world: World) -> None:
        wires = await world.service.put_bytes(ANN, [b"text " * 1_000, b"x"])
        data = await world.service.read_bytes(ANN, [wire.hash for wire in wires])
        assert [bytes(part) for part in data] == [b"text " * 1_000, b"x"]

    run(work)


def test_reading_a_block_that_the_namespace_never_had_is_damage() -> None:
    async def work(world: World) -> None:
        with pytest.raises(BlockDamaged):
            await world.service.read_bytes(ANN, [block_hash(b"never")])

    run(work)


def test_a_request_with_other_bodies_than_blocks_is_refused() -> None:
    async def work(world: World) -> None:
        with pytest.raises(MessageInvalid):
            await world.service.put(PutRequest(ANN, ()), [b"body"])
        with pytest.raises(LimitExceeded):
            await world.service.get(GetRequest(ANN, (block_hash(b""),) * 1_001))

    run(work)


def test_uses_are_counted_once_a_manifest_and_taken_back() -> None:
    async def work(world: World) -> None:
        one, two = await world.put(ANN, b"one", b"two")
        await world.db.write(ANN, lambda conn: add_refs_txn(conn, ANN, [one, one, two]))
        await world.db.write(ANN, lambda conn: drop_refs_txn(conn, ANN, [one]))
        rows = await world.db.read(lambda conn: conn.fetch("SELECT block_hash, refs FROM namespace_blocks"))
        assert dict(rows) == {one: 1, two: 1}

    run(work)


def test_storing_again_revives_a_condemned_block_and_never_shortens_a_lease() -> None:
    async def work(world: World) -> None:
        (name,) = await world.put(ANN, b"back again")
        await world.db.write(ANN, lambda conn: conn.execute("UPDATE blocks SET state = 1"))
        far = 1 << 60
        await world.db.write(ANN, lambda conn: conn.execute("UPDATE namespace_blocks SET lease_until = $1", far))
        await world.put(ANN, b"back again")
        assert await world.db.read(lambda conn: conn.fetch("SELECT state FROM blocks")) == [(0,)]
        assert await world.db.read(lambda conn: conn.fetch("SELECT lease_until FROM namespace_blocks")) == [(far,)]
        assert await world.get(ANN, name) == ([b"back again"], ())

    run(work)
