"""The recount of what namespaces use, beside commits, over both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import pytest
from msgspec.structs import replace

from satchel.core.hashing import unpack_blocks
from satchel.core.ids import NodeId
from satchel.core.messages import CommitRequest, DeleteOp, EditOp, Refused, Stored
from satchel.server.blocks.refs import register_txn
from satchel.server.db.engine import Connection, Database, Work
from satchel.server.metadata.commit import commit_txn
from satchel.server.metadata.decide import Author
from satchel.server.metadata.prepare import prepare
from satchel.server.upkeep.usage import LOCKED_BLOCKS_MAX, LOOKS_MAX, recount_usage
from tests.support.clocks import SteppingClock
from tests.support.databases import Run
from tests.support.stores import stores_beside
from tests.support.writers import Writer, content_of, create_file, new_id, op_id, placed

T = TypeVar("T")

FEW_OR_MANY = pytest.mark.parametrize("locked_blocks_max", [LOCKED_BLOCKS_MAX, 0], ids=["few", "many"])
"""Few blocks are counted again under the namespace's row; as if they were many, only when nothing changed since."""


async def recount(db: Database, locked_blocks_max: int = LOCKED_BLOCKS_MAX) -> dict[str, int]:
    return dict((await recount_usage(db, SteppingClock(), locked_blocks_max=locked_blocks_max)).done)


async def recorded(ada: Writer) -> int:
    ns = ada.principal.root_ns
    rows = await ada.db.read(lambda conn: conn.fetch("SELECT bytes_used FROM namespaces WHERE ns = $1", ns))
    return cast("int", rows[0][0])


async def record(ada: Writer, change: str) -> None:
    """Make the recorded number wrong."""
    ns = ada.principal.root_ns
    await ada.db.write(ns, lambda conn: conn.execute(f"UPDATE namespaces SET bytes_used = {change} WHERE ns = $1", ns))


async def truth(ada: Writer) -> int:
    """Return the bytes of the blocks that manifests in use name, from their blocklists."""
    ns = ada.principal.root_ns
    rows = await ada.db.read(lambda conn: conn.fetch("SELECT blocks FROM manifests WHERE ns = $1 AND refs > 0", ns))
    sizes = {block.hash: block.size for (packed,) in rows for block in unpack_blocks(packed)}
    return sum(sizes.values())


async def varied(ada: Writer) -> None:
    """Make files of equal, shared and edited contents, deleted ones, and blocks that nothing uses."""
    first, second, third = b"a" * 100, b"b" * 200, b"c" * 300
    whole = replace(create_file(NodeId(new_id()), "whole"), content=content_of(first, second, first))
    part = replace(create_file(NodeId(new_id()), "part"), content=content_of(second, third))
    await ada.stored(whole, part, blocks=[first, second, third, b"unused"])
    node = await ada.file("one", first)
    await ada.file("twin", first)
    await ada.stored(EditOp(op_id(), node, 3, content_of(b"edited")), blocks=[b"edited"])
    await ada.stored(DeleteOp(op_id(), node, 10))
    await ada.stored(replace(create_file(NodeId(new_id()), "empty"), content=content_of()))


def test_what_commits_added_up_is_the_truth_of_the_recount(run: Run) -> None:
    async def scenario(db: Database) -> None:
        writers = [await Writer.new(db, name=name) for name in ("ada", "bob", "cyd")]
        for ada in writers[:2]:
            await varied(ada)
        assert await recount(db) == {"namespaces": 3}
        assert [await recorded(ada) for ada in writers] == [606, 606, 0]
        assert [await truth(ada) for ada in writers] == [606, 606, 0]

    run(scenario)


@FEW_OR_MANY
@pytest.mark.parametrize("wrong", ["0", "bytes_used + 1", "bytes_used * 1000", "-5"])
def test_a_wrong_number_is_repaired_and_the_others_are_left(run: Run, wrong: str, locked_blocks_max: int) -> None:
    async def scenario(db: Database) -> None:
        ada, bob = await Writer.new(db), await Writer.new(db, name="bob")
        await varied(ada)
        await varied(bob)
        await record(ada, wrong)
        assert await recount(db, locked_blocks_max) == {"namespaces": 2, "repaired": 1}
        assert (await recorded(ada), await recorded(bob)) == (606, 606)
        assert await recount(db, locked_blocks_max) == {"namespaces": 2}

    run(scenario)


@FEW_OR_MANY
def test_commits_beside_repairs_are_all_counted(run: Run, database_url: str, locked_blocks_max: int) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await record(ada, "777")
        is_over = asyncio.Event()

        async def write() -> None:
            for number in range(60):
                await ada.file(f"{number}", f"{number:04}".encode())
                if number % 7 == 0:
                    await record(ada, "bytes_used + 1000")
            is_over.set()

        async def repair(store: Database) -> int:
            repaired = 0
            while not is_over.is_set():
                repaired += (await recount(store, locked_blocks_max)).get("repaired", 0)
            return repaired

        async with stores_beside(db, database_url, 2) as stores, asyncio.TaskGroup() as group:
            group.create_task(write())
            repairs = [group.create_task(repair(store)) for store in stores]
        last = await recount(db, locked_blocks_max)
        assert await recorded(ada) == await truth(ada) == 60 * 4
        assert sum(task.result() for task in repairs) + last.get("repaired", 0) > 0
        assert await recount(db, locked_blocks_max) == {"namespaces": 1}

    run(scenario)


@FEW_OR_MANY
def test_a_repair_waits_for_a_commit_that_holds_the_namespace(
    run: Run, database_url: str, locked_blocks_max: int
) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await varied(ada)
        await record(ada, "bytes_used + 1")
        who, data = ada.principal, b"d" * 1_000
        request = CommitRequest(who.root_ns, ada.link, (create_file(NodeId(new_id()), "held", data),))
        author = Author(who.account_id, who.device_id, ada.link)
        is_held, release = asyncio.Event(), asyncio.Event()

        async def hold_txn(conn: Connection) -> None:
            times = {"lease_until_ms": 2**50, "now_ms": 1}
            await register_txn(conn, who.root_ns, placed(data), **times)
            await commit_txn(conn, ada.clock, who.root_ns, author, prepare(request))
            if conn.dialect == "postgres":
                # The one writer of SQLite waits for nothing, and nobody can come between.
                is_held.set()
                await release.wait()

        async with stores_beside(db, database_url, 1) as (other,), asyncio.TaskGroup() as group:
            group.create_task(other.write(who.root_ns, hold_txn))
            if db.dialect == "postgres":
                await is_held.wait()
            recounting = group.create_task(recount(db, locked_blocks_max))
            if db.dialect == "postgres":
                await _until_one_waits_for_a_lock(db)
            release.set()
        assert recounting.result() == {"namespaces": 1, "repaired": 1}
        assert await recorded(ada) == await truth(ada) == 1_606

    run(scenario)


async def _until_one_waits_for_a_lock(db: Database) -> None:
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not await db.read(lambda conn: conn.fetch(waiting)):
        continue


class Meddling:
    """A database in which something happens between the look and the repair."""

    def __init__(self, db: Database, key: bytes, meddle: Callable[[], Awaitable[object]]) -> None:
        self._db, self._key, self._meddle = db, key, meddle
        self.dialect = db.dialect
        self.times = 0

    async def read(self, work: Work[T]) -> T:
        return await self._db.read(work)

    async def write(self, key: bytes, work: Work[T]) -> T:
        if key == self._key:
            self.times += 1
            await self._meddle()
        return await self._db.write(key, work)

    async def close(self) -> None:
        await self._db.close()


def test_a_count_that_was_overtaken_is_never_written(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await varied(ada)
        await record(ada, "bytes_used + 50")
        numbers = iter(range(100))

        async def commit_one() -> None:
            await ada.file(f"new {next(numbers)}", f"{next(numbers):08}".encode())

        busy = Meddling(db, ada.principal.root_ns, commit_one)
        assert await recount(busy, 0) == {"namespaces": 1, "unsettled": 1}
        assert busy.times == LOOKS_MAX
        assert await recorded(ada) == await truth(ada) + 50
        # Few blocks are counted while the row is held, so that a busy namespace is repaired too.
        assert await recount(busy) == {"namespaces": 1, "repaired": 1}
        assert await recorded(ada) == await truth(ada) == 606 + 8 * (LOOKS_MAX + 1)

    run(scenario)


@FEW_OR_MANY
def test_what_another_repaired_in_between_is_not_repaired_twice(run: Run, locked_blocks_max: int) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await varied(ada)
        await record(ada, "5")
        raced = Meddling(db, ada.principal.root_ns, lambda: recount(db))
        assert await recount(raced, locked_blocks_max) == {"namespaces": 1}
        assert (raced.times, await recorded(ada)) == (1, 606)

    run(scenario)


def test_a_namespace_with_a_lost_block_is_reported_and_left_as_it_is(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await varied(ada)

        async def lose_txn(conn: Connection) -> None:
            await conn.execute("DELETE FROM blocks WHERE size = 300")

        await db.write(b"test", lose_txn)
        await record(ada, "5")
        assert await recount(db) == {"namespaces": 1, "unsettled": 1}
        assert await recorded(ada) == 5

    run(scenario)


def test_a_repaired_number_is_what_the_quota_goes_by(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db, quota_bytes=100)
        await ada.file("a", b"a" * 60)
        await record(ada, "0")
        await recount(db)
        (refused,) = await ada.commit(create_file(NodeId(new_id()), "b", b"b" * 41), blocks=[b"b" * 41])
        assert isinstance(refused, Refused) and refused.code == "quota_exceeded"
        (stored,) = await ada.commit(create_file(NodeId(new_id()), "c", b"c" * 40), blocks=[b"c" * 40])
        assert isinstance(stored, Stored)

    run(scenario)
