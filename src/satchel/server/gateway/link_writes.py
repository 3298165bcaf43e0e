"""REST for whoever holds a link that takes files or lets edit. Invariant: every change goes through the one write path,
as the link's maker, with the link in the place of a device; what it names stands beneath the link's own node.

A file request answers the same whatever is there: names are made unique without a word. Source: docs/use/links.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from litestar import post, put
from litestar.params import Parameter

from satchel.core.cutting import CDC1, StreamCutter
from satchel.core.entries import Kind
from satchel.core.errors import AlreadyExists, LimitExceeded, PreconditionFailed, QuotaExceeded
from satchel.core.hashing import Block, content_hash, pack_blocks
from satchel.core.ids import AccountId, BlockHash, LinkId, NamespaceId, NodeId
from satchel.core.limits import BLOCKS_PER_COMMIT_MAX, NAME_BYTES_MAX
from satchel.core.messages import CommitRequest, Conflict, Content, CreateOp, DeleteOp, EditOp, MoveOp, Op, Placement
from satchel.core.paths import validate_name
from satchel.server.gateway.commits import commit_request, new_op_id, stored_or_fault
from satchel.server.gateway.content import FED_BYTES, UPLOAD_BYTES_IN_MEMORY
from satchel.server.gateway.files import new_node_id
from satchel.server.gateway.link_access import (
    EDITING,
    PUBLIC,
    TAKING,
    Recheck,
    opened,
    require_folder,
)
from satchel.server.gateway.link_pages import LinkItem, link_item
from satchel.server.gateway.rest import Asked, services_of
from satchel.server.gateway.services import Services
from satchel.server.sharing.links import OpenLink, gone, head_of, require_room, still_open
from satchel.server.sharing.shares import Permission

Mtime = Annotated[int, Parameter(ge=-(2**63), le=2**63 - 1)]
NAMES_TRIED = 10
_SUFFIX_BYTES = 8


class Taken(msgspec.Struct, frozen=True):
    """A file that a link took. name: as it was sent; id: empty for a file request."""

    name: str
    size: int
    id: str = ""


class LinkFolderAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new folder. parent: its folder's id, the link's own by default."""

    name: str
    parent: str = ""


class LinkMoveAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file or folder and its new place. parent: its folder's id, the link's own by default."""

    id: str
    name: str
    parent: str = ""


class LinkDeleteAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file or folder that goes to the trash, by id."""

    id: str


@put(f"{PUBLIC}/upload", status_code=201, public=True, request_max_body_size=None)
async def link_upload(request: Asked, token: str, name: str, parent: str = "", mtime_ns: Mtime = 0) -> Taken:
    """Store the request's body as a new file in a folder of a link; where the name is taken it gets another one."""
    services = services_of(request)
    link = await opened(request, token, TAKING, node=parent, is_write=True)
    if parent and link.share.permission is Permission.UPLOAD:
        raise gone()
    require_folder(link)
    validate_name(name)
    content = await _received(services, request, token, link)
    # What came took its time: the link is opened anew for what is done with it.
    link = await opened(request, token, TAKING, node=parent, is_write=True)
    node_id = new_node_id(services)
    await _create(services, link, node_id, name, content, mtime_ns or _now_ns(services))
    is_shown = link.share.permission is not Permission.UPLOAD
    return Taken(name, content.size, node_id.hex() if is_shown else "")


@put(f"{PUBLIC}/content", status_code=200, public=True, request_max_body_size=None)
async def link_edit(request: Asked, token: str, id: str = "", mtime_ns: Mtime = 0) -> LinkItem:
    """Store the request's body as the newest content of a file; with `If-Match: rev`, only if it is still at that
    rev."""
    services = services_of(request)
    link = await opened(request, token, EDITING, node=id, is_write=True)
    node = link.node
    if node.kind != Kind.FILE:
        raise gone()
    wanted = request.headers.get("if-match", "").strip('"')
    if wanted and wanted != str(node.content_rev):
        raise PreconditionFailed("The file is not at that rev.", expected=wanted, actual=str(node.content_rev))
    content = await _received(services, request, token, link)
    link = await opened(request, token, EDITING, node=id, is_write=True)
    bit, mtime_ns = bool(node.is_executable), mtime_ns or _now_ns(services)
    await _commit(
        services, link, EditOp(new_op_id(services), node.node_id, node.content_rev, content, "", mtime_ns, bit)
    )
    return await _now(request, token, node.node_id)


@post(f"{PUBLIC}/folders", status_code=201, public=True)
async def link_folder(request: Asked, token: str, data: LinkFolderAsked) -> LinkItem:
    """Make a folder in one of a link."""
    services = services_of(request)
    link = await opened(request, token, EDITING, node=data.parent, is_write=True)
    require_folder(link)
    validate_name(data.name)
    node_id = new_node_id(services)
    op = CreateOp(new_op_id(services), node_id, link.node.node_id, data.name, Kind.FOLDER)
    await _commit(services, link, op)
    return await _now(request, token, node_id)


@post(f"{PUBLIC}/move", status_code=200, public=True)
async def link_move(request: Asked, token: str, data: LinkMoveAsked) -> LinkItem:
    """Move or rename a file or folder within a link; the name must be free, and the link's own node stays."""
    services = services_of(request)
    target = await opened(request, token, EDITING, node=data.parent, is_write=True)
    require_folder(target)
    link = await opened(request, token, EDITING, node=data.id, is_write=True)
    _require_inside(link)
    validate_name(data.name)
    placement = Placement(link.node.node_id, link.node.place_rev, target.node.node_id, data.name)
    await _commit(services, link, MoveOp(new_op_id(services), (placement,)), target)
    return await _now(request, token, link.node.node_id)


@post(f"{PUBLIC}/delete", status_code=204, public=True)
async def link_delete(request: Asked, token: str, data: LinkDeleteAsked) -> None:
    """Put a file or folder of a link, with all that is in it, into its owner's trash."""
    services = services_of(request)
    link = await opened(request, token, EDITING, node=data.id, is_write=True)
    _require_inside(link)
    head = await head_of(services.db, link.share.ns)
    await _commit(services, link, DeleteOp(new_op_id(services), link.node.node_id, head))


def names_like(name: str, suffix: str) -> Iterator[str]:
    """Yield the name, then others like it: `a (2).txt` and so on, at last with `suffix`. None is too long."""
    yield name
    stem, dot, end = name.rpartition(".")
    if not stem:
        stem, dot, end = name, "", ""
    for mark in [*(str(number) for number in range(2, NAMES_TRIED)), suffix]:
        added = f" ({mark}){dot}{end}"
        room = NAME_BYTES_MAX - len(added.encode())
        if room < 1:
            stem, dot, end = name, "", ""
            added = f" ({mark})"
            room = NAME_BYTES_MAX - len(added.encode())
        yield stem.encode()[:room].decode(errors="ignore") + added


async def _create(
    services: Services, link: OpenLink, node_id: NodeId, name: str, content: Content, mtime_ns: int
) -> None:
    """Make a file under the first name of its like that is free. Raises: as `_commit`, AlreadyExists."""
    folder, key = link.node.node_id, new_op_id(services)
    for candidate in names_like(name, services.clock.random(_SUFFIX_BYTES).hex()):
        op = CreateOp(key, node_id, folder, candidate, Kind.FILE, content, mtime_ns=mtime_ns)
        guard = still_open(services.clock, link)
        reply = await commit_request(services, link.principal, _request(link, op), (), guard)
        outcome = reply.outcomes[0]
        if not (isinstance(outcome, Conflict) and outcome.current is not None and outcome.current.is_live):
            stored_or_fault(outcome)
            return
    raise AlreadyExists("No name like this is free.", what="name")


async def _commit(services: Services, link: OpenLink, op: Op, *others: OpenLink) -> None:
    """Commit one op as the link's maker. others: the link with further nodes that the op names.

    Raises: the fault that its outcome means outside, without numbers of the account's; NotFound when the link does not
    open at the moment of the commit.
    """
    guard = still_open(services.clock, link, *others)
    try:
        reply = await commit_request(services, link.principal, _request(link, op), (), guard)
        stored_or_fault(reply.outcomes[0])
    except QuotaExceeded:
        raise QuotaExceeded("There is no room left for this.") from None


def _request(link: OpenLink, op: Op) -> CommitRequest:
    return CommitRequest(link.share.ns, LinkId(link.share.share_id), (op,))


async def _now(request: Asked, token: str, node_id: NodeId) -> LinkItem:
    return link_item((await opened(request, token, EDITING, node=node_id.hex(), is_write=True)).node)


def _now_ns(services: Services) -> int:
    """Return the time that a file gets whose sender names none."""
    return services.clock.now_ms() * 1_000_000


def _require_inside(link: OpenLink) -> None:
    """Return when the node is not the link's own one, whose place is its owner's matter. Raises: NotFound."""
    if link.node.node_id == link.share.node_id:
        raise gone()


async def _received(services: Services, request: Asked, token: str, link: OpenLink) -> Content:
    """Cut, store and name what comes; return the content to commit. The link and its room are looked at again while it
    comes. Raises: NotFound, QuotaExceeded, LimitExceeded, Unavailable."""
    recheck, ns = Recheck(services, token, link), link.share.ns
    declared = request.headers.get("content-length", "")
    await require_room(services.db, ns, int(declared) if declared.isdigit() else 0)
    cutter, listed, size = StreamCutter(CDC1), list[Block](), 0
    waiting, waiting_bytes = list[bytes](), 0
    with services.room.taken(AccountId(link.share.share_id), UPLOAD_BYTES_IN_MEMORY):
        async for piece in request.stream():
            await recheck.pause()
            waiting.append(piece)
            waiting_bytes += len(piece)
            size += len(piece)
            if waiting_bytes >= FED_BYTES:
                await require_room(services.db, ns, size)
                listed += await _stored(services, ns, cutter.feed_blocks(b"".join(waiting)))
                waiting, waiting_bytes = [], 0
                _require_few(listed)
        await require_room(services.db, ns, size)
        listed += await _stored(services, ns, cutter.feed_blocks(b"".join(waiting), is_last=True))
    _require_few(listed)
    return Content(content_hash(block.hash for block in listed), pack_blocks(listed), size, CDC1)


def _require_few(listed: list[Block]) -> None:
    if len(listed) > BLOCKS_PER_COMMIT_MAX:
        raise LimitExceeded(
            "The file has too many blocks for one commit.",
            limit="BLOCKS_PER_COMMIT_MAX",
            maximum=BLOCKS_PER_COMMIT_MAX,
            actual=len(listed),
        )


async def _stored(services: Services, ns: NamespaceId, blocks: list[memoryview]) -> list[Block]:
    if not blocks:
        return []
    wires = await services.blocks.put_bytes(ns, blocks)
    return [Block(BlockHash(wire.hash), wire.size) for wire in wires]


ROUTES = (link_upload, link_edit, link_folder, link_move, link_delete)
