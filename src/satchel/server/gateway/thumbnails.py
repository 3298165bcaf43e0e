"""REST: small pictures of images and PDF. Invariant: rights are asked before anything else, as for the content, and
what comes out was drawn anew from pixels.
"""

from __future__ import annotations

from litestar import Response, get

from satchel.core.access import Right
from satchel.core.entries import Kind
from satchel.core.errors import LimitExceeded, MessageInvalid, NotFound
from satchel.core.hashing import unpack_blocks
from satchel.core.ids import ContentHash, NamespaceId, NodeId
from satchel.core.limits import PICTURE_BYTES_MAX
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.documents.kinds import picture_kind_of
from satchel.server.documents.thumbnails import Edge, Picture, keep_picture, kept_picture, shown
from satchel.server.gateway.content import pieces_of
from satchel.server.gateway.rest import Asked, from_hex, principal_of, services_of
from satchel.server.gateway.services import Services
from satchel.server.metadata.tree import blocklist_of, entry_by_id, versions

_EDGES = {edge.name.lower(): edge for edge in Edge}
_DRAWN_BY = 1
"""Part of the tag: another number when pictures are made otherwise."""


@get("/api/v1/thumbnail/{ns:str}/{node:str}", media_type="image/webp", transfers=True)
async def thumbnail(request: Asked, ns: str, node: str, rev: int = 0, size: str = "small") -> Response[bytes]:
    """Give a small picture, WebP, of an image (PNG, JPEG, GIF, WebP, BMP, TIFF) or of the first page of a PDF, turned
    as it is to be shown; `rev` names an earlier version. `size`: `small`, `medium` or `large`, 128, 512 or 1,600 pixels
    at the longest edge. 400 `message_invalid` where there is none: its `reason` is `kind`, `unreadable` or `too_large`.
    """
    services, principal = services_of(request), await principal_of(request)
    inside, node_id = NamespaceId(from_hex(ns, what="ns")), NodeId(from_hex(node, what="node"))
    if size not in _EDGES:
        raise MessageInvalid("A size is small, medium or large.", reason="size")
    content, kind, length = await _content(services, principal, inside, node_id, rev)
    tag = f'"{content.hex()}-{size}-{_DRAWN_BY}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match", "") == tag:
        return Response(b"", status_code=304, headers=headers)
    picture = await kept_picture(services.db, inside, content, kind, _EDGES[size])
    if picture is None:
        picture = await _drawn(services, principal, inside, content, kind, length, _EDGES[size])
        # It may have waited for others; who lost the right meanwhile sees nothing of it.
        await authorize(services.db, await principal_of(request), inside, Right.READ)
    return Response(shown(picture), headers=headers, media_type="image/webp")


async def _content(
    services: Services, principal: Principal, ns: NamespaceId, node_id: NodeId, rev: int
) -> tuple[ContentHash, str, int]:
    """Return a file's content, how it is drawn, and its length. Raises: NotFound, MessageInvalid, LimitExceeded."""
    entry = await entry_by_id(services.db, principal, ns, node_id)
    content, length = ContentHash(entry.content), entry.size
    if rev:
        found = [each for each in await versions(services.db, principal, ns, node_id) if each.rev == rev]
        if not found:
            raise NotFound("There is no such version.", rev=rev)
        content, length = found[0].content_hash, found[0].size
    kind = picture_kind_of(entry.name) if entry.kind == Kind.FILE and length else ""
    if not kind:
        raise MessageInvalid("Of this file no picture is made.", reason="kind")
    if length > PICTURE_BYTES_MAX:
        raise LimitExceeded(
            "The file is too long for a small picture of it.",
            limit="PICTURE_BYTES_MAX",
            maximum=PICTURE_BYTES_MAX,
            actual=length,
        )
    return content, kind, length


async def _drawn(
    services: Services,
    principal: Principal,
    ns: NamespaceId,
    content: ContentHash,
    kind: str,
    length: int,
    edge: Edge,
) -> Picture:
    with services.room.taken(principal.account_id, 2 * length):
        blocks = unpack_blocks(await blocklist_of(services.db, ns, content))
        data = b"".join([piece async for piece in pieces_of(services, ns, blocks, 0, length)])
        picture = await services.thumbnails.picture_of(kind, data, edge)
    now_ms = services.clock.now_ms()
    await keep_picture(services.db, ns, content, kind, edge, picture, now_ms=now_ms)
    return picture


ROUTES = (thumbnail,)
