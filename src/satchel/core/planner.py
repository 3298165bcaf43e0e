"""Says what to do so that remote, local and synced become one tree. Pure: no clock, no disk, no randomness.

`plan` merges both sides into a target and compares: what the service lacks is committed, what the disk lacks is placed,
what both have is agreed on. Invariants: every order that respects `needs` ends in the same trees and passes through
valid ones only; a deletion names every row that goes with it; planning again after any part of a plan was done goes on
from there; nothing is asked of a row that is busy or has an unknown side, nor of whoever depends on it.

What an operation settles (the engine writes it into synced): CommitCreate, CommitUndelete: all of its item. CommitEdit:
content and attributes. CommitAttr: the attributes. CommitMove: the place. CommitDelete, TrashLocal: the rows are
absent. Place of a new file: all. What else changes the disk (Place, MoveLocal, SetAttributes) settles what it changed
where the remote has it so too, and nothing otherwise.
Source: docs/design/040.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from satchel.core.clashes import NameKey, Names, key_of
from satchel.core.conflicts import clash_names
from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NID, Nid
from satchel.core.merge import Context, Fork, Merge, copy_id
from satchel.core.operations import (
    Adopt,
    Agree,
    CommitAttr,
    CommitCopy,
    CommitCreate,
    CommitDelete,
    CommitEdit,
    CommitMove,
    CommitUndelete,
    Decision,
    Hold,
    HoldReason,
    MoveLocal,
    Operation,
    Place,
    Plan,
    PlannedMove,
    SetAttributes,
    TrashLocal,
)
from satchel.core.ordering import Draft, Make, MakeMoves, Needs, ordered
from satchel.core.trees import UNKNOWN, Item, Row

__all__ = ["Context", "copy_id", "plan"]


def plan(rows: Mapping[Nid, Row], context: Context) -> Plan:
    """Return the operations that bring the three trees together, as far as can be said now.

    rows: a closure: all parents of its rows in the remote and the local tree, whoever holds a name that a row has on
    either side, and all rows of a unit that one side deleted. Deterministic; cost O(n log n) for n rows.
    """
    merge = Merge(rows, context).run()
    drafts = _Drafts(merge)
    operations = drafts.operations()
    return Plan(tuple(operations), _decisions(merge, operations))


class _Side:
    """One side of the comparison: where its nodes are, and which drafts change that."""

    def __init__(self, items: dict[Nid, Item], make_moves: MakeMoves) -> None:
        self.items = items
        self.make_moves = make_moves
        self.made: dict[Nid, Draft] = {}
        self.moved: dict[Nid, Draft] = {}
        self.deleted: dict[Nid, Draft] = {}
        self.frees: dict[NameKey, list[Draft]] = {}


class _Drafts:
    """Compares the target with both sides."""

    def __init__(self, merge: Merge) -> None:
        self.merge = merge
        self.rows = merge.rows
        self.target = merge.target
        self.drafts: list[Draft] = []
        self.holds: dict[Nid, HoldReason] = {}
        self.stuck: set[Nid] = set()
        self.unknown: set[Nid] = set()
        self.server = _Side(merge.remote, CommitMove)
        self.disk = _Side(self._adopted_local(), MoveLocal)
        self.adopts: dict[Nid, Draft] = {}
        # Copies that an earlier plan committed: they come to the disk as the file that is swapped out, not by download.
        self.kept_copies = {fork.made.nid for fork in merge.forks.values() if fork.made is not None}
        self.copies: dict[Nid, Draft] = {}
        self.keeps: dict[Nid, Draft] = {}
        self._names: Names | None = None

    def operations(self) -> list[Operation]:
        """Return the plan's operations; holds come last."""
        self._find_stuck()
        adopts = {into: self._adopt(nid, into) for nid, into in sorted(self.merge.adopted.items())}
        self.adopts.update(adopts)
        for nid in self.merge.order:
            self._compare(nid)
        for side, make in ((self.server, CommitDelete), (self.disk, TrashLocal)):
            self._add_deletions(side, make)
        for side in (self.server, self.disk):
            self._link_tree(side)
            self._link_names(side)
        operations = ordered(self.drafts, self._detour_name)
        for nid in sorted(self.holds):
            operations.append(Hold(len(operations), (), nid, self.holds[nid]))
        return operations

    def _adopted_local(self) -> dict[Nid, Item]:
        """Return the local tree as it is once all adoptions are done."""
        adopted = self.merge.adopted
        if not adopted:
            return self.merge.local
        return {
            adopted.get(nid, nid): item.at(adopted[item.parent], item.name) if item.parent in adopted else item
            for nid, item in self.merge.local.items()
        }

    def _find_stuck(self) -> None:
        for nid in self.merge.order:
            row = self.rows[nid]
            if row.is_unknown:
                self.unknown.add(nid)
                self.stuck.add(nid)
            elif row.is_busy or (isinstance(row.remote, Item) and row.remote.kind is Kind.MOUNT):
                self.stuck.add(nid)
                if not row.is_busy and row.is_dirty:
                    self.holds[nid] = HoldReason.KIND_UNSUPPORTED
            item = self.target.get(nid)
            if item is not None and item.parent != ROOT_NID and item.parent not in self.target:
                # Its folder is announced but not yet told of: it has a row and no side.
                self.stuck.add(nid)
                self.holds.setdefault(nid, HoldReason.PARENT_UNKNOWN)

    # -- drafts of one node -------------------------------------------------------------------------------------------

    def _add(self, nid: Nid, item: Item, make: Make | None) -> Draft:
        draft = Draft(nid, item, make, is_stuck=nid in self.stuck)
        if self.adopts:
            self._need_adoption(draft)
        self.drafts.append(draft)
        return draft

    def _need_adoption(self, draft: Draft) -> None:
        """The node itself and the folder that it stands in are what they are to be before anything else is done."""
        local = self.merge.local.get(draft.nid)
        around = self.merge.adopted.get(local.parent) if local is not None else None
        for nid in (draft.nid, around):
            adopt = self.adopts.get(nid) if nid is not None else None
            if adopt is not None:
                draft.needs.append(adopt)

    def _adopt(self, nid: Nid, into: Nid) -> Draft:
        draft = self._add(nid, self.target[into], partial(_make_adopt, into))
        draft.is_stuck = draft.is_stuck or into in self.stuck
        return draft

    def _compare(self, nid: Nid) -> None:
        item = self.target.get(nid)
        remote, local = self.server.items.get(nid), self.disk.items.get(nid)
        if item is None:
            if remote is None and local is None and self.rows[nid].synced is not None and nid not in self.merge.adopted:
                self._add(nid, self.rows[nid].synced or _nothing(nid), _make_agree)
            return
        if remote is not None and local is not None and remote == local == item:
            if item != self.rows[nid].synced and nid not in self.unknown:
                self._add(nid, item, _make_agree)
            return
        moved: Draft | None = None
        if local is not None and local.place != item.place:
            moved = self._add_move(self.disk, nid, item, base_rev=0)
        marked: Draft | None = None
        if local is not None and local.content == item.content and local.attributes != item.attributes:
            marked = self._add(nid, item, _make_set_attributes)
        attr = self._compare_remote(nid, item, remote, moved, marked)
        placed = self._compare_local(nid, item, local, moved)
        if attr is not None and placed is not None and local is not None and local.attributes != item.attributes:
            # Each side changed another attribute: what is stated of the disk is so once the file is replaced.
            attr.needs.append(placed)

    def _add_move(self, side: _Side, nid: Nid, item: Item, *, base_rev: int) -> Draft:
        draft = self._add(nid, item, None)
        draft.make_moves = side.make_moves
        draft.moves = (PlannedMove(nid, item.parent, item.name, base_rev),)
        side.moved[nid] = draft
        return draft

    def _compare_remote(
        self, nid: Nid, item: Item, remote: Item | None, moved: Draft | None, marked: Draft | None
    ) -> Draft | None:
        """Return the draft that sends attributes alone. moved, marked: what brings the disk to place and attributes.

        They come before the service hears of the same: else the next plan would take it for the user's and undo it.
        """
        row = self.rows[nid]
        draft: Draft | None = None
        if remote is None:
            # A rev without a remote side: the service had the node and holds it as deleted.
            is_new = row.synced is None and not row.content_rev
            make: Make = CommitCreate if is_new else CommitUndelete
            draft = self.server.made[nid] = self._add(nid, item, make)
        elif remote.place != item.place:
            draft = self._add_move(self.server, nid, item, base_rev=row.place_rev)
        if draft is not None and moved is not None:
            draft.needs.append(moved)
        if remote is not None and remote.content != item.content:
            draft = self._add(nid, item, partial(_make_edit, row.content_rev))
            if marked is not None:
                draft.needs.append(marked)
        elif remote is not None and remote.attributes != item.attributes:
            draft = self._add(nid, item, partial(_make_attr, row.content_rev, remote))
            if marked is not None:
                draft.needs.append(marked)
            return draft
        return None

    def _compare_local(self, nid: Nid, item: Item, local: Item | None, moved: Draft | None) -> Draft | None:
        """Return the draft that replaces what stands there."""
        if local is None:
            if nid not in self.kept_copies:
                self.disk.made[nid] = self._add(nid, item, Place)
            return None
        if local.content == item.content:
            return None
        fork = self.merge.forks.get(nid)
        draft = self._add(nid, item, partial(_make_replace, local.at(*item.place), fork))
        if moved is not None:
            draft.needs.append(moved)
        if fork is not None:
            self._add_copy(nid, fork, draft)
        return draft

    def _add_copy(self, nid: Nid, fork: Fork, place: Draft) -> None:
        """Commit the conflicted copy before the name is taken from it, unless an earlier plan did."""
        self.keeps[nid] = place
        if fork.made is not None:
            place.is_stuck = place.is_stuck or fork.made.nid in self.stuck or fork.made.is_busy
            return
        draft = self._add(nid, fork.item, partial(_make_copy, fork))
        self.copies[nid] = draft
        place.needs.append(draft)

    # -- units that go ------------------------------------------------------------------------------------------------

    def _add_deletions(self, side: _Side, make: type[CommitDelete] | type[TrashLocal]) -> None:
        items = side.items
        dead = [nid for nid in self.merge.order if nid in items and nid not in self.target]
        if not dead:
            return
        held = self._held(side, dead)
        top_of: dict[Nid, Nid] = {}
        units: dict[Nid, list[Nid]] = {}
        for nid in dead:
            if nid not in held:
                top = self._top(nid, items, held, top_of)
                units.setdefault(top, []).append(nid)
        for top in sorted(units):
            nids = (top, *(nid for nid in units[top] if nid != top))
            draft = self._add(top, items[top], partial(_make_deletion, make, nids))
            for nid in nids:
                side.deleted[nid] = draft
        if held:
            blocked = Draft(ROOT_NID, items[dead[0]], None, is_stuck=True)
            self.drafts.append(blocked)
            for nid in sorted(held):
                side.deleted[nid] = blocked

    def _held(self, side: _Side, dead: list[Nid]) -> set[Nid]:
        """Return the dead rows that cannot go now: those stuck, and the folders around what is stuck."""
        held: set[Nid] = set()
        for reason, stuck in ((HoldReason.UNKNOWN_INSIDE, self.unknown), (None, self.stuck)):
            for seed in sorted(stuck):
                item = side.items.get(seed)
                nid = seed if item is None or seed not in self.target else item.parent
                while nid in side.items and nid not in self.target and nid not in held:
                    held.add(nid)
                    if reason is not None:
                        self.holds[nid] = reason
                    nid = side.items[nid].parent
        return held

    def _top(self, nid: Nid, items: dict[Nid, Item], held: set[Nid], top_of: dict[Nid, Nid]) -> Nid:
        """Return the highest folder that goes together with the node."""
        path = [nid]
        while nid not in top_of:
            parent = items[nid].parent
            # A parent that is on neither side is unknown and was never agreed on: nobody can say that it goes.
            if parent == ROOT_NID or parent in self.target or parent in held or parent not in items:
                top_of[nid] = nid
                break
            nid = parent
            path.append(nid)
        for each in path:
            top_of[each] = top_of[nid]
        return top_of[nid]

    # -- what comes first ---------------------------------------------------------------------------------------------

    def _link_tree(self, side: _Side) -> None:
        """A folder comes before what enters it, and what leaves a unit before the unit goes."""
        nearest: dict[Nid, Draft | None] = {}
        for nid, draft in (*side.made.items(), *side.moved.items()):
            self._need_parent(side, draft)
            if nid in side.moved and draft.item.kind is Kind.FOLDER:
                above = self._nearest_reparented(side, draft.item.parent, nearest)
                if above is not None and self._is_reparented(side, nid):
                    draft.needs.append(above)
        others = self.copies if side is self.server else self.adopts
        for draft in others.values():
            self._need_parent(side, draft)
        for nid, draft in side.moved.items():
            unit = side.deleted.get(side.items[nid].parent)
            if unit is not None:
                unit.needs.append(draft)

    def _need_parent(self, side: _Side, draft: Draft) -> None:
        parent = draft.item.parent
        if parent == ROOT_NID:
            return
        made = side.made.get(parent)
        if made is not None:
            draft.needs.append(made)
        adopt = self.adopts.get(parent)
        if adopt is not None:
            draft.needs.append(adopt)
        if parent in self.stuck:
            draft.is_stuck = True
            row = self.rows[parent]
            if (row.remote if side is self.server else row.local) is UNKNOWN:
                self.holds.setdefault(draft.nid, HoldReason.PARENT_UNKNOWN)

    def _is_reparented(self, side: _Side, nid: Nid) -> bool:
        return nid in side.moved and side.items[nid].parent != self.target[nid].parent

    def _nearest_reparented(self, side: _Side, nid: Nid, known: dict[Nid, Draft | None]) -> Draft | None:
        """Return the move of the nearest folder above that changes its own folder: done first, no circle can arise."""
        path: list[Nid] = []
        found: Draft | None = None
        while nid in self.target:
            if nid in known:
                found = known[nid]
                break
            if self._is_reparented(side, nid):
                found = side.moved[nid]
                break
            path.append(nid)
            nid = self.target[nid].parent
        for each in path:
            known[each] = found
        return found

    def _link_names(self, side: _Side) -> None:
        """Whoever takes a name waits for all that leave it."""
        for nid, draft in side.moved.items():
            old = key_of(side.items[nid])
            if old != key_of(draft.item):
                side.frees.setdefault(old, []).append(draft)
        for nid, draft in side.deleted.items():
            if side.items[nid].parent not in side.deleted:
                side.frees.setdefault(key_of(side.items[nid]), []).append(draft)
        if not side.frees:
            return
        for draft in (*side.made.values(), *side.moved.values()):
            self._need_name(side, draft, key_of(draft.item))
        if side is self.server:
            for draft in self.copies.values():
                self._need_name(side, draft, key_of(draft.item))
            return
        for nid, draft in self.keeps.items():
            self._need_name(side, draft, key_of(self.merge.forks[nid].item))

    def _need_name(self, side: _Side, draft: Draft, key: NameKey) -> None:
        for each in side.frees.get(key, ()):
            if each is not draft:
                draft.names.append(each)

    def _detour_name(self, item: Item) -> str:
        """Return a name beside the item's own that nobody uses."""
        if self._names is None:
            self._names = Names(self.target, self.server.items, self.disk.items, self.merge.context.taken)
        return self._names.take_free(item.parent, clash_names(item.name, "kind", item.kind is Kind.FOLDER))


def _nothing(nid: Nid) -> Item:
    return Item(ROOT_NID, str(nid), Kind.FILE)


# -- from a draft to its operation ------------------------------------------------------------------------------------


def _make_adopt(into: Nid, index: int, needs: Needs, nid: Nid, item: Item) -> Operation:
    return Adopt(index, needs, nid, into)


def _make_agree(index: int, needs: Needs, nid: Nid, item: Item) -> Operation:
    return Agree(index, needs, nid)


def _make_edit(base_rev: int, index: int, needs: Needs, nid: Nid, item: Item) -> Operation:
    return CommitEdit(index, needs, nid, item, base_rev)


def _make_attr(base_rev: int, remote: Item, index: int, needs: Needs, nid: Nid, item: Item) -> Operation:
    is_xattrs_only = item.is_executable == remote.is_executable
    return CommitAttr(index, needs, nid, item.is_executable, base_rev, item.xattrs, is_xattrs_only)


def _make_copy(fork: Fork, index: int, needs: Needs, nid: Nid, item: Item) -> Operation:
    return CommitCopy(index, needs, nid, fork.copy_id, item)


def _make_replace(replaced: Item, fork: Fork | None, index: int, needs: Needs, nid: Nid, item: Item) -> Operation:
    if fork is None or (fork.made is not None and isinstance(fork.made.local, Item)):
        return Place(index, needs, nid, item, replaced)
    return Place(index, needs, nid, item, replaced, fork.item.name, fork.copy_id)


def _make_set_attributes(index: int, needs: Needs, nid: Nid, item: Item) -> Operation:
    return SetAttributes(index, needs, nid, item.is_executable, item.xattrs)


def _make_deletion(
    make: type[CommitDelete] | type[TrashLocal],
    nids: tuple[Nid, ...],
    index: int,
    needs: Needs,
    nid: Nid,
    item: Item,
) -> Operation:
    return make(index, needs, nid, nids)


# -- why --------------------------------------------------------------------------------------------------------------


def _decisions(merge: Merge, operations: list[Operation]) -> tuple[Decision, ...]:
    """Return one decision for each row that a conflict rule gave an operation, by nid."""
    touched: set[Nid] = set()
    for operation in operations:
        match operation:
            case CommitMove(moves=moves) | MoveLocal(moves=moves):
                touched.update(move.nid for move in moves)
            case CommitDelete(nids=nids) | TrashLocal(nids=nids):
                touched.update(nids)
            case Adopt(into=into):
                touched.add(into)
            case Agree() | Hold():
                pass
            case _:
                touched.add(operation.nid)
    decisions: list[Decision] = []
    for nid in sorted(touched):
        rule = merge.rules.get(nid) or _pair(merge, nid)
        if rule:
            decisions.append(Decision(nid, rule))
    return tuple(decisions)


def _pair(merge: Merge, nid: Nid) -> str:
    """Return `local/remote` where both sides changed the node, else nothing."""
    synced = merge.synced.get(nid)
    local, remote = merge.local.get(nid), merge.remote.get(nid)
    if local == synced or remote == synced:
        return ""
    return f"{_change(local, synced)}/{_change(remote, synced)}"


def _change(item: Item | None, synced: Item | None) -> str:
    if item is None:
        return "delete"
    if synced is None:
        return "create"
    changes = []
    if item.place != synced.place:
        changes.append("move")
    if item.content != synced.content:
        changes.append("edit")
    if not changes:
        return "exec" if item.is_executable != synced.is_executable else "xattrs"
    return "+".join(changes)
