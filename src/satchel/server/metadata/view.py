"""What a batch of operations touches, in memory. Invariant: everything a decision asks for was loaded before.

A batch is loaded with a handful of set-based statements, decided in plain code, and written at once; so 1,000
operations cost about as many statements as one. Source: docs/design (commit).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NODE, DeviceId, LinkId, NamespaceId, NodeId
from satchel.server.db.engine import Connection, Question, Row, fetch_in, fetch_in_pairs, fetch_together
from satchel.server.metadata.nodes import COLUMN_LIST, LIVE, Node, columns_of, image_of, node_of

FOREIGN_CHANGES_MAX = 5_000
FOREIGN_SEQS_MAX = 100_000
"""A delete that has not seen more than so many changes of others, or so many entries at all, is refused: its device has
to catch up with the feed first."""
MOVED_LOOKS_MAX = 20_000
"""So many pairs of an unknown node and a mounted namespace are looked for at once; the rest is answered as unknown."""

Place = tuple[NodeId, str]
_BY_ID = f"SELECT {COLUMN_LIST} FROM files WHERE ns = $1 AND node_id IN {{keys}}"


class FolderFacts(NamedTuple):
    """How deep a live folder stands (the root: 0) and how many bytes its path takes."""

    depth: int
    path_bytes: int


class View:
    """The nodes that a batch touches, with all their ancestors, as the batch has left them so far."""

    def __init__(self, ns: NamespaceId) -> None:
        self.ns = ns
        self.nodes: dict[NodeId, Node] = {}
        self.stored: dict[NodeId, Node | None] = {}
        """What the database holds of each node that the batch changed; None for a new one."""
        self.moved: dict[NodeId, NamespaceId] = {}
        """Nodes that live in a namespace that is mounted here: this one has no row of them."""
        self.mounts: set[NodeId] = set()
        """The live mounts here, where somebody asked for them."""
        self._names: dict[Place, NodeId] = {}
        self._facts: dict[NodeId, FolderFacts | None] = {ROOT_NODE: FolderFacts(0, 0)}
        self._foreign: dict[NodeId, int] = {}
        self._foreign_floor = 0

    # -- loading

    async def load_txn(self, conn: Connection, ids: set[NodeId], places: set[Place]) -> None:
        """Load the nodes, those that hold the places, and all ancestors."""
        await self.take_txn(conn, await fetch_together(conn, self.questions(ids, places)))

    def questions(self, ids: set[NodeId], places: set[Place]) -> list[Question]:
        """Return what `take_txn` wants the answers to: the nodes, and those that hold the places."""
        held = (
            f"SELECT {columns_of('f')} FROM {{wanted}} CROSS JOIN files f"
            f" WHERE f.ns = $1 AND f.state = {LIVE} AND f.parent_id = w.k0 AND f.name_key = w.k1"
        )
        wanted = sorted(ids.difference(self.nodes, (ROOT_NODE,)))
        return [Question(_BY_ID, (self.ns,), keys=wanted), Question(held, (self.ns,), pairs=sorted(places))]

    async def take_txn(self, conn: Connection, answers: Sequence[Sequence[Row]]) -> None:
        """Take the answers to `questions`, and load all ancestors."""
        for rows in answers:
            for row in rows:
                self._take(node_of(row))
        await self._load_ancestors_txn(conn)

    async def load_mounts_txn(self, conn: Connection) -> None:
        """Load all mounts of this namespace, for `mounts`."""
        rows = await conn.fetch(
            f"SELECT {COLUMN_LIST} FROM files WHERE ns = $1 AND kind = 4 AND state = {LIVE}", self.ns
        )
        for node in [node_of(row) for row in rows]:
            if node.node_id not in self.nodes:
                self._take(node)
        await self._load_ancestors_txn(conn)
        mounts = [node for node in self.nodes.values() if node.kind == Kind.MOUNT]
        self.mounts = {node.node_id for node in mounts if self.is_live(node)}

    async def load_moved_txn(self, conn: Connection, wanted: Iterable[NodeId]) -> None:
        """Look for nodes without a row here in the namespaces that are mounted here, for `moved`."""
        text = f"SELECT content FROM files WHERE ns = $1 AND kind = 4 AND state = {LIVE}"
        targets = [NamespaceId(row[0]) for row in await conn.fetch(text, self.ns)]
        pairs = [(target, node_id) for target in targets for node_id in sorted(set(wanted))]
        found = await fetch_in_pairs(
            conn,
            "SELECT f.ns, f.node_id FROM {wanted} CROSS JOIN files f WHERE f.ns = w.k0 AND f.node_id = w.k1",
            pairs[:MOVED_LOOKS_MAX],
        )
        self.moved.update({NodeId(node_id): NamespaceId(ns) for ns, node_id in found})

    async def load_foreign_txn(
        self, conn: Connection, *, after: int, head_seq: int, min_seq: int, device: DeviceId, link: LinkId
    ) -> None:
        """Load what others than this device's link changed above `after`, for `foreign_seq`.

        What was changed below `min_seq` nobody can tell any more, so it counts as changed by others.
        """
        if after < min_seq:
            after = self._foreign_floor = min_seq
        if after < head_seq - FOREIGN_SEQS_MAX:
            after = self._foreign_floor = head_seq - FOREIGN_SEQS_MAX
        rows = await conn.fetch(
            "SELECT seq, node_id, pre, post FROM file_changes WHERE ns = $1 AND seq > $2"
            " AND NOT (device = $3 AND link = $4) ORDER BY seq DESC LIMIT $5",
            *(self.ns, after, device, link, FOREIGN_CHANGES_MAX),
        )
        if len(rows) == FOREIGN_CHANGES_MAX:
            self._foreign_floor = rows[-1][0]
        touched: dict[NodeId, int] = {}
        for seq, node_id, pre, post in rows:
            places = {image_of(image).parent_id for image in (pre, post) if image is not None}
            for place in (node_id, *places):
                touched[place] = max(seq, touched.get(place, 0))
        touched.pop(ROOT_NODE, None)
        await self._load_ids_txn(conn, set(touched))
        await self._load_ancestors_txn(conn)
        for node_id, seq in touched.items():
            self._raise_foreign(node_id, seq)

    async def _load_ids_txn(self, conn: Connection, ids: set[NodeId]) -> None:
        wanted = sorted(ids.difference(self.nodes, (ROOT_NODE,)))
        for row in await fetch_in(conn, _BY_ID, wanted, self.ns):
            self._take(node_of(row))

    async def _load_ancestors_txn(self, conn: Connection) -> None:
        asked: set[NodeId] = {ROOT_NODE}
        fresh: Iterable[Node] = list(self.nodes.values())
        while parents := {node.parent_id for node in fresh}.difference(self.nodes, asked):
            asked |= parents
            await self._load_ids_txn(conn, parents)
            fresh = [self.nodes[parent] for parent in parents if parent in self.nodes]

    def _take(self, node: Node) -> None:
        self.nodes[node.node_id] = node
        if node.state == LIVE:
            self._names[node.place] = node.node_id

    # -- questions

    def is_live(self, node: Node) -> bool:
        """Tell whether the node lives: itself, and all above it."""
        floor = self.floor(node.parent_id)
        return node.state == LIVE and floor is not None and node.seq > floor

    def floor(self, folder: NodeId) -> int | None:
        """Return the seq above which the folder's children live, None when nothing in it does."""
        if self.facts(folder) is None:
            return None
        return -1 if folder == ROOT_NODE else self.nodes[folder].cleared_seq

    def facts(self, folder: NodeId) -> FolderFacts | None:
        """Return depth and path length of a folder, None when it is not a live folder."""
        if (known := self._facts.get(folder)) is not None:
            return known
        waiting: list[NodeId] = []
        at = folder
        while at not in self._facts:
            node = self.nodes.get(at)
            if node is None or node.kind != Kind.FOLDER or node.state != LIVE or at in waiting:
                self._facts[at] = None
                break
            waiting.append(at)
            at = node.parent_id
        for below in reversed(waiting):
            node = self.nodes[below]
            above = self._facts[node.parent_id]
            cleared = 0 if node.parent_id == ROOT_NODE else self.nodes[node.parent_id].cleared_seq
            if above is None or node.seq <= cleared:
                self._facts[below] = None
            else:
                self._facts[below] = FolderFacts(above.depth + 1, above.path_bytes + 1 + len(node.name.encode()))
        return self._facts[folder]

    def holder(self, place: Place) -> Node | None:
        """Return the row that holds the place, be it live or only not yet marked dead."""
        node_id = self._names.get(place)
        return None if node_id is None else self.nodes[node_id]

    def stands_in(self, node_id: NodeId, unit: NodeId) -> bool:
        """Tell whether the node is the unit or stands somewhere below it; live or dead."""
        seen: set[NodeId] = set()
        while node_id not in seen:
            if node_id == unit:
                return True
            node = self.nodes.get(node_id)
            if node is None:
                return False
            seen.add(node_id)
            node_id = node.parent_id
        return False

    def foreign_seq(self, unit: NodeId) -> int:
        """Return the newest seq at which others changed anything that stands or stood in the unit; 0 for none known."""
        return max(self._foreign.get(unit, 0), self._foreign_floor)

    # -- changes

    def put(self, node: Node) -> None:
        """Make `node` the newest state of its row. Its old name is freed; its new one must be free."""
        old = self.nodes.get(node.node_id)
        self.stored.setdefault(node.node_id, old)
        if old is not None and old.state == LIVE and self._names.get(old.place) == node.node_id:
            del self._names[old.place]
        self.nodes[node.node_id] = node
        if node.state == LIVE:
            self._names[node.place] = node.node_id
        if old is None:
            # Something may have asked for this id before it was there.
            self._facts.pop(node.node_id, None)
            return
        if node.kind == Kind.FOLDER:
            self._facts = {ROOT_NODE: FolderFacts(0, 0)}
        if old.parent_id != node.parent_id and (moved := self._foreign.get(node.node_id)):
            self._raise_foreign(node.parent_id, moved)

    def _raise_foreign(self, node_id: NodeId, seq: int) -> None:
        while node_id != ROOT_NODE and self._foreign.get(node_id, 0) < seq:
            self._foreign[node_id] = seq
            node = self.nodes.get(node_id)
            if node is None:
                return
            node_id = node.parent_id
