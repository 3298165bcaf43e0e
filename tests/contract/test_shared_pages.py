"""Streams that hear of a change at once share a look, and each gets the page that it would have got alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable

import pytest

from satchel.core.errors import NotFound, Unavailable
from satchel.core.ids import BlockHash, LinkId, NamespaceId, NodeId, Tag
from satchel.core.messages import (
    Changes,
    ChangesRequest,
    Position,
    Pushed,
    ScopeRequest,
    StreamFrame,
    WireBlock,
    decode_frame,
)
from satchel.server.db.engine import Database
from satchel.server.db.schema import migrate
from satchel.server.db.sqlite import InlineSqliteDatabase
from satchel.server.feed.scopes import store_scope
from satchel.server.feed.service import changes
from satchel.server.feed.shared import GROUP_MAX, SharedPages
from tests.support.clocks import SteppingClock
from tests.support.databases import Run
from tests.support.wire import raw_block
from tests.support.writers import Writer, new_id

OTHERS = LinkId(b"another device's")


class Contents:
    """Contents of one kind; counts how often it is asked."""

    def __init__(self, *known: bytes) -> None:
        self._known = {raw_block(data).hash: (raw_block(data), data) for data in known}
        self.asked = 0

    async def read_inline(
        self, ns: NamespaceId, hashes: Iterable[BlockHash]
    ) -> dict[BlockHash, tuple[WireBlock, bytes]]:
        self.asked += 1
        return {name: self._known[name] for name in hashes if name in self._known}


class CountedDatabase:
    """A database that counts its reads, and fails them when told to."""

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self.dialect = inner.dialect
        self.reads = 0
        self.is_failing = False
        self.goes_on: asyncio.Event | None = None
        self.began = asyncio.Event()

    async def read(self, work):  # type: ignore[no-untyped-def]
        self.reads += 1
        self.began.set()
        if self.goes_on is not None:
            await self.goes_on.wait()
        if self.is_failing:
            raise Unavailable("The store is away.", where="database", reason="test")
        return await self._inner.read(work)

    async def glance(self, work):  # type: ignore[no-untyped-def]
        return await self.read(work)

    async def write(self, key, work):  # type: ignore[no-untyped-def]
        return await self._inner.write(key, work)

    async def close(self) -> None:
        await self._inner.close()


async def all_of(*asked: Awaitable[tuple[Changes, list[bytes]]]) -> list[tuple[Changes, list[bytes]]]:
    return await asyncio.gather(*asked)


def test_pages_that_are_read_together_are_those_that_are_read_alone(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        ben = await ada.other_device()
        ns, contents = ada.principal.root_ns, Contents(b"one", b"two")
        top = await ada.folder("top")
        await ada.file("first", b"one")
        await ben.file("second", b"two", top)
        await store_scope(db, ben.principal, ScopeRequest(ns, OTHERS, (NodeId(top),)))
        whole, _ = await changes(db, contents, ada.principal, ChangesRequest(Position(ns, 0, Tag(b"")), LinkId(b"")))
        middle = Position(ns, whole.entries[0].seq, Tag(b"wrong tag"))
        asks = [
            (writer.principal, ChangesRequest(position, link, limit, with_content))
            for writer in (ada, ben)
            for position in (Position(ns, 0, Tag(b"")), Position(ns, whole.last_seq, whole.last_tag), middle)
            for link in (ada.link, ben.link, OTHERS, LinkId(b""))
            for limit in (1, 100)
            for with_content in (True, False)
        ]
        alone = [await changes(db, contents, *ask) for ask in asks]
        counted = CountedDatabase(db)
        shared = SharedPages(counted, contents)
        assert await all_of(*(shared.changes(*ask) for ask in asks)) == alone
        assert counted.reads == 1

    run(scenario)


def small_store() -> tuple[CountedDatabase, Writer]:
    async def main() -> tuple[CountedDatabase, Writer]:
        db = InlineSqliteDatabase()
        await migrate(db, SteppingClock())
        ada = await Writer.new(db)
        await ada.file("first", b"one")
        return CountedDatabase(db), ada

    return asyncio.run(main())


def followers_of(ada: Writer, shared: SharedPages, count: int) -> list[Awaitable[tuple[Changes, list[bytes]]]]:
    place = Position(ada.principal.root_ns, 0, Tag(b""))
    return [shared.changes(ada.principal, ChangesRequest(place, LinkId(new_id()))) for _ in range(count)]


def test_a_thousand_followers_cost_a_few_looks_and_one_frame() -> None:
    db, ada = small_store()
    contents = Contents(b"one")
    shared = SharedPages(db, contents)

    async def main() -> None:
        pages = await all_of(*followers_of(ada, shared, 1_000))
        assert db.reads == contents.asked == -(-1_000 // GROUP_MAX)
        frames = {id(shared.frame(page, bodies, prev_seq=0)) for page, bodies in pages}
        assert len(frames) <= db.reads
        told, bodies = decode_frame(shared.frame(*pages[0], prev_seq=0), StreamFrame)
        assert isinstance(told, Pushed)
        assert (told.changes, bodies) == (pages[0][0], [b"one"])

    asyncio.run(main())


def test_a_frame_says_where_its_device_stands() -> None:
    db, ada = small_store()
    shared = SharedPages(db, Contents())

    async def main() -> None:
        [(page, bodies)] = await all_of(*followers_of(ada, shared, 1))
        for seq in (0, 1, 0):
            told, _ = decode_frame(shared.frame(page, bodies, prev_seq=seq), StreamFrame)
            assert isinstance(told, Pushed)
            assert told.changes.prev_seq == seq

    asyncio.run(main())


def test_who_goes_away_while_it_reads_for_all_takes_nothing_from_the_others() -> None:
    db, ada = small_store()
    shared = SharedPages(db, Contents(b"one"))

    async def main() -> None:
        db.goes_on = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            leader, *others = [group.create_task(each) for each in followers_of(ada, shared, 5)]  # type: ignore[arg-type]
            await db.began.wait()
            leader.cancel()
            db.goes_on.set()
        assert {len(task.result()[0].entries) for task in others} == {1}

    asyncio.run(main())


def test_a_fault_is_everyones_and_the_next_look_is_a_new_one() -> None:
    db, ada = small_store()
    shared = SharedPages(db, Contents(b"one"))

    async def main() -> None:
        db.is_failing = True
        told = await asyncio.gather(*followers_of(ada, shared, 5), return_exceptions=True)
        assert [type(each) for each in told] == [Unavailable] * 5
        db.is_failing = False
        assert len(await all_of(*followers_of(ada, shared, 5))) == 5

    asyncio.run(main())


def test_someone_without_a_right_is_refused_alone() -> None:
    db, ada = small_store()
    shared = SharedPages(db, Contents(b"one"))

    async def main() -> None:
        stranger = await Writer.new(db, name="ben")
        place = Position(ada.principal.root_ns, 0, Tag(b""))
        with pytest.raises(NotFound):
            await shared.changes(stranger.principal, ChangesRequest(place, LinkId(b"")))

    asyncio.run(main())
