"""What a connection of the pool is like when it is used again: no reset is sent, so nothing may be left on it."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from satchel.core.errors import NotFound, StorageFailed
from satchel.server.adapters.machine import MachineClock
from satchel.server.db.engine import Connection
from satchel.server.db.postgres import PostgresDatabase, open_postgres
from satchel.server.db.schema import migrate
from tests.support.postgres import PostgresServer

_numbers = itertools.count()
PUT = "INSERT INTO store_meta (name, value) VALUES ($1, $2)"
SLEEP = "SELECT CAST(pg_sleep(60) AS TEXT)"

Play = Callable[[PostgresDatabase, asyncpg.Connection], Awaitable[None]]  # type: ignore[type-arg]


@pytest.fixture
def play(postgres_server: PostgresServer) -> Callable[[Play], None]:
    """Runs a scene on a store of one connection, with another connection that looks on."""
    name = f"sessions_{os.getpid()}_{next(_numbers)}"
    url = postgres_server.create(name)

    async def main(scene: Play) -> None:
        async with asyncio.timeout(60):
            db = await open_postgres(url, MachineClock(), pool_max=1)
            watcher = await asyncpg.connect(url)
            try:
                await migrate(db, MachineClock())
                await scene(db, watcher)
                assert await states(watcher) <= {"idle"}
                # The one connection there is still works, sees what holds, and makes it durable.
                await db.write(b"k", lambda conn: conn.execute(PUT, "after", b"v"))
                assert await watcher.fetchval("SELECT COUNT(*) FROM store_meta WHERE name = 'after'") == 1
                assert await watcher.fetchval("SELECT COUNT(*) FROM store_meta WHERE name LIKE 'lost%'") == 0
            finally:
                await watcher.close()
                await db.close()

    return lambda scene: asyncio.run(main(scene))


async def states(watcher: asyncpg.Connection) -> set[str]:  # type: ignore[type-arg]
    """Return the states of the other sessions."""
    sql = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return {row[0] for row in await watcher.fetch(sql)}


async def until_asleep(watcher: asyncpg.Connection) -> None:  # type: ignore[type-arg]
    """Return once the other session sleeps in a statement."""
    sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    sql += " AND pid <> pg_backend_pid()"
    while not await watcher.fetchval(sql):
        await watcher.execute("SELECT pg_sleep(0.01)")


async def put_and_sleep(conn: Connection) -> None:
    await conn.execute(PUT, "lost", b"v")
    await conn.fetch(SLEEP)


async def put_and_raise(conn: Connection) -> None:
    await conn.execute(PUT, "lost", b"v")
    raise NotFound("No.")


async def put_and_fail(conn: Connection) -> None:
    await conn.execute(PUT, "lost", b"v")
    await conn.fetch("SELECT nothing FROM nowhere")


def test_a_connection_whose_statement_was_cancelled_is_not_used_again_with_an_open_transaction(
    play: Callable[[Play], None],
) -> None:
    async def scene(db: PostgresDatabase, watcher: asyncpg.Connection) -> None:  # type: ignore[type-arg]
        for ask in (
            lambda: db.write(b"k", put_and_sleep),
            lambda: db.read(lambda conn: conn.fetch(SLEEP)),
            lambda: db.glance(lambda conn: conn.fetch(SLEEP)),
        ):
            task = asyncio.create_task(ask())
            await until_asleep(watcher)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    play(scene)


def test_a_connection_on_which_something_failed_is_not_used_again_with_an_open_transaction(
    play: Callable[[Play], None],
) -> None:
    async def scene(db: PostgresDatabase, watcher: asyncpg.Connection) -> None:  # type: ignore[type-arg]
        with pytest.raises(NotFound):
            await db.write(b"k", put_and_raise)
        with pytest.raises(StorageFailed):
            await db.write(b"k", put_and_fail)
        with pytest.raises(StorageFailed):
            await db.glance(lambda conn: conn.fetch("SELECT nothing FROM nowhere"))
        with pytest.raises(StorageFailed):
            await db.glance(lambda conn: conn.execute(PUT, "lost", b"v"))

    play(scene)


def test_a_transaction_that_somebody_left_open_is_rolled_back_before_anyone_else_gets_the_connection(
    play: Callable[[Play], None],
) -> None:
    async def scene(db: PostgresDatabase, watcher: asyncpg.Connection) -> None:  # type: ignore[type-arg]
        async def leave_open(conn: Connection) -> None:
            await conn._raw.execute("BEGIN")  # type: ignore[attr-defined]
            await conn._raw.execute("INSERT INTO store_meta (name, value) VALUES ('lost', '')")  # type: ignore[attr-defined]

        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        await db.glance(leave_open)

    play(scene)


def test_neighbours_of_one_that_raises_hold_and_each_is_told_its_own(play: Callable[[Play], None]) -> None:
    async def scene(db: PostgresDatabase, watcher: asyncpg.Connection) -> None:  # type: ignore[type-arg]
        goes_on = asyncio.Event()

        async def wait(conn: Connection) -> None:
            await goes_on.wait()

        def put(name: str) -> Callable[[Connection], Awaitable[int]]:
            return lambda conn: conn.execute(PUT, name, b"v")

        leading = asyncio.create_task(db.write(b"k", wait))
        await asyncio.sleep(0)
        works: list[Callable[[Connection], Awaitable[object]]] = [put("one"), put_and_raise, put_and_fail, put("two")]
        waiting = [asyncio.create_task(db.write(b"k", work)) for work in works]
        await asyncio.sleep(0)
        goes_on.set()
        await leading
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in told] == [int, NotFound, StorageFailed, int]
        assert await watcher.fetchval("SELECT COUNT(*) FROM store_meta WHERE name IN ('one', 'two')") == 2

    play(scene)
