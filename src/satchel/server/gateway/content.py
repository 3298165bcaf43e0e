"""REST: a file's bytes, down and up. Invariant: an upload is seen whole or not at all; what it replaced is kept.

Both ways are streamed: no more than a few blocks are in memory. Downloads never run in a browser as our own pages:
attachment, `nosniff`, sandbox. Source: docs/design/050, 060 (5).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from litestar import Response, get, put
from litestar.params import Parameter
from litestar.response import Stream

from satchel.core.access import Right
from satchel.core.cutting import CDC1, StreamCutter
from satchel.core.entries import Entry, Kind
from satchel.core.errors import LimitExceeded, MessageInvalid, NotFound
from satchel.core.hashing import Block, content_hash, pack_blocks, unpack_blocks
from satchel.core.ids import BlockHash, ContentHash, NamespaceId, NodeId
from satchel.core.limits import BLOCKS_PER_COMMIT_MAX, MIB
from satchel.core.messages import Content, CreateOp, EditOp
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.commits import check_room, commit_op, new_op_id
from satchel.server.gateway.conditions import is_known, require_match
from satchel.server.gateway.files import locate_or_none, new_node_id, place_of
from satchel.server.gateway.history import node_of
from satchel.server.gateway.raw import SENT_BYTES_MAX
from satchel.server.gateway.rest import Asked, Item, item_of, principal_of, services_of
from satchel.server.gateway.services import Services
from satchel.server.metadata.tree import blocklist_of, entry_by_id, versions

Mtime = Annotated[int, Parameter(ge=-(2**63), le=2**63 - 1)]
FED_BYTES = 8 * MIB
READ_BYTES_MAX = 8 * MIB
UPLOAD_BYTES_IN_MEMORY = 4 * FED_BYTES
"""What comes, joined, squeezed, and on its way to the disk."""
RECHECK_MS = 30_000
"""A download whose token or right is gone is cut off after about so long."""
_RANGE = re.compile(r"(?i:bytes)=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class _File:
    """What is downloaded: a name, a content and its length."""

    name: str
    content: ContentHash
    size: int


@get("/api/v1/content", transfers=True)
async def download(
    request: Asked,
    path: str = "",
    id: str = "",
    rev: int = 0,  # the query's name
    namespace: str = "",
) -> Response[bytes] | Stream:
    """Give a file's bytes, whole or one range of them; `rev` names an earlier version."""
    services, principal = services_of(request), await principal_of(request)
    ns, node_id = await node_of(services, principal, path=path, node=id, namespace=namespace)
    file = await _file(services, principal, ns, node_id, rev)
    tag = f'"{file.content.hex()}"'
    headers = {
        "etag": tag,
        "accept-ranges": "bytes",
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        "cache-control": "private, no-cache",
    }
    if is_known(request, tag):
        return Response(b"", status_code=304, headers=headers)
    first, last, is_part = range_of(
        request.headers.get("range", ""), if_range=request.headers.get("if-range", tag), size=file.size, tag=tag
    )
    if first > last and file.size:
        return Response(b"", status_code=416, headers=headers | {"content-range": f"bytes */{file.size}"})
    if is_part:
        headers["content-range"] = f"bytes {first}-{last}/{file.size}"
    blocks = unpack_blocks(await blocklist_of(services.db, ns, file.content)) if file.size else []
    pieces = pieces_of(services, ns, blocks, first, last + 1)
    # The first piece is read before the answer begins, so that damage is an error and not a short file.
    head = await anext(pieces, b"")

    async def body() -> AsyncIterator[bytes]:
        yield head
        looked_ms = services.clock.now_ms()
        async for piece in pieces:
            if services.clock.now_ms() - looked_ms >= RECHECK_MS:
                # A download may last hours; token and right are not believed for so long.
                await authorize(services.db, await principal_of(request), ns, Right.READ)
                looked_ms = services.clock.now_ms()
            yield piece

    headers["content-length"] = str(last + 1 - first)
    return Stream(body(), status_code=206 if is_part else 200, headers=headers, media_type="application/octet-stream")


@put("/api/v1/content", status_code=200, request_max_body_size=None, transfers=True)
async def upload(request: Asked, path: str, mtime_ns: Mtime = 0) -> Item:
    """Store the request's body as the file at a path; with `If-Match: rev`, only if the file is still at that rev.

    Without a time of its own it was changed now.
    """
    services, principal = services_of(request), await principal_of(request)
    ns, parent, name = await place_of(services, principal, path)
    found = await locate_or_none(services, principal, path)
    current = None if found is None else found.entry
    await authorize(services.db, principal, ns, Right.WRITE)
    _check_match(request, current)
    declared = request.headers.get("content-length", "")
    await check_room(services, principal, ns, int(declared) if declared.isdigit() else 0)
    with services.room.taken(principal.account_id, UPLOAD_BYTES_IN_MEMORY):
        content = await received(services, ns, request.stream())
    # Bytes may come for hours: whoever was signed out meanwhile writes nothing. The commit asks for the right itself.
    principal = await principal_of(request)
    op_id = new_op_id(services)
    mtime_ns = mtime_ns or services.clock.now_ms() * 1_000_000
    if current is None:
        node_id = new_node_id(services)
        made = CreateOp(op_id, node_id, parent, name, Kind.FILE, content, mtime_ns=mtime_ns)
        await commit_op(services, principal, ns, made)
    else:
        node_id = current.node_id
        bit = current.is_executable
        edit = EditOp(op_id, node_id, current.content_rev, content, "", mtime_ns, bit)
        await commit_op(services, principal, ns, edit)
    return item_of(ns, await entry_by_id(services.db, principal, ns, node_id))


async def _file(services: Services, principal: Principal, ns: NamespaceId, node_id: NodeId, rev: int) -> _File:
    if not rev:
        entry = await entry_by_id(services.db, principal, ns, node_id)
        if entry.kind != Kind.FILE:
            raise MessageInvalid("Only a file has bytes to give.", reason="kind")
        return _File(entry.name, ContentHash(entry.content), entry.size)
    for version in await versions(services.db, principal, ns, node_id):
        if version.rev == rev:
            return _File(await _name_of(services, principal, ns, node_id, rev), version.content_hash, version.size)
    raise NotFound("There is no such version.", rev=rev)


async def _name_of(services: Services, principal: Principal, ns: NamespaceId, node_id: NodeId, rev: int) -> str:
    """Return what an earlier version is called: as the file is now, while it is there."""
    try:
        return (await entry_by_id(services.db, principal, ns, node_id)).name
    except NotFound:
        return f"rev-{rev}"


def range_of(told: str, *, if_range: str, size: int, tag: str) -> tuple[int, int, bool]:
    """Return the first and the last byte wanted, and whether that is a part. An empty part has first > last."""
    match = _RANGE.fullmatch(told)
    # From RFC 9110 14.2: several ranges, and what is none, may be answered by the whole.
    if not size or match is None or if_range != tag or match.groups() == ("", ""):
        return 0, size - 1, False
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size - 1 if int(last) else -1, True
    return int(first), min(int(last), size - 1) if last else size - 1, True


async def pieces_of(
    services: Services, ns: NamespaceId, blocks: list[Block], start: int, end: int
) -> AsyncIterator[bytes]:
    """Yield the file's bytes from `start` to before `end`, a few blocks at a time. Raises: BlockDamaged."""
    group: list[Block] = []
    at = group_at = size = 0
    for block in [*blocks, None]:
        if group and (block is None or size + block.size > READ_BYTES_MAX):
            parts = await services.blocks.read_bytes(ns, [wanted.hash for wanted in group])
            for wanted, part in zip(group, parts, strict=True):
                cut = bytes(part[max(0, start - group_at) : max(0, end - group_at)])
                # In as short pieces as they are sent in: between two of them it is asked whether more may be read.
                for piece_at in range(0, len(cut), SENT_BYTES_MAX):
                    yield cut[piece_at : piece_at + SENT_BYTES_MAX]
                group_at += wanted.size
            group, size = [], 0
        if block is not None:
            if at + block.size > start and at < end:
                group_at = at if not group else group_at
                group.append(block)
                size += block.size
            at += block.size


def _check_match(request: Asked, current: Entry | None) -> None:
    if current is not None and current.kind != Kind.FILE:
        raise MessageInvalid("There is a folder at this path.", reason="kind")
    require_match(request, current)


async def received(services: Services, ns: NamespaceId, pieces: AsyncIterator[bytes]) -> Content:
    """Cut, store and name what comes; return the content to commit. Raises: LimitExceeded."""
    cutter = StreamCutter(CDC1)
    listed: list[Block] = []
    waiting: list[bytes] = []
    waiting_bytes = 0
    async for piece in pieces:
        waiting.append(piece)
        waiting_bytes += len(piece)
        if waiting_bytes >= FED_BYTES:
            listed += await _stored(services, ns, cutter.feed_blocks(b"".join(waiting)))
            waiting, waiting_bytes = [], 0
    listed += await _stored(services, ns, cutter.feed_blocks(b"".join(waiting), is_last=True))
    if len(listed) > BLOCKS_PER_COMMIT_MAX:
        raise LimitExceeded(
            "The file has too many blocks for one commit.",
            limit="BLOCKS_PER_COMMIT_MAX",
            maximum=BLOCKS_PER_COMMIT_MAX,
            actual=len(listed),
        )
    return Content(
        content_hash(block.hash for block in listed), pack_blocks(listed), sum(block.size for block in listed), CDC1
    )


async def _stored(services: Services, ns: NamespaceId, blocks: list[memoryview]) -> list[Block]:
    if not blocks:
        return []
    wires = await services.blocks.put_bytes(ns, blocks)
    return [Block(BlockHash(wire.hash), wire.size) for wire in wires]


ROUTES = (download, upload)
