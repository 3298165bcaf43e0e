"""A first scan is folded by the hundred, and the index ends as if each fact had been folded alone, on random trees."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from satchel.core.entries import Entry, Kind
from satchel.core.ids import ROOT_NODE, Nid, NodeId
from satchel.core.trees import Item
from satchel.device.engine.new_names import fold_new_names
from satchel.device.ports import Stat
from satchel.device.tasks import NewParent, SeenNew
from tests.support.engine_rig import Rig, blocks_of, entry, hash_of, new, new_folder, stat

SEEDS = 150
COLUMNS = (
    "r_state, r_parent, r_name, r_content, r_exec, l_state, l_parent, l_name, l_key, l_kind, l_content, l_exec, l_size,"
    " l_mtime, l_ctime, l_inode, l_birth, s_state, s_parent, s_name, s_kind, s_content, s_exec, dirty, held_code"
)


def seen(choice: random.Random) -> list[SeenNew]:
    """Return a scan of a random tree: folders anywhere before what is in them."""
    facts: list[SeenNew] = []
    folders = [0]
    for order in range(1, choice.randrange(2, 30)):
        inside = choice.choice(folders)
        if choice.random() < 0.4:
            facts.append(new_folder(order, f"n{order}", inside=inside))
            folders.append(order)
        else:
            fact = new(order, f"n{order}", choice.choice((b"one", b"two", b"")), inside=inside)
            is_executable = choice.random() < 0.2
            facts.append(
                SeenNew(
                    order, fact.parent, fact.name, _marked(fact, is_executable=is_executable), fact.content, fact.blocks
                )
            )
    return facts


def _marked(fact: SeenNew, *, is_executable: bool) -> Stat:
    return stat(fact.stat.inode, b"x" * fact.stat.size, is_executable=is_executable)


def again(choice: random.Random, facts: list[SeenNew]) -> list[SeenNew]:
    """Return what another look finds: some files saved anew, none gone."""
    found: list[SeenNew] = []
    for fact in facts:
        data = choice.choice((b"one", b"two", b"seven"))
        is_file = fact.stat.kind is Kind.FILE and choice.random() < 0.5
        saved = stat(fact.stat.inode, data, is_executable=choice.random() < 0.3)
        found.append(replace(fact, stat=saved, content=hash_of(data), blocks=blocks_of(data)) if is_file else fact)
    return found


def told(choice: random.Random, facts: list[SeenNew]) -> list[Entry]:
    """Return a remote tree that has much of the same, and some of it otherwise."""
    entries: list[Entry] = []
    ids: dict[int, NodeId] = {0: ROOT_NODE}
    for fact in facts:
        inside = fact.parent.order if isinstance(fact.parent, NewParent) else 0
        if inside not in ids or choice.random() < 0.2:
            continue
        seq = len(entries) + 1
        node = ids[fact.order] = NodeId(choice.randbytes(16))
        name, kind = fact.name.decode(), fact.stat.kind
        is_executable = fact.stat.is_executable
        change = choice.random()
        if change < 0.1:
            name = name.upper()
        elif change < 0.2 and kind is Kind.FILE:
            is_executable = not is_executable
        elif change < 0.25:
            kind = Kind.FILE if kind is Kind.FOLDER else Kind.FOLDER
        is_kept = kind is Kind.FILE and change > 0.4
        data = (
            next((data for data in (b"one", b"two", b"") if hash_of(data) == fact.content), b"") if is_kept else b"six"
        )
        if kind is Kind.FOLDER:
            ids[fact.order] = node
            entries.append(entry(seq, node, name, parent=ids[inside], kind=kind))
        else:
            entries.append(entry(seq, node, name, data, parent=ids[inside], is_executable=is_executable))
    return [each for each in entries if _is_reached(each, entries)]


def _is_reached(one: Entry, entries: list[Entry]) -> bool:
    above = {each.node_id: each for each in entries}
    while one.parent_id != ROOT_NODE:
        if one.parent_id not in above or above[one.parent_id].kind != Kind.FOLDER:
            return False
        one = above[one.parent_id]
    return True


def rows(rig: Rig) -> list[dict[str, object]]:
    """Return all rows by their paths on this disk and there, without what is made up anew each time."""
    found = list(rig.index.connection.execute(f"SELECT nid, {COLUMNS} FROM nodes ORDER BY nid"))
    paths = {row[0]: rig.index.reader.path_of(row[0]) or rig.index.reader.remote_path_of(row[0]) for row in found}
    told = []
    for nid, *values in found:
        row = dict(zip(COLUMNS.split(", "), values, strict=True))
        for side in ("r_parent", "l_parent", "s_parent"):
            row[side] = paths.get(row[side], row[side])
        told.append({"path": paths[nid], "is_fresh": nid in rig.state.fresh, "in_job": nid in rig.state.busy, **row})
    return sorted(told, key=lambda row: (str(row["path"]), str(row["r_state"])))


class Plain:
    """Folds one fact after the other, by the plainest calls of the index."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._nids: dict[int, Nid] = {}

    def fold(self, fact: SeenNew) -> None:
        index = self.rig.index
        parent = self._nids[fact.parent.order] if isinstance(fact.parent, NewParent) else fact.parent
        standing = next((row for row in index.reader.named(parent, fact.name)), None)
        nid = standing.nid if standing is not None else self._remote_of(parent, fact)
        if nid is None:
            nid = index.add(NodeId(self.rig.clock.random(16)))
        self._nids[fact.order] = nid
        index.set_local(nid, parent, fact.name.decode(), fact.content, fact.stat, fact.blocks)
        self.rig.state.touch([nid])

    def _remote_of(self, parent: Nid, fact: SeenNew) -> Nid | None:
        for (nid,) in self.rig.index.connection.execute("SELECT nid FROM nodes WHERE r_state = 1 AND l_state = 0"):
            row = self.rig.index.row(nid)
            there = row.remote if row is not None else None
            if isinstance(there, Item) and (there.parent, there.name.encode()) == (parent, fact.name):
                same = (there.kind, there.content, there.is_executable)
                if same == (fact.stat.kind, fact.content, fact.stat.is_executable):
                    return Nid(nid)
        return None


@pytest.mark.parametrize("is_joined", [True, False], ids=["joined", "out of reach"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_many_at_once_end_as_one_by_one(seed: int, is_joined: bool) -> None:
    choice = random.Random(seed)
    facts = seen(choice)
    remote = told(choice, facts)
    alone, together = Rig(), Rig()
    for rig in (alone, together):
        rig.step()
        if is_joined:
            rig.connect(remote)
        rig.state.is_paused = True
    plain = Plain(alone)
    for part in (facts, again(choice, facts)):
        for fact in part:
            plain.fold(fact)
        touched: list[Nid] = []
        with together.index.transaction():
            fold_new_names(together.state, part, touched)
            together.state.touch(touched)

    assert rows(alone) == rows(together)
    for rig in (alone, together):
        settled = set(rig.index.settle([row[0] for row in rig.index.connection.execute("SELECT nid FROM nodes")]))
        assert settled == set(rig.index.dirty_nids()), "nothing is left unsettled"
