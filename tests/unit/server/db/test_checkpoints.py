"""The embedded store's log: it is copied home beside the writer, stays bounded, and a failed copy ends the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import apsw
import pytest

from satchel.core.errors import StorageFailed
from satchel.server.db import checkpoints
from satchel.server.db.engine import Connection
from satchel.server.db.sqlite import SqliteDatabase
from tests.support.clocks import SteppingClock

PAGE_BYTES = 4_096
FRAME_BYTES = PAGE_BYTES + 24
PAGES, PAGES_MAX = 40, 160
ROWS = 20


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(checkpoints, "LOG_PAGES", PAGES)
    monkeypatch.setattr(checkpoints, "LOG_PAGES_MAX", PAGES_MAX)
    yield tmp_path / "store.db"


async def opened(path: Path) -> SqliteDatabase:
    db = SqliteDatabase(str(path), SteppingClock())
    await db.write(b"k", lambda conn: conn.execute("CREATE TABLE rows (data BYTEA)"))
    return db


async def fill(db: SqliteDatabase, commits: int) -> None:
    """Write a page a row, a few rows a commit."""

    async def put(conn: Connection) -> None:
        await conn.execute_many("INSERT INTO rows (data) VALUES ($1)", [(bytes(PAGE_BYTES - 200),)] * ROWS)

    for _ in range(commits):
        await db.write(b"k", put)


def log_bytes(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_size


def home_bytes(path: Path) -> int:
    return path.stat().st_size


def test_the_log_is_copied_home_while_commits_go_on_and_never_grows_past_its_bound(path: Path) -> None:
    async def main() -> None:
        db = await opened(path)
        await fill(db, 100)
        # The file of the log keeps the size of its longest: one commit may come on top.
        assert log_bytes(path) <= (PAGES_MAX + 3 * ROWS) * FRAME_BYTES
        assert home_bytes(path) > 80 * ROWS * PAGE_BYTES, "nothing was copied home before the end"
        found = await db.read(lambda conn: conn.fetch("SELECT COUNT(*) FROM rows"))
        await db.close()
        assert found == [(100 * ROWS,)]
        assert apsw.Connection(str(path)).execute("SELECT COUNT(*) FROM rows").fetchall() == found

    asyncio.run(main())


def test_a_log_that_somebody_still_reads_grows_and_begins_anew_afterwards(path: Path) -> None:
    async def main() -> None:
        db = await opened(path)
        reader = apsw.Connection(str(path))
        reader.execute("BEGIN")
        assert reader.execute("SELECT COUNT(*) FROM rows").fetchall() == [(0,)]
        await fill(db, 30)
        assert log_bytes(path) > 30 * ROWS * PAGE_BYTES
        reader.execute("COMMIT")
        grown = log_bytes(path)
        await fill(db, 30)
        # By the third commit at the latest: the copier is waited for, then the writer copies what came meanwhile.
        assert log_bytes(path) <= grown + 3 * ROWS * FRAME_BYTES, "the log did not begin anew"
        reader.close()
        await db.close()

    asyncio.run(main())


class Failing:
    """A connection whose copy fails, as on a disk that fails in syncing."""

    def wal_checkpoint(self) -> None:
        raise apsw.IOError("simulated")

    def close(self) -> None:
        return None


def test_a_copy_that_fails_ends_the_store(path: Path) -> None:
    async def main() -> None:
        db = await opened(path)
        db._checkpoints._copier = cast("apsw.Connection", Failing())
        with pytest.raises(StorageFailed):
            await fill(db, 100)
        await db.close()

    asyncio.run(main())
