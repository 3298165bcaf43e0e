"""Commit's rules for places, on SQLite and on PostgreSQL: moves, deletes, undeletes and what lives after them."""

from __future__ import annotations

from satchel.core.entries import Action
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.messages import Conflict, DeleteOp, EditOp, MoveOp, Placement, Stored, UndeleteOp
from satchel.server.db.engine import Database
from satchel.server.metadata.tree import list_folder, path_of, resolve
from tests.contract.test_commit import refused
from tests.support.databases import Run
from tests.support.writers import Writer, content_of, create_file, create_folder, hash_of, new_id, op_id


def move(node_id: NodeId, base_rev: int, parent: NodeId, name: str) -> MoveOp:
    return MoveOp(op_id(), (Placement(node_id, base_rev, parent, name),))


async def names(ada: Writer, folder: NodeId = ROOT_NODE) -> list[str]:
    return [entry.name for entry in await list_folder(ada.db, ada.principal, ada.principal.root_ns, folder)]


def test_a_move_keeps_the_node_and_its_content_rev(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        folder, file = await ada.folder("f"), await ada.file("a", b"x")
        assert await ada.commit(move(file, 2, folder, "b")) == (Stored(3),)
        entry = await ada.entry(file)
        assert (entry.action, entry.parent_id, entry.name) == (Action.MOVE, folder, "b")
        assert (entry.content_rev, entry.place_rev) == (2, 3)
        assert await path_of(db, ada.principal, ada.principal.root_ns, file) == "/f/b"

    run(scenario)


def test_a_move_of_an_older_place_conflicts_and_one_that_is_done_is_stored(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        file = await ada.file("a")
        await ada.stored(move(file, 1, ROOT_NODE, "b"))
        (outcome,) = await ada.commit(move(file, 1, ROOT_NODE, "c"))
        assert isinstance(outcome, Conflict) and outcome.current is not None and outcome.current.name == "b"
        assert await ada.commit(move(file, 1, ROOT_NODE, "b")) == (Stored(0),)
        assert await ada.stored(move(file, 2, ROOT_NODE, "B")) == [3]

    run(scenario)


def test_a_move_onto_a_taken_name_conflicts_with_its_holder(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        one, two = await ada.file("one"), await ada.file("two")
        (outcome,) = await ada.commit(move(two, 2, ROOT_NODE, "ONE"))
        assert isinstance(outcome, Conflict) and outcome.current is not None and outcome.current.node_id == one

    run(scenario)


def test_a_folder_does_not_move_into_itself(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        top = await ada.folder("top")
        mid = await ada.folder("mid", top)
        low = await ada.folder("low", mid)
        for target in (top, mid, low):
            assert await ada.commit(move(top, 1, target, "x")) == (refused("cycle"),)
        both = MoveOp(op_id(), (Placement(top, 1, low, "t"), Placement(mid, 2, ROOT_NODE, "m")))
        assert await ada.stored(both) == [5]
        assert await path_of(db, ada.principal, ada.principal.root_ns, top) == "/m/low/t"

    run(scenario)


def test_two_moves_that_make_a_cycle_together_are_refused_whole(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        one, two = await ada.folder("one"), await ada.folder("two")
        both = MoveOp(op_id(), (Placement(one, 1, two, "x"), Placement(two, 2, one, "y")))
        assert await ada.commit(both) == (refused("cycle"),)
        assert await names(ada) == ["one", "two"]

    run(scenario)


def test_names_are_swapped_and_rotated_in_one_move(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        a, b, c = [await ada.file(name) for name in "abc"]
        swap = MoveOp(op_id(), (Placement(a, 1, ROOT_NODE, "b"), Placement(b, 2, ROOT_NODE, "a")))
        assert await ada.stored(swap) == [5]
        rotate = MoveOp(
            op_id(), (Placement(b, 5, ROOT_NODE, "b"), Placement(a, 4, ROOT_NODE, "c"), Placement(c, 3, ROOT_NODE, "a"))
        )
        await ada.stored(rotate)
        found = await list_folder(db, ada.principal, ada.principal.root_ns, ROOT_NODE)
        assert [(entry.name, entry.node_id) for entry in found] == [("a", c), ("b", b), ("c", a)]

    run(scenario)


def test_a_folder_and_its_parent_change_places_and_every_prefix_is_a_tree(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        upper = await ada.folder("upper")
        lower = await ada.folder("lower", upper)
        turn = MoveOp(op_id(), (Placement(upper, 1, lower, "upper"), Placement(lower, 2, ROOT_NODE, "lower")))
        await ada.stored(turn)
        assert [entry.node_id for entry in (await ada.all_entries())[2:]] == [lower, upper]

    run(scenario)


def test_a_batch_move_fails_whole_when_one_part_does(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        a, b = await ada.file("a"), await ada.file("b")
        (outcome,) = await ada.commit(
            MoveOp(op_id(), (Placement(a, 1, ROOT_NODE, "x"), Placement(b, 1, ROOT_NODE, "y")))
        )
        assert isinstance(outcome, Conflict)
        (outcome,) = await ada.commit(
            MoveOp(op_id(), (Placement(a, 1, ROOT_NODE, "x"), Placement(b, 2, ROOT_NODE, "X")))
        )
        assert isinstance(outcome, Conflict)
        twice = MoveOp(op_id(), (Placement(a, 1, ROOT_NODE, "x"), Placement(a, 1, ROOT_NODE, "y")))
        assert await ada.commit(twice) == (refused("forbidden"),)
        assert await names(ada) == ["a", "b"]

    run(scenario)


def test_a_move_to_a_dead_parent_or_of_a_dead_node_does_not_hold(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        gone, file = await ada.folder("gone"), await ada.file("file")
        inner = await ada.file("inner", b"i", gone)
        await ada.stored(DeleteOp(op_id(), gone, 3))
        assert await ada.commit(move(file, 2, gone, "x")) == (refused("parent_gone"),)
        (outcome,) = await ada.commit(move(inner, 3, ROOT_NODE, "x"))
        assert isinstance(outcome, Conflict) and outcome.current is not None and not outcome.current.is_live

    run(scenario)


def test_a_deleted_folder_takes_all_below_with_one_entry(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        top = await ada.folder("top")
        low = await ada.folder("low", top)
        await ada.file("file", b"x", low)
        assert await ada.stored(DeleteOp(op_id(), top, 3)) == [4]
        entry = await ada.entry(top)
        assert (entry.action, entry.is_live) == (Action.DELETE, False)
        assert await ada.snapshot() == []
        assert await ada.commit(DeleteOp(op_id(), low, 4)) == (Stored(0),)
        assert await ada.commit(DeleteOp(op_id(), top, 0)) == (Stored(0),)

    run(scenario)


def test_a_freed_name_is_taken_again_in_the_same_batch(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        old, new = await ada.file("a", b"old"), NodeId(new_id())
        await ada.stored(DeleteOp(op_id(), old, 1), create_file(new, "A", b"new"), blocks=[b"new"])
        assert (await resolve(db, ada.principal, ada.principal.root_ns, "/a")).node_id == new

    run(scenario)


def test_a_delete_that_has_not_seen_anothers_change_below_is_refused(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        other = await ada.other_device()
        top = await ada.folder("top")
        low = await ada.folder("low", top)
        file = await ada.file("file", b"x", low)
        outside = await ada.file("outside")
        await other.stored(EditOp(op_id(), outside, 4, content_of(b"o")), blocks=[b"o"])
        assert await ada.stored(DeleteOp(op_id(), await ada.folder("else"), 4))
        await other.stored(EditOp(op_id(), file, 3, content_of(b"y")), blocks=[b"y"])
        assert await ada.commit(DeleteOp(op_id(), top, 7)) == (refused("changed_since"),)
        assert await ada.commit(DeleteOp(op_id(), low, 7)) == (refused("changed_since"),)
        assert await ada.stored(DeleteOp(op_id(), top, 8)) == [9]

    run(scenario)


def test_own_changes_of_the_same_link_do_not_stop_a_delete_and_those_of_another_link_do(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        twin = Writer(db, ada.clock, ada.principal)
        one, two = await ada.folder("one"), await ada.folder("two")
        await ada.file("a", b"x", one)
        await twin.file("b", b"x", two)
        assert await ada.stored(DeleteOp(op_id(), one, 2))
        assert await ada.commit(DeleteOp(op_id(), two, 2)) == (refused("changed_since"),)

    run(scenario)


def test_what_another_moved_in_or_out_unseen_stops_a_delete(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        other = await ada.other_device()
        came, left = await ada.folder("came"), await ada.folder("left")
        stray, inner = await ada.file("stray"), await ada.file("inner", b"i", left)
        await other.stored(move(stray, 3, came, "s"), move(inner, 4, ROOT_NODE, "i"))
        outcomes = await ada.commit(DeleteOp(op_id(), came, 4), DeleteOp(op_id(), left, 4))
        assert outcomes == (refused("changed_since"),) * 2

    run(scenario)


def test_a_foreign_change_that_the_batch_itself_moves_into_a_unit_stops_its_delete(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        other = await ada.other_device()
        top, file = await ada.folder("top"), await ada.file("file", b"x")
        await other.stored(EditOp(op_id(), file, 2, content_of(b"y")), blocks=[b"y"])
        outcomes = await ada.commit(move(file, 2, top, "f"), DeleteOp(op_id(), top, 2))
        assert outcomes == (Stored(4), refused("changed_since"))

    run(scenario)


def test_a_unit_in_which_an_op_failed_is_not_deleted_by_the_same_batch(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        top = await ada.folder("top")
        precious = await ada.file("precious", b"x", top)
        await ada.folder("taken")
        rescue = NodeId(new_id())
        outcomes = await ada.commit(
            create_folder(rescue, "taken"), move(precious, 2, rescue, "precious"), DeleteOp(op_id(), top, 3)
        )
        assert outcomes[1:] == (refused("depends_on_refused"),) * 2
        assert await names(ada, top) == ["precious"]

    run(scenario)


def test_undeleting_a_unit_brings_back_what_its_deletion_took_and_no_more(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        top = await ada.folder("top")
        low = await ada.folder("low", top)
        kept, dropped = await ada.file("kept", b"k", low), await ada.file("dropped", b"d", low)
        await ada.stored(DeleteOp(op_id(), dropped, 4), DeleteOp(op_id(), top, 5))
        await ada.stored(UndeleteOp(op_id(), top, ROOT_NODE, "back", is_subtree=True))
        entry = await ada.entry(top)
        assert (entry.action, entry.is_subtree, entry.content_rev, entry.place_rev) == (Action.UNDELETE, True, 7, 7)
        assert {e.node_id for e in await ada.snapshot()} == {top, low, kept}
        assert {e.node_id for e in await ada.snapshot(low)} == {low, kept}

    run(scenario)


def test_a_folder_undeleted_alone_is_a_skeleton_and_its_names_are_free(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        top = await ada.folder("top")
        old = await ada.file("a", b"old", top)
        sub = await ada.folder("sub", top)
        deep = await ada.file("deep", b"deep", sub)
        await ada.stored(DeleteOp(op_id(), top, 4))
        await ada.stored(UndeleteOp(op_id(), top, ROOT_NODE, "top"))
        assert await names(ada, top) == []
        new = NodeId(new_id())
        await ada.stored(create_file(new, "A", b"new", top), blocks=[b"new"])
        (outcome,) = await ada.commit(UndeleteOp(op_id(), old, top, "a"))
        assert isinstance(outcome, Conflict) and outcome.current is not None and outcome.current.node_id == new
        await ada.stored(UndeleteOp(op_id(), old, top, "a2"), UndeleteOp(op_id(), sub, top, "sub", is_subtree=True))
        assert await names(ada, top) == ["A", "a2", "sub"]
        assert {e.node_id for e in await ada.snapshot(sub)} == {sub, deep}

    run(scenario)


def test_a_unit_deleted_after_a_skeleton_comes_back_as_it_was_then(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        top = await ada.folder("top")
        await ada.file("lost", b"l", top)
        await ada.stored(DeleteOp(op_id(), top, 2), UndeleteOp(op_id(), top, ROOT_NODE, "top"))
        await ada.file("new", b"n", top)
        await ada.stored(DeleteOp(op_id(), top, 5), UndeleteOp(op_id(), top, ROOT_NODE, "top", is_subtree=True))
        assert await names(ada, top) == ["new"]

    run(scenario)


def test_an_undelete_may_bring_new_content_as_a_version(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        file = await ada.file("a", b"old")
        await ada.stored(DeleteOp(op_id(), file, 1))
        revive = UndeleteOp(op_id(), file, ROOT_NODE, "b", content_of(b"new"), "", 5, True)
        assert await ada.stored(revive, blocks=[b"new"]) == [3]
        entry = await ada.entry(file)
        assert (entry.content, entry.size, entry.mtime_ns, entry.is_executable) == (hash_of(b"new"), 3, 5, True)
        same = UndeleteOp(op_id(), file, ROOT_NODE, "b", content_of(b"new"), "", 6, True)
        assert await ada.commit(same) == (Stored(0),)
        (outcome,) = await ada.commit(UndeleteOp(op_id(), file, ROOT_NODE, "c"))
        assert isinstance(outcome, Conflict)

    run(scenario)


def test_an_undelete_needs_a_live_parent_and_a_node(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        top = await ada.folder("top")
        file = await ada.file("a", b"x", top)
        await ada.stored(DeleteOp(op_id(), top, 2))
        outcomes = await ada.commit(
            UndeleteOp(op_id(), file, top, "a"),
            UndeleteOp(op_id(), NodeId(new_id()), ROOT_NODE, "a"),
            UndeleteOp(op_id(), top, ROOT_NODE, "top", content_of(b"x")),
        )
        assert outcomes == (refused("parent_gone"), refused("not_found"), refused("kind_mismatch"))
        assert (
            len(await ada.stored(UndeleteOp(op_id(), top, ROOT_NODE, "top"), UndeleteOp(op_id(), file, top, "a"))) == 2
        )
        assert await path_of(db, ada.principal, ada.principal.root_ns, file) == "/top/a"

    run(scenario)


def test_a_node_that_left_a_deleted_unit_lives_on_elsewhere(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        top = await ada.folder("top")
        sub = await ada.folder("sub", top)
        file = await ada.file("f", b"x", sub)
        await ada.stored(DeleteOp(op_id(), top, 3))
        await ada.stored(UndeleteOp(op_id(), sub, ROOT_NODE, "sub", is_subtree=True))
        assert {e.node_id for e in await ada.snapshot()} == {sub, file}
        await ada.stored(UndeleteOp(op_id(), top, ROOT_NODE, "top", is_subtree=True))
        assert await names(ada, top) == []
        assert await path_of(db, ada.principal, ada.principal.root_ns, file) == "/sub/f"

    run(scenario)


def test_a_skeleton_in_a_unit_stays_one_when_the_unit_comes_back(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        top = await ada.folder("top")
        sub = await ada.folder("sub", top)
        await ada.file("lost", b"l", sub)
        await ada.stored(DeleteOp(op_id(), sub, 3), UndeleteOp(op_id(), sub, top, "sub"))
        await ada.stored(DeleteOp(op_id(), top, 5), UndeleteOp(op_id(), sub, ROOT_NODE, "sub", is_subtree=True))
        assert await names(ada, sub) == []

    run(scenario)


def test_a_dead_row_that_lost_its_name_comes_back_as_it_was(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        top = await ada.folder("top")
        sub = await ada.folder("sub", top)
        await ada.file("lost", b"l", sub)
        await ada.stored(DeleteOp(op_id(), sub, 3), UndeleteOp(op_id(), sub, top, "sub"))
        kept = await ada.file("kept", b"k", sub)
        await ada.stored(DeleteOp(op_id(), top, 6), UndeleteOp(op_id(), top, ROOT_NODE, "top"))
        await ada.folder("sub", top)
        await ada.stored(UndeleteOp(op_id(), sub, top, "old sub", is_subtree=True))
        assert {e.node_id for e in await ada.snapshot(sub)} == {sub, kept}

    run(scenario)
