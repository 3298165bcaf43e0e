"""Who asks: from the header alone, remembered briefly, forgotten at once when it must be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from satchel.core.errors import Unauthenticated
from satchel.server.accounts.service import register_account, register_device, revoke_device
from satchel.server.adapters.machine import MachineClock
from satchel.server.db.schema import migrate
from satchel.server.db.sqlite import InlineSqliteDatabase
from satchel.server.gateway.identity import KEPT_MS, Identity, bearer


class HandClock(MachineClock):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def now_ms(self) -> int:
        return self.now


class World:
    """One account with one device."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.db = InlineSqliteDatabase()
        self.identity = Identity(self.db, self.clock)
        self.token = ""

    async def open(self) -> None:
        await migrate(self.db, self.clock)
        account = await register_account(self.db, self.clock, name="ann", password_hash="none")
        self.token, _ = await register_device(self.db, self.clock, account_id=account.account_id, name="laptop")

    async def revoke(self) -> bytes:
        principal = await self.identity.of_token(self.token)
        await revoke_device(self.db, self.clock, principal, principal.device_id)
        return principal.device_id


def run(work: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        await world.open()
        await work(world)

    asyncio.run(main())


def test_a_token_says_whose_it_is() -> None:
    async def work(world: World) -> None:
        header = [(b"host", b"x"), (b"authorization", b"Bearer " + world.token.encode())]
        principal = await world.identity.of(header)
        assert (principal.account_name, principal.device_name) == ("ann", "laptop")

    run(work)


def test_a_revoked_token_ends_when_it_is_forgotten_and_by_itself_within_five_seconds() -> None:
    async def work(world: World) -> None:
        device = await world.revoke()
        world.clock.now += KEPT_MS
        with pytest.raises(Unauthenticated):
            await world.identity.of_token(world.token)
        assert device

    run(work)

    async def at_once(world: World) -> None:
        world.identity.forget(await world.revoke())  # type: ignore[arg-type]  # the id as it came
        with pytest.raises(Unauthenticated):
            await world.identity.of_token(world.token)

    run(at_once)


@pytest.mark.parametrize(
    "value", [b"", b"Bearer", b"Bearer ", b"Basic YTpi", b"Bearer " + b"x" * 257, b"Bearer \xff", b"token"]
)
def test_what_is_no_bearer_token_is_refused(value: bytes) -> None:
    with pytest.raises(Unauthenticated):
        bearer([(b"authorization", value)])
    with pytest.raises(Unauthenticated):
        bearer([(b"cookie", b"authorization=Bearer x")])
