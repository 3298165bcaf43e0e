"""Blocks that many commits bring at once: each gets its right, and hears of its own faults alone."""

from __future__ import annotations

import asyncio

from satchel.core.errors import Unavailable
from satchel.core.hashing import block_hash
from satchel.core.ids import NamespaceId, PackId
from satchel.server.blocks.refs import PACK_OLD, PlacedBlock, missing_txn, stored_txn
from satchel.server.blocks.registering import BLOCKS_MAX, register
from satchel.server.db.engine import Connection, Database
from tests.support.databases import Run

COMMITS = 40
PACK, OLD = PackId(b"pack" * 4), PackId(b"old." * 4)


def placed(*names: bytes, pack: PackId = PACK) -> list[PlacedBlock]:
    return [PlacedBlock(block_hash(name), len(name), len(name), 0, pack, at) for at, name in enumerate(names)]


def namespace(at: int) -> NamespaceId:
    return NamespaceId(b"%016d" % at)


async def _register(db: Database, at: int, blocks: list[PlacedBlock]) -> None:
    await register(db, namespace(at), blocks, lease_until_ms=1_000, now_ms=10)


def test_all_that_come_at_once_get_their_right_and_no_other(run: Run) -> None:
    async def scenario(db: Database) -> None:
        brought = [placed(b"all share it", b"own %d" % at) for at in range(COMMITS)]
        brought.append(placed(*(b"large %d" % at for at in range(BLOCKS_MAX + 1))))
        await asyncio.gather(*(_register(db, at, blocks) for at, blocks in enumerate(brought)))
        for at, blocks in enumerate(brought):
            hashes = {block.hash for block in blocks}
            assert await db.read(lambda conn, at=at, asked=hashes: missing_txn(conn, namespace(at), asked)) == set()
            others = {block.hash for each in brought for block in each} - hashes
            found = await db.read(lambda conn, at=at, asked=others: missing_txn(conn, namespace(at), asked))
            assert found == others
        await _register(db, 0, brought[0])

    run(scenario)


def test_a_pack_that_was_given_up_fails_those_alone_who_placed_something_in_it(run: Run) -> None:
    async def scenario(db: Database) -> None:
        async def give_up(conn: Connection) -> None:
            await conn.execute(
                "INSERT INTO packs (pack_id, state, bytes, live_bytes, created_at, verified_at)"
                f" VALUES ($1, {PACK_OLD}, 0, 0, 0, 0)",
                OLD,
            )

        await db.write(b"k", give_up)
        brought = [placed(b"%d" % at, pack=OLD) if at % 10 == 5 else placed(b"%d" % at) for at in range(COMMITS)]
        told = await asyncio.gather(
            *(_register(db, at, blocks) for at, blocks in enumerate(brought)), return_exceptions=True
        )
        assert [at for at, each in enumerate(told) if isinstance(each, Unavailable)] == [5, 15, 25, 35]
        assert [each for each in told if each is not None and not isinstance(each, Unavailable)] == []
        hashes = [block.hash for blocks in brought for block in blocks]
        assert len(await db.read(lambda conn: stored_txn(conn, hashes))) == COMMITS - 4

    run(scenario)


def test_a_caller_that_goes_away_takes_nothing_from_the_others(run: Run) -> None:
    async def scenario(db: Database) -> None:
        tasks = [asyncio.create_task(_register(db, at, placed(b"%d" % at))) for at in range(COMMITS)]
        await asyncio.sleep(0)
        for task in tasks[::7]:
            task.cancel()
        told = await asyncio.gather(*tasks, return_exceptions=True)
        for at, each in enumerate(told):
            if not isinstance(each, asyncio.CancelledError):
                assert each is None
                asked = {block_hash(b"%d" % at)}
                assert await db.read(lambda conn, at=at, a=asked: missing_txn(conn, namespace(at), a)) == set()
        await _register(db, 0, placed(b"after"))

    run(scenario)
