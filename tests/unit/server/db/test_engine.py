"""What the embedded store does beyond the port: one commit for many, failures of the disk, images; refused settings."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import apsw
import pytest

from satchel.core.errors import SettingInvalid, StorageFailed, StorageFull, Unavailable
from satchel.server.db.engine import Connection, drive
from satchel.server.db.opening import open_database
from satchel.server.db.schema import migrate
from satchel.server.db.sqlite import GROUP_MS_MAX, InlineSqliteDatabase, SqliteDatabase
from tests.support.clocks import SteppingClock
from tests.support.postgres import PostgresServer


async def _put(conn: Connection, name: str) -> None:
    await conn.execute("INSERT INTO store_meta (name, value) VALUES ($1, $2)", name, b"")


async def _count(conn: Connection) -> int:
    rows = await conn.fetch("SELECT COUNT(*) FROM store_meta WHERE name LIKE 'test%'")
    return int(rows[0][0])


def test_callers_that_wait_together_share_a_commit(tmp_path: Path) -> None:
    async def main() -> None:
        db = await open_database(f"sqlite:///{tmp_path}/s.db", SteppingClock())
        watching = apsw.Connection(f"{tmp_path}/s.db")
        seen_by_neighbours: list[tuple[int, int]] = []

        async def work(conn: Connection, number: int) -> None:
            await _put(conn, f"test-{number}")
            inside = await _count(conn)
            outside = watching.execute("SELECT COUNT(*) FROM store_meta WHERE name LIKE 'test%'").fetchall()[0][0]
            seen_by_neighbours.append((inside, outside))

        await asyncio.gather(*(db.write(b"k", lambda conn, n=n: work(conn, n)) for n in range(100)))
        # Most callers saw the work of others that no other connection could see yet: one commit held many.
        assert sum(inside - outside > 1 for inside, outside in seen_by_neighbours) > 50
        watching.close()
        await db.close()

    asyncio.run(main())


def test_a_commit_waits_only_for_a_bounded_time_of_others_work(tmp_path: Path) -> None:
    class Hurried(SteppingClock):
        def now_ms(self) -> int:
            self.now += GROUP_MS_MAX // 2
            return self.now

    async def main() -> None:
        db = await open_database(f"sqlite:///{tmp_path}/s.db", Hurried())
        watching = apsw.Connection(f"{tmp_path}/s.db")
        unseen: list[int] = []

        async def work(conn: Connection, number: int) -> None:
            await _put(conn, f"test-{number}")
            outside = watching.execute("SELECT COUNT(*) FROM store_meta WHERE name LIKE 'test%'").fetchall()[0][0]
            unseen.append(await _count(conn) - outside)

        await asyncio.gather(*(db.write(b"k", lambda conn, n=n: work(conn, n)) for n in range(20)))
        assert len(unseen) == 20
        assert max(unseen) <= 2
        watching.close()
        await db.close()

    asyncio.run(main())


def test_work_that_waits_for_something_else_is_a_fault_and_undone(tmp_path: Path) -> None:
    async def main() -> None:
        db = await open_database(f"sqlite:///{tmp_path}/s.db", SteppingClock())

        async def work(conn: Connection) -> None:
            await _put(conn, "test")
            await asyncio.sleep(0)

        with pytest.raises(StorageFailed):
            await db.write(b"k", work)
        assert await db.read(_count) == 0
        await db.close()

    asyncio.run(main())


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    async def main() -> None:
        db = await open_database(f"sqlite:///{tmp_path}/s.db", SteppingClock())
        with pytest.raises(StorageFailed):
            await db.read(lambda conn: _put(conn, "test"))
        assert await db.read(_count) == 0
        await db.close()

    asyncio.run(main())


def test_a_closed_store_refuses(tmp_path: Path) -> None:
    async def main() -> None:
        db = await open_database(f"sqlite:///{tmp_path}/s.db", SteppingClock())
        await db.close()
        await db.close()
        with pytest.raises(Unavailable):
            await db.read(_count)

    asyncio.run(main())


def test_the_store_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    async def main() -> None:
        db = await open_database(f"sqlite:///{tmp_path}/s.db", SteppingClock())
        assert modes() == {0o600}
        await db.close()

    def modes() -> set[int]:
        return {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}

    asyncio.run(main())


def test_a_full_store_refuses_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async def main() -> None:
        db = SqliteDatabase(f"{tmp_path}/s.db", SteppingClock())
        await migrate(db, SteppingClock())

        async def bound(conn: Connection, pages: int) -> None:
            await conn.fetch(f"PRAGMA max_page_count = {pages}")

        async def fill(conn: Connection) -> None:
            await conn.execute("INSERT INTO store_meta (name, value) VALUES ('test', $1)", bytes(4_000_000))

        await db.write(b"k", lambda conn: bound(conn, 1))
        results = await asyncio.gather(
            *(db.write(b"k", work) for work in (fill, lambda conn: _put(conn, "test-small"))), return_exceptions=True
        )
        assert isinstance(results[0], StorageFull)
        held = 1 if results[1] is None else 0
        assert await db.read(_count) == held
        await db.write(b"k", lambda conn: bound(conn, 1_000_000))
        await db.write(b"k", fill)
        assert await db.read(_count) == held + 1
        await db.close()

    asyncio.run(main())


def test_after_a_failed_sync_the_store_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(apsw.VFS):
        is_failing = False

        def __init__(self) -> None:
            super().__init__("failing", "")

        def xOpen(self, name: object, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
            return FailingFile("", name, flags)

    class FailingFile(apsw.VFSFile):
        def xSync(self, flags: int) -> None:  # noqa: N802
            if Failing.is_failing:
                raise apsw.IOError("fsync failed")
            super().xSync(flags)

    vfs = Failing()
    plain = apsw.Connection
    monkeypatch.setattr(apsw, "Connection", lambda path, **more: plain(path, vfs="failing", **more))

    async def main() -> None:
        db = await open_database(f"sqlite:///{tmp_path}/s.db", SteppingClock())
        await db.write(b"k", lambda conn: _put(conn, "test-before"))
        Failing.is_failing = True
        with pytest.raises(StorageFailed):
            await db.write(b"k", lambda conn: _put(conn, "test-lost"))
        Failing.is_failing = False
        with pytest.raises(StorageFailed):
            await db.write(b"k", lambda conn: _put(conn, "test-after"))
        assert await db.read(_count) == 1
        await db.close()

    asyncio.run(main())
    vfs.unregister()


def test_a_store_without_threads_is_driven_by_hand_and_returns_to_an_image() -> None:
    db = InlineSqliteDatabase()
    drive(migrate(db, SteppingClock()))
    drive(db.write(b"k", lambda conn: _put(conn, "test-1")))
    image = db.snapshot()
    drive(db.write(b"k", lambda conn: _put(conn, "test-2")))
    assert drive(db.read(_count)) == 2
    db.restore(image)
    assert drive(db.read(_count)) == 1

    async def fails(conn: Connection) -> None:
        await _put(conn, "test-3")
        raise KeyError

    with pytest.raises(KeyError):
        drive(db.write(b"k", fails))
    drive(db.write(b"k", lambda conn: _put(conn, "test-4")))
    assert drive(db.read(_count)) == 2


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:x", ""])
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(SettingInvalid):
        asyncio.run(open_database(url, SteppingClock()))


def test_a_store_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed):
        asyncio.run(open_database(f"sqlite:///{tmp_path}/missing/s.db", SteppingClock()))
    (tmp_path / "text").write_text("this is no database, however long it may be" * 100)
    with pytest.raises(StorageFailed):
        asyncio.run(open_database(f"sqlite:///{tmp_path}/text", SteppingClock()))


def test_a_postgresql_that_would_forget_is_refused(postgres_server: PostgresServer) -> None:
    url = postgres_server.create("forgetful", "synchronous_commit = off")
    with pytest.raises(SettingInvalid):
        asyncio.run(open_database(url, SteppingClock()))


def test_a_postgresql_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(open_database(f"postgresql://postgres@/x?host={tmp_path}", SteppingClock()))
