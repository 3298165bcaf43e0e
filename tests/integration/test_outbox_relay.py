"""The outbox and the event log: each namespace's newest position arrives, and no row goes before that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from satchel.core.errors import Unavailable
from satchel.core.ids import NamespaceId, NodeId
from satchel.server.adapters.log_memory import MemoryLog
from satchel.server.adapters.machine import MachineClock
from satchel.server.db.engine import Database
from satchel.server.db.opening import open_database
from satchel.server.event_log import ChangeEvent, Handle
from satchel.server.metadata.journal import head_txn
from satchel.server.notify.newest import Newest
from satchel.server.notify.relay import OutboxRow, Relay, relay_once, rows_txn
from tests.support.databases import Run
from tests.support.kafka import until
from tests.support.writers import Writer, create_folder, new_id

CLOCK = MachineClock()
BEGINNING = NamespaceId(b"")


class CutLog:
    """A MemoryLog that can be away: `before` it takes the events, or `after` it took them. between: runs in append."""

    def __init__(self) -> None:
        self.kept = MemoryLog(pause_s=0.05)
        self.away = ""
        self.between: Callable[[], Awaitable[None]] | None = None

    async def append(self, events: Sequence[ChangeEvent]) -> None:
        if self.away == "before":
            raise Unavailable("It is away.")
        await self.kept.append(events)
        if self.between is not None:
            await self.between()
        if self.away == "after":
            raise Unavailable("It went away.")

    async def consume(self, group: str, handle: Handle, *, stop: asyncio.Event) -> None:
        await self.kept.consume(group, handle, stop=stop)

    async def close(self) -> None:
        await self.kept.close()

    async def told(self) -> dict[NamespaceId, int]:
        """Return the newest position of each namespace that a follower hears."""
        newest: dict[NamespaceId, int] = {}
        stop, count = asyncio.Event(), 0
        expected = sum(len(partition.events) for partition in self.kept._partitions)

        async def handle(events: Sequence[ChangeEvent]) -> None:
            nonlocal count
            for event in events:
                newest[event.ns] = max(event.seq, newest.get(event.ns, 0))
            count += len(events)
            if count == expected:
                stop.set()

        if expected:
            await self.kept.consume(f"told-{new_id().hex()}", handle, stop=stop)
        return newest


async def waiting(db: Database) -> list[OutboxRow]:
    return await db.read(lambda conn: rows_txn(conn, after=BEGINNING, limit=10_000))


async def heads(db: Database, writers: Sequence[Writer]) -> dict[NamespaceId, int]:
    return {
        writer.principal.root_ns: (await db.read(lambda conn, ns=writer.principal.root_ns: head_txn(conn, ns))).seq
        for writer in writers
    }


async def people(db: Database, count: int) -> list[Writer]:
    return [await Writer.new(db, name=f"person-{number}") for number in range(count)]


async def commits(writer: Writer, count: int) -> None:
    for number in range(count):
        await writer.stored(create_folder(NodeId(new_id()), f"folder-{number}-{new_id().hex()}"))


def test_the_newest_position_of_each_namespace_is_sent_and_its_row_goes(run: Run) -> None:
    async def scenario(db: Database) -> None:
        log, writers = CutLog(), await people(db, 5)
        for writer in writers:
            await commits(writer, 3)
        assert await relay_once(db, log, CLOCK) == 5
        assert await waiting(db) == []
        assert await log.told() == await heads(db, writers)
        assert await relay_once(db, log, CLOCK) == 0

    run(scenario)


def test_a_round_is_bounded_and_the_next_one_goes_on(run: Run) -> None:
    async def scenario(db: Database) -> None:
        log, writers = CutLog(), await people(db, 5)
        for writer in writers:
            await commits(writer, 1)
        assert [await relay_once(db, log, CLOCK, limit=2) for _ in range(4)] == [2, 2, 1, 0]
        assert await log.told() == await heads(db, writers)

    run(scenario)


@pytest.mark.parametrize("away", ["before", "after"])
def test_nothing_is_deleted_when_the_log_did_not_say_that_it_took_it(run: Run, away: str) -> None:
    async def scenario(db: Database) -> None:
        log, writers = CutLog(), await people(db, 3)
        for writer in writers:
            await commits(writer, 2)
        before = await waiting(db)
        log.away = away
        for _ in range(2):
            with pytest.raises(Unavailable):
                await relay_once(db, log, CLOCK)
        assert await waiting(db) == before
        log.away = ""
        assert await relay_once(db, log, CLOCK) == 3
        assert await waiting(db) == []
        assert await log.told() == await heads(db, writers)

    run(scenario)


def test_a_row_that_a_commit_changed_meanwhile_stays(run: Run) -> None:
    async def scenario(db: Database) -> None:
        log, (ada, ben) = CutLog(), await people(db, 2)
        await commits(ada, 1)
        await commits(ben, 1)
        log.between = lambda: commits(ada, 1)
        assert await relay_once(db, log, CLOCK) == 2
        log.between = None
        assert [(row.ns, row.seq) for row in await waiting(db)] == [(ada.ns, 2)]
        assert await relay_once(db, log, CLOCK) == 1
        assert await log.told() == {ada.ns: 2, ben.ns: 1}

    run(scenario)


def test_a_row_with_the_same_seq_and_another_tag_stays(run: Run) -> None:
    # So it is in a store that was put back to an earlier state and went on from there.
    async def scenario(db: Database) -> None:
        log, ada = CutLog(), await Writer.new(db)
        await commits(ada, 1)

        async def put_back() -> None:
            await db.write(ada.ns, lambda conn: conn.execute("UPDATE outbox SET tag = $2 WHERE ns = $1", ada.ns, b"x"))

        log.between = put_back
        assert await relay_once(db, log, CLOCK) == 1
        assert [(row.seq, row.tag) for row in await waiting(db)] == [(1, b"x")]

    run(scenario)


def test_several_relays_beside_commits_lose_nothing(run: Run, database_url: str) -> None:
    async def scenario(db: Database) -> None:
        log, writers = CutLog(), await people(db, 6)
        # As another process would: with connections of its own.
        other = await open_database(database_url, CLOCK)
        quick = {"limit": 4, "interval_s": 0.02, "gather_s": 0, "backoff_s_min": 0.01}
        relays = [Relay(store, log, CLOCK, **quick) for store in (db, other, other)]  # type: ignore[arg-type]
        stop = asyncio.Event()

        async def busy(writer: Writer) -> None:
            for _ in range(25):
                await commits(writer, 1)
                for relay in relays:
                    relay.wake()

        async with asyncio.TaskGroup() as tasks:
            for relay in relays:
                tasks.create_task(relay.run(stop))
            async with asyncio.TaskGroup() as committing:
                for writer in writers:
                    committing.create_task(busy(writer))
            await _until_empty(db, relays)
            stop.set()
        await other.close()
        assert [relay.counts.fault for relay in relays] == ["", "", ""]
        assert await log.told() == await heads(db, writers)

    run(scenario)


def test_a_relay_waits_for_a_log_that_is_away_and_counts(run: Run) -> None:
    async def scenario(db: Database) -> None:
        log, writers = CutLog(), await people(db, 4)
        log.away = "before"
        relay = Relay(db, log, CLOCK, interval_s=0.05, gather_s=0, backoff_s_min=0.01, backoff_s_max=0.05)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(relay.run(stop))
            for writer in writers:
                await commits(writer, 2)
                relay.wake()
            await until(lambda: relay.counts.waiting == 4)
            assert "away" in relay.counts.fault
            assert len(await waiting(db)) == 4
            log.away = ""
            await _until_empty(db, [relay])
            await until(lambda: not relay.counts.fault)
            stop.set()
        assert (relay.counts.relayed, relay.counts.waiting) == (4, 0)
        assert await log.told() == await heads(db, writers)

    run(scenario)


def test_a_relay_sends_what_was_left_before_its_start_and_stops_at_once(run: Run) -> None:
    async def scenario(db: Database) -> None:
        log, ada = CutLog(), await Writer.new(db)
        await commits(ada, 1)
        # Nothing but `stop` ends the wait of an hour.
        relay, stop = Relay(db, log, CLOCK, interval_s=3_600), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(relay.run(stop))
            await _until_empty(db, [])
            stop.set()
        assert await log.told() == {ada.ns: 1}

    run(scenario)


async def _until_empty(db: Database, relays: Sequence[Relay]) -> None:
    while await waiting(db):
        for relay in relays:
            relay.wake()


def test_a_position_is_news_until_it_was_dealt_with() -> None:
    newest, ns = Newest(), NamespaceId(b"n" * 16)
    assert newest.is_news(ns, 0)
    assert newest.is_news(ns, 5)
    newest.dealt_with(ns, 5)
    assert not newest.is_news(ns, 5)
    assert not newest.is_news(ns, 4)
    newest.dealt_with(ns, 3)
    assert not newest.is_news(ns, 5)
    assert newest.is_news(ns, 6)


def test_the_longest_unused_namespace_is_forgotten_and_is_news_again() -> None:
    newest = Newest(namespaces_max=2)
    one, two, three = (NamespaceId(bytes([number]) * 16) for number in range(3))
    newest.dealt_with(one, 7)
    newest.dealt_with(two, 7)
    newest.dealt_with(one, 8)
    newest.dealt_with(three, 7)
    assert len(newest) == 2
    assert newest.is_news(two, 1)
    assert not newest.is_news(one, 8)
