"""A small world to try the planner in: one service, some devices, an executor that refuses what the real ones refuse.

Invariant: the world knows nothing of the planner's rules; it only does what an operation says, or raises `Broken`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NID, Nid, NodeId
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
    Hold,
    MoveLocal,
    Operation,
    Place,
    Plan,
    PlannedMove,
    SetAttributes,
    TrashLocal,
)
from satchel.core.paths import name_key
from satchel.core.planner import Context, plan
from satchel.core.trees import Item, Row

Tree = dict[Nid, Item]
NAMES = ("a", "b", "A", "c", "d")
FIRST_COPY = 1_000_000
ROUNDS_MAX = 200


class Broken(AssertionError):
    """An operation that the real service or disk would refuse, or that loses something."""


def node_id(nid: Nid) -> NodeId:
    return NodeId(nid.to_bytes(16, "big"))


# -- trees ------------------------------------------------------------------------------------------------------------


def unit(tree: Tree, top: Nid) -> list[Nid]:
    """Return top and all below."""
    below: dict[Nid, list[Nid]] = {}
    for nid, item in tree.items():
        below.setdefault(item.parent, []).append(nid)
    found = [top]
    for nid in found:
        found.extend(below.get(nid, ()))
    return found


def check_valid(tree: Tree, *, is_folding: bool = True) -> None:
    """Raise Broken for an orphan, a circle, a file with children, or a name held twice."""
    seen: set[tuple[Nid, str]] = set()
    for nid, item in tree.items():
        key = (item.parent, name_key(item.name) if is_folding else item.name)
        if key in seen:
            raise Broken(f"name twice: {nid} {item}")
        seen.add(key)
        _check_chain(tree, nid)


def _check_chain(tree: Tree, nid: Nid) -> None:
    steps, parent = 0, tree[nid].parent
    while parent != ROOT_NID:
        if parent not in tree:
            raise Broken(f"orphan: {nid}")
        if tree[parent].kind is not Kind.FOLDER:
            raise Broken(f"child of a file: {nid}")
        parent = tree[parent].parent
        steps += 1
        if steps > len(tree):
            raise Broken(f"circle: {nid}")


def paths(tree: Tree) -> dict[str, tuple[Kind, bytes, bool, bytes]]:
    """Return what stands at each path."""
    found = {}
    for item in tree.values():
        names, above = [item.name], item.parent
        while above != ROOT_NID:
            names.append(tree[above].name)
            above = tree[above].parent
        found["/".join(reversed(names))] = item.substance
    return found


def contents(*trees: Tree) -> set[bytes]:
    return {item.content for tree in trees for item in tree.values() if item.content}


def is_key_taken(tree: Tree, item: Item, *, but: Nid) -> bool:
    key = name_key(item.name)
    return any(
        other.parent == item.parent and nid != but and name_key(other.name) == key for nid, other in tree.items()
    )


def put(tree: Tree, nid: Nid, item: Item) -> None:
    """Add a node where its folder is there and its name is free."""
    if nid in tree:
        raise Broken(f"already there: {nid}")
    if is_key_taken(tree, item, but=nid):
        raise Broken(f"name taken: {nid} {item}")
    tree[nid] = item
    _check_chain(tree, nid)


def move(tree: Tree, moves: Iterable[PlannedMove]) -> None:
    """Do the moves jointly."""
    moves = tuple(moves)
    for each in moves:
        if each.nid not in tree:
            raise Broken(f"not there: {each.nid}")
        tree[each.nid] = tree[each.nid].at(each.parent, each.name)
    for each in moves:
        if is_key_taken(tree, tree[each.nid], but=each.nid):
            raise Broken(f"name taken: {each}")
        _check_chain(tree, each.nid)


def remove(tree: Tree, nid: Nid, nids: tuple[Nid, ...]) -> None:
    """Remove a unit; it must hold just what the operation names."""
    if nid not in tree or nids[0] != nid or len(set(nids)) != len(nids):
        raise Broken(f"no such unit: {nid} {nids}")
    if set(unit(tree, nid)) != set(nids):
        raise Broken(f"deletes what it does not name: {sorted(set(unit(tree, nid)) ^ set(nids))}")
    for each in nids:
        del tree[each]


def _with_attributes(item: Item, is_executable: bool, xattrs: bytes) -> Item:
    return item.holding(item.content, is_executable=is_executable, xattrs=xattrs)


# -- the world --------------------------------------------------------------------------------------------------------


class Service:
    """The remote tree with its revs. All devices use the same nids for its nodes."""

    def __init__(self, tree: Tree) -> None:
        self.tree = dict(tree)
        self.dead: set[Nid] = set()
        self.content_rev = dict.fromkeys(tree, 1)
        self.place_rev = dict.fromkeys(tree, 1)
        self.copies: dict[NodeId, Nid] = {}
        self._rev = 1

    def rev(self) -> int:
        self._rev += 1
        return self._rev

    def copy_nid(self, copy: NodeId) -> Nid:
        return self.copies.setdefault(copy, Nid(FIRST_COPY + len(self.copies)))

    def add(self, nid: Nid, item: Item) -> None:
        put(self.tree, nid, item)
        self.dead.discard(nid)
        self.content_rev[nid] = self.place_rev[nid] = self.rev()


@dataclass
class Device:
    """A device's local and synced tree. busy: rows that its plans shall leave alone.

    is_lazy: what the disk was brought to settles nothing by itself, only `Agree` does.
    """

    service: Service
    local: Tree
    synced: Tree
    name: str = "Laptop"
    busy: frozenset[Nid] = frozenset()
    is_lazy: bool = False
    adopted: dict[Nid, Nid] = field(default_factory=dict)

    def row(self, nid: Nid) -> Row:
        service = self.service
        identity = next((copy for copy, each in service.copies.items() if each == nid), None) or node_id(nid)
        return Row(
            nid,
            identity,
            service.tree.get(nid),
            self.local.get(nid),
            self.synced.get(nid),
            service.content_rev.get(nid, 0),
            service.place_rev.get(nid, 0),
            nid in self.busy,
        )

    def rows(self) -> dict[Nid, Row]:
        nids = self.service.tree.keys() | self.local.keys() | self.synced.keys()
        return {nid: self.row(nid) for nid in sorted(nids)}

    def context(self, rows: Mapping[Nid, Row]) -> Context:
        copies = {copy: rows[nid] for copy, nid in self.service.copies.items() if nid in rows}
        return Context(self.name, "2026-11-22", copies, self.is_taken)

    def is_taken(self, parent: Nid, key: str) -> bool:
        trees = (self.service.tree, self.local)
        return any(item.parent == parent and name_key(item.name) == key for tree in trees for item in tree.values())

    def is_settled(self) -> bool:
        return self.service.tree == self.local == self.synced

    # -- one operation ------------------------------------------------------------------------------------------------

    def run(self, op: Operation) -> None:
        """Do it on the service or on the disk, and settle what it settles. Raises: Broken."""
        match op:
            case CommitCreate() | CommitUndelete():
                self._commit_new(op)
            case CommitCopy(nid=nid, copy_id=copy, item=item):
                if self.local[nid].substance != item.substance:
                    raise Broken(f"copy of other content: {op}")
                self.service.add(self.service.copy_nid(copy), item)
            case CommitEdit() | CommitAttr():
                self._commit_content(op)
            case CommitMove(moves=moves):
                if any(each.base_rev != self.service.place_rev[each.nid] for each in moves):
                    raise Broken(f"old place: {op}")
                move(self.service.tree, moves)
                for each in moves:
                    self.service.place_rev[each.nid] = self.service.rev()
                    self._settle_place(each)
            case CommitDelete(nid=nid, nids=nids):
                remove(self.service.tree, nid, nids)
                self.service.dead.update(nids)
                self._forget(nids)
            case TrashLocal(nid=nid, nids=nids):
                remove(self.local, nid, nids)
                self._forget(nids)
            case Place():
                self._place(op)
            case MoveLocal(moves=moves):
                move(self.local, moves)
                for each in moves:
                    remote = self.service.tree.get(each.nid)
                    if remote is not None and remote.place == (each.parent, each.name) and not self.is_lazy:
                        self._settle_place(each)
            case SetAttributes(nid=nid):
                self.local[nid] = _with_attributes(self.local[nid], op.is_executable, op.xattrs)
                self._settle_attributes(nid, op.is_executable, op.xattrs)
            case Adopt(nid=nid, into=into):
                self._adopt(nid, into)
            case Agree(nid=nid):
                if self.service.tree.get(nid) != self.local.get(nid):
                    raise Broken(f"no agreement: {op}")
                self._set_synced(nid, self.local.get(nid))
            case Hold():
                pass

    def _commit_new(self, op: CommitCreate | CommitUndelete) -> None:
        if isinstance(op, CommitCreate) == (op.nid in self.service.dead):
            raise Broken(f"create of the dead or undelete of the new: {op}")
        if self.local[op.nid].substance != op.item.substance:
            raise Broken(f"commits other content: {op}")
        self.service.add(op.nid, op.item)
        self.synced[op.nid] = op.item

    def _commit_content(self, op: CommitEdit | CommitAttr) -> None:
        remote = self.service.tree[op.nid]
        if op.base_rev != self.service.content_rev[op.nid]:
            raise Broken(f"old content: {op}")
        if isinstance(op, CommitEdit):
            if self.local[op.nid].content != op.item.content:
                raise Broken(f"commits other content: {op}")
            remote = op.item.at(*remote.place)
            self._settle_content(op.nid, remote.content, *remote.attributes)
        else:
            if self.local[op.nid].attributes != (op.is_executable, op.xattrs):
                raise Broken(f"commits other attributes: {op}")
            remote = _with_attributes(remote, op.is_executable, op.xattrs)
            if op.nid in self.synced:
                self._settle_content(op.nid, self.synced[op.nid].content, op.is_executable, op.xattrs)
        self.service.tree[op.nid] = remote
        self.service.content_rev[op.nid] = self.service.rev()

    def _place(self, op: Place) -> None:
        remote = self.service.tree.get(op.nid)
        if remote is None or remote.content != op.item.content:
            raise Broken(f"content that the service lacks: {op}")
        if op.replaces is None:
            put(self.local, op.nid, op.item)
            self.synced[op.nid] = op.item
            return
        old = self.local.get(op.nid)
        if old != op.replaces or old is None or old.place != op.item.place:
            raise Broken(f"something else stands there: {op}")
        is_known = old.content in contents(self.service.tree, self.synced)
        self.local[op.nid] = op.item
        if op.nid in self.synced and not self.is_lazy:
            self._settle_content(op.nid, op.item.content, *self.synced[op.nid].attributes)
            self._settle_attributes(op.nid, *op.item.attributes)
        if op.keep_as is not None:
            assert op.keep_id is not None
            copy = self.service.copies[op.keep_id]
            put(self.local, copy, old.at(old.parent, op.keep_as))
            self.synced[copy] = self.local[copy]
            if self.service.tree[copy].content != old.content:
                raise Broken(f"the copy is not safe: {op}")
        elif not is_known:
            raise Broken(f"the last bytes go to the trash: {op}")

    def _adopt(self, nid: Nid, into: Nid) -> None:
        if into in self.local or into not in self.service.tree or nid in self.service.tree:
            raise Broken(f"not two halves: {nid} {into}")
        self.local[into] = self.local.pop(nid)
        self.synced.pop(nid, None)
        self.adopted[nid] = into
        for tree in (self.local, self.synced):
            for child, item in tree.items():
                if item.parent == nid:
                    tree[child] = item.at(into, item.name)

    # -- the synced tree ----------------------------------------------------------------------------------------------

    def _set_synced(self, nid: Nid, item: Item | None) -> None:
        if item is None:
            self.synced.pop(nid, None)
        else:
            self.synced[nid] = item

    def _settle_place(self, each: PlannedMove) -> None:
        if each.nid in self.synced:
            self.synced[each.nid] = self.synced[each.nid].at(each.parent, each.name)

    def _settle_content(self, nid: Nid, content: bytes, is_executable: bool, xattrs: bytes) -> None:
        if nid in self.synced:
            self.synced[nid] = self.synced[nid].holding(content, is_executable=is_executable, xattrs=xattrs)

    def _settle_attributes(self, nid: Nid, is_executable: bool, xattrs: bytes) -> None:
        synced, remote = self.synced.get(nid), self.service.tree[nid]
        if synced is not None and not self.is_lazy:
            bit = is_executable if remote.is_executable == is_executable else synced.is_executable
            rest = xattrs if remote.xattrs == xattrs else synced.xattrs
            self.synced[nid] = _with_attributes(synced, bit, rest)

    def _forget(self, nids: Iterable[Nid]) -> None:
        for nid in nids:
            if nid in self.service.tree or nid in self.local:
                raise Broken(f"forgets a present row: {nid}")
            self.synced.pop(nid, None)


# -- runs -------------------------------------------------------------------------------------------------------------


def closure(rows: Mapping[Nid, Row]) -> dict[Nid, Row]:
    """Return what a plan must see: the dirty rows, who holds their names, and the ancestors of all these."""
    holders: dict[tuple[Nid, str], list[Nid]] = {}
    for row in rows.values():
        for side in (row.remote, row.local):
            if isinstance(side, Item):
                holders.setdefault((side.parent, name_key(side.name)), []).append(row.nid)
    found: dict[Nid, Row] = {}
    pending = [row for row in rows.values() if row.is_dirty]
    for row in list(pending):
        for side in (row.remote, row.local):
            if isinstance(side, Item):
                pending += [rows[nid] for nid in holders[side.parent, name_key(side.name)]]
    while pending:
        row = pending.pop()
        if row.nid in found:
            continue
        found[row.nid] = row
        sides = (row.remote, row.local, row.synced)
        pending += [rows[side.parent] for side in sides if isinstance(side, Item) and side.parent in rows]
    return found


def check_shape(made: Plan) -> None:
    """Indexes count up and needs point back."""
    for index, op in enumerate(made.operations):
        assert op.index == index
        assert all(0 <= need < index for need in op.needs)


def shuffled(operations: tuple[Operation, ...], rng: random.Random) -> list[Operation]:
    """Return some order that respects `needs`."""
    open_needs = [len(set(op.needs)) for op in operations]
    dependents: list[list[int]] = [[] for _ in operations]
    for op in operations:
        for need in set(op.needs):
            dependents[need].append(op.index)
    ready = [op.index for op in operations if not op.needs]
    order = []
    while ready:
        at = rng.randrange(len(ready))
        ready[at], ready[-1] = ready[-1], ready[at]
        index = ready.pop()
        order.append(operations[index])
        for each in dependents[index]:
            open_needs[each] -= 1
            if not open_needs[each]:
                ready.append(each)
    return order


def run_some(device: Device, made: Plan, rng: random.Random, *, failing: float = 0.0) -> None:
    """Run the plan in some order; each operation fails with that chance, and what needs it with it."""
    failed: set[int] = set()
    for op in shuffled(made.operations, rng):
        if failing and (rng.random() < failing or any(need in failed for need in op.needs)):
            failed.add(op.index)
            continue
        device.run(op)


def settle(device: Device, rng: random.Random, *, failing: float = 0.0) -> int:
    """Plan and run until nothing is left. Return the rounds. Raises: Broken when it does not end."""
    for rounds in range(ROUNDS_MAX):
        rows = device.rows()
        made = plan(closure(rows), device.context(rows))
        if not made.operations:
            return rounds
        check_shape(made)
        run_some(device, made, rng, failing=failing if rounds < 20 else 0.0)
    raise Broken("it does not end")


# -- cases ------------------------------------------------------------------------------------------------------------


class Cases:
    """Makes trees: a base and changes of it, with few names so that they clash, and many moves of folders."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._next = 0

    def new_nid(self) -> Nid:
        self._next += 1
        return Nid(self._next)

    def three_trees(self) -> tuple[Tree, Tree, Tree]:
        """Return base, local, remote. Only the local tree may hold case twins, as a disk may."""
        base: Tree = {}
        self.perturb(base, self.rng.randrange(13), is_folding=True)
        local, remote = dict(base), dict(base)
        self.perturb(local, self.rng.randrange(7), is_folding=False)
        self.perturb(remote, self.rng.randrange(7), is_folding=True)
        return base, local, remote

    def perturb(self, tree: Tree, count: int, *, is_folding: bool) -> None:
        for _ in range(count):
            dice = self.rng.random()
            if dice < 0.35 or not tree:
                self._create(tree, is_folding)
            elif dice < 0.55:
                self._edit(tree)
            elif dice < 0.7:
                for nid in unit(tree, self._pick(tree)):
                    del tree[nid]
            else:
                self._move(tree, is_folding)

    def _pick(self, tree: Tree) -> Nid:
        return self.rng.choice(sorted(tree))

    def _folder(self, tree: Tree) -> Nid:
        folders = [nid for nid in sorted(tree) if tree[nid].kind is Kind.FOLDER]
        return self.rng.choice([ROOT_NID, *folders]) if folders else ROOT_NID

    def _content(self) -> bytes:
        # A few contents recur, so that equal files meet.
        return b"same" if self.rng.random() < 0.2 else b"%d" % self.rng.randrange(1 << 40)

    def _is_free(self, tree: Tree, item: Item, nid: Nid, is_folding: bool) -> bool:
        if is_folding:
            return not is_key_taken(tree, item, but=nid)
        return not any(other.place == item.place and each != nid for each, other in tree.items())

    def _create(self, tree: Tree, is_folding: bool) -> None:
        dice = self.rng.random()
        kind = Kind.FOLDER if dice < 0.5 else Kind.FILE if dice < 0.95 else Kind.SYMLINK
        content = b"" if kind is Kind.FOLDER else self._content()
        xattrs = b"x" if kind is not Kind.SYMLINK and self.rng.random() < 0.1 else b""
        item = Item(self._folder(tree), self.rng.choice(NAMES), kind, content, False, xattrs)
        nid = self.new_nid()
        if self._is_free(tree, item, nid, is_folding):
            tree[nid] = item

    def _edit(self, tree: Tree) -> None:
        nid = self._pick(tree)
        item = tree[nid]
        if item.kind is Kind.FILE and self.rng.random() < 0.2:
            tree[nid] = _with_attributes(item, not item.is_executable, item.xattrs)
        elif item.kind is not Kind.SYMLINK and self.rng.random() < 0.2:
            tree[nid] = _with_attributes(item, item.is_executable, self.rng.choice((b"", b"x", b"y")))
        elif item.kind is not Kind.FOLDER:
            tree[nid] = item.holding(self._content(), is_executable=item.is_executable, xattrs=item.xattrs)

    def _move(self, tree: Tree, is_folding: bool) -> None:
        folders = [nid for nid in sorted(tree) if tree[nid].kind is Kind.FOLDER]
        nid = self.rng.choice(folders) if folders and self.rng.random() < 0.6 else self._pick(tree)
        parent = self._folder(tree) if self.rng.random() < 0.7 else tree[nid].parent
        name = tree[nid].name if self.rng.random() < 0.4 else self.rng.choice(NAMES)
        if self.rng.random() < 0.15:
            self._swap(tree, nid)
            return
        item = tree[nid].at(parent, name)
        if parent not in unit(tree, nid) and self._is_free(tree, item, nid, is_folding):
            tree[nid] = item

    def _swap(self, tree: Tree, one: Nid) -> None:
        """Swap the places of two nodes, neither within the other, or of a folder and what stands in it."""
        other = self._pick(tree)
        if other == one:
            return
        below_one, below_other = unit(tree, one), unit(tree, other)
        if other in below_one:
            one, other = other, one
            below_one, below_other = below_other, below_one
        first, second = tree[one], tree[other]
        if one not in below_other:
            tree[one], tree[other] = first.at(*second.place), second.at(*first.place)
        elif first.kind is Kind.FOLDER and first.parent == other:
            tree[one], tree[other] = first.at(*second.place), second.at(one, first.name)
            self._drop_twins(tree, one)

    def _drop_twins(self, tree: Tree, folder: Nid) -> None:
        """A folder that came in may meet its name: whoever was there first goes."""
        seen: dict[str, Nid] = {}
        for nid in sorted(tree):
            if nid in tree and tree[nid].parent == folder:
                other = seen.setdefault(name_key(tree[nid].name), nid)
                if other != nid:
                    for each in unit(tree, other):
                        del tree[each]
                    seen[name_key(tree[nid].name)] = nid
