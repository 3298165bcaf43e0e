"""A folder that is compared as a whole: what differs in it is told as if each name had been looked at alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NID
from satchel.device import disk_root
from satchel.device.drive import drive
from satchel.device.ports import Compared, DiskPath, RowsOf
from satchel.device.scanner import comparing
from satchel.device.scanner.comparing import compare
from satchel.device.tasks import SeenChanged, SeenGone, SeenMoved, SeenNew, SeenUnknown
from tests.support.meddling_disk import MeddlingDisk
from tests.support.scanned_root import ScannedRoot


class CountingDisk(MeddlingDisk):
    """Counts what the comparison finds the same. same: by folder."""

    def __init__(self, root: bytes) -> None:
        super().__init__(root)
        self.same: dict[DiskPath, int] = {}

    async def compare_folder(self, path: DiskPath, rows_of: RowsOf) -> Compared:
        found = await super().compare_folder(path, rows_of)
        self.same[path] = found.same
        return found


@pytest.fixture(params=["at once", "in portions"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScannedRoot]:
    if request.param == "in portions":
        # As for a folder of more names than are held at once.
        for module in (disk_root, comparing):
            monkeypatch.setattr(module, "LISTED_AT_ONCE_MAX", 2)
    folder = tmp_path / "linked"
    linked = ScannedRoot(folder, CountingDisk(os.fsencode(folder)))
    yield linked
    linked.scan()
    assert linked.known.tree() == linked.disk_tree()


def same(root: ScannedRoot) -> dict[DiskPath, int]:
    assert isinstance(root.disk, CountingDisk)
    return root.disk.same


def fill(root: ScannedRoot) -> None:
    for name in ("a", "b", "ä", "d/e", "d/f", "d/g/h"):
        root.write(name, name)
    (root.root / "link").symlink_to("a")
    root.scan()
    same(root).clear()


def test_what_is_as_it_was_is_seen_to_be_so_in_every_folder(root: ScannedRoot) -> None:
    fill(root)

    assert root.scan() == []

    assert same(root) == {b"": 5, b"d": 3, b"d/g": 1}
    assert sum(part.files_seen for part in root.parts) == 9


def test_one_of_each_among_what_is_the_same(root: ScannedRoot) -> None:
    fill(root)
    root.write("d/e", "edited")
    root.write("d/new", "new")
    (root.root / "d/f").unlink()
    (root.root / "b").rename(root.root / "d/b")

    facts = root.scan()

    assert sorted(type(fact).__name__ for fact in facts) == ["SeenChanged", "SeenGone", "SeenMoved", "SeenNew"]
    assert same(root) == {b"": 3, b"d": 1, b"d/g": 1}


def test_a_known_name_of_the_built_in_rules_becomes_unknown(root: ScannedRoot) -> None:
    root.write("Thumbs.db", "kept")
    root.write(".satchelignore", "!Thumbs.db\n")
    root.scan()
    assert {fact.name for fact in root.parts[0].facts if isinstance(fact, SeenNew)} == {b"Thumbs.db", b".satchelignore"}
    (root.root / ".satchelignore").unlink()

    facts = root.scan()

    (unknown,) = (fact for fact in facts if isinstance(fact, SeenUnknown))
    assert (unknown.name, unknown.code) == (b"Thumbs.db", "ignored")
    (root.root / "Thumbs.db").unlink()


def test_a_folder_with_rules_is_looked_at_name_by_name(root: ScannedRoot) -> None:
    fill(root)
    root.write("d/.satchelignore", "e\n")

    facts = root.scan()

    assert [fact.name for fact in facts if isinstance(fact, SeenUnknown)] == [b"e"]
    assert b"d/g" not in same(root)
    (root.root / "d/.satchelignore").unlink()
    assert {type(fact) for fact in root.scan()} == {SeenChanged, SeenGone}


def test_two_rows_at_one_name_are_both_looked_at(root: ScannedRoot) -> None:
    fill(root)
    nid = root.known.nid_at("a")
    twin = replace(root.known.rows[root.known.nid_at("b")], name=b"a", stat=root.known.rows[nid].stat)
    root.known.rows[twin.nid] = twin

    seen = drive(compare(root.disk, root.known, folder=ROOT_NID, path=DiskPath(b""), placed=()))

    assert seen is not None
    assert [one.name for one in seen.listed] == [b"a", b"b"]
    assert sorted(row.nid for row in seen.rows) == sorted((nid, twin.nid))
    root.known.rows[twin.nid] = replace(twin, name=b"b")


def test_a_row_that_stands_elsewhere_by_this_scan_is_not_the_same_here(root: ScannedRoot) -> None:
    fill(root)
    nid = root.known.nid_at("a")

    seen = drive(compare(root.disk, root.known, folder=ROOT_NID, path=DiskPath(b""), placed={nid}))

    assert seen is not None
    assert [row.nid for row in seen.rows] == [nid]
    assert [(one.name, one.stat.kind) for one in seen.listed] == [(b"a", Kind.FILE)]


def test_a_name_that_is_no_text_is_told_beside_those_that_are(root: ScannedRoot) -> None:
    fill(root)
    strange = os.path.join(os.fsencode(root.root), b"not-\xff-text")
    Path(os.fsdecode(strange)).write_text("?")

    (fact,) = root.scan()

    assert isinstance(fact, SeenUnknown)
    assert (fact.name, fact.code) == (b"not-\xff-text", "name_invalid")
    os.unlink(strange)


def test_a_folder_that_cannot_be_read_is_unknown_and_nothing_below_it_gone(root: ScannedRoot) -> None:
    fill(root)
    assert isinstance(root.disk, CountingDisk)
    root.disk.closed = frozenset((b"d",))

    (fact,) = root.scan()

    assert isinstance(fact, SeenUnknown)
    root.disk.closed = frozenset()
    assert not any(isinstance(fact, SeenGone | SeenMoved) for fact in root.scan())


def test_what_is_gone_from_a_very_large_folder_is_found(root: ScannedRoot) -> None:
    for number in range(25):
        root.write(f"many/{number}", str(number))
    root.scan()
    gone = {root.known.nid_at(f"many/{number}") for number in (3, 24)}
    for number in (3, 24):
        (root.root / f"many/{number}").unlink()
    root.write("many/new", "new")

    facts = root.scan()

    assert {fact.nid for fact in facts if isinstance(fact, SeenGone)} == gone
    assert [fact.name for fact in facts if isinstance(fact, SeenNew)] == [b"new"]
    assert same(root)[DiskPath(b"many")] == 23


def test_a_folder_that_was_emptied_is_seen_to_be_so(root: ScannedRoot) -> None:
    fill(root)
    (root.root / "d/g/h").unlink()

    (fact,) = root.scan()

    assert isinstance(fact, SeenGone)
