"""The conflict tables, cell by cell: what both sides did to one node, and what is there in the end."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import pytest

from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NID, Nid
from satchel.core.operations import (
    Agree,
    CommitAttr,
    CommitCopy,
    CommitCreate,
    MoveLocal,
    Operation,
    Place,
    Plan,
    SetAttributes,
)
from satchel.core.planner import plan
from satchel.core.trees import UNKNOWN, Item
from tests.support.planning import Device, Service, Tree, closure, paths, settle

ROOT = ROOT_NID
COPY = "{} (Laptop's conflicted copy 2026-11-22)"


def file(parent: int, name: str, content: str = "base", *, bit: bool = False, xattrs: str = "") -> Item:
    return Item(Nid(parent), name, Kind.FILE, content.encode(), bit, xattrs.encode())


def folder(parent: int, name: str, *, xattrs: str = "") -> Item:
    return Item(Nid(parent), name, Kind.FOLDER, xattrs=xattrs.encode())


def link(parent: int, name: str, target: str) -> Item:
    return Item(Nid(parent), name, Kind.SYMLINK, target.encode())


def tree(**items: Item) -> Tree:
    """Return a tree; `n7=…` is the node with nid 7."""
    return {Nid(int(key[1:])): item for key, item in items.items()}


def device(base: Tree, local: Tree, remote: Tree) -> Device:
    service = Service(remote)
    service.dead = set(base) - set(remote)
    service.content_rev.update(dict.fromkeys(base, 1))
    return Device(service, dict(local), dict(base))


def plan_of(one: Device) -> Plan:
    rows = one.rows()
    return plan(closure(rows), one.context(rows))


def end(base: Tree, local: Tree, remote: Tree) -> dict[str, str]:
    """Return path → content in the end, with `+x` for the bit and `/` for a folder."""
    one = device(base, local, remote)
    settle(one, random.Random(1))
    assert one.is_settled()
    return shown(one.service.tree)


def shown(of: Tree) -> dict[str, str]:
    found = {}
    for path, (kind, content, bit, xattrs) in paths(of).items():
        found[path] = "/" if kind is Kind.FOLDER else content.decode() + ("+x" if bit else "")
        found[path] += f"[{xattrs.decode()}]" if xattrs else ""
    return found


def rules(base: Tree, local: Tree, remote: Tree) -> dict[int, str]:
    return {each.nid: each.rule for each in plan_of(device(base, local, remote)).decisions}


def only(operations: tuple[Operation, ...], kind: type[Operation]) -> list[Operation]:
    return [op for op in operations if isinstance(op, kind)]


BASE = tree(n1=file(0, "f"))
CHANGES: dict[str, tuple[Tree, Tree]] = {
    "none": (BASE, BASE),
    "edit": (tree(n1=file(0, "f", "mine")), tree(n1=file(0, "f", "theirs"))),
    "move": (tree(n1=file(0, "l")), tree(n1=file(0, "r"))),
    "move+edit": (tree(n1=file(0, "l", "mine")), tree(n1=file(0, "r", "theirs"))),
    "delete": ({}, {}),
    "exec": (tree(n1=file(0, "f", bit=True)), tree(n1=file(0, "f", bit=True))),
    "xattrs": (tree(n1=file(0, "f", xattrs="mine")), tree(n1=file(0, "f", xattrs="theirs"))),
}
CELLS: list[tuple[str, str, dict[str, str]]] = [
    ("none", "none", {"f": "base"}),
    ("none", "edit", {"f": "theirs"}),
    ("none", "move", {"r": "base"}),
    ("none", "move+edit", {"r": "theirs"}),
    ("none", "delete", {}),
    ("edit", "none", {"f": "mine"}),
    ("edit", "edit", {"f": "theirs", COPY.format("f"): "mine"}),
    ("edit", "move", {"r": "mine"}),
    ("edit", "move+edit", {"r": "theirs", COPY.format("r"): "mine"}),
    ("edit", "delete", {"f": "mine"}),
    ("move", "none", {"l": "base"}),
    ("move", "edit", {"l": "theirs"}),
    ("move", "move", {"r": "base"}),
    ("move", "move+edit", {"r": "theirs"}),
    ("move", "delete", {"l": "base"}),
    ("move+edit", "none", {"l": "mine"}),
    ("move+edit", "edit", {"l": "theirs", COPY.format("l"): "mine"}),
    ("move+edit", "move", {"r": "mine"}),
    ("move+edit", "move+edit", {"r": "theirs", COPY.format("r"): "mine"}),
    ("move+edit", "delete", {"l": "mine"}),
    ("delete", "none", {}),
    ("delete", "edit", {"f": "theirs"}),
    ("delete", "move", {"r": "base"}),
    ("delete", "move+edit", {"r": "theirs"}),
    ("delete", "delete", {}),
    ("exec", "none", {"f": "base+x"}),
    ("exec", "edit", {"f": "theirs+x"}),
    ("exec", "move", {"r": "base+x"}),
    ("exec", "move+edit", {"r": "theirs+x"}),
    ("exec", "delete", {}),
    ("exec", "exec", {"f": "base+x"}),
    ("edit", "exec", {"f": "mine+x"}),
    ("move", "exec", {"l": "base+x"}),
    ("delete", "exec", {}),
    ("xattrs", "none", {"f": "base[mine]"}),
    ("xattrs", "edit", {"f": "theirs[mine]"}),
    ("xattrs", "move", {"r": "base[mine]"}),
    ("xattrs", "delete", {}),
    ("xattrs", "exec", {"f": "base+x[mine]"}),
    ("xattrs", "xattrs", {"f": "base[theirs]"}),
    ("none", "xattrs", {"f": "base[theirs]"}),
    ("edit", "xattrs", {"f": "mine[theirs]"}),
    ("exec", "xattrs", {"f": "base+x[theirs]"}),
    ("delete", "xattrs", {}),
]


@pytest.mark.parametrize(("here", "there", "expected"), CELLS, ids=[f"{here}-{there}" for here, there, _ in CELLS])
def test_a_cell_of_the_conflict_table_for_one_file(here: str, there: str, expected: dict[str, str]) -> None:
    assert end(BASE, CHANGES[here][0], CHANGES[there][1]) == expected


@pytest.mark.parametrize(("here", "there"), [(here, there) for here, there, _ in CELLS])
def test_a_decision_names_what_both_sides_did(here: str, there: str) -> None:
    is_conflict = "none" not in (here, there) and (here, there) not in (("delete", "delete"), ("exec", "exec"))
    rule = "edit/edit" if "edit" in here and "edit" in there else f"{here}/{there}"
    assert rules(BASE, CHANGES[here][0], CHANGES[there][1]) == ({1: rule} if is_conflict else {})


@pytest.mark.parametrize(
    ("local", "remote", "expected"),
    [
        (file(0, "f", "same"), file(0, "f", "same"), {"f": "same"}),
        (file(0, "l", "same"), file(0, "f", "same"), {"l": "same"}),
        (file(0, "f", "same"), file(0, "r", "same"), {"r": "same"}),
        (file(0, "l", "same"), file(0, "r", "same"), {"r": "same"}),
        (file(0, "l"), file(0, "l"), {"l": "base"}),
        (file(0, "f", "same", bit=True), file(0, "f", "same"), {"f": "same+x"}),
    ],
)
def test_equal_changes_are_never_a_conflict(local: Item, remote: Item, expected: dict[str, str]) -> None:
    assert end(BASE, tree(n1=local), tree(n1=remote)) == expected


def test_a_case_change_on_both_sides_ends_as_the_service_has_it() -> None:
    base = tree(n1=file(0, "note"))
    assert end(base, tree(n1=file(0, "Note")), tree(n1=file(0, "NOTE"))) == {"NOTE": "base"}


def test_symlinks_that_both_sides_changed_are_both_kept() -> None:
    ended = end(tree(n1=link(0, "s", "a")), tree(n1=link(0, "s", "b")), tree(n1=link(0, "s", "c")))
    assert ended == {"s": "c", COPY.format("s"): "b"}


# -- both sides made something under one name -------------------------------------------------------------------------


def test_two_folders_of_one_name_become_one_with_all_in_it() -> None:
    local = tree(n1=folder(0, "d"), n2=file(1, "mine", "m"), n3=folder(1, "sub"), n4=file(3, "x", "equal"))
    remote = tree(n11=folder(0, "d"), n12=file(11, "theirs", "t"), n13=folder(11, "sub"), n14=file(13, "x", "equal"))
    assert end({}, local, remote) == {
        "d": "/",
        "d/mine": "m",
        "d/theirs": "t",
        "d/sub": "/",
        "d/sub/x": "equal",
    }


def test_two_equal_files_of_one_name_are_one() -> None:
    one = device({}, tree(n1=file(0, "f", "same")), tree(n2=file(0, "f", "same")))
    settle(one, random.Random(1))
    assert list(one.service.tree) == [2] and one.is_settled()


@pytest.mark.parametrize(
    ("local", "remote", "expected"),
    [
        (file(0, "f.txt", "m"), file(0, "f.txt", "t"), {"f.txt": "t", COPY.format("f") + ".txt": "m"}),
        (folder(0, "n"), file(0, "n", "t"), {"n": "t", "n (conflict)": "/"}),
        (file(0, "n", "m"), folder(0, "n"), {"n": "/", COPY.format("n"): "m"}),
        (file(0, "N.txt", "m"), file(0, "n.txt", "t"), {"n.txt": "t", "N (case conflict).txt": "m"}),
        (file(0, "e\u0301", "m"), file(0, "\u00e9", "t"), {"\u00e9": "t", "e\u0301 (unicode conflict)": "m"}),
        (link(0, "s", "m"), link(0, "s", "m"), {"s": "m"}),
        (link(0, "s", "m"), link(0, "s", "t"), {"s": "t", COPY.format("s"): "m"}),
    ],
    ids=["files", "folder-file", "file-folder", "case", "unicode", "equal-links", "links"],
)
def test_the_local_one_of_two_new_nodes_steps_aside(local: Item, remote: Item, expected: dict[str, str]) -> None:
    assert end({}, tree(n1=local), tree(n2=remote)) == expected


@pytest.mark.parametrize(
    ("local", "remote", "name"),
    [
        (folder(0, "n"), folder(0, "n"), "n (selective sync conflict)"),
        (file(0, "f.txt", "m"), file(0, "f.txt", "t"), "f (selective sync conflict).txt"),
        (file(0, "f.txt", "same"), file(0, "f.txt", "same"), "f (selective sync conflict).txt"),
        (file(0, "N.txt", "m"), folder(0, "n.txt"), "N (selective sync conflict).txt"),
    ],
    ids=["folders", "files", "equal-files", "kinds"],
)
def test_what_is_made_at_an_excluded_name_steps_aside(local: Item, remote: Item, name: str) -> None:
    made = excluded_plan({}, tree(n1=local), tree(n2=remote))
    moves = [move for op in made.operations if isinstance(op, MoveLocal) for move in op.moves]
    creates = [op.item for op in made.operations if isinstance(op, CommitCreate)]
    assert [(move.nid, move.name) for move in moves] == [(1, name)]
    assert creates == [local.at(ROOT, name)]
    assert len(made.operations) == 2, "and nothing is done to what is excluded"
    assert [(each.nid, each.rule) for each in made.decisions] == [(1, "excluded name")]


def test_a_folder_deleted_here_stays_for_what_is_excluded_in_it() -> None:
    base = tree(n1=folder(0, "d"), n3=file(1, "seen"))
    made = excluded_plan(base, {}, base | tree(n2=folder(1, "out")))
    assert [(type(op).__name__, op.nid) for op in made.operations if not isinstance(op, MoveLocal)] == [
        ("Place", 1),
        ("CommitDelete", 3),
    ]
    assert [(each.nid, each.rule) for each in made.decisions if each.nid == 1] == [(1, "excluded inside")]


def excluded_plan(base: Tree, local: Tree, remote: Tree) -> Plan:
    """Return the plan when node 2 is kept off this disk."""
    one = device(base, local, remote)
    rows = one.rows()
    rows[Nid(2)] = msgspec.structs.replace(rows[Nid(2)], local=UNKNOWN)
    return plan(closure(rows), replace(one.context(rows), excluded=frozenset({Nid(2)})))


def test_the_name_is_free_before_the_other_file_takes_it() -> None:
    made = plan_of(device({}, tree(n1=file(0, "f", "m")), tree(n2=file(0, "f", "t"))))
    kinds = [type(op).__name__ for op in made.operations]
    assert sorted(kinds) == ["CommitCreate", "MoveLocal", "Place"]
    place, aside = (next(op for op in made.operations if type(op).__name__ == kind) for kind in ("Place", "MoveLocal"))
    assert aside.index in place.needs


# -- folders ----------------------------------------------------------------------------------------------------------

UNIT = tree(n1=folder(0, "d"), n2=file(1, "a"), n3=folder(1, "sub"), n4=file(3, "b"), n5=file(3, "c"))


def without(of: Tree, *nids: int) -> Tree:
    return {nid: item for nid, item in of.items() if nid not in nids}


def test_an_edit_inside_a_folder_deleted_elsewhere_brings_back_just_its_way() -> None:
    edited = UNIT | tree(n4=file(3, "b", "new"))
    assert end(UNIT, edited, {}) == {"d": "/", "d/sub": "/", "d/sub/b": "new"}
    assert end(UNIT, {}, edited) == {"d": "/", "d/sub": "/", "d/sub/b": "new"}


def test_a_new_file_inside_a_folder_deleted_elsewhere_brings_back_just_its_way() -> None:
    added = UNIT | tree(n9=file(3, "n", "new"))
    assert end(UNIT, added, {}) == {"d": "/", "d/sub": "/", "d/sub/n": "new"}
    assert end(UNIT, {}, added) == {"d": "/", "d/sub": "/", "d/sub/n": "new"}


def test_a_move_into_a_folder_deleted_elsewhere_brings_it_back() -> None:
    base = UNIT | tree(n6=file(0, "loose"))
    moved = base | tree(n6=file(1, "loose"))
    assert end(base, moved, tree(n6=file(0, "loose"))) == {"d": "/", "d/loose": "base"}


def test_a_file_that_left_a_folder_survives_the_folder() -> None:
    moved = UNIT | tree(n4=file(0, "b"))
    assert end(UNIT, moved, {}) == {"b": "base"}
    assert end(UNIT, {}, moved) == {"b": "base"}


def test_a_folder_moved_here_and_deleted_there_survives_whole() -> None:
    moved = UNIT | tree(n1=folder(0, "new"))
    expected = {"new": "/", "new/a": "base", "new/sub": "/", "new/sub/b": "base", "new/sub/c": "base"}
    assert end(UNIT, moved, {}) == expected
    assert end(UNIT, {}, moved) == expected


def test_a_folder_renamed_inside_the_deleted_one_survives_whole() -> None:
    moved = UNIT | tree(n3=folder(1, "sub2"))
    expected = {"d": "/", "d/sub2": "/", "d/sub2/b": "base", "d/sub2/c": "base"}
    assert end(UNIT, moved, {}) == expected
    assert end(UNIT, {}, moved) == expected


def test_a_folder_moved_on_both_sides_stands_where_the_service_has_it() -> None:
    ended = end(UNIT, UNIT | tree(n1=folder(0, "l")), UNIT | tree(n1=folder(0, "r")))
    assert set(ended) == {"r", "r/a", "r/sub", "r/sub/b", "r/sub/c"}


def test_moves_that_make_a_circle_together_end_as_the_service_has_them() -> None:
    base = tree(n1=folder(0, "a"), n2=folder(0, "b"), n3=file(1, "x"))
    local = base | tree(n1=folder(2, "a"))
    remote = base | tree(n2=folder(1, "b"))
    assert end(base, local, remote) == {"a": "/", "a/b": "/", "a/x": "base"}
    assert rules(base, local, remote)[1] == "move/cycle"


def test_folders_turned_inside_out_here_and_one_moved_there_follow_both() -> None:
    base = tree(n1=folder(0, "c"), n2=folder(1, "b"))
    local = tree(n1=folder(2, "c"), n2=folder(0, "b"))
    remote = tree(n1=folder(0, "c"), n2=folder(0, "b"))
    assert end(base, local, remote) == {"b": "/", "b/c": "/"}


def test_an_edit_in_a_folder_that_moved_elsewhere_stays_with_it() -> None:
    local = UNIT | tree(n2=file(1, "a", "mine"))
    remote = UNIT | tree(n1=folder(0, "moved"))
    assert end(UNIT, local, remote)["moved/a"] == "mine"


def test_a_file_replaced_by_a_folder_of_its_name_is_deleted_first() -> None:
    base = tree(n1=file(0, "n"))
    local = tree(n2=folder(0, "n"), n3=file(2, "x", "new"))
    made = plan_of(device(base, local, base))
    assert [type(op).__name__ for op in made.operations] == ["CommitDelete", "CommitCreate", "CommitCreate"]
    assert made.operations[1].needs == (0,)
    assert end(base, local, base) == {"n": "/", "n/x": "new"}
    assert end(base, base, local) == {"n": "/", "n/x": "new"}


# -- conflicted copies ------------------------------------------------------------------------------------------------


def conflict() -> Device:
    return device(BASE, tree(n1=file(0, "f", "mine")), tree(n1=file(0, "f", "theirs")))


def test_the_copy_is_safe_before_its_name_is_taken() -> None:
    made = plan_of(conflict())
    copy, place = made.operations
    assert isinstance(copy, CommitCopy) and isinstance(place, Place)
    assert copy.item == file(0, COPY.format("f"), "mine")
    assert place.needs == (copy.index,)
    assert (place.keep_as, place.keep_id) == (copy.item.name, copy.copy_id)
    assert place.replaces == file(0, "f", "mine")


def test_planning_again_after_the_copy_makes_no_second_one() -> None:
    one = conflict()
    made = plan_of(one)
    one.run(made.operations[0])
    again = plan_of(one)
    assert [type(op).__name__ for op in again.operations] == ["Place"]
    place = again.operations[0]
    assert isinstance(place, Place)
    assert place.keep_as == COPY.format("f")
    one.run(place)
    assert shown(one.local) == {"f": "theirs", COPY.format("f"): "mine"}
    assert plan_of(one).operations == ()


def test_another_remote_edit_meanwhile_makes_no_second_copy() -> None:
    one = conflict()
    one.run(plan_of(one).operations[0])
    one.service.tree[Nid(1)] = file(0, "f", "newest")
    settle(one, random.Random(1))
    assert shown(one.service.tree) == {"f": "newest", COPY.format("f"): "mine"}


def test_a_copy_moved_elsewhere_meanwhile_is_found_again() -> None:
    one = conflict()
    one.run(plan_of(one).operations[0])
    copy = max(one.service.tree)
    one.service.tree[Nid(9)] = folder(0, "d")
    one.service.tree[copy] = one.service.tree[copy].at(Nid(9), "moved")
    settle(one, random.Random(1))
    assert shown(one.service.tree) == {"f": "theirs", "d": "/", "d/moved": "mine"}


def test_a_copy_edited_meanwhile_is_not_taken_for_safe() -> None:
    one = conflict()
    one.run(plan_of(one).operations[0])
    copy = max(one.service.tree)
    one.service.tree[copy] = file(0, COPY.format("f"), "other")
    settle(one, random.Random(1))
    assert sorted(shown(one.service.tree).values()) == ["mine", "other", "theirs"]


def test_a_conflicted_copy_that_conflicts_is_counted_and_never_nested() -> None:
    name = COPY.format("f") + ".txt"
    base = tree(n1=file(0, name))
    ended = end(base, tree(n1=file(0, name, "mine")), tree(n1=file(0, name, "theirs")))
    assert ended == {name: "theirs", "f (Laptop's conflicted copy 2026-11-22 1).txt": "mine"}


def test_an_id_that_the_service_refused_is_not_tried_again() -> None:
    one = conflict()
    rows = one.rows()
    context = one.context(rows)
    first = plan(rows, context).operations[0]
    assert isinstance(first, CommitCopy)
    refused = type(context)(context.device_name, context.date, spent=frozenset({first.copy_id}))
    second = plan(rows, refused).operations[0]
    assert isinstance(second, CommitCopy)
    assert second.copy_id != first.copy_id


def test_a_copy_avoids_names_that_only_the_index_knows() -> None:
    one = conflict()
    rows = one.rows()
    context = one.context(rows)
    taken = type(context)(context.device_name, context.date, taken=lambda _, key: key == COPY.format("f").lower())
    copy = plan(rows, taken).operations[0]
    assert isinstance(copy, CommitCopy)
    assert copy.item.name == "f (Laptop's conflicted copy 2026-11-22 1)"


def test_i5_a_change_of_attributes_alone_is_sent_alone() -> None:
    one = device(BASE, tree(n1=file(0, "f", xattrs="mine")), BASE)
    (op,) = plan_of(one).operations
    assert isinstance(op, CommitAttr) and (op.xattrs, op.is_executable, op.is_xattrs_only) == (b"mine", False, True)


def test_i5_attributes_of_a_folder_that_changed_elsewhere_are_set_in_place() -> None:
    base = tree(n1=folder(0, "d"), n2=file(1, "f"))
    (op,) = plan_of(device(base, base, base | tree(n1=folder(0, "d", xattrs="theirs")))).operations
    assert isinstance(op, SetAttributes) and (op.nid, op.xattrs) == (1, b"theirs")


def test_i5_the_same_attributes_set_on_both_sides_are_agreed_on() -> None:
    both = tree(n1=file(0, "f", xattrs="same"))
    assert [type(op) for op in plan_of(device(BASE, both, both)).operations] == [Agree]


@pytest.mark.parametrize(
    ("here", "there", "ends"), [("mine", "", "mine"), ("", "theirs", "theirs"), ("mine", "theirs", "theirs")]
)
def test_i5_at_first_contact_no_attributes_say_nothing(here: str, there: str, ends: str) -> None:
    local = tree(n7=file(0, "f", xattrs=here), n8=folder(0, "d", xattrs=here))
    remote = tree(n1=file(0, "f", xattrs=there), n2=folder(0, "d", xattrs=there))
    assert end({}, local, remote) == {"f": f"base[{ends}]", "d": f"/[{ends}]"}


def test_i5_attributes_are_stated_once_the_disk_shows_them() -> None:
    one = device(BASE, tree(n1=file(0, "f", bit=True)), tree(n1=file(0, "f", "theirs", xattrs="theirs")))
    operations = plan_of(one).operations
    (place,), (attr,) = only(operations, Place), only(operations, CommitAttr)
    assert place.index in attr.needs
