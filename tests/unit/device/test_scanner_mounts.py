"""A shared folder is a leaf to the scanner of the link around it, however it is hinted at."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from msgspec.structs import replace as with_fields

from satchel.core.entries import Kind
from satchel.device.ports import DiskPath, Hint
from satchel.device.tasks import SeenChanged, SeenGone, SeenMoved, SeenNew
from tests.support.scanned_root import ScannedRoot


def test_nothing_in_a_shared_folder_is_seen_and_the_folder_itself_is(tmp_path: Path) -> None:
    root = ScannedRoot(tmp_path / "linked")
    (root.root / "team").mkdir()
    root.scan()
    row = root.known.find(root.known.children(0)[0].parent, b"team")  # type: ignore[arg-type]
    assert row is not None and row.kind is Kind.FOLDER
    root.known.shared.add(row.nid)
    root.write("team/deep/a.txt", "theirs")
    root.write("b.txt", "mine")
    assert [fact.name for fact in root.scan() if isinstance(fact, SeenNew)] == [b"b.txt"]
    assert root.scan(Hint(DiskPath(b"team/deep"), frozenset({b"a.txt"}))) == []
    os.rename(root.root / "team", root.root / "ours")
    (moved,) = root.scan()
    assert isinstance(moved, SeenMoved) and (moved.nid, moved.name) == (row.nid, b"ours")
    os.rename(root.root / "ours", tmp_path / "away")
    (gone,) = root.scan()
    assert isinstance(gone, SeenGone) and gone.nid == row.nid


def test_a_shared_folder_that_was_not_to_be_told_is_sure_again_after_the_next_look(tmp_path: Path) -> None:
    root = ScannedRoot(tmp_path / "linked")
    (root.root / "team").mkdir()
    root.scan()
    row = root.known.find(root.known.children(0)[0].parent, b"team")  # type: ignore[arg-type]
    assert row is not None
    root.known.shared.add(row.nid)
    root.known.rows[row.nid] = replace(row, stat=with_fields(row.stat, ctime_ns=0))
    (sure,) = root.scan()
    assert isinstance(sure, SeenChanged) and sure.nid == row.nid
    assert root.known.rows[row.nid].stat.ctime_ns and root.scan() == []
