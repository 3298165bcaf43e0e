"""Folds names that no row knew when the scanner looked: many in one statement, since a first scan is made of them.

Invariant: a name is taken for a row that stands there, for the equal remote node that this disk did not have, for the
one whose deletion still waits, there or elsewhere, and only else for a new node.
Source: docs/design/040 (first contact; rules 1, 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from satchel.core.entries import Kind
from satchel.core.ids import Nid, NodeId, uuid7
from satchel.core.paths import name_key
from satchel.core.xattrs import is_packed
from satchel.device.engine.missing import found_again
from satchel.device.engine.seen import parent_of, see_again, takes_name, wait_for_twins
from satchel.device.engine.state import State
from satchel.device.index.bulk import Place, Standings, standing_at
from satchel.device.index.rows import KnownLocal, NewLocal, Standing
from satchel.device.tasks import NewParent, SeenNew

ID_RANDOM_BYTES = 10

_Seen = tuple[SeenNew, Nid, str, str]
"""A fact, the row of its folder, its name and the name's key."""


def fold_new_names(state: State, facts: Iterable[SeenNew], touched: list[Nid]) -> None:
    """Fold them, each folder before what is in it. touched gets the rows that are to be settled."""
    pending = list(facts)
    made: set[Nid] = set()
    told: dict[tuple[Nid, bytes], Nid] = {}
    while pending:
        orders = {fact.order for fact in pending if fact.stat.kind is Kind.FOLDER}
        inside = [fact for fact in pending if isinstance(fact.parent, NewParent) and fact.parent.order in orders]
        if inside:
            later = {fact.order for fact in inside}
            pending = [fact for fact in pending if fact.order not in later]
        _fold(state, pending, made, told, touched)
        pending = inside


def _fold(
    state: State,
    facts: Sequence[SeenNew],
    made: set[Nid],
    told: dict[tuple[Nid, bytes], Nid],
    touched: list[Nid],
) -> None:
    """made: rows of new folders, in which nothing stands but what is folded now. told: what is, with its row."""
    seen = _placed(state, facts)
    here, there = standing_at(state.index, [(parent, key) for _, parent, _, key in seen if parent not in made])
    randomness = state.clock.random(ID_RANDOM_BYTES * len(seen))
    moment_ms = state.now.wall_ns // 1_000_000
    new: list[NewLocal] = []
    known: list[KnownLocal] = []
    met: list[KnownLocal] = []
    for at, (fact, parent, name, key) in enumerate(seen):
        place = (parent, key)
        if (parent, fact.name) in told:
            # Its folder moved while the scan was under way and was met at both places: two rows of one file would be
            # taken for two equal files, and the one file thrown away.
            if fact.stat.kind is Kind.FOLDER:
                state.scan_orders[fact.order] = told[parent, fact.name]
            see_again(state, parent, fact.name)
            continue
        nid: Nid | None = None
        if parent not in made and (place in here or place in there or place in state.claimed):
            is_sure, nid = _standing_row(state, fact, name, place, here, there)
            if not is_sure:
                see_again(state, parent, fact.name)
                continue
        if nid is None:
            wait_for_twins(state, here.get(place, ()), name)
            nid = found_again(state, fact)
        if nid is None:
            nid = state.index.reserve()
            begin = at * ID_RANDOM_BYTES
            node_id = NodeId(uuid7(moment_ms, randomness[begin : begin + ID_RANDOM_BYTES]))
            new.append(NewLocal(nid, node_id, parent, name, key, fact.content, fact.stat, fact.blocks))
        else:
            row = KnownLocal(nid, parent, name, key, fact.content, fact.stat, fact.blocks)
            (met if _is_met(fact, nid, there.get(place, ())) else known).append(row)
        told[parent, fact.name] = nid
        if fact.stat.kind is Kind.FOLDER:
            state.scan_orders[fact.order] = nid
    made.update(row.nid for row in new if row.stat.kind is Kind.FOLDER)
    state.index.add_seen(new)
    _queue(state, new)
    state.index.set_seen(known)
    touched += [row.nid for row in known]
    state.index.meet(met)
    state.touch([row.nid for row in met], clean={row.nid for row in met})


def _placed(state: State, facts: Iterable[SeenNew]) -> list[_Seen]:
    parents: dict[int, Nid | None] = {}
    seen: list[_Seen] = []
    for fact in facts:
        above = fact.parent
        # A folder of this scan counts below zero, so that it is told from a row.
        one = ~above.order if isinstance(above, NewParent) else above
        if one not in parents:
            parents[one] = parent_of(state, above)
        parent = parents[one]
        if parent is not None:
            name = fact.name.decode()
            seen.append((fact, parent, name, name_key(name)))
    return seen


def _queue(state: State, new: Iterable[NewLocal]) -> None:
    """Let rows that nobody knows be planned; what is below a folder in flight waits behind it."""
    for row in new:
        above = row.parent if row.parent in state.busy else state.blocked.get(row.parent)
        if above is None:
            state.fresh.add(row.nid)
        else:
            state.wait_behind(above, row.nid)


def _standing_row(
    state: State, fact: SeenNew, name: str, place: Place, here: Standings, there: Standings
) -> tuple[bool, Nid | None]:
    """Return whether the name can be folded now, and the row that it is, None for a new one."""
    if place in state.claimed:
        # Our own applier may just have put it there; its result comes, then this is looked at again.
        return False, None
    left = [one.nid for one in here.get(place, ()) if one.name == name and _is_left(fact, one)]
    if not takes_name(state, left):
        return False, None
    known = next((one for one in here.get(place, ()) if one.name == name and one.nid not in left), None)
    if known is not None and known.kind != fact.stat.kind:
        # What stood there before is still in flight: it goes first, then this is another node.
        return False, None
    nid = known.nid if known is not None else _remote_of(state, fact, name, there.get(place, ()))
    return nid is None or nid not in state.busy, nid


def _is_left(fact: SeenNew, one: Standing) -> bool:
    """True for a folder that left this name to another: its own move comes later, perhaps into that very one."""
    is_other = (one.inode, one.birth_ns) != (fact.stat.inode, fact.stat.birth_ns)
    return one.kind == fact.stat.kind == Kind.FOLDER and is_other


def _remote_of(state: State, fact: SeenNew, name: str, there: Iterable[Standing]) -> Nid | None:
    """The row of the remote node of this place that this disk does not have, when the two are one."""
    for one in there:
        if one.name != name or one.l_state or one.kind != fact.stat.kind:
            continue
        # A program deletes and writes anew what it saves: the deletion that still waits is none.
        is_back = one.s_state and (one.nid in state.deleting or one.nid in state.held_back)
        if is_back or (not one.s_state and _is_equal(fact, one)):
            return one.nid
    return None


def _is_equal(fact: SeenNew, one: Standing) -> bool:
    if one.kind == Kind.FOLDER:
        return True
    if one.content != fact.content or not _has_xattrs(fact, one):
        return False
    return one.kind != Kind.FILE or bool(one.is_executable) == fact.stat.is_executable


def _has_xattrs(fact: SeenNew, one: Standing) -> bool:
    """True when what was seen has the row's extended attributes, as far as the disk tells."""
    seen = fact.stat.xattrs
    return seen == one.xattrs or not is_packed(seen)


def _is_met(fact: SeenNew, nid: Nid, there: Iterable[Standing]) -> bool:
    """True when the row's remote side is in all just what was seen."""
    is_executable = fact.stat.kind is Kind.FILE and fact.stat.is_executable
    return any(
        one.nid == nid
        and one.kind == fact.stat.kind
        and one.name.encode() == fact.name
        and one.content == fact.content
        and bool(one.is_executable) == is_executable
        and _has_xattrs(fact, one)
        for one in there
    )
