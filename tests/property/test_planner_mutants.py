"""The properties find planted bugs: each mutant of the planner must break one of them within a few thousand cases.

A property that no mutant can break proves nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from satchel.core import ordering, planner
from satchel.core.clashes import Names, _Resolution
from satchel.core.ids import ROOT_NID, Nid
from satchel.core.merge import Merge
from satchel.core.ordering import Draft
from satchel.core.planner import _Drafts
from satchel.core.trees import Item
from tests.support.planning_properties import (
    ends_in_one_tree_without_loss,
    follows_the_only_side_that_changed,
    gives_no_node_a_foreign_parent,
    keeps_a_moved_unit_whole,
    leaves_busy_rows_alone,
    leaves_unknown_rows_alone,
    merges_at_first_contact,
    merges_bits_like_content,
)

CASES_MAX = 20_000
Patch = Callable[[pytest.MonkeyPatch], None]
Property = Callable[[random.Random], str]


def _deletion_beats_edit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Merge, "_survives", lambda *_, **__: False)


def _unit_rule_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Merge, "_is_unit_moved", lambda *_, **__: False)


def _no_copy_at_a_conflict(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Merge, "_fork", lambda *_: None)


def _circles_broken_to_the_root(patch: pytest.MonkeyPatch) -> None:
    def revert(merge: Merge, circle: list[Nid]) -> None:
        nid = max(circle)
        merge.target[nid] = merge.target[nid].at(ROOT_NID, merge.target[nid].name)

    patch.setattr(Merge, "_revert_one", revert)


def _circles_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Merge, "_break_cycles", lambda _: None)


def _folders_not_revived(patch: pytest.MonkeyPatch) -> None:
    def drop(merge: Merge) -> None:
        merge.target = {nid: merge.target[nid] for nid in merge._kept}

    patch.setattr(Merge, "_revive_folders", drop)


def _local_bit_wins(patch: pytest.MonkeyPatch) -> None:
    original = Merge._merge_content

    def merge_content(merge: Merge, nid: Nid, item: Item, local: Item, synced: Item | None) -> Item:
        merged = original(merge, nid, item, local, synced)
        return merged.holding(merged.content, is_executable=local.is_executable, xattrs=merged.xattrs)

    patch.setattr(Merge, "_merge_content", merge_content)


def _local_xattrs_win(patch: pytest.MonkeyPatch) -> None:
    original = Merge._merge_content

    def merge_content(merge: Merge, nid: Nid, item: Item, local: Item, synced: Item | None) -> Item:
        merged = original(merge, nid, item, local, synced)
        return merged.holding(merged.content, is_executable=merged.is_executable, xattrs=local.xattrs)

    patch.setattr(Merge, "_merge_content", merge_content)


def _names_taken_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Drafts, "_link_names", lambda *_: None)


def _folders_made_in_any_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Drafts, "_need_parent", lambda *_: None)


def _moves_below_in_any_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Drafts, "_nearest_reparented", lambda *_: None)


def _adoptions_not_awaited(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Drafts, "_need_adoption", lambda *_: None)


def _nothing_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Drafts, "_held", lambda *_: set())


def _busy_rows_planned(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Drafts, "_find_stuck", lambda _: None)


def _second_name_holder_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Resolution, "_step_aside", lambda *_: None)


def _unequal_files_adopted(patch: pytest.MonkeyPatch) -> None:
    def is_equal(resolution: _Resolution, nid: Nid, first: Nid) -> bool:
        return resolution._target[nid].kind is resolution._target[first].kind

    patch.setattr(_Resolution, "_is_equal", is_equal)


def _used_names_called_free(patch: pytest.MonkeyPatch) -> None:
    def take(names: Names, parent: Nid, candidates: Iterable[str]) -> str:
        return next(iter(candidates))

    patch.setattr(Names, "take_free", take)


def _local_names_win(patch: pytest.MonkeyPatch) -> None:
    original = _Resolution._rank

    def rank(resolution: _Resolution, nid: Nid) -> tuple[int, Nid]:
        return 2 - original(resolution, nid)[0], nid

    patch.setattr(_Resolution, "_rank", rank)


def _circles_of_moves_done_one_by_one(patch: pytest.MonkeyPatch) -> None:
    def cut(circle: list[Draft]) -> None:
        for draft in circle:
            draft.names, draft.needs = [], []

    patch.setattr(ordering, "_join", cut)


def _service_told_before_the_disk(patch: pytest.MonkeyPatch) -> None:
    original = _Drafts._compare_remote

    def compare(drafts: _Drafts, nid: Nid, item: Item, remote: Item | None, *_: Any) -> None:
        original(drafts, nid, item, remote, None, None)

    patch.setattr(_Drafts, "_compare_remote", compare)


def _unit_deleted_in_pieces_of_its_top(patch: pytest.MonkeyPatch) -> None:
    original = planner._make_deletion
    patch.setattr(planner, "_make_deletion", lambda make, nids, *rest: original(make, nids[:1], *rest))


MUTANTS: tuple[tuple[Patch, Property], ...] = (
    (_deletion_beats_edit, ends_in_one_tree_without_loss),
    (_unit_rule_forgotten, keeps_a_moved_unit_whole),
    (_no_copy_at_a_conflict, ends_in_one_tree_without_loss),
    (_circles_broken_to_the_root, gives_no_node_a_foreign_parent),
    (_circles_left, ends_in_one_tree_without_loss),
    (_folders_not_revived, ends_in_one_tree_without_loss),
    (_local_bit_wins, merges_bits_like_content),
    (_local_xattrs_win, merges_bits_like_content),
    (_names_taken_at_once, ends_in_one_tree_without_loss),
    (_folders_made_in_any_order, ends_in_one_tree_without_loss),
    (_moves_below_in_any_order, follows_the_only_side_that_changed),
    (_adoptions_not_awaited, merges_at_first_contact),
    (_nothing_held, leaves_unknown_rows_alone),
    (_busy_rows_planned, leaves_busy_rows_alone),
    (_second_name_holder_stays, ends_in_one_tree_without_loss),
    (_unequal_files_adopted, merges_at_first_contact),
    (_used_names_called_free, ends_in_one_tree_without_loss),
    (_local_names_win, merges_at_first_contact),
    (_circles_of_moves_done_one_by_one, follows_the_only_side_that_changed),
    (_service_told_before_the_disk, merges_bits_like_content),
    (_unit_deleted_in_pieces_of_its_top, follows_the_only_side_that_changed),
)


@pytest.mark.parametrize(("mutant", "holds"), MUTANTS, ids=[mutant.__name__.strip("_") for mutant, _ in MUTANTS])
def test_a_planted_bug_is_found(mutant: Patch, holds: Property, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    # What the world refuses is Broken; a mutant may also lose the planner itself.
    with pytest.raises((AssertionError, KeyError)):
        for seed in range(CASES_MAX):
            holds(random.Random(seed))
