"""Two transactions at once on PostgreSQL, one held at a chosen statement: neither garbage nor a use is lost."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import pytest

from satchel.core.entries import Kind
from satchel.core.errors import Unavailable
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.messages import CommitRequest, CreateOp, NeedBlocks, Stored
from satchel.server.blocks.codec import shut_block
from satchel.server.blocks.refs import BLOCK_LIVE, give_up_pack_txn, register_txn
from satchel.server.db.engine import Connection, Database, Dialect, Row, Value, Work
from satchel.server.db.opening import open_database
from satchel.server.metadata.commit import commit
from satchel.server.upkeep import compaction, garbage, recount
from satchel.server.upkeep.compaction import CompactionBounds
from satchel.simulation.stores import MemoryBlocks
from tests.support.databases import _WaitingClock
from tests.support.postgres import PostgresServer
from tests.support.upkeep_world import UNBRAKED, File, World, data_of
from tests.support.writers import content_of, new_id, op_id

T = TypeVar("T")
_numbers = itertools.count()


class RaceWorld(World):
    """A world whose stores a second process has open too."""

    other: Database


Scene = Callable[[RaceWorld], Awaitable[None]]
PlayRace = Callable[[Scene], None]


@pytest.fixture
def race(postgres_server: PostgresServer) -> PlayRace:
    """Plays a scene over a PostgreSQL of its own, then reads every version back."""

    def play_one(scene: Scene) -> None:
        async def main() -> None:
            name = f"race_{os.getpid()}_{next(_numbers)}"
            url = await asyncio.to_thread(postgres_server.create, name)
            async with asyncio.timeout(60):
                # Two pools, as two processes have: one pool would let writers of a namespace wait in a line of its own.
                db, other = await open_database(url, _WaitingClock()), await open_database(url, _WaitingClock())
                try:
                    world = RaceWorld(db, MemoryBlocks())
                    world.other = other
                    await scene(world)
                    await world.check()
                finally:
                    await db.close()
                    await other.close()
                    await asyncio.to_thread(postgres_server.drop, name)

        asyncio.run(main())

    return play_one


class At:
    """A database that does something, once, before a statement that begins with `text`, inside its transaction."""

    def __init__(self, db: Database, text: str, act: Callable[[], Awaitable[object]]) -> None:
        self._db, self._text, self._act = db, text, act
        self.dialect: Dialect = db.dialect
        self.is_done = False

    async def read(self, work: Work[T]) -> T:
        return await self._db.read(work)

    async def glance(self, work: Work[T]) -> T:
        return await self._db.glance(work)

    async def write(self, key: bytes, work: Work[T]) -> T:
        return await self._db.write(key, lambda conn: work(_AtConnection(conn, self)))

    async def close(self) -> None:
        await self._db.close()

    async def reach(self, sql: str) -> None:
        if not self.is_done and sql.startswith(self._text):
            self.is_done = True
            await self._act()


class _AtConnection:
    def __init__(self, conn: Connection, owner: At) -> None:
        self._conn, self._owner = conn, owner
        self.dialect: Dialect = conn.dialect

    async def fetch(self, sql: str, *args: Value) -> list[Row]:
        await self._owner.reach(sql)
        return await self._conn.fetch(sql, *args)

    async def execute(self, sql: str, *args: Value) -> int:
        await self._owner.reach(sql)
        return await self._conn.execute(sql, *args)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        await self._owner.reach(sql)
        await self._conn.execute_many(sql, rows)


async def beside(
    world: RaceWorld,
    text: str,
    held: Callable[[Database], Coroutine[Any, Any, T]],
    other: Callable[[], Coroutine[Any, Any, object]],
) -> T:
    """Run `held`; before its statement `text` start `other`, go on once that waits for a lock or is done."""
    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[object]] = []

        async def start() -> None:
            tasks.append(group.create_task(other()))
            waits = (
                "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            # Only asking tells whether a lock is waited for.
            while not tasks[0].done() and (await world.rows(waits)) == [(0,)]:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

        at = At(world.other, text, start)
        result = await held(at)
        assert at.is_done, "the statement was never reached"
    return result


async def condemned(world: RaceWorld, *blocks: bytes) -> None:
    """Upload blocks and let time pass until a run would remove them."""
    await world.put(world.owners[0], *blocks)
    for hours in (49, 25, 25):
        world.later(hours)
        if hours != 25 or await world.state(blocks[0]) == BLOCK_LIVE:
            await world.gc()
    world.later(1)


def _file() -> File:
    return File(NodeId(new_id()))


def _create(file: File, *blocks: bytes) -> CreateOp:
    return CreateOp(op_id(), file.node_id, ROOT_NODE, file.node_id.hex(), Kind.FILE, content_of(*blocks))


def collect(world: RaceWorld) -> Callable[[Database], Coroutine[Any, Any, garbage.GarbageCounts]]:
    return lambda db: garbage.run(db, world.store, world.clock, UNBRAKED)


@pytest.mark.parametrize("text", ["DELETE FROM blocks", "DELETE FROM block_damage", "UPDATE packs SET live"])
def test_a_block_that_is_used_while_it_is_removed_is_there_afterwards(race: PlayRace, text: str) -> None:
    async def scene(world: RaceWorld) -> None:
        await world.owner()
        ben = await world.owner()
        await condemned(world, data_of(1))
        await beside(world, text, collect(world), lambda: world.save(ben, None, data_of(1)))
        assert await world.state(data_of(1)) == BLOCK_LIVE

    race(scene)


@pytest.mark.parametrize("text", ["INSERT INTO block_refs", "SELECT x.* FROM unnest", "INSERT INTO namespace_blocks"])
def test_a_block_is_not_removed_while_somebody_places_it(race: PlayRace, text: str) -> None:
    async def scene(world: RaceWorld) -> None:
        await world.owner()
        ben = await world.owner()
        await condemned(world, data_of(1))
        placed = await world.service.store(ben.ns, [shut_block(data_of(1))])  # type: ignore[arg-type]

        async def place(db: Database) -> None:
            until, now = 1 << 60, world.clock.now
            await db.write(ben.ns, lambda conn: register_txn(conn, ben.ns, placed, lease_until_ms=until, now_ms=now))  # type: ignore[arg-type]

        await beside(world, text, place, world.gc)
        assert await world.state(data_of(1)) == BLOCK_LIVE
        await world.save(ben, None, data_of(1))
        await world.collect(1)

    race(scene)


def test_a_block_is_not_condemned_while_somebody_places_it(race: PlayRace) -> None:
    async def scene(world: RaceWorld) -> None:
        await world.owner()
        ben = await world.owner()
        await world.put(world.owners[0], data_of(1))
        world.later(49)
        await world.gc()
        world.later(25)

        async def place(db: Database) -> None:
            placed = await world.service.store(ben.ns, [shut_block(data_of(1))])  # type: ignore[arg-type]
            until, now = 1 << 60, world.clock.now
            await db.write(ben.ns, lambda conn: register_txn(conn, ben.ns, placed, lease_until_ms=until, now_ms=now))  # type: ignore[arg-type]

        await beside(world, "INSERT INTO block_refs", place, world.gc)
        assert await world.state(data_of(1)) == BLOCK_LIVE

    race(scene)


@pytest.mark.parametrize("text", ["UPDATE namespace_blocks", "WITH step0 AS (INSERT INTO files"])
def test_a_right_is_not_ended_while_a_commit_uses_it(race: PlayRace, text: str) -> None:
    async def scene(world: RaceWorld) -> None:
        ada = await world.owner()
        await world.put(ada, data_of(1))
        world.later(49)

        async def use(db: Database) -> None:
            file = _file()
            request = CommitRequest(ada.ns, world.link, (_create(file, data_of(1)),))  # type: ignore[arg-type]
            (outcome,) = (await commit(db, world.clock, ada.principal, request)).outcomes
            assert isinstance(outcome, Stored)
            world.saved(ada, file, outcome.seq, (data_of(1),))

        await beside(world, text, use, world.gc)
        await world.check()
        await world.collect()

    race(scene)


@pytest.mark.parametrize("text", ["DELETE FROM namespace_blocks", "DELETE FROM block_refs"])
def test_an_upload_while_its_right_is_ended_has_right_and_holder_afterwards(race: PlayRace, text: str) -> None:
    async def scene(world: RaceWorld) -> None:
        ada = await world.owner()
        await world.put(ada, data_of(1))
        world.later(49)
        await beside(world, text, collect(world), lambda: world.put(ada, data_of(1)))
        for table in ("namespace_blocks", "block_refs", "blocks"):
            assert len(await world.rows(f"SELECT * FROM {table}")) == 1, table
        outcome = await world.commit(ada, _create(file := _file(), data_of(1)))
        assert isinstance(outcome, Stored)
        world.saved(ada, file, outcome.seq, (data_of(1),))
        await world.collect()

    race(scene)


def test_a_commit_while_the_right_is_ended_asks_for_the_block(race: PlayRace) -> None:
    async def scene(world: RaceWorld) -> None:
        ada = await world.owner()
        await world.put(ada, data_of(1))
        world.later(49)
        outcomes = []

        async def use() -> None:
            outcomes.append(await world.commit(ada, _create(_file(), data_of(1))))

        await beside(world, "DELETE FROM block_refs", collect(world), use)
        assert [type(outcome) for outcome in outcomes] == [NeedBlocks]

    race(scene)


def test_a_commit_whose_inline_block_went_between_its_two_transactions_is_repeated(race: PlayRace) -> None:
    async def scene(world: RaceWorld) -> None:
        ada = await world.owner()
        file = _file()

        async def jump() -> None:
            for _ in range(4):
                world.later(49)
                await world.gc()

        class Between(At):
            async def write(self, key: bytes, work: Work[T]) -> T:
                if key == ada.ns:
                    await self.reach("")
                return await self._db.write(key, work)

        placed = await world.service.store(ada.ns, [shut_block(data_of(1))])  # type: ignore[arg-type]
        request = CommitRequest(ada.ns, world.link, (_create(file, data_of(1)),))  # type: ignore[arg-type]
        with pytest.raises(Unavailable):
            await commit(Between(world.other, "", jump), world.clock, ada.principal, request, placed)
        await world.save(ada, None, data_of(1), inline=True)

    race(scene)


def test_a_pack_is_not_given_up_while_a_block_is_placed_in_it(race: PlayRace) -> None:
    async def scene(world: RaceWorld) -> None:
        ada = await world.owner()
        placed = await world.service.store(ada.ns, [shut_block(data_of(1))])  # type: ignore[arg-type]
        pack = placed[0].pack_id
        await world.execute("INSERT INTO packs VALUES ($1, 1, '', 0, 0, 0, 0)", pack)
        given_up = []

        async def give_up() -> None:
            given_up.append(await world.db.write(b"x", lambda conn: give_up_pack_txn(conn, pack, now_ms=1)))

        async def place(db: Database) -> None:
            until = 1 << 60
            await db.write(ada.ns, lambda conn: register_txn(conn, ada.ns, placed, lease_until_ms=until, now_ms=1))  # type: ignore[arg-type]

        await beside(world, "INSERT INTO namespace_blocks", place, give_up)
        assert given_up == [False]
        await world.save(ada, None, data_of(1))
        await world.collect()

    race(scene)


def test_compaction_and_a_revival_at_once_leave_a_block_that_is_read(race: PlayRace) -> None:
    async def scene(world: RaceWorld) -> None:
        ada = await world.owner()
        for number in range(6):
            await world.save(ada, None, data_of(number))
        world.later(1)
        bounds = CompactionBounds(merge_min=1)
        work = lambda db: compaction.run(db, world.store, world.clock, world.workers, bounds)  # noqa: E731
        await beside(world, "UPDATE blocks SET pack_id", work, lambda: world.put(ada, data_of(3)))
        await world.check()
        world.later(2)
        await world.gc()

    race(scene)


def test_what_stands_in_a_pack_is_counted_right_while_blocks_are_removed_from_it(race: PlayRace) -> None:
    async def scene(world: RaceWorld) -> None:
        ada = await world.owner()
        await world.put(ada, data_of(1), data_of(2))
        await world.save(ada, None, data_of(2))
        for _ in range(2):
            world.later(49)
            await world.gc()
        world.later(25)
        bounds = CompactionBounds(merge_min=9, live_share=0, young_ms=0)
        work = lambda db: compaction.run(db, world.store, world.clock, world.workers, bounds)  # noqa: E731
        await beside(world, "UPDATE packs SET bytes", work, world.gc)
        assert await world.state(data_of(1)) is None
        counts = await recount.run(world.db, world.store, world.clock, world.workers)
        assert counts.is_clean, counts.examples

    race(scene)


def test_users_and_many_runs_at_once(race: PlayRace) -> None:
    async def scene(world: RaceWorld) -> None:
        chance = random.Random(7)
        owners = [await world.owner() for _ in range(3)]

        async def user(number: int) -> None:
            for _ in range(25):
                blocks = [data_of(chance.randrange(12)) for _ in range(2)]
                file = _file()
                for _ in range(20):
                    try:
                        await world.put(owners[number], *blocks)
                        outcome = await world.commit(owners[number], _create(file, *blocks))
                    except Unavailable:
                        continue
                    if isinstance(outcome, Stored):
                        world.saved(owners[number], file, outcome.seq, tuple(blocks))
                        break
                if chance.random() < 0.7 and (files := list(owners[number].files.values())):
                    await world.purge(owners[number], chance.choice(files))

        async def upkeep() -> None:
            for _ in range(25):
                world.later(chance.choice([0.5, 2, 25, 49]))
                counts = await world.gc()
                assert (counts.errors, counts.packs_revived) == (0, 0)
                bounds = CompactionBounds(merge_min=2, young_ms=0)
                await compaction.run(world.db, world.store, world.clock, world.workers, bounds)

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(user(number))
            for _ in range(2):
                group.create_task(upkeep())
        await world.check()
        await world.collect()

    race(scene)
