"""The event log on a real broker that goes away and comes back with nothing, and a topic in which others write."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from satchel.core.errors import Unavailable
from satchel.core.ids import NamespaceId, NodeId
from satchel.server.adapters.log_kafka import KafkaLog
from satchel.server.adapters.machine import MachineClock
from satchel.server.db.opening import open_database
from satchel.server.event_log import ChangeEvent
from satchel.server.notify.relay import Relay, rows_txn
from tests.support.kafka import KafkaBroker, until
from tests.support.writers import Writer, create_folder, new_id

SCENARIO_TIMEOUT_S = 120.0
_numbers = itertools.count()


@pytest.fixture
def broker(kafka_broker: KafkaBroker) -> Iterator[KafkaBroker]:
    """A broker that a test may stop."""
    kafka_broker.start()
    yield kafka_broker
    kafka_broker.start()


@pytest.fixture
def topic() -> str:
    return f"outage-{os.getpid()}-{next(_numbers)}"


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(SCENARIO_TIMEOUT_S):
            await scenario()
        assert asyncio.all_tasks() == {asyncio.current_task()}, "something of the log runs on"

    asyncio.run(main())


class Follower:
    """Keeps the newest seq of each namespace, and says when something came."""

    def __init__(self) -> None:
        self.newest: dict[NamespaceId, int] = {}
        self._news = asyncio.Event()

    async def handle(self, events: Sequence[ChangeEvent]) -> None:
        for event in events:
            self.newest[event.ns] = max(event.seq, self.newest.get(event.ns, 0))
        self._news.set()

    async def until(self, newest: dict[NamespaceId, int]) -> None:
        while self.newest != newest:
            self._news.clear()
            await self._news.wait()


def positions(seq: int, namespaces: int = 6) -> dict[NamespaceId, int]:
    return {NamespaceId(number.to_bytes(16, "big")): seq for number in range(namespaces)}


def events(seq: int) -> list[ChangeEvent]:
    return [ChangeEvent(ns, at, 1) for ns, at in positions(seq).items()]


async def append_at_last(log: KafkaLog, seq: int) -> None:
    """Append as a relay does: again until it is taken."""
    while True:
        try:
            await log.append(events(seq))
            return
        except Unavailable:
            await asyncio.sleep(0.05)


def test_a_topic_is_made_with_the_partitions_that_the_url_says(broker: KafkaBroker, topic: str) -> None:
    async def scenario() -> None:
        log = broker.log(topic, partitions=5)
        await log.append(events(1))
        await log.close()
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.server)
        await admin.start()
        try:
            (described,) = await admin.describe_topics([topic])
            assert len(described["partitions"]) == 5
        finally:
            await admin.close()

    run(scenario)


def test_a_record_that_is_no_event_is_passed_over(broker: KafkaBroker, topic: str) -> None:
    async def scenario() -> None:
        log, follower, stop = broker.log(topic, partitions=1), Follower(), asyncio.Event()
        await log.append(events(1))
        foreign = AIOKafkaProducer(bootstrap_servers=broker.server)
        await foreign.start()
        try:
            short_ns = msgspec.msgpack.encode([b"short", 1, 1])
            for value in (b"", b"\xc1", b"{}", msgspec.msgpack.encode({"ns": b"x"}), short_ns, None):
                await foreign.send_and_wait(topic, value=value, key=b"foreign")
        finally:
            await foreign.stop()
        await log.append(events(2))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(log.consume("g", follower.handle, stop=stop))
            await follower.until(positions(2))
            stop.set()
        await log.close()

    run(scenario)


def test_records_that_are_no_events_do_not_come_again(broker: KafkaBroker, topic: str) -> None:
    async def scenario() -> None:
        log, first, second = broker.log(topic, partitions=1), Follower(), Follower()
        await log.append(events(1))
        for follower, seq in ((first, 2), (second, 3)):
            foreign = AIOKafkaProducer(bootstrap_servers=broker.server)
            await foreign.start()
            await foreign.send_and_wait(topic, value=b"\xc1")
            await foreign.stop()
            await log.append(events(seq))
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(log.consume("g", follower.handle, stop=stop))
                await follower.until(positions(seq))
                stop.set()
        await log.close()

    run(scenario)


def test_a_broker_that_is_away_makes_an_append_unavailable(broker: KafkaBroker, topic: str) -> None:
    async def scenario() -> None:
        never_connected, connected = broker.log(topic), broker.log(topic)
        await connected.append(events(1))
        broker.stop()
        for log in (never_connected, connected):
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await log.append(events(2))
        broker.start()
        await append_at_last(connected, 3)
        await append_at_last(never_connected, 3)
        await connected.close()
        await never_connected.close()

    run(scenario)


def test_a_consumer_outlives_its_broker_and_goes_on(broker: KafkaBroker, topic: str) -> None:
    async def scenario() -> None:
        log, follower, stop = broker.log(topic), Follower(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(log.consume("g", follower.handle, stop=stop))
            await log.append(events(1))
            await follower.until(positions(1))
            broker.stop()
            with pytest.raises(Unavailable):
                await log.append(events(2))
            broker.start()
            await append_at_last(log, 3)
            await follower.until(positions(3))
            stop.set()
        await log.close()

    run(scenario)


def test_a_consumer_that_starts_before_its_broker_waits_for_it(broker: KafkaBroker, topic: str) -> None:
    async def scenario() -> None:
        broker.stop()
        log, follower, stop = broker.log(topic), Follower(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(log.consume("g", follower.handle, stop=stop))
            with pytest.raises(Unavailable):
                await log.append(events(1))
            broker.start()
            await append_at_last(log, 2)
            await follower.until(positions(2))
            stop.set()
        await log.close()

    run(scenario)


def test_a_consumer_can_be_stopped_while_its_broker_is_away(broker: KafkaBroker, topic: str) -> None:
    async def scenario() -> None:
        log, follower, stop = broker.log(topic), Follower(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(log.consume("g", follower.handle, stop=stop))
            await log.append(events(1))
            await follower.until(positions(1))
            broker.stop()
            stop.set()
        await log.close()

    run(scenario)


def test_the_outbox_drains_when_the_broker_is_back(broker: KafkaBroker, topic: str, tmp_path: object) -> None:
    async def scenario() -> None:
        clock = MachineClock()
        db = await open_database(f"sqlite:///{tmp_path}/satchel.db", clock)
        log, follower, stop = broker.log(topic), Follower(), asyncio.Event()
        relay = Relay(db, log, clock, interval_s=0.1, backoff_s_min=0.05, backoff_s_max=0.2)
        writers = [await Writer.new(db, name=f"person-{number}") for number in range(3)]

        async def commit(seq: int) -> dict[NamespaceId, int]:
            for writer in writers:
                await writer.stored(create_folder(NodeId(new_id()), f"folder-{seq}"))
                relay.wake()
            return {writer.principal.root_ns: seq for writer in writers}

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(relay.run(stop))
            tasks.create_task(log.consume("g", follower.handle, stop=stop))
            await follower.until(await commit(1))
            broker.stop()
            await commit(2)
            await until(lambda: bool(relay.counts.fault) and relay.counts.waiting == 3)
            newest = await commit(3)
            broker.start()
            await follower.until(newest)
            while await db.read(lambda conn: rows_txn(conn, after=NamespaceId(b""), limit=10)):
                relay.wake()
            await until(lambda: not relay.counts.fault)
            stop.set()
        await log.close()
        await db.close()

    run(scenario)
