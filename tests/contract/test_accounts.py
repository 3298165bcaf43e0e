"""Accounts, devices and tokens, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from satchel.core.errors import (
    AlreadyExists,
    LimitExceeded,
    MessageInvalid,
    NameInvalid,
    NotFound,
    Unauthenticated,
)
from satchel.core.ids import DeviceId, LinkId
from satchel.core.limits import DEVICES_PER_ACCOUNT_MAX, PASSWORD_BYTES_MAX
from satchel.server.accounts.link_runs import RUN_NAME_BITS, begin_link_run, holds_link
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import (
    account_of,
    add_user,
    authenticate,
    disable_user,
    list_devices,
    list_users,
    register_account,
    register_device,
    rename_device,
    revoke_device,
    set_password,
    set_quota,
    sign_in,
    sign_out,
    touch_device,
)
from satchel.server.adapters.state_memory import MemoryState
from satchel.server.db.engine import Database
from tests.support.clocks import SteppingClock
from tests.support.databases import Run

PASSWORD = "correct horse"


def test_a_token_opens_its_account_until_it_is_revoked(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        account = await add_user(db, clock, name="Ada", password=PASSWORD, is_admin=True, quota_bytes=5)
        session = await sign_in(db, MemoryState(clock), clock, user="ADA", password=PASSWORD, device_name="laptop")
        principal = await authenticate(db, session.token)
        assert (principal.account_id, principal.account_name) == (account.account_id, "Ada")
        assert (principal.root_ns, principal.device_name, principal.is_admin) == (account.root_ns, "laptop", True)
        assert (session.account_id, session.root_ns) == (account.account_id, account.root_ns)
        assert await account_of(db, principal) == account
        rows = await db.read(lambda conn: conn.fetch("SELECT token_hash FROM devices"))
        assert session.token.encode() not in rows[0][0]
        await sign_out(db, clock, principal)
        with pytest.raises(Unauthenticated):
            await authenticate(db, session.token)

    run(scenario)


def test_wrong_names_and_passwords_and_disabled_accounts_answer_alike(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        await add_user(db, clock, name="ada", password=PASSWORD)
        token = (
            await sign_in(db, MemoryState(clock), clock, user="ada", password=PASSWORD, device_name="laptop")
        ).token
        messages = set()
        for user, password in (("ada", "wrong"), ("nobody", PASSWORD), ("a\0b", PASSWORD), ("", "")):
            with pytest.raises(Unauthenticated) as told:
                await sign_in(db, MemoryState(clock), clock, user=user, password=password, device_name="x")
            messages.add(str(told.value))
        await register_account(db, clock, name="without a password", password_hash="-")
        with pytest.raises(Unauthenticated):
            await sign_in(db, MemoryState(clock), clock, user="without a password", password="-", device_name="x")
        await disable_user(db, clock, "ADA")
        with pytest.raises(Unauthenticated) as told:
            await sign_in(db, MemoryState(clock), clock, user="ada", password=PASSWORD, device_name="x")
        assert messages == {str(told.value)}
        with pytest.raises(Unauthenticated):
            await authenticate(db, token)
        await disable_user(db, clock, "ada", is_disabled=False)
        assert (await authenticate(db, token)).account_name == "ada"

    run(scenario)


@pytest.mark.parametrize("token", ["", "x", "x" * 10_000, "\ud800", "\0"])
def test_a_token_that_nobody_has_opens_nothing(run: Run, token: str) -> None:
    async def scenario(db: Database) -> None:
        with pytest.raises(Unauthenticated):
            await authenticate(db, token)

    run(scenario)


def test_a_password_is_bounded_before_it_is_hashed(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        with pytest.raises(LimitExceeded):
            await add_user(db, clock, name="ada", password="x" * (PASSWORD_BYTES_MAX + 1))
        with pytest.raises(MessageInvalid):
            await add_user(db, clock, name="ada", password="short")
        await add_user(db, clock, name="ada", password="ü" * (PASSWORD_BYTES_MAX // 2))
        with pytest.raises(LimitExceeded):
            await sign_in(db, MemoryState(clock), clock, user="ada", password="ü" * PASSWORD_BYTES_MAX, device_name="x")

    run(scenario)


def test_a_name_belongs_to_one_account_whatever_the_case(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        results = await asyncio.gather(
            *(register_account(db, clock, name=name, password_hash="-") for name in ("Ada", "ada", "ADA")),
            return_exceptions=True,
        )
        assert sorted(isinstance(result, AlreadyExists) for result in results) == [False, True, True]
        for name in ("", "a/b", " ada", "a\nb"):
            with pytest.raises(NameInvalid):
                await register_account(db, clock, name=name, password_hash="-")
        assert len(await list_users(db)) == 1
        rows = await db.read(lambda conn: conn.fetch("SELECT COUNT(*) FROM namespaces"))
        assert rows == [(1,)]

    run(scenario)


def test_a_new_password_may_sign_all_devices_out(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        await add_user(db, clock, name="ada", password=PASSWORD)
        old = await sign_in(db, MemoryState(clock), clock, user="ada", password=PASSWORD, device_name="old")
        await set_password(db, clock, "ada", "another one", keep_devices=True)
        assert (await authenticate(db, old.token)).device_id == old.device_id
        with pytest.raises(Unauthenticated):
            await sign_in(db, MemoryState(clock), clock, user="ada", password=PASSWORD, device_name="x")
        await sign_in(db, MemoryState(clock), clock, user="ada", password="another one", device_name="new")
        await set_password(db, clock, "ada", "a third one")
        with pytest.raises(Unauthenticated):
            await authenticate(db, old.token)
        with pytest.raises(NotFound):
            await set_password(db, clock, "nobody", "another one")

    run(scenario)


def test_devices_are_listed_renamed_and_revoked_by_their_own_account_alone(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        ada = await register_account(db, clock, name="ada", password_hash="-")
        bob = await register_account(db, clock, name="bob", password_hash="-")
        token, laptop = await register_device(db, clock, account_id=ada.account_id, name="laptop")
        _, phone = await register_device(db, clock, account_id=ada.account_id, name="phone")
        foreign, _ = await register_device(db, clock, account_id=bob.account_id, name="theirs")
        mine, theirs = await authenticate(db, token), await authenticate(db, foreign)
        await rename_device(db, mine, phone, "telephone")
        assert [(d.device_id, d.name) for d in await list_devices(db, mine)] == [
            (laptop, "laptop"),
            (phone, "telephone"),
        ]
        for device_id in (phone, DeviceId(bytes(16))):
            with pytest.raises(NotFound):
                await rename_device(db, theirs, device_id, "stolen")
            with pytest.raises(NotFound):
                await revoke_device(db, clock, theirs, device_id)
        await revoke_device(db, clock, mine, phone)
        assert [d.device_id for d in await list_devices(db, mine)] == [laptop]
        with pytest.raises(NotFound):
            await revoke_device(db, clock, mine, phone)

    run(scenario)


def test_an_account_has_as_many_devices_as_the_limit_and_no_more(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        ada = await register_account(db, clock, name="ada", password_hash="-")
        await asyncio.gather(
            *(
                register_device(db, clock, account_id=ada.account_id, name=f"{number}")
                for number in range(DEVICES_PER_ACCOUNT_MAX)
            )
        )
        with pytest.raises(LimitExceeded):
            await register_device(db, clock, account_id=ada.account_id, name="one more")

    run(scenario)


LINK, OTHER_LINK = LinkId(b"l" * 16), LinkId(b"m" * 16)


def run_of(number: int, name: int) -> int:
    return number << RUN_NAME_BITS | name


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ([(1, 7), (1, 7), (5, 8), (3, 9), (6, 4)], [True, True, True, False, True]),
        ([(4, 7), (4, 8)], [True, False]),
        ([(4, 7), (4, 8), (4, 7), (9, 8), (4, 7)], [True, False, True, True, False]),
        ([(9, 7), (4, 8), (9, 7), (70, 8), (70, 8)], [True, False, True, True, True]),
        ([(0, 1), (0, 1), (0, 5), (0, 3), (0, 6)], [True, True, True, False, True]),
    ],
    ids=["fell-back", "same-number", "two-copies", "an-older-image-and-its-twin", "starts-without-names"],
)
def test_a_start_that_is_not_newer_than_the_last_is_told(
    run: Run, said: list[tuple[int, int]], taken: list[bool]
) -> None:
    async def scenario(db: Database) -> None:
        mine = await laptop_of_ada(db)
        found = []
        for number, name in said:
            found.append(not await begin_link_run(db, mine, LINK, run_of(number, name)))
            assert await holds_link(db, mine, LINK, run_of(number, name)) is found[-1] or not number
        assert found == taken

    run(scenario)


def test_each_link_of_a_device_counts_its_own_starts(run: Run) -> None:
    async def scenario(db: Database) -> None:
        mine = await laptop_of_ada(db)
        assert not await begin_link_run(db, mine, LINK, run_of(30, 1))
        assert not await begin_link_run(db, mine, OTHER_LINK, run_of(1, 2)), "a younger link is no restored one"
        assert not await begin_link_run(db, mine, LINK, run_of(30, 1))
        assert await begin_link_run(db, mine, LINK, run_of(4, 2)) == 30, "so far it has to go"
        assert await holds_link(db, mine, LINK, run_of(30, 1))

    run(scenario)


def test_the_start_that_was_taken_over_holds_the_link_no_more(run: Run) -> None:
    async def scenario(db: Database) -> None:
        mine = await laptop_of_ada(db)
        await begin_link_run(db, mine, LINK, run_of(4, 7))
        await begin_link_run(db, mine, LINK, run_of(5, 8))
        assert not await holds_link(db, mine, LINK, run_of(4, 7))

    run(scenario)


async def laptop_of_ada(db: Database) -> Principal:
    clock = SteppingClock()
    ada = await register_account(db, clock, name="ada", password_hash="-")
    token, _ = await register_device(db, clock, account_id=ada.account_id, name="laptop")
    return await authenticate(db, token)


def test_a_visit_is_noted_at_most_once_an_hour(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        ada = await register_account(db, clock, name="ada", password_hash="-")
        token, _ = await register_device(db, clock, account_id=ada.account_id, name="laptop")
        mine = await authenticate(db, token)
        (before,) = await list_devices(db, mine)
        await touch_device(db, clock, mine)
        assert await list_devices(db, mine) == [before]
        clock.now += 2 * 60 * 60 * 1000
        await touch_device(db, clock, mine)
        assert (await list_devices(db, mine))[0].seen_ms == clock.now

    run(scenario)


def test_a_quota_is_set_and_lifted(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        await register_account(db, clock, name="ada", password_hash="-")
        await set_quota(db, clock, "Ada", 100)
        assert (await list_users(db))[0].quota_bytes == 100
        await set_quota(db, clock, "ada", None)
        assert (await list_users(db))[0].quota_bytes is None
        with pytest.raises(NotFound):
            await set_quota(db, clock, "bob", 1)

    run(scenario)
