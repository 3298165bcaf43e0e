"""The HTTP remote believes nothing: whatever a line or a server does ends in a fault that says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest
from aiohttp import WSMsgType, web

from satchel.core.errors import (
    BlockMismatch,
    Fault,
    LimitExceeded,
    MessageInvalid,
    QuotaExceeded,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    VersionUnsupported,
)
from satchel.core.hashing import block_hash
from satchel.core.ids import BlockHash, ContentHash, DeviceId, LinkId, NamespaceId, NodeId, OpId, Tag
from satchel.core.messages import (
    CODEC_RAW,
    CODEC_ZSTD,
    HEADER_BYTES_MAX,
    Changes,
    ChangesRequest,
    CommitReply,
    CommitRequest,
    DeleteOp,
    ErrorReply,
    GetReply,
    GetRequest,
    Hello,
    ManifestsReply,
    NamespacesReply,
    Ping,
    Position,
    Pushed,
    PutReply,
    PutRequest,
    Welcome,
    WireBlock,
    decode_frame,
    encode_frame,
    encode_plain,
)
from satchel.device.remote import STREAM_SILENCE_S_MAX, HttpRemote
from satchel.device.wire_blocks import shut
from satchel.device.wire_http import parse_origin
from tests.support.bad_server import Handler, bad_server, raw_server
from tests.support.files import noise, words

NS = NamespaceId(b"n" * 16)
LINK = LinkId(b"l" * 16)
NOBODY = NamespacesReply(b"epoch", "ann", ())
HELLO = Hello(1, b"epoch", LINK, 1, ())
FRAME_TYPE = "application/x-satchel"


class MovedClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ns(self) -> int:
        return int(self.now_s * 1e9)

    def monotonic_s(self) -> float:
        return self.now_s

    def random(self, count: int) -> bytes:
        return bytes(count)

    async def sleep_s(self, seconds: float) -> None:
        self.now_s += seconds


def frame(message: msgspec.Struct, bodies: Sequence[bytes] = (), **told: object) -> web.Response:
    headers = {"Content-Type": FRAME_TYPE}
    return web.Response(body=b"".join(encode_frame(message, bodies)), headers=headers, **told)  # type: ignore[arg-type]


def always(response: Callable[[], web.StreamResponse]) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        return response()

    return answer


def ask(handler: Handler, work: Callable[[HttpRemote], Awaitable[object]], clock: MovedClock | None = None) -> None:
    async def main() -> None:
        async with bad_server(handler) as url:
            remote = HttpRemote(url, "secret", clock=clock or MovedClock())
            try:
                await work(remote)
            finally:
                await remote.close()

    asyncio.run(main())


def fault_of(handler: Handler, call: Callable[[HttpRemote], Awaitable[object]]) -> Fault:
    """Return the fault that the call ends in."""
    faults: list[Fault] = []

    async def work(remote: HttpRemote) -> None:
        with pytest.raises(Fault) as found:
            await call(remote)
        faults.append(found.value)

    ask(handler, work)
    return faults[0]


async def namespaces(remote: HttpRemote) -> object:
    return await remote.namespaces()


async def get_hello(remote: HttpRemote) -> object:
    return await remote.get_blocks(NS, [block_hash(b"hello")])


# -- requests ---------------------------------------------------------------------------------------------------------


def test_a_request_is_one_frame_with_its_bodies_and_the_token() -> None:
    datas = [noise(300_000), words(200_000), b"tiny"]
    seen: list[tuple[str, str, str, int]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        asked, bodies = decode_frame(raw, PutRequest)
        assert asked.ns == NS
        assert [len(body) for body in bodies] == [block.stored_size for block in asked.blocks]
        told = request.headers
        seen.append((request.path, told["Authorization"], told["Content-Type"], int(told["Content-Length"]) - len(raw)))
        return frame(PutReply(tuple(block.hash for block in asked.blocks)))

    async def work(remote: HttpRemote) -> None:
        blocks = [shut(block_hash(data), data) for data in datas]
        assert await remote.put_blocks(NS, blocks) == tuple(block.hash for block in blocks)

    ask(answer, work)
    assert seen == [("/sync/v1/blocks/put", "Bearer secret", FRAME_TYPE, 0)]


def test_a_connection_that_broke_before_the_answer_is_tried_once_more() -> None:
    count = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal count
        count += 1
        if count == 1:
            assert request.transport is not None
            request.transport.abort()
        return frame(NOBODY)

    async def work(remote: HttpRemote) -> None:
        assert await remote.namespaces() == NOBODY

    ask(answer, work)
    assert count == 2


# -- answers that are no answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-satchel\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-satchel\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    ],
    ids=["nothing", "cut", "cut-chunk", "another-protocol", "two-lengths"],
)
def test_a_broken_answer_is_unavailable(answer: bytes) -> None:
    async def main() -> None:
        async with raw_server(answer) as url:
            remote = HttpRemote(url, "secret", clock=MovedClock())
            with pytest.raises(Unavailable):
                await remote.namespaces()
            await remote.close()

    asyncio.run(main())


def test_a_server_that_is_not_there_is_unavailable() -> None:
    async def main() -> None:
        remote = HttpRemote("http://127.0.0.1:9", "secret", clock=MovedClock())
        with pytest.raises(Unavailable):
            await remote.namespaces()
        with pytest.raises(Unavailable):
            await remote.open_stream(HELLO)
        await remote.close()

    asyncio.run(main())


def test_another_servers_page_is_unavailable_and_never_a_sign_out() -> None:
    def page(status: int) -> Handler:
        return always(lambda: web.Response(text="<h1>Welcome to the hotel</h1>", status=status))

    for status in (200, 401, 403, 404, 500, 502, 504):
        assert isinstance(fault_of(page(status), namespaces), Unavailable), status


def test_a_proxys_retry_after_is_told() -> None:
    page = always(lambda: web.Response(text="busy", status=503, headers={"Retry-After": "7"}))
    fault = fault_of(page, namespaces)
    assert isinstance(fault, Unavailable)
    assert fault.fields["retry_after_s"] == 7


def test_a_redirect_is_not_followed_and_the_token_stays() -> None:
    async def main() -> None:
        seen: list[str] = []

        async def catch(request: web.Request) -> web.StreamResponse:
            seen.append(request.path)
            return frame(NOBODY)

        async with bad_server(catch) as other:
            moved = always(lambda: web.Response(status=307, headers={"Location": f"{other}/sync/v1/namespaces"}))
            async with bad_server(moved) as url:
                remote = HttpRemote(url, "secret", clock=MovedClock())
                with pytest.raises(Unavailable) as refused:
                    await remote.namespaces()
                assert refused.value.fields["reason"] == "redirect"
                with pytest.raises(Unavailable):
                    await remote.open_stream(HELLO)
                await remote.close()
        assert seen == []

    asyncio.run(main())


# -- faults that the server names -------------------------------------------------------------------------------------


def named(status: int, reply: ErrorReply) -> Handler:
    return always(
        lambda: web.Response(
            body=encode_plain(reply), status=status, headers={"Content-Type": "application/x-satchel-error"}
        )
    )


def test_the_servers_fault_comes_back_as_its_class() -> None:
    busy = fault_of(named(429, ErrorReply("too_many_requests", "Slowly.", "", 3.5)), namespaces)
    assert isinstance(busy, TooManyRequests)
    assert busy.fields["retry_after_s"] == 3.5
    assert isinstance(fault_of(named(401, ErrorReply("unauthenticated", "Who?")), namespaces), Unauthenticated)
    full = fault_of(named(507, ErrorReply("quota_exceeded", "Full.")), namespaces)
    assert (type(full), full.message) == (QuotaExceeded, "Full.")


def test_a_code_of_a_newer_server_keeps_its_text() -> None:
    fault = fault_of(named(418, ErrorReply("teapot", "Short and stout.", "Tip it over.")), namespaces)
    assert (type(fault), fault.code, fault.message, fault.hint) == (Fault, "teapot", "Short and stout.", "Tip it over.")


# -- answers that lie -------------------------------------------------------------------------------------------------


def test_a_frame_that_does_not_decode_is_refused() -> None:
    garbage = always(lambda: web.Response(body=b"\x00\x00\x00\x05hello", headers={"Content-Type": FRAME_TYPE}))
    assert isinstance(fault_of(garbage, namespaces), MessageInvalid)


def test_a_reply_that_is_too_long_is_refused_before_it_is_read() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": FRAME_TYPE, "Content-Length": str(1 << 40)})
        await response.prepare(request)
        return response

    assert isinstance(fault_of(endless, namespaces), LimitExceeded)


def test_a_reply_that_never_ends_is_cut_at_the_limit() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": FRAME_TYPE})
        response.enable_chunked_encoding()
        await response.prepare(request)
        sent = 0
        while sent < 4 * HEADER_BYTES_MAX:
            await response.write(bytes(1 << 20))
            sent += 1 << 20
        return response

    assert isinstance(fault_of(endless, namespaces), LimitExceeded)


def test_a_block_with_other_bytes_is_a_mismatch() -> None:
    name = block_hash(b"hello")
    wrong = frame_of_block(WireBlock(name, 5, CODEC_RAW, 5), b"jello")
    assert isinstance(fault_of(wrong, get_hello), BlockMismatch)
    longer = frame_of_block(WireBlock(name, 4, CODEC_RAW, 5), b"hello")
    assert isinstance(fault_of(longer, get_hello), BlockMismatch)
    unknown = frame_of_block(WireBlock(name, 5, 9, 5), b"hello")
    assert isinstance(fault_of(unknown, get_hello), BlockMismatch)
    broken = frame_of_block(WireBlock(name, 5, CODEC_ZSTD, 5), b"hello")
    assert isinstance(fault_of(broken, get_hello), BlockMismatch)


def test_a_block_that_swells_is_not_decompressed() -> None:
    bomb = shut(block_hash(b""), bytes(64 * 1024 * 1024))
    small = frame_of_block(WireBlock(block_hash(b"hello"), 5, CODEC_ZSTD, len(bomb.body)), bomb.body)
    assert isinstance(fault_of(small, get_hello), BlockMismatch)
    large = frame_of_block(WireBlock(block_hash(b"hello"), bomb.size, CODEC_ZSTD, len(bomb.body)), bomb.body)
    assert isinstance(fault_of(large, get_hello), LimitExceeded)


def frame_of_block(block: WireBlock, body: bytes) -> Handler:
    return always(lambda: frame(GetReply((block,)), [body]))


def test_blocks_that_nobody_asked_for_are_left_out() -> None:
    reply = GetReply((WireBlock(block_hash(b"other"), 5, CODEC_RAW, 5),))

    async def work(remote: HttpRemote) -> None:
        assert await remote.get_blocks(NS, [block_hash(b"hello")]) == {}

    ask(always(lambda: frame(reply, [b"other"])), work)


def test_a_blocklist_of_another_content_is_refused() -> None:
    asked = ContentHash(b"c" * 32)
    liar = always(lambda: frame(ManifestsReply(((asked, bytes(36)),))))
    assert isinstance(fault_of(liar, lambda remote: remote.manifests(NS, [asked])), MessageInvalid)


def test_a_commit_reply_of_another_length_and_a_page_of_another_namespace_are_refused() -> None:
    short = always(lambda: frame(CommitReply((), 1)))
    page = always(lambda: frame(Changes(NamespaceId(b"o" * 16), 0, 0, Tag(b""), (), 0)))
    asked = ChangesRequest(Position(NS, 0, Tag(b"")), LINK)
    assert isinstance(fault_of(page, lambda remote: remote.changes(asked)), MessageInvalid)
    assert isinstance(fault_of(short, commit_one), MessageInvalid)


async def commit_one(remote: HttpRemote) -> object:
    return await remote.commit(CommitRequest(NS, LINK, (DeleteOp(OpId(bytes(16)), NodeId(bytes(16)), 0),)), [])


def test_many_hashes_are_asked_for_in_requests_of_a_thousand() -> None:
    sizes: list[int] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked, _ = decode_frame(await request.read(), GetRequest)
        sizes.append(len(asked.hashes))
        return frame(GetReply((), asked.hashes))

    async def work(remote: HttpRemote) -> None:
        assert await remote.get_blocks(NS, [BlockHash(block_hash(b"%d" % index)) for index in range(2_100)]) == {}

    ask(answer, work)
    assert sizes == [1_000, 1_000, 100]


# -- the stream -------------------------------------------------------------------------------------------------------


def streaming(*frames: bytes, close: int = 0, silent: bool = False) -> Handler:
    """Answer the stream's hello with these frames."""

    async def answer(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        hello = await socket.receive()
        assert hello.type is WSMsgType.BINARY
        assert decode_frame(hello.data, Hello)[0] == HELLO
        for each in frames:
            await socket.send_bytes(each)
        if silent:
            async for _ in socket:
                pass
        await socket.close(code=close or 1000)
        return socket

    return answer


WELCOME = Welcome(b"epoch", False, DeviceId(b"d" * 16))


def joined(message: msgspec.Struct, bodies: Sequence[bytes] = ()) -> bytes:
    return b"".join(encode_frame(message, bodies))


def test_the_stream_gives_frames_and_their_verified_contents() -> None:
    block = WireBlock(block_hash(b"hello"), 5, CODEC_RAW, 5)
    pushed = Pushed(Changes(NS, 0, 1, Tag(b"t" * 8), (), 1, inline=(block,)))

    async def work(remote: HttpRemote) -> None:
        await remote.open_stream(HELLO)
        assert await remote.next_frame(20) == (WELCOME, {})
        assert await remote.next_frame(20) == (pushed, {block.hash: b"hello"})
        assert await remote.next_frame(20) == (Ping(), {})
        with pytest.raises(Unavailable):
            await remote.next_frame(20)

    ask(streaming(joined(WELCOME), joined(pushed, [b"hello"]), joined(Ping())), work)


def test_a_pushed_content_with_other_bytes_is_a_mismatch() -> None:
    block = WireBlock(block_hash(b"hello"), 5, CODEC_RAW, 5)
    pushed = Pushed(Changes(NS, 0, 1, Tag(b"t" * 8), (), 1, inline=(block,)))

    async def work(remote: HttpRemote) -> None:
        await remote.open_stream(HELLO)
        with pytest.raises(BlockMismatch):
            await remote.next_frame(20)

    ask(streaming(joined(pushed, [b"jello"])), work)


@pytest.mark.parametrize(
    ("code", "fault"),
    [(4401, Unauthenticated), (4429, TooManyRequests), (4400, VersionUnsupported), (1001, Unavailable)],
)
def test_why_the_stream_was_closed_is_told(code: int, fault: type[Fault]) -> None:
    async def work(remote: HttpRemote) -> None:
        await remote.open_stream(HELLO)
        with pytest.raises(fault):
            await remote.next_frame(20)
        with pytest.raises(Unavailable):
            await remote.next_frame(20)

    ask(streaming(close=code), work)


def test_a_silent_stream_gives_nothing_until_it_counts_as_lost() -> None:
    clock = MovedClock()

    async def work(remote: HttpRemote) -> None:
        await remote.open_stream(HELLO)
        assert await remote.next_frame(0.01) is None
        clock.now_s += STREAM_SILENCE_S_MAX - 1
        assert await remote.next_frame(0.01) is None
        clock.now_s += 2
        with pytest.raises(Unavailable):
            await remote.next_frame(0.01)

    ask(streaming(silent=True), work, clock)


def test_a_stream_refused_by_the_service_is_a_sign_out_and_by_another_is_not() -> None:
    def refusing(content_type: str) -> Handler:
        return always(lambda: web.Response(body=b"", status=401, headers={"Content-Type": content_type}))

    ours = fault_of(refusing("application/x-satchel-error"), lambda remote: remote.open_stream(HELLO))
    assert isinstance(ours, Unauthenticated)
    theirs = fault_of(refusing("text/html"), lambda remote: remote.open_stream(HELLO))
    assert isinstance(theirs, Unavailable)


def test_after_three_streams_through_which_nothing_came_the_device_asks_instead() -> None:
    """Some proxies let a WebSocket be opened, and end it."""
    opened: list[str] = []
    streamed = streaming()

    async def answer(request: web.Request) -> web.StreamResponse:
        opened.append(request.method)
        if request.method == "GET":
            return await streamed(request)
        assert request.path == "/sync/v1/hello"
        return web.Response(body=joined(WELCOME), content_type="application/x-satchel")

    async def work(remote: HttpRemote) -> None:
        for _ in range(3):
            await remote.open_stream(HELLO)
            with pytest.raises(Unavailable):
                await remote.next_frame(20)
        await remote.open_stream(HELLO)
        assert await remote.next_frame(20) == (WELCOME, {})

    ask(answer, work)
    assert opened == ["GET"] * 3 + ["POST"]


# -- addresses --------------------------------------------------------------------------------------------------------


def test_only_a_plain_web_address_is_a_server() -> None:
    assert str(parse_origin(" https://files.example.org/any/path?x ")) == "https://files.example.org"
    for wrong in ("", "files.example.org", "ftp://files.example.org", "https://ann:pw@files.example.org", "https://"):
        with pytest.raises(MessageInvalid):
            parse_origin(wrong)
