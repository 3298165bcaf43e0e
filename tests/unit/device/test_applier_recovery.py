"""The applier after a stop: staging is emptied without losing a byte, and late writers are noticed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

import pytest

from satchel.core.entries import Kind
from satchel.core.errors import Fault, StorageFailed, StorageFull
from satchel.core.hashing import block_hash, content_hash
from satchel.device.applier import Applier
from satchel.device.drive import drive
from satchel.device.ports import DiskPath
from satchel.device.tasks import (
    Applied,
    DiskResult,
    Failed,
    PlaceFile,
    PlaceFolder,
    PlaceSymlink,
    SetAttrs,
)
from satchel.simulation.fake_disk import GAP, DeadGeneration, FakeDisk
from satchel.simulation.fake_user import FakeUser
from satchel.simulation.fake_volume import CrashMode
from tests.support.disk_scenarios import (
    MTIME_NS,
    NEW,
    OTHER,
    SCENARIOS,
    SYNCED,
    UNSYNCED,
    Scenario,
    apply,
    is_known,
    new_file,
    recover,
    stat_of,
    unit,
)
from tests.support.disk_worlds import World, make_world
from tests.support.still_clock import StillClock

EDIT = b"what the user wrote in the moment between"
by_name = pytest.mark.parametrize("scenario", SCENARIOS, ids=[one.name for one in SCENARIOS])


@pytest.fixture(params=("fake", "memory"))
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made: list[str] = []

    def folder(where: str) -> bytes:
        made.append(tempfile.mkdtemp(prefix="satchel-", dir="/dev/shm"))
        return made[-1].encode()

    yield make_world(request.param, folder)
    for one in made:
        shutil.rmtree(one)


# -- a power cut at each call -----------------------------------------------------------------------------------------


class _PowerCut(BaseException):
    pass


def cut_off(scenario: Scenario, at: int, mode: CrashMode, seed: int) -> bool:
    """Cut the power before call `at`, start again, recover. Result: False when there was no such call."""
    calls = 0

    def before_call(name: str, args: tuple[object, ...]) -> Fault | None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise _PowerCut
        return None

    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    scenario.setup(user)
    required = user.everything()
    task = scenario.build(disk)
    disk.before_call = before_call
    result: DiskResult | None = None
    try:
        (result,) = apply(disk, task)
    except _PowerCut:
        pass
    left = disk.crash(mode, seed)
    left.before_call = None
    recover(left)
    # What recovery said must outlast the next power cut.
    left = left.crash()
    assert recover(left) == [], "recovery left something undecided"
    survivor = FakeUser(left)
    assert required <= survivor.everything(), "a byte is lost"
    assert drive(left.list_staged()) == []
    tree = survivor.tree()
    if UNSYNCED in required:
        assert UNSYNCED in tree.values(), "an unsynced file is hidden"
    if result is not None:
        assert isinstance(result, Applied)
        assert tree == scenario.done, "what was reported is not durable"
    return calls >= at


@by_name
def test_a_power_cut_at_any_call_loses_and_hides_nothing(scenario: Scenario) -> None:
    modes: list[tuple[CrashMode, int]] = [("strict", 0), *(("reordered", seed) for seed in range(6))]
    for mode, seed in modes:
        at = 1
        while cut_off(scenario, at, mode, seed):
            at += 1
        assert at > 2


@by_name
def test_a_kill_at_any_call_returns_to_before_or_after(scenario: Scenario) -> None:
    """A kill of the process, where the kernel goes on: nothing of the user's moved but by the task itself."""
    at = 1
    while killed(scenario, at):
        at += 1


def killed(scenario: Scenario, at: int) -> bool:
    calls = 0

    def before_call(name: str, args: tuple[object, ...]) -> Fault | None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise _PowerCut
        return None

    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    scenario.setup(user)
    before = user.tree()
    task = scenario.build(disk)
    disk.before_call = before_call
    try:
        apply(disk, task)
    except _PowerCut:
        pass
    left = disk.restart()
    left.before_call = None
    recover(left)
    tree = FakeUser(left).tree()
    if isinstance(task, PlaceFile | PlaceFolder | PlaceSymlink | SetAttrs) and b"copy" not in scenario.name.encode():
        extra = {path for path in tree if path not in before and path not in scenario.done}
        assert all(b"recovered" in path for path in extra)
    assert drive(left.list_staged()) == []
    return calls >= at


def test_a_dead_generation_answers_nothing() -> None:
    disk = FakeDisk(StillClock())
    disk.crash()
    with pytest.raises(DeadGeneration):
        drive(disk.list_staged())


# -- recovery and late writers ----------------------------------------------------------------------------------------


def test_recovery_throws_away_downloads_only(world: World) -> None:
    for name in ("", "x-0011.letter.txt"):
        file = drive(world.disk.stage())
        drive(file.write(UNSYNCED + name.encode()))
        drive(file.finish(mtime_ns=MTIME_NS, is_executable=False))
        if name:
            drive(world.disk.rename_staged(file.name, name))
    found = recover(world.disk)
    assert found == [b"letter (recovered 2026-11-18).txt"]
    assert world.user.tree() == {b"letter (recovered 2026-11-18).txt": UNSYNCED + b"x-0011.letter.txt"}
    assert drive(world.disk.list_staged()) == []


def test_recovery_moves_known_bytes_to_the_trash(world: World) -> None:
    file = drive(world.disk.stage())
    drive(file.write(SYNCED))
    drive(file.finish(mtime_ns=MTIME_NS, is_executable=False))
    drive(world.disk.rename_staged(file.name, "x-0011.file"))
    assert recover(world.disk) == []
    assert world.user.tree() == {}
    assert world.user.everything() == {SYNCED}


def test_recovery_returns_what_was_set_aside_to_its_place(world: World) -> None:
    world.user.make_folder(b"folder")
    world.user.make_folder(b"folder/unit")
    world.user.write_file(b"folder/unit/file", UNSYNCED)
    before = world.user.tree()
    drive(world.disk.set_aside(DiskPath(b"folder/unit"), "t-0011.unit"))
    assert recover(world.disk) == [b"folder/unit"]
    assert world.user.tree() == before


def test_recovery_puts_what_lost_its_place_beside_it_or_in_the_root(world: World) -> None:
    world.user.make_folder(b"gone")
    world.user.write_file(b"gone/a", UNSYNCED)
    world.user.write_file(b"b", SYNCED)
    drive(world.disk.set_aside(DiskPath(b"gone/a"), "t-1.a"))
    drive(world.disk.set_aside(DiskPath(b"b"), "t-2.b"))
    world.user.delete(b"gone")
    world.user.write_file(b"b", OTHER)
    assert recover(world.disk) == [b"a (recovered 2026-11-18)", b"b (recovered 2026-11-18)"]
    assert world.user.tree() == {
        b"a (recovered 2026-11-18)": UNSYNCED,
        b"b": OTHER,
        b"b (recovered 2026-11-18)": SYNCED,
    }


def test_a_late_writer_is_noticed_and_its_bytes_come_back(world: World) -> None:
    world.user.write_file(b"file", SYNCED)
    writer = world.user.open_late(b"file")
    expected = stat_of(world.disk, b"file")
    (result,) = apply(world.disk, new_file(b"file", expected))
    assert isinstance(result, Applied)
    applier = Applier(world.disk, StillClock())
    assert not drive(applier.changed_since_trashed(result.trashed, expected))
    assert drive(applier.hash_trashed(result.trashed)) == content_hash([block_hash(SYNCED)])
    writer.write(UNSYNCED)
    writer.close()
    assert drive(applier.changed_since_trashed(result.trashed, expected))
    path, stat = drive(applier.rescue(result.trashed, DiskPath(b"file")))
    assert stat == stat_of(world.disk, path)
    assert world.user.tree() == {b"file": NEW, b"file (conflicted copy 2026-11-18)": UNSYNCED}


def test_what_a_late_writer_adds_to_a_trashed_folder_comes_back() -> None:
    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    user.make_folder(b"unit")
    user.write_file(b"unit/known", SYNCED)
    task = unit(disk, b"unit", b"known")
    (result,) = apply(disk, task)
    assert isinstance(result, Applied)
    added = disk.volume.inode(Kind.FILE)
    added.data += UNSYNCED
    disk.volume.do((disk.volume.trash.entries[result.trashed.encode()], b"added", added))
    applier = Applier(disk, StillClock())
    assert drive(applier.look_again(task, result.trashed)) == (b"unit/added",)
    assert user.tree() == {b"unit": None, b"unit/added": UNSYNCED}
    assert drive(applier.look_again(task, result.trashed)) == ()


def test_what_a_user_writes_into_a_file_just_placed_outlives_a_power_cut() -> None:
    disk = FakeDisk(StillClock())
    file = drive(disk.stage())
    drive(file.write(NEW))
    drive(file.finish(mtime_ns=1, is_executable=False))
    drive(disk.place_staged(file.name, DiskPath(b"file")))
    FakeUser(disk).write_file(b"file", UNSYNCED)
    assert FakeUser(disk.crash("strict")).tree() == {b"file": UNSYNCED}, "what is written out can be reached"


def test_a_machine_that_dies_at_a_call_does_nothing_more_in_the_simulation() -> None:
    """What a `finally` calls must not take time either: the machine would die after it was started again."""

    async def no_pause() -> None:
        raise AssertionError("a dead machine waits for nothing")

    disk = FakeDisk(StillClock(), pause=no_pause)
    disk.die()
    with pytest.raises(DeadGeneration):
        drive(disk.stage())


def test_what_a_failed_task_could_not_take_back_comes_out_of_staging_without_a_start() -> None:
    """Seed 31392: the exchange that was to bring the user's edit back failed, and the edit stayed out of sight."""
    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    user.write_file(b"file", SYNCED)
    task = new_file(b"file", stat_of(disk, b"file"))
    download = drive(disk.stage())
    exchanges = 0

    def before_call(name: str, args: tuple[object, ...]) -> Fault | None:
        nonlocal exchanges
        if name == "exchange_staged" + GAP:
            user.write_file(b"file", UNSYNCED)
        exchanges += name == "exchange_staged"
        return StorageFailed("no", where=name) if name == "exchange_staged" and exchanges == 2 else None

    disk.before_call = before_call
    (result,) = apply(disk, task)
    disk.before_call = None
    assert isinstance(result, Failed) and user.tree() == {b"file": NEW}
    settled = drive(Applier(disk, StillClock()).settle_staging(is_known))
    assert settled.fault is None and user.tree() == {b"file": NEW, settled.paths[0]: UNSYNCED}
    assert [one.name.decode() for one in drive(disk.list_staged())] == [download.name], "others still wait for it"


def test_the_disk_full_fails_one_task_and_harms_nothing() -> None:
    disk = FakeDisk(StillClock(), capacity_bytes=len(SYNCED) + len(NEW) - 1)
    user = FakeUser(disk)
    user.write_file(b"file", SYNCED)
    (full,) = apply(disk, new_file(b"file", stat_of(disk, b"file")))
    assert isinstance(full, Failed) and isinstance(full.fault, StorageFull)
    assert user.tree() == {b"file": SYNCED}
    assert drive(disk.list_staged()) == []


@pytest.mark.parametrize("name", ["replace", "trash file", "trash unit"])
def test_what_the_trash_refuses_goes_back_at_once(name: str) -> None:
    (scenario,) = [one for one in SCENARIOS if one.name == name]
    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    scenario.setup(user)
    before = user.tree()
    task = scenario.build(disk)
    disk.before_call = lambda call, args: StorageFailed("no", where="trash") if call == "trash_staged" else None
    (result,) = apply(disk, task)
    disk.before_call = None
    assert isinstance(result, Failed)
    assert user.tree() == before
    assert drive(disk.list_staged()) == []
