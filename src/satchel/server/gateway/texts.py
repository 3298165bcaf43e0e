"""REST: the plain text of a document, to look at without its program. Invariant: the document itself is read in a
limited process alone, and what comes out is text and nothing else.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import Parameter

from satchel.core.entries import Kind
from satchel.core.errors import LimitExceeded, MessageInvalid
from satchel.core.hashing import unpack_blocks
from satchel.core.ids import ContentHash
from satchel.core.limits import DOCUMENT_BYTES_MAX
from satchel.server.documents.extracting import TEXT_CHARS_MAX
from satchel.server.documents.kinds import kind_of
from satchel.server.gateway.content import pieces_of
from satchel.server.gateway.history import node_of
from satchel.server.gateway.rest import Asked, principal_of, services_of
from satchel.server.metadata.tree import blocklist_of, entry_by_id

_Chars = Annotated[int, Parameter(ge=1, le=TEXT_CHARS_MAX)]


class DocumentText(msgspec.Struct, frozen=True):
    """A document's text. rev: of the content it was taken from; is_cut: there is more than was asked for."""

    id: str
    name: str
    rev: int
    text: str
    is_cut: bool


@get("/api/v1/text", transfers=True)
async def text(
    request: Asked, path: str = "", id: str = "", chars: _Chars = TEXT_CHARS_MAX, namespace: str = ""
) -> DocumentText:
    """Give the plain text of a text, PDF, Word, Excel, PowerPoint or OpenDocument file, by path or by id; needs the
    right to read it. 400 `message_invalid` for what has none: its `reason` is `kind`, `unreadable` or `too_large`.
    """
    services, principal = services_of(request), await principal_of(request)
    ns, node_id = await node_of(services, principal, path=path, node=id, namespace=namespace)
    entry = await entry_by_id(services.db, principal, ns, node_id)
    if entry.kind != Kind.FILE or not kind_of(entry.name):
        raise MessageInvalid("Only a document has text to give.", reason="kind")
    if entry.size > DOCUMENT_BYTES_MAX:
        raise LimitExceeded(
            "The document is too long to be read here.",
            limit="DOCUMENT_BYTES_MAX",
            maximum=DOCUMENT_BYTES_MAX,
            actual=entry.size,
        )
    with services.room.taken(principal.account_id, 2 * entry.size):
        blocklist = await blocklist_of(services.db, ns, ContentHash(entry.content)) if entry.size else b""
        pieces = pieces_of(services, ns, unpack_blocks(blocklist), 0, entry.size)
        data = b"".join([piece async for piece in pieces])
        found = await services.documents.text_of(entry.name, data, chars_max=chars)
    return DocumentText(node_id.hex(), entry.name, entry.content_rev, found.text, found.is_cut)


ROUTES = (text,)
