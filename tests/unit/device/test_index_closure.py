"""The closure: a plan sees the dirty rows, the folders above, who holds their names, and what a dying folder holds."""

from __future__ import annotations

import pytest

from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NID, Nid, NodeId
from satchel.device.index.closure import Closure
from satchel.device.index.store import Index
from tests.support.engine_rig import entry, folder, hash_of, stat


class Trees:
    """Adds synced nodes by name; tests then change one side."""

    def __init__(self) -> None:
        self.index = Index(":memory:")
        self._seq = 0

    def node(self) -> NodeId:
        self._seq += 1
        return NodeId(self._seq.to_bytes(16, "big"))

    def folder(self, name: str, parent: Nid = ROOT_NID) -> Nid:
        node = self.node()
        nid = self.index.add(node)
        self.index.set_remote(nid, parent, folder(self._seq, node, name))
        self.index.set_local(nid, parent, name, b"", stat(self._seq, kind=Kind.FOLDER))
        assert self.index.settle([nid]) == []
        return nid

    def file(self, name: str, parent: Nid = ROOT_NID) -> Nid:
        node = self.node()
        nid = self.index.add(node)
        self.index.set_remote(nid, parent, entry(self._seq, node, name, b"one"))
        self.index.set_local(nid, parent, name, hash_of(b"one"), stat(self._seq, b"one"))
        assert self.index.settle([nid]) == []
        return nid

    def closure(self, *nids: Nid, busy: frozenset[Nid] = frozenset()) -> Closure:
        closure = Closure(self.index, busy)
        closure.grow(closure.load(nids))
        return closure


@pytest.fixture
def trees() -> Trees:
    return Trees()


def test_a_dirty_row_brings_the_folders_above_and_no_neighbours(trees: Trees) -> None:
    top = trees.folder("d")
    below = trees.folder("e", top)
    file, neighbour = trees.file("a", below), trees.file("b", below)
    rows = trees.closure(file).rows
    assert set(rows) == {file, below, top}
    assert neighbour not in rows


def test_ancestors_come_from_all_three_trees(trees: Trees) -> None:
    here, there, agreed = trees.folder("here"), trees.folder("there"), trees.folder("agreed")
    file = trees.file("a", agreed)
    trees.index.set_local(file, here, "a", hash_of(b"one"), stat(9, b"one"))
    trees.index.set_remote(file, there, entry(50, trees.index.node_id_of(file), "a", b"one"))
    assert set(trees.closure(file).rows) == {file, here, there, agreed}


def test_whoever_holds_the_name_in_the_other_tree_comes_too(trees: Trees) -> None:
    holder, file = trees.file("Name.txt"), trees.file("old.txt")
    trees.index.set_local(file, ROOT_NID, "name.TXT", hash_of(b"one"), stat(9, b"one"))
    rows = trees.closure(file).rows
    assert set(rows) == {file, holder}, "names are compared by key, so twins of case meet"


def test_a_dirty_holder_of_a_name_brings_whoever_has_the_names_that_it_takes(trees: Trees) -> None:
    first, second, third = (trees.file(name) for name in ("a", "b", "c"))
    trees.index.set_remote(third, ROOT_NID, entry(50, trees.index.node_id_of(third), "A", b"one"))
    trees.index.clear_remote_unit(first, 51)
    trees.index.set_local(first, ROOT_NID, "b", hash_of(b"one"), stat(1, b"one"))
    trees.index.set_local(second, ROOT_NID, "a", hash_of(b"one"), stat(2, b"one"))
    assert set(trees.closure(first).rows) == {first, second, third}, "or a plan moves the second onto the third"


def test_a_row_that_was_dropped_does_not_come_back_by_its_own_name(trees: Trees) -> None:
    top, other = trees.folder("d"), trees.file("b")
    waiting = trees.index.add(trees.node())
    trees.index.set_local(waiting, top, "new", hash_of(b"one"), stat(71, b"one"))
    trees.index.set_local(other, ROOT_NID, "c", hash_of(b"one"), stat(72, b"one"))
    closure = Closure(trees.index, {top})
    dirty = closure.load([waiting, other])
    closure.drop(waiting)
    closure.grow([row for row in dirty if row.nid == other])
    assert set(closure.rows) == {other}, "or what waits behind its folder is planned all the same"


def test_a_busy_holder_of_a_name_brings_nobody(trees: Trees) -> None:
    first, second, third = (trees.file(name) for name in ("a", "b", "c"))
    trees.index.set_local(first, ROOT_NID, "b", hash_of(b"one"), stat(1, b"one"))
    trees.index.set_local(second, ROOT_NID, "c", hash_of(b"one"), stat(2, b"one"))
    assert set(trees.closure(first, busy=frozenset({second})).rows) == {first, second}
    assert set(trees.closure(first).rows) == {first, second, third}


def test_below_a_folder_that_one_side_deleted_all_that_the_other_holds_comes(trees: Trees) -> None:
    top = trees.folder("d")
    below = trees.folder("e", top)
    file = trees.file("a", below)
    other = trees.file("b")
    trees.index.clear_remote_unit(top, 99)
    rows = trees.closure(top).rows
    assert set(rows) == {top, below, file}
    assert other not in rows


def test_below_a_dying_folder_that_comes_only_as_one_above_all_comes_too(trees: Trees) -> None:
    top = trees.folder("d")
    gone, edited = trees.file("a", top), trees.file("b", top)
    trees.index.clear_local_unit(top)
    trees.index.set_remote(edited, top, entry(50, trees.index.node_id_of(edited), "b", b"newer"))
    assert set(trees.closure(gone).rows) == {gone, top, edited}, "or the folder would go with what was edited in it"


@pytest.mark.parametrize("is_there", [True, False])
def test_who_took_the_name_of_a_folder_that_went_is_loaded_with_what_is_new_below_it(
    trees: Trees, is_there: bool
) -> None:
    """It would be brought back at that name for what is below it (seed 43176)."""
    top = trees.folder("d")
    below = trees.index.add(trees.node())
    other = trees.index.add(trees.node())
    if is_there:
        trees.index.clear_remote_unit(top, 99)
        trees.index.set_local(below, top, "a", hash_of(b"one"), stat(71, b"one"))
        trees.index.set_remote(other, ROOT_NID, entry(60, trees.index.node_id_of(other), "D", b"two"))
    else:
        trees.index.clear_local_unit(top)
        trees.index.set_remote(below, top, entry(60, trees.index.node_id_of(below), "a", b"one"))
        trees.index.set_local(other, ROOT_NID, "D", hash_of(b"two"), stat(72, b"two"))
    assert set(trees.closure(below).rows) == {top, below, other}


def test_below_a_folder_that_is_new_on_one_side_nothing_is_loaded(trees: Trees) -> None:
    node = trees.node()
    top = trees.index.add(node)
    trees.index.set_local(top, ROOT_NID, "new", b"", stat(70, kind=Kind.FOLDER))
    inside = trees.index.add(trees.node())
    trees.index.set_local(inside, top, "a", hash_of(b"one"), stat(71, b"one"))
    assert set(trees.closure(top).rows) == {top}, "so that a large new tree is planned in parts"


def test_a_clean_descendant_of_a_moved_folder_stays_out(trees: Trees) -> None:
    top = trees.folder("d")
    trees.file("a", top)
    trees.index.set_local(top, ROOT_NID, "renamed", b"", stat(1, kind=Kind.FOLDER))
    assert set(trees.closure(top).rows) == {top}


def test_busy_rows_are_marked(trees: Trees) -> None:
    top = trees.folder("d")
    file = trees.file("a", top)
    rows = trees.closure(file, busy=frozenset({top})).rows
    assert rows[top].is_busy and not rows[file].is_busy


def test_a_row_that_does_not_exist_is_left_out(trees: Trees) -> None:
    closure = Closure(trees.index, ())
    assert closure.load([Nid(4711)]) == []
    assert closure.by_node_id(NodeId(b"z" * 16)) is None


def test_a_row_is_found_by_its_node_id(trees: Trees) -> None:
    file = trees.file("a")
    closure = Closure(trees.index, ())
    row = closure.by_node_id(trees.index.node_id_of(file))
    assert row is not None and row.nid == file and set(closure.rows) == {file}
