"""REST: versions and trash. Invariant: restoring makes a new state; no earlier one is lost by it."""

from __future__ import annotations

import msgspec
from litestar import get, post

from satchel.core.entries import Entry
from satchel.core.errors import LimitExceeded, MessageInvalid
from satchel.core.ids import NamespaceId, NodeId
from satchel.core.limits import LIST_PAGE_MAX
from satchel.core.messages import Outcome
from satchel.core.retention import DAY_MS
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.commits import stored_or_fault
from satchel.server.gateway.conditions import require_match
from satchel.server.gateway.files import Limit, existing, place_of
from satchel.server.gateway.rest import (
    KINDS,
    Asked,
    Item,
    address_of,
    from_hex,
    item_of,
    namespace_of,
    principal_of,
    services_of,
)
from satchel.server.gateway.services import Services
from satchel.server.metadata.copies import copy_version
from satchel.server.metadata.purging import purge_units
from satchel.server.metadata.restore import restore_unit, restore_version
from satchel.server.metadata.tree import TrashItem, entry_by_id, locate, trash, versions


class Version(msgspec.Struct, frozen=True):
    """One committed content of a file. rev names it; number counts from 1; device: who wrote it, as called now."""

    rev: int
    number: int
    size: int
    mtime_ns: int
    content_hash: str
    author: str
    device: str
    created_ms: int


class Versions(msgspec.Struct, frozen=True):
    """A file's versions, the newest first."""

    id: str
    versions: list[Version]


class RestoreAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version of which file: by path, or by id (also of a deleted one). as_copy: as a new file beside it; to: as
    a new file at this path, which must be free."""

    rev: int
    path: str = ""
    id: str = ""
    namespace: str = ""
    as_copy: bool = False
    to: str = ""


class Trashed(msgspec.Struct, frozen=True):
    """A deleted file or folder. path: where it was in its namespace; deleted_ms: 0 when unknown; deleted_by, device:
    who deleted it, empty when unknown; purge_ms: when it will be gone for good, 0 for never or unknown; has_home: its
    folder is there, so it comes back to its place."""

    id: str
    path: str
    name: str
    kind: str
    size: int
    deleted_ms: int
    deleted_by: str
    device: str
    purge_ms: int
    has_home: bool
    namespace: str = ""


class TrashPage(msgspec.Struct, frozen=True):
    """A page of the trash, the last deleted first. after: give it to get the next page; empty at the end."""

    items: list[Trashed]
    after: str


class TrashRestoreAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to bring back, by id. namespace: whose trash, as its list says; without it the account's own. to: the path
    that it gets, which must be free; else the one that it had."""

    id: str
    namespace: str = ""
    to: str = ""


class TrashEmptyAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to remove for good: by id, LIST_PAGE_MAX at most, or all that was deleted before `before_ms` (Unix time; 0:
    by now). Exactly one of both. namespace: whose trash; without it the account's own."""

    ids: list[str] = []
    all: bool = False
    namespace: str = ""
    before_ms: int = 0


class TrashEmptied(msgspec.Struct, frozen=True):
    """removed: how many of the list are gone for good. has_more: ask again, and more of it goes."""

    removed: int
    has_more: bool


@get("/api/v1/versions")
async def list_versions(
    request: Asked, path: str = "", id: str = "", namespace: str = ""
) -> Versions:  # the query's name
    """List the versions of a file, by path, or by id (also of a deleted one)."""
    services, principal = services_of(request), await principal_of(request)
    ns, node_id = await node_of(services, principal, path=path, node=id, namespace=namespace)
    found = await versions(services.db, principal, ns, node_id)
    shown = [
        Version(
            rev=version.rev,
            number=version.number,
            size=version.size,
            mtime_ns=version.mtime_ns,
            content_hash=version.content_hash.hex(),
            author=version.author,
            device=version.device,
            created_ms=version.created_ms,
        )
        for version in found
    ]
    return Versions(node_id.hex(), shown)


@post("/api/v1/restore", status_code=200, headers=("If-Match",))
async def restore(request: Asked, data: RestoreAsked) -> Item:
    """Give a file the content of an earlier version, as its newest one; or make a new file of it."""
    services, principal = services_of(request), await principal_of(request)
    ns, node_id = await node_of(services, principal, path=data.path, node=data.id, namespace=data.namespace)
    if data.as_copy or data.to:
        place = await _place_in(services, principal, ns, data.to)
        made, copied = await copy_version(services.db, services.clock, principal, ns, node_id, data.rev, place=place)
        return item_of(ns, await _told(services, principal, ns, made, copied))
    if request.headers.get("if-match"):
        require_match(request, await entry_by_id(services.db, principal, ns, node_id))
    outcome = await restore_version(services.db, services.clock, principal, ns, node_id, data.rev)
    return item_of(ns, await _told(services, principal, ns, node_id, outcome))


@get("/api/v1/trash")
async def list_trash(
    request: Asked, after: str = "", limit: Limit = LIST_PAGE_MAX, path: str = "", namespace: str = ""
) -> TrashPage:
    """List what was deleted, the last first: from the account's own folders, or from the shared folder that `path`
    leads into or `namespace` names."""
    services, principal = services_of(request), await principal_of(request)
    ns = (await locate(services.db, principal, path)).inside[0] if path else namespace_of(principal, namespace)
    found = await trash(services.db, principal, ns, after, limit)
    items = [_trashed(ns, item, services.settings.trash_keep_days) for item in found]
    return TrashPage(items, found[-1].token if len(found) == limit else "")


@post("/api/v1/trash/restore", status_code=200)
async def restore_trash(request: Asked, data: TrashRestoreAsked) -> Item:
    """Bring a deleted file or folder back, with all that went with it."""
    services, principal = services_of(request), await principal_of(request)
    ns, node_id = namespace_of(principal, data.namespace), NodeId(from_hex(data.id, what="id"))
    place = await _place_in(services, principal, ns, data.to)
    outcome = await restore_unit(services.db, services.clock, principal, ns, node_id, place=place)
    return item_of(ns, await _told(services, principal, ns, node_id, outcome))


@post("/api/v1/trash/empty", status_code=200)
async def empty_trash(request: Asked, data: TrashEmptyAsked) -> TrashEmptied:
    """Remove deleted files and folders for good, with all their versions; only a namespace's owner may. Nobody can take
    that back."""
    services, principal = services_of(request), await principal_of(request)
    if bool(data.ids) == data.all:
        raise MessageInvalid("Name what is to go by its ids, or say all.", reason="ids or all")
    if len(data.ids) > LIST_PAGE_MAX:
        raise LimitExceeded("Too many ids at once.", limit="LIST_PAGE_MAX", maximum=LIST_PAGE_MAX, actual=len(data.ids))
    chosen = None if data.all else [NodeId(from_hex(one, what="id")) for one in data.ids]
    now_ms = services.clock.now_ms()
    done = await purge_units(
        services.db,
        services.clock,
        principal,
        namespace_of(principal, data.namespace),
        chosen,
        before_ms=min(data.before_ms, now_ms + 1) if data.before_ms > 0 else now_ms + 1,
        from_address=address_of(request),
    )
    return TrashEmptied(done.removed, done.has_more)


async def _place_in(services: Services, principal: Principal, ns: NamespaceId, path: str) -> tuple[NodeId, str] | None:
    """Return the folder and the name that a path leads to, None for no path. Raises: MessageInvalid, NotFound."""
    if not path:
        return None
    place_ns, parent, name = await place_of(services, principal, path)
    if place_ns != ns:
        raise MessageInvalid(
            "What comes back stays in its shared folder, or outside of all; move it then.", reason="to"
        )
    return parent, name


def _trashed(ns: NamespaceId, item: TrashItem, keep_days: int | None) -> Trashed:
    is_known = bool(item.deleted_ms) and keep_days is not None
    return Trashed(
        id=item.node_id.hex(),
        path=item.path,
        name=item.name,
        kind=KINDS[item.kind],
        size=item.size,
        deleted_ms=item.deleted_ms,
        deleted_by=item.actor,
        device=item.device,
        purge_ms=item.deleted_ms + (keep_days or 0) * DAY_MS if is_known else 0,
        has_home=item.has_home,
        namespace=ns.hex(),
    )


async def node_of(
    services: Services, principal: Principal, *, path: str, node: str, namespace: str
) -> tuple[NamespaceId, NodeId]:
    """Return the node that is named by path or by id, exactly one of them, and its namespace.

    namespace: of an id; without it the account's own. Raises: MessageInvalid, NotFound.
    """
    if bool(path) == bool(node):
        raise MessageInvalid("Name the file by its path or by its id.", reason="path or id")
    if node:
        return namespace_of(principal, namespace), NodeId(from_hex(node, what="id"))
    found = await existing(services, principal, path)
    return found.ns, found.entry.node_id


async def _told(services: Services, principal: Principal, ns: NamespaceId, node_id: NodeId, outcome: Outcome) -> Entry:
    """Tell who waits of what was restored, and return it as it stands now."""
    stored = stored_or_fault(outcome)
    if stored.seq:
        await services.bus.publish(ns, stored.seq)
    return await entry_by_id(services.db, principal, ns, node_id)


ROUTES = (list_versions, restore, list_trash, restore_trash, empty_trash)
