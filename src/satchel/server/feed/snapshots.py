"""Pages of live nodes by node id. Invariant: a row is given only when it lives at the moment it is read.

The whole namespace is read along its key and each row's ancestors are looked up; a smaller unit is walked from its top.
"""

from __future__ import annotations

from satchel.core.entries import Entry, Kind
from satchel.core.ids import ROOT_NODE, DeviceId, LinkId, NamespaceId, NodeId
from satchel.core.limits import MANIFEST_INLINE_BLOCKS_MAX
from satchel.server.db.engine import Connection
from satchel.server.feed.scopes import LinkScope, hidden_folders
from satchel.server.metadata.blocklists import blocklists_txn
from satchel.server.metadata.nodes import COLUMN_LIST, LIVE, Node, columns_of, node_of, snapshot_entry
from satchel.server.metadata.view import View

_FILE = int(Kind.FILE)
WHOLE = LinkScope(DeviceId(b""), LinkId(b""))


async def page_txn(
    conn: Connection, ns: NamespaceId, unit: NodeId, *, after: NodeId, limit: int, scope: LinkScope = WHOLE
) -> tuple[list[Entry], bool]:
    """Return at most `limit` live nodes of the unit above `after`, and whether there are more.

    What lies beneath the nodes that `scope` leaves out is not in the pages; they themselves are.
    """
    if unit == ROOT_NODE:
        nodes = await _namespace_txn(conn, ns, after, limit + 1, scope)
    else:
        nodes = await _unit_txn(conn, ns, unit, after, limit + 1, scope)
    has_more = len(nodes) > limit
    nodes = nodes[:limit]
    files = {node.content for node in nodes if node.kind == _FILE}
    lists = await blocklists_txn(conn, ns, files, blocks_max=MANIFEST_INLINE_BLOCKS_MAX)
    entries = [
        snapshot_entry(node, is_live=True, blocks=lists.get(node.content, b"") if node.kind == _FILE else b"")
        for node in nodes
    ]
    return entries, has_more


async def _namespace_txn(conn: Connection, ns: NamespaceId, after: NodeId, limit: int, scope: LinkScope) -> list[Node]:
    live: list[Node] = []
    view = View(ns)
    while len(live) < limit:
        rows = await conn.fetch(
            f"SELECT {COLUMN_LIST} FROM files WHERE ns = $1 AND node_id > $2 AND state = {LIVE}"
            " ORDER BY node_id LIMIT $3",
            *(ns, after, limit),
        )
        nodes = [node_of(row) for row in rows]
        parents = {node.parent_id for node in nodes}
        await view.load_txn(conn, parents, set())
        parents -= hidden_folders(view, scope, parents)
        floors = {parent: floor for parent in parents if (floor := view.floor(parent)) is not None}
        live += [node for node in nodes if (floor := floors.get(node.parent_id)) is not None and node.seq > floor]
        if len(nodes) < limit:
            break
        after = nodes[-1].node_id
    return live[:limit]


async def _unit_txn(
    conn: Connection, ns: NamespaceId, unit: NodeId, after: NodeId, limit: int, scope: LinkScope
) -> list[Node]:
    view = View(ns)
    await view.load_txn(conn, {unit}, set())
    top = view.nodes.get(unit)
    if top is None or not view.is_live(top):
        return []
    rows = await conn.fetch(
        "WITH RECURSIVE unit (node_id, cleared_seq) AS ("
        "SELECT node_id, cleared_seq FROM files WHERE ns = $1 AND node_id = $2 UNION ALL"
        " SELECT f.node_id, f.cleared_seq FROM unit u CROSS JOIN files f WHERE f.ns = $1 AND f.parent_id = u.node_id"
        f" AND f.state = {LIVE} AND f.seq > u.cleared_seq AND NOT EXISTS (SELECT 1 FROM link_scopes s"
        " WHERE s.ns = $1 AND s.device_id = $5 AND s.link_id = $6 AND s.node_id = u.node_id))"
        f" SELECT {columns_of('f')} FROM unit u CROSS JOIN files f WHERE f.ns = $1 AND f.node_id = u.node_id"
        " AND f.node_id > $3 ORDER BY f.node_id LIMIT $4",
        *(ns, unit, after, limit, scope.device, scope.link),
    )
    return [node_of(row) for row in rows]
