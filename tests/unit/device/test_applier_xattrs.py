"""How the applier sets extended attributes (hard case I5), on the real disk and the fake one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from satchel.core.ids import Nid
from satchel.core.xattrs import TOO_LARGE, UNHELD, pack_xattrs
from satchel.device.ports import DiskPath
from satchel.device.tasks import Applied, Changed, DiskResult, DiskTask, PlaceFile, PlaceFolder, SetAttrs
from satchel.simulation.fake_disk import FakeDisk
from satchel.simulation.fake_user import FakeUser
from tests.support.disk_scenarios import apply, stat_of
from tests.support.disk_worlds import World, make_world
from tests.support.still_clock import StillClock

FILE, FOLDER = DiskPath(b"file"), DiskPath(b"folder")
RED, BLUE = pack_xattrs({b"colour": b"red"}), pack_xattrs({b"colour": b"blue"})


@pytest.fixture(params=["fake", "disk"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = make_world(request.param, lambda where: os.fsencode(tmp_path), has_xattrs=True)
    made.user.write_file(FILE, b"data")
    made.user.make_folder(FOLDER)
    yield made


def one(world: World, task: DiskTask) -> DiskResult:
    (result,) = apply(world.disk, task)
    return result


@pytest.mark.parametrize("path", [FILE, FOLDER])
def test_i5_attributes_are_set_and_the_stat_is_that_on_disk(world: World, path: DiskPath) -> None:
    result = one(world, SetAttrs(Nid(1), path, False, stat_of(world.disk, path), RED))
    assert result == Applied((stat_of(world.disk, path),))
    assert stat_of(world.disk, path).xattrs == RED


def test_i5_bit_and_attributes_are_set_together(world: World) -> None:
    result = one(world, SetAttrs(Nid(1), FILE, True, stat_of(world.disk, FILE), RED))
    assert result == Applied((stat_of(world.disk, FILE),))
    assert (stat_of(world.disk, FILE).xattrs, stat_of(world.disk, FILE).is_executable) == (RED, True)


@pytest.mark.parametrize("path", [FILE, FOLDER])
def test_i5_others_than_planned_on_are_left_as_they_are(world: World, path: DiskPath) -> None:
    planned = stat_of(world.disk, path)
    world.user.set_xattrs(path, BLUE)
    assert isinstance(one(world, SetAttrs(Nid(1), path, False, planned, RED)), Changed)
    assert stat_of(world.disk, path).xattrs == BLUE


def test_i5_of_a_folder_that_is_another_nothing_is_set(world: World) -> None:
    planned = stat_of(world.disk, FOLDER)
    world.user.rename(FOLDER, b"gone")
    world.user.make_folder(FOLDER)
    assert isinstance(one(world, SetAttrs(Nid(1), FOLDER, False, planned, RED)), Changed)
    assert stat_of(world.disk, FOLDER).xattrs == b""


def test_i5_without_a_word_on_them_they_stay(world: World) -> None:
    world.user.set_xattrs(FILE, RED)
    assert isinstance(one(world, SetAttrs(Nid(1), FILE, True, stat_of(world.disk, FILE))), Applied)
    assert stat_of(world.disk, FILE).xattrs == RED


def test_i5_what_is_placed_has_them(world: World) -> None:
    new, folder = DiskPath(b"new"), DiskPath(b"new folder")
    placed = one(world, PlaceFile(Nid(1), new, "", b"data", 5, False, None, xattrs=RED))
    made = one(world, PlaceFolder(Nid(2), folder, BLUE))
    assert (placed, made) == (Applied((stat_of(world.disk, new),)), Applied((stat_of(world.disk, folder),)))
    assert (stat_of(world.disk, new).xattrs, stat_of(world.disk, folder).xattrs) == (RED, BLUE)


def test_i5_a_replaced_file_takes_those_of_the_new_one(world: World) -> None:
    world.user.set_xattrs(FILE, RED)
    before = stat_of(world.disk, FILE)
    assert isinstance(one(world, PlaceFile(Nid(1), FILE, "", b"new", 5, False, before, xattrs=BLUE)), Applied)
    assert stat_of(world.disk, FILE).xattrs == BLUE


def test_i5_too_many_are_not_thrown_away(world: World) -> None:
    if isinstance(world.disk, FakeDisk):
        world.user.set_xattrs(FILE, TOO_LARGE)
    else:
        os.setxattr(os.path.join(world.root, FILE), b"user.long", bytes(2_000))
    expected = replace(stat_of(world.disk, FILE), xattrs=b"")
    result = one(world, SetAttrs(Nid(1), FILE, True, expected, RED))
    assert isinstance(result, Applied) and result.stats[0].xattrs == TOO_LARGE
    assert stat_of(world.disk, FILE).is_executable


def test_i5_what_the_disk_does_not_take_is_told() -> None:
    disk = FakeDisk(StillClock(), has_xattrs=True)
    FakeUser(disk).write_file(FILE, b"data")
    disk.xattrs_bytes_max = 0
    for task in (
        SetAttrs(Nid(1), FILE, False, stat_of(disk, FILE), RED),
        PlaceFile(Nid(2), DiskPath(b"new"), "", b"data", 5, False, None, xattrs=RED),
        PlaceFolder(Nid(3), DiskPath(b"new folder"), RED),
    ):
        (result,) = apply(disk, task)
        assert isinstance(result, Applied) and result.stats[0].xattrs == UNHELD


def test_i5_a_real_disk_with_no_room_for_them_is_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world("disk", lambda where: os.fsencode(tmp_path), has_xattrs=True)
    world.user.write_file(FILE, b"data")
    before = stat_of(world.disk, FILE)

    def refuse(*_: object) -> None:
        # As ext4 answers past one block of them.
        raise OSError(errno.ENOSPC, "no space for it")

    monkeypatch.setattr(os, "setxattr", refuse)
    for task in (
        SetAttrs(Nid(1), FILE, False, before, RED),
        PlaceFile(Nid(1), FILE, "", b"new", 5, False, before, xattrs=RED),
        PlaceFolder(Nid(2), FOLDER, RED),
    ):
        result = one(world, task)
        assert isinstance(result, Applied) and result.stats[0].xattrs == UNHELD
    assert world.user.tree() == {FILE: b"new", FOLDER: None}
