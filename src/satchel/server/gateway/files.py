"""REST: listing, folders, moves, deletes, by path. Invariant: every change goes through the one write path.

A path is looked up once; what is then changed is the node that it named, and only if nobody changed it meanwhile.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import Parameter

from satchel.core.entries import Kind
from satchel.core.errors import AlreadyExists, MessageInvalid, NotFound
from satchel.core.ids import ROOT_NODE, NamespaceId, NodeId, uuid7
from satchel.core.limits import LIST_PAGE_MAX
from satchel.core.messages import CreateOp, DeleteOp, MoveOp, Placement
from satchel.core.paths import join_path, split_path
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.commits import commit_op, new_op_id
from satchel.server.gateway.conditions import require_match
from satchel.server.gateway.rest import Asked, Item, Items, address_of, item_of, principal_of, services_of
from satchel.server.gateway.services import Services
from satchel.server.gateway.telling import leave_share, tell_heads
from satchel.server.metadata.namespaces import namespaces
from satchel.server.metadata.tree import Located, entry_by_id, list_folder, locate
from satchel.server.sharing.between import Place, move_between

Limit = Annotated[int, Parameter(ge=1, le=LIST_PAGE_MAX)]


class PathAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One remote path, like `/Documents/a.txt`."""

    path: str


class MoveAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from", "target": "to"}):
    """From one path to another; both name the file or folder itself."""

    source: str
    target: str


@get("/api/v1/files")
async def listing(request: Asked, path: str = "/", after: str = "", limit: Limit = LIST_PAGE_MAX) -> Items:
    """List a folder by name, a page at a time; a shared folder where it is mounted."""
    services, principal = services_of(request), await principal_of(request)
    ns, folder = (await locate(services.db, principal, path)).inside
    found = await list_folder(services.db, principal, ns, folder, after, limit)
    return Items([item_of(ns, entry) for entry in found], found[-1].name_key if len(found) == limit else "")


@get("/api/v1/entry")
async def entry(request: Asked, path: str) -> Item:
    """Tell what stands at a path."""
    services, principal = services_of(request), await principal_of(request)
    found = await locate(services.db, principal, path)
    return item_of(found.ns, found.entry)


@post("/api/v1/folders", status_code=201)
async def make_folder(request: Asked, data: PathAsked) -> Item:
    """Make a folder in one that exists."""
    services, principal = services_of(request), await principal_of(request)
    ns, parent, name = await place_of(services, principal, data.path)
    if await locate_or_none(services, principal, data.path) is not None:
        raise AlreadyExists("There is something at this path.", what="path", name=name)
    node_id = new_node_id(services)
    await commit_op(services, principal, ns, CreateOp(new_op_id(services), node_id, parent, name, Kind.FOLDER))
    return item_of(ns, await entry_by_id(services.db, principal, ns, node_id))


@post("/api/v1/move", status_code=200, headers=("If-Match",))
async def move(request: Asked, data: MoveAsked) -> Item:
    """Move or rename a file or folder; the target must be free.

    Out of a shared folder, or into one, it is copied and the source goes into the trash of where it was.
    """
    services, principal = services_of(request), await principal_of(request)
    source = await existing(services, principal, data.source)
    require_match(request, source.entry)
    ns, parent, name = await place_of(services, principal, data.target)
    in_the_way = await locate_or_none(services, principal, data.target)
    if in_the_way is not None and in_the_way.entry.node_id != source.entry.node_id:
        raise AlreadyExists("There is something at the target.", what="path", name=name)
    moved = source.entry
    if ns != source.ns:
        place = Place(ns, parent, name)
        node_id = await move_between(services.db, services.clock, principal, source.ns, moved, place)
        await tell_heads(services, (source.ns, ns))
        return item_of(ns, await entry_by_id(services.db, principal, ns, node_id))
    placement = Placement(moved.node_id, moved.place_rev, parent, name)
    await commit_op(services, principal, ns, MoveOp(new_op_id(services), (placement,)))
    return item_of(ns, await entry_by_id(services.db, principal, ns, moved.node_id))


@post("/api/v1/delete", status_code=204, headers=("If-Match",))
async def delete(request: Asked, data: PathAsked) -> None:
    """Put a file or folder, with all that is in it, into the trash. Of a mounted shared folder: leave it."""
    services, principal = services_of(request), await principal_of(request)
    # Before the path is looked up: whatever another one changes after that is seen by the commit.
    heads = (await namespaces(services.db, principal)).namespaces
    found = await existing(services, principal, data.path)
    require_match(request, found.entry)
    if found.entry.kind == Kind.MOUNT:
        await leave_share(services, principal, found.inside[0], from_address=address_of(request))
        return
    seen = next((head.head_seq for head in heads if head.ns == found.ns), 0)
    await commit_op(services, principal, found.ns, DeleteOp(new_op_id(services), found.entry.node_id, seen))


async def existing(services: Services, principal: Principal, path: str) -> Located:
    """Return the file or folder at a path; the root is none that could be changed. Raises: NotFound, MessageInvalid."""
    found = await locate(services.db, principal, path)
    if found.entry.node_id == ROOT_NODE:
        raise MessageInvalid("The root folder itself cannot be changed.", reason="root")
    return found


async def place_of(services: Services, principal: Principal, path: str) -> tuple[NamespaceId, NodeId, str]:
    """Return the namespace and folder that a path stands in, and its last name.

    Raises: NotFound, NameInvalid, MessageInvalid.
    """
    names = split_path(path)
    if not names:
        raise MessageInvalid("The root folder itself cannot be changed.", reason="root")
    parent = await locate(services.db, principal, join_path(names[:-1]))
    if not parent.is_folder:
        raise NotFound("The path leads through a file.")
    return *parent.inside, names[-1]


async def locate_or_none(services: Services, principal: Principal, path: str) -> Located | None:
    """Return what stands at a path, or None."""
    try:
        return await locate(services.db, principal, path)
    except NotFound:
        return None


def new_node_id(services: Services) -> NodeId:
    """Return an id for a node that the service makes for a program."""
    return NodeId(uuid7(services.clock.now_ms(), services.clock.random(10)))


ROUTES = (listing, entry, make_folder, move, delete)
