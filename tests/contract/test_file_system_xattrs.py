"""The contract of the `FileSystem` port for extended attributes (hard case I5), over the real disks and the fake one.

The folder of the tests and /dev/shm have to hold `user.` attributes (ext4, btrfs, xfs; tmpfs since Linux 6.6): where
they do not, these tests fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.core.errors import FileChanging, FileUnreadable, NotFound
from satchel.core.ids import Nid
from satchel.core.limits import XATTR_VALUE_BYTES_MAX
from satchel.core.xattrs import TOO_LARGE, pack_xattrs
from satchel.device.drive import drive
from satchel.device.ports import ROOT_PATH, Brief
from tests.support.disk_calls import path, stat_of
from tests.support.disk_worlds import WORLD_NAMES, World, world_at

RED, BLUE = pack_xattrs({b"colour": b"red", b"note": b"x"}), pack_xattrs({b"colour": b"blue"})


@pytest.fixture(params=WORLD_NAMES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    yield from world_at(request.param, tmp_path, has_xattrs=True)


@pytest.fixture(params=WORLD_NAMES)
def plain(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A folder whose link does not sync extended attributes."""
    yield from world_at(request.param, tmp_path, has_xattrs=False)


def test_i5_a_stat_tells_the_attributes_of_files_and_folders(world: World) -> None:
    world.user.write_file(b"file", b"data")
    world.user.make_folder(b"folder")
    world.user.make_symlink(b"link", b"file")
    assert (stat_of(world, "file").xattrs, stat_of(world, "folder").xattrs) == (b"", b"")
    world.user.set_xattrs(b"file", RED)
    world.user.set_xattrs(b"folder", BLUE)
    assert (stat_of(world, "file").xattrs, stat_of(world, "folder").xattrs) == (RED, BLUE)
    assert stat_of(world, "link").xattrs is None
    opened = drive(world.disk.open_file(path("file")))
    assert drive(opened.stat()).xattrs == RED
    drive(opened.close())
    short = drive(world.disk.read_short(path("file"), 100))
    assert short is not None and short[0] == stat_of(world, "file")


def test_i5_a_change_of_attributes_alone_is_another_ctime(world: World) -> None:
    world.user.write_file(b"file", b"data")
    world.user.make_folder(b"folder")
    rows: dict[str, Brief] = {}
    for number, one in enumerate(drive(world.disk.list_folder(ROOT_PATH)), 1):
        stat, name = one.stat, one.name.decode()
        assert stat.xattrs is None
        rows[name] = (name, stat.ctime_ns, stat.mtime_ns, stat.size, stat.inode, Nid(number), int(stat.kind or 0))
    before = stat_of(world, "file")
    world.user.set_xattrs(b"file", RED)
    world.user.set_xattrs(b"folder", RED)
    assert stat_of(world, "file").same_file(before)
    found = drive(world.disk.compare_folder(ROOT_PATH, lambda names: rows))
    assert [one.name for one in found.others] == [b"file", b"folder"]


def test_i5_past_the_limits_they_are_one_sign(world: World) -> None:
    world.user.write_file(b"file", b"data")
    if isinstance(world.root, bytes) and world.root:
        os.setxattr(os.path.join(world.root, b"file"), b"user.long", bytes(XATTR_VALUE_BYTES_MAX + 1))
    else:
        world.user.set_xattrs(b"file", TOO_LARGE)
    assert stat_of(world, "file").xattrs == TOO_LARGE


def test_i5_a_staged_file_has_its_attributes_before_it_is_placed(world: World) -> None:
    file = drive(world.disk.stage())
    drive(file.write(b"data"))
    finished = drive(file.finish(mtime_ns=1, is_executable=False, xattrs=RED))
    assert (finished.xattrs, finished.mtime_ns) == (RED, 1)
    assert drive(world.disk.stat_staged(file.name)) == finished
    placed = drive(world.disk.place_staged(file.name, path("file")))
    assert placed == stat_of(world, "file") and placed.xattrs == RED


def test_i5_attributes_are_set_in_place_of_those_expected(world: World) -> None:
    world.user.write_file(b"file", b"data")
    world.user.make_folder(b"folder")
    world.user.set_xattrs(b"file", RED)
    before = stat_of(world, "file")
    stat = drive(world.disk.set_xattrs(path("file"), BLUE, RED))
    assert stat == stat_of(world, "file") and stat.xattrs == BLUE and stat.same_file(before)
    assert drive(world.disk.set_xattrs(path("folder"), RED, b"")).xattrs == RED
    assert drive(world.disk.set_xattrs(path("folder"), b"", RED)).xattrs == b""
    with pytest.raises(NotFound):
        drive(world.disk.set_xattrs(path("gone"), RED, b""))


def test_i5_a_user_who_was_quicker_keeps_his_attributes(world: World) -> None:
    world.user.write_file(b"file", b"data")
    world.user.set_xattrs(b"file", RED)
    with pytest.raises(FileChanging):
        drive(world.disk.set_xattrs(path("file"), BLUE, b""))
    assert stat_of(world, "file").xattrs == RED


def test_i5_attributes_are_not_set_through_a_symlink(world: World) -> None:
    world.user.write_file(b"file", b"data")
    world.user.make_symlink(b"link", b"file")
    with pytest.raises(FileUnreadable):
        drive(world.disk.set_xattrs(path("link"), RED, b""))
    assert stat_of(world, "file").xattrs == b""


def test_i5_a_file_that_moves_tells_its_attributes(world: World) -> None:
    world.user.write_file(b"file", b"data")
    world.user.set_xattrs(b"file", RED)
    assert drive(world.disk.move(path("file"), path("other"))).xattrs == RED
    name = drive(world.disk.trash(path("other")))
    assert drive(world.disk.restore_trashed(name, b"", path("back"))).xattrs == RED


def test_i5_where_they_are_not_synced_it_is_as_if_there_were_none(plain: World) -> None:
    plain.user.write_file(b"file", b"data")
    plain.user.set_xattrs(b"file", RED)
    assert stat_of(plain, "file").xattrs is None
    file = drive(plain.disk.stage())
    drive(file.write(b"data"))
    assert drive(file.finish(mtime_ns=1, is_executable=False, xattrs=RED)).xattrs is None


def test_i5_only_what_a_user_may_set_is_read_and_set(tmp_path: Path) -> None:
    (world,) = world_at("disk", tmp_path, has_xattrs=True)
    world.user.write_file(b"file", b"data")
    os.setxattr(os.path.join(world.root, b"file"), b"user.satchel.own", b"1")
    os.setxattr(os.path.join(world.root, b"file"), b"user.mine", b"1")
    if os.geteuid() == 0:
        os.setxattr(os.path.join(world.root, b"file"), b"trusted.theirs", b"1")
    assert stat_of(world, "file").xattrs == pack_xattrs({b"mine": b"1"})
    drive(world.disk.set_xattrs(path("file"), b"", pack_xattrs({b"mine": b"1"})))
    left = set(os.listxattr(os.path.join(world.root, b"file")))
    assert "user.satchel.own" in left and "user.mine" not in left
    assert os.geteuid() != 0 or "trusted.theirs" in left
