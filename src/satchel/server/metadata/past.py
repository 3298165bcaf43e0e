"""A namespace as it was right after one seq, as far as it changed since. Invariant: what is read grows with the changes
since then, never with the tree.

Of a node that an entry after the moment speaks of, the first such entry's pre-image tells what it was; of any other its
row. Whether it lived then is never taken from an image, since folders above may have died or come back in between: it
is found by the one test for life, with the `cleared_seq` that each folder had then. That is its row's, or what its last
deletion saved, unless the folder was brought back without what it held ("bared") since: then the journal is asked.
A dead row that lost its name to another, without an entry of its own, is told by `cleared_before` = `cleared_seq`; the
place that it lost is one of a bared folder, so it is found by that. Source: docs/design/030 (live, rewind).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from satchel.core.entries import Action, Kind
from satchel.core.errors import HistoryEnded, LimitExceeded
from satchel.core.ids import ROOT_NODE, NamespaceId, NodeId
from satchel.core.limits import REWIND_CHANGES_MAX
from satchel.core.paths import join_path
from satchel.server.db.engine import Connection, fetch_in
from satchel.server.metadata.journal import Head, head_txn
from satchel.server.metadata.moments import require_reach_txn, time_of_txn
from satchel.server.metadata.nodes import DEAD, LIVE, PURGED, Image, Node, image_of
from satchel.server.metadata.view import View

PAGE = 5_000


class Was(NamedTuple):
    """What a node was at the moment. xattrs: packed, empty for none; seq: of its newest entry then; is_own: neither
    deleted by itself nor unborn, whatever was above it."""

    parent_id: NodeId
    name: str
    name_key: str
    kind: int
    content: bytes
    size: int
    mtime_ns: int
    is_executable: bool
    xattrs: bytes
    content_rev: int
    seq: int
    is_own: bool


class _First(NamedTuple):
    """A node's first entry after the moment. pre: None when the entry made the node."""

    action: int
    pre: Image | None


class Past:
    """See the module. view: the rows as they stand now, with all above them, now and then; head: where the journal
    stands; touched: what an entry since speaks of; bared: folders that came back since without what they held;
    linked: what an entry of the link that was asked for speaks of."""

    def __init__(self, ns: NamespaceId, seq: int, head: Head, link: bytes | None = None) -> None:
        self.ns, self.seq, self.head = ns, seq, head
        self._link = link
        self.linked: set[NodeId] = set()
        self.view = View(ns)
        self.touched: dict[NodeId, _First] = {}
        self.bared: set[NodeId] = set()
        self._turned: set[NodeId] = set()
        """Nodes that were deleted or brought back by themselves since."""
        self._deleted_before: set[NodeId] = set()
        """Those whose last entry up to the moment is their deletion, among those that were asked about."""
        self._cleared: dict[NodeId, int] = {}
        """The cleared_seq of the moment where the rows do not tell it any more."""
        self._lived: dict[NodeId, bool] = {ROOT_NODE: True}

    # -- questions

    def was(self, node_id: NodeId) -> Was | None:
        """Return what the node was, dead or alive; None when there was none, or its row is not loaded or gone."""
        row, first = self.view.nodes.get(node_id), self.touched.get(node_id)
        if first is None:
            return None if row is None else _of_row(row, is_own=self._is_own(row))
        if first.pre is None:
            return None
        return _of_image(first.pre, is_own=node_id not in self._deleted_before)

    def lived(self, node_id: NodeId) -> bool:
        """Tell whether the node was in the tree at the moment."""
        waiting: list[NodeId] = []
        at = node_id
        while at not in self._lived:
            was = self.was(at)
            if was is None or not was.is_own or at in waiting:
                self._lived[at] = False
                break
            waiting.append(at)
            at = was.parent_id
        for below in reversed(waiting):
            if below in self._lived:
                continue
            was = self.was(below)
            assert was is not None
            floor = -1 if was.parent_id == ROOT_NODE else self.cleared(was.parent_id)
            self._lived[below] = self._lived[was.parent_id] and was.seq > floor
        return self._lived[node_id]

    def cleared(self, folder: NodeId) -> int:
        """Return the cleared_seq that a folder had while it lived at the moment."""
        if (known := self._cleared.get(folder)) is not None:
            return known
        row = self.view.nodes.get(folder)
        if row is None:
            return 0
        return row.cleared_before if row.state == DEAD and folder in self._turned else row.cleared_seq

    def stood_in(self, node_id: NodeId, unit: NodeId) -> bool:
        """Tell whether the node was the unit or somewhere below it."""
        seen: set[NodeId] = set()
        while node_id != unit:
            was = self.was(node_id)
            if was is None or node_id in seen:
                return False
            seen.add(node_id)
            node_id = was.parent_id
        return True

    def path(self, node_id: NodeId) -> str:
        """Return the path that the node had."""
        names: list[str] = []
        while node_id != ROOT_NODE and (was := self.was(node_id)) is not None and len(names) <= len(self.view.nodes):
            names.append(was.name)
            node_id = was.parent_id
        return join_path(reversed(names))

    def depth(self, node_id: NodeId) -> int:
        """Return how many folders were above the node; of one that lived."""
        depth = 0
        while node_id != ROOT_NODE:
            was = self.was(node_id)
            assert was is not None
            node_id, depth = was.parent_id, depth + 1
        return depth

    def _is_own(self, row: Node) -> bool:
        if row.state == DEAD:
            return row.cleared_before == row.cleared_seq
        return row.state == LIVE or row.node_id not in self._deleted_before

    # -- loading

    async def load_txn(self, conn: Connection) -> None:
        """Read all that changed since, and the rows and places that it speaks of."""
        await self._read_journal_txn(conn)
        parents = {first.pre.parent_id for first in self.touched.values() if first.pre is not None}
        await self.view.load_txn(conn, {*self.touched, *parents} - {ROOT_NODE}, set())
        nodes = self.view.nodes
        unsure = {
            *(node_id for node_id, first in self.touched.items() if first.action == Action.UNDELETE),
            *(node_id for node_id, node in nodes.items() if node.state == PURGED and node_id not in self.touched),
        }
        await self._load_deleted_txn(conn, unsure)
        purged = {node_id for node_id, node in nodes.items() if node.state == PURGED and node.kind == Kind.FOLDER}
        await self._load_cleared_txn(conn, self.bared | purged)

    async def load_left_txn(self, conn: Connection, folders: Iterable[NodeId]) -> list[NodeId]:
        """Load what no entry since speaks of and what stood in these folders, dead or alive now; return it.

        folders: bared ones, and purged ones that are to be there again.
        """
        wanted = sorted(set(folders))
        if not wanted:
            return []
        live = f"SELECT node_id FROM files WHERE ns = $1 AND parent_id IN {{keys}} AND state = {LIVE} AND seq <= $2"
        found = {row[0] for row in await fetch_in(conn, live, wanted, self.ns, self.seq)}
        # Those that lost their name did so after the moment, when something else took it.
        lost = (
            "SELECT node_id, parent_id FROM files WHERE ns = $1 AND deleted_at IS NOT NULL AND deleted_at >= $2"
            f" AND state = {DEAD} AND cleared_before = cleared_seq AND seq <= $3"
        )
        rows = await conn.fetch(lost, self.ns, await time_of_txn(conn, self.ns, self.seq), self.seq)
        found.update(row[0] for row in rows if row[1] in set(wanted))
        left = sorted(found.difference(self.touched))
        await self.view.load_txn(conn, set(left), set())
        return left

    async def _read_journal_txn(self, conn: Connection) -> None:
        text = (
            "SELECT seq, action, node_id, pre, is_subtree, link FROM file_changes WHERE ns = $1 AND seq > $2"
            " ORDER BY seq LIMIT $3"
        )
        after, has_more = self.seq, True
        while has_more:
            rows = await conn.fetch(text, self.ns, after, PAGE)
            has_more = len(rows) == PAGE
            for after, action, node_id, pre, is_subtree, link in rows:
                if link == self._link:
                    self.linked.add(node_id)
                if node_id not in self.touched:
                    self.touched[node_id] = _First(action, None if pre is None else image_of(pre))
                if action in (Action.DELETE, Action.UNDELETE):
                    self._turned.add(node_id)
                if action == Action.UNDELETE and not is_subtree:
                    self.bared.add(node_id)
                if action == Action.MOUNT and pre is not None and image_of(pre).kind == Kind.FOLDER:
                    raise HistoryEnded(
                        "A folder here was shared since; what is in it has a history of its own.",
                        oldest_seq=after,
                        head_seq=self.head.seq,
                    )

    async def _load_deleted_txn(self, conn: Connection, nodes: set[NodeId]) -> None:
        newest = (
            "SELECT node_id, MAX(seq) FROM file_changes WHERE ns = $1 AND node_id IN {keys} AND seq <= $2"
            " GROUP BY node_id"
        )
        last: dict[int, NodeId] = {
            seq: node_id for node_id, seq in await fetch_in(conn, newest, sorted(nodes), self.ns, self.seq)
        }
        text = "SELECT seq, action FROM file_changes WHERE ns = $1 AND seq IN {keys}"
        rows = await fetch_in(conn, text, sorted(last), self.ns)
        self._deleted_before = {last[seq] for seq, action in rows if action == Action.DELETE}

    async def _load_cleared_txn(self, conn: Connection, folders: set[NodeId]) -> None:
        text = (
            "SELECT node_id, MAX(seq) FROM file_changes WHERE ns = $1 AND node_id IN {keys} AND seq <= $2"
            f" AND action = {int(Action.UNDELETE)} AND is_subtree = 0 GROUP BY node_id"
        )
        rows = await fetch_in(conn, text, sorted(folders), self.ns, self.seq)
        self._cleared = dict.fromkeys(folders, 0) | dict(rows)


async def load_past_txn(conn: Connection, ns: NamespaceId, seq: int, link: bytes | None = None) -> Past:
    """Return what the namespace was at `seq`. link: fills `linked`.

    Raises: NotFound, HistoryEnded, LimitExceeded (too much since)."""
    head = await head_txn(conn, ns)
    await require_reach_txn(conn, ns, head, seq)
    if head.seq - seq > REWIND_CHANGES_MAX:
        raise LimitExceeded(
            "Too much changed since then to be looked at together.",
            limit="REWIND_CHANGES_MAX",
            maximum=REWIND_CHANGES_MAX,
            actual=head.seq - seq,
        )
    past = Past(ns, seq, head, link)
    await past.load_txn(conn)
    return past


def _of_row(row: Node, *, is_own: bool) -> Was:
    return Was(
        row.parent_id,
        row.name,
        row.name_key,
        row.kind,
        row.content,
        row.size,
        row.mtime_ns,
        row.is_executable != 0,
        row.xattrs or b"",
        row.content_rev,
        row.seq,
        is_own,
    )


def _of_image(image: Image, *, is_own: bool) -> Was:
    # A deletion alone moves a node's seq and neither rev, and what was deleted is not its own any more.
    return Was(
        image.parent_id,
        image.name,
        image.name_key,
        image.kind,
        image.content,
        image.size,
        image.mtime_ns,
        image.is_executable,
        image.xattrs,
        image.content_rev,
        max(image.content_rev, image.place_rev),
        is_own,
    )
