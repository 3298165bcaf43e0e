"""What every Bus does, over every adapter; and what the post of Valkey does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from satchel.core.ids import NamespaceId
from satchel.server.adapters.bus_memory import MemoryBus
from satchel.server.adapters.bus_redis import Outbox, opened_bus, opened_post
from satchel.server.adapters.machine import MachineClock
from satchel.server.ports import Bus
from tests.support.valkey import ValkeyServer

Opener = Callable[[], AbstractAsyncContextManager[Bus]]

TIMEOUT_S = 60.0


class Heard:
    """A listener that can be waited for."""

    def __init__(self) -> None:
        self.positions: list[tuple[NamespaceId, int]] = []
        self.gaps = 0
        self._more = asyncio.Event()

    def position(self, ns: NamespaceId, seq: int) -> None:
        self.positions.append((ns, seq))
        self._more.set()

    def gap(self) -> None:
        self.gaps += 1
        self._more.set()

    async def until(self, is_enough: Callable[[Heard], bool]) -> None:
        while not is_enough(self):
            self._more.clear()
            await self._more.wait()


@pytest.fixture(params=["memory", "redis"])
def opener(request: pytest.FixtureRequest) -> Opener:
    """Opens the bus under test; each opening is another process."""
    if request.param == "redis":
        server: ValkeyServer = request.getfixturevalue("valkey_server")
        return lambda: opened_bus(server.url(2), MachineClock())
    kept = MemoryBus()

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Bus]:
        yield kept

    return opened


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await work()

    asyncio.run(main())


def namespace(number: int) -> NamespaceId:
    return NamespaceId(number.to_bytes(16, "big"))


def test_own_listeners_hear_in_the_publishers_call(opener: Opener) -> None:
    async def work() -> None:
        async with opener() as bus:
            heard, also = Heard(), Heard()
            bus.subscribe(heard.position)
            bus.subscribe(also.position)
            await bus.publish(namespace(7), 4_711)
            assert heard.positions == also.positions == [(namespace(7), 4_711)]

    run(work)


def test_listeners_of_other_processes_hear_and_nobody_hears_twice(opener: Opener) -> None:
    async def work() -> None:
        async with opener() as one, opener() as other:
            at_one, at_other = Heard(), Heard()
            one.subscribe(at_one.position)
            other.subscribe(at_other.position)
            await one.publish(namespace(1), 10)
            await at_other.until(lambda heard: len(heard.positions) == 1)
            await other.publish(namespace(2), 20)
            await at_one.until(lambda heard: (namespace(2), 20) in heard.positions)
            assert at_one.positions == at_other.positions == [(namespace(1), 10), (namespace(2), 20)]

    run(work)


def test_a_listener_that_ended_hears_no_more(opener: Opener) -> None:
    async def work() -> None:
        async with opener() as bus, opener() as other:
            ended, ended_elsewhere, heard = Heard(), Heard(), Heard()
            ends = [bus.subscribe(ended.position), other.subscribe(ended_elsewhere.position)]
            other.subscribe(heard.position)
            for end in ends + ends:
                end()
            await bus.publish(namespace(1), 1)
            await heard.until(lambda heard: bool(heard.positions))
            assert ended.positions == ended_elsewhere.positions == []

    run(work)


def test_the_newest_of_many_positions_arrives_and_none_goes_back(opener: Opener) -> None:
    async def work() -> None:
        async with opener() as bus, opener() as other:
            heard = Heard()
            other.subscribe(heard.position)
            for seq in range(1, 5_001):
                await bus.publish(namespace(1), seq)
            await heard.until(lambda heard: bool(heard.positions) and heard.positions[-1][1] == 5_000)
            seqs = [seq for _, seq in heard.positions]
            assert seqs == sorted(seqs)

    run(work)


def test_positions_of_many_namespaces_all_arrive_and_nothing_is_called_a_gap(opener: Opener) -> None:
    async def work() -> None:
        async with opener() as bus, opener() as other:
            heard = Heard()
            other.subscribe(heard.position)
            other.on_gap(heard.gap)
            async with asyncio.TaskGroup() as group:
                for number in range(5_000):
                    group.create_task(bus.publish(namespace(number), number))
            await heard.until(lambda heard: len(heard.positions) == 5_000)
            assert set(heard.positions) == {(namespace(number), number) for number in range(5_000)}
            assert heard.gaps == 0

    run(work)


def test_nobody_is_told_of_a_gap_after_ending_that(opener: Opener) -> None:
    async def work() -> None:
        async with opener() as bus:
            heard = Heard()
            end = bus.on_gap(heard.gap)
            end()
            end()
            assert heard.gaps == 0

    run(work)


def test_publishing_on_a_closed_bus_tells_nobody_and_raises_nothing(opener: Opener) -> None:
    async def work() -> None:
        async with opener() as bus:
            heard = Heard()
            bus.subscribe(heard.position)
            await bus.close()
            await bus.close()
            await bus.publish(namespace(1), 1)
            assert heard.positions == []

    run(work)


def test_what_is_published_last_is_sent_before_the_process_ends(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        async with opened_bus(valkey_server.url(), MachineClock()) as other:
            heard = Heard()
            other.subscribe(heard.position)
            async with opened_bus(valkey_server.url(), MachineClock()) as bus:
                await bus.publish(namespace(1), 1)
            await heard.until(lambda heard: bool(heard.positions))

    run(work)


def test_what_a_user_of_the_bus_raises_comes_out_as_it_is(opener: Opener) -> None:
    async def work() -> None:
        with pytest.raises(KeyError, match="mine"):
            async with opener():
                raise KeyError("mine")

    run(work)


def test_databases_of_one_server_do_not_hear_each_other(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        clock = MachineClock()
        async with (
            opened_bus(valkey_server.url(1), clock) as first,
            opened_bus(valkey_server.url(2), clock) as second,
            opened_bus(valkey_server.url(2), clock) as third,
        ):
            heard = Heard()
            third.subscribe(heard.position)
            await first.publish(namespace(1), 1)
            await second.publish(namespace(2), 2)
            await heard.until(lambda heard: bool(heard.positions))
            assert heard.positions == [(namespace(2), 2)]

    run(work)


def test_the_post_tells_one_server_and_no_other(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        clock, url = MachineClock(), valkey_server.url()
        async with opened_post(url, clock) as notifier, opened_post(url, clock) as one, opened_post(url, clock) as two:
            at_one, at_two = Heard(), Heard()
            for post, server_id, heard in ((one, "one", at_one), (two, "two", at_two)):
                post.on_gap(heard.gap)
                post.listen(server_id, heard.position)
                await heard.until(lambda heard: heard.gaps == 1)
            told = [(namespace(number), number) for number in range(1_200)]
            await notifier.tell("one", told)
            await notifier.tell("nobody", told)
            await notifier.tell("two", [])
            await notifier.tell("two", [(namespace(9), 9)])
            await at_one.until(lambda heard: len(heard.positions) == 1_200)
            await at_two.until(lambda heard: bool(heard.positions))
            assert at_one.positions == told
            assert at_two.positions == [(namespace(9), 9)]

    run(work)


def test_a_post_that_ended_listening_hears_no_more_and_may_begin_again(valkey_server: ValkeyServer) -> None:
    async def work() -> None:
        clock, url = MachineClock(), valkey_server.url()
        async with opened_post(url, clock) as notifier, opened_post(url, clock) as post:
            ended, other, again = Heard(), Heard(), Heard()
            post.on_gap(other.gap)
            end = post.listen("one", ended.position)
            post.listen("two", other.position)
            await other.until(lambda heard: heard.gaps >= 1)
            end()
            await notifier.tell("one", [(namespace(1), 1)])
            await notifier.tell("two", [(namespace(2), 2)])
            await other.until(lambda heard: bool(heard.positions))
            seen = other.gaps
            post.listen("one", again.position)
            await other.until(lambda heard: heard.gaps > seen)
            await notifier.tell("one", [(namespace(1), 2)])
            await again.until(lambda heard: bool(heard.positions))
            assert ended.positions == []
            assert again.positions == [(namespace(1), 2)]

    run(work)


def test_the_outbox_keeps_the_highest_position_of_each_namespace() -> None:
    outbox = Outbox()
    outbox.put("channel", [(namespace(1), 5), (namespace(2), 1)])
    outbox.put("channel", [(namespace(1), 4), (namespace(2), 3)])
    taken = outbox.take()
    outbox.put("channel", [(namespace(1), 9)])
    outbox.put_back(taken)
    assert outbox.take()["channel"].positions == {namespace(1): 9, namespace(2): 3}
    assert outbox.take() == {}


def test_a_full_outbox_says_that_positions_are_missing_and_has_room_again() -> None:
    outbox = Outbox(positions_max=3, channels_max=2)
    outbox.put("one", [(namespace(number), 1) for number in range(4)])
    assert outbox.take()["one"].is_gap
    outbox.put("one", [(namespace(number), 1) for number in range(3)])
    outbox.put("two", [(namespace(9), 1)])
    outbox.put("three", [(namespace(9), 1)])
    taken = outbox.take()
    assert not taken["one"].is_gap and len(taken["one"].positions) == 3
    assert taken["two"].is_gap
    assert "three" not in taken


def test_the_outbox_gives_out_a_bounded_part_and_then_the_rest() -> None:
    outbox = Outbox()
    outbox.put("one", [(namespace(number), number) for number in range(5)])
    outbox.put("two", [(namespace(1), 1)])
    parts = [outbox.take(3), outbox.take(3), outbox.take(3)]
    assert [{channel: len(part.positions) for channel, part in taken.items()} for taken in parts] == [
        {"one": 3},
        {"one": 2, "two": 1},
        {},
    ]
