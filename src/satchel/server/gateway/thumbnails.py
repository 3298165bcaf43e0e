"""REST: small pictures of images and PDF. Invariant: rights are asked before anything else, as for the content, and
what comes out was drawn anew from pixels.
"""

from __future__ import annotations

from typing import NamedTuple

from litestar import Response, get

from satchel.core.access import Right
from satchel.core.entries import Kind
from satchel.core.errors import LimitExceeded, MessageInvalid, NotFound
from satchel.core.hashing import unpack_blocks
from satchel.core.ids import AccountId, ContentHash, NamespaceId, NodeId
from satchel.core.limits import PICTURE_BYTES_MAX
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.documents.kinds import picture_kind_of
from satchel.server.documents.thumbnails import Edge, Picture, keep_picture, kept_picture, shown
from satchel.server.gateway.content import pieces_of
from satchel.server.gateway.rest import Asked, from_hex, principal_of, services_of
from satchel.server.gateway.services import Services
from satchel.server.metadata.tree import blocklist_of, entry_by_id, versions


class Source(NamedTuple):
    """What a picture is made of: a content that a namespace holds, and its length in bytes."""

    ns: NamespaceId
    content: ContentHash
    length: int


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
    source, name = await source_of(services, principal, inside, node_id, rev)
    kind = picture_kind_of(name)
    if not kind:
        raise no_picture()
    require_short(source)
    tag = f'"{source.content.hex()}-{size}-{_DRAWN_BY}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match", "") == tag:
        return Response(b"", status_code=304, headers=headers)
    picture, is_new = await picture_for(services, principal.account_id, source, kind, _EDGES[size])
    if is_new:
        # It may have waited for others; who lost the right meanwhile sees nothing of it.
        await authorize(services.db, await principal_of(request), inside, Right.READ)
    return Response(shown(picture), headers=headers, media_type="image/webp")


async def source_of(
    services: Services, principal: Principal, ns: NamespaceId, node_id: NodeId, rev: int
) -> tuple[Source, str]:
    """Return what a picture of a file, or of an earlier version of it, is made of, and the file's name.

    Raises: NotFound, MessageInvalid.
    """
    entry = await entry_by_id(services.db, principal, ns, node_id)
    content, length = ContentHash(entry.content), entry.size
    if entry.kind != Kind.FILE:
        raise no_picture()
    if rev:
        found = [each for each in await versions(services.db, principal, ns, node_id) if each.rev == rev]
        if not found:
            raise NotFound("There is no such version.", rev=rev)
        content, length = found[0].content_hash, found[0].size
    return Source(ns, content, length), entry.name


def require_short(source: Source) -> None:
    """Return when pictures are made of a file so long. Raises: LimitExceeded; MessageInvalid for an empty one."""
    if not source.length:
        raise no_picture()
    if source.length > PICTURE_BYTES_MAX:
        raise LimitExceeded(
            "The file is too long for a picture of it.",
            limit="PICTURE_BYTES_MAX",
            maximum=PICTURE_BYTES_MAX,
            actual=source.length,
        )


def no_picture() -> MessageInvalid:
    """Return what is raised for a file that is not drawn."""
    return MessageInvalid("Of this file no picture is made.", reason="kind")


async def picture_for(
    services: Services, account: AccountId, source: Source, kind: str, edge: int, page: int = 0
) -> tuple[Picture, bool]:
    """Return what is kept of a content, drawn first if nothing is, and whether it was; `account` pays for the memory.

    Raises: MessageInvalid for what may work another time, Unavailable (retry).
    """
    ns, content, length = source
    picture = await kept_picture(services.db, ns, content, kind, edge, page)
    if picture is not None:
        return picture, False
    with services.room.taken(account, 2 * length):
        blocks = unpack_blocks(await blocklist_of(services.db, ns, content))
        data = b"".join([piece async for piece in pieces_of(services, ns, blocks, 0, length)])
        picture = await services.thumbnails.picture_of(kind, data, edge, page)
    now_ms = services.clock.now_ms()
    await keep_picture(services.db, ns, content, kind, edge, picture, now_ms=now_ms, page=page)
    return picture, True


ROUTES = (thumbnail,)
