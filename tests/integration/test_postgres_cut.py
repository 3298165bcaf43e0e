"""PostgreSQL goes away under a process: each caller is told to come again, whatever the driver calls that moment."""

from __future__ import annotations

import asyncio
import itertools
import os

import asyncpg
import pytest

from satchel.core.errors import Unavailable
from satchel.server.adapters.machine import MachineClock
from satchel.server.db.engine import Connection, Database
from satchel.server.db.opening import open_database
from tests.support.postgres import PostgresServer

ROUNDS = 40
_numbers = itertools.count()
END_ALL = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"


@pytest.mark.parametrize(
    "error",
    [
        # The session was ended by an administrator: a planned restart, at any statement.
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        asyncpg.CrashShutdownError("terminating connection because of crash of another server process"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        # An idle connection heard that its session was ended, and not yet that it was closed.
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_session_that_ends_is_a_reason_to_come_again(postgres_server: PostgresServer, error: Exception) -> None:
    async def failing(conn: Connection) -> None:
        raise error

    async def main() -> None:
        db = await _opened(postgres_server, f"told_{os.getpid()}_{next(_numbers)}")
        try:
            with pytest.raises(Unavailable):
                await db.read(failing)
            with pytest.raises(Unavailable):
                await db.write(b"key", failing)
            neighbours = await asyncio.gather(
                *(db.write(b"key", failing if number == 2 else _one) for number in range(4)), return_exceptions=True
            )
            assert {type(outcome) for outcome in neighbours} <= {int, Unavailable}
        finally:
            await db.close()

    asyncio.run(main())


def test_whoever_asks_while_all_sessions_are_ended_is_told_to_come_again(postgres_server: PostgresServer) -> None:
    async def asking(db: Database, stop: asyncio.Event) -> int:
        count = 0
        while not stop.is_set():
            try:
                count += await db.read(_one)
                count += await db.write(b"key", _one)
            except Unavailable:
                await asyncio.sleep(0)
        return count

    async def main() -> None:
        name = f"ended_{os.getpid()}"
        db = await _opened(postgres_server, name)
        admin = await asyncpg.connect(postgres_server.url("postgres"))
        stop = asyncio.Event()
        try:
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                tasks = [group.create_task(asking(db, stop)) for _ in range(8)]
                for _ in range(ROUNDS):
                    await admin.fetchval(END_ALL, name)
                stop.set()
            assert sum(task.result() for task in tasks) > 0
        finally:
            await admin.close()
            await db.close()

    asyncio.run(main())


async def _one(conn: Connection) -> int:
    return int((await conn.fetch("SELECT 1"))[0][0])


async def _opened(server: PostgresServer, name: str) -> Database:
    url = await asyncio.to_thread(server.create, name)
    return await open_database(url, MachineClock())
