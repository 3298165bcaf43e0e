"""Devices that are approved by a code, on both databases: as RFC 8628 has it, once, and not by guessing."""

from __future__ import annotations

import asyncio

import pytest

from satchel.core.errors import Fault, NameInvalid, NotFound, TooManyRequests, Unauthenticated
from satchel.core.limits import DEVICE_CODE_MINUTES
from satchel.server.accounts.audit import read_chain
from satchel.server.accounts.device_codes import (
    DeviceCode,
    Polled,
    Status,
    answer_device_code,
    begin_device_code,
    look_at_device_code,
    poll_device_code,
)
from satchel.server.accounts.guesses import SUBJECT
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import (
    authenticate,
    disable_user,
    list_devices,
    register_account,
    register_device,
    set_password,
)
from satchel.server.adapters.state_memory import MemoryState
from satchel.server.db.engine import Database
from tests.support.clocks import SteppingClock
from tests.support.databases import Run


class World:
    """A service with people who approve."""

    def __init__(self, db: Database) -> None:
        self.db, self.clock = db, SteppingClock()
        self.state = MemoryState(self.clock)

    async def person(self, name: str) -> Principal:
        account = await register_account(self.db, self.clock, name=name, password_hash="-")
        token, _ = await register_device(self.db, self.clock, account_id=account.account_id, name="laptop")
        return await authenticate(self.db, token)

    async def begin(self) -> DeviceCode:
        return await begin_device_code(self.db, self.state, self.clock, device_name="tablet", from_address="192.0.2.7")

    async def poll(self, made: DeviceCode, after_s: float = 5.0) -> Polled:
        self.clock.now += int(after_s * 1_000)
        return await poll_device_code(self.db, self.state, self.clock, made.device_code, "192.0.2.7")

    async def answer(self, who: Principal, code: str, *, is_approved: bool = True) -> None:
        await answer_device_code(self.db, self.state, self.clock, who, code, is_approved=is_approved)


def test_a_device_is_signed_in_once_after_somebody_approved_it(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db)
        ann = await world.person("ann")
        made = await world.begin()
        assert len(made.user_code) == 9 and made.user_code not in made.device_code
        stored = str(await db.read(lambda conn: conn.fetch("SELECT * FROM device_codes")))
        assert made.user_code not in stored and made.user_code.replace("-", "") not in stored
        assert (await world.poll(made)).status is Status.PENDING
        typed = made.user_code.lower().replace("-", " ")
        seen = await look_at_device_code(db, world.state, world.clock, ann, typed)
        assert (seen.device_name, seen.address) == ("tablet", "192.0.2.7")
        await world.answer(ann, typed)
        with pytest.raises(NotFound):
            await world.answer(ann, made.user_code, is_approved=False)
        world.clock.now += 5_000
        told = await asyncio.gather(*(world.poll(made, 0) for _ in range(3)))
        [signed] = [one.signed_in for one in told if one.signed_in]
        principal = await authenticate(db, signed.token)
        assert (principal.account_id, principal.device_name) == (ann.account_id, "tablet")
        assert (await world.poll(made)).status is Status.EXPIRED
        assert [device.name for device in await list_devices(db, ann)] == ["laptop", "tablet"]
        actions = [row.action for row in await read_chain(db, ann.account_id)]
        assert actions[:2] == ["token_made", "device_approved"]

    run(scenario)


def test_whoever_asks_too_soon_waits_longer_and_longer(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db)
        ann, made = await world.person("ann"), await world.begin()
        assert (await world.poll(made)).interval_s == made.interval_s == 5
        told = [await world.poll(made, 1), await world.poll(made, 6), await world.poll(made, 15)]
        assert [(one.status, one.interval_s) for one in told] == [
            (Status.SLOW_DOWN, 10),
            (Status.SLOW_DOWN, 15),
            (Status.PENDING, 15),
        ]
        await world.answer(ann, made.user_code)
        assert (await world.poll(made, 1)).status is Status.SLOW_DOWN
        assert (await world.poll(made, 20)).status is Status.APPROVED

    run(scenario)


def test_a_device_that_is_denied_or_late_gets_nothing(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db)
        ann = await world.person("ann")
        denied, late, taken = await world.begin(), await world.begin(), await world.begin()
        await world.answer(ann, denied.user_code, is_approved=False)
        assert (await world.poll(denied)).status is Status.DENIED
        await world.answer(ann, taken.user_code)
        await set_password(db, world.clock, "ann", "another password")
        assert (await world.poll(taken)).status is Status.EXPIRED
        world.clock.now += DEVICE_CODE_MINUTES * 60_000
        with pytest.raises(NotFound):
            await world.answer(ann, late.user_code)
        assert (await world.poll(late)).status is Status.EXPIRED
        for token in ("", "x", "A" * 64, late.device_code[:-2], "\ud800"):
            assert (await world.poll(late._replace(device_code=token))).status is Status.EXPIRED
        shut = await world.begin()
        await world.answer(ann, shut.user_code)
        await disable_user(db, world.clock, "ann")
        assert (await world.poll(shut)).status is Status.DENIED
        with pytest.raises(NameInvalid):
            await begin_device_code(db, world.state, world.clock, device_name="a\nb")

    run(scenario)


def test_codes_are_not_found_by_guessing(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db)
        eve, made = await world.person("eve"), await world.begin()
        for _ in range(SUBJECT.burst):
            with pytest.raises(NotFound):
                await world.answer(eve, "BBBB-BBBB")
        for ask in (world.answer(eve, made.user_code), look_at_device_code(db, world.state, world.clock, eve, "B")):
            with pytest.raises(TooManyRequests):
                await ask
        ann = await world.person("ann")
        await world.answer(ann, made.user_code)
        with pytest.raises(Fault):
            await world.answer(eve, made.user_code)
        polled = await world.poll(made)
        assert polled.signed_in is not None and polled.signed_in.account_name == "ann"
        with pytest.raises(Unauthenticated):
            await authenticate(db, made.device_code)

    run(scenario)
