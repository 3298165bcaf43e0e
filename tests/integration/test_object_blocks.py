"""What only the adapter for S3 does: its URL, a store that is away or fails halfway, large objects, many at once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace

import pytest

from satchel.core.errors import Fault, SettingInvalid, StorageFailed, StorageFull, Unavailable
from satchel.core.limits import MIB
from satchel.server.adapters.blocks_object import Bounds, ObjectBlocks, bucket_of, open_object_blocks
from satchel.server.adapters.machine import MachineClock
from satchel.server.ports import Place, Span
from tests.support.s3 import FAILURES, FailingProxy, S3Server, request_from, running_s3

pytestmark = pytest.mark.usefixtures("s3_keys")

TEST_TIMEOUT_S = 120.0
SHORT = Bounds(slot_s=20.0, connect_s=2.0, request_s=2.0, total_s=30.0, pause_s=0.01)
"""Bounds under which a store that does not answer is given up soon."""
SEED = 4711


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(TEST_TIMEOUT_S):
            await work()

    asyncio.run(main())


@contextlib.asynccontextmanager
async def opened(url: str, bounds: Bounds | None = None) -> AsyncIterator[ObjectBlocks]:
    blocks = ObjectBlocks(url, MachineClock(), bounds)
    try:
        yield blocks
    finally:
        await blocks.close()


def name(number: int) -> str:
    return f"packs/{number % 256:02x}/{number:032x}"


# -- the URL ---


def test_a_url_names_bucket_prefix_endpoint_and_region() -> None:
    bucket = bucket_of("s3://packs-of-us/a/b/?endpoint=http%3A%2F%2F127.0.0.1%3A8333&region=eu-west-1")
    assert (bucket.name, bucket.prefix) == ("packs-of-us", "a/b")
    assert (bucket.endpoint, bucket.region, bucket.is_plain_http) == ("http://127.0.0.1:8333", "eu-west-1", True)
    assert bucket_of("s3://packs?endpoint=https://s3.example.org").is_plain_http is False
    assert bucket_of("s3://packs?endpoint=http://s3.example.org&allow_http=true").is_plain_http is True
    assert bucket_of("s3://packs?endpoint=http://[::1]:9000").endpoint == "http://[::1]:9000"


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://b",
        "s3://Bucket/prefix",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://bucket/with%20space",
        "s3://bucket#part",
        "s3://bucket?endpoint=http://s3.example.org",
        "s3://bucket?endpoint=ftp://127.0.0.1",
        "s3://bucket?endpoint=",
        "s3://bucket?endpoint=http://127.0.0.1:port",
        "s3://bucket?endpoint=http://127.0.0.1&allow_http=perhaps",
        "s3://bucket?endpoint=http://127.0.0.1&endpoint=http://127.0.0.2",
        "s3://bucket?end_point=http://127.0.0.1",
        "file:///bucket",
    ],
)
def test_a_wrong_url_names_its_setting(url: str) -> None:
    with pytest.raises(SettingInvalid) as raised:
        ObjectBlocks(url, MachineClock())
    assert raised.value.fields["setting"] == "blocks_url"


@pytest.mark.parametrize(
    "url", ["s3://key:s3cr3t@bucket/prefix", "s3://bucket?endpoint=https://key:s3cr3t@s3.example.org"]
)
def test_credentials_in_the_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingInvalid) as raised:
        ObjectBlocks(url, MachineClock())
    assert "AWS_SECRET_ACCESS_KEY" in str(raised.value)
    assert "s3cr3t" not in str(raised.value)


# -- opening ---


def test_a_store_in_order_opens(s3_server: S3Server) -> None:
    async def work() -> None:
        blocks = await open_object_blocks(s3_server.url(s3_server.fresh_prefix()), MachineClock())
        try:
            assert await blocks.names("") == []
        finally:
            await blocks.close()

    run(work)


def test_the_endpoint_of_the_url_counts_before_those_of_the_environment(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")

    async def work() -> None:
        async with opened(s3_server.url(s3_server.fresh_prefix()), SHORT) as blocks:
            await blocks.probe()

    run(work)


def test_a_missing_bucket_stops_the_start_and_fails_later(s3_server: S3Server) -> None:
    url = s3_server.url("blocks", bucket="nobody-made-this")

    async def work() -> None:
        with pytest.raises(SettingInvalid) as raised:
            await open_object_blocks(url, MachineClock())
        assert "bucket" in raised.value.message
        async with opened(url) as blocks:
            for act in (blocks.put(name(1), [b"x"]), blocks.get([Span(name(1), 0, 1)]), blocks.names("packs/")):
                with pytest.raises(StorageFailed):
                    await act

    run(work)


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_told_with_what_to_check(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "of-somebody-else")
    url = s3_server.url(s3_server.fresh_prefix())

    async def work() -> None:
        with pytest.raises(StorageFailed) as raised:
            await open_object_blocks(url, MachineClock())
        assert variable in raised.value.hint
        async with opened(url) as blocks:
            for act in (blocks.put(name(1), [b"x"]), blocks.get([Span(name(1), 0, 1)]), blocks.delete(name(1))):
                with pytest.raises(StorageFailed) as raised:
                    await act
                assert "403" in str(raised.value.fields["reason"])

    run(work)


def test_credentials_that_are_nowhere_are_told(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")

    async def work() -> None:
        with pytest.raises(Unavailable) as raised:
            await open_object_blocks(s3_server.url(s3_server.fresh_prefix()), MachineClock(), SHORT)
        assert "AWS_ACCESS_KEY_ID" in raised.value.message

    run(work)


# -- puts and gets ---


def test_nothing_is_overwritten_and_the_same_bytes_again_are_no_error(s3_server: S3Server) -> None:
    async def work() -> None:
        async with opened(s3_server.url(s3_server.fresh_prefix())) as blocks:
            await blocks.put(name(1), [b"first"])
            assert await blocks.put(name(1), [b"fir", b"st"]) == Place(name(1), 0)
            for other in (b"other", b"firs", b"first of all"):
                with pytest.raises(StorageFailed):
                    await blocks.put(name(1), [other])
            assert await blocks.get([Span(name(1), 0, 5)]) == [b"first"]

    run(work)


@pytest.mark.parametrize("size", [4 * MIB, 64 * MIB])
def test_a_large_object_comes_back_as_it_was(s3_server: S3Server, size: int) -> None:
    data = random.Random(size).randbytes(size)

    async def work() -> None:
        async with opened(s3_server.url(s3_server.fresh_prefix())) as blocks:
            place = await blocks.put(name(1), [data])
            assert await blocks.put(name(1), [data]) == place
            spans = [Span(name(1), at, MIB) for at in range(0, size, MIB)]
            assert b"".join(part or b"" for part in await blocks.get(spans)) == data
            assert await blocks.get([Span(name(1), 0, size), Span(name(1), 1, size)]) == [data, None]
            await blocks.delete(name(1))

    run(work)


def test_two_hundred_puts_at_once_are_all_there(s3_server: S3Server) -> None:
    bodies = {name(number): random.Random(number).randbytes(1 + 331 * number) for number in range(200)}

    async def work() -> None:
        async with opened(s3_server.url(s3_server.fresh_prefix()), Bounds(in_flight_max=8)) as blocks:
            async with asyncio.TaskGroup() as group:
                for key, body in bodies.items():
                    group.create_task(blocks.put(key, [body]))
            assert await blocks.names("packs/") == sorted(bodies)
            assert await blocks.get([Span(key, 0, len(body)) for key, body in bodies.items()]) == [*bodies.values()]

    run(work)


def test_spans_in_any_order_overlapping_and_twice_are_each_right(s3_server: S3Server) -> None:
    data = random.Random(SEED).randbytes(600_000)

    async def work() -> None:
        async with opened(s3_server.url(s3_server.fresh_prefix())) as blocks:
            await blocks.put(name(1), [data])
            places = [(0, 1), (599_999, 1), (599_999, 2), (100, 300_000), (200_000, 5), (100, 300_000), (600_000, 1)]
            wanted = [data[at : at + size] if at + size <= len(data) else None for at, size in places]
            spans = [Span(name(1), at, size) for at, size in places]
            assert await blocks.get([*spans, Span(name(2), 0, 1)]) == [*wanted, None]
            assert await blocks.get([]) == []

    run(work)


def test_names_of_more_than_a_page_are_all_listed(s3_server: S3Server) -> None:
    async def work() -> None:
        async with opened(s3_server.url(s3_server.fresh_prefix())) as blocks:
            async with asyncio.TaskGroup() as group:
                for number in range(1_200):
                    group.create_task(blocks.put(f"packs/aa/{number:032x}", [b"x"]))
            assert await blocks.names("packs/") == [f"packs/aa/{number:032x}" for number in range(1_200)]
            assert len(await blocks.names(f"packs/aa/{0:029x}")) == 1_200
            assert len(await blocks.names(f"packs/aa/{0:031x}")) == 16

    run(work)


def test_what_was_begun_is_finished_by_close_and_what_comes_later_is_refused(s3_server: S3Server) -> None:
    url = s3_server.url(s3_server.fresh_prefix())

    async def work() -> None:
        blocks = ObjectBlocks(url, MachineClock())
        async with asyncio.TaskGroup() as group:
            puts = [group.create_task(blocks.put(name(number), [b"x" * 100_000])) for number in range(40)]
            await asyncio.sleep(0)
            await blocks.close()
            assert all(task.done() for task in puts)
        with pytest.raises(Unavailable):
            await blocks.put(name(99), [b"late"])
        async with opened(url) as again:
            assert len(await again.names("packs/")) == 40

    run(work)


# -- a server that goes away ---


@pytest.fixture
def own_server() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


def test_a_server_that_is_down_or_silent_is_unavailable_and_works_again_when_back(own_server: S3Server) -> None:
    async def is_unavailable(act: Awaitable[object]) -> None:
        with pytest.raises(Unavailable) as raised:
            await act
        assert raised.value.fields["where"] == f"s3://satchel/{prefix}"

    async def all_unavailable(blocks: ObjectBlocks) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(is_unavailable(blocks.put(name(2), [b"x"])))
            group.create_task(is_unavailable(blocks.get([Span(name(1), 0, 4)])))
            group.create_task(is_unavailable(blocks.delete(name(3))))
            group.create_task(is_unavailable(blocks.names("packs/")))
            group.create_task(is_unavailable(blocks.probe()))

    prefix = own_server.fresh_prefix()

    async def work() -> None:
        async with opened(own_server.url(prefix), SHORT) as blocks:
            await blocks.put(name(1), [b"kept"])
            own_server.pause()
            try:
                await all_unavailable(blocks)
            finally:
                own_server.go_on()
            assert await blocks.get([Span(name(1), 0, 4)]) == [b"kept"]
            own_server.kill()
            await all_unavailable(blocks)
            await asyncio.to_thread(own_server.start)
            assert await blocks.get([Span(name(1), 0, 4)]) == [b"kept"]

    run(work)


def test_what_was_acknowledged_is_there_after_the_server_was_killed(own_server: S3Server) -> None:
    bodies = {name(number): random.Random(number).randbytes(20_000 + number) for number in range(2_000)}
    acknowledged: list[str] = []
    enough = asyncio.Event()
    numbers = iter(bodies.items())

    async def work() -> None:
        async with opened(own_server.url("blocks"), SHORT) as blocks:

            async def put_until_it_fails() -> None:
                for key, body in numbers:
                    try:
                        await blocks.put(key, [body])
                    except Unavailable:
                        return
                    acknowledged.append(key)
                    if len(acknowledged) >= 100:
                        enough.set()

            async with asyncio.TaskGroup() as group:
                for _ in range(8):
                    group.create_task(put_until_it_fails())
                await enough.wait()
                own_server.kill()
            await asyncio.to_thread(own_server.start)
            assert len(acknowledged) < len(bodies)
            spans = [Span(key, 0, len(bodies[key])) for key in acknowledged]
            assert await blocks.get(spans) == [bodies[key] for key in acknowledged]

    run(work)


# -- a network that fails halfway ---


def script(*steps: str) -> Callable[[bytes], str]:
    """Return a `choose` that does the steps one after another, and afterwards passes on."""
    rest = iter(steps)
    return lambda head: next(rest, "fine")


@pytest.mark.parametrize(
    ("steps", "requests"),
    [
        (("busy",), 2),
        (("refused",), 2),
        (("swallowed",), 3),
        (("cut",), 3),
        (("busy", "busy"), 3),
        (("busy", "refused"), 3),
        (("slow",), 1),
        (("damaged",), 2),
    ],
)
def test_a_put_that_met_passing_failures_is_stored_once(
    s3_server: S3Server, steps: tuple[str, ...], requests: int
) -> None:
    prefix = s3_server.fresh_prefix()

    async def work() -> None:
        proxy = FailingProxy(s3_server.ports["s3"], script(*steps))
        async with proxy.running() as endpoint, opened(s3_server.url(prefix, endpoint=endpoint), SHORT) as blocks:
            assert await blocks.put(name(1), [b"once"]) == Place(name(1), 0)
            assert proxy.seen.total() == requests
        async with opened(s3_server.url(prefix)) as blocks:
            assert await blocks.get([Span(name(1), 0, 4), Span(name(1), 0, 5)]) == [b"once", None]

    run(work)


def test_a_put_whose_answers_are_all_lost_is_unavailable_and_may_be_repeated(s3_server: S3Server) -> None:
    async def work() -> None:
        proxy = FailingProxy(s3_server.ports["s3"], script("swallowed", "swallowed", "swallowed"))
        async with proxy.running() as endpoint:
            url = s3_server.url(s3_server.fresh_prefix(), endpoint=endpoint)
            async with opened(url, SHORT) as blocks:
                with pytest.raises(Unavailable):
                    await blocks.put(name(1), [b"once"])
                assert proxy.seen.total() == SHORT.requests_max
                assert await blocks.put(name(1), [b"once"]) == Place(name(1), 0)

    run(work)


def test_bytes_of_another_under_the_name_are_found_after_a_lost_answer(s3_server: S3Server) -> None:
    prefix = s3_server.fresh_prefix()

    async def work() -> None:
        async with opened(s3_server.url(prefix)) as blocks:
            await blocks.put(name(1), [b"theirs"])
        proxy = FailingProxy(s3_server.ports["s3"], script("swallowed"))
        async with proxy.running() as endpoint, opened(s3_server.url(prefix, endpoint=endpoint), SHORT) as blocks:
            with pytest.raises(StorageFailed):
                await blocks.put(name(1), [b"mine!!"])
            assert await blocks.get([Span(name(1), 0, 6)]) == [b"theirs"]

    run(work)


def test_a_listing_whose_pages_fail_goes_on_and_misses_no_name(s3_server: S3Server) -> None:
    prefix = s3_server.fresh_prefix()
    names = [f"packs/aa/{number:032x}" for number in range(1_100)]

    async def work() -> None:
        async with opened(s3_server.url(prefix)) as blocks, asyncio.TaskGroup() as group:
            for one in names:
                group.create_task(blocks.put(one, [b"x"]))
        proxy = FailingProxy(s3_server.ports["s3"], script("cut", "busy", "fine", "swallowed", "cut"))
        async with proxy.running() as endpoint, opened(s3_server.url(prefix, endpoint=endpoint), SHORT) as blocks:
            assert await blocks.names("packs/") == names
            assert proxy.seen.total() <= 2 * SHORT.requests_max

    run(work)


def test_neighbours_come_with_one_request_and_far_ones_with_their_own(s3_server: S3Server) -> None:
    prefix = s3_server.fresh_prefix()
    data = random.Random(SEED).randbytes(2 * MIB)

    async def work() -> None:
        proxy = FailingProxy(s3_server.ports["s3"], script())
        async with proxy.running() as endpoint, opened(s3_server.url(prefix, endpoint=endpoint)) as blocks:
            await blocks.put(name(1), [data])
            near = [Span(name(1), at, 1_000) for at in range(0, 100_000, 5_000)]
            far = [Span(name(1), MIB, 1_000), Span(name(1), MIB + 500_000, 1_000)]
            found = await blocks.get([*far, *near])
            assert found == [data[span.offset : span.offset + span.length] for span in [*far, *near]]
            assert proxy.seen.total() == 1 + 3

    run(work)


def test_no_more_than_the_bound_is_in_flight_and_a_long_queue_is_refused(s3_server: S3Server) -> None:
    async def work() -> None:
        proxy = FailingProxy(s3_server.ports["s3"], lambda head: "swallowed")
        bounds = replace(SHORT, in_flight_max=2, waiting_max=3, requests_max=1)
        async with proxy.running() as endpoint:
            url = s3_server.url(s3_server.fresh_prefix(), endpoint=endpoint)
            async with opened(url, bounds) as blocks:
                reasons: Counter[str] = Counter()

                async def put(number: int) -> None:
                    try:
                        await blocks.put(name(number), [b"x"])
                    except Unavailable as fault:
                        reasons[str(fault.fields["reason"])] += 1

                async with asyncio.TaskGroup() as group:
                    for number in range(9):
                        group.create_task(put(number))
                assert reasons == {"queue": 4, "timeout": 5}

    run(work)


def test_through_a_network_that_fails_often_no_byte_is_wrong_and_requests_stay_few(s3_server: S3Server) -> None:
    prefix = s3_server.fresh_prefix()
    dice = random.Random(SEED)
    sizes = [dice.choice((1, 700, 30_000, 200_000)) + number for number in range(300)]
    bodies = {name(number): dice.randbytes(size) for number, size in enumerate(sizes)}
    stored: dict[str, bytes] = {}
    read: Counter[str] = Counter()

    def choose(head: bytes) -> str:
        kinds, weights = (*FAILURES, "fine"), (20, 4, 6, 5, 5, 4, 56)
        return dice.choices(kinds, weights)[0]

    async def put(blocks: ObjectBlocks, key: str) -> None:
        try:
            assert await blocks.put(key, [bodies[key]]) == Place(key, 0)
        except Unavailable:
            return
        stored[key] = bodies[key]

    async def get(blocks: ObjectBlocks, key: str) -> None:
        try:
            part = await blocks.get([Span(key, 0, len(bodies[key]))])
        except Unavailable:
            read["unavailable"] += 1
            return
        assert part == [bodies[key]]
        read["right"] += 1

    async def work() -> None:
        proxy = FailingProxy(s3_server.ports["s3"], choose)
        async with proxy.running() as endpoint, opened(s3_server.url(prefix, endpoint=endpoint), SHORT) as blocks:
            async with asyncio.TaskGroup() as group:
                for key in bodies:
                    group.create_task(put(blocks, key))
            assert proxy.seen.total() <= 3 * len(bodies)
            asked = len(bodies) + len(stored)
            async with asyncio.TaskGroup() as group:
                for key in stored:
                    group.create_task(get(blocks, key))
            assert proxy.seen.total() <= 3 * asked
        assert min(proxy.seen[kind] for kind in FAILURES) > 0, proxy.seen
        assert len(stored) > len(bodies) * 0.8 and read["right"] > len(stored) * 0.8, (len(stored), read)
        async with opened(s3_server.url(prefix)) as blocks:
            # What was not acknowledged may be there, but then whole.
            there = await blocks.names("packs/")
            assert set(stored) <= set(there)
            assert await blocks.get([Span(key, 0, len(bodies[key])) for key in there]) == [bodies[key] for key in there]

    run(work)


@pytest.mark.parametrize(
    ("status", "code", "fault"),
    [
        (301, "PermanentRedirect", StorageFailed),
        (400, "AuthorizationHeaderMalformed", StorageFailed),
        (400, "RequestTimeout", Unavailable),
        (400, "XMinioAdminBucketQuotaExceeded", StorageFull),
        (403, "AccessDenied", StorageFailed),
        (403, "QuotaExceeded", StorageFull),
        (404, "NoSuchBucket", StorageFailed),
        (404, "", StorageFailed),
        (409, "OperationAborted", Unavailable),
        (429, "TooManyRequests", Unavailable),
        (500, "InternalError", Unavailable),
        (501, "NotImplemented", StorageFailed),
        (503, "SlowDown", Unavailable),
        (507, "XMinioStorageFull", StorageFull),
    ],
)
def test_each_answer_of_a_store_is_a_fault_of_the_port(
    s3_server: S3Server, status: int, code: str, fault: type[Fault]
) -> None:
    body = f"<Error><Code>{code}</Code><AWSAccessKeyId>AKIASOMEBODY</AWSAccessKeyId></Error>"
    answer = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await request_from(reader)
            writer.write(answer)
            await writer.drain()
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with opened(s3_server.url("x", endpoint=endpoint), SHORT) as blocks:
            for act in (blocks.names(""), blocks.put(name(1), [b"x"]), blocks.get([Span(name(1), 0, 1)])):
                with pytest.raises(fault) as raised:
                    await act
                assert "AKIASOMEBODY" not in f"{raised.value} {raised.value.__cause__}"
        server.close()

    run(work)
