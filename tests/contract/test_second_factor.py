"""The second factor on both databases: codes once each, recovery codes, and the limits on guessing them."""

from __future__ import annotations

import asyncio
import base64
from urllib.parse import parse_qs, urlsplit

import argon2
import pytest

from satchel.core.errors import AlreadyExists, Fault, NotFound, SecondFactorRequired, TooManyRequests, Unauthenticated
from satchel.server.accounts.audit import read_chain
from satchel.server.accounts.guesses import CODE
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.second_factor import (
    RECOVERY_CODES,
    STEP_S,
    begin_second_factor,
    code_at,
    confirm_second_factor,
    end_second_factor,
    renew_recovery_codes,
    second_factor_of,
)
from satchel.server.accounts.service import (
    authenticate,
    register_account,
    register_device,
    reset_second_factor,
    sign_in,
)
from satchel.server.adapters.state_memory import MemoryState
from satchel.server.db.engine import Database
from tests.support.clocks import SteppingClock
from tests.support.databases import Run

PASSWORD = "correct horse"
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
STEP_MS = STEP_S * 1_000


class World:
    """An account with an app."""

    def __init__(self, db: Database) -> None:
        self.db, self.clock = db, SteppingClock()
        self.state = MemoryState(self.clock)
        self.secret = b""
        self.recovery: list[str] = []

    async def open(self) -> Principal:
        account = await register_account(self.db, self.clock, name="Ann", password_hash=CHEAP)
        token, _ = await register_device(self.db, self.clock, account_id=account.account_id, name="laptop")
        return await authenticate(self.db, token)

    async def enable(self) -> Principal:
        ann = await self.open()
        made = await begin_second_factor(self.db, self.state, self.clock, ann, PASSWORD)
        self.secret = base64.b32decode(made.secret)
        assert parse_qs(urlsplit(made.uri).query)["secret"] == [made.secret]
        self.recovery = await confirm_second_factor(self.db, self.state, self.clock, ann, self.code())
        self.clock.now += 2 * STEP_MS
        return ann

    def code(self, steps: int = 0) -> str:
        return code_at(self.secret, self.clock.now // STEP_MS + steps)

    async def sign_in(self, code: str, password: str = PASSWORD) -> None:
        await sign_in(self.db, self.state, self.clock, user="ann", password=password, device_name="phone", code=code)


@pytest.mark.parametrize(
    ("now_s", "code"),
    [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")],
)
def test_codes_are_those_of_rfc_6238(now_s: int, code: str) -> None:
    assert code_at(b"12345678901234567890", now_s // STEP_S) == code


def test_a_code_is_asked_for_once_it_was_confirmed(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db)
        ann = await world.open()
        with pytest.raises(NotFound):
            await confirm_second_factor(db, world.state, world.clock, ann, "000000")
        with pytest.raises(Unauthenticated):
            await begin_second_factor(db, world.state, world.clock, ann, "wrong one")
        await begin_second_factor(db, world.state, world.clock, ann, PASSWORD)
        made = await begin_second_factor(db, world.state, world.clock, ann, PASSWORD)
        await world.sign_in("")
        world.secret = base64.b32decode(made.secret)
        with pytest.raises(Unauthenticated):
            await confirm_second_factor(db, world.state, world.clock, ann, world.code(5))
        assert not (await second_factor_of(db, ann)).is_enabled
        used = world.code()
        codes = await confirm_second_factor(db, world.state, world.clock, ann, used)
        assert len(set(codes)) == RECOVERY_CODES == (await second_factor_of(db, ann)).recovery_codes
        with pytest.raises(SecondFactorRequired):
            await world.sign_in("")
        with pytest.raises(Unauthenticated):
            await world.sign_in(used)
        with pytest.raises(AlreadyExists):
            await begin_second_factor(db, world.state, world.clock, ann, PASSWORD)
        with pytest.raises(Unauthenticated):
            await world.sign_in(world.code(1), "wrong password")
        await world.sign_in(world.code(1))
        stored = str(await db.read(lambda conn: conn.fetch("SELECT * FROM recovery_codes")))
        assert not [code for code in codes if code.replace("-", "") in stored]

    run(scenario)


def test_a_code_is_taken_a_step_early_or_late_and_never_twice_or_backwards(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db)
        await world.enable()
        for steps in (-2, 2):
            with pytest.raises(Unauthenticated):
                await world.sign_in(world.code(steps))
        await world.sign_in(world.code(-1))
        now = world.code()
        await world.sign_in(f"{now[:3]} {now[3:]}")
        for again in (now, world.code(-1)):
            with pytest.raises(Unauthenticated):
                await world.sign_in(again)
        told = await asyncio.gather(*(world.sign_in(world.code(1)) for _ in range(4)), return_exceptions=True)
        assert sorted(isinstance(one, Fault) for one in told) == [False, True, True, True]

    run(scenario)


def test_a_recovery_code_stands_for_one_code_and_new_ones_end_the_old(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db)
        ann = await world.enable()
        first, second = world.recovery[:2]
        told = await asyncio.gather(*(world.sign_in(first) for _ in range(3)), return_exceptions=True)
        assert sorted(isinstance(one, Fault) for one in told) == [False, True, True]
        assert (await second_factor_of(db, ann)).recovery_codes == RECOVERY_CODES - 1
        fresh = await renew_recovery_codes(db, world.state, world.clock, ann, PASSWORD)
        with pytest.raises(Unauthenticated):
            await world.sign_in(second)
        await world.sign_in(fresh[0].upper().replace("-", ""))
        actions = [row.action for row in await read_chain(db, ann.account_id)]
        assert actions.count("recovery_code_used") == 2 and "recovery_codes_made" in actions

    run(scenario)


def test_guessed_codes_run_out_and_the_password_alone_does_not_bring_them_back(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db)
        await world.enable()
        for _ in range(CODE.burst):
            with pytest.raises(Unauthenticated):
                await world.sign_in("12345")
        for code in ("12345", world.code()):
            with pytest.raises(TooManyRequests):
                await world.sign_in(code)
        world.clock.now += int(1_000 / CODE.per_s) + 1_000
        await world.sign_in(world.code())
        world.clock.now += STEP_MS
        await world.sign_in(world.code())

    run(scenario)


def test_it_is_ended_with_the_password_or_by_the_administrator(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db)
        ann = await world.enable()
        with pytest.raises(Unauthenticated):
            await end_second_factor(db, world.state, world.clock, ann, "wrong one")
        await end_second_factor(db, world.state, world.clock, ann, PASSWORD)
        await world.sign_in("")
        with pytest.raises(NotFound):
            await end_second_factor(db, world.state, world.clock, ann, PASSWORD)
        made = await begin_second_factor(db, world.state, world.clock, ann, PASSWORD)
        world.secret = base64.b32decode(made.secret)
        await confirm_second_factor(db, world.state, world.clock, ann, world.code())
        await reset_second_factor(db, world.clock, "ann")
        await world.sign_in("")
        assert await second_factor_of(db, ann) == (False, 0)

    run(scenario)
