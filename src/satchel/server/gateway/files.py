"""REST: listing, folders, moves, deletes, by path. Invariant: every change goes through the one write path.

A path is looked up once; what is then changed is the node that it named, and only if nobody changed it meanwhile.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import Parameter

from satchel.core.entries import Entry, Kind
from satchel.core.errors import AlreadyExists, MessageInvalid, NotFound
from satchel.core.ids import ROOT_NODE, NodeId, uuid7
from satchel.core.limits import LIST_PAGE_MAX
from satchel.core.messages import CreateOp, DeleteOp, MoveOp, Placement
from satchel.core.paths import join_path, split_path
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.commits import commit_op, new_op_id
from satchel.server.gateway.rest import Asked, Item, Items, item_of, principal_of, services_of
from satchel.server.gateway.services import Services
from satchel.server.metadata.namespaces import namespaces
from satchel.server.metadata.tree import entry_by_id, list_folder, resolve

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
    """List a folder by name, a page at a time."""
    services, principal = services_of(request), await principal_of(request)
    folder = await resolve(services.db, principal, principal.root_ns, path)
    found = await list_folder(services.db, principal, principal.root_ns, folder.node_id, after, limit)
    return Items([item_of(entry) for entry in found], found[-1].name_key if len(found) == limit else "")


@get("/api/v1/entry")
async def entry(request: Asked, path: str) -> Item:
    """Tell what stands at a path."""
    services, principal = services_of(request), await principal_of(request)
    return item_of(await resolve(services.db, principal, principal.root_ns, path))


@post("/api/v1/folders", status_code=201)
async def make_folder(request: Asked, data: PathAsked) -> Item:
    """Make a folder in one that exists."""
    services, principal = services_of(request), await principal_of(request)
    parent, name = await place_of(services, principal, data.path)
    if await resolve_or_none(services, principal, data.path) is not None:
        raise AlreadyExists("There is something at this path.", what="path", name=name)
    node_id = new_node_id(services)
    await commit_op(services, principal, CreateOp(new_op_id(services), node_id, parent, name, Kind.FOLDER))
    return item_of(await entry_by_id(services.db, principal, principal.root_ns, node_id))


@post("/api/v1/move", status_code=200)
async def move(request: Asked, data: MoveAsked) -> Item:
    """Move or rename a file or folder; the target must be free."""
    services, principal = services_of(request), await principal_of(request)
    source = await existing(services, principal, data.source)
    parent, name = await place_of(services, principal, data.target)
    in_the_way = await resolve_or_none(services, principal, data.target)
    if in_the_way is not None and in_the_way.node_id != source.node_id:
        raise AlreadyExists("There is something at the target.", what="path", name=name)
    placement = Placement(source.node_id, source.place_rev, parent, name)
    await commit_op(services, principal, MoveOp(new_op_id(services), (placement,)))
    return item_of(await entry_by_id(services.db, principal, principal.root_ns, source.node_id))


@post("/api/v1/delete", status_code=204)
async def delete(request: Asked, data: PathAsked) -> None:
    """Put a file or folder, with all that is in it, into the trash."""
    services, principal = services_of(request), await principal_of(request)
    found = await existing(services, principal, data.path)
    head = (await namespaces(services.db, principal)).namespaces[0]
    await commit_op(services, principal, DeleteOp(new_op_id(services), found.node_id, head.head_seq))


async def existing(services: Services, principal: Principal, path: str) -> Entry:
    """Return the file or folder at a path; the root is none that could be changed. Raises: NotFound, MessageInvalid."""
    found = await resolve(services.db, principal, principal.root_ns, path)
    if found.node_id == ROOT_NODE:
        raise MessageInvalid("The root folder itself cannot be changed.", reason="root")
    return found


async def place_of(services: Services, principal: Principal, path: str) -> tuple[NodeId, str]:
    """Return the folder a path stands in, and its last name. Raises: NotFound, NameInvalid, MessageInvalid."""
    names = split_path(path)
    if not names:
        raise MessageInvalid("The root folder itself cannot be changed.", reason="root")
    parent = await resolve(services.db, principal, principal.root_ns, join_path(names[:-1]))
    if parent.kind != Kind.FOLDER:
        raise NotFound("The path leads through a file.")
    return parent.node_id, names[-1]


async def resolve_or_none(services: Services, principal: Principal, path: str) -> Entry | None:
    """Return what stands at a path, or None."""
    try:
        return await resolve(services.db, principal, principal.root_ns, path)
    except NotFound:
        return None


def new_node_id(services: Services) -> NodeId:
    """Return an id for a node that the service makes for a program."""
    return NodeId(uuid7(services.clock.now_ms(), services.clock.random(10)))


ROUTES = (listing, entry, make_folder, move, delete)
