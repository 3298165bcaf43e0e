"""Versions of the local tree: none is used twice, and a start does not look through all rows to know the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from satchel.core.ids import ROOT_NID, Nid
from satchel.device.index.store import Index
from satchel.device.index.versions import AT_ONCE
from tests.support.engine_rig import NODE_A, hash_of, stat


def write(index: Index, nid: Nid) -> int:
    """Write the local side of a row; return its version."""
    index.set_local(nid, ROOT_NID, "a.txt", hash_of(b"one"), stat(7, b"one"))
    row = index.reader.local(nid)
    assert row is not None
    return row.version


def test_the_next_start_goes_on_where_the_last_ended(tmp_path: Path) -> None:
    index = Index(str(tmp_path / "index.db"))
    nid = index.add(NODE_A)
    last = [write(index, nid) for _ in range(3)][-1]
    index.close()
    again = Index(str(tmp_path / "index.db"))
    assert again.version == last
    assert write(again, nid) == last + 1


def test_a_start_after_a_crash_uses_no_number_again() -> None:
    index = Index(":memory:")
    nid = index.add(NODE_A)
    used = {write(index, nid) for _ in range(3)}
    for _ in range(3):
        index = Index(":memory:", image=index.image())
        assert index.version >= max(used)
        version = write(index, nid)
        assert version not in used
        used.add(version)


def test_numbers_beyond_those_taken_at_once_are_not_used_again() -> None:
    index = Index(":memory:")
    nid = index.add(NODE_A)
    index._versions.newest += 3 * AT_ONCE
    used = write(index, nid)
    assert Index(":memory:", image=index.image()).version >= used


def test_what_was_taken_in_a_transaction_that_failed_is_taken_anew() -> None:
    index = Index(":memory:")
    nid = index.add(NODE_A)
    with pytest.raises(ZeroDivisionError), index.transaction():
        write(index, nid)
        raise ZeroDivisionError
    used = write(index, nid)
    assert Index(":memory:", image=index.image()).version >= used


def test_an_index_of_before_is_counted_by_its_rows() -> None:
    index = Index(":memory:")
    used = [write(index, index.add(NODE_A))][-1]
    index.connection.execute("DELETE FROM meta WHERE key = 'versions'")
    assert Index(":memory:", image=index.image()).version == used


def test_what_is_durable_counts_as_used() -> None:
    index = Index(":memory:")
    index.put("durable", 5 * AT_ONCE)
    assert Index(":memory:", image=index.image()).version == 5 * AT_ONCE
