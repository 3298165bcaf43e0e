"""Extended attributes (hard case I5), played through by devices that sync them and one that does not.

The real engine and the real service core in one process, in virtual time; the fake disk holds packed attributes.
"""

from __future__ import annotations

import pytest

from satchel.core.messages import PROTOCOL_VERSION
from satchel.core.xattrs import TOO_LARGE, pack_xattrs
from satchel.device.ports import DiskPath, Stat
from satchel.device.reporting import _xattr_notes
from satchel.simulation.world import SimDevice
from tests.support.scripted_world import World, held

RED, BLUE = pack_xattrs({b"colour": b"red"}), pack_xattrs({b"colour": b"blue", b"size": b"1"})


@pytest.fixture
def world() -> World:
    """Devices 0 and 1 sync extended attributes, device 2 does not."""
    made = World(7, 3, marking=0b011)
    made.settle()
    return made


def begin(world: World) -> tuple[SimDevice, SimDevice, SimDevice]:
    """All three have a file and a folder."""
    one, two, plain = world.devices
    one.user.write_file(b"file", b"data")
    one.user.make_folder(b"folder")
    world.settle()
    return one, two, plain


def seen(device: SimDevice, *paths: bytes) -> list[bytes]:
    return [device.user.xattrs(path) for path in paths]


@pytest.mark.parametrize("path", [b"file", b"folder"])
def test_i5_attributes_set_changed_and_taken_away_arrive(world: World, path: bytes) -> None:
    one, two, plain = begin(world)
    for value in (RED, BLUE, b""):
        one.user.set_xattrs(path, value)
        world.settle()
        assert (seen(two, path), seen(plain, path)) == ([value], [b""])
        assert world.tree() == {b"file": b"data", b"folder": None}


def test_i5_a_new_file_arrives_with_its_attributes(world: World) -> None:
    one, two, _ = begin(world)
    one.user.write_file(b"folder/new", b"more")
    one.user.set_xattrs(b"folder/new", RED)
    one.user.make_folder(b"other")
    one.user.set_xattrs(b"other", BLUE)
    world.settle()
    assert seen(two, b"folder/new", b"other") == [RED, BLUE]


def test_i5_an_edit_keeps_them_and_so_does_one_where_they_are_not_synced(world: World) -> None:
    one, two, plain = begin(world)
    one.user.set_xattrs(b"file", RED)
    world.settle()
    two.user.write_file(b"file", b"edited")
    world.settle()
    assert seen(one, b"file") == seen(two, b"file") == [RED]
    plain.user.save_file(b"file", b"edited where they are not known")
    plain.user.set_executable(b"file", True)
    world.settle()
    assert seen(one, b"file") == seen(two, b"file") == [RED]
    assert one.user.is_executable(b"file")


def test_i5_what_the_service_says_changes_nothing_where_they_are_not_synced(world: World) -> None:
    one, _, plain = begin(world)
    plain.user.set_xattrs(b"file", BLUE)
    one.user.set_xattrs(b"file", RED)
    world.settle()
    assert seen(plain, b"file") == [BLUE]
    assert seen(one, b"file") == [RED]


def test_i5_one_changes_the_bit_and_one_the_attributes(world: World) -> None:
    one, two, _ = begin(world)
    world.is_down = True
    one.user.set_xattrs(b"file", RED)
    two.user.set_executable(b"file", True)
    world.look(5.0)
    world.is_down = False
    world.settle()
    assert seen(one, b"file") == seen(two, b"file") == [RED]
    assert one.user.is_executable(b"file") and two.user.is_executable(b"file")


def test_i5_one_edits_and_one_changes_the_attributes(world: World) -> None:
    one, two, _ = begin(world)
    world.is_down = True
    one.user.set_xattrs(b"file", RED)
    two.user.write_file(b"file", b"edited")
    world.look(5.0)
    world.is_down = False
    world.settle()
    assert seen(one, b"file") == seen(two, b"file") == [RED]
    assert world.tree() == {b"file": b"edited", b"folder": None}


def test_i5_changed_on_both_they_end_as_the_service_has_them(world: World) -> None:
    one, two, _ = begin(world)
    world.is_down = True
    one.user.set_xattrs(b"file", RED)
    two.user.set_xattrs(b"file", BLUE)
    world.look(5.0)
    world.is_down = False
    world.settle()
    assert seen(one, b"file") == seen(two, b"file")
    assert seen(one, b"file")[0] in (RED, BLUE)
    assert world.tree() == {b"file": b"data", b"folder": None}


def test_i5_a_deleted_file_comes_back_with_them_when_it_is_edited_elsewhere(world: World) -> None:
    one, two, _ = begin(world)
    one.user.set_xattrs(b"file", RED)
    world.settle()
    world.is_down = True
    one.user.delete(b"file")
    two.user.write_file(b"file", b"edited")
    world.look(5.0)
    world.is_down = False
    world.settle()
    assert seen(one, b"file") == seen(two, b"file") == [RED]


def test_i5_past_the_limits_they_stay_here_and_the_content_is_synced(world: World) -> None:
    one, two, _ = begin(world)
    one.user.set_xattrs(b"file", RED)
    world.settle()
    one.user.set_xattrs(b"file", TOO_LARGE)
    one.user.write_file(b"file", b"edited")
    world.settle()
    assert world.tree() == {b"file": b"edited", b"folder": None}
    assert (seen(one, b"file"), seen(two, b"file")) == ([TOO_LARGE], [RED])
    assert held(one) == {}
    assert [line.partition(":")[0] for line in _xattr_notes(one.engine)] == ["file"]
    two.user.set_xattrs(b"file", BLUE)
    world.settle()
    assert seen(one, b"file") == [TOO_LARGE], "what is too much is not thrown away"
    one.user.set_xattrs(b"file", RED)
    world.settle()
    assert seen(two, b"file") == [RED]
    assert list(_xattr_notes(one.engine)) == []


def test_i5_a_disk_that_holds_none_takes_none_away(world: World) -> None:
    one, two, _ = begin(world)
    two.disk.holds_xattrs = False
    one.user.set_xattrs(b"file", RED)
    one.user.set_xattrs(b"folder", RED)
    one.user.write_file(b"new", b"new")
    one.user.set_xattrs(b"new", BLUE)
    world.settle()
    two.user.write_file(b"file", b"edited")
    two.user.save_file(b"new", b"edited too")
    two.user.set_executable(b"new", True)
    two.user.rename(b"folder", b"moved")
    world.settle()
    assert seen(one, b"file", b"moved", b"new") == [RED, RED, BLUE]
    assert seen(two, b"file", b"moved", b"new") == [b"", b"", b""]


def test_i5_a_disk_that_does_not_take_so_many_says_so_and_takes_none_away(world: World) -> None:
    one, two, _ = begin(world)
    two.disk.xattrs_bytes_max = 0
    one.user.write_file(b"new", b"new")
    one.user.set_xattrs(b"new", RED)
    one.user.set_xattrs(b"file", RED)
    world.settle()
    two.user.write_file(b"file", b"edited")
    two.user.set_executable(b"new", True)
    world.settle()
    assert seen(one, b"file", b"new") == [RED, RED]
    assert held(two) == {}
    assert len(list(_xattr_notes(two.engine))) == 2
    two.disk.xattrs_bytes_max = 10_000
    one.user.set_xattrs(b"file", BLUE)
    one.user.set_xattrs(b"new", BLUE)
    world.settle()
    assert seen(two, b"file", b"new") == [BLUE, BLUE]
    assert list(_xattr_notes(two.engine)) == []
    two.user.set_xattrs(b"file", b"")
    world.settle()
    assert seen(one, b"file") == [b""]


def test_i5_an_older_service_keeps_the_content_and_the_attributes_wait(world: World) -> None:
    one, two, _ = begin(world)
    world.roll("service", 0, PROTOCOL_VERSION - 1)
    world.look(30.0)
    one.user.set_xattrs(b"file", RED)
    one.user.write_file(b"new", b"new")
    one.user.set_xattrs(b"new", BLUE)
    world.look(60.0)
    assert two.user.tree() == {b"file": b"data", b"folder": None, b"new": b"new"}
    assert held(one) == {"/file": "xattrs_unsupported", "/new": "xattrs_unsupported"}
    assert seen(two, b"file", b"new") == [b"", b""]
    world.roll("service", 0, PROTOCOL_VERSION)
    world.settle()
    assert seen(two, b"file", b"new") == [RED, BLUE]


def test_i5_a_crash_at_any_moment_ends_the_same(world: World) -> None:
    one, two, _ = begin(world)
    one.user.set_xattrs(b"file", RED)
    one.user.set_xattrs(b"folder", BLUE)
    for number, steps in enumerate(range(1, 40, 3)):
        one.user.set_xattrs(b"file", pack_xattrs({b"n": b"%d" % number}))
        one.hint_all()
        world.scheduler.run_for(steps / 1_000)
        for device in (one, two):
            world.kill(device.number, "crash")
            device.start()
    world.settle()
    assert seen(two, b"file", b"folder") == [pack_xattrs({b"n": b"12"}), BLUE]


def test_i5_taken_away_as_soon_as_they_were_set_they_stay_away(world: World) -> None:
    one, two, _ = begin(world)
    original = two.disk.set_xattrs

    async def meddled(path: DiskPath, xattrs: bytes, expected: bytes) -> Stat:
        await original(path, xattrs, expected)
        two.user.set_xattrs(path, b"")
        found = await two.disk.stat(path)
        assert found is not None
        return found

    two.disk.set_xattrs = meddled  # type: ignore[method-assign]
    one.user.make_folder(b"new")
    one.user.set_xattrs(b"new", RED)
    world.settle()
    assert seen(one, b"new") == seen(two, b"new") == [b""]
