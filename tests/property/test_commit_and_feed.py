"""Random commits on the real server core: tree, snapshot and journal always agree with a plain model and each other.

The model keeps an explicit set of live nodes and knows nothing of `cleared_seq`: each deletion is an event, and
undeleting a unit brings back what died in the same event and still hangs together. A failure prints its seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.core.entries import Entry, Kind
from satchel.core.folding import Tree
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.messages import AttrOp, CreateOp, DeleteOp, EditOp, MoveOp, Op, Placement, Stored, UndeleteOp
from satchel.core.paths import name_key
from satchel.server.db.engine import drive
from satchel.server.db.schema import migrate
from satchel.server.db.sqlite import InlineSqliteDatabase
from tests.support.clocks import SteppingClock
from tests.support.writers import Writer, content_of, new_id, op_id

NAMES = ("a", "A", "b", "c", "ß", "ss", "d")
DATA = (b"one", b"two", b"three")


@dataclass
class Thing:
    """A node of the model. died_in: the deletion that took it, None while it lives."""

    parent: NodeId
    name: str
    kind: int
    content: bytes = b""
    bit: bool = False
    died_in: int | None = None


@dataclass
class Model:
    things: dict[NodeId, Thing] = field(default_factory=dict)
    events: int = 0

    def live(self) -> dict[NodeId, tuple[NodeId, str, int, bytes, bool]]:
        return {
            node_id: (thing.parent, thing.name, thing.kind, thing.content, thing.bit)
            for node_id, thing in self.things.items()
            if thing.died_in is None
        }

    def below(self, node_id: NodeId, died_in: int | None) -> list[NodeId]:
        """The node and what hangs below it through nodes of the same fate."""
        found = [node_id]
        for at in found:
            found += [n for n, thing in self.things.items() if thing.parent == at and thing.died_in == died_in]
        return found

    def apply(self, op: Op) -> None:
        match op:
            case CreateOp():
                content = op.content.content_hash if op.content else b""
                self.things[op.node_id] = Thing(op.parent_id, op.name, op.kind, content, op.is_executable)
            case EditOp():
                assert op.content is not None
                self.things[op.node_id].content = op.content.content_hash
                self.things[op.node_id].bit = op.is_executable
            case AttrOp():
                self.things[op.node_id].bit = op.is_executable
            case MoveOp():
                for placement in op.placements:
                    self.things[placement.node_id].parent = placement.parent_id
                    self.things[placement.node_id].name = placement.name
            case DeleteOp():
                self.events += 1
                for node_id in self.below(op.node_id, None):
                    self.things[node_id].died_in = self.events
            case UndeleteOp():
                thing = self.things[op.node_id]
                revived = self.below(op.node_id, thing.died_in) if op.is_subtree else [op.node_id]
                for node_id in revived:
                    self.things[node_id].died_in = None
                thing.parent, thing.name = op.parent_id, op.name
                if op.content is not None:
                    thing.content, thing.bit = op.content.content_hash, op.is_executable

    def check(self) -> None:
        """Every live node hangs from the root by live folders, and no folder holds a key twice."""
        live = self.live()
        places = [(parent, name_key(name)) for parent, name, _, _, _ in live.values()]
        assert len(places) == len(set(places))
        for node_id in live:
            at, steps = node_id, 0
            while at != ROOT_NODE:
                assert at in live and steps <= len(live)
                at, steps = live[at][0], steps + 1
                assert at == ROOT_NODE or live[at][2] == Kind.FOLDER


class Chaos:
    """Makes ops that are mostly possible, from what a client could know."""

    def __init__(self, seed: int, model: Model) -> None:
        self.random = random.Random(seed)
        self.model = model
        self.revs: dict[NodeId, tuple[int, int]] = {}
        self.head = 0

    def op(self) -> Op:
        kinds = [self.create, self.create, self.edit, self.move, self.move, self.delete, self.undelete, self.attr]
        return self.random.choice(kinds)()

    def any_node(self) -> NodeId:
        return self.random.choice(sorted(self.model.things) or [NodeId(new_id())])

    def any_parent(self) -> NodeId:
        folders = [n for n, thing in self.model.things.items() if thing.kind == Kind.FOLDER]
        return self.random.choice([ROOT_NODE, *sorted(folders)])

    def name(self) -> str:
        return self.random.choice(NAMES)

    def create(self) -> Op:
        if self.random.random() < 0.5:
            return CreateOp(op_id(), NodeId(new_id()), self.any_parent(), self.name(), Kind.FOLDER)
        content = content_of(self.random.choice(DATA))
        return CreateOp(op_id(), NodeId(new_id()), self.any_parent(), self.name(), Kind.FILE, content)

    def edit(self) -> Op:
        node_id = self.any_node()
        return EditOp(op_id(), node_id, self.revs.get(node_id, (0, 0))[0], content_of(self.random.choice(DATA)))

    def attr(self) -> Op:
        node_id = self.any_node()
        return AttrOp(op_id(), node_id, self.revs.get(node_id, (0, 0))[0], self.random.random() < 0.5)

    def move(self) -> Op:
        nodes = {self.any_node() for _ in range(self.random.choice((1, 1, 1, 2, 3)))}
        places = [(thing.parent, thing.name) for n in sorted(nodes) if (thing := self.model.things.get(n))]
        placements = []
        for node_id in sorted(nodes):
            swap = places and self.random.random() < 0.5
            parent, name = self.random.choice(places) if swap else (self.any_parent(), self.name())
            placements.append(Placement(node_id, self.revs.get(node_id, (0, 0))[1], parent, name))
        return MoveOp(op_id(), tuple(placements))

    def delete(self) -> Op:
        return DeleteOp(op_id(), self.any_node(), self.head)

    def undelete(self) -> Op:
        dead = sorted(n for n, thing in self.model.things.items() if thing.died_in is not None)
        node_id = self.random.choice(dead) if dead else self.any_node()
        thing = self.model.things.get(node_id)
        home = thing is not None and self.random.random() < 0.5
        parent, name = (thing.parent, thing.name) if home and thing else (self.any_parent(), self.name())
        is_file = thing is not None and thing.kind == Kind.FILE and self.random.random() < 0.5
        content = content_of(self.random.choice(DATA)) if is_file else None
        return UndeleteOp(op_id(), node_id, parent, name, content, is_subtree=self.random.random() < 0.6)


def seen(entries: list[Entry]) -> dict[NodeId, tuple[NodeId, str, int, bytes, bool]]:
    return {e.node_id: (e.parent_id, e.name, e.kind, e.content, e.is_executable) for e in entries}


async def _fold_new(ada: Writer, tree: Tree, entries: list[Entry]) -> None:
    """Follow the journal as a device does: fold, and fetch each unit that appears."""
    for entry in entries:
        unit = tree.fold(entry)
        if unit is not None:
            tree.merge(await ada.snapshot(unit, limit=3))


async def _play(seed: int, steps: int) -> None:
    db = InlineSqliteDatabase()
    await migrate(db, SteppingClock())
    ada = await Writer.new(db)
    await ada.commit(
        *(CreateOp(op_id(), NodeId(new_id()), ROOT_NODE, f"seed-{d!r}", Kind.FOLDER) for d in DATA), blocks=DATA
    )
    model, follower, last = Model(), Tree(), (0, b"")
    chaos = Chaos(seed, model)
    for step in range(steps):
        ops = [] if step == 0 else [chaos.op() for _ in range(chaos.random.choice((1, 1, 2, 4)))]
        reply = await ada.reply(*ops)
        page = await ada.changes(*last)
        assert [entry.seq for entry in page.entries] == list(range(last[0] + 1, reply.head_seq + 1))
        last = (page.last_seq, page.last_tag)
        for entry in page.entries:
            chaos.revs[entry.node_id] = (entry.content_rev, entry.place_rev)
            if step == 0:
                model.things[entry.node_id] = Thing(ROOT_NODE, entry.name, Kind.FOLDER)
        chaos.head = reply.head_seq
        for op, outcome in zip(ops, reply.outcomes, strict=True):
            if isinstance(outcome, Stored) and outcome.seq:
                model.apply(op)
        model.check()
        await _fold_new(ada, follower, list(page.entries))
        snapshot = await ada.snapshot(limit=4)
        assert seen(snapshot) == model.live()
        follower.settle()
        assert seen(list(follower.entries())) == model.live()
    late = Tree()
    await _fold_new(ada, late, await ada.all_entries())
    late.settle()
    assert seen(list(late.entries())) == model.live()
    assert await db.read(lambda conn: conn.fetch("SELECT COUNT(*) FROM files WHERE state NOT IN (0, 1)")) == [(0,)]


@settings(max_examples=80, deadline=None)
@given(st.integers(min_value=0, max_value=2**32))
def test_tree_snapshot_and_folded_journal_agree_with_the_model(seed: int) -> None:
    drive(_play(seed, 40))
