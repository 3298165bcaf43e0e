"""Folds names that no row knew when the scanner looked: many in one statement, since a first scan is made of them.

Invariant: a name is taken for a row that stands there, for the equal remote node that this disk did not have, for the
one whose deletion still waits, and only else for a new node. Source: docs/design/040 (first contact; rules 1, 3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from satchel.core.entries import Kind
from satchel.core.ids import Nid, NodeId, uuid7
from satchel.core.paths import name_key
from satchel.device.engine.seen import parent_of, see_again
from satchel.device.engine.state import State
from satchel.device.index.bulk import Standings, standing_at
from satchel.device.index.rows import KnownLocal, NewLocal, Standing
from satchel.device.tasks import NewParent, SeenNew


def fold_new_names(state: State, facts: Iterable[SeenNew], touched: list[Nid]) -> None:
    """Fold them in order. A fact waits for the row of its folder when that is seen in the same part."""
    together: list[SeenNew] = []
    orders: set[int] = set()
    for fact in facts:
        if isinstance(fact.parent, NewParent) and fact.parent.order in orders:
            _fold(state, together, touched)
            together, orders = [], set()
        together.append(fact)
        orders.add(fact.order)
    _fold(state, together, touched)


@dataclass(frozen=True, slots=True)
class _Seen:
    fact: SeenNew
    parent: Nid
    name: str
    key: str


def _fold(state: State, facts: list[SeenNew], touched: list[Nid]) -> None:
    seen = _placed(state, facts)
    here, there = standing_at(state.index, [(each.parent, each.key) for each in seen])
    rows: list[KnownLocal | NewLocal] = []
    for each in seen:
        fact = each.fact
        row = _row(state, each, here, there)
        if row is None:
            see_again(state, each.parent, fact.name)
            continue
        state.scan_orders[fact.order] = row.nid
        rows.append(row)
        touched.append(row.nid)
    state.index.write_local(rows)


def _placed(state: State, facts: list[SeenNew]) -> list[_Seen]:
    parents: dict[Nid | NewParent, Nid | None] = {}
    seen: list[_Seen] = []
    for fact in facts:
        if fact.parent not in parents:
            parents[fact.parent] = parent_of(state, fact.parent)
        parent = parents[fact.parent]
        if parent is not None:
            name = fact.name.decode()
            seen.append(_Seen(fact, parent, name, name_key(name)))
    return seen


def _row(state: State, seen: _Seen, here: Standings, there: Standings) -> KnownLocal | NewLocal | None:
    """Return what to write; None when the name has to be looked at again."""
    fact, place = seen.fact, (seen.parent, seen.key)
    if place in state.claimed:
        # Our own applier may just have put it there; its result comes, then this is looked at again.
        return None
    known = next((one for one in here.get(place, ()) if one.name == seen.name and not _is_left(fact, one)), None)
    if known is not None and known.kind != fact.stat.kind:
        # What stood there before is still in flight: it goes first, then this is another node.
        return None
    nid = known.nid if known is not None else _remote_of(state, seen, there)
    if nid is None:
        node_id = NodeId(uuid7(state.now.wall_ns // 1_000_000, state.clock.random(10)))
        fresh = state.index.reserve()
        return NewLocal(fresh, node_id, seen.parent, seen.name, fact.content, fact.stat, fact.blocks)
    if nid in state.busy:
        return None
    return KnownLocal(nid, seen.parent, seen.name, fact.content, fact.stat, fact.blocks)


def _is_left(fact: SeenNew, one: Standing) -> bool:
    """True for a folder that left this name to another: its own move comes later, perhaps into that very one."""
    is_other = (one.inode, one.birth_ns) != (fact.stat.inode, fact.stat.birth_ns)
    return one.kind == fact.stat.kind == Kind.FOLDER and is_other


def _remote_of(state: State, seen: _Seen, there: Standings) -> Nid | None:
    """The row of the remote node of this place that this disk does not have, when the two are one."""
    fact = seen.fact
    for one in there.get((seen.parent, seen.key), ()):
        if one.name != seen.name or one.l_state or one.kind != fact.stat.kind:
            continue
        # A program deletes and writes anew what it saves: the deletion that still waits is none.
        is_back = one.s_state and (one.nid in state.deleting or one.nid in state.held_back)
        if is_back or (not one.s_state and _is_equal(fact, one)):
            return one.nid
    return None


def _is_equal(fact: SeenNew, one: Standing) -> bool:
    if one.kind == Kind.FOLDER:
        return True
    return one.content == fact.content and (one.kind != Kind.FILE or bool(one.is_executable) == fact.stat.is_executable)
