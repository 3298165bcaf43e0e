"""What every EphemeralState does, over every adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from satchel.core.errors import SettingInvalid
from satchel.server.adapters.machine import MachineClock
from satchel.server.adapters.redis_server import server_of
from satchel.server.adapters.state_memory import MEMBERS_MAX, Buckets, MemoryState
from satchel.server.adapters.state_redis import RedisState
from satchel.server.ports import EphemeralState, Member
from tests.support.clocks import SteppingClock
from tests.support.valkey import ValkeyServer

Opener = Callable[[], EphemeralState]

LONG_S = 600.0
SHORT_S = 0.02
TIMEOUT_S = 60.0
PATIENCE_S = 20.0
"""A machine under load is not taken for a server that is gone."""


@pytest.fixture(params=["memory", "redis", "redis-socket"])
def opener(request: pytest.FixtureRequest) -> Opener:
    """Opens the state under test; each opening is another process that sees the same facts."""
    if request.param == "memory":
        kept = MemoryState(MachineClock())
        return lambda: kept
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    url = server.url(1) if request.param == "redis" else server.socket_url(1)
    return lambda: RedisState(url, MachineClock(), timeout_s=PATIENCE_S)


def run(opener: Opener, work: Callable[[EphemeralState], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            state = opener()
            try:
                await work(state)
            finally:
                await state.close()

    asyncio.run(main())


async def all_short_ones_ended(state: EphemeralState) -> None:
    """Return when every member that was added before for `SHORT_S` has ended."""
    await state.add_member("control", "last", b"", ttl_s=SHORT_S)
    while True:
        if not await state.members("control"):
            return
        await asyncio.sleep(SHORT_S)


def test_members_are_returned_with_their_values_in_order(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        values = {"b": b"", "a": b"plain", "c": b"12:\x00\xff:", "ä": b"\xc3"}
        for member, value in values.items():
            await state.add_member("key", member, value, ttl_s=LONG_S)
        found = await state.members("key")
        assert found == values
        assert list(found) == ["a", "b", "c", "ä"]
        assert await state.members("other") == {}

    run(opener, work)


def test_adding_tells_whether_the_member_was_still_there(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        assert not await state.add_member("key", "member", b"1", ttl_s=LONG_S)
        assert await state.add_member("key", "member", b"2", ttl_s=SHORT_S)
        await all_short_ones_ended(state)
        assert not await state.add_member("key", "member", b"3", ttl_s=LONG_S), "nobody found it meanwhile"
        await state.remove_member("key", "member")
        assert not await state.add_member("key", "member", b"4", ttl_s=LONG_S)

    run(opener, work)


def test_adding_again_replaces_the_value_and_prolongs(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        await state.add_member("key", "member", b"old", ttl_s=SHORT_S)
        await state.add_member("key", "member", b"new", ttl_s=LONG_S)
        await all_short_ones_ended(state)
        assert await state.members("key") == {"member": b"new"}

    run(opener, work)


def test_a_member_that_ended_is_not_returned_and_the_others_are(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        await state.add_member("key", "long", b"1", ttl_s=LONG_S)
        await state.add_member("key", "short", b"2", ttl_s=SHORT_S)
        await state.add_member("alone", "short", b"3", ttl_s=SHORT_S)
        await all_short_ones_ended(state)
        assert await state.members("key") == {"long": b"1"}
        assert await state.members("alone") == {}

    run(opener, work)


def test_a_removed_member_is_gone_and_a_missing_one_is_no_error(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        await state.add_member("key", "one", b"1", ttl_s=LONG_S)
        await state.add_member("key", "two", b"2", ttl_s=LONG_S)
        await state.remove_member("key", "one")
        await state.remove_member("key", "one")
        await state.remove_member("nowhere", "one", value=b"1")
        assert await state.members("key") == {"two": b"2"}

    run(opener, work)


def test_a_late_goodbye_does_not_remove_a_newer_connection(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        other = opener()
        await state.add_member("key", "device", b"at one", ttl_s=LONG_S)
        await other.add_member("key", "device", b"at other", ttl_s=LONG_S)
        await state.remove_member("key", "device", value=b"at one")
        assert await state.members("key") == {"device": b"at other"}
        await other.remove_member("key", "device", value=b"at other")
        assert await state.members("key") == {}
        await other.close()

    run(opener, work)


def test_an_empty_value_is_compared_too(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        await state.add_member("key", "member", b"full", ttl_s=LONG_S)
        await state.remove_member("key", "member", value=b"")
        assert await state.members("key") == {"member": b"full"}

    run(opener, work)


def test_a_key_holds_a_thousand_members_and_ended_ones_give_way(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        for number in range(MEMBERS_MAX - 1):
            await state.add_member("key", f"long-{number}", b"", ttl_s=LONG_S)
        await state.add_member("key", "short", b"", ttl_s=SHORT_S)
        await all_short_ones_ended(state)
        await state.add_member("key", "in its place", b"", ttl_s=LONG_S)
        await state.add_member("key", "too many", b"", ttl_s=LONG_S)
        await state.add_member("key", "in its place", b"renewed", ttl_s=LONG_S)
        found = await state.members("key")
        assert len(found) == MEMBERS_MAX
        assert found["in its place"] == b"renewed"
        assert "too many" not in found

    run(opener, work)


def test_a_bucket_gives_its_burst_and_then_says_how_long_to_wait(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        taken = [await state.spend("key", burst=3, per_s=0.001) for _ in range(3)]
        assert taken == [0.0, 0.0, 0.0]
        assert 0 < await state.spend("key", burst=3, per_s=0.001) <= 1_000
        assert await state.spend("other", burst=3, per_s=0.001) == 0.0

    run(opener, work)


def test_a_bucket_fills_again_with_time(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        assert await state.spend("key", burst=1, per_s=20.0) == 0.0
        while wait_s := await state.spend("key", burst=1, per_s=20.0):
            assert wait_s <= 1 / 20.0
            await asyncio.sleep(wait_s)

    run(opener, work)


def test_many_processes_together_take_no_more_than_the_burst(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        states = [state, opener(), opener()]
        async with asyncio.TaskGroup() as group:
            spending = [
                group.create_task(states[number % 3].spend("key", burst=50, per_s=1e-6)) for number in range(300)
            ]
        assert sum(task.result() == 0.0 for task in spending) == 50
        for other in states[1:]:
            await other.close()

    run(opener, work)


def test_a_bucket_and_members_of_the_same_key_are_apart(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        await state.add_member("key", "member", b"1", ttl_s=LONG_S)
        assert await state.spend("key", burst=1, per_s=1.0) == 0.0
        assert await state.members("key") == {"member": b"1"}

    run(opener, work)


def test_closing_twice_is_no_error(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        await state.members("key")
        await state.close()

    run(opener, work)


def test_the_bucket_unused_for_longest_is_forgotten() -> None:
    buckets = Buckets(SteppingClock(), count_max=2)
    for key in ("one", "two", "three"):
        assert buckets.spend(key, burst=1, per_s=1e-6) == 0.0
    assert buckets.spend("three", burst=1, per_s=1e-6) > 0
    assert buckets.spend("two", burst=1, per_s=1e-6) > 0
    assert buckets.spend("one", burst=1, per_s=1e-6) == 0.0


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://host", "host:6379/0"),
        ("redis://host/", "host:6379/0"),
        ("redis://user:p%40ss@host:1234/15", "host:1234/15"),
        ("redis://:secret@[::1]:6380/2", "::1:6380/2"),
        ("rediss://user:secret@host:6380/3?ssl_ca_certs=/etc/ca.pem", "host:6380/3"),
        ("unix:///run/valkey.sock", "/run/valkey.sock/0"),
        ("unix://:secret@/run/valkey.sock?db=4", "/run/valkey.sock/4"),
    ],
)
def test_a_url_names_a_server(url: str, where: str) -> None:
    server = server_of(url, setting="state_url")
    assert server.where == where
    assert server.db == int(where.rpartition("/")[2])
    assert "secret" not in repr(server)
    assert server.pool(connections=1, timeout_s=1.0).connection_kwargs.get("db", 0) == server.db


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis:host",
        "valkey://host",
        "http://host",
        "redis://",
        "redis:///1",
        "redis://host/one",
        "redis://host/1/2",
        "redis://host/-1",
        "redis://host:port",
        "redis://host:99999",
        "redis://user:sec#ret@host",
        "redis://user:sec/ret@host",
        "redis://host?db=1",
        "redis://host?protocol=3",
        "rediss://host?ssl_cert_reqs=none",
        "unix://",
        "unix://host/socket",
        "unix:///socket?db=x",
        "unix:///socket?db=1&retry=1",
    ],
)
def test_a_wrong_url_is_refused_and_not_told_again(url: str) -> None:
    with pytest.raises(SettingInvalid) as refused:
        RedisState(url, MachineClock(), setting="bus_url")
    assert refused.value.fields["setting"] == "bus_url"
    assert "ret@" not in str(refused.value)


MANY = 1_203
"""More than go in one journey."""


def test_many_keys_are_read_and_many_members_renewed_together_as_one_by_one(opener: Opener) -> None:
    async def work(state: EphemeralState) -> None:
        members = [Member(f"many:{at}", "phone", b"%d" % at) for at in range(MANY)]
        assert await state.add_members(members, ttl_s=LONG_S) == [False] * MANY
        assert await state.add_members(members[:2], ttl_s=LONG_S) == [True, True]
        await state.remove_member("many:7", "phone")
        renewed = await state.add_members(members, ttl_s=LONG_S)
        assert [at for at, was_there in enumerate(renewed) if not was_there] == [7]
        await state.add_member("many:3", "laptop", b"x", ttl_s=LONG_S)
        found = await state.members_of([member.key for member in members] + ["many:none"])
        assert found[:3] == [{"phone": b"0"}, {"phone": b"1"}, {"phone": b"2"}]
        assert found[3] == await state.members("many:3") == {"laptop": b"x", "phone": b"3"}
        assert found[MANY - 1 :] == [{"phone": b"%d" % (MANY - 1)}, {}]
        assert await state.members_of([]) == []
        assert await state.add_members([], ttl_s=LONG_S) == []

    run(opener, work)
