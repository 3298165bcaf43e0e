"""What every disk does alike with what is set aside and with the local trash."""

from __future__ import annotations

import pytest

from satchel.core.errors import NameTaken, NotFound
from satchel.device.drive import drive
from tests.support.disk_calls import path, staged, stat_of
from tests.support.disk_worlds import World


def make_unit(world: World) -> None:
    world.user.make_folder(b"unit")
    world.user.make_folder(b"unit/sub")
    world.user.write_file(b"unit/sub/file", b"deep")
    world.user.write_file(b"unit/top", b"high")


def test_what_is_set_aside_keeps_its_origin_and_can_be_looked_into(world: World) -> None:
    make_unit(world)
    before = stat_of(world, "unit")
    aside = drive(world.disk.set_aside(path("unit"), "t-1.unit"))
    assert (aside.inode, aside.birth_ns) == (before.inode, before.birth_ns)
    assert world.user.tree() == {}
    assert [one.name for one in drive(world.disk.list_staged())] == [b"t-1.unit"]
    assert drive(world.disk.origin_of_staged("t-1.unit")) == b"unit"
    assert [one.name for one in drive(world.disk.list_staged("t-1.unit"))] == [b"sub", b"top"]
    assert [one.name for one in drive(world.disk.list_staged("t-1.unit", b"sub"))] == [b"file"]
    drive(world.disk.restore_staged("t-1.unit", path("file"), b"sub/file"))
    drive(world.disk.restore_staged("t-1.unit", path("again")))
    assert world.user.tree() == {b"again": None, b"again/sub": None, b"again/top": b"high", b"file": b"deep"}
    assert drive(world.disk.origin_of_staged("t-1.unit")) is None
    assert drive(world.disk.list_staged()) == []


def test_setting_aside_what_is_gone_leaves_no_note(world: World) -> None:
    with pytest.raises(NotFound):
        drive(world.disk.set_aside(path("gone"), "t-1.gone"))
    assert drive(world.disk.origin_of_staged("t-1.gone")) is None
    assert drive(world.disk.list_staged()) == []


def test_restoring_from_staging_replaces_nothing(world: World) -> None:
    world.user.write_file(b"a", b"1")
    world.user.write_file(b"b", b"2")
    drive(world.disk.set_aside(path("a"), "m-1.a"))
    with pytest.raises(NameTaken):
        drive(world.disk.restore_staged("m-1.a", path("b")))
    with pytest.raises(NotFound):
        drive(world.disk.restore_staged("m-1.a", path("gone/a")))
    assert drive(world.disk.restore_staged("m-1.a", path("a"))) == stat_of(world, "a")
    assert world.user.tree() == {b"a": b"1", b"b": b"2"}


def test_a_trashed_unit_can_be_read_listed_and_restored_in_parts(world: World) -> None:
    make_unit(world)
    top = stat_of(world, "unit/top")
    name = drive(world.disk.trash(path("unit")))
    drive(world.disk.sync_trash())
    assert world.user.tree() == {}
    assert [one.name for one in drive(world.disk.list_trashed(name))] == [b"sub", b"top"]
    assert [one.name for one in drive(world.disk.list_trashed(name, b"sub"))] == [b"file"]
    assert drive(world.disk.stat_trashed(name, b"top")) == top
    assert drive(world.disk.stat_trashed(name, b"gone")) is None
    assert drive(world.disk.stat_trashed("1-gone")) is None
    file = drive(world.disk.open_trashed(name + "/sub/file"))
    assert drive(file.read(0, 10)) == b"deep"
    drive(file.close())
    drive(world.disk.restore_trashed(name, b"sub/file", path("back")))
    with pytest.raises(NameTaken):
        drive(world.disk.restore_trashed(name, b"top", path("back")))
    with pytest.raises(NotFound):
        drive(world.disk.list_trashed("1-gone"))
    assert world.user.tree() == {b"back": b"deep"}


def test_a_swapped_out_file_goes_to_the_trash_and_can_be_opened_there(world: World) -> None:
    world.user.write_file(b"file", b"old")
    name, _ = staged(world, b"new")
    drive(world.disk.rename_staged(name, "x-1.file"))
    out, _ = drive(world.disk.exchange_staged("x-1.file", path("file")))
    trashed = drive(world.disk.trash_staged("x-1.file"))
    found = drive(world.disk.stat_trashed(trashed))
    assert found is not None and found.same_file(out)
    file = drive(world.disk.open_trashed(trashed))
    assert drive(file.read(0, 10)) == b"old"
    drive(file.close())
    assert drive(world.disk.list_staged()) == []


def test_the_trash_is_purged_by_age_and_by_nothing_else(world: World) -> None:
    make_unit(world)
    world.user.write_file(b"file", b"data")
    world.user.make_folder(b"outside")
    world.user.write_file(b"outside/kept", b"kept")
    world.user.make_symlink(b"unit/out", b"../../../outside")
    unit = drive(world.disk.trash(path("unit")))
    file = drive(world.disk.trash(path("file")))
    born = int(unit.partition("-")[0])
    assert drive(world.disk.purge_trash(born)) == 0
    assert drive(world.disk.purge_trash(born + 1)) == 1
    assert drive(world.disk.stat_trashed(unit)) is None
    assert drive(world.disk.stat_trashed(file)) is not None
    assert world.user.tree() == {b"outside": None, b"outside/kept": b"kept"}
