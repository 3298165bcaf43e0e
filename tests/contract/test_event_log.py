"""What every EventLog does, over every adapter."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

import pytest

from satchel.core.errors import SettingInvalid, Unavailable
from satchel.core.ids import NamespaceId
from satchel.server.adapters.log_kafka import KafkaLog, KafkaPlace
from satchel.server.adapters.log_memory import MemoryLog
from satchel.server.adapters.machine import MachineClock
from satchel.server.event_log import ChangeEvent, EventLog, Handle
from tests.support.kafka import KafkaBroker

Opener = Callable[[], EventLog]
Heard = list[ChangeEvent]

SCENARIO_TIMEOUT_S = 90.0
_numbers = itertools.count()


@pytest.fixture(params=["memory", "kafka"])
def opener(request: pytest.FixtureRequest) -> Opener:
    """Opens the log under test, empty; opening again is another client of the same log, where it has clients."""
    if request.param == "memory":
        kept = MemoryLog(partitions=4, handle_s=2, pause_s=0.1)
        return lambda: kept
    broker: KafkaBroker = request.getfixturevalue("kafka_broker")
    topic = f"contract-{os.getpid()}-{next(_numbers)}"
    return lambda: broker.log(topic)


def run(opener: Opener, work: Callable[[EventLog], Awaitable[None]]) -> None:
    async def main() -> None:
        log = opener()
        try:
            async with asyncio.timeout(SCENARIO_TIMEOUT_S):
                await work(log)
        finally:
            await log.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}, "something of the log runs on"

    asyncio.run(main())


class Follower:
    """Keeps what it hears and says when something came."""

    def __init__(self) -> None:
        self.heard: Heard = []
        self._news = asyncio.Event()

    async def handle(self, events: Sequence[ChangeEvent]) -> None:
        assert events
        self.heard += events
        self._news.set()

    async def until(self, claim: Callable[[Heard], bool]) -> None:
        while not claim(self.heard):
            self._news.clear()
            await self._news.wait()

    async def until_all(self, events: Iterable[ChangeEvent]) -> None:
        wanted = set(events)
        await self.until(lambda heard: wanted <= set(heard))


@contextlib.asynccontextmanager
async def following(log: EventLog, handle: Handle, group: str = "g") -> AsyncIterator[asyncio.Event]:
    """Consume while the block runs; yields the event that stops it earlier."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(log.consume(group, handle, stop=stop))
        try:
            yield stop
        finally:
            stop.set()


def ns(number: int) -> NamespaceId:
    return NamespaceId(number.to_bytes(16, "big"))


def events(namespaces: int, seqs: Iterable[int]) -> list[ChangeEvent]:
    """Return events of many namespaces, one of each after another."""
    return [ChangeEvent(ns(number), seq, 1_000 + seq) for seq in seqs for number in range(namespaces)]


def in_order(heard: Heard) -> bool:
    """Tell whether each namespace's events came in order, looking at the first time of each."""
    seqs: dict[NamespaceId, list[int]] = {}
    for event in dict.fromkeys(heard):
        seqs.setdefault(event.ns, []).append(event.seq)
    return all(one == sorted(one) for one in seqs.values())


def test_events_of_a_namespace_come_in_the_order_of_the_appends(opener: Opener) -> None:
    async def work(log: EventLog) -> None:
        sent = events(20, range(60))
        follower = Follower()
        async with following(log, follower.handle):
            for at in range(0, len(sent), 100):
                await log.append(sent[at : at + 100])
            await follower.until_all(sent)
        assert in_order(follower.heard)
        assert set(follower.heard) == set(sent)

    run(opener, work)


def test_a_new_group_hears_what_was_appended_before_it(opener: Opener) -> None:
    async def work(log: EventLog) -> None:
        sent = events(3, range(5))
        await log.append(sent)
        follower = Follower()
        async with following(log, follower.handle):
            await follower.until_all(sent)

    run(opener, work)


def test_each_group_hears_all(opener: Opener) -> None:
    async def work(log: EventLog) -> None:
        sent = events(8, range(20))
        first, second = Follower(), Follower()
        async with following(log, first.handle, "first"), following(log, second.handle, "second"):
            await log.append(sent)
            await first.until_all(sent)
            await second.until_all(sent)

    run(opener, work)


@pytest.mark.parametrize("failure", [Unavailable("Not now."), RuntimeError("a mistake"), None])
def test_what_was_not_handled_comes_again(opener: Opener, failure: Exception | None) -> None:
    async def work(log: EventLog) -> None:
        sent = events(1, range(10))
        refused: list[Sequence[ChangeEvent]] = []
        follower = Follower()

        async def handle(part: Sequence[ChangeEvent]) -> None:
            if len(refused) < 2:
                refused.append(part)
                if failure is not None:
                    raise failure
                # Never done: only the deadline of a call ends it.
                await asyncio.Event().wait()
            await follower.handle(part)

        await log.append(sent)
        async with following(log, handle):
            await follower.until_all(sent)
        assert refused[0][0] == refused[1][0] == sent[0]
        assert in_order(follower.heard)

    run(opener, work)


def test_the_others_go_on_while_one_partition_is_refused(opener: Opener) -> None:
    async def work(log: EventLog) -> None:
        sent = events(40, range(2))
        follower = Follower()

        async def handle(part: Sequence[ChangeEvent]) -> None:
            if any(event.ns == ns(0) for event in part):
                raise Unavailable("Not this one.")
            await follower.handle(part)

        await log.append(sent)
        async with following(log, handle):
            # Namespaces share partitions; some are not in the one that is refused.
            await follower.until(lambda heard: len(set(heard)) >= 20)
        assert ns(0) not in {event.ns for event in follower.heard}

    run(opener, work)


def test_what_a_member_could_not_handle_is_heard_by_the_next(opener: Opener) -> None:
    async def work(log: EventLog) -> None:
        sent = events(6, range(5))
        asked = asyncio.Event()

        async def refuse(part: Sequence[ChangeEvent]) -> None:
            asked.set()
            raise Unavailable("Not now.")

        await log.append(sent)
        async with following(log, refuse):
            await asked.wait()
        follower = Follower()
        async with following(log, follower.handle):
            await follower.until_all(sent)

    run(opener, work)


def test_a_member_that_stopped_goes_on_after_what_it_handled(opener: Opener) -> None:
    async def work(log: EventLog) -> None:
        earlier, later = events(6, range(20)), events(6, range(20, 30))
        await log.append(earlier)
        first, second = Follower(), Follower()
        async with following(log, first.handle):
            await first.until_all(earlier)
        await log.append(later)
        async with following(log, second.handle):
            await second.until_all(later)
        assert set(second.heard) == set(later)

    run(opener, work)


def test_members_share_and_nothing_is_lost_when_one_comes_and_one_goes(opener: Opener) -> None:
    async def work(log: EventLog) -> None:
        parts = [events(24, range(at, at + 5)) for at in range(0, 60, 5)]
        other = opener()
        first, second, both = Follower(), Follower(), Follower()

        def told_to(one: Follower) -> Handle:
            async def handle(part: Sequence[ChangeEvent]) -> None:
                await one.handle(part)
                await both.handle(part)

            return handle

        async with following(log, told_to(first)) as stop_first:
            await log.append(parts[0])
            await both.until_all(parts[0])
            async with following(other, told_to(second)):
                for number in itertools.count():
                    # More and more until the newcomer has its share, then the first one leaves.
                    await log.append(parts[number % len(parts)])
                    if second.heard:
                        break
                    await asyncio.sleep(0.05)
                stop_first.set()
                for part in parts:
                    await log.append(part)
                await both.until_all(event for part in parts for event in part)
        assert first.heard and second.heard
        await other.close()

    run(opener, work)


def test_no_events_are_no_work(opener: Opener) -> None:
    async def work(log: EventLog) -> None:
        await log.append([])

    run(opener, work)


def test_a_closed_log_takes_nothing(opener: Opener) -> None:
    async def work(log: EventLog) -> None:
        await log.append(events(1, [1]))
        await log.close()
        with pytest.raises(Unavailable):
            await log.append(events(1, [2]))

    run(opener, work)


def test_a_full_memory_keeps_what_a_group_has_not_handled() -> None:
    async def main() -> None:
        log = MemoryLog(partitions=2, events_max=100, pause_s=0.01)
        # Nobody follows: the oldest go.
        await log.append(events(10, range(10)))
        await log.append(events(10, range(10, 15)))
        release = asyncio.Event()
        follower = Follower()

        async def handle(part: Sequence[ChangeEvent]) -> None:
            await release.wait()
            await follower.handle(part)

        async with following(log, handle):
            await asyncio.sleep(0)
            with pytest.raises(Unavailable):
                await log.append(events(10, range(15, 20)))
            release.set()
            await follower.until(lambda heard: len(heard) == 100)
            later = events(10, range(20, 25))
            await log.append(later)
            await follower.until_all(later)
        assert set(events(10, range(10, 15))) <= set(follower.heard)

    asyncio.run(main())


def test_a_url_says_where_the_log_is() -> None:
    place = KafkaPlace.from_url(
        "kafka://one:9092,[::1]:19092,two?topic=t.1&partitions=3&replication=2&security=SASL_SSL&mechanism=SCRAM-SHA-256"
    )
    assert place == KafkaPlace(("one:9092", "[::1]:19092", "two:9092"), "t.1", 3, 2, "SASL_SSL", "SCRAM-SHA-256")
    assert not KafkaPlace.from_url("kafka://host:1?idempotent=false").is_idempotent
    assert KafkaPlace.from_url("kafka://host:1") == KafkaPlace(("host:1",), "file-changes", 12, 1)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "redis://host:1",
            "kafka://",
            "kafka://host:port",
            "kafka://host:0",
            "kafka://host:1,",
            "kafka://host:1/path",
        ),
        *("kafka://user:secret@host:1", "kafka://host:1?topic=", "kafka://host:1?topic=a%2Fb", "kafka://host:1?x=1"),
        *("kafka://host:1?partitions=0", "kafka://host:1?partitions=x", "kafka://host:1?replication=99"),
        *("kafka://host:1?security=TLS", "kafka://host:1?mechanism=MD5", "kafka://host:1?topic=a&topic=b"),
        *("kafka://host:1?security=SASL_PLAINTEXT&mechanism=PLAIN", "kafka://host:1?idempotent=maybe"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(SettingInvalid) as caught:
        KafkaPlace.from_url(url)
    assert "secret" not in str(caught.value)


def test_a_security_with_a_password_needs_one() -> None:
    place = KafkaPlace.from_url("kafka://host:1?security=SASL_SSL&mechanism=SCRAM-SHA-512")
    KafkaLog(place, MachineClock(), user="satchel", password="secret")
    with pytest.raises(SettingInvalid):
        KafkaLog(place, MachineClock(), user="satchel")
