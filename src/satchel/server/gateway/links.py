"""REST: links and file requests, for whoever makes them. Invariant: a link's token is told once, in the answer to its
making; everything else of it can be read and changed by its maker alone.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import delete, get, patch, post
from msgspec import UNSET, UnsetType

from satchel.core.entries import Kind
from satchel.core.errors import MessageInvalid, NotFound
from satchel.core.ids import ID_BYTES, NamespaceId, NodeId
from satchel.core.limits import LIST_PAGE_MAX
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.files import Limit, existing
from satchel.server.gateway.history import node_of
from satchel.server.gateway.rest import KINDS, Asked, address_of, from_hex, principal_of, services_of
from satchel.server.gateway.services import Services
from satchel.server.metadata.namespaces import namespaces
from satchel.server.sharing.links import (
    LinkPlace,
    MadeLink,
    Wanted,
    change_link,
    link_of,
    links_of,
    make_link,
    revoke_link,
)
from satchel.server.sharing.shares import Permission, ShareId

Counted = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
AGE_DAYS = 30
"""How long a link opens when its maker says nothing."""
_DAY_MS = 24 * 60 * 60 * 1000


class LinkAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to link to, by path or by id, and on which terms. ns: of the id, the account's own by default.

    expires_ms: in 30 days when it is missing; null: never.
    """

    path: str = ""
    id: str = ""
    ns: str = ""
    permission: Permission = Permission.VIEW
    password: str = ""
    expires_ms: Counted | UnsetType | None = UNSET
    downloads_max: Counted | None = None
    is_no_download: bool = False


class LinkChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Other terms for a link; what is missing stays. password: empty for none; null: no limit."""

    password: str | UnsetType = UNSET
    expires_ms: Counted | UnsetType | None = UNSET
    downloads_max: Counted | UnsetType | None = UNSET
    is_no_download: bool | UnsetType = UNSET


class LinkShown(msgspec.Struct, frozen=True):
    """A link as its maker sees it. token, url: only in the answer to its making; url: a path where the server has no
    public address of its own. path: empty when what it names is gone. seen_ms: when it was last opened, 0: never."""

    id: str
    node_id: str
    path: str
    name: str
    kind: str
    permission: str
    has_password: bool
    is_no_download: bool
    expires_ms: int | None
    downloads_max: int | None
    downloads: int
    hits: int
    created_ms: int
    seen_ms: int
    token: str = ""
    url: str = ""


class Links(msgspec.Struct, frozen=True):
    """A page of links, the oldest first. after: give it to get the next page; empty at the end."""

    links: list[LinkShown]
    after: str


@post("/api/v1/links", status_code=201)
async def make(request: Asked, data: LinkAsked) -> LinkShown:
    """Make a link to a file or folder; needs the right to share it."""
    services, principal = services_of(request), await principal_of(request)
    if data.path and data.ns:
        raise MessageInvalid("A path leads through the account's own tree; name an id beside a namespace.", reason="ns")
    ns, node_id = await _named(services, principal, data)
    now = services.clock.now_ms()
    wanted = Wanted(
        permission=data.permission,
        password=data.password,
        expires_ms=now + AGE_DAYS * _DAY_MS if data.expires_ms is UNSET else data.expires_ms,
        downloads_max=data.downloads_max,
        is_no_download=data.is_no_download,
    )
    address = address_of(request)
    token, made = await make_link(services.db, services.clock, principal, ns, node_id, wanted, from_address=address)
    return _shown(made, token=token, url=f"{services.settings.public_url.rstrip('/')}/s/{token}")


@get("/api/v1/links")
async def list_links(request: Asked, ns: str = "", after: str = "", limit: Limit = LIST_PAGE_MAX) -> Links:
    """List the links that the account made and did not revoke: in one namespace, or in all that it can read."""
    services, principal = services_of(request), await principal_of(request)
    raw = from_hex(after, what="after", length=2 * ID_BYTES) if after else b""
    above = LinkPlace(NamespaceId(raw[:ID_BYTES]), ShareId(raw[ID_BYTES:]))
    if ns:
        inside = [NamespaceId(from_hex(ns, what="ns"))]
    else:
        inside = [head.ns for head in (await namespaces(services.db, principal)).namespaces]
    found = await links_of(services.db, principal, inside, after=above, limit=limit)
    shown = [_shown(made) for made in found]
    return Links(shown, shown[-1].id if len(found) == limit else "")


@get("/api/v1/links/{link_id:str}")
async def show(request: Asked, link_id: str) -> LinkShown:
    """Tell the terms and the counts of one of the account's links."""
    services, principal = services_of(request), await principal_of(request)
    await services.hits.write(services.db, services.clock)
    return _shown(await link_of(services.db, principal, *_parts(link_id)))


@patch("/api/v1/links/{link_id:str}")
async def change(request: Asked, link_id: str, data: LinkChange) -> LinkShown:
    """Give a link other terms. A new password ends what was opened with the old one."""
    services, principal = services_of(request), await principal_of(request)
    old = (await link_of(services.db, principal, *_parts(link_id))).share
    wanted = Wanted(
        permission=old.permission,
        password=data.password or "",
        expires_ms=old.expires_ms if data.expires_ms is UNSET else data.expires_ms,
        downloads_max=old.downloads_max if data.downloads_max is UNSET else data.downloads_max,
        is_no_download=old.is_no_download if data.is_no_download is UNSET else data.is_no_download,
    )
    changed = await change_link(
        services.db,
        services.clock,
        principal,
        old,
        wanted,
        is_password_new=data.password is not UNSET,
        from_address=address_of(request),
    )
    return _shown(changed)


@delete("/api/v1/links/{link_id:str}", status_code=204)
async def revoke(request: Asked, link_id: str) -> None:
    """End a link for ever."""
    services, principal = services_of(request), await principal_of(request)
    address = address_of(request)
    await revoke_link(services.db, services.clock, principal, *_parts(link_id), from_address=address)


async def _named(services: Services, principal: Principal, data: LinkAsked) -> tuple[NamespaceId, NodeId]:
    """Return what is to be linked; of a mount, the folder behind it. Raises: NotFound, MessageInvalid."""
    if not data.path or data.id:
        return await node_of(services, principal, path=data.path, node=data.id, namespace=data.ns)
    found = await existing(services, principal, data.path)
    return found.inside if found.entry.kind == Kind.MOUNT else (found.ns, found.entry.node_id)


def _parts(link_id: str) -> tuple[NamespaceId, ShareId]:
    """Return where a link stands: its id names its namespace too. What is none is as unknown as any other."""
    try:
        raw = from_hex(link_id, what="id", length=2 * ID_BYTES)
    except MessageInvalid:
        raise NotFound("There is no such namespace.") from None
    return NamespaceId(raw[:ID_BYTES]), ShareId(raw[ID_BYTES:])


def _shown(made: MadeLink, *, token: str = "", url: str = "") -> LinkShown:
    share = made.share
    return LinkShown(
        id=(share.ns + share.share_id).hex(),
        node_id=share.node_id.hex(),
        path=made.path,
        name=made.name,
        kind=KINDS.get(made.kind, ""),
        permission=str(share.permission),
        has_password=bool(share.password_hash),
        is_no_download=share.is_no_download,
        expires_ms=share.expires_ms,
        downloads_max=share.downloads_max,
        downloads=share.downloads,
        hits=share.hits,
        created_ms=share.created_ms,
        seen_ms=share.seen_ms,
        token=token,
        url=url,
    )


ROUTES = (make, list_links, show, change, revoke)
