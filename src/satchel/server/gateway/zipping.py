"""REST: a folder, or some of what stands in it, as one zip archive. Invariant: it holds what whoever asks may read at
that moment, folder by folder; who is signed out meanwhile, or loses a right to any part of it, gets no more.

Shared folders are in it where they are mounted; symbolic links are not. Source: docs/design/060 (1).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from litestar import get
from litestar.params import Parameter
from litestar.response import Stream

from satchel.core.access import Right
from satchel.core.entries import Entry
from satchel.core.errors import MessageInvalid, NotFound
from satchel.core.ids import NamespaceId, NodeId
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.content import RECHECK_MS
from satchel.server.gateway.link_pages import attachment
from satchel.server.gateway.raw import SENT_BYTES_MAX
from satchel.server.gateway.rest import Asked, from_hex, principal_of, services_of
from satchel.server.gateway.zip_stream import zip_pieces
from satchel.server.metadata.tree import entry_by_id, list_folder, locate

CHOSEN_MAX = 500
Chosen = Annotated[list[str] | None, Parameter(max_items=CHOSEN_MAX)]


class _AccountSource:
    """A folder of an account as what an archive is made of. chosen: what of it is wanted; nothing for all."""

    def __init__(self, request: Asked, principal: Principal, ns: NamespaceId, folder: NodeId) -> None:
        self._request = request
        self._principal = principal
        self._services = services_of(request)
        self._top = (ns, folder)
        self._read = {ns}
        self._due_ms = self._services.clock.now_ms() + RECHECK_MS
        self.chosen: list[Entry] = []

    async def choose(self, ids: list[str]) -> None:
        """Take only these of the folder. Raises: NotFound, MessageInvalid."""
        ns, folder = self._top
        for told in dict.fromkeys(ids):
            entry = await entry_by_id(self._services.db, self._principal, ns, NodeId(from_hex(told, what="only")))
            if entry.parent_id != folder:
                raise NotFound("There is no such file or folder.")
            self.chosen.append(entry)
        self.chosen.sort(key=lambda entry: entry.name_key)

    async def children(self, ns: NamespaceId, folder: NodeId, after: str, limit: int) -> list[Entry]:
        """Return a page of a folder. Raises: NotFound."""
        self._read.add(ns)
        if self.chosen and (ns, folder) == self._top:
            return [entry for entry in self.chosen if entry.name_key > after][:limit]
        return await list_folder(self._services.db, self._principal, ns, folder, after, limit)

    async def pause(self) -> None:
        """Return when more may be sent. Raises: NotFound, Unauthenticated."""
        if self._services.clock.now_ms() >= self._due_ms:
            await self.now()

    async def now(self) -> None:
        """As `pause`, whenever it was asked last."""
        self._principal = await principal_of(self._request)
        for ns in self._read:
            await authorize(self._services.db, self._principal, ns, Right.READ)
        self._due_ms = self._services.clock.now_ms() + RECHECK_MS


@get("/api/v1/zip", transfers=True)
async def account_zip(request: Asked, path: str = "/", only: Chosen = None) -> Stream:
    """Give a folder with all in it as one zip archive, or only some of what stands in it."""
    services, principal = services_of(request), await principal_of(request)
    found = await locate(services.db, principal, path)
    if not found.is_folder:
        raise MessageInvalid("Only a folder can be an archive.", reason="kind")
    ns, folder = found.inside
    await authorize(services.db, principal, ns, Right.READ)
    source = _AccountSource(request, principal, ns, folder)
    if only:
        await source.choose(only)
    pieces = zip_pieces(services, source, found.ns, found.entry)
    # The first piece is made before the answer begins, so that what cannot be had at all is an error.
    head = await anext(pieces)

    async def body() -> AsyncIterator[bytes]:
        piece = head
        while piece:
            for at in range(0, len(piece), SENT_BYTES_MAX):
                await source.pause()
                yield piece[at : at + SENT_BYTES_MAX]
            piece = await anext(pieces, b"")

    headers = {
        "content-disposition": attachment(f"{found.entry.name or 'files'}.zip"),
        "cache-control": "private, no-store",
    }
    return Stream(body(), headers=headers, media_type="application/zip")


ROUTES = (account_zip,)
