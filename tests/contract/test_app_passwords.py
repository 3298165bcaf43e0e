"""App passwords on both databases: shown once, revocable, and only what they are for."""

from __future__ import annotations

import pytest

from satchel.core.errors import LimitExceeded, NameInvalid, NotFound, TooManyRequests, Unauthenticated
from satchel.core.limits import APP_PASSWORDS_PER_ACCOUNT_MAX
from satchel.server.accounts.app_passwords import (
    add_app_password,
    authenticate_basic,
    list_app_passwords,
    revoke_app_password,
)
from satchel.server.accounts.audit import read_chain
from satchel.server.accounts.guesses import SUBJECT
from satchel.server.accounts.principal import Means, Principal
from satchel.server.accounts.service import authenticate, disable_user, register_account, register_device
from satchel.server.adapters.state_memory import MemoryState
from satchel.server.db.engine import Database
from tests.support.clocks import SteppingClock
from tests.support.databases import Run


async def signed_in(db: Database, clock: SteppingClock, name: str) -> Principal:
    account = await register_account(db, clock, name=name, password_hash="-", is_admin=True)
    token, _ = await register_device(db, clock, account_id=account.account_id, name="laptop")
    return await authenticate(db, token)


class World:
    """Two accounts."""

    def __init__(self, db: Database) -> None:
        self.db, self.clock = db, SteppingClock()
        self.state = MemoryState(self.clock)

    async def open(self, user: str, password: str, address: str = "192.0.2.1") -> Principal:
        return await authenticate_basic(
            self.db, self.state, self.clock, user=user, password=password, from_address=address
        )


def test_an_app_password_opens_its_account_until_it_is_revoked(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db)
        ann = await signed_in(db, world.clock, "Ann")
        secret, made = await add_app_password(db, world.clock, ann, name="phone", may_write=True)
        reading, _ = await add_app_password(db, world.clock, ann, name="reader", may_write=False)
        who = await world.open("ANN", secret)
        assert (who.account_id, who.account_name, who.root_ns) == (ann.account_id, "Ann", ann.root_ns)
        assert (who.means, who.may_write, who.is_admin) == (Means.APP_PASSWORD, True, False)
        assert (who.device_id, who.device_name) == (made.password_id, "phone")
        assert not (await world.open("ann", reading.upper().replace("-", " "))).may_write
        shown = await list_app_passwords(db, ann)
        assert [(one.name, one.may_write, one.seen_ms > 0) for one in shown] == [
            ("phone", True, True),
            ("reader", False, True),
        ]
        stored = await db.read(lambda conn: conn.fetch("SELECT * FROM app_passwords"))
        assert secret not in str(stored) and secret.replace("-", "") not in str(stored)
        assert secret not in str(await read_chain(db, ann.account_id))
        await revoke_app_password(db, world.clock, ann, made.password_id)
        with pytest.raises(Unauthenticated):
            await world.open("ann", secret)
        assert (await world.open("ann", reading)).device_name == "reader"

    run(scenario)


def test_an_app_password_opens_nothing_of_another_and_no_disabled_account(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db)
        ann, bob = await signed_in(db, world.clock, "ann"), await signed_in(db, world.clock, "bob")
        secret, made = await add_app_password(db, world.clock, ann, name="phone", may_write=True)
        told = set()
        for user, password in (("bob", secret), ("nobody", secret), ("ann", ""), ("ann", "x" * 10_000), ("\0", "\0")):
            with pytest.raises(Unauthenticated) as refused:
                await world.open(user, password)
            told.add(str(refused.value))
        with pytest.raises(NotFound):
            await revoke_app_password(db, world.clock, bob, made.password_id)
        assert await list_app_passwords(db, bob) == []
        await disable_user(db, world.clock, "ann")
        with pytest.raises(Unauthenticated) as refused:
            await world.open("ann", secret)
        assert told == {str(refused.value)}

    run(scenario)


def test_wrong_app_passwords_run_into_a_limit_that_does_not_keep_the_right_one_out(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db)
        ann = await signed_in(db, world.clock, "ann")
        secret, _ = await add_app_password(db, world.clock, ann, name="phone", may_write=True)
        for at in range(SUBJECT.burst):
            with pytest.raises(Unauthenticated):
                await world.open("ann", f"wrong {at}", f"198.51.{at}.1")
        with pytest.raises(TooManyRequests):
            await world.open("ann", "wrong again", "203.0.113.1")
        assert (await world.open("ann", secret)).account_name == "ann"

    run(scenario)


def test_names_and_the_count_of_app_passwords_are_bounded(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db)
        ann = await signed_in(db, world.clock, "ann")
        with pytest.raises(NameInvalid):
            await add_app_password(db, world.clock, ann, name="a\nb", may_write=True)
        for at in range(APP_PASSWORDS_PER_ACCOUNT_MAX):
            await add_app_password(db, world.clock, ann, name=f"{at}", may_write=True)
        with pytest.raises(LimitExceeded):
            await add_app_password(db, world.clock, ann, name="one more", may_write=True)

    run(scenario)
