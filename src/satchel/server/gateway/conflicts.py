"""REST: the conflicted copies that an account sees, and how one is taken in place of the file it stands beside.

Invariant: every answer to a conflict can be taken back: what is deleted is in the trash, what is replaced is a version.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import Parameter

from satchel.core.conflicts import copy_origin
from satchel.core.errors import MessageInvalid
from satchel.core.ids import NodeId
from satchel.core.limits import SEARCH_HITS_MAX
from satchel.server.gateway.commits import stored_or_fault
from satchel.server.gateway.rest import Asked, Item, from_hex, item_of, namespace_of, principal_of, services_of
from satchel.server.metadata.keeping import State, keep_copy
from satchel.server.metadata.nodes import Node, snapshot_entry
from satchel.server.metadata.tree import entry_by_id
from satchel.server.search.copies import conflicted_copies, originals_of
from satchel.server.search.names import Hit
from satchel.server.search.scopes import places_at

_Page = Annotated[int, Parameter(ge=1, le=SEARCH_HITS_MAX)]


class ConflictedCopy(msgspec.Struct, frozen=True):
    """A conflicted copy. path: in one's own tree; device, day: whose copy it is and of which day (ISO), as its name
    tells; original: the file that it stands beside, null when there is none any more."""

    path: str
    device: str
    day: str
    copy: Item
    original: Item | None


class ConflictPage(msgspec.Struct, frozen=True):
    """A page of conflicted copies, the newest first. count: how many there are; is_all: no more than these; after,
    is_complete: as of a search by name."""

    items: list[ConflictedCopy]
    count: int
    after: str
    is_all: bool
    is_complete: bool


class KeepCopyAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which copy is to take the place of which file, by ids, each at the rev that was seen."""

    copy_id: str
    copy_rev: int
    file_id: str
    file_rev: int
    namespace: str = ""


@get("/api/v1/conflicts")
async def list_conflicts(
    request: Asked, path: str = "/", after: str = "", limit: _Page = SEARCH_HITS_MAX
) -> ConflictPage:
    """List the conflicted copies beneath a folder, in shared folders there too, each with the file that it was made
    of."""
    services, principal = services_of(request), await principal_of(request)
    skipped = _skipped(after)
    found = await conflicted_copies(services.db, principal, await places_at(services.db, principal, path))
    page, last = found.hits[skipped : skipped + limit], skipped + limit
    originals = await originals_of(services.db, page)
    shown = [_shown(hit, original) for hit, original in zip(page, originals, strict=True)]
    is_more = last < len(found.hits)
    return ConflictPage(shown, len(found.hits), str(last) if is_more else "", found.is_all, found.is_complete)


@post("/api/v1/conflicts/keep-copy", status_code=200)
async def keep_conflicted_copy(request: Asked, data: KeepCopyAsked) -> Item:
    """Give a file the content of its conflicted copy, and put the copy into the trash. What the file held stays its
    version. Refused when one of them is at another rev than was seen."""
    services, principal = services_of(request), await principal_of(request)
    ns = namespace_of(principal, data.namespace)
    file = _state(data.file_id, data.file_rev, what="file_id")
    copy = _state(data.copy_id, data.copy_rev, what="copy_id")
    outcome = await keep_copy(services.db, services.clock, principal, ns, file=file, copy=copy)
    stored = stored_or_fault(outcome)
    if stored.seq:
        await services.bus.publish(ns, stored.seq)
    return item_of(ns, await entry_by_id(services.db, principal, ns, file[0]))


def _skipped(after: str) -> int:
    """Return how many were told before. Raises: MessageInvalid."""
    if after and not (after.isascii() and after.isdigit() and len(after) <= len(str(SEARCH_HITS_MAX))):
        raise MessageInvalid("The token names no place among the conflicted copies.", reason="after")
    return int(after or 0)


def _state(node: str, rev: int, *, what: str) -> State:
    return NodeId(from_hex(node, what=what)), rev


def _shown(hit: Hit, original: Node | None) -> ConflictedCopy:
    device, day = copy_origin(hit.node.name)
    item = item_of(hit.ns, snapshot_entry(hit.node, is_live=True))
    beside = None if original is None else item_of(hit.ns, snapshot_entry(original, is_live=True))
    return ConflictedCopy(hit.path, device, day, item, beside)


ROUTES = (list_conflicts, keep_conflicted_copy)
