"""The embedded store's writer: who shares a transaction with whom."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import apsw

from satchel.server.db.engine import Connection
from satchel.server.db.sqlite import SqliteDatabase
from tests.support.clocks import SteppingClock

WAIT_S = 30.0


def test_who_comes_while_others_are_written_shares_their_commit(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")

    async def main() -> None:
        db = SqliteDatabase(path, SteppingClock())
        await db.write(b"k", lambda conn: conn.execute("CREATE TABLE seen (number BIGINT)"))
        has_begun, may_end = threading.Event(), threading.Event()

        async def first(conn: Connection) -> None:
            await conn.execute("INSERT INTO seen (number) VALUES (1)")
            has_begun.set()
            assert may_end.wait(WAIT_S)

        async def second(conn: Connection) -> tuple[int, int]:
            ours = await conn.fetch("SELECT number FROM seen")
            outside = apsw.Connection(path).execute("SELECT number FROM seen").fetchall()
            return len(ours), len(outside)

        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            group.create_task(db.write(b"k", first))
            await asyncio.to_thread(has_begun.wait, WAIT_S)
            later = group.create_task(db.write(b"k", second))
            # The loop runs what was asked of it in order: the second is in line before the first may end.
            asyncio.get_running_loop().call_soon(may_end.set)
        assert later.result() == (1, 0)
        assert await db.read(lambda conn: conn.fetch("SELECT number FROM seen")) == [(1,)]
        await db.close()

    asyncio.run(main())


def test_all_that_wait_when_the_store_closes_are_written(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")

    async def main() -> None:
        db = SqliteDatabase(path, SteppingClock())
        await db.write(b"k", lambda conn: conn.execute("CREATE TABLE seen (number BIGINT)"))

        async def put(conn: Connection) -> None:
            await conn.execute("INSERT INTO seen (number) VALUES (1)")

        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            for _ in range(300):
                group.create_task(db.write(b"k", put))
            asyncio.get_running_loop().call_soon(lambda: group.create_task(db.close()))
        assert apsw.Connection(path).execute("SELECT COUNT(*) FROM seen").fetchall() == [(300,)]

    asyncio.run(main())
