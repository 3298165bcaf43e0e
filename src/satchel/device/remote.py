"""The `Remote` port over HTTP and WebSocket. Invariant: what a method returns has been verified; nothing is believed.

Every call is safe to repeat, so one that fails on an idle connection which the server had closed is sent once more at
once; all other retries are the engine's. Source: docs/protocol/device.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import aiohttp
import msgspec

from satchel.core.errors import (
    LimitExceeded,
    MessageInvalid,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    VersionUnsupported,
)
from satchel.core.hashing import packed_content_hash
from satchel.core.ids import BlockHash, ContentHash, NamespaceId
from satchel.core.limits import (
    BLOCK_BYTES_MAX,
    BLOCKS_GET_COUNT_MAX,
    FEED_PAGE_BYTES_MAX,
    KIB,
    MANIFESTS_GET_COUNT_MAX,
    MIB,
    SINGLE_BLOCK_BYTES_MAX,
)
from satchel.core.messages import (
    HEADER_BYTES_MAX,
    PROTOCOL_VERSION,
    Changes,
    ChangesRequest,
    CommitReply,
    CommitRequest,
    ErrorReply,
    GetReply,
    GetRequest,
    Hello,
    ManifestsReply,
    ManifestsRequest,
    NamespacesReply,
    Pushed,
    PutReply,
    PutRequest,
    ScopeReply,
    ScopeRequest,
    SnapshotPage,
    SnapshotRequest,
    StreamFrame,
    Welcome,
    WireBlock,
    decode_frame,
    decode_plain,
    encode_frame,
)
from satchel.device.pace import SHORT_BYTES_MAX, Bucket, Pace
from satchel.device.polled_stream import PolledStream
from satchel.device.ports import Clock, OutgoingBlock
from satchel.device.wire_blocks import opened_all, wire
from satchel.device.wire_http import (
    CONNECTIONS_MAX,
    ERROR_BYTES_MAX,
    JOINED_BYTES_MAX,
    ConnectionLost,
    Deadline,
    HttpSession,
    foreign_fault,
    named_fault,
    pieces_of,
    read_bounded,
    translating,
)

FRAME_TYPE = "application/x-satchel"
ERROR_TYPE = "application/x-satchel-error"

BLOCKS_REPLY_BYTES_MAX = 64 * MIB
MESSAGE_REPLY_BYTES_MAX = 4 + HEADER_BYTES_MAX
STREAM_MESSAGE_BYTES_MAX = 16 * MIB
STREAM_SILENCE_S_MAX = 60.0
"""The server pings every 25 s; a line silent for longer than this is lost."""
HEARTBEAT_S = 30.0
STREAM_CONNECT_TIMEOUT_S = 20.0
INLINE_DECODE_BYTES_MAX = 64 * KIB
"""Less is decompressed and hashed on the loop: a hop to a thread costs more."""
DECODE_THREADS = 2

PACED_UP = ("commit", "blocks/put")
PACED_DOWN = ("blocks/get", "changes", "snapshot", "manifests/get")
"""Calls whose bodies keep to the limits. The answers that say what became of a commit never wait, nor does the stream:
what that brings is counted, and the others make up for it."""

CLOSE_BAD_HELLO = 4400
CLOSE_REVOKED = 4401
CLOSE_TOO_MANY = 4429
CLOSE_TOO_SLOW = 4408
CLOSES_OF_OURS = (
    *(aiohttp.WSCloseCode.GOING_AWAY, aiohttp.WSCloseCode.INTERNAL_ERROR),
    *(CLOSE_BAD_HELLO, CLOSE_REVOKED, CLOSE_TOO_SLOW, CLOSE_TOO_MANY),
)
"""With these the service itself ends a stream: a WebSocket gets through."""
FRUITLESS_MAX = 3
"""Some proxies let a WebSocket be opened, and nothing through it."""

T = TypeVar("T")
M = TypeVar("M", bound=msgspec.Struct)


class HttpRemote:
    """The service at `url`, for the device that holds `token`. pace: shared by all links. Close it at the end."""

    def __init__(self, url: str, token: str, *, clock: Clock, pace: Pace | None = None) -> None:
        # Blocks have connections of their own, so that a commit never waits behind a file's bytes.
        self._http = HttpSession(url, token, connections=CONNECTIONS_MAX // 2)
        self._bulk = HttpSession(url, token, connections=CONNECTIONS_MAX // 2)
        self._where = str(self._http.origin)
        self._clock = clock
        self._pace = pace or Pace(clock)
        self._stream: aiohttp.ClientWebSocketResponse | None = None
        self._polled: PolledStream | None = None
        self._fruitless = 0
        """So many streams ended, one after another, before anything came."""
        self._heard_s = 0.0
        self._threads = ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="satchel-decode")

    async def commit(self, request: CommitRequest, bodies: Sequence[bytes]) -> CommitReply:
        reply, _ = await self._call("commit", request, CommitReply, bodies)
        if len(reply.outcomes) != len(request.ops):
            raise MessageInvalid("The reply to a commit has another length.", reason="outcomes")
        return reply

    async def put_blocks(self, ns: NamespaceId, blocks: Sequence[OutgoingBlock]) -> tuple[BlockHash, ...]:
        request = PutRequest(ns, tuple(wire(block) for block in blocks))
        reply, _ = await self._call("blocks/put", request, PutReply, [block.body for block in blocks])
        return reply.stored

    async def get_blocks(self, ns: NamespaceId, hashes: Sequence[BlockHash]) -> dict[BlockHash, bytes]:
        found: dict[BlockHash, bytes] = {}
        count_max = self._pace.down.count_max(SINGLE_BLOCK_BYTES_MAX, BLOCKS_GET_COUNT_MAX)
        for at in range(0, len(hashes), count_max):
            asked = tuple(hashes[at : at + count_max])
            bytes_max = MESSAGE_REPLY_BYTES_MAX + min(len(asked) * BLOCK_BYTES_MAX, BLOCKS_REPLY_BYTES_MAX)
            reply, bodies = await self._call("blocks/get", GetRequest(ns, asked), GetReply, bytes_max=bytes_max)
            given = await self._opened(reply.blocks, bodies)
            found.update({name: given[name] for name in asked if name in given})
        return found

    async def changes(self, request: ChangesRequest) -> tuple[Changes, dict[BlockHash, bytes]]:
        # A page is bounded by its contents and one entry; its entries are bounded by the frame's header.
        bytes_max = MESSAGE_REPLY_BYTES_MAX + 2 * FEED_PAGE_BYTES_MAX
        page, bodies = await self._call("changes", request, Changes, bytes_max=bytes_max)
        if page.ns != request.position.ns:
            raise MessageInvalid("A page of another namespace came.", reason="ns")
        return page, await self._opened(page.inline, bodies)

    async def snapshot(self, request: SnapshotRequest) -> SnapshotPage:
        page, _ = await self._call("snapshot", request, SnapshotPage)
        return page

    async def manifests(self, ns: NamespaceId, ids: Sequence[ContentHash]) -> dict[ContentHash, bytes]:
        found: dict[ContentHash, bytes] = {}
        for at in range(0, len(ids), MANIFESTS_GET_COUNT_MAX):
            asked = tuple(ids[at : at + MANIFESTS_GET_COUNT_MAX])
            bytes_max = MESSAGE_REPLY_BYTES_MAX + BLOCKS_REPLY_BYTES_MAX
            reply, _ = await self._call(
                "manifests/get", ManifestsRequest(ns, asked), ManifestsReply, bytes_max=bytes_max
            )
            given = dict(reply.manifests)
            found.update({name: given[name] for name in asked if name in given})
        for name, packed in found.items():
            if packed_content_hash(packed) != name:
                raise MessageInvalid("A blocklist is not the one asked for.", reason="blocklist")
        return found

    async def namespaces(self) -> NamespacesReply:
        reply, _ = await self._call("namespaces", None, NamespacesReply)
        return reply

    async def set_scope(self, request: ScopeRequest) -> ScopeReply:
        reply, _ = await self._call("scope", request, ScopeReply)
        return reply

    # -- the stream ---------------------------------------------------------------------------------------------------

    async def open_stream(self, hello: Hello) -> None:
        """Connect the stream, or ask from now on what there is when no WebSocket gets through."""
        await self.close_stream()
        if self._fruitless < FRUITLESS_MAX:
            try:
                await self._connect(hello)
            except Unavailable:
                if not await self._begin_polling(hello):
                    raise
        elif not await self._begin_polling(hello):
            self._fruitless = 0
            raise Unavailable("The stream cannot be opened.", where=self._where, reason="stream")

    async def _connect(self, hello: Hello) -> None:
        url = self._http.origin.with_scheme("wss" if self._http.origin.scheme == "https" else "ws")
        try:
            with translating(self._where):
                async with asyncio.timeout(STREAM_CONNECT_TIMEOUT_S):
                    self._stream = await self._http.session.ws_connect(
                        url.with_path("/sync/v1/stream"),
                        heartbeat=HEARTBEAT_S,
                        max_msg_size=STREAM_MESSAGE_BYTES_MAX,
                        compress=0,
                    )
                    await self._stream.send_bytes(b"".join(encode_frame(hello)))
        except Unavailable as fault:
            await self.close_stream()
            raise self._handshake_fault(fault) from fault
        self._fruitless += 1
        self._heard_s = self._clock.monotonic_s()

    async def _begin_polling(self, hello: Hello) -> bool:
        """False when the service cannot be asked either, or is one that knows no such call."""
        polled = PolledStream(hello, say=self._say_hello, ask=self.changes, clock=self._clock)
        try:
            await polled.begin()
        except (Unavailable, NotFound):
            return False
        self._fruitless = 0
        self._polled = polled
        return True

    async def _say_hello(self, hello: Hello) -> Welcome:
        welcome, _ = await self._call("hello", hello, Welcome)
        return welcome

    async def next_frame(self, timeout_s: float) -> tuple[StreamFrame, dict[BlockHash, bytes]] | None:
        if self._polled is not None:
            return await self._polled.next_frame(timeout_s)
        if self._stream is None:
            raise Unavailable("The stream is not open.", where=self._where, reason="stream")
        try:
            message = await self._stream.receive(timeout=max(timeout_s, 0.001))
        except TimeoutError:
            if self._clock.monotonic_s() - self._heard_s > STREAM_SILENCE_S_MAX:
                await self.close_stream()
                raise Unavailable("The stream is silent.", where=self._where, reason="silence") from None
            return None
        if message.type is not aiohttp.WSMsgType.BINARY:
            code = self._stream.close_code
            self._fruitless *= code not in CLOSES_OF_OURS
            await self.close_stream()
            raise self._closed_fault(code)
        self._heard_s, self._fruitless = self._clock.monotonic_s(), 0
        self._pace.down.spend(len(message.data))
        frame: StreamFrame
        frame, bodies = decode_frame(message.data, StreamFrame)
        if isinstance(frame, Pushed):
            return frame, await self._opened(frame.changes.inline, bodies)
        return frame, {}

    async def close_stream(self) -> None:
        stream, self._stream, self._polled = self._stream, None, None
        if stream is not None:
            await stream.close()

    async def close(self) -> None:
        await self.close_stream()
        await self._http.close()
        await self._bulk.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- one call -----------------------------------------------------------------------------------------------------

    async def _call(
        self,
        name: str,
        message: msgspec.Struct | None,
        into: type[M],
        bodies: Sequence[bytes] = (),
        *,
        bytes_max: int = MESSAGE_REPLY_BYTES_MAX,
    ) -> tuple[M, list[memoryview]]:
        """Send one frame (none for `namespaces`) and return the reply's message and bodies."""
        pieces = [] if message is None else encode_frame(message, bodies)
        try:
            raw = await self._exchange(name, pieces, bytes_max)
        except ConnectionLost:
            raw = await self._exchange(name, pieces, bytes_max)
        reply: M
        reply, views = decode_frame(raw, into)
        return reply, views

    async def _exchange(self, name: str, pieces: Sequence[bytes], bytes_max: int) -> memoryview:
        size = sum(len(piece) for piece in pieces)
        up, down = self._pace.up, self._pace.down
        if name == "blocks/get":
            room = self._pace.room(name, down)
        elif name in PACED_UP and size > SHORT_BYTES_MAX:
            room = self._pace.room(name, up)
        else:
            room = contextlib.nullcontext()
        deadline = Deadline()
        async with room:
            data: bytes | AsyncIterator[bytes | memoryview]
            if size > JOINED_BYTES_MAX:
                data = up.parts(pieces_of(pieces), deadline.put_off)
            else:
                data = b"".join(pieces)
                await up.take(size if name in PACED_UP else 0)
            return await self._exchanged(name, data, size, bytes_max, deadline, down if name in PACED_DOWN else None)

    async def _exchanged(
        self,
        name: str,
        data: bytes | AsyncIterator[bytes | memoryview],
        size: int,
        bytes_max: int,
        deadline: Deadline,
        bucket: Bucket | None,
    ) -> memoryview:
        """Send the body and return the reply's, which comes as fast as `bucket` lets it."""
        headers = {"Content-Type": FRAME_TYPE, "Content-Length": str(size)}
        http = self._bulk if name.startswith("blocks/") else self._http
        async with http.request(
            "POST",
            f"/sync/v1/{name}",
            headers=headers,
            data=data,
            bytes_expected=size + bytes_max,
            deadline=deadline,
        ) as response:
            if response.status == 200 and response.content_type == FRAME_TYPE:
                return await read_bounded(response, bytes_max, bucket=bucket, deadline=deadline)
            if response.status == 200 or response.content_type not in (FRAME_TYPE, ERROR_TYPE):
                raise foreign_fault(response, self._where)
            told = decode_plain(bytes(await read_bounded(response, ERROR_BYTES_MAX)), ErrorReply)
        fields = {"retry_after_s": told.retry_after_s} if told.retry_after_s else {}
        raise named_fault(told.code, told.message, told.hint, fields)

    async def _opened(self, blocks: Sequence[WireBlock], bodies: Sequence[memoryview]) -> dict[BlockHash, bytes]:
        if not blocks and not bodies:
            return {}
        if sum(block.size for block in blocks) > BLOCKS_REPLY_BYTES_MAX:
            raise LimitExceeded(
                "A reply holds too much.", limit="reply_bytes", maximum=BLOCKS_REPLY_BYTES_MAX, actual=0
            )
        if sum(block.size for block in blocks) <= INLINE_DECODE_BYTES_MAX:
            return opened_all(blocks, bodies)
        return await self._in_thread(lambda: opened_all(blocks, bodies))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _handshake_fault(self, fault: Unavailable) -> Unavailable | Unauthenticated:
        refused = fault.__cause__
        if not isinstance(refused, aiohttp.WSServerHandshakeError) or refused.headers is None:
            return fault
        if refused.status == 401 and refused.headers.get("Content-Type") == ERROR_TYPE:
            return Unauthenticated("This device's token is not accepted.")
        return fault

    def _closed_fault(self, code: int | None) -> Unavailable | Unauthenticated | TooManyRequests | VersionUnsupported:
        if code == CLOSE_REVOKED:
            return Unauthenticated("This device was signed out.")
        if code == CLOSE_TOO_MANY:
            return TooManyRequests("Too many streams are open for this account.", retry_after_s=60.0)
        if code == CLOSE_BAD_HELLO:
            return VersionUnsupported(
                "The server does not understand this device.", what="protocol", found="?", known=PROTOCOL_VERSION
            )
        return Unavailable("The stream was closed.", where=self._where, reason=f"close {code}")
