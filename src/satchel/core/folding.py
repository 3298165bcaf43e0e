"""Folds journal entries onto a tree. Invariant: in a settled tree every node hangs below the root, by live folders.

A tree holds live nodes only. Deleting a folder takes its whole unit; undeleting brings back the node itself, and with
`is_subtree` its unit too, which this tree no longer holds: `fold` then names the unit, and its snapshot is merged.
Until then nodes may also be moved out of that unit, so folders that move are named as well.

A snapshot is read in pages while the journal goes on, so its rows are of different moments and may contradict each
other. Such a tree is unsettled until the journal has been folded through the head that the last page showed; an entry
not above a node's seq is old news about it. Source: docs/design (journal and cursor).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from satchel.core.entries import Action, Entry, Kind
from satchel.core.errors import MessageInvalid
from satchel.core.ids import ROOT_NODE, NodeId


class Tree:
    """The live nodes of one namespace (or of a unit below `root`), as far as folded. Not shared between threads."""

    __slots__ = ("_below", "_has_gap", "_nodes", "is_settled", "root", "seq")

    def __init__(self, *, seq: int = 0, root: NodeId = ROOT_NODE) -> None:
        self._nodes: dict[NodeId, Entry] = {}
        self._below: dict[NodeId, set[NodeId]] = {}
        self.seq = seq
        """Place in the journal up to which everything is folded."""
        self.root = root
        self.is_settled = True
        self._has_gap = False

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node_id: NodeId) -> bool:
        return node_id in self._nodes

    def get(self, node_id: NodeId) -> Entry | None:
        """Return the node's newest entry, None when it does not live here."""
        return self._nodes.get(node_id)

    def entries(self) -> Iterator[Entry]:
        """Yield the nodes in no particular order."""
        return iter(self._nodes.values())

    def children(self, folder: NodeId) -> list[Entry]:
        """Return the direct children of a folder, by name key."""
        found = [self._nodes[node_id] for node_id in self._below.get(folder, ())]
        return sorted(found, key=lambda entry: (entry.name_key, entry.node_id))

    def names(self, node_id: NodeId) -> tuple[str, ...]:
        """Return the node's path below the root, as names. Raises: KeyError for a node that does not live here."""
        names: list[str] = []
        while node_id != self.root:
            entry = self._nodes[node_id]
            names.append(entry.name)
            node_id = entry.parent_id
        return tuple(reversed(names))

    def merge(self, rows: Iterable[Entry]) -> None:
        """Take snapshot rows, in any order; a row not above what is known is old news. Call `settle` in the end."""
        self.is_settled = False
        for row in rows:
            known = self._nodes.get(row.node_id)
            if row.is_live and (known is None or known.seq < row.seq):
                self._put(row)

    def settle(self) -> None:
        """Drop what hangs on nothing: rows read before their folder died. Call when folded through the last page's
        head."""
        reached: set[NodeId] = set()
        waiting = [self.root]
        while waiting:
            for child in self._below.get(waiting.pop(), ()):
                reached.add(child)
                waiting.append(child)
        for lost in [node_id for node_id in self._nodes if node_id not in reached]:
            self._drop(lost)
        self.is_settled = True
        self._has_gap = False

    def fold_page(self, entries: Iterable[Entry], *, prev_seq: int, last_seq: int) -> list[NodeId]:
        """Fold the entries with prev_seq < seq <= last_seq; some may be left out on purpose, none may be missing.

        Return the units to fetch, as `fold` names them: merge a snapshot of each that is not older than this page, fold
        through its head, then `settle`. A page seen before changes nothing. Raises: MessageInvalid.
        """
        if prev_seq > self.seq:
            raise MessageInvalid("Entries are missing in the feed.", reason="gap", folded=self.seq, found=prev_seq)
        units = [unit for entry in entries if (unit := self.fold(entry)) is not None]
        self.seq = max(self.seq, last_seq)
        return units

    def fold(self, entry: Entry) -> NodeId | None:
        """Apply one entry. Return the folder whose unit is not held here and has to be fetched, mostly None.

        Raises: MessageInvalid when a settled tree lacks the parent, or the node would stand below itself.
        """
        if entry.seq <= self.seq:
            return None
        self._check(entry)
        self.seq = entry.seq
        known = self._nodes.get(entry.node_id)
        is_old = known is not None and known.seq >= entry.seq
        if not entry.is_live:
            if not is_old:
                self._drop_unit(entry.node_id)
            return None
        if entry.action == Action.UNDELETE and not entry.is_subtree:
            # A skeleton came back: what stood in the folder before stays dead, even if the row is newer already.
            self._drop_children_before(entry.node_id, entry.seq)
        if not is_old:
            self._put(entry)
        return entry.node_id if self._is_appearing(entry, is_known=known is not None) else None

    def _is_appearing(self, entry: Entry, *, is_known: bool) -> bool:
        """Tell whether this folder's unit may not be held whole."""
        is_bare = entry.action == Action.CREATE or (entry.action == Action.UNDELETE and not entry.is_subtree)
        if entry.kind != Kind.FOLDER or is_bare:
            return False
        # While pages of different moments are mixed, a known folder may stand over children that were read as dead.
        is_torn = not self.is_settled and (entry.is_subtree or self._has_gap)
        if is_known and not is_torn:
            return False
        self._has_gap = True
        self.is_settled = False
        return True

    def _check(self, entry: Entry) -> None:
        if not self.is_settled or not entry.is_live:
            return
        above = entry.parent_id
        while above != self.root:
            parent = self._nodes.get(above)
            if parent is None or parent.kind != Kind.FOLDER or above == entry.node_id:
                raise MessageInvalid("A feed entry has no place in the tree.", reason="parent", seq=entry.seq)
            above = parent.parent_id

    def _put(self, entry: Entry) -> None:
        known = self._nodes.get(entry.node_id)
        if known is not None:
            self._unhook(known)
        self._nodes[entry.node_id] = entry
        self._below.setdefault(entry.parent_id, set()).add(entry.node_id)

    def _drop(self, node_id: NodeId) -> None:
        known = self._nodes.pop(node_id, None)
        if known is not None:
            self._unhook(known)

    def _unhook(self, entry: Entry) -> None:
        siblings = self._below[entry.parent_id]
        siblings.discard(entry.node_id)
        if not siblings:
            del self._below[entry.parent_id]

    def _drop_unit(self, node_id: NodeId) -> None:
        """Drop the node and all below; works for a folder whose own row is missing, too."""
        waiting = [node_id]
        while waiting:
            dropped = waiting.pop()
            waiting.extend(self._below.get(dropped, ()))
            self._drop(dropped)

    def _drop_children_before(self, folder: NodeId, seq: int) -> None:
        for child in list(self._below.get(folder, ())):
            if self._nodes[child].seq < seq:
                self._drop_unit(child)
