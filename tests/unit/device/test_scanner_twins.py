"""Two rows recorded at one name, since a move was not recorded yet: what stands there stays, the other is sought."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from satchel.core.ids import Nid
from satchel.device.tasks import LocalFact, SeenGone, SeenMoved
from tests.support.scanned_root import ScannedRoot


@pytest.fixture
def root(tmp_path: Path) -> Iterator[ScannedRoot]:
    linked = ScannedRoot(tmp_path / "linked")
    yield linked
    linked.scan()
    assert linked.known.tree() == linked.disk_tree()


def twins(root: ScannedRoot) -> tuple[Nid, Nid]:
    """Record `left` at `name`, where `stands` stands; the file of `left` has gone from its own name."""
    root.write("left", "one")
    root.write("name", "two")
    root.scan()
    left, stands = root.known.nid_at("left"), root.known.nid_at("name")
    root.known.rows[left] = replace(root.known.rows[left], name=b"name")
    return left, stands


def told(facts: list[LocalFact]) -> list[tuple[str, int]]:
    return [(type(fact).__name__, fact.nid) for fact in facts if isinstance(fact, SeenMoved | SeenGone)]


def test_the_row_that_left_is_found_where_it_went(root: ScannedRoot) -> None:
    left, _ = twins(root)
    (root.root / "left").rename(root.root / "elsewhere")
    assert told(root.scan()) == [("SeenMoved", left)]
    assert root.known.nid_at("elsewhere") == left


@pytest.mark.parametrize("is_named", [False, True])
def test_the_row_that_left_and_is_nowhere_is_gone(root: ScannedRoot, is_named: bool) -> None:
    left, stands = twins(root)
    (root.root / "left").unlink()
    facts = root.look("", "name") if is_named else root.scan()
    assert told(facts) == [("SeenGone", left)]
    assert root.known.nid_at("name") == stands


@pytest.mark.parametrize("is_named", [False, True])
def test_of_two_rows_of_the_very_same_file_one_is_gone(root: ScannedRoot, is_named: bool) -> None:
    left, stands = twins(root)
    (root.root / "left").unlink()
    root.known.rows[left] = replace(root.known.rows[stands], nid=left)
    facts = root.look("", "name") if is_named else root.scan()
    ((kind, gone),) = told(facts)
    assert kind == "SeenGone"
    assert {gone, root.known.nid_at("name")} == {left, stands}
