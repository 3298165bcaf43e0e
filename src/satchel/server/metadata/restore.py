"""Brings back what was: an earlier version, a deleted unit. Invariant: it goes through commit like any other change."""

from __future__ import annotations

from satchel.core.access import Right
from satchel.core.entries import Kind
from satchel.core.errors import NotFound
from satchel.core.ids import ID_BYTES, ROOT_NODE, LinkId, NamespaceId, NodeId, OpId
from satchel.core.limits import NAME_BYTES_MAX
from satchel.core.messages import CommitRequest, Conflict, Content, EditOp, NeedBlocks, Op, Outcome, Refused, UndeleteOp
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database
from satchel.server.metadata.commit import commit
from satchel.server.metadata.nodes import PURGED, Node
from satchel.server.metadata.view import View
from satchel.server.ports import Clock

NO_LINK = LinkId(b"")
"""The link of changes that no device folder made."""

NAMES_TRIED_MAX = 100


async def restore_version(
    db: Database, clock: Clock, principal: Principal, ns: NamespaceId, node_id: NodeId, rev: int
) -> Outcome:
    """Give a file the content of its version `rev`, as a new version; a deleted file comes back with it.

    Conflict: somebody changed it at the same moment; try again. Raises: NotFound, and as `commit`.
    """
    await authorize(db, principal, ns, Right.WRITE)

    async def find_txn(conn: Connection) -> tuple[View, Content, int]:
        rows = await conn.fetch(
            "SELECT m.manifest_id, m.blocks, m.size, m.cutter, v.mtime_ns FROM file_versions v"
            " JOIN manifests m ON m.ns = v.ns AND m.manifest_id = v.content"
            " WHERE v.ns = $1 AND v.node_id = $2 AND v.rev = $3",
            *(ns, node_id, min(rev, 2**62)),
        )
        view = View(ns)
        await view.load_txn(conn, {node_id}, set())
        if not rows or node_id not in view.nodes or view.nodes[node_id].state == PURGED:
            raise NotFound("There is no such version.", rev=rev)
        return view, Content(*rows[0][:4]), rows[0][4]

    view, content, mtime_ns = await db.read(find_txn)
    node = view.nodes[node_id]
    if not view.is_live(node):
        outcome = await _revive(db, clock, principal, view, node, content=content, mtime_ns=mtime_ns)
    else:
        bit = bool(node.is_executable)
        edit = EditOp(_op_id(clock), node_id, node.content_rev, content, "", mtime_ns, bit)
        outcome = await _commit_one(db, clock, principal, ns, edit)
    if isinstance(outcome, NeedBlocks):
        # It was thinned away after it was found, and its blocks with it.
        raise NotFound("There is no such version any more.", rev=rev)
    return outcome


async def restore_unit(
    db: Database,
    clock: Clock,
    principal: Principal,
    ns: NamespaceId,
    node_id: NodeId,
    *,
    place: tuple[NodeId, str] | None = None,
) -> Outcome:
    """Bring a deleted node back with all that its deletion took along, to where it was, or to `place`: folder and name.

    If its folder is gone it comes to the root; if its name is taken it gets another; a place that is asked for must be
    free. Refused: it was removed for good meanwhile. Raises: NotFound, as `commit`.
    """
    await authorize(db, principal, ns, Right.WRITE)

    async def find_txn(conn: Connection) -> View:
        view = View(ns)
        await view.load_txn(conn, {node_id}, set())
        if node_id not in view.nodes or view.nodes[node_id].state == PURGED:
            raise NotFound("There is no such node; what was removed for good does not come back.")
        return view

    view = await db.read(find_txn)
    if place is not None:
        node = view.nodes[node_id]
        bit = bool(node.is_executable)
        op = UndeleteOp(_op_id(clock), node_id, *place, None, "", node.mtime_ns, bit, True)
        return await _commit_one(db, clock, principal, ns, op)
    return await _revive(db, clock, principal, view, view.nodes[node_id])


async def _revive(
    db: Database,
    clock: Clock,
    principal: Principal,
    view: View,
    node: Node,
    *,
    content: Content | None = None,
    mtime_ns: int = 0,
) -> Outcome:
    """Undelete the node, trying other names and the root until it fits."""
    parent_id = node.parent_id if view.facts(node.parent_id) is not None else ROOT_NODE
    outcome: Outcome = Refused("not_found")
    for number in range(NAMES_TRIED_MAX):
        name = node.name if number == 0 else restored_name(node.name, number, is_folder=node.kind == Kind.FOLDER)
        bit = bool(node.is_executable)
        op = UndeleteOp(_op_id(clock), node.node_id, parent_id, name, content, "", mtime_ns, bit, True)
        outcome = await _commit_one(db, clock, principal, view.ns, op)
        match outcome:
            case Refused(code="parent_gone"):
                parent_id = ROOT_NODE
            case Conflict(current=current) if current is not None and current.node_id != node.node_id:
                continue
            case _:
                return outcome
    return outcome


def restored_name(name: str, number: int, *, is_folder: bool) -> str:
    """Return `stem (restored).ext`, counted from the second on, within the limit of a name."""
    suffix = " (restored)" if number == 1 else f" (restored {number})"
    stem, dot, extension = name.rpartition(".")
    if is_folder or not stem.strip(".") or len(extension) > 16:
        stem, dot, extension = name, "", ""
    room = NAME_BYTES_MAX - len((suffix + dot + extension).encode())
    return stem.encode()[:room].decode(errors="ignore") + suffix + dot + extension


async def _commit_one(db: Database, clock: Clock, principal: Principal, ns: NamespaceId, op: Op) -> Outcome:
    reply = await commit(db, clock, principal, CommitRequest(ns, NO_LINK, (op,)))
    return reply.outcomes[0]


def _op_id(clock: Clock) -> OpId:
    return OpId(clock.random(ID_BYTES))
