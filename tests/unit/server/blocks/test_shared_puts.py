"""Short puts that share an object: none is lost with another's caller, and each is told where its own bytes are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from satchel.core.errors import Unavailable
from satchel.server.blocks.shared_puts import GROUP_MAX, PUTS_AT_ONCE, SHARED_BYTES_MAX, SharedPuts
from satchel.server.ports import Place, Span
from satchel.simulation.stores import MemoryBlocks


class HeldBlocks(MemoryBlocks):
    """A store whose puts wait until they may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = asyncio.Event()
        self.begun = 0
        self.is_failing = False

    async def put(self, name: str, pieces: Sequence[bytes | memoryview]) -> Place:
        self.begun += 1
        await self.goes_on.wait()
        if self.is_failing:
            raise Unavailable("The store is away.", where="blocks", reason="test")
        return await super().put(name, pieces)


def run(work: Callable[[HeldBlocks, SharedPuts], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            held = HeldBlocks()
            await work(held, SharedPuts(held))

    asyncio.run(main())


def put(shared: SharedPuts, at: int) -> asyncio.Task[Place]:
    return asyncio.create_task(shared.put(f"packs/{at:02}", [b"head", b"%d" % at]))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def check(shared: SharedPuts, places: Sequence[Place], numbers: Sequence[int]) -> None:
    wanted = [b"head%d" % at for at in numbers]
    spans = [Span(place.name, place.offset, len(data)) for place, data in zip(places, wanted, strict=True)]
    assert await shared.get(spans) == wanted


def test_puts_that_come_while_others_are_on_their_way_share_an_object() -> None:
    async def work(held: HeldBlocks, shared: SharedPuts) -> None:
        tasks = []
        for at in range(PUTS_AT_ONCE + 20):
            tasks.append(put(shared, at))
            await turns()
        assert held.begun == PUTS_AT_ONCE
        long = asyncio.create_task(shared.put("packs/long", [bytes(SHARED_BYTES_MAX + 1)]))
        await turns()
        assert held.begun == PUTS_AT_ONCE + 1
        held.goes_on.set()
        places = [await task for task in tasks]
        assert await long == Place("packs/long", 0)
        assert len(held.objects) == PUTS_AT_ONCE + 2
        assert {place.name for place in places[PUTS_AT_ONCE:]} == {f"packs/{PUTS_AT_ONCE:02}"}
        await check(shared, places, range(len(places)))

    run(work)


def test_a_group_is_bounded() -> None:
    async def work(held: HeldBlocks, shared: SharedPuts) -> None:
        tasks = []
        for at in range(PUTS_AT_ONCE + GROUP_MAX + 1):
            tasks.append(put(shared, at))
            await turns()
        held.goes_on.set()
        await check(shared, [await task for task in tasks], range(len(tasks)))
        assert len(held.objects) == PUTS_AT_ONCE + 2

    run(work)


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_caller_that_goes_away_takes_nothing_from_the_others(is_begun: bool) -> None:
    async def work(held: HeldBlocks, shared: SharedPuts) -> None:
        first = [put(shared, at) for at in range(PUTS_AT_ONCE)]
        await turns()
        leader = put(shared, 10)
        await turns()
        others = [put(shared, at) for at in (11, 12)]
        await turns()
        if is_begun:
            # Its put is on its way.
            first[0].cancel()
            await turns()
            assert held.begun == PUTS_AT_ONCE + 1
        leader.cancel()
        await turns()
        held.goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await leader
        await check(shared, [await task for task in others], (11, 12))
        # Every slot is free again.
        await check(shared, [await put(shared, at) for at in range(20, 30)], range(20, 30))

    run(work)


def test_a_fault_of_the_store_is_told_to_all_and_the_next_go_on() -> None:
    async def work(held: HeldBlocks, shared: SharedPuts) -> None:
        tasks = []
        for at in range(PUTS_AT_ONCE + 3):
            tasks.append(put(shared, at))
            await turns()
        held.is_failing = True
        held.goes_on.set()
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, Unavailable) for each in told)
        held.is_failing = False
        await check(shared, [await put(shared, at) for at in range(3)], range(3))

    run(work)
