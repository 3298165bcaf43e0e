"""What every BlockStore does, over every adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from satchel.server.adapters.blocks_local import LocalBlocks
from satchel.server.adapters.blocks_object import ObjectBlocks
from satchel.server.adapters.machine import MachineClock
from satchel.server.ports import BlockStore, Span
from satchel.simulation.stores import MemoryBlocks
from tests.support.s3 import S3Server

Opener = Callable[[], BlockStore]


@pytest.fixture(params=["memory", "local", "local-small-logs", "s3"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the store under test; opening again sees what was stored before."""
    kept = MemoryBlocks()
    if request.param == "memory":
        return lambda: kept
    if request.param == "s3":
        request.getfixturevalue("s3_keys")
        server: S3Server = request.getfixturevalue("s3_server")
        url = server.url(server.fresh_prefix())
        return lambda: ObjectBlocks(url, MachineClock())
    log_bytes_max = 1 if request.param == "local-small-logs" else 64 * 1024 * 1024
    return lambda: LocalBlocks(str(tmp_path / "blocks"), log_bytes_max=log_bytes_max)


def run(opener: Opener, work: Callable[[BlockStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = opener()
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(main())


def name(number: int) -> str:
    return f"packs/{number:02x}/{number:032x}"


def test_what_was_put_is_got_back(opener: Opener) -> None:
    async def work(store: BlockStore) -> None:
        place = await store.put(name(1), [b"head", memoryview(b"bytes"), b""])
        assert await store.get([Span(place.name, place.offset, 9)]) == [b"headbytes"]
        assert await store.get([Span(place.name, place.offset + 4, 5)]) == [b"bytes"]

    run(opener, work)


def test_many_puts_at_once_each_get_their_own_place(opener: Opener) -> None:
    async def work(store: BlockStore) -> None:
        bodies = [bytes([number]) * (number + 1) for number in range(100)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(store.put(name(number), [body])) for number, body in enumerate(bodies)]
        spans = [Span(*task.result(), len(body)) for task, body in zip(tasks, bodies, strict=True)]
        assert await store.get(spans) == bodies

    run(opener, work)


def test_a_put_of_many_pieces_keeps_their_order(opener: Opener) -> None:
    async def work(store: BlockStore) -> None:
        pieces = [number.to_bytes(3, "big") for number in range(5_000)]
        place = await store.put(name(1), pieces)
        assert await store.get([Span(place.name, place.offset, 15_000)]) == [b"".join(pieces)]

    run(opener, work)


def test_a_missing_object_and_a_short_one_are_none(opener: Opener) -> None:
    async def work(store: BlockStore) -> None:
        place = await store.put(name(1), [b"four"])
        spans = [Span(name(9), 0, 1), Span(place.name, place.offset, 4), Span(place.name, place.offset + 1, 4)]
        assert await store.get(spans) == [None, b"four", None]

    run(opener, work)


def test_what_was_put_is_there_after_opening_again(opener: Opener) -> None:
    places = []

    async def first(store: BlockStore) -> None:
        places.append(await store.put(name(1), [b"kept"]))

    async def second(store: BlockStore) -> None:
        places.append(await store.put(name(2), [b"more"]))
        assert await store.get([Span(*place, 4) for place in places]) == [b"kept", b"more"]

    run(opener, first)
    run(opener, second)


def test_delete_removes_and_may_be_repeated(opener: Opener) -> None:
    async def work(store: BlockStore) -> None:
        place = await store.put(name(1), [b"gone"])
        await store.delete(place.name)
        await store.delete(place.name)
        assert place.name not in await store.names("packs/")

    run(opener, work)


def test_names_are_those_with_the_prefix_in_order(opener: Opener) -> None:
    async def first(store: BlockStore) -> None:
        await store.put(name(0x1B), [b"b"])

    async def second(store: BlockStore) -> None:
        await store.put(name(0x1A), [b"a"])
        assert await store.names("packs/") == [name(0x1A), name(0x1B)]
        assert await store.names("packs/1a/") == [name(0x1A)]
        assert await store.names("other/") == []

    run(opener, first)
    run(opener, second)


def test_a_store_in_order_passes_its_probe_and_keeps_nothing_of_it(opener: Opener) -> None:
    async def work(store: BlockStore) -> None:
        await store.probe()
        assert await store.names("") == []

    run(opener, work)
