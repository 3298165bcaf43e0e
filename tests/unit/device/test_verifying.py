"""The check of this disk tells damage from change."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec.structs import replace

from satchel.core.ids import ROOT_NID, LinkId, NodeId
from satchel.device.disk import LocalDisk
from satchel.device.drive import drive
from satchel.device.index.store import Index
from satchel.device.links import Link
from satchel.device.ports import DiskPath
from satchel.device.verifying import Verified, verify_local
from tests.support.engine_rig import blocks_of, hash_of
from tests.support.still_clock import StillClock


def checked(
    tmp_path: Path, *, known: dict[str, bytes], shown_max: int = 10, grown: int = 0, is_sure: bool = True
) -> Verified:
    """Check a folder of these files against an index that knows them as `known`."""
    root, state = tmp_path / "root", tmp_path / "state"
    disk = LocalDisk(os.fsencode(root))
    state.mkdir()
    index = Index(str(state / "index.db"))
    for number, (name, data) in enumerate(known.items()):
        stat = drive(disk.stat(DiskPath(name.encode())))
        assert stat is not None
        nid = index.add(NodeId(bytes([number]) * 16))
        seen = replace(stat, size=stat.size + grown, ctime_ns=stat.ctime_ns if is_sure else 0)
        index.set_local(nid, ROOT_NID, name, hash_of(data), seen, blocks_of(data))
    link = Link(LinkId(b"L" * 16), str(root), "/", "00" * 16, "00" * 16, "laptop")
    try:
        return verify_local(link, state, StillClock(0), shown_max=shown_max, progress=lambda _: None)
    finally:
        index.close()


def folder_with(tmp_path: Path, **files: bytes) -> None:
    root = tmp_path / "root"
    root.mkdir()
    LocalDisk.initialise(os.fsencode(root))
    for name, data in files.items():
        (root / name).write_bytes(data)


def test_equal_bytes_are_counted_and_not_mentioned(tmp_path: Path) -> None:
    folder_with(tmp_path, a=b"one", b=b"")
    found = checked(tmp_path, known={"a": b"one", "b": b""})
    assert (found.files, found.bytes, found.findings) == (2, 3, ())


def test_other_bytes_under_the_same_stat_are_damage(tmp_path: Path) -> None:
    folder_with(tmp_path, a=b"onf")
    found = checked(tmp_path, known={"a": b"one"})
    assert [(each.path, each.verdict) for each in found.findings] == [("a", "damaged")] and found.damaged == 1


def test_another_stat_is_a_change_and_no_damage(tmp_path: Path) -> None:
    folder_with(tmp_path, a=b"onf")
    found = checked(tmp_path, known={"a": b"one"}, grown=1)
    assert [each.verdict for each in found.findings] == ["changed"] and found.damaged == 0


def test_other_bytes_of_a_file_that_the_index_is_not_sure_of_are_a_change_and_no_damage(tmp_path: Path) -> None:
    folder_with(tmp_path, a=b"onf")
    found = checked(tmp_path, known={"a": b"one"}, is_sure=False)
    assert [each.verdict for each in found.findings] == ["changed"] and found.damaged == 0


def test_the_list_is_bounded_and_the_count_is_not(tmp_path: Path) -> None:
    folder_with(tmp_path, a=b"x", b=b"y", c=b"z")
    found = checked(tmp_path, known={"a": b"1", "b": b"2", "c": b"3"}, shown_max=2)
    assert len(found.findings) == 2 and found.count == found.damaged == 3
