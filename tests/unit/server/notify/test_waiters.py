"""Waiting for positions: none is missed, none is waited for that was seen, and the number of waiters is bounded."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from satchel.core.errors import TooManyRequests
from satchel.core.ids import AccountId, NamespaceId
from satchel.core.limits import STREAMS_PER_ACCOUNT_MAX
from satchel.server.adapters.bus_memory import MemoryBus
from satchel.server.notify.waiters import Waiters

ANN = AccountId(b"a" * 16)
NS = NamespaceId(b"n" * 16)
OTHER = NamespaceId(b"o" * 16)


def test_a_position_told_before_the_wait_ends_it_at_once() -> None:
    async def main() -> None:
        bus = MemoryBus()
        with Waiters(bus).joined(ANN, [NS]) as waiter:
            await bus.publish(NS, 7)
            assert await waiter.wait({NS: 6}, timeout_s=60)
            assert not await waiter.wait({NS: 7}, timeout_s=0)

    asyncio.run(main())


def test_a_position_told_during_the_wait_ends_it() -> None:
    async def main() -> None:
        bus = MemoryBus()
        with Waiters(bus).joined(ANN, [NS, OTHER]) as waiter:
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(waiter.wait({NS: 1, OTHER: 1}, timeout_s=60))
                await asyncio.sleep(0)
                await bus.publish(NamespaceId(b"x" * 16), 99)
                await bus.publish(OTHER, 2)
            assert waiting.result()

    asyncio.run(main())


def test_an_old_position_does_not_wake() -> None:
    async def main() -> None:
        bus = MemoryBus()
        with Waiters(bus).joined(ANN, [NS]) as waiter:
            await bus.publish(NS, 5)
            await bus.publish(NS, 4)
            assert waiter.heads[NS] == 5

    asyncio.run(main())


def test_a_stop_wakes_all_and_those_that_come_later() -> None:
    async def main() -> None:
        waiters = Waiters(MemoryBus())
        with waiters.joined(ANN, [NS]) as waiter:
            waiters.stop()
            assert await waiter.wait({NS: 0}, timeout_s=60)
        with waiters.joined(ANN, [NS]) as late:
            assert late.is_stopped

    asyncio.run(main())


def test_an_account_past_its_limit_is_refused_until_one_leaves() -> None:
    waiters = Waiters(MemoryBus())
    with ExitStack() as stack:
        for _ in range(STREAMS_PER_ACCOUNT_MAX):
            stack.enter_context(waiters.joined(ANN, [NS]))
        with pytest.raises(TooManyRequests), waiters.joined(ANN, [NS]):
            pass
        with waiters.joined(AccountId(b"b" * 16), [NS]):
            assert len(waiters) == STREAMS_PER_ACCOUNT_MAX + 1
    assert len(waiters) == 0
    with waiters.joined(ANN, [NS]):
        assert len(waiters) == 1


def test_a_doubt_wakes_those_of_the_account_alone() -> None:
    async def main() -> None:
        waiters = Waiters(MemoryBus())
        with waiters.joined(ANN, [NS]) as ann, waiters.joined(AccountId(b"b" * 16), [NS]) as ben:
            waiters.doubt(ANN)
            assert (ann.is_doubted, ben.is_doubted) == (True, False)
            assert await ann.wait({NS: 0}, timeout_s=60)
            assert not await ben.wait({NS: 0}, timeout_s=0)
            waiters.doubt()
            assert ben.is_doubted

    asyncio.run(main())


def test_a_gap_wakes_all_until_each_has_put_its_mark_away() -> None:
    async def main() -> None:
        bus = GappingBus()
        waiters = Waiters(bus)
        with waiters.joined(ANN, [NS]) as one, waiters.joined(ANN, [OTHER]) as other:
            bus.tell_gap()
            for waiter in (one, other):
                assert await waiter.wait({NS: 9, OTHER: 9}, timeout_s=60)
                waiter.is_gapped = False
                assert not await waiter.wait({NS: 9, OTHER: 9}, timeout_s=0)
            waiters.stop()
            bus.tell_gap()
            assert not one.is_gapped

    asyncio.run(main())


class GappingBus(MemoryBus):
    """A bus that lost its line."""

    def tell_gap(self) -> None:
        self._gap_listeners.tell()


def test_a_drain_ends_waiters_one_after_another_and_those_that_come_meanwhile() -> None:
    async def main() -> None:
        waiters, ended = Waiters(MemoryBus()), []

        async def wait(number: int) -> None:
            with waiters.joined(ANN, [NS]) as waiter:
                assert await waiter.wait({}, timeout_s=60)
                ended.append((number, len(waiters)))
            if number == 0:
                await wait(100)

        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(wait(number))
            await asyncio.sleep(0)
            await waiters.drain(0.5, asyncio.Event())
            waiters.stop()
        assert {number for number, _ in ended} == {*range(10), 100}
        # The first to go left others waiting.
        assert ended[0][1] > 1 and ended[-1][1] < 10

    asyncio.run(main())


def test_a_drain_that_is_hurried_ends_at_once() -> None:
    async def main() -> None:
        waiters, hurry = Waiters(MemoryBus()), asyncio.Event()
        hurry.set()
        with waiters.joined(ANN, [NS]) as waiter:
            async with asyncio.timeout(60):
                await waiters.drain(10_000, hurry)
            assert not await waiter.wait({}, timeout_s=0) or waiter.is_stopped
            waiters.stop()
            assert await waiter.wait({}, timeout_s=60)

    asyncio.run(main())
