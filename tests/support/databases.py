"""Both databases for one test: `run` opens a fresh store on SQLite, then on a real PostgreSQL, and runs a scenario.

def test_something(run: Run) -> None:
    async def scenario(db: Database) -> None: ...
    run(scenario)
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from satchel.server.db.engine import Database
from satchel.server.db.opening import open_database
from tests.support.clocks import SteppingClock
from tests.support.postgres import PostgresServer, running_postgres

Scenario = Callable[[Database], Awaitable[None]]
Run = Callable[[Scenario], None]

SCENARIO_TIMEOUT_S = 120.0
_numbers = itertools.count()


class _WaitingClock(SteppingClock):
    """Really waits, as the pauses between repeated transactions must."""

    async def sleep_s(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the run (for each worker of a parallel run)."""
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty store, once on each database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/satchel.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = f"test_{os.getpid()}_{next(_numbers)}"
    yield server.create(name)
    server.drop(name)


@pytest.fixture
def run(database_url: str) -> Run:
    """Runs a scenario on the store; calling it again is a restart."""

    def run_one(scenario: Scenario) -> None:
        async def main() -> None:
            async with asyncio.timeout(SCENARIO_TIMEOUT_S):
                db = await open_database(database_url, _WaitingClock())
                try:
                    await scenario(db)
                finally:
                    await db.close()

        asyncio.run(main())

    return run_one
