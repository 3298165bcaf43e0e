"""What a link leaves out: its pages of changes and of snapshots skip all that lies beneath. Invariant: of what a link
holds, or is to hold, it is told everything that happens.

Hidden is what stands beneath a left-out node now; the node itself is not. An entry is skipped when its place is hidden
and the link cannot hold the node: a move out of a place that is not hidden is told, and so is what the link itself
committed. Where a node left a visible folder, the first move away from there is told, so nothing stays behind. What
becomes visible by a move is one entry; the link fetches the unit's snapshot. Source: docs/protocol/device.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from satchel.core.access import Right
from satchel.core.entries import Action
from satchel.core.errors import LimitExceeded
from satchel.core.ids import ROOT_NODE, DeviceId, LinkId, NamespaceId, NodeId, scope_mark
from satchel.core.limits import SCOPE_NODES_MAX
from satchel.core.messages import ScopeReply, ScopeRequest
from satchel.server.accounts.access import authorize
from satchel.server.accounts.link_runs import begin_link_run
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, Question, Row, fetch_together
from satchel.server.metadata.journal import JournalRow
from satchel.server.metadata.nodes import image_of
from satchel.server.metadata.view import View

_MOVE = int(Action.MOVE)


@dataclass(frozen=True, slots=True)
class LinkScope:
    """Whose pages they are, and what is left out of them."""

    device: DeviceId
    link: LinkId
    left_out: frozenset[NodeId] = frozenset()

    @property
    def mark(self) -> bytes:
        """The name of what is left out, as pages carry it."""
        return scope_mark(self.left_out)


async def store_scope(db: Database, principal: Principal, request: ScopeRequest) -> ScopeReply:
    """Make this all that the link leaves out, durable on return. Idempotent. Raises: NotFound, LimitExceeded.

    A start of the link that is not the newest one any more stores nothing.
    """
    await authorize(db, principal, request.ns, Right.READ)
    if len(request.left_out) > SCOPE_NODES_MAX:
        raise LimitExceeded(
            "Too many files and folders are left out.",
            limit="SCOPE_NODES_MAX",
            maximum=SCOPE_NODES_MAX,
            actual=len(request.left_out),
        )
    newest = await begin_link_run(db, principal, request.link, request.run) if request.run else 0
    if newest:
        return ScopeReply(b"", newest)
    whose = (request.ns, principal.device_id, request.link)
    left_out = sorted(set(request.left_out))

    async def store_txn(conn: Connection) -> None:
        await conn.execute("DELETE FROM link_scopes WHERE ns = $1 AND device_id = $2 AND link_id = $3", *whose)
        await conn.execute_many(
            "INSERT INTO link_scopes (ns, device_id, link_id, node_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            [(*whose, node_id) for node_id in left_out],
        )

    await db.write(request.ns, store_txn)
    return ScopeReply(scope_mark(left_out))


async def scope_txn(conn: Connection, ns: NamespaceId, device: DeviceId, link: LinkId) -> LinkScope:
    """Return what the link leaves out; nothing for one that named nothing, or for no link at all."""
    [rows] = await fetch_together(conn, [scope_question(ns, device, link)])
    return scope_of(device, link, rows)


def scope_question(ns: NamespaceId, device: DeviceId, link: LinkId) -> Question:
    """Ask what the link leaves out; `scope_of` reads the answer."""
    sql = "SELECT device_id, link_id, node_id FROM link_scopes WHERE ns = $1 AND device_id = $2 AND link_id = $3"
    return Question(sql, (ns, device, link)) if link else Question(sql, keys=())


def scope_of(device: DeviceId, link: LinkId, answer: Sequence[Row]) -> LinkScope:
    """Return what the link leaves out."""
    return LinkScope(device, link, frozenset(NodeId(row[2]) for row in answer))


def scopes_question(ns: NamespaceId, links: Iterable[tuple[DeviceId, LinkId]]) -> Question:
    """Ask what the links leave out; `scopes_of` reads the answer."""
    sql = (
        "SELECT t.device_id, t.link_id, t.node_id FROM {wanted} CROSS JOIN link_scopes t"
        " WHERE t.ns = $1 AND t.device_id = w.k0 AND t.link_id = w.k1"
    )
    return Question(sql, (ns,), pairs=[pair for pair in links if pair[1]])


def scopes_of(
    wanted: Iterable[tuple[DeviceId, LinkId]], answer: Sequence[Row]
) -> dict[tuple[DeviceId, LinkId], LinkScope]:
    """Return what each of the links leaves out."""
    left_out: dict[tuple[DeviceId, LinkId], set[NodeId]] = {pair: set() for pair in wanted}
    for device, link, node in answer:
        left_out[DeviceId(device), LinkId(link)].add(NodeId(node))
    return {pair: LinkScope(*pair, frozenset(nodes)) for pair, nodes in left_out.items()}


async def told_rows_txn(
    conn: Connection, ns: NamespaceId, scope: LinkScope, rows: Sequence[JournalRow]
) -> list[JournalRow]:
    """Return the rows that the link is told of, in order."""
    if not scope.left_out:
        return list(rows)
    places = {row.seq: _places(row) for row in rows}
    view = View(ns)
    await view.load_txn(conn, {place for pair in places.values() for place in pair}, set())
    hidden = hidden_folders(view, scope, {place for pair in places.values() for place in pair})
    return [row for row in rows if _is_own(row, scope) or not all(place in hidden for place in places[row.seq])]


def hidden_folders(view: View, scope: LinkScope, folders: Iterable[NodeId]) -> set[NodeId]:
    """Return those of the folders in which everything is hidden. view: holds them with all their ancestors."""
    known: dict[NodeId, bool] = {ROOT_NODE: False}
    for folder in folders:
        path: list[NodeId] = []
        at = folder
        while at not in known and at not in path:
            path.append(at)
            if at in scope.left_out:
                known[at] = True
                break
            node = view.nodes.get(at)
            if node is None:
                known[at] = False
                break
            at = node.parent_id
        for each in path:
            known.setdefault(each, known.get(at, False))
    return {folder for folder in known if known[folder]}


def _places(row: JournalRow) -> tuple[NodeId, ...]:
    """Return the folders in which the link may have, or be to have, the node: where it is, and where a move began."""
    place = image_of(row.post).parent_id
    if row.action == _MOVE and row.pre is not None:
        return place, image_of(row.pre).parent_id
    return (place,)


def _is_own(row: JournalRow, scope: LinkScope) -> bool:
    return (row.device, row.link) == (scope.device, scope.link)
