"""Where a search looks: a folder, and every shared folder that is mounted beneath it. Invariant: only namespaces that
the caller has a part in at this moment.
"""

from __future__ import annotations

from typing import NamedTuple

from satchel.core.access import Role
from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NODE, NamespaceId, NodeId
from satchel.server.accounts.members import memberships_txn
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database
from satchel.server.metadata.namespaces import mounted_of
from satchel.server.metadata.tree import locate, path_in
from satchel.server.metadata.view import View


class Place(NamedTuple):
    """A folder of a namespace, with all beneath it. above: the path of the namespace's root in the caller's own tree;
    empty for that tree itself. is_own: the caller owns the namespace."""

    ns: NamespaceId
    folder: NodeId = ROOT_NODE
    above: str = ""
    is_own: bool = True


async def places_at(db: Database, principal: Principal, path: str) -> list[Place]:
    """Return where a search beneath this path of the caller's tree looks. Raises: NotFound, NameInvalid."""
    ns, folder = (await locate(db, principal, path)).inside
    found = await db.read(lambda conn: _mounted_txn(conn, principal))
    if ns != principal.root_ns:
        return [Place(ns, folder, above, is_own) for above, mounted, is_own, _, _ in found if mounted == ns]
    inside = [
        Place(mounted, ROOT_NODE, above, is_own)
        for above, mounted, is_own, mount, view in found
        if folder == ROOT_NODE or view.stands_in(mount, folder)
    ]
    return [Place(ns, folder), *inside]


async def _mounted_txn(conn: Connection, principal: Principal) -> list[tuple[str, NamespaceId, bool, NodeId, View]]:
    """Return the path and namespace of each live mount of the caller's tree, whether it is the caller's own, its node,
    and what stands above them."""
    mounted = mounted_of(await memberships_txn(conn, principal.account_id))
    view = View(principal.root_ns)
    await view.load_txn(conn, {each.mount_node for each in mounted.values()}, set())
    found = []
    for ns, each in sorted(mounted.items()):
        node = view.nodes.get(each.mount_node)
        if node is not None and node.kind == Kind.MOUNT and view.is_live(node):
            found.append((path_in(view, node.node_id), ns, each.role is Role.OWNER, node.node_id, view))
    return found
