"""The REST routes of links, typed. Source: docs/use/links.md."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from satchel.device.api import Api


class Link(msgspec.Struct, frozen=True):
    """A link or file request. token, url: when it is made, and never again; None: no limit."""

    id: str
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


class _Links(msgspec.Struct, frozen=True):
    links: list[Link]
    after: str = ""


class LinkCalls(Api):
    """The service's REST interface, with links."""

    async def make_link(self, terms: dict[str, object]) -> Link:
        """Make a link; its token is told this once. Raises: NotFound, MessageInvalid, LimitExceeded."""
        return await self._ask("POST", "/api/v1/links", Link, body=terms)

    async def links(self) -> AsyncIterator[Link]:
        """Yield the account's links that were not revoked, the oldest first."""
        after, has_more = "", True
        while has_more:
            page = await self._ask("GET", "/api/v1/links", _Links, {"after": after})
            for link in page.links:
                yield link
            after, has_more = page.after, bool(page.after)

    async def revoke_link(self, link_id: str) -> None:
        """End a link for ever. Raises: NotFound."""
        await self._tell("DELETE", f"/api/v1/links/{link_id}")
