"""A Valkey that is emptied, killed, hung, and comes back: nobody gets a fault, and no position goes by unnoticed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from structlog.testing import capture_logs

from satchel.core.ids import NamespaceId
from satchel.server.adapters.bus_redis import ConnectionLost, RedisBus, _tell, opened_bus, opened_post
from satchel.server.adapters.machine import MachineClock
from satchel.server.adapters.redis_server import server_of
from satchel.server.adapters.state_redis import RedisState
from tests.support.valkey import ValkeyServer

TIMEOUT_S = 60.0
PATIENCE_S = 20.0
"""A machine under load is not taken for a server that is gone, except where it hangs."""
LONG_S = 600.0
NS = NamespaceId(bytes(16))


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await work()

    asyncio.run(main())


class Device:
    """Knows how far a namespace is, from the bus alone. After a gap it looks, which is to read `truth`."""

    def __init__(self, bus: RedisBus, truth: Callable[[], int]) -> None:
        self.known = 0
        self.gaps = 0
        self._truth = truth
        self._more = asyncio.Event()
        bus.subscribe(self._heard)
        bus.on_gap(self._missed)

    async def until(self, is_enough: Callable[[], bool]) -> None:
        while not is_enough():
            self._more.clear()
            await self._more.wait()

    def _heard(self, ns: NamespaceId, seq: int) -> None:
        self.known = max(self.known, seq)
        self._more.set()

    def _missed(self) -> None:
        self.gaps += 1
        self.known = self._truth()
        self._more.set()


async def added(state: RedisState, value: bytes) -> None:
    """Add the member, as a stream does again and again, until it is shown."""
    while await state.members("key") != {"member": value}:
        await state.add_member("key", "member", value, ttl_s=LONG_S)
        await asyncio.sleep(0.01)


async def told(logs: Sequence[object]) -> None:
    """Return when there is something in the log."""
    while True:
        if logs:
            return
        await asyncio.sleep(0.01)


def test_members_of_an_emptied_server_are_back_after_the_next_add(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        state = RedisState(valkey_server.url(), MachineClock(), timeout_s=PATIENCE_S)
        await state.add_member("key", "member", b"1", ttl_s=LONG_S)
        valkey_server.command("FLUSHALL")
        valkey_server.command("SCRIPT", "FLUSH")
        assert await state.members("key") == {}
        await state.add_member("key", "member", b"1", ttl_s=LONG_S)
        assert await state.members("key") == {"member": b"1"}
        await state.close()

    run(work)


def test_a_killed_server_costs_facts_and_no_fault_and_is_used_again(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        state = RedisState(valkey_server.url(), MachineClock(), timeout_s=PATIENCE_S)
        await state.add_member("key", "member", b"1", ttl_s=LONG_S)
        valkey_server.stop()
        for _ in range(200):
            await state.add_member("key", "member", b"1", ttl_s=LONG_S)
            await state.remove_member("key", "other", value=b"1")
            assert await state.members("key") == {}
        valkey_server.start()
        await added(state, b"2")
        await state.close()

    with capture_logs() as logs:
        run(work)
    assert [entry["event"] for entry in logs] == ["redis.gone", "redis.back"]
    assert valkey_server.password not in str(logs)


def test_rates_hold_within_the_process_while_the_server_is_gone(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        state = RedisState(valkey_server.url(), MachineClock(), timeout_s=PATIENCE_S)
        valkey_server.stop()
        waits = [await state.spend("key", burst=5, per_s=1e-6) for _ in range(50)]
        assert waits[:5] == [0.0] * 5
        assert all(wait_s > 0 for wait_s in waits[5:])
        valkey_server.start()
        await added(state, b"back")
        assert await state.spend("key", burst=5, per_s=1e-6) == 0.0
        await state.close()

    run(work)


def test_a_server_that_hangs_does_not_cost_each_caller_a_timeout(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        state = RedisState(valkey_server.url(), MachineClock())
        await state.add_member("key", "member", b"1", ttl_s=LONG_S)
        valkey_server.hang()
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(state.members("key")) for _ in range(1_000)]
        assert all(task.result() == {} for task in asking)
        # A timeout each would take more than the test may.
        for _ in range(2_000):
            assert await state.members("key") == {}
        valkey_server.go_on()
        await added(state, b"2")
        await state.close()

    with capture_logs() as logs:
        run(work)
    assert [entry["event"] for entry in logs].count("redis.gone") == 1


def test_a_state_opened_before_its_server_begins_when_that_is_there(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        valkey_server.stop()
        state = RedisState(valkey_server.url(), MachineClock(), timeout_s=PATIENCE_S)
        assert await state.members("key") == {}
        valkey_server.start()
        await added(state, b"1")
        await state.close()

    run(work)


def test_a_wrong_password_is_an_outage_and_no_fault(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        state = RedisState(
            valkey_server.url().replace(valkey_server.password, "wrong"), MachineClock(), timeout_s=PATIENCE_S
        )
        assert await state.members("key") == {}
        assert await state.spend("key", burst=1, per_s=1.0) == 0.0
        await state.close()

    with capture_logs() as logs:
        run(work)
    assert [(entry["event"], entry["error"]) for entry in logs] == [("redis.gone", "AuthenticationError")]


def test_thousands_of_calls_at_once_wait_for_their_turn(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        state = RedisState(valkey_server.url(), MachineClock(), timeout_s=PATIENCE_S, turn_timeout_s=TIMEOUT_S)
        async with asyncio.TaskGroup() as group:
            spending = [group.create_task(state.spend("key", burst=100, per_s=1e-6)) for _ in range(2_000)]
        assert sum(task.result() == 0.0 for task in spending) == 100
        await state.close()

    with capture_logs() as logs:
        run(work)
    assert logs == []


def test_a_connection_that_is_lost_while_it_is_written_to_is_an_outage_and_no_fault(
    valkey_server: ValkeyServer,
) -> None:
    """The reader ends it after the library's look at it and before the write: once, this ended the server."""

    async def work() -> None:
        pool = server_of(valkey_server.url(), setting="bus_url").pool(connections=1, timeout_s=PATIENCE_S)
        connection = pool.connection_class(**pool.connection_kwargs)
        await connection.connect()
        writing = asyncio.create_task(_tell(connection, "PING"))
        await asyncio.sleep(0)
        await connection.disconnect(nowait=True)
        with pytest.raises(ConnectionLost, match="while it was written to"):
            await writing

    run(work)


def test_a_bus_that_lost_its_server_tells_a_gap_and_then_misses_nothing(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        clock, url = MachineClock(), valkey_server.url()
        published = [0]
        async with opened_bus(url, clock) as one, opened_bus(url, clock) as other:
            device = Device(other, lambda: published[-1])
            for outage in range(1, 4):
                valkey_server.stop()
                for seq in range(published[-1] + 1, published[-1] + 2_000):
                    published.append(seq)
                    await one.publish(NS, seq)
                valkey_server.start()
                await device.until(lambda gaps=outage: device.gaps >= gaps)  # type: ignore[misc]
                published.append(published[-1] + 1)
                await one.publish(NS, published[-1])
                await device.until(lambda: device.known == published[-1])

    with capture_logs() as logs:
        run(work)
    assert valkey_server.password not in str(logs)


def test_what_could_not_be_sent_is_sent_when_the_server_answers_again(valkey_server: ValkeyServer) -> None:
    async def work(logs: Sequence[object]) -> None:
        clock, url = MachineClock(), valkey_server.url()
        heard: set[NamespaceId] = set()
        async with opened_bus(url, clock) as one, opened_bus(url, clock) as other:
            other.subscribe(lambda ns, _: heard.add(ns))
            device = Device(other, lambda: 0)
            valkey_server.hang()
            for number in range(5_000):
                await one.publish(NamespaceId(number.to_bytes(16, "big")), 1)
            await told(logs)
            valkey_server.go_on()
            await device.until(lambda: len(heard) == 5_000)
            assert device.gaps == 0

    with capture_logs() as logs:
        run(lambda: work(logs))
    assert [(entry["event"], entry["use"]) for entry in logs] == [("redis.gone", "telling"), ("redis.back", "telling")]


def test_a_listener_that_was_cut_off_alone_is_told_of_the_gap(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        clock, url = MachineClock(), valkey_server.url()
        async with opened_bus(url, clock) as one, opened_bus(url, clock) as other:
            device = Device(other, lambda: 0)
            await one.publish(NS, 1)
            await device.until(lambda: device.known == 1)
            valkey_server.command("CLIENT", "KILL", "TYPE", "pubsub")
            await device.until(lambda: device.gaps == 1)
            await one.publish(NS, 2)
            await device.until(lambda: device.known == 2)

    run(work)


def test_a_bus_opened_before_its_server_begins_with_a_gap(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        clock, url = MachineClock(), valkey_server.url()
        valkey_server.stop()
        async with opened_bus(url, clock) as one, opened_bus(url, clock) as other:
            device = Device(other, lambda: 0)
            valkey_server.start()
            await device.until(lambda: device.gaps == 1)
            await one.publish(NS, 1)
            await device.until(lambda: device.known == 1)

    run(work)


def test_malformed_messages_are_dropped_and_told_to_the_log(valkey_server: ValkeyServer) -> None:
    bad = [b"", b"\x01", b"\x02\x92\xc0\xc0", b"\x01\x92\xc4\x01a\x91\x01", b"\x01" + bytes(70_000), b"\xff" * 9]

    async def work() -> None:
        clock, url = MachineClock(), valkey_server.url(3)
        async with opened_bus(url, clock) as one, opened_bus(url, clock) as other:
            device = Device(other, lambda: 0)
            for body in bad:
                valkey_server.command("PUBLISH", "positions:3", body)
            await one.publish(NS, 1)
            await device.until(lambda: device.known == 1)
            assert device.gaps == 0

    with capture_logs() as logs:
        run(work)
    # Both processes hear the channel.
    assert [entry["event"] for entry in logs] == ["redis.malformed"] * len(bad) * 2


def test_a_listener_of_a_sender_whose_outbox_overflowed_is_told_of_a_gap(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        clock, url = MachineClock(), valkey_server.url(4)
        async with opened_bus(url, clock) as other:
            device = Device(other, lambda: 7)
            valkey_server.command("PUBLISH", "positions:4", b"\x01\x92\xc4\x01a\xc0")
            await device.until(lambda: device.gaps == 1)
            assert device.known == 7

    run(work)


def test_a_post_that_is_closed_while_it_ends_a_channel_comes_to_an_end(valkey_server: ValkeyServer) -> None:
    """The library swallowed the end of a task that was just sending, and the service never stopped."""

    async def work() -> None:
        for number in range(20):
            async with opened_post(valkey_server.url(), MachineClock()) as post:
                is_listening = asyncio.Event()
                post.on_gap(is_listening.set)
                end = post.listen(f"server {number}", lambda ns, seq: None)
                await is_listening.wait()
                end()
                await asyncio.sleep(0)

    run(work)
