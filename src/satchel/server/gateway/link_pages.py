"""REST for whoever holds a link: what it is, what is in it, its bytes. Invariant: ids are looked for beneath the link's
own node and nowhere else; whatever does not open answers the same 404.

A download counts when it begins; one that goes on with a counted one names its key. Source: docs/use/links.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Response, get, post
from litestar.response import Stream

from satchel.core.entries import Kind
from satchel.core.errors import LinkLocked
from satchel.core.hashing import unpack_blocks
from satchel.core.ids import ContentHash, NamespaceId, NodeId
from satchel.core.limits import KIB, LIST_PAGE_MAX
from satchel.server.accounts.passwords import matches
from satchel.server.gateway.conditions import is_known
from satchel.server.gateway.content import pieces_of, range_of
from satchel.server.gateway.files import Limit
from satchel.server.gateway.link_access import (
    PAGE,
    PUBLIC,
    RESUME_HEADER,
    SHOWING,
    Recheck,
    address_of,
    cookie,
    is_locked,
    is_resumed,
    keys_of,
    opened,
    require_folder,
    require_left,
)
from satchel.server.gateway.previews import preview_type
from satchel.server.gateway.raw import SENT_BYTES_MAX
from satchel.server.gateway.rest import KINDS, Asked, services_of
from satchel.server.gateway.services import Services
from satchel.server.gateway.zip_stream import zip_pieces
from satchel.server.metadata.nodes import Node
from satchel.server.metadata.tree import blocklist_of
from satchel.server.sharing.link_keys import KEY_MS, spend_guess
from satchel.server.sharing.links import OpenLink, children_of, gone, open_link, take_download
from satchel.server.sharing.shares import Permission, Share

UNLOCK_BODY_BYTES_MAX = 16 * KIB


class LinkItem(msgspec.Struct, frozen=True):
    """A file or folder in a link. rev: writes expect it as `If-Match`; preview: the media type to show it as, empty for
    what is only saved."""

    id: str
    name: str
    kind: str
    size: int
    mtime_ns: int
    rev: int
    preview: str


class LinkItems(msgspec.Struct, frozen=True):
    """A page of a folder. after: give it to get the next page; empty at the end."""

    items: list[LinkItem]
    after: str


class LinkInfo(msgspec.Struct, frozen=True):
    """What a link is. is_locked: it asks for a password first, and nothing else is told.

    item: what it names, null for a file request, of which only the name is told, and by: who asks. downloads_left,
    expires_ms: null for no limit.
    """

    is_locked: bool
    permission: str = ""
    name: str = ""
    item: LinkItem | None = None
    is_no_download: bool = False
    downloads_left: int | None = None
    expires_ms: int | None = None
    by: str = ""


class LinkPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A link's password."""

    password: str


class Unlocked(msgspec.Struct, frozen=True):
    """The key that stands for the password: send it as `Satchel-Link-Key` until `expires_ms`."""

    key: str
    expires_ms: int


@get([PAGE, PUBLIC], public=True)
async def link_info(request: Asked, token: str) -> LinkInfo:
    """Tell what a link is."""
    services = services_of(request)
    link = await open_link(services.db, services.clock, token)
    share = link.share
    require_left(share)
    services.hits.opened(share)
    if is_locked(request, share):
        return LinkInfo(is_locked=True)
    is_request = share.permission is Permission.UPLOAD
    return LinkInfo(
        is_locked=False,
        permission=str(share.permission),
        name=link.root.name,
        item=None if is_request else link_item(link.root),
        is_no_download=share.is_no_download,
        downloads_left=None if share.downloads_max is None else share.downloads_max - share.downloads,
        expires_ms=share.expires_ms,
        # Who is asked for files is told by whom; who looks at some learns no account's name.
        by=link.principal.account_name if is_request else "",
    )


@post([f"{PAGE}/unlock", f"{PUBLIC}/unlock"], status_code=200, public=True, request_max_body_size=UNLOCK_BODY_BYTES_MAX)
async def unlock(request: Asked, token: str, data: LinkPassword) -> Response[Unlocked]:
    """Give a link's password; get the key that stands for it for an hour, in the answer and as a cookie."""
    services = services_of(request)
    share = (await open_link(services.db, services.clock, token)).share
    require_left(share)
    if not share.password_hash:
        raise gone()
    await spend_guess(services.state, share, address_of(request))
    if not await matches(data.password, share.password_hash):
        raise LinkLocked("The password is wrong.")
    until_ms = services.clock.now_ms() + KEY_MS
    key = keys_of(services).unlocking(share, until_ms=until_ms)
    headers = {"set-cookie": cookie("link", share, key, age_s=KEY_MS // 1000), "cache-control": "no-store"}
    return Response(Unlocked(key, until_ms), headers=headers)


@get([f"{PAGE}/list", f"{PUBLIC}/list"], public=True)
async def link_list(
    request: Asked, token: str, id: str = "", after: str = "", limit: Limit = LIST_PAGE_MAX
) -> LinkItems:
    """List a folder of a link, a page at a time; by default the link's own one."""
    services = services_of(request)
    link = await opened(request, token, SHOWING, node=id)
    require_left(link.share)
    require_folder(link)
    found = await children_of(services.db, link, link.node.node_id, after, limit)
    return LinkItems([link_item(node) for node in found], found[-1].name_key if len(found) == limit else "")


@get(f"{PUBLIC}/content", public=True)
async def link_content(request: Asked, token: str, id: str = "", preview: bool = False) -> Response[bytes] | Stream:
    """Give a file's bytes, whole or one range; with `preview` to be shown, if its type may be."""
    services = services_of(request)
    link = await opened(request, token, SHOWING, node=id)
    share, node = link.share, link.node
    media_type = preview_type(node.name)
    if node.kind != Kind.FILE or (share.is_no_download and not media_type):
        raise gone()
    is_going_on = is_resumed(request, share, node)
    if not is_going_on:
        require_left(share)
    tag = f'"{node.content.hex()}"'
    is_shown = bool(media_type) and (preview or share.is_no_download)
    headers = _content_headers(node, tag, is_shown=is_shown)
    if is_known(request, tag):
        return Response(b"", status_code=304, headers=headers)
    told, if_range = request.headers.get("range", ""), request.headers.get("if-range", tag)
    first, last, is_part = range_of(told, if_range=if_range, size=node.size, tag=tag)
    if first > last and node.size:
        return Response(b"", status_code=416, headers=headers | {"content-range": f"bytes */{node.size}"})
    if is_part:
        headers["content-range"] = f"bytes {first}-{last}/{node.size}"
    packed = await blocklist_of(services.db, share.ns, ContentHash(node.content)) if node.size else b""
    pieces = pieces_of(services, share.ns, unpack_blocks(packed), first, last + 1)
    # The first piece is read before the answer begins, and before it counts: damage is an error and no download.
    head = await anext(pieces, b"")
    headers |= await counted(services, link, is_going_on=is_going_on and first > 0, is_start=first == 0)
    headers["content-length"] = str(last + 1 - first)
    body = _watched(head, pieces, Recheck(services, token, link))
    kind = media_type if is_shown else "application/octet-stream"
    return Stream(body, status_code=206 if is_part else 200, headers=headers, media_type=kind)


@get(f"{PUBLIC}/zip", public=True)
async def link_zip(request: Asked, token: str, id: str = "") -> Stream:
    """Give a folder of a link with all in it as one zip archive; by default the link's own one."""
    services = services_of(request)
    link = await opened(request, token, SHOWING, node=id)
    share = link.share
    require_left(share)
    require_folder(link)
    if share.is_no_download:
        raise gone()
    recheck = Recheck(services, token, link)
    pieces = zip_pieces(services, _LinkSource(services, link, recheck), share.ns, link.node)
    head = await anext(pieces)
    await _count(services, share)
    headers = {
        "content-disposition": attachment(f"{link.node.name or 'files'}.zip"),
        "cache-control": "private, no-store",
    }
    return Stream(_watched(head, pieces, recheck), headers=headers, media_type="application/zip")


class _LinkSource:
    """A link's folder as what an archive is made of."""

    def __init__(self, services: Services, link: OpenLink, recheck: Recheck) -> None:
        self._db = services.db
        self._link = link
        self.pause, self.now = recheck.pause, recheck.now

    async def children(self, ns: NamespaceId, folder: NodeId, after: str, limit: int) -> list[Node]:
        return await children_of(self._db, self._link, folder, after, limit)


def link_item(node: Node) -> LinkItem:
    """Return a node as the holder of a link sees it."""
    is_file = node.kind == Kind.FILE
    return LinkItem(
        id=node.node_id.hex(),
        name=node.name,
        kind=KINDS[node.kind],
        size=node.size,
        mtime_ns=node.mtime_ns,
        rev=node.content_rev,
        preview=preview_type(node.name) if is_file else "",
    )


def _content_headers(node: Node, tag: str, *, is_shown: bool) -> dict[str, Any]:
    return {
        "etag": tag,
        "accept-ranges": "bytes",
        "content-disposition": "inline" if is_shown else attachment(node.name),
        "cache-control": "private, no-cache",
    }


def attachment(name: str) -> str:
    """Return the header that lets a browser save what comes under this name."""
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


async def counted(services: Services, link: OpenLink, *, is_going_on: bool, is_start: bool) -> dict[str, str]:
    """Count a download and return the headers with the key to go on with it.

    Where there is a limit, whatever does not go on with a counted download is a new one, at whichever byte it begins;
    where there is none, only what begins at the first byte is.
    """
    share = link.share
    if is_going_on or (share.downloads_max is None and not is_start):
        return {}
    await _count(services, share)
    if share.downloads_max is None:
        return {}
    until_ms = services.clock.now_ms() + KEY_MS
    key = keys_of(services).resuming(share, link.node.node_id, ContentHash(link.node.content), until_ms=until_ms)
    return {RESUME_HEADER: key, "set-cookie": cookie("download", share, key, age_s=KEY_MS // 1000)}


async def _count(services: Services, share: Share) -> None:
    if share.downloads_max is None:
        services.hits.downloaded(share)
    else:
        await take_download(services.db, share)


async def _watched(head: bytes, pieces: AsyncIterator[bytes], recheck: Recheck) -> AsyncIterator[bytes]:
    """Yield all that is to be sent in parts so short that a slow receiver does not outlive the link by long."""
    piece = head
    while piece:
        for at in range(0, len(piece), SENT_BYTES_MAX):
            await recheck.pause()
            yield piece[at : at + SENT_BYTES_MAX]
        piece = await anext(pieces, b"")


ROUTES = (link_info, unlock, link_list, link_content, link_zip)
