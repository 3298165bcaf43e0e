"""Packed sets of docs: what goes in comes out, and sets are intersected and united part by part."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from satchel.server.search.postings import PART_DOCS, Parts, docs_of, in_all, in_any, pack, unpack

offsets = st.sets(st.integers(0, PART_DOCS - 1), max_size=60)
docs = st.sets(st.integers(0, 3 * PART_DOCS), max_size=200)


def bits_of(found: set[int]) -> int:
    return sum(1 << at for at in found)


def parts_of(found: set[int]) -> Parts:
    made: dict[int, int] = {}
    for doc in found:
        made[doc // PART_DOCS] = made.get(doc // PART_DOCS, 0) | 1 << doc % PART_DOCS
    return made


@given(offsets)
def test_a_part_comes_back_as_it_went_and_is_short(found: set[int]) -> None:
    packed = pack(bits_of(found))
    assert unpack(packed) == bits_of(found)
    assert len(packed) <= 1 + PART_DOCS // 8


@given(st.lists(docs, min_size=1, max_size=4))
def test_sets_are_intersected_and_united_like_sets(sets: list[set[int]]) -> None:
    parts = [parts_of(found) for found in sets]
    assert list(docs_of(in_all(parts))) == sorted(set.intersection(*sets), reverse=True)
    assert list(docs_of(in_any(parts))) == sorted(set.union(*sets), reverse=True)
