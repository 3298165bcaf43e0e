"""What can be guessed is limited: by account, address and network, also while the shared state is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import argon2
import pytest

from satchel.core.errors import TooManyRequests, Unauthenticated
from satchel.server.accounts.app_passwords import authenticate_basic
from satchel.server.accounts.audit import STORE_CHAIN, read_chain
from satchel.server.accounts.guesses import ADDRESS, NETWORK, SUBJECT, Guessed, network_of, pay
from satchel.server.accounts.service import register_account, sign_in
from satchel.server.adapters.state_memory import MemoryState
from satchel.server.adapters.state_redis import RedisState
from satchel.server.db.engine import Database
from satchel.server.ports import EphemeralState
from tests.support.clocks import SteppingClock
from tests.support.databases import Run
from tests.support.recording import RecordingDatabase
from tests.support.valkey import ValkeyServer

PASSWORD = "correct horse"
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
"""Verified in no time: how long a hash takes is written in it."""
States = Callable[[SteppingClock], EphemeralState]


def gone(clock: SteppingClock) -> EphemeralState:
    """A shared state whose server is not there."""
    return RedisState("redis://127.0.0.1:1", clock)


BOTH = pytest.mark.parametrize("made", [MemoryState, gone], ids=["there", "gone"])


async def attempt(db: Database, state: EphemeralState, clock: SteppingClock, user: str, address: str = "") -> None:
    await sign_in(db, state, clock, user=user, password="wrong guess", device_name="x", from_address=address)


async def paid(state: EphemeralState, count: int, address: Callable[[int], str], subject: Callable[[int], str]) -> int:
    """Return how many of `count` guesses were let through before the first that was not."""
    for at in range(count):
        try:
            await pay(state, Guessed.PASSWORD, address=address(at), subject=subject(at))
        except TooManyRequests:
            return at
    return count


@BOTH
def test_guesses_run_out_for_the_account_and_come_back_with_time(run: Run, made: States) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        state = made(clock)
        await register_account(db, clock, name="ann", password_hash=CHEAP)
        for at in range(SUBJECT.burst):
            with pytest.raises(Unauthenticated):
                await attempt(db, state, clock, "ann", f"192.0.{at}.1")
        with pytest.raises(TooManyRequests) as told:
            await attempt(db, state, clock, "ANN", "198.51.100.1")
        assert 1 <= int(str(told.value.fields["retry_after_s"])) <= 1 / SUBJECT.per_s + 1
        clock.now += 31_000
        with pytest.raises(Unauthenticated):
            await attempt(db, state, clock, "ann")
        with pytest.raises(TooManyRequests):
            await attempt(db, state, clock, "ann")
        clock.now += 31_000
        await sign_in(db, state, clock, user="ann", password=PASSWORD, device_name="x")
        await state.close()

    run(scenario)


def test_many_guesses_at_once_are_no_more_than_the_limit(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        state = MemoryState(clock)
        await register_account(db, clock, name="ann", password_hash=CHEAP)
        told = await asyncio.gather(
            *(attempt(db, state, clock, "ann") for _ in range(SUBJECT.burst + 10)), return_exceptions=True
        )
        assert sum(isinstance(one, Unauthenticated) for one in told) == SUBJECT.burst
        assert sum(isinstance(one, TooManyRequests) for one in told) == 10

    run(scenario)


def test_whoever_knows_the_password_is_not_kept_out_by_own_sign_ins(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        state = MemoryState(clock)
        await register_account(db, clock, name="ann", password_hash=CHEAP)
        for _ in range(SUBJECT.burst + 3):
            await sign_in(db, state, clock, user="ann", password=PASSWORD, device_name="x")

    run(scenario)


def test_a_name_that_nobody_has_runs_out_like_any_other(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        state = MemoryState(clock)
        with pytest.raises(Unauthenticated):
            await attempt(db, state, clock, "nobody")
        assert await paid(state, SUBJECT.burst, lambda _: "", lambda _: "nobody") == SUBJECT.burst - 1
        with pytest.raises(TooManyRequests):
            await attempt(db, state, clock, "Nobody")

    run(scenario)


@BOTH
def test_guesses_are_counted_by_address_across_accounts(made: States) -> None:
    async def scenario() -> None:
        state = made(SteppingClock())
        many = ADDRESS.burst + 50
        assert await paid(state, many, lambda _: "192.0.2.1", str) == pytest.approx(ADDRESS.burst, abs=1)
        assert await paid(state, 5, lambda _: "192.0.2.2", str) == 5
        await state.close()

    asyncio.run(scenario())


def test_guesses_are_counted_by_network_across_addresses() -> None:
    async def scenario() -> None:
        state = MemoryState(SteppingClock())
        for network in ("2001:db8::{:x}", "10.0.0.{}"):
            spread = lambda at, network=network: network.format(at % 250 + 1)  # noqa: E731
            passed = await paid(state, NETWORK.burst + 100, spread, str)
            assert NETWORK.burst <= passed <= NETWORK.burst + 30
        assert await paid(state, 5, lambda _: "2001:db8:0:1::1", str) == 5

    asyncio.run(scenario())


def test_gateways_share_the_counts(valkey_server: ValkeyServer) -> None:
    async def scenario() -> None:
        gateways = [RedisState(valkey_server.url(), SteppingClock()) for _ in range(2)]
        passed = 0
        for at in range(SUBJECT.burst + 4):
            passed += await paid(gateways[at % 2], 1, lambda _: "192.0.2.1", lambda _: "ann")
        assert passed == SUBJECT.burst
        for gateway in gateways:
            await gateway.close()

    asyncio.run(scenario())


def test_a_network_is_a_24_or_a_64() -> None:
    assert network_of("192.0.2.77") == "192.0.2.0/24"
    assert network_of("::ffff:192.0.2.77") == "192.0.2.0/24"
    assert network_of("2001:db8:1:2:3::4") == "2001:db8:1:2::/64"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("testclient") == "testclient"


def test_a_name_that_nobody_has_takes_the_same_statements_as_a_wrong_password(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        state = MemoryState(clock)
        await register_account(db, clock, name="ann", password_hash=CHEAP)
        for way in ("password", "app password"):
            seen = []
            for user in ("ann", "nobody"):
                recording = RecordingDatabase(db)
                with pytest.raises(Unauthenticated):
                    if way == "password":
                        await attempt(recording, state, clock, user)
                    else:
                        await authenticate_basic(
                            recording, state, clock, user=user, password="wrong", from_address="192.0.2.1"
                        )
                seen.append(recording.statements)
            assert seen[0] == seen[1] != []

    run(scenario)


def test_failed_sign_ins_are_logged_without_what_was_typed(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        state = MemoryState(clock)
        ann = await register_account(db, clock, name="ann", password_hash=CHEAP)
        for user in ("ann", "a password in the wrong field"):
            with pytest.raises(Unauthenticated):
                await attempt(db, state, clock, user, "192.0.2.1")
        for chain in (ann.account_id, STORE_CHAIN):
            row = (await read_chain(db, chain))[0]
            assert (row.action, row.address, row.subject, row.detail) == ("sign_in_failed", "192.0.2.1", "", "{}")

    run(scenario)
