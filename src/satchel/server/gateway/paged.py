"""REST: the pages of a PDF as pictures, for accounts and for whoever holds a link. Invariant: rights are asked at each
page as they are for the content, before anything else and once more after it was drawn; a script in a PDF is never sent
to be shown, and never run.

Looking at pages through a link counts as one download, when it is asked how many there are; where downloads are counted
to a limit, a page is given with the key of that one. Source: docs/design/060 (1, 5, 6), docs/use/links.md.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.params import Parameter

from satchel.core.access import Right
from satchel.core.entries import Kind
from satchel.core.errors import MessageInvalid
from satchel.core.ids import AccountId, ContentHash
from satchel.server.accounts.access import authorize
from satchel.server.documents.kinds import picture_kind_of
from satchel.server.documents.thumbnails import PageWidth, Picture, page_sizes, shown
from satchel.server.gateway.history import node_of
from satchel.server.gateway.link_access import PUBLIC, SHOWING, Recheck, is_resumed, opened, require_left
from satchel.server.gateway.link_pages import counted
from satchel.server.gateway.rest import Asked, principal_of, services_of
from satchel.server.gateway.thumbnails import Source, no_picture, picture_for, require_short, source_of
from satchel.server.sharing.links import OpenLink, gone

_WIDTHS = {width.name.lower(): width for width in PageWidth}
_DRAWN_BY = 1
"""Part of the tag: another number when pages are drawn otherwise."""
_NO_EDGE = 0
_Page = Annotated[int, Parameter(ge=1, le=2**31)]


class PageSize(msgspec.Struct, frozen=True):
    """How large a page is, in points."""

    width: float
    height: float


class DocumentPages(msgspec.Struct, frozen=True):
    """The pages of a document. count: how many there are; sizes: of each, of at most the first 2,000."""

    count: int
    sizes: list[PageSize]


@get("/api/v1/content/pages", transfers=True)
async def pages(request: Asked, path: str = "", id: str = "", rev: int = 0, namespace: str = "") -> DocumentPages:
    """Tell how many pages a PDF has, and how large they are; `rev` names an earlier version. 400 `message_invalid` for
    what has none: its `reason` is `kind`, `unreadable` or `too_large`.
    """
    services, source = services_of(request), await _asked(request, path, id, namespace, rev)
    account = (await principal_of(request)).account_id
    told, is_new = await picture_for(services, account, source, "pages", _NO_EDGE)
    if is_new:
        await authorize(services.db, await principal_of(request), source.ns, Right.READ)
    return _told(told)


@get("/api/v1/content/page", media_type="image/webp", transfers=True)
async def page(
    request: Asked,
    path: str = "",
    id: str = "",
    rev: int = 0,
    namespace: str = "",
    page: _Page = 1,
    width: str = "medium",
) -> Response[bytes]:
    """Give the picture, WebP, of one page of a PDF; the first is 1. `width`: `small`, `medium` or `large`, 800, 1,400
    or 2,400 pixels. 400 `message_invalid` as for its pages; its `reason` is `no_page` behind the last.
    """
    services, source = services_of(request), await _asked(request, path, id, namespace, rev)
    headers, is_known = _headers(request, source, page, width)
    if is_known:
        return Response(b"", status_code=304, headers=headers)
    account = (await principal_of(request)).account_id
    picture, is_new = await picture_for(services, account, source, "page", _WIDTHS[width], page - 1)
    if is_new:
        await authorize(services.db, await principal_of(request), source.ns, Right.READ)
    return Response(shown(picture), headers=headers, media_type="image/webp")


@get(f"{PUBLIC}/content/pages", public=True)
async def link_paged(request: Asked, token: str, id: str = "") -> Response[DocumentPages]:
    """Tell how many pages a PDF of a link has, and how large they are, as for an account; it counts as a download."""
    services = services_of(request)
    link = await opened(request, token, SHOWING, node=id)
    source, is_going_on = _source_in(link), is_resumed(request, link.share, link.node)
    if not is_going_on:
        require_left(link.share)
    told, is_new = await picture_for(services, AccountId(link.share.share_id), source, "pages", _NO_EDGE)
    if is_new:
        await Recheck(services, token, link).now()
    answer = _told(told)
    headers = await counted(services, link, is_going_on=is_going_on, is_start=True)
    return Response(answer, headers=headers | {"cache-control": "private, no-store"})


@get(f"{PUBLIC}/content/page", media_type="image/webp", public=True)
async def link_page(
    request: Asked, token: str, id: str = "", page: _Page = 1, width: str = "medium"
) -> Response[bytes]:
    """Give the picture of one page of a PDF of a link, as for an account."""
    services = services_of(request)
    link = await opened(request, token, SHOWING, node=id)
    source = _source_in(link)
    if link.share.downloads_max is not None and not is_resumed(request, link.share, link.node):
        raise gone()
    headers, is_known = _headers(request, source, page, width)
    if is_known:
        return Response(b"", status_code=304, headers=headers)
    picture, is_new = await picture_for(
        services, AccountId(link.share.share_id), source, "page", _WIDTHS[width], page - 1
    )
    if is_new:
        await Recheck(services, token, link).now()
    return Response(shown(picture), headers=headers, media_type="image/webp")


async def _asked(request: Asked, path: str, id: str, namespace: str, rev: int) -> Source:
    """Return the PDF that is asked for. Raises: Unauthenticated, NotFound, MessageInvalid, LimitExceeded."""
    services, principal = services_of(request), await principal_of(request)
    ns, node_id = await node_of(services, principal, path=path, node=id, namespace=namespace)
    source, name = await source_of(services, principal, ns, node_id, rev)
    if picture_kind_of(name) != "pdf":
        raise no_picture()
    require_short(source)
    return source


def _source_in(link: OpenLink) -> Source:
    """Return the PDF that a link shows. Raises: NotFound, MessageInvalid, LimitExceeded."""
    node = link.node
    if node.kind != Kind.FILE:
        raise gone()
    if picture_kind_of(node.name) != "pdf":
        raise no_picture()
    source = Source(link.share.ns, ContentHash(node.content), node.size)
    require_short(source)
    return source


def _headers(request: Asked, source: Source, page: int, width: str) -> tuple[dict[str, str], bool]:
    """Return the headers of a page's picture, and whether whoever asks has it. Raises: MessageInvalid."""
    if width not in _WIDTHS:
        raise MessageInvalid("A width is small, medium or large.", reason="width")
    tag = f'"{source.content.hex()}-{page}-{width}-{_DRAWN_BY}"'
    return {"etag": tag, "cache-control": "private, no-cache"}, request.headers.get("if-none-match", "") == tag


def _told(told: Picture) -> DocumentPages:
    count, sizes = page_sizes(shown(told))
    return DocumentPages(count, [PageSize(*size) for size in sizes])


ROUTES = (pages, page, link_paged, link_page)
