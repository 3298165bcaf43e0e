"""Speaks the device protocol in tests: frames over one kept connection, and the stream."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from satchel.core.entries import Kind
from satchel.core.hashing import Block, block_hash, content_hash, pack_blocks
from satchel.core.ids import ROOT_NODE, BlockHash, LinkId, NamespaceId, NodeId, OpId, uuid7
from satchel.core.messages import (
    CODEC_RAW,
    CommitReply,
    CommitRequest,
    Content,
    CreateOp,
    ErrorReply,
    Hello,
    NamespacesReply,
    Op,
    StreamFrame,
    WireBlock,
    decode_frame,
    decode_plain,
    encode_frame,
)
from tests.support.server import Session

T = TypeVar("T")
TIMEOUT_S = 60.0


class Refusal(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, reply: ErrorReply) -> None:
        super().__init__(f"{status} {reply}")
        self.status = status
        self.reply = reply


class Wire:
    """One device's connection to the service."""

    def __init__(self, session: Session, link: bytes = b"L" * 16) -> None:
        self.session = session
        self.ns = NamespaceId(session.root_ns)
        self.link = LinkId(link)
        self._host = urlsplit(session.url).netloc
        self._connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT_S)
        self._count = 0

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def call(
        self, route: str, message: msgspec.Struct | None, into: type[T], bodies: Sequence[bytes] = ()
    ) -> tuple[T, list[memoryview]]:
        """Return the answer and its bodies. Raises: Refusal."""
        raw = b"" if message is None else b"".join(encode_frame(message, bodies))
        self._connection.request(
            "POST",
            f"/sync/v1/{route}",
            raw,
            {"Authorization": f"Bearer {self.session.token}", "Content-Type": "application/x-satchel"},
        )
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise Refusal(response.status, decode_plain(body, ErrorReply))
        return decode_frame(body, into)

    def commit(self, *ops: Op, inline: Sequence[bytes] = ()) -> CommitReply:
        """Commit ops; `inline` are blocks' own bytes."""
        request = CommitRequest(self.ns, self.link, ops, tuple(raw_block(data) for data in inline))
        return self.call("commit", request, CommitReply, inline)[0]

    def new_id(self) -> bytes:
        """Return an id that this connection has not given before."""
        self._count += 1
        return uuid7(self._count, self.session.device_id[-10:])

    def create(self, name: str, data: bytes = b"", *, parent: bytes = ROOT_NODE, kind: Kind = Kind.FILE) -> CreateOp:
        """Return an op that makes a file of one block, or a folder."""
        return CreateOp(
            OpId(self.new_id()),
            NodeId(self.new_id()),
            NodeId(parent),
            name,
            int(kind),
            content_of(data) if kind is Kind.FILE else None,
        )

    def namespaces(self) -> NamespacesReply:
        """Return what the device can read."""
        return self.call("namespaces", None, NamespacesReply)[0]


class Stream:
    """The device's stream, inside an event loop."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def next(self) -> tuple[StreamFrame, list[memoryview]]:
        """Return the next frame and its bodies."""
        raw = await asyncio.wait_for(self.connection.recv(), TIMEOUT_S)
        assert isinstance(raw, bytes)
        return decode_frame(raw, StreamFrame)


async def open_stream(session: Session, hello: Hello) -> Stream:
    """Open a stream and say hello; the caller closes `connection`."""
    url = session.url.replace("http", "ws", 1) + "/sync/v1/stream"
    connection = await connect(
        url, additional_headers={"Authorization": f"Bearer {session.token}"}, compression=None, proxy=None
    )
    await connection.send(b"".join(encode_frame(hello)))
    return Stream(connection)


def raw_block(data: bytes) -> WireBlock:
    """Return the block of these bytes, sent as they are."""
    return WireBlock(block_hash(data), len(data), CODEC_RAW, len(data))


def content_of(*blocks: bytes) -> Content:
    """Return the content of a file cut into these blocks; empty ones are none."""
    listed = [Block(block_hash(data), len(data)) for data in blocks if data]
    hashes: list[BlockHash] = [block.hash for block in listed]
    return Content(content_hash(hashes), pack_blocks(listed), sum(block.size for block in listed))
