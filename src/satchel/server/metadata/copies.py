"""An earlier version as a file of its own. Invariant: the file that it is a version of is not touched."""

from __future__ import annotations

import datetime

from satchel.core.access import Right
from satchel.core.entries import Kind
from satchel.core.errors import NotFound
from satchel.core.ids import ID_BYTES, ROOT_NODE, ContentHash, NamespaceId, NodeId, OpId, uuid7
from satchel.core.limits import NAME_BYTES_MAX
from satchel.core.messages import CommitRequest, Conflict, Content, CreateOp, NeedBlocks, Outcome, Refused
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database
from satchel.server.metadata.commit import commit
from satchel.server.metadata.nodes import PURGED, Node
from satchel.server.metadata.restore import NAMES_TRIED_MAX, NO_LINK
from satchel.server.metadata.view import View
from satchel.server.ports import Clock

Place = tuple[NodeId, str]


async def copy_version(
    db: Database,
    clock: Clock,
    principal: Principal,
    ns: NamespaceId,
    node_id: NodeId,
    rev: int,
    *,
    place: Place | None = None,
) -> tuple[NodeId, Outcome]:
    """Make a new file with the content of version `rev` of a file, live or in the trash; return its id and outcome.

    place: folder and name, which must be free; else beside the file, or in the root when its folder is gone, under a
    name that tells when the version was made. Raises: NotFound, and as `commit`.
    """
    await authorize(db, principal, ns, Right.WRITE)

    async def find_txn(conn: Connection) -> tuple[View, Content, int, int]:
        rows = await conn.fetch(
            "SELECT m.manifest_id, m.blocks, m.size, m.cutter, v.mtime_ns, v.created_at FROM file_versions v"
            " JOIN manifests m ON m.ns = v.ns AND m.manifest_id = v.content"
            " WHERE v.ns = $1 AND v.node_id = $2 AND v.rev = $3",
            *(ns, node_id, min(rev, 2**62)),
        )
        view = View(ns)
        await view.load_txn(conn, {node_id}, set())
        if not rows or node_id not in view.nodes or view.nodes[node_id].state == PURGED:
            raise NotFound("There is no such version.", rev=rev)
        name, blocks, size, cutter, mtime_ns, created_ms = rows[0]
        return view, Content(ContentHash(name), blocks, size, cutter), mtime_ns, created_ms

    view, content, mtime_ns, created_ms = await db.read(find_txn)
    node, made = view.nodes[node_id], NodeId(uuid7(clock.now_ms(), clock.random(10)))
    beside = node.parent_id if view.facts(node.parent_id) is not None else ROOT_NODE
    outcome: Outcome = Refused("not_found")
    for number in range(1 if place else NAMES_TRIED_MAX):
        parent, name = place or (beside, copy_name(node.name, created_ms, number))
        op = _create(clock, made, parent, name, node, content, mtime_ns)
        outcome = (await commit(db, clock, principal, CommitRequest(ns, NO_LINK, (op,)))).outcomes[0]
        if outcome == Refused("parent_gone") and place is None:
            beside = ROOT_NODE
        elif place or not isinstance(outcome, Conflict):
            break
    if isinstance(outcome, NeedBlocks):
        # It was thinned away after it was found, and its blocks with it.
        raise NotFound("There is no such version any more.", rev=rev)
    return made, outcome


def copy_name(name: str, created_ms: int, number: int) -> str:
    """Return `stem (version 2026-11-28 14.03).ext`, in UTC, counted from the second on, within the limit of a name."""
    when = datetime.datetime.fromtimestamp(created_ms / 1000, datetime.UTC).strftime("%Y-%m-%d %H.%M")
    suffix = f" (version {when})" if number == 0 else f" (version {when}, {number + 1})"
    stem, dot, extension = name.rpartition(".")
    if not stem.strip(".") or len(extension) > 16:
        stem, dot, extension = name, "", ""
    room = NAME_BYTES_MAX - len((suffix + dot + extension).encode())
    return stem.encode()[:room].decode(errors="ignore") + suffix + dot + extension


def _create(
    clock: Clock, made: NodeId, parent: NodeId, name: str, node: Node, content: Content, mtime_ns: int
) -> CreateOp:
    bit, op_id = bool(node.is_executable), OpId(clock.random(ID_BYTES))
    return CreateOp(op_id, made, parent, name, Kind.FILE, content, "", mtime_ns, bit, node.xattrs)
