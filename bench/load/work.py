"""What the load asks for: accounts with files in them, and the bytes of each kind of request.

Requests are made before the clock starts. Contents are random, so nothing is saved by compression or by equal blocks.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from tests.support.server import RunningServer, Session
from tests.support.wire import Wire, content_of, raw_block

from bench.load.http_line import request
from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NODE, BlockHash, LinkId, NamespaceId, NodeId, OpId, Tag, uuid7
from satchel.core.limits import KIB, MIB
from satchel.core.messages import (
    Changes,
    ChangesRequest,
    CommitRequest,
    CreateOp,
    EditOp,
    GetRequest,
    Position,
    PutReply,
    PutRequest,
    Stored,
    encode_frame,
)

FRAMED = "application/x-satchel"
FOLDER = "docs"
FILES = 100
RECENT = 10
"""So many entries a device has missed when it asks for changes."""
SMALL_BYTES = KIB
BATCH_FILES = 200
BLOCK_BYTES = MIB
BLOCKS = 4
"""Blocks of a request: 4 MiB."""
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Place:
    """An account of the load. seq, tag: where its journal stood RECENT entries before its end;
    head_seq, head_tag: that end."""

    session: Session
    seq: int
    tag: bytes
    head_seq: int
    head_tag: bytes


def furnish(server: RunningServer, count: int) -> list[Place]:
    """Make so many accounts, each with a folder of 100 files."""
    return [_furnish(server, f"load {number}") for number in range(count)]


def _furnish(server: RunningServer, name: str) -> Place:
    session = server.add_user(name).sign_in("load")
    with Wire(session) as wire:
        folder = wire.create(FOLDER, kind=Kind.FOLDER)
        wire.commit(folder)
        files = [(f"file {number:03}", os.urandom(SMALL_BYTES)) for number in range(FILES)]
        ops = [wire.create(name, data, parent=folder.node_id) for name, data in files]
        head = wire.commit(*ops, inline=[data for _, data in files]).head_seq
        before = Position(wire.ns, 0, Tag(b""))
        page, _ = wire.call("changes", ChangesRequest(before, LinkId(b""), head - RECENT, False), Changes)
        end, _ = wire.call("changes", ChangesRequest(before, LinkId(b""), head, False), Changes)
    return Place(session, page.last_seq, page.last_tag, end.last_seq, end.last_tag)


def at_head(place: Place) -> Place:
    """Return the place with where its journal ends now."""
    with Wire(place.session) as wire:
        head = wire.namespaces().namespaces[0]
    return replace(place, head_seq=head.head_seq, head_tag=head.head_tag)


def end_cursor(session: Session) -> str:
    """Return the cursor of a program that has read everything."""
    told = session.ask("GET", "/sync", limit=2_000).json()
    while told["has_more"]:
        told = session.ask("GET", "/sync", cursor=told["cursor"], limit=2_000).json()
    cursor: str = told["cursor"]
    return cursor


def bare_requests(path: str, count: int, *, body: bytes = b"") -> list[bytes]:
    """Return requests to the server that does nothing."""
    return [request("POST" if body else "GET", path, body=body)] * count


def entry_requests(places: Sequence[Place], count: int) -> list[bytes]:
    """Ask what stands at a path."""
    return [_get(place, f"/api/v1/entry?path={quote(_path(at))}") for at, place in _turns(places, count)]


def listing_requests(places: Sequence[Place], count: int) -> list[bytes]:
    """List a folder of 100 files."""
    return [_get(place, f"/api/v1/files?path=/{FOLDER}") for _, place in _turns(places, count)]


def changes_requests(places: Sequence[Place], count: int) -> list[bytes]:
    """Ask for what happened since a cursor: ten entries, without contents."""
    return [
        _post(
            place,
            "changes",
            ChangesRequest(_position(place), LINK, RECENT, False),
        )
        for _, place in _turns(places, count)
    ]


def commit_requests(places: Sequence[Place], count: int, *, files: int) -> list[bytes]:
    """Make so many new files of 1 KiB with each request, their bytes inside."""
    return [_commit(place, files) for _, place in _turns(places, count)]


def edit_requests(place: Place, created: Sequence[Sequence[CreateOp]], seqs: Sequence[Sequence[int]]) -> list[bytes]:
    """Give each of the files that were made another content. seqs: where each was made."""
    return [_edit(place, ops, revs) for ops, revs in zip(created, seqs, strict=True)]


def created(place: Place, count: int) -> tuple[list[list[CreateOp]], list[list[int]]]:
    """Make `count` batches of files now; return how they were made, and where in the journal."""
    made, seqs = [], []
    with Wire(place.session) as wire:
        for _ in range(count):
            contents = [os.urandom(SMALL_BYTES) for _ in range(BATCH_FILES)]
            ops = [_create(data) for data in contents]
            reply = wire.commit(*ops, inline=contents)
            made.append(ops)
            seqs.append([outcome.seq for outcome in reply.outcomes if isinstance(outcome, Stored)])
    return made, seqs


def put_requests(places: Sequence[Place], count: int) -> tuple[list[bytes], list[bytes]]:
    """Put 4 MiB of new blocks with each request; the second list asks for the same blocks again."""
    puts, gets = [], []
    for _, place in _turns(places, count):
        bodies = [os.urandom(BLOCK_BYTES) for _ in range(BLOCKS)]
        blocks = tuple(raw_block(data) for data in bodies)
        ns = NamespaceId(place.session.root_ns)
        puts.append(_post(place, "blocks/put", PutRequest(ns, blocks), bodies))
        hashes: tuple[BlockHash, ...] = tuple(block.hash for block in blocks)
        gets.append(_post(place, "blocks/get", GetRequest(ns, hashes)))
    return puts, gets


def put_now(place: Place, data: bytes) -> int:
    """Put one block and wait; return how many were stored."""
    with Wire(place.session) as wire:
        reply, _ = wire.call("blocks/put", PutRequest(wire.ns, (raw_block(data),)), PutReply, [data])
    return len(reply.stored)


LINK = LinkId(b"load" * 4)


def _create(data: bytes) -> CreateOp:
    node = NodeId(_new_id())
    return CreateOp(OpId(_new_id()), node, ROOT_NODE, f"new {node.hex()}", int(Kind.FILE), content_of(data))


def _edit(place: Place, made: Sequence[CreateOp], revs: Sequence[int]) -> bytes:
    bodies = [os.urandom(SMALL_BYTES) for _ in made]
    ops = tuple(
        EditOp(OpId(_new_id()), op.node_id, rev, content_of(data))
        for op, rev, data in zip(made, revs, bodies, strict=True)
    )
    ns = NamespaceId(place.session.root_ns)
    return _post(place, "commit", CommitRequest(ns, LINK, ops, tuple(raw_block(data) for data in bodies)), bodies)


def _commit(place: Place, files: int) -> bytes:
    bodies = [os.urandom(SMALL_BYTES) for _ in range(files)]
    ops = tuple(_create(data) for data in bodies)
    ns = NamespaceId(place.session.root_ns)
    return _post(place, "commit", CommitRequest(ns, LINK, ops, tuple(raw_block(data) for data in bodies)), bodies)


def _position(place: Place) -> Position:
    return Position(NamespaceId(place.session.root_ns), place.seq, Tag(place.tag))


def _new_id() -> bytes:
    return uuid7(next(_numbers), os.urandom(10))


def _path(at: int) -> str:
    return f"/{FOLDER}/file {at % FILES:03}"


def _turns(places: Sequence[Place], count: int) -> Iterator[tuple[int, Place]]:
    return ((at, places[at % len(places)]) for at in range(count))


def _get(place: Place, path: str) -> bytes:
    return request("GET", path, token=place.session.token)


def _post(
    place: Place,
    route: str,
    message: CommitRequest | ChangesRequest | PutRequest | GetRequest,
    bodies: Sequence[bytes] = (),
) -> bytes:
    body = b"".join(encode_frame(message, bodies))
    return request("POST", f"/sync/v1/{route}", token=place.session.token, body=body, media=FRAMED)
