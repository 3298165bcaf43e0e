"""Merges the remote and the local tree over the synced one into the tree that both sides shall have.

Invariant: no content that is on one side and not in the synced tree is missing from the target; a side that alone
changed is followed exactly. Existence comes first (a change beats a deletion), then place, content, the folders that
survivors need, and names last. Nothing recursive; nothing depends on hash order. Source: docs/design/040.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from satchel.core.clashes import Names, resolve_clashes
from satchel.core.conflicts import conflicted_copy_names, original_name
from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NID, Nid, NodeId, derived_id
from satchel.core.trees import UNKNOWN, Item, Row


def _is_free(parent: Nid, key: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Context:
    """What the planner knows beside the rows.

    date: ISO, the device's day. copies: rows by node id, at least those whose id `copy_id` gives for a row of the plan.
    taken: tells of (parent, name key) whether a row outside the plan holds that name there, remote or local.
    spent: copy ids that the service refused (a copy of that id was made and deleted); another id is taken then.
    excluded: rows that a person keeps off this disk; their local side is unknown.
    """

    device_name: str
    date: str
    copies: Mapping[NodeId, Row] = field(default_factory=dict)
    taken: Callable[[Nid, str], bool] = _is_free
    spent: frozenset[NodeId] = frozenset()
    excluded: frozenset[Nid] = frozenset()


@dataclass(frozen=True, slots=True)
class Fork:
    """A conflicted copy to keep: its id, its item, and its row where an earlier plan already committed it."""

    copy_id: NodeId
    item: Item
    made: Row | None


def copy_id(row: Row, number: int = 0) -> NodeId:
    """Return the id of the conflicted copy of the row's local content.

    It follows from node, synced content and local content, so that planning again, after a crash or after yet another
    remote edit, finds the copy that was made; and so does another device that holds the same content, which need not
    be copied twice. number: counted up where that id is of no use any more.
    """
    assert isinstance(row.local, Item)
    base = row.synced.content if row.synced is not None else b""
    parts = (row.node_id, base, row.local.content)
    return NodeId(derived_id(*parts, bytes([number])) if number else derived_id(*parts))


class Merge:
    """The merge under way, and its result.

    remote, local: items by nid as far as present; an unknown side counts as unchanged. target: the result by nid.
    adopted: local-only nid → remote nid that is the same node. forks: by nid. rules: why, by nid, where a rule decided.
    """

    def __init__(self, rows: Mapping[Nid, Row], context: Context) -> None:
        self.rows = rows
        self.context = context
        self.order = sorted(rows)
        self.remote: dict[Nid, Item] = {}
        self.local: dict[Nid, Item] = {}
        self.synced: dict[Nid, Item] = {}
        self.target: dict[Nid, Item] = {}
        self.adopted: dict[Nid, Nid] = {}
        self.forks: dict[Nid, Fork] = {}
        self.rules: dict[Nid, str] = {}
        self._unknown: dict[Nid, Row] = {}
        self._kept: list[Nid] = []
        self._moved_folders: list[Nid] = []
        self._both_edited: list[Nid] = []
        self._unit_moved: dict[tuple[bool, Nid], bool] = {}

    def run(self) -> Merge:
        """Fill the result. Call once."""
        self._observe()
        for nid in self.order:
            self._decide(nid)
        self._break_cycles()
        self._revive_folders()
        names = Names(self.target, self.remote, self.local, self.context.taken, self.context.excluded)
        if names.clashes:
            context = self.context
            resolve_clashes(names, self.adopted, self.rules, device_name=context.device_name, date=context.date)
        for nid in self._both_edited:
            self._fork(nid, names)
        return self

    # -- the sides ----------------------------------------------------------------------------------------------------

    def _observe(self) -> None:
        for nid in self.order:
            row = self.rows[nid]
            if row.synced is not None:
                self.synced[nid] = row.synced
            if row.remote is UNKNOWN or row.local is UNKNOWN:
                self._unknown[nid] = row
            if isinstance(row.remote, Item):
                self.remote[nid] = row.remote
            if isinstance(row.local, Item):
                self.local[nid] = row.local
        for row in self._unknown.values():
            if row.remote is UNKNOWN and row.synced is not None and self._is_reached(row, is_local=False):
                self.remote[row.nid] = row.synced
            if row.local is UNKNOWN and row.synced is not None and self._is_reached(row, is_local=True):
                self.local[row.nid] = row.synced
        for nid in self.order:
            self._check(nid)

    def _is_reached(self, row: Row, *, is_local: bool) -> bool:
        """Tell whether the folder that holds the unknown row may still be there on that side."""
        parent = row.synced.parent if row.synced is not None else ROOT_NID
        while parent != ROOT_NID:
            above = self.rows.get(parent)
            side = (above.local if is_local else above.remote) if above is not None else None
            if above is None or side is None:
                return False
            if side is not UNKNOWN or above.synced is None:
                return side is not UNKNOWN
            parent = above.synced.parent
        return True

    def _check(self, nid: Nid) -> None:
        remote, local = self.remote.get(nid), self.local.get(nid)
        for item in (remote, local):
            assert item is None or item.parent == ROOT_NID or item.parent in self.rows, "a plan needs all parents"
        # A folder that was made a shared one is a mount on the service; it is held as it is (`planner`).
        is_mount = remote is not None and remote.kind is Kind.MOUNT
        assert remote is None or local is None or is_mount or remote.kind == local.kind, "a node never changes its kind"

    # -- existence, place, content ------------------------------------------------------------------------------------

    def _decide(self, nid: Nid) -> None:
        """Give the node its tentative target. One that is not kept may come back as a folder for survivors."""
        remote, local, synced = self.remote.get(nid), self.local.get(nid), self.synced.get(nid)
        if remote is None or local is None:
            present = remote or local
            if present is None:
                if synced is not None:
                    self.target[nid] = synced
                return
            self.target[nid] = present
            if synced is None or self._survives(nid, present, synced, is_local_gone=local is None):
                self._kept.append(nid)
            return
        self._kept.append(nid)
        item = remote
        if synced is not None and local.place != synced.place and remote.place == synced.place:
            item = remote.at(*local.place)
            if remote.kind is Kind.FOLDER:
                self._moved_folders.append(nid)
        if remote.substance != local.substance:
            item = self._merge_content(nid, item, local, synced)
        self.target[nid] = item

    def _merge_content(self, nid: Nid, item: Item, local: Item, synced: Item | None) -> Item:
        """`item` holds the remote's content. Return it with the local one where only that changed.

        Where nothing was agreed on, that the service has no attributes does not say that they were removed.
        """
        remote = self.remote[nid]
        is_executable, xattrs = remote.attributes
        if synced is not None and remote.is_executable == synced.is_executable:
            is_executable = local.is_executable
        if xattrs == (b"" if synced is None else synced.xattrs):
            xattrs = local.xattrs
        content = remote.content
        if local.content != remote.content:
            if synced is not None and remote.content == synced.content:
                content = local.content
            elif synced is None or local.content != synced.content:
                self._both_edited.append(nid)
                is_executable, xattrs = remote.attributes
        return item.holding(content, is_executable=is_executable, xattrs=xattrs)

    def _survives(self, nid: Nid, present: Item, synced: Item, *, is_local_gone: bool) -> bool:
        """Tell whether the one side that still has the node changed it, or moved the unit it was deleted with."""
        if present.place != synced.place or present.content != synced.content:
            return True
        if self._is_unit_moved(nid, is_local_gone=is_local_gone):
            self.rules[nid] = "unit moved/delete" if not is_local_gone else "delete/unit moved"
            return True
        return False

    def _is_unit_moved(self, nid: Nid, *, is_local_gone: bool) -> bool:
        """Walk up what one side deleted: has the other side moved the node or a folder around it?"""
        gone, here = (self.local, self.remote) if is_local_gone else (self.remote, self.local)
        path: list[Nid] = []
        is_moved = False
        while True:
            known = self._unit_moved.get((is_local_gone, nid))
            if known is not None:
                is_moved = known
                break
            synced = self.synced.get(nid)
            if synced is None or nid in gone:
                break
            path.append(nid)
            item = here.get(nid)
            if item is not None and item.place != synced.place:
                is_moved = True
                break
            nid = synced.parent
        for each in path:
            self._unit_moved[is_local_gone, each] = is_moved
        return is_moved

    # -- folders ------------------------------------------------------------------------------------------------------

    def _parent(self, nid: Nid) -> Nid:
        """Return the tentative parent; the root for a node whose folder nothing is known of (it stays as it is)."""
        parent = self.target[nid].parent
        return parent if parent in self.target else ROOT_NID

    def _break_cycles(self) -> None:
        """All local moves stand in the target together; of those in a circle, take one back to its remote place."""
        safe = {ROOT_NID}
        for start in [*self._moved_folders, *(nid for nid in self._unknown if nid in self.target)]:
            while True:
                path, nid = self._climb(start, safe)
                if nid in safe:
                    safe.update(path)
                    break
                self._revert_one(path[path.index(nid) :])

    def _climb(self, nid: Nid, safe: set[Nid]) -> tuple[list[Nid], Nid]:
        """Return the way up from nid, and where it ends: in `safe`, or at a node that it met before."""
        path: list[Nid] = []
        met: set[Nid] = set()
        while nid not in safe and nid not in met:
            met.add(nid)
            path.append(nid)
            nid = self._parent(nid)
        return path, nid

    def _revert_one(self, circle: list[Nid]) -> None:
        reverted = [nid for nid in circle if nid in self.remote and self.target[nid].place != self.remote[nid].place]
        if reverted:
            nid = max(reverted)
            self.target[nid] = self.target[nid].at(*self.remote[nid].place)
            self.rules[nid] = "move/cycle"
            return
        # Both trees are free of circles, so only a guessed place can close this one; nothing is done to its node.
        nid = max(nid for nid in circle if nid in self._unknown)
        self.target[nid] = self.target[nid].at(ROOT_NID, self.target[nid].name)

    def _revive_folders(self) -> None:
        """Drop what is not kept, but for the folders that kept nodes stand in: those come back, empty but for them."""
        alive = set(self._kept)
        alive.add(ROOT_NID)
        for nid in self._kept:
            parent = self._parent(nid)
            while parent not in alive:
                alive.add(parent)
                self.rules.setdefault(parent, "excluded inside" if nid in self.context.excluded else "folder needed")
                parent = self._parent(parent)
        if len(alive) <= len(self.target):
            self.target = {nid: item for nid, item in self.target.items() if nid in alive}

    # -- conflicted copies --------------------------------------------------------------------------------------------

    def _fork(self, nid: Nid, names: Names) -> None:
        """Both sides changed the content: the remote one stays, the local one becomes a copy beside it."""
        row, local, item = self.rows[nid], self.local[nid], self.target[nid]
        for number in itertools.count():
            wanted = copy_id(row, number)
            if wanted in self.context.spent:
                continue
            made = self.context.copies.get(wanted)
            if made is None:
                break
            if self._is_usable(made, local):
                break
        if made is not None and isinstance(made.remote, Item) and made.remote.parent == item.parent:
            name = made.remote.name
        else:
            candidates = conflicted_copy_names(original_name(item.name), self.context.device_name, self.context.date)
            name = names.take_free(item.parent, candidates)
        self.forks[nid] = Fork(wanted, local.at(item.parent, name), made)
        self.rules[nid] = "edit/edit" if row.synced is not None else "create/create"

    def _is_usable(self, made: Row, local: Item) -> bool:
        """Tell whether the copy that an earlier plan made still keeps the local content."""
        if not isinstance(made.remote, Item) or made.remote.content != local.content:
            return False
        return made.nid in self.target or made.nid not in self.rows
