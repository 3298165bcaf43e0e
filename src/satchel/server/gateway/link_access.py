"""What all routes of a link's holder begin with. Invariant: no route opens a link by itself, so none forgets a rule.

A key that stands for the password comes in a header or a cookie, never in the URL. What changes something takes it from
the header alone: another site can make a browser send a cookie. Source: docs/design/060 (1, 5), docs/use/links.md.
"""

from __future__ import annotations

import contextlib

from satchel.core.entries import Kind
from satchel.core.errors import LinkLocked, MessageInvalid
from satchel.core.ids import AccountId, ContentHash, NodeId
from satchel.server.gateway.raw import HELD
from satchel.server.gateway.rest import Asked, from_hex, services_of
from satchel.server.gateway.services import Services
from satchel.server.metadata.nodes import Node
from satchel.server.sharing.link_keys import LinkKeys
from satchel.server.sharing.links import OpenLink, gone, open_link
from satchel.server.sharing.shares import Permission, Share

PUBLIC = "/api/v1/public/{token:str}"
PAGE = "/s/{token:str}"
SHOWING = frozenset({Permission.VIEW, Permission.EDIT})
TAKING = frozenset({Permission.UPLOAD, Permission.EDIT})
EDITING = frozenset({Permission.EDIT})
ALL = frozenset(Permission)
KEY_HEADER = "satchel-link-key"
RESUME_HEADER = "satchel-download-key"
RECHECK_MS = 15_000
"""So long a stream goes on before it is asked again whether its link still opens."""


def keys_of(services: Services) -> LinkKeys:
    """Return what seals the keys of this store's links."""
    return LinkKeys(services.facts.cursor_key)


async def opened(
    request: Asked, token: str, allowed: frozenset[Permission], *, node: str = "", is_write: bool = False
) -> OpenLink:
    """Return the link of a token, unlocked, with one of its nodes (by hex id; the link's own one by default).

    Raises: NotFound (always the same), LinkLocked.
    """
    services = services_of(request)
    link = await open_link(services.db, services.clock, token, named(node))
    if link.share.permission not in allowed:
        raise gone()
    if is_locked(request, link.share, is_write=is_write):
        raise LinkLocked("This link asks for its password.")
    hold_place(request, link.share)
    return link


def named(node: str) -> NodeId | None:
    """Return a node's id, None for an empty one. What cannot be one is as unknown as any other."""
    if not node:
        return None
    try:
        return NodeId(from_hex(node, what="id"))
    except MessageInvalid:
        raise gone() from None


def is_locked(request: Asked, share: Share, *, is_write: bool = False) -> bool:
    """Tell whether the request lacks the key of a link with a password."""
    if not share.password_hash:
        return False
    services = services_of(request)
    told = request.headers.get(KEY_HEADER, "")
    if not told and not is_write:
        told = request.cookies.get(cookie_name("link", share), "")
    return not keys_of(services).unlocks(told, share, now_ms=services.clock.now_ms())


def is_resumed(request: Asked, share: Share, node: Node) -> bool:
    """Tell whether the request belongs to a download of this content that was counted within the last hour."""
    services = services_of(request)
    told = request.headers.get(RESUME_HEADER, "") or request.cookies.get(cookie_name("download", share), "")
    return keys_of(services).resumes(
        told, share, node.node_id, ContentHash(node.content), now_ms=services.clock.now_ms()
    )


def cookie_name(purpose: str, share: Share) -> str:
    """Return the name of a cookie that belongs to one link; the prefix ties it to this host and to TLS."""
    return f"__Host-satchel-{purpose}-{share.share_id.hex()}"


def cookie(purpose: str, share: Share, key: str, *, age_s: int) -> str:
    """Return the header that sets a link's cookie."""
    return f"{cookie_name(purpose, share)}={key}; Path=/; Max-Age={age_s}; Secure; HttpOnly; SameSite=Strict"


def require_left(share: Share) -> None:
    """Return when the link's downloads are not used up: then it is gone for all but those who have begun one."""
    if share.is_used_up:
        raise gone()


def hold_place(request: Asked, share: Share) -> None:
    """Count the request, once, among the link's own until its answer is sent. Raises: TooManyRequests."""
    # Taken out of the scope: a request that opens its link again holds one place all the same.
    held = request.scope.pop(HELD, None)  # type: ignore[misc]  # a key of ours
    if isinstance(held, contextlib.ExitStack):
        held.enter_context(services_of(request).room.working(AccountId(share.share_id), is_transfer=True))


def address_of(request: Asked) -> str:
    """Return the address that asks."""
    return request.client.host if request.client else ""


class Recheck:
    """Asks again, while a stream runs, whether its link still opens and holds what is sent."""

    def __init__(self, services: Services, token: str, link: OpenLink) -> None:
        self._services = services
        self._token = token
        self._node_id = link.node.node_id
        self._password = link.share.password_hash
        self._due_ms = services.clock.now_ms() + RECHECK_MS

    async def pause(self) -> None:
        """Return when the stream may go on. Raises: NotFound, which cuts it; as `Database.read`."""
        if self._services.clock.now_ms() >= self._due_ms:
            await self.now()

    async def now(self) -> None:
        """As `pause`, whenever it was asked last."""
        link = await open_link(self._services.db, self._services.clock, self._token, self._node_id)
        if link.share.password_hash != self._password:
            raise gone()
        self._due_ms = self._services.clock.now_ms() + RECHECK_MS


def require_folder(link: OpenLink) -> None:
    """Return when what was asked for is a folder. Raises: NotFound."""
    if link.node.kind != Kind.FOLDER:
        raise gone()
