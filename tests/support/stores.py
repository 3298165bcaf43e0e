"""Further stores on the database of a test, as other processes of the service have them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from satchel.server.db.engine import Database
from satchel.server.db.opening import open_database
from tests.support.clocks import SteppingClock


@asynccontextmanager
async def stores_beside(db: Database, url: str, count: int) -> AsyncIterator[list[Database]]:
    """Give so many stores: on PostgreSQL each with connections of its own, so that callers meet in the database alone.

    SQLite has one process; there it is `db` each time.
    """
    if db.dialect == "sqlite":
        yield [db] * count
        return
    stores: list[Database] = []
    try:
        for _ in range(count):
            stores.append(await open_database(url, SteppingClock()))
        yield stores
    finally:
        for store in stores:
            await store.close()
