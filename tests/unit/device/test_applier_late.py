"""What a late writer changed in the trash comes back beside its place; what it left alone stays there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

import pytest

from satchel.core.entries import Kind
from satchel.core.errors import Fault, StorageFailed
from satchel.core.hashing import block_hash, content_hash
from satchel.device.applier import Applier
from satchel.device.drive import drive
from satchel.device.ports import DiskPath, Stat
from satchel.device.tasks import Applied, DiscardTask, Failed, LateItem, LateResult, LateSeen, LateTask, PurgeTask
from satchel.simulation.fake_disk import FakeDisk
from satchel.simulation.fake_user import FakeUser
from tests.support.disk_scenarios import MTIME_NS, NEW, SYNCED, UNSYNCED, apply, new_file, stat_of, unit
from tests.support.disk_worlds import World, make_world
from tests.support.still_clock import StillClock

SYNCED_HASH = content_hash([block_hash(SYNCED)])
COPY = b"file (conflicted copy 2026-11-18)"


@pytest.fixture(params=("fake", "memory"))
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made: list[str] = []

    def folder(where: str) -> bytes:
        made.append(tempfile.mkdtemp(prefix="satchel-", dir="/dev/shm"))
        return made[-1].encode()

    yield make_world(request.param, folder)
    for one in made:
        shutil.rmtree(one)


def replaced(world: World, path: bytes = b"file") -> LateItem:
    """Replace the file at `path`; the user's program still holds what it was."""
    expected = stat_of(world.disk, path)
    (result,) = apply(world.disk, new_file(path, expected))
    assert isinstance(result, Applied)
    return LateItem(result.trashed, DiskPath(path), {b"": expected}, b"", 0)


def looked(world: World, *items: LateItem) -> tuple[LateResult, ...]:
    return drive(Applier(world.disk, StillClock()).look_late(LateTask(items))).results


def test_what_nobody_touched_stays_in_the_trash(world: World) -> None:
    world.user.write_file(b"file", SYNCED)
    item = replaced(world)
    assert looked(world, item) == (LateSeen(),)
    assert world.user.tree() == {b"file": NEW} and SYNCED in world.user.everything()


def test_what_a_late_writer_changed_comes_back_as_a_copy(world: World) -> None:
    world.user.write_file(b"file", SYNCED)
    writer = world.user.open_late(b"file")
    item = replaced(world)
    writer.write(UNSYNCED)
    writer.close()
    assert looked(world, item) == (LateSeen((DiskPath(COPY),)),)
    assert world.user.tree() == {b"file": NEW, COPY: UNSYNCED}
    assert looked(world, item) == (LateSeen(is_gone=True),)


@pytest.mark.parametrize("is_link", [True, False], ids=["symlink", "file"])
def test_what_a_late_writer_changed_comes_back_also_when_its_folder_is_none_any_more(
    world: World, is_link: bool
) -> None:
    world.user.make_folder(b"d")
    world.user.write_file(b"d/file", SYNCED)
    writer = world.user.open_late(b"d/file")
    item = replaced(world, b"d/file")
    writer.write(UNSYNCED)
    writer.close()
    world.user.delete(b"d")
    if is_link:
        world.user.make_symlink(b"d", b"elsewhere")
    else:
        world.user.write_file(b"d", b"a file of this name")
    assert looked(world, item) == (LateSeen((DiskPath(COPY),)),)
    assert world.user.tree()[COPY] == UNSYNCED


def test_a_change_that_no_stat_tells_is_found_by_its_hash(world: World) -> None:
    world.user.write_file(b"file", SYNCED)
    writer = world.user.open_late(b"file")
    item = replaced(world)
    writer.write(UNSYNCED)
    writer.close()
    told = drive(world.disk.stat_trashed(item.trashed))
    assert isinstance(told, Stat)
    unseen = LateItem(item.trashed, item.path, {b"": told}, b"", 1)
    assert looked(world, unseen) == (LateSeen(),)
    last = LateItem(item.trashed, item.path, {b"": told}, SYNCED_HASH, 2)
    assert looked(world, last) == (LateSeen((DiskPath(COPY),)),)
    assert world.user.tree()[COPY] == UNSYNCED


def test_when_its_folder_is_gone_a_copy_comes_to_the_linked_folder_itself(world: World) -> None:
    world.user.make_folder(b"d")
    world.user.write_file(b"d/file", SYNCED)
    writer = world.user.open_late(b"d/file")
    item = replaced(world, b"d/file")
    writer.write(UNSYNCED)
    writer.close()
    world.user.delete(b"d")
    assert looked(world, item) == (LateSeen((DiskPath(COPY),)),)
    assert world.user.tree() == {COPY: UNSYNCED}


def test_what_a_late_writer_changed_in_a_trashed_folder_comes_back_to_its_place(world: World) -> None:
    world.user.make_folder(b"unit")
    world.user.write_file(b"unit/known", SYNCED)
    writer = world.user.open_late(b"unit/known")
    task = unit(world.disk, b"unit", b"known")
    (result,) = apply(world.disk, task)
    assert isinstance(result, Applied)
    item = LateItem(result.trashed, task.path, task.members, b"", 0)
    assert looked(world, item) == (LateSeen(),)
    writer.write(UNSYNCED)
    writer.close()
    assert looked(world, item) == (LateSeen((DiskPath(b"unit/known"),)),)
    assert world.user.tree() == {b"unit": None, b"unit/known": UNSYNCED}


def test_a_trash_emptied_by_hand_ends_the_looks(world: World) -> None:
    file = LateItem("1-gone", DiskPath(b"file"), {b"": Stat(Kind.FILE, 1, 2, 3, 4, 5, False)}, b"", 0)
    folder = LateItem("1-gone", DiskPath(b"d"), {b"": Stat(Kind.FOLDER, 0, 2, 3, 4, 5, False)}, b"", 0)
    assert looked(world, file, folder) == (LateSeen(is_gone=True), LateSeen(is_gone=True))


def test_a_look_that_fails_is_told_and_the_next_is_made() -> None:
    disk = FakeDisk(StillClock())
    world = World(disk, FakeUser(disk))
    items = []
    for name in (b"a", b"b"):
        world.user.write_file(name, SYNCED)
        writer = world.user.open_late(name)
        items.append(replaced(world, name))
        writer.write(UNSYNCED + name)
    fault = StorageFailed("the disk failed", where="disk")

    def refuse(name: str, args: tuple[object, ...]) -> Fault | None:
        return fault if name == "restore_trashed" and items[0].trashed in args else None

    disk.before_call = refuse
    first, second = looked(world, *items)
    assert first == Failed(fault)
    assert second == LateSeen((DiskPath(b"b (conflicted copy 2026-11-18)"),))
    assert {UNSYNCED + b"a", UNSYNCED + b"b"} <= world.user.everything()


def test_a_download_that_nobody_wants_is_deleted_and_no_fault_is_raised(world: World) -> None:
    file = drive(world.disk.stage())
    drive(file.write(NEW))
    drive(file.finish(mtime_ns=MTIME_NS, is_executable=False))
    drive(Applier(world.disk, StillClock()).discard(DiscardTask(("d-nothing", file.name))))
    assert drive(world.disk.list_staged()) == []


def test_the_trash_is_emptied_of_what_is_older_and_of_nothing_else(world: World) -> None:
    world.user.write_file(b"file", SYNCED)
    item = replaced(world)
    applier = Applier(world.disk, StillClock())
    assert drive(applier.purge(PurgeTask(1))).count == 0
    assert SYNCED in world.user.everything()
    done = drive(applier.purge(PurgeTask(1 << 62)))
    assert (done.count, done.fault) == (1, None)
    assert SYNCED not in world.user.everything()
    assert looked(world, item) == (LateSeen(is_gone=True),)


def test_a_purge_that_fails_is_told() -> None:
    disk = FakeDisk(StillClock(), before_call=lambda name, args: StorageFailed("failed", where=name))
    done = drive(Applier(disk, StillClock()).purge(PurgeTask(1)))
    assert isinstance(done.fault, StorageFailed)
