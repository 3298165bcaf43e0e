"""The slow pass finds what no stat shows."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from satchel.core.ids import Nid
from satchel.device.drive import drive
from satchel.device.scanner.verify import share_of_a_pass, verify_some
from satchel.device.tasks import SeenChanged
from tests.support.scanned_root import ScannedRoot, content_of


@pytest.fixture
def root(tmp_path: Path) -> ScannedRoot:
    return ScannedRoot(tmp_path / "linked")


def verify(root: ScannedRoot, after: int = 0, budget_bytes: int = 10**9) -> tuple[list[SeenChanged], Nid | None]:
    return drive(verify_some(root.disk, root.known, root.clock, after=Nid(after), budget_bytes=budget_bytes))


def forget_times(root: ScannedRoot) -> None:
    """Let the index hold the stat that the files have now, as after a write that no stat showed."""
    for nid, row in list(root.known.rows.items()):
        path = root.known.path_of(nid)
        assert path is not None
        stat = drive(root.disk.stat(path))
        assert stat is not None
        root.known.rows[nid] = type(row)(nid, row.parent, row.name, row.kind, stat, row.content, row.version)


def test_unchanged_files_are_not_mentioned(root: ScannedRoot) -> None:
    root.write("a/f", "one")
    root.scan()

    assert verify(root) == ([], None)


def test_content_that_changed_under_an_equal_stat_is_a_change(root: ScannedRoot) -> None:
    path = root.write("a/f", "one")
    root.write("a/g", "two")
    root.scan()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0:3] = b"ONE"
    forget_times(root)

    facts, _ = verify(root)

    assert [(fact.nid, fact.content) for fact in facts] == [(root.known.nid_at("a/f"), content_of(b"ONE"))]
    root.known.take(facts)
    assert root.known.tree() == root.disk_tree()


def test_file_that_changed_by_its_stat_is_left_to_the_scan(root: ScannedRoot) -> None:
    root.write("f", "one")
    root.scan()
    root.write("f", "other")

    assert verify(root) == ([], None)


def test_budget_ends_the_pass_and_it_goes_on_from_there(root: ScannedRoot) -> None:
    for number in range(5):
        root.write(f"f{number}", os.urandom(100))
    root.scan()

    seen, after = [], Nid(0)
    while True:
        _, following = verify(root, after, 150)
        if following is None:
            break
        seen.append(following)
        after = following

    assert seen == [2, 4]


@pytest.mark.parametrize(("files", "share"), [(0, 1), (9_600, 1), (9_601, 2), (1_000_000, 105), (10**9, 500)])
def test_a_day_of_steps_reads_about_one_file_in_a_hundred(files: int, share: int) -> None:
    assert share_of_a_pass(files) == share


def test_a_step_reads_no_more_files_than_its_share(root: ScannedRoot) -> None:
    for name in ("a", "b", "c"):
        root.write(name, name)
    root.scan()
    _, first = drive(verify_some(root.disk, root.known, root.clock, after=Nid(0), budget_bytes=10**9, files_max=2))
    assert first is not None
    _, last = drive(verify_some(root.disk, root.known, root.clock, after=first, budget_bytes=10**9, files_max=2))
    assert last is None
