"""The event log on Kafka. Invariant: a group's offset moves only over events that were handled or cannot be read.

A client that saw a failure is thrown away and made anew: then nothing of its retries, sequence numbers or positions
has to be reasoned about. A second copy of an event is the price, and followers bear it. This module is imported only
where a `kafka://` URL is set.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)

from satchel.core.errors import SettingInvalid, Unavailable
from satchel.core.ids import ID_BYTES, NamespaceId
from satchel.server.event_log import ChangeEvent, Handle, is_handled, pause
from satchel.server.ports import Clock

_log = structlog.get_logger("events")

SETTING = "bus_url"
TOPIC = "file-changes"
PARTITIONS, PARTITIONS_MAX = 12, 1_000
REPLICATION, REPLICATION_MAX = 1, 32
PORT = 9092
SECURITIES = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
QUERY = ("topic", "partitions", "replication", "security", "mechanism", "idempotent")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
BATCH_MAX = 500
FAILURES = (KafkaError, ConsumerStoppedError, OSError, TimeoutError)

# The client reports every attempt to reach a broker that is away, some a second; what matters of it is told here.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class KafkaPlace:
    """Where the log is. servers: `host:port`, some of the cluster's; partitions, replication: of a topic made new.

    is_idempotent: whether the broker tells a record that is sent again from a new one. Without, a retry may be in the
    log twice, which followers bear; the order is kept, since the client has one request a partition under way.
    """

    servers: tuple[str, ...]
    topic: str = TOPIC
    partitions: int = PARTITIONS
    replication: int = REPLICATION
    security: str = "PLAINTEXT"
    mechanism: str = "SCRAM-SHA-512"
    is_idempotent: bool = True

    @property
    def needs_password(self) -> bool:
        """Whether a user signs in by name and password."""
        return self.security.startswith("SASL_")

    @classmethod
    def from_url(cls, url: str) -> KafkaPlace:
        """Read `kafka://host:9092,host2:9092?topic=…&partitions=…&replication=…&security=…&mechanism=…&idempotent=…`.

        idempotent: `true`, or `false` for a broker that has no producer ids. Raises: SettingInvalid; its text never
        holds the URL, since somebody may have put a password there.
        """
        parts = urlsplit(url)
        if parts.scheme != "kafka" or parts.path not in ("", "/") or parts.fragment:
            raise _wrong("kafka://HOST:PORT,HOST:PORT?topic=NAME")
        if "@" in parts.netloc:
            raise _wrong("user and password do not belong in a URL: SATCHEL_KAFKA_USER, SATCHEL_KAFKA_PASSWORD")
        try:
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise _wrong("its query is NAME=VALUE, with & between") from None
        given = dict(pairs)
        if len(given) < len(pairs) or set(given) - set(QUERY):
            raise _wrong(f"known, each once: {', '.join(QUERY)}")
        place = cls(
            servers=tuple(_server(text) for text in parts.netloc.split(",")),
            topic=given.get("topic", TOPIC),
            partitions=_number(given, "partitions", PARTITIONS, PARTITIONS_MAX),
            replication=_number(given, "replication", REPLICATION, REPLICATION_MAX),
            security=given.get("security", "PLAINTEXT"),
            mechanism=given.get("mechanism", "SCRAM-SHA-512"),
            is_idempotent=_flag(given, "idempotent"),
        )
        place.check()
        return place

    def check(self) -> None:
        """Raises: SettingInvalid."""
        characters = self.topic.replace(".", "").replace("_", "").replace("-", "")
        if not (characters.isascii() and characters.isalnum() and len(self.topic) <= 249):
            raise _wrong("a topic has 1 to 249 letters, digits, '.', '_' and '-'")
        if self.security not in SECURITIES:
            raise _wrong(f"security is one of {', '.join(SECURITIES)}")
        if self.mechanism not in MECHANISMS:
            raise _wrong(f"mechanism is one of {', '.join(MECHANISMS)}")
        if self.security == "SASL_PLAINTEXT" and self.mechanism == "PLAIN":
            raise _wrong("the password would cross the network in the clear: use SASL_SSL or SCRAM")


@dataclass(frozen=True, slots=True)
class KafkaWaits:
    """How long things may take, in seconds.

    append: until `append` gives up; connect: to reach a broker and join a group; close: to let go of a client;
    session: without a sign of life after which a member counts as dead; poll: for new events, and so the delay of a
    stop; handle: a call of `handle`; backoff_min, backoff_max: between attempts.
    """

    append_s: float = 10.0
    connect_s: float = 60.0
    close_s: float = 10.0
    session_s: float = 10.0
    poll_s: float = 0.5
    handle_s: float = 60.0
    backoff_s_min: float = 0.5
    backoff_s_max: float = 30.0


class KafkaLog:
    """EventLog on a Kafka cluster."""

    def __init__(
        self, place: KafkaPlace, clock: Clock, *, user: str = "", password: str = "", waits: KafkaWaits | None = None
    ) -> None:
        """Nothing is connected yet: the service starts without its log too. Raises: SettingInvalid."""
        if place.needs_password and not (user and password):
            raise _wrong("this security needs SATCHEL_KAFKA_USER and SATCHEL_KAFKA_PASSWORD")
        self._place, self._clock = place, clock
        self._waits = waits or KafkaWaits()
        self._access = _access(place, user, password)
        self._line = asyncio.Lock()
        """One append at a time: what was given first is first in the log, also when the client is made anew."""
        self._producer: Any = None
        self._is_closed = False

    async def append(self, events: Sequence[ChangeEvent]) -> None:
        """See EventLog. Takes at most the waits of `append` and `close` together."""
        if self._is_closed:
            raise Unavailable("The event log is closed.", where="event log", reason="closed")
        try:
            async with asyncio.timeout(self._waits.append_s), self._line:
                try:
                    with _asked_to_cancel():
                        await self._send(events)
                except BaseException:
                    await self._drop_producer()
                    raise
        except FAILURES as error:
            raise Unavailable("The event log does not answer.", where="event log", reason=repr(error)) from error

    async def consume(self, group: str, handle: Handle, *, stop: asyncio.Event) -> None:
        """See EventLog."""
        failures = 0
        while not stop.is_set():
            member = _Member(self._place.topic, group, handle, self._waits)
            try:
                with _asked_to_cancel():
                    async with self._joined(member) as consumer:
                        _log.info("events.follows", group=group)
                        await member.follow(consumer, stop)
            except FAILURES as error:
                failures = 0 if member.has_heard else failures + 1
                _log.warning("events.away", group=group, reason=repr(error))
                await pause(stop, self._backoff_s(failures))

    async def close(self) -> None:
        """See EventLog."""
        self._is_closed = True
        async with asyncio.timeout(self._waits.append_s + self._waits.close_s), self._line:
            await self._drop_producer()

    async def _send(self, events: Sequence[ChangeEvent]) -> None:
        if self._producer is None:
            await self._require_topic()
            # Half of the time for a request, so that one that was lost is sent once more.
            request_ms = max(100, int(self._waits.append_s * 500))
            self._producer = AIOKafkaProducer(
                **self._access,
                acks="all",
                enable_idempotence=self._place.is_idempotent,
                request_timeout_ms=request_ms,
                linger_ms=2,
            )
            await self._producer.start()
        sent = []
        for event in events:
            future = await self._producer.send(self._place.topic, value=msgspec.msgpack.encode(event), key=event.ns)
            future.add_done_callback(_looked_at)
            sent.append(future)
        for future in sent:
            await future

    async def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _let_go(producer, self._waits.close_s)

    async def _require_topic(self) -> None:
        """Make the topic when it is missing. One that is there keeps its partitions."""
        admin = AIOKafkaAdminClient(**self._access, request_timeout_ms=int(self._waits.connect_s * 1_000))
        try:
            await admin.start()
            if self._place.topic in await admin.list_topics():
                return
            topic = NewTopic(self._place.topic, self._place.partitions, self._place.replication)
            reply = await admin.create_topics([topic])
            for error in (for_code(row[1]) for row in reply.topic_errors):
                if error.errno and error is not TopicAlreadyExistsError:
                    raise error(f"The topic {self._place.topic} cannot be made.")
            _log.info("events.topic_made", topic=self._place.topic, partitions=self._place.partitions)
        except AttributeError as error:
            # The client takes the controller's address from a cluster that may have none yet.
            raise KafkaError("The cluster has no controller.") from error
        finally:
            await _let_go(admin, self._waits.close_s)

    @contextlib.asynccontextmanager
    async def _joined(self, member: _Member) -> AsyncIterator[Any]:
        """Yield a consumer that is a member of its group."""
        waits = self._waits
        async with asyncio.timeout(waits.connect_s):
            await self._require_topic()
        consumer = AIOKafkaConsumer(
            **self._access,
            group_id=member.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(waits.session_s * 1_000),
            heartbeat_interval_ms=int(waits.session_s * 1_000 / 4),
            # Longer than a handover and a failed call may keep it from asking for more.
            max_poll_interval_ms=int((waits.handle_s * 2 + waits.backoff_s_max + waits.connect_s) * 1_000),
            request_timeout_ms=int((waits.session_s + waits.connect_s) * 1_000),
            fetch_max_wait_ms=int(waits.poll_s * 1_000),
        )
        try:
            consumer.subscribe([self._place.topic], listener=member)
            async with asyncio.timeout(waits.connect_s):
                await consumer.start()
            yield consumer
        finally:
            await _let_go(consumer, waits.close_s)

    def _backoff_s(self, failures: int) -> float:
        jitter = int.from_bytes(self._clock.random(2), "big") / 65_536
        longest = min(self._waits.backoff_s_max, self._waits.backoff_s_min * 2.0 ** min(failures, 16))
        return longest * (0.5 + jitter / 2)


class _Member(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """One membership of a group: hears, handles, then moves the offsets."""

    def __init__(self, topic: str, group: str, handle: Handle, waits: KafkaWaits) -> None:
        self.group = group
        self.has_heard = False
        self._topic, self._handle, self._waits = topic, handle, waits
        self._hands = asyncio.Lock()
        self._assignment = 0
        """Counts handovers: what was fetched before one belongs to whoever has the partition now."""

    async def on_partitions_revoked(self, revoked: object) -> None:
        """Keep what is being handled until it is done and counted, as far as the group waits for it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._waits.session_s / 2), self._hands:
                pass
        self._assignment += 1

    async def on_partitions_assigned(self, assigned: object) -> None:
        """The offsets are the group's own; there is nothing to do."""

    async def follow(self, consumer: Any, stop: asyncio.Event) -> None:
        """Hand out what comes until `stop`. Raises: KafkaError and what else the connection's end raises."""
        poll_ms = int(self._waits.poll_s * 1_000)
        while not stop.is_set():
            found = await consumer.getmany(timeout_ms=poll_ms, max_records=BATCH_MAX)
            # Between these two nothing else runs, so no handover can come.
            assignment = self._assignment
            if not found:
                continue
            self.has_heard = True
            async with self._hands:
                refused = await self._hand_out(consumer, found, assignment)
            if refused:
                await pause(stop, self._waits.backoff_s_min)

    async def _hand_out(self, consumer: Any, found: dict[Any, list[Any]], assignment: int) -> bool:
        """Handle the records of each partition and move the offset of those that were; tell whether one was refused."""
        done: dict[Any, int] = {}
        refused: dict[Any, int] = {}
        for partition, records in found.items():
            events = [event for record in records if (event := _decoded(record)) is not None]
            if not events or await is_handled(self.group, self._handle, events, timeout_s=self._waits.handle_s):
                done[partition] = records[-1].offset + 1
            else:
                refused[partition] = records[0].offset
        if self._assignment == assignment:
            await self._move(consumer, done, refused)
        return bool(refused)

    async def _move(self, consumer: Any, done: dict[Any, int], refused: dict[Any, int]) -> None:
        try:
            for partition, offset in refused.items():
                consumer.seek(partition, offset)
            if done:
                # The client would try for ever; after a session without a sign of life it is no member any more.
                async with asyncio.timeout(self._waits.session_s):
                    await consumer.commit(done)
        except (CommitFailedError, IllegalStateError):
            # Another member has them now and begins where the group last was: it hears them once more.
            _log.info("events.handed_over", group=self.group)


def _decoded(record: Any) -> ChangeEvent | None:
    """Return the event of a record; one that is none is passed over, or it would hold up all behind it."""
    try:
        event = msgspec.msgpack.decode(record.value or b"", type=ChangeEvent)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        reason = str(error)
    else:
        if len(event.ns) == ID_BYTES and event.seq >= 0:
            return ChangeEvent(NamespaceId(event.ns), event.seq, event.at_ms)
        reason = "no such position"
    _log.warning("events.malformed", partition=record.partition, offset=record.offset, reason=reason)
    return None


async def _let_go(client: Any, seconds: float) -> None:
    """Stop a client in bounded time; what it could not finish is lost with it."""
    stop = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    if await _is_ended(stop, seconds):
        return
    # The library ends in the middle when a part of it fails, and a second call does nothing. What is left would run on;
    # a member's signs of life would keep its partitions from the others.
    for owner, name in (
        (getattr(client, "_sender", None), "close"),
        (getattr(client, "_coordinator", None), "_stop_heartbeat_task"),
        (getattr(client, "_coordinator", None), "_stop_commit_offsets_refresh_task"),
        (getattr(client, "_fetcher", None), "close"),
        (getattr(client, "client", None) or client._client, "close"),
    ):
        if owner is not None:
            await _is_ended(getattr(owner, name), seconds)


async def _is_ended(end: Callable[[], Awaitable[object]], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            with _asked_to_cancel():
                await end()
    except FAILURES:
        return False
    return True


@contextlib.contextmanager
def _asked_to_cancel() -> Iterator[None]:
    """Let a cancellation pass that somebody asked for.

    The library ends its own tasks and waits for them, and lets what those raise out to its caller. A consumer would
    end without a word by that.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise KafkaError("The client was ended in the middle.") from None


def _looked_at(future: asyncio.Future[Any]) -> None:
    """Take the error of a record whose neighbour failed first, so that nobody reports it as forgotten."""
    if not future.cancelled():
        future.exception()


def _access(place: KafkaPlace, user: str, password: str) -> dict[str, Any]:
    """Return what every client of the cluster is told."""
    access: dict[str, Any] = {
        "bootstrap_servers": list(place.servers),
        "client_id": "satchel",
        "security_protocol": place.security,
    }
    if place.security.endswith("SSL"):
        access["ssl_context"] = ssl.create_default_context()
    if place.needs_password:
        access |= {"sasl_mechanism": place.mechanism, "sasl_plain_username": user, "sasl_plain_password": password}
    return access


def _wrong(reason: str) -> SettingInvalid:
    return SettingInvalid("This address of an event log cannot be used.", setting=SETTING, reason=reason)


def _server(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if text.endswith("]") or not colon:
        host, port = text, str(PORT)
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise _wrong("each server is HOST:PORT")
    return f"{host}:{port}"


def _number(given: dict[str, str], name: str, default: int, maximum: int) -> int:
    text = given.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= maximum):
        raise _wrong(f"{name} is a number from 1 to {maximum:,}")
    return int(text)


def _flag(given: dict[str, str], name: str) -> bool:
    text = given.get(name, "true")
    if text not in ("true", "false"):
        raise _wrong(f"{name} is true or false")
    return text == "true"
