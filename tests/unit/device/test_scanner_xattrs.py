"""What a look says of extended attributes (hard case I5), on a real disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from satchel.core.ids import ROOT_NID
from satchel.core.xattrs import pack_xattrs
from satchel.device.disk import LocalDisk
from satchel.device.tasks import SeenChanged, SeenNew
from tests.support.scanned_root import ScannedRoot

RED = pack_xattrs({b"colour": b"red"})


@pytest.fixture
def root(tmp_path: Path) -> ScannedRoot:
    return ScannedRoot(tmp_path / "root", LocalDisk(os.fsencode(tmp_path / "root"), has_xattrs=True))


def test_i5_what_is_new_comes_with_its_attributes(root: ScannedRoot) -> None:
    os.setxattr(root.write("folder/file", "data"), "user.colour", b"red")
    os.setxattr(root.root / "folder", "user.colour", b"red")
    (root.root / "link").symlink_to("folder/file")
    facts = {fact.name: fact for fact in root.scan() if isinstance(fact, SeenNew)}
    assert {name: fact.stat.xattrs for name, fact in facts.items()} == {b"folder": RED, b"file": RED, b"link": None}
    assert facts[b"folder"].parent == ROOT_NID


@pytest.mark.parametrize("name", ["folder", "folder/file"])
def test_i5_a_change_of_attributes_alone_is_one_fact(root: ScannedRoot, name: str) -> None:
    root.write("folder/file", "data")
    root.scan()
    os.setxattr(root.root / name, "user.colour", b"red")
    (fact,) = root.scan()
    assert isinstance(fact, SeenChanged)
    assert (fact.nid, fact.stat.xattrs) == (root.known.nid_at(name), RED)
    assert root.scan() == []
    os.removexattr(root.root / name, "user.colour")
    (fact,) = root.scan()
    assert isinstance(fact, SeenChanged) and fact.stat.xattrs == b""


def test_i5_a_folder_in_which_something_changed_says_nothing_of_its_attributes(root: ScannedRoot) -> None:
    root.write("folder/file", "data")
    root.scan()
    root.write("folder/other", "data")
    assert [type(fact) for fact in root.scan()] == [SeenNew]


def test_i5_where_they_are_not_synced_nothing_is_said_of_them(tmp_path: Path) -> None:
    root = ScannedRoot(tmp_path / "root")
    root.write("folder/file", "data")
    root.scan()
    os.setxattr(root.root / "folder", "user.colour", b"red")
    os.setxattr(root.root / "folder/file", "user.colour", b"red")
    assert [fact.stat.xattrs for fact in root.scan() if isinstance(fact, SeenChanged)] == [None]
