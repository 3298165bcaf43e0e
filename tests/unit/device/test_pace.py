"""Limits: how long who waits, on a clock that only the sleepers move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from satchel.core.limits import KIB, MIB
from satchel.device.pace import BURST_S, DEBT_S, LONG_AT_ONCE, Bucket, Pace
from satchel.device.wire_http import Deadline

RATE = 64 * KIB


class SleepersClock:
    """Stands still until everybody sleeps or waits; then it goes on to the time at which the first one wakes."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._number = 0

    def monotonic_s(self) -> float:
        return self.now_s

    def now_ns(self) -> int:
        return int(self.now_s * 1e9)

    def boot(self) -> bytes:
        return b""

    def random(self, count: int) -> bytes:
        return bytes(count)

    async def sleep_s(self, seconds: float) -> None:
        self._number += 1
        woken = asyncio.Event()
        self._sleepers.append((self.now_s + seconds, self._number, woken))
        await woken.wait()

    async def run(self, work: Coroutine[object, object, None]) -> None:
        """Run the work to its end, and time with it."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            while not task.done():
                for _ in range(20):
                    await asyncio.sleep(0)
                if self._sleepers:
                    first = min(self._sleepers)
                    self._sleepers.remove(first)
                    self.now_s = max(self.now_s, first[0])
                    first[2].set()


def timed(rate: int, work: Callable[[SleepersClock, Bucket], Coroutine[object, object, None]]) -> float:
    """Return how long the work took."""
    clock = SleepersClock()
    asyncio.run(clock.run(work(clock, Bucket(clock, rate))))
    return clock.now_s


async def together(*works: Coroutine[object, object, None]) -> None:
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)


def test_without_a_limit_nobody_waits() -> None:
    assert timed(0, lambda _, bucket: bucket.take(1 << 40)) == 0


def test_what_goes_beyond_the_burst_takes_as_long_as_the_limit_says() -> None:
    assert timed(RATE, lambda _, bucket: bucket.take(int(RATE * BURST_S))) == 0
    assert timed(RATE, lambda _, bucket: bucket.take(11 * RATE)) == pytest.approx(10, abs=0.01)


def test_many_together_get_no_more_than_the_limit() -> None:
    def work(_: SleepersClock, bucket: Bucket) -> Coroutine[object, object, None]:
        return together(*(bucket.take(RATE) for _ in range(41)))

    assert timed(RATE, work) == pytest.approx(40, abs=0.01)


def test_a_pause_is_not_saved_up_beyond_the_burst() -> None:
    async def work(clock: SleepersClock, bucket: Bucket) -> None:
        await clock.sleep_s(1_000)
        await bucket.take(RATE * 11)

    assert timed(RATE, work) == pytest.approx(1_010, abs=0.01)


def test_a_small_one_has_its_turn_after_one_part_of_each_that_is_under_way() -> None:
    ended: dict[str, float] = {}

    async def work(clock: SleepersClock, bucket: Bucket) -> None:
        async def large(name: str) -> None:
            await bucket.take(100 * RATE)
            ended[name] = clock.now_s

        async def small() -> None:
            await clock.sleep_s(10)
            await bucket.take(KIB)
            ended["small"] = clock.now_s

        await together(large("one"), large("two"), small())

    timed(RATE, work)
    assert ended["small"] < 11
    assert min(ended["one"], ended["two"]) > 190


def test_of_two_equal_ones_neither_runs_ahead() -> None:
    ended: list[float] = []

    async def work(clock: SleepersClock, bucket: Bucket) -> None:
        async def one() -> None:
            await bucket.take(50 * RATE)
            ended.append(clock.now_s)

        await together(one(), one())

    timed(RATE, work)
    # The burst went to the first.
    assert ended[1] - ended[0] < 2 * BURST_S


def test_another_limit_counts_at_once_for_who_waits_already() -> None:
    def to(rate: int) -> float:
        async def work(clock: SleepersClock, bucket: Bucket) -> None:
            async def change() -> None:
                await clock.sleep_s(10)
                bucket.set_rate(rate)

            await together(bucket.take(111 * RATE), change())

        return timed(RATE, work)

    assert to(0) < 11
    assert to(10 * RATE) == pytest.approx(20, abs=1)
    assert to(RATE // 2) == pytest.approx(210, abs=1)


def test_a_limit_set_anew_counts_nothing_of_before() -> None:
    async def work(_: SleepersClock, bucket: Bucket) -> None:
        await bucket.take(1 << 40)
        bucket.set_rate(RATE)
        await bucket.take(RATE)

    assert timed(0, work) == pytest.approx(1, abs=0.01)


def test_what_came_unasked_is_made_up_for_and_never_by_a_long_pause() -> None:
    async def work(_: SleepersClock, bucket: Bucket) -> None:
        await bucket.take(RATE)
        for _ in range(100):
            bucket.spend(RATE // 2)
        await bucket.take(KIB)

    assert 1 < timed(RATE, work) <= DEBT_S + BURST_S


def test_who_gives_up_waiting_stops_nobody() -> None:
    async def work(clock: SleepersClock, bucket: Bucket) -> None:
        async with asyncio.TaskGroup() as group:
            gone = group.create_task(bucket.take(100 * RATE))
            stays = group.create_task(bucket.take(10 * RATE))
            await clock.sleep_s(5)
            gone.cancel()
            await stays

    assert timed(RATE, work) < 16


def test_a_body_leaves_whole_in_parts_and_puts_its_deadline_off_by_what_it_waited() -> None:
    pieces = [b"a" * 100_000, b"", b"b", b"c" * MIB]
    put_off: list[float] = []
    parts: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def work(_: SleepersClock, bucket: Bucket) -> None:
        async for part in bucket.parts(body(), put_off.append):
            assert len(part) <= bucket.part_bytes
            parts.append(bytes(part))

    took_s = timed(RATE, work)
    assert b"".join(parts) == b"".join(pieces)
    assert took_s > 10
    assert sum(put_off) == pytest.approx(took_s)


def test_without_a_limit_a_body_leaves_as_it_is() -> None:
    pieces = [b"a" * MIB, b"b"]

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def work(_: SleepersClock, bucket: Bucket) -> None:
        parts = [part async for part in bucket.parts(body(), lambda _: None)]
        assert all(part is piece for part, piece in zip(parts, pieces, strict=True))

    timed(0, work)


def test_few_long_bodies_of_a_kind_share_a_limit_and_all_go_at_once_without_one() -> None:
    def at_once(rate: int) -> int:
        inside = most = 0

        async def work(clock: SleepersClock, pace: Pace) -> None:
            async def one() -> None:
                nonlocal inside, most
                async with pace.room("put", pace.up):
                    inside += 1
                    most = max(most, inside)
                    await clock.sleep_s(1)
                    inside -= 1

            await together(*(one() for _ in range(5)))

        clock = SleepersClock()
        asyncio.run(clock.run(work(clock, Pace(clock, up=rate))))
        return most

    assert at_once(RATE) == LONG_AT_ONCE
    assert at_once(0) == 5


# -- the deadline of a request ----------------------------------------------------------------------------------------


def test_a_deadline_that_is_put_off_does_not_end_what_it_bounds() -> None:
    async def main(put_off_s: float) -> None:
        deadline = Deadline()
        async with deadline.within(0):
            deadline.put_off(put_off_s)
            for _ in range(5):
                await asyncio.sleep(0)

    asyncio.run(main(1_000))
    with pytest.raises(TimeoutError):
        asyncio.run(main(0))


def test_a_deadline_that_is_over_or_has_not_begun_is_not_put_off() -> None:
    async def main() -> None:
        deadline = Deadline()
        deadline.put_off(1)
        async with deadline.within(1_000):
            pass
        deadline.put_off(1)

    asyncio.run(main())
