import itertools
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.core.entries import Entry
from satchel.core.errors import MessageInvalid
from satchel.core.folding import Tree
from satchel.core.ids import ROOT_NODE, NodeId
from tests.support.journals import ModelNamespace

seeds = st.integers(0, 2**32)


def view(tree: Tree) -> dict[NodeId, tuple[NodeId, int]]:
    return {entry.node_id: (entry.parent_id, int.from_bytes(entry.content, "big")) for entry in tree.entries()}


def acted(seed: int, count: int) -> ModelNamespace:
    model = ModelNamespace(seed)
    for _ in range(count):
        model.act()
    return model


def check_tree(tree: Tree) -> None:
    """Every node hangs below the root, is found among its parent's children, and is counted once."""
    reached, waiting = 0, [tree.root]
    while waiting:
        for child in tree.children(waiting.pop()):
            reached += 1
            waiting.append(child.node_id)
            tree.names(child.node_id)
    assert reached == len(tree)


def fetch_unit(tree: Tree, model: ModelNamespace, unit: NodeId) -> None:
    tree.merge(model.unit_rows(unit))


@settings(max_examples=150, deadline=None)
@given(seed=seeds, count=st.integers(0, 60))
def test_following_from_the_beginning_shows_the_tree_at_every_seq(seed: int, count: int) -> None:
    model, tree = ModelNamespace(seed), Tree()
    for _ in range(count):
        model.act()
        for entry in model.journal[tree.seq :]:
            unit = tree.fold(entry)
            if unit is not None:
                fetch_unit(tree, model, unit)
                tree.settle()
        check_tree(tree)
        assert view(tree) == model.live_view()


@settings(max_examples=300, deadline=None)
@given(
    seed=seeds, before=st.integers(0, 50), pages=st.integers(1, 8), between=st.integers(0, 6), after=st.integers(0, 10)
)
def test_a_snapshot_read_while_others_write_ends_as_the_tree(
    seed: int, before: int, pages: int, between: int, after: int
) -> None:
    model = acted(seed, before)
    tree = Tree(seq=model.head)
    borders = sorted(random.Random(seed).randbytes(16) for _ in range(pages - 1))
    edges = [b"", *borders, b"\xff" * 17]
    for low, high in itertools.pairwise(edges):
        rows = [model.snapshot_row(node_id) for node_id in sorted(model.rows) if low <= node_id < high]
        tree.merge(row for row in rows if row is not None)
        head_at_last_page = model.head
        for _ in range(between):
            model.act()
    follow(tree, model, head_at_last_page)
    for _ in range(after):
        model.act()
    follow(tree, model, model.head)
    check_tree(tree)
    assert view(tree) == model.live_view()


def follow(tree: Tree, model: ModelNamespace, head: int) -> None:
    """Fold through `head`; each unit that appears is fetched as it stands now, and folding goes on through that."""
    while tree.seq < head:
        unit = tree.fold(model.journal[tree.seq])
        if unit is not None:
            fetch_unit(tree, model, unit)
            head = max(head, model.head)
    tree.settle()


@settings(max_examples=200, deadline=None)
@given(seed=seeds, count=st.integers(0, 60), page=st.integers(1, 20), after=st.integers(0, 10))
def test_units_may_be_fetched_after_the_page_that_names_them(seed: int, count: int, page: int, after: int) -> None:
    model, tree = acted(seed, count), Tree()
    while tree.seq < model.head:
        head = min(tree.seq + page, model.head)
        units = tree.fold_page(model.journal[tree.seq : head], prev_seq=tree.seq, last_seq=head)
        for _ in range(after if tree.seq <= count else 0):
            model.act()
        for unit in units:
            fetch_unit(tree, model, unit)
        if tree.seq < model.head or units:
            follow(tree, model, model.head)
    check_tree(tree)
    assert view(tree) == model.live_view()


@settings(max_examples=100, deadline=None)
@given(seed=seeds, count=st.integers(1, 40), data=st.data())
def test_page_borders_and_repeated_pages_change_nothing(seed: int, count: int, data: st.DataObject) -> None:
    model = acted(seed, count)
    whole, paged = Tree(), Tree()
    whole.fold_page(model.journal, prev_seq=0, last_seq=model.head)
    at = 0
    while at < model.head:
        start = data.draw(st.integers(0, at))
        end = data.draw(st.integers(at + 1, model.head))
        paged.fold_page(model.journal[start:end], prev_seq=start, last_seq=end)
        at = end
    assert view(paged) == view(whole)
    assert paged.seq == whole.seq == model.head


@settings(max_examples=50, deadline=None)
@given(seed=seeds, count=st.integers(1, 40))
def test_folding_everything_again_changes_nothing(seed: int, count: int) -> None:
    model, tree = acted(seed, count), Tree()
    tree.fold_page(model.journal, prev_seq=0, last_seq=model.head)
    before = view(tree)
    assert tree.fold_page(model.journal, prev_seq=0, last_seq=model.head) == []
    assert view(tree) == before


def first_entry(parent_id: NodeId = ROOT_NODE, seq: int = 1) -> Entry:
    model = ModelNamespace(0)
    model.create()
    return msgspec.structs.replace(model.journal[0], parent_id=parent_id, seq=seq)


def test_an_entry_without_its_parent_is_a_fault_and_changes_nothing() -> None:
    tree = Tree()
    with pytest.raises(MessageInvalid) as caught:
        tree.fold(first_entry(parent_id=NodeId(b"p" * 16)))
    assert caught.value.fields["reason"] == "parent"
    assert (len(tree), tree.seq) == (0, 0)


def test_a_folder_below_itself_is_a_fault() -> None:
    model, tree = ModelNamespace(1), Tree()
    while not any(entry.kind == 2 for entry in model.journal):
        model.create()
    tree.fold_page(model.journal, prev_seq=0, last_seq=model.head)
    folder = next(entry for entry in model.journal if entry.kind == 2)
    with pytest.raises(MessageInvalid):
        tree.fold(msgspec.structs.replace(folder, parent_id=folder.node_id, seq=model.head + 1))


def test_a_page_after_a_gap_is_a_fault() -> None:
    with pytest.raises(MessageInvalid) as caught:
        Tree(seq=4).fold_page([first_entry(seq=7)], prev_seq=6, last_seq=7)
    assert caught.value.fields["reason"] == "gap"


def test_a_filtered_page_moves_the_place_without_entries() -> None:
    tree = Tree(seq=4)
    assert tree.fold_page([], prev_seq=4, last_seq=9) == []
    assert tree.seq == 9
