"""The set-up code on both databases: dies when used, after an hour, with the next start, and with the first account."""

from __future__ import annotations

import asyncio

import pytest

from satchel.core.errors import Fault, Unauthenticated
from satchel.server.accounts.service import list_users, register_account
from satchel.server.accounts.setup import CODE_AGE_MS_MAX, begin_setup, is_setup_needed, set_up
from satchel.server.adapters.state_memory import MemoryState
from satchel.server.db.engine import Database
from tests.support.clocks import SteppingClock
from tests.support.databases import Run

PASSWORD = "correct horse"


async def tried(db: Database, clock: SteppingClock, code: str, user: str = "ann") -> None:
    await set_up(db, MemoryState(clock), clock, code=code, user=user, password=PASSWORD)


def test_one_of_many_at_once_makes_the_first_account(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        code = await begin_setup(db, clock)
        names = [f"ann {at}" for at in range(3)]
        told = await asyncio.gather(*(tried(db, clock, code, name) for name in names), return_exceptions=True)
        assert sorted(isinstance(one, Fault) for one in told) == [False, True, True]
        assert [account.is_admin for account in await list_users(db)] == [True]
        assert not await is_setup_needed(db)
        assert await begin_setup(db, clock) == ""

    run(scenario)


def test_a_code_dies_with_time_with_the_next_and_with_an_account(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        first = await begin_setup(db, clock)
        second = await begin_setup(db, clock)
        stored = await db.read(lambda conn: conn.fetch("SELECT * FROM setup_codes"))
        assert len(stored) == 1 and second.replace("-", "") not in str(stored)
        with pytest.raises(Unauthenticated):
            await tried(db, clock, first)
        clock.now += CODE_AGE_MS_MAX
        with pytest.raises(Unauthenticated):
            await tried(db, clock, second)
        third = await begin_setup(db, clock)
        await register_account(db, clock, name="bob", password_hash="-")
        with pytest.raises(Unauthenticated):
            await tried(db, clock, third)
        assert [account.name for account in await list_users(db)] == ["bob"]

    run(scenario)
