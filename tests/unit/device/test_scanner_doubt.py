"""The scanner where it must not guess: names that cannot be told, ignored names, a root in doubt."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.core.ids import ROOT_NID
from satchel.device.tasks import LocalFact, SeenMoved, SeenNew, SeenUnknown
from tests.support.scanned_root import ScannedRoot


@pytest.fixture
def root(tmp_path: Path) -> Iterator[ScannedRoot]:
    linked = ScannedRoot(tmp_path / "linked")
    yield linked
    linked.scan()
    assert linked.known.tree() == linked.disk_tree()


def kinds(facts: list[LocalFact]) -> list[str]:
    return [type(fact).__name__ for fact in facts]


def moves(facts: list[LocalFact]) -> dict[int, bytes]:
    return {fact.nid: fact.name for fact in facts if isinstance(fact, SeenMoved)}


# -- what cannot be told ----------------------------------------------------------------------------------------------


def test_name_that_is_not_utf8_is_unknown(root: ScannedRoot) -> None:
    path = os.fsencode(root.root) + b"/\xff\xfe"
    with open(path, "wb") as file:
        file.write(b"x")

    (fact,) = root.scan()

    assert fact == SeenUnknown(None, ROOT_NID, b"\xff\xfe", "name_invalid", fact.reason, False)  # type: ignore[union-attr]  # as above
    os.unlink(path)


def test_pipe_in_the_place_of_a_file_is_unknown_and_not_gone(root: ScannedRoot) -> None:
    path = root.write("a", "one")
    root.scan()
    nid = root.known.nid_at("a")
    path.unlink()
    os.mkfifo(path)

    (fact,) = root.scan()

    assert isinstance(fact, SeenUnknown)
    assert (fact.nid, fact.code, fact.retry) == (nid, "kind_unsupported", False)
    path.unlink()


def test_symlink_with_a_target_that_is_no_text_is_unknown(root: ScannedRoot) -> None:
    os.symlink(b"\xff", os.fsencode(root.root / "l"))

    (fact,) = root.scan()

    assert isinstance(fact, SeenUnknown)
    assert fact.code == "name_invalid"
    (root.root / "l").unlink()


def test_too_deep_folder_is_unknown(root: ScannedRoot) -> None:
    path = root.root
    for _ in range(129):
        path = path / "d"
    path.mkdir(parents=True)

    facts = root.scan()

    assert kinds(facts) == ["SeenNew"] * 128 + ["SeenUnknown"]
    shutil.rmtree(root.root / "d")


# -- ignored ----------------------------------------------------------------------------------------------------------


def test_ignored_name_that_no_row_knows_is_not_mentioned(root: ScannedRoot) -> None:
    root.write(".DS_Store", "x")
    root.write("sub/.report.odt.swp", "x")
    root.write(".satchelignore", "*.log\nbuild/\n")
    root.write("a.log", "x")
    root.write("sub/build/out", "x")

    facts = root.scan()

    assert sorted(fact.name for fact in facts if isinstance(fact, SeenNew)) == [b".satchelignore", b"sub"]
    for name in (".DS_Store", "sub/.report.odt.swp", "a.log"):
        (root.root / name).unlink()
    shutil.rmtree(root.root / "sub/build")


def test_new_rule_makes_known_names_unknown_everywhere_below(root: ScannedRoot) -> None:
    root.write("sub/deep/a.log", "x")
    root.scan()
    nid = root.known.nid_at("sub/deep/a.log")
    root.write(".satchelignore", "*.log\n")

    facts = root.look("", ".satchelignore")

    assert kinds(facts) == ["SeenNew", "SeenUnknown"]
    assert facts[1] == SeenUnknown(nid, None, b"a.log", "ignored", facts[1].reason, False)  # type: ignore[union-attr]  # as above
    (root.root / "sub/deep/a.log").unlink()


def test_rule_taken_away_makes_names_new_again(root: ScannedRoot) -> None:
    root.write(".satchelignore", "*.log\n")
    root.write("sub/a.log", "x")
    root.scan()
    (root.root / ".satchelignore").unlink()

    assert sorted(kinds(root.look("", ".satchelignore"))) == ["SeenGone", "SeenNew"]


def test_known_folder_comes_back_when_its_rule_is_taken_away(root: ScannedRoot) -> None:
    root.write("build/f", "x")
    root.scan()
    nids = root.known.nid_at("build"), root.known.nid_at("build/f")
    root.write(".satchelignore", "build/\n")
    root.scan()
    assert root.known.unknown == {nids[0]}
    (root.root / ".satchelignore").unlink()

    root.scan()

    assert not root.known.unknown
    assert (root.known.nid_at("build"), root.known.nid_at("build/f")) == nids


def test_deleting_an_ignored_file_is_no_deletion(root: ScannedRoot) -> None:
    path = root.write("a.log", "x")
    root.scan()
    root.write(".satchelignore", "*.log\n")
    root.scan()
    path.unlink()

    assert kinds(root.scan()) == ["SeenUnknown"]


def test_hint_inside_an_ignored_folder_finds_nothing(root: ScannedRoot) -> None:
    root.write(".satchelignore", "build/\n")
    root.write("build/sub/f", "x")
    root.scan()

    assert root.look("build/sub", "f") == []
    shutil.rmtree(root.root / "build")


# -- the root ---------------------------------------------------------------------------------------------------------


def test_missing_root_is_a_fault_and_nothing_is_gone(tmp_path: Path) -> None:
    linked = ScannedRoot(tmp_path / "linked")
    linked.write("a", "one")
    linked.scan()
    linked.root.rename(tmp_path / "elsewhere")

    assert linked.scan() == []
    assert linked.parts[-1].fault is not None
    assert linked.parts[-1].fault.code == "root_missing"


def test_root_without_its_marker_reports_no_absence(tmp_path: Path) -> None:
    linked = ScannedRoot(tmp_path / "linked")
    linked.write("a", "one")
    linked.scan()
    (linked.root / "a").unlink()
    shutil.rmtree(linked.root / ".satchel")

    assert linked.look("", "a") == []
    assert linked.parts[-1].fault is not None
    assert linked.parts[-1].fault.code == "root_missing"


def test_parts_are_small_and_in_order(root: ScannedRoot) -> None:
    for number in range(1200):
        root.write(f"f{number:04}", b"")

    facts = root.scan()

    assert max(len(part.facts) for part in root.parts) <= 500
    assert [fact.order for fact in facts if isinstance(fact, SeenNew)] == list(range(1, 1201))
    assert sum(part.files_seen for part in root.parts) == 1200
