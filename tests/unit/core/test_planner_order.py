"""How a plan is ordered, what it joins and splits, and what it leaves alone."""

from __future__ import annotations

import random

from msgspec.structs import replace

from satchel.core.entries import Kind
from satchel.core.ids import Nid
from satchel.core.operations import (
    CommitCreate,
    CommitDelete,
    CommitMove,
    CommitUndelete,
    Hold,
    HoldReason,
    MoveLocal,
    Place,
    TrashLocal,
)
from satchel.core.planner import plan
from satchel.core.trees import UNKNOWN, Item, Row
from tests.support.planning import Tree, node_id, settle
from tests.unit.core.test_planner import UNIT, device, end, file, folder, plan_of, shown, tree, without


def test_equal_trees_need_nothing() -> None:
    assert plan_of(device(UNIT, UNIT, UNIT)).operations == ()


def test_a_folder_move_is_one_operation_whatever_it_holds() -> None:
    moved = UNIT | tree(n1=folder(0, "e"))
    assert [type(op) for op in plan_of(device(UNIT, moved, UNIT)).operations] == [CommitMove]
    assert [type(op) for op in plan_of(device(UNIT, UNIT, moved)).operations] == [MoveLocal]


def test_folders_are_made_before_what_they_hold() -> None:
    made = plan_of(device({}, UNIT, {}))
    created = {op.nid: op for op in made.operations if isinstance(op, CommitCreate)}
    assert len(created) == len(UNIT)
    for nid, op in created.items():
        parent = UNIT[nid].parent
        assert op.needs == ((created[parent].index,) if parent else ())


def test_a_deleted_unit_is_one_operation_that_names_all_rows() -> None:
    (deletion,) = plan_of(device(UNIT, {}, UNIT)).operations
    assert isinstance(deletion, CommitDelete)
    assert (deletion.nid, deletion.nids) == (1, (1, 2, 3, 4, 5))
    (trash,) = plan_of(device(UNIT, UNIT, {})).operations
    assert isinstance(trash, TrashLocal)
    assert trash.nids == (1, 2, 3, 4, 5)


def test_a_unit_is_deleted_after_what_leaves_it() -> None:
    made = plan_of(device(UNIT, tree(n4=file(0, "b")), UNIT))
    move, deletion = made.operations
    assert isinstance(move, CommitMove) and isinstance(deletion, CommitDelete)
    assert deletion.needs == (move.index,)
    assert deletion.nids == (1, 2, 3, 5)


def test_a_folder_that_survives_a_local_deletion_is_placed_and_the_rest_deleted_in_units() -> None:
    remote = UNIT | tree(n9=file(1, "new", "n"))
    made = plan_of(device(UNIT, {}, remote))
    deleted = {op.nids for op in made.operations if isinstance(op, CommitDelete)}
    placed = {op.nid: op for op in made.operations if isinstance(op, Place)}
    assert deleted == {(2,), (3, 4, 5)}
    assert set(placed) == {1, 9}
    assert placed[Nid(9)].needs == (placed[Nid(1)].index,)


def test_dead_folders_are_revived_from_the_top() -> None:
    local = UNIT | tree(n4=file(3, "b", "mine"))
    made = plan_of(device(UNIT, local, {}))
    revived = {op.nid: op for op in made.operations if isinstance(op, CommitUndelete)}
    assert set(revived) == {1, 3, 4}
    assert revived[Nid(3)].needs == (revived[Nid(1)].index,)
    assert revived[Nid(4)].needs == (revived[Nid(3)].index,)
    assert {op.nids for op in made.operations if isinstance(op, TrashLocal)} == {(2,), (5,)}


def test_a_chain_of_renames_goes_from_its_end() -> None:
    base = tree(n1=file(0, "a", "1"), n2=file(0, "b", "2"))
    made = plan_of(device(base, tree(n1=file(0, "b", "1"), n2=file(0, "c", "2")), base))
    first, second = made.operations
    assert isinstance(first, CommitMove) and isinstance(second, CommitMove)
    assert first.moves[0].nid == 2
    assert second.needs == (0,)


def test_a_swap_and_a_cyclic_rename_are_one_operation() -> None:
    base = tree(n1=file(0, "a", "1"), n2=file(0, "b", "2"), n3=file(0, "c", "3"))
    swapped = tree(n1=file(0, "b", "1"), n2=file(0, "a", "2"), n3=file(0, "c", "3"))
    turned = tree(n1=file(0, "b", "1"), n2=file(0, "c", "2"), n3=file(0, "a", "3"))
    for changed, nids in ((swapped, {1, 2}), (turned, {1, 2, 3})):
        (commit,) = plan_of(device(base, changed, base)).operations
        (move,) = plan_of(device(base, base, changed)).operations
        assert isinstance(commit, CommitMove) and isinstance(move, MoveLocal)
        assert {each.nid for each in commit.moves} == {each.nid for each in move.moves} == nids


def test_a_folder_put_around_a_file_of_its_name_takes_a_detour() -> None:
    base = tree(n1=file(0, "a", "1"))
    wrapped = tree(n1=file(2, "a", "1"), n2=folder(0, "a"))
    create = plan_of(device(base, wrapped, base)).operations[0]
    assert isinstance(create, CommitCreate)
    assert create.item.name == "a (conflict)"
    assert end(base, wrapped, base) == end(base, base, wrapped) == {"a": "/", "a/a": "1"}


def test_a_file_that_takes_the_name_of_the_folder_around_it_takes_a_detour() -> None:
    base = tree(n1=folder(0, "a"), n2=file(1, "a", "1"), n3=file(1, "b", "2"))
    unwrapped = tree(n2=file(0, "a", "1"))
    assert end(base, unwrapped, base) == end(base, base, unwrapped) == {"a": "1"}


def test_what_counts_on_a_place_waits_for_the_end_of_the_detour() -> None:
    base = tree(n1=folder(0, "a"), n2=file(1, "a", "1"))
    made = plan_of(device(base, base, tree(n2=file(0, "a", "2"))))
    assert [type(op) for op in made.operations] == [MoveLocal, TrashLocal]
    assert end(base, base, tree(n2=file(0, "a", "2"))) == {"a": "2"}


def test_a_parent_and_its_child_change_places_in_order() -> None:
    base = tree(n1=folder(0, "a"), n2=folder(1, "b"))
    turned = tree(n1=folder(2, "a"), n2=folder(0, "b"))
    first, second = plan_of(device(base, turned, base)).operations
    assert isinstance(first, CommitMove) and isinstance(second, CommitMove)
    assert (first.moves[0].nid, second.moves[0].nid) == (2, 1)
    assert second.needs == (0,)


def test_a_case_only_rename_is_a_plain_move() -> None:
    base = tree(n1=file(0, "note"))
    (move,) = plan_of(device(base, tree(n1=file(0, "Note")), base)).operations
    assert isinstance(move, CommitMove)


# -- what is left alone -----------------------------------------------------------------------------------------------


def with_unknown(base: Tree, local: Tree, remote: Tree, *nids: int) -> list[object]:
    rows = device(base, local, remote).rows()
    seen = {nid: replace(row, local=UNKNOWN) if nid in nids else row for nid, row in rows.items()}
    return list(plan(seen, device(base, local, remote).context(rows)).operations)


def test_an_unknown_file_keeps_its_folders_and_the_rest_goes() -> None:
    operations = with_unknown(UNIT, UNIT, {}, 4)
    assert {op.nids for op in operations if isinstance(op, TrashLocal)} == {(2,), (5,)}
    held = {op.nid: op.reason for op in operations if isinstance(op, Hold)}
    assert held == dict.fromkeys((1, 3, 4), HoldReason.UNKNOWN_INSIDE)


def test_an_unknown_file_that_was_edited_elsewhere_waits() -> None:
    assert with_unknown(UNIT, UNIT, UNIT | tree(n4=file(3, "b", "new")), 4) == []


def test_nothing_is_placed_in_an_unknown_folder() -> None:
    operations = with_unknown(UNIT, UNIT, UNIT | tree(n9=file(3, "new", "n"), n8=file(0, "top", "t")), 3)
    (place,) = [op for op in operations if isinstance(op, Place)]
    assert place.nid == 8
    assert [(op.nid, op.reason) for op in operations if isinstance(op, Hold)] == [(9, HoldReason.PARENT_UNKNOWN)]


def test_what_went_in_a_folder_that_nobody_can_place_goes_alone() -> None:
    """Seed 48145 of 2,400 operations: the folder above it could not be read and was never agreed on, so nothing says
    where the unknown folder stands."""
    base = tree(n1=folder(0, "d"), n2=folder(1, "c"), n3=file(2, "f"))
    rows = device(base, base, without(base, 3)).rows()
    rows[Nid(1)] = replace(rows[Nid(1)], local=UNKNOWN, synced=None)
    rows[Nid(2)] = replace(rows[Nid(2)], local=UNKNOWN)
    operations = plan(rows, device(base, base, without(base, 3)).context(rows)).operations
    assert [op.nids for op in operations if isinstance(op, TrashLocal)] == [(3,)]
    assert not any(isinstance(op, CommitDelete) for op in operations)


def test_an_excluded_remote_row_is_not_deleted_with_its_folder() -> None:
    one = device(UNIT, without(UNIT, 1, 2, 3, 5), UNIT)
    rows = device(UNIT, {}, UNIT).rows()
    rows[Nid(4)] = replace(rows[Nid(4)], remote=UNKNOWN)
    operations = plan(rows, one.context(rows)).operations
    deleted = {op.nids for op in operations if isinstance(op, CommitDelete)}
    assert deleted == {(2,), (5,)}


def test_a_busy_row_keeps_its_unit_and_its_name() -> None:
    one = device(UNIT, UNIT, tree(n9=file(0, "d", "n")))
    one.busy = frozenset({Nid(4)})
    operations = plan_of(one).operations
    assert {op.nids for op in operations if isinstance(op, TrashLocal)} == {(2,), (5,)}
    assert len(operations) == 2


def test_a_node_waits_for_a_folder_that_nothing_is_known_of() -> None:
    one = device({}, {}, {Nid(2): file(1, "f"), Nid(3): folder(1, "d"), Nid(4): file(3, "g")})
    rows = one.rows() | {Nid(1): Row(Nid(1), node_id(Nid(1)), None, None, None)}
    operations = plan(rows, one.context(rows)).operations
    assert [type(op) for op in operations] == [Hold, Hold]
    assert {op.nid for op in operations if isinstance(op, Hold)} == {2, 3}


def test_a_mount_is_held_and_nothing_else() -> None:
    one = device({}, {}, {Nid(1): Item(Nid(0), "shared", Kind.MOUNT), Nid(2): file(0, "f")})
    place, hold = plan_of(one).operations
    assert isinstance(place, Place) and place.nid == 2
    assert isinstance(hold, Hold) and hold.reason is HoldReason.KIND_UNSUPPORTED


def test_case_twins_made_here_are_told_apart() -> None:
    one = device({}, tree(n1=file(0, "a", "1"), n2=file(0, "A", "2")), {})
    settle(one, random.Random(1))
    assert shown(one.service.tree) == {"a": "1", "A (case conflict)": "2"}


def test_a_folder_made_anew_where_a_deleted_one_was_changed_elsewhere_is_the_same_folder() -> None:
    base = tree(n1=folder(0, "d"), n2=file(1, "x"))
    local = tree(n5=folder(0, "d"), n6=file(5, "y", "mine"))
    remote = base | tree(n2=file(1, "x", "theirs"))
    assert end(base, local, remote) == {"d": "/", "d/x": "theirs", "d/y": "mine"}


def test_a_deep_chain_of_folders_needs_no_recursion() -> None:
    depth = 3_000
    deep = {Nid(nid): folder(nid - 1, "d") for nid in range(1, depth + 1)}
    created = plan_of(device({}, deep, {})).operations
    assert [op.nid for op in created if isinstance(op, CommitCreate)] == list(range(1, depth + 1))
    (trash,) = plan_of(device(deep, deep, {})).operations
    assert isinstance(trash, TrashLocal) and len(trash.nids) == depth
