"""Rewinds after random journals: the tree is again the one that was there, whatever was done in between, and the undo
brings back the tree of before. What was there is told by the plain model of `test_commit_and_feed`.

A failure prints its seed; `play(seed, steps)` repeats it.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from satchel.core.entries import Kind
from satchel.core.folding import Tree as Folded
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.messages import CreateOp, Op, Stored
from satchel.core.paths import name_key
from satchel.server.db.engine import drive
from satchel.server.db.schema import migrate
from satchel.server.db.sqlite import InlineSqliteDatabase
from satchel.server.metadata.rewind import Preview, preview, rewind
from satchel.server.metadata.rewind_records import Record
from satchel.simulation.stores import InlineWorkers
from tests.property.test_commit_and_feed import DATA, Chaos, Model, Thing, seen
from tests.property.test_commit_and_feed import _fold_new as fold_new
from tests.support.clocks import SteppingClock
from tests.support.writers import Writer, new_id, op_id

WORKERS = InlineWorkers()
Tree = dict[NodeId, tuple[NodeId, str, int, bytes, bool]]


@dataclass
class Lived:
    """An account's life. trees: what was there, by seq; image: the store at its end."""

    ada: Writer
    trees: dict[int, Tree]
    image: bytes

    def again(self) -> Writer:
        """Return the account at the end of its life, in a store of its own."""
        db = InlineSqliteDatabase()
        db.restore(self.image)
        return Writer(db, self.ada.clock, self.ada.principal)


async def live(seed: int, steps: int) -> Lived:
    """Make a random journal."""
    db = InlineSqliteDatabase()
    await migrate(db, SteppingClock())
    ada = await Writer.new(db)
    first: list[Op] = [CreateOp(op_id(), NodeId(new_id()), ROOT_NODE, f"seed-{d!r}", Kind.FOLDER) for d in DATA]
    reply = await ada.reply(*first, blocks=DATA)
    model = Model()
    for op in first:
        assert isinstance(op, CreateOp)
        model.things[op.node_id] = Thing(ROOT_NODE, op.name, Kind.FOLDER)
    chaos, trees, last = Chaos(seed, model), {reply.head_seq: model.live()}, (0, b"")
    for _ in range(steps):
        page = await ada.changes(*last)
        last = (page.last_seq, page.last_tag)
        for entry in page.entries:
            chaos.revs[entry.node_id] = (entry.content_rev, entry.place_rev)
        chaos.head = page.head_seq
        ops = [chaos.op() for _ in range(chaos.random.choice((1, 1, 2)))]
        reply = await ada.reply(*ops)
        for op, outcome in zip(ops, reply.outcomes, strict=True):
            if isinstance(outcome, Stored) and outcome.seq:
                model.apply(op)
        trees[reply.head_seq] = copy.deepcopy(model.live())
    return Lived(ada, trees, db.snapshot())


async def tree_of(ada: Writer) -> Tree:
    return seen(await ada.snapshot(limit=2_000))


async def looked(ada: Writer, unit: NodeId, seq: int) -> Preview:
    """Return the whole preview, read in small pages."""
    whole = await preview(ada.db, WORKERS, ada.principal, ada.principal.root_ns, unit, seq, limit=3)
    page = whole
    while page.next_at is not None:
        page = await preview(ada.db, WORKERS, ada.principal, ada.principal.root_ns, unit, seq, at=page.next_at, limit=3)
        whole.lines.extend(page.lines)
    return whole


async def to(ada: Writer, unit: NodeId, seq: int) -> Record:
    """Rewind; return what undoes it."""
    told = await rewind(ada.db, ada.clock, WORKERS, ada.principal, ada.principal.root_ns, unit, seq)
    assert told.is_finished
    return told.record


async def undo(ada: Writer, done: Record) -> None:
    ns, undoes = ada.principal.root_ns, done.rewind_id
    told = await rewind(ada.db, ada.clock, WORKERS, ada.principal, ns, done.unit, done.before_seq, undoes=undoes)
    assert told.is_finished


async def play(seed: int, steps: int) -> None:
    lived = await live(seed, steps)
    end = lived.trees[max(lived.trees)]
    for seq, tree in lived.trees.items():
        ada = lived.again()
        told = await looked(ada, ROOT_NODE, seq)
        done = await to(ada, ROOT_NODE, seq)
        assert await tree_of(ada) == tree, seq
        assert_preview(told, end, tree)
        assert (await looked(ada, ROOT_NODE, seq)).lines == []
        assert not any("(rewind" in name for _, name, _, _, _ in (await tree_of(ada)).values())
        await undo(ada, done)
        assert await tree_of(ada) == end, seq


def assert_preview(told: Preview, end: Tree, tree: Tree) -> None:
    """What was shown is what came: each node that differs is in a unit that a line names, and each line is true."""
    named = {line.node_id: line.does for line in told.lines}
    for line in told.lines:
        match line.does:
            case "back":
                assert line.node_id in tree and path_in(tree, line.node_id) == line.path_then
            case "trash":
                assert line.node_id not in tree
            case "moved":
                assert path_in(tree, line.node_id) == line.path_then
            case "content" | "attributes":
                assert tree[line.node_id][3:] != end[line.node_id][3:]
    for node_id in {*end, *tree}:
        was, now = tree.get(node_id), end.get(node_id)
        if was is not None and now is not None and was != now:
            assert node_id in named
        elif was is not None and now is None:
            assert any(named.get(above) == "back" for above in above_in(tree, node_id))
        elif now is not None and was is None:
            assert any(named.get(above) == "trash" for above in above_in(end, node_id))


def above_in(tree: Tree, node_id: NodeId) -> list[NodeId]:
    found = []
    while node_id != ROOT_NODE:
        found.append(node_id)
        node_id = tree[node_id][0]
    return found


def path_in(tree: Tree, node_id: NodeId) -> str:
    return "/" + "/".join(tree[above][1] for above in reversed(above_in(tree, node_id)))


async def play_folders(seed: int, steps: int) -> None:
    lived, chance = await live(seed, steps), random.Random(seed)
    end = lived.trees[max(lived.trees)]
    for seq, tree in lived.trees.items():
        folders = sorted(n for n, (_, _, kind, _, _) in tree.items() if kind == Kind.FOLDER and n in end)
        if not folders:
            continue
        unit = chance.choice(folders)
        wanted = {n for n in tree if unit in above_in(tree, n) and n != unit}
        if wanted & set(above_in(end, unit)):
            # What was in the folder holds it now: that stays where it is.
            continue
        ada = lived.again()
        done = await to(ada, unit, seq)
        now = await tree_of(ada)
        assert {n: now[n] for n in now if unit in above_in(now, n) and n != unit} == {n: tree[n] for n in wanted}, seq
        # What came into the folder, or stands in what came out of it, goes where it was; the rest is left alone.
        meant = {unit, *wanted}
        for node_id in now:
            if unit not in above_in(now, node_id) and now[node_id] != end.get(node_id):
                assert node_id not in end or meant & set(above_in(end, node_id))
                assert now[node_id][:2] == tree.get(node_id, now[node_id])[:2]
        for node_id in end:
            assert node_id in now or meant & set(above_in(end, node_id))
        await undo(ada, done)
        assert await tree_of(ada) == end, seq


async def play_cut(seed: int, steps: int) -> None:
    """Rewind step by step, each in a call of its own that plans anew: every tree on the way is a valid one, and what
    follows the feed holds it."""
    lived, chance = await live(seed, steps), random.Random(seed)
    end, ns = lived.trees[max(lived.trees)], lived.ada.principal.root_ns
    for seq in chance.sample(sorted(lived.trees), min(4, len(lived.trees))):
        ada = lived.again()
        first, calls, follower, last = None, 0, Folded(), (0, b"")
        while True:
            told = await rewind(ada.db, ada.clock, WORKERS, ada.principal, ns, ROOT_NODE, seq, batches_max=1, ops_max=1)
            first, calls = first or told.record, calls + 1
            assert told.record.before_seq == first.before_seq
            now = await tree_of(ada)
            assert_valid(now)
            page = await ada.changes(*last)
            last = (page.last_seq, page.last_tag)
            await fold_new(ada, follower, list(page.entries))
            follower.settle()
            assert seen(list(follower.entries())) == now
            if told.is_finished:
                break
            assert calls < 10 * (len(end) + len(lived.trees[seq]) + 1)
        assert now == lived.trees[seq]
        await undo(ada, told.record)
        assert await tree_of(ada) == end


def assert_valid(tree: Tree) -> None:
    """Every node hangs from the root by folders, and no folder holds a name twice."""
    places = [(parent, name_key(name)) for parent, name, _, _, _ in tree.values()]
    assert len(set(places)) == len(places)
    for node_id in tree:
        assert all(tree[above][2] == Kind.FOLDER for above in above_in(tree, node_id)[1:])


@settings(max_examples=12, deadline=None)
@given(st.integers(min_value=0, max_value=2**32))
def test_a_rewind_to_any_place_brings_back_the_tree_of_then_and_its_undo_that_of_before(seed: int) -> None:
    drive(play(seed, 24))


@settings(max_examples=12, deadline=None)
@given(st.integers(min_value=0, max_value=2**32))
@example(300_023)  # The undo found its place taken by what the rewind had brought there.
@example(100_064)  # What was to go elsewhere could not, and stood in the way.
def test_a_rewind_of_a_folder_changes_what_is_and_was_in_it_alone(seed: int) -> None:
    drive(play_folders(seed, 30))


@settings(max_examples=12, deadline=None)
@given(st.integers(min_value=0, max_value=2**32))
@example(122_949)  # Hardly anything could be done, so that there are few places to go back to.
def test_a_rewind_that_is_cut_anywhere_leaves_a_valid_tree_and_is_finished_by_the_same_call(seed: int) -> None:
    drive(play_cut(seed, 24))
