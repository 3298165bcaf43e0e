"""The applier, undisturbed and disturbed at each call that it makes: by a user, by a fault of the disk, by a power cut.

The enumeration is over a fake disk, the only one that can be stopped between two calls; the undisturbed runs are over
real disks too.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from satchel.core.entries import Kind
from satchel.core.errors import Fault, FileUnreadable, StorageFailed, StorageFull
from satchel.device.drive import drive
from satchel.device.ports import DiskPath
from satchel.device.tasks import (
    Applied,
    Changed,
    Failed,
    MovePaths,
    PlaceFile,
    PlaceFolder,
    PlaceSymlink,
    SetAttrs,
    TrashUnit,
)
from satchel.simulation.fake_disk import GAP, FakeDisk
from satchel.simulation.fake_user import FakeUser
from tests.support.disk_scenarios import (
    MTIME_NS,
    NEW,
    NID,
    SCENARIOS,
    SYNCED,
    UNSYNCED,
    Scenario,
    apply,
    downloaded,
    move,
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


# -- undisturbed ------------------------------------------------------------------------------------------------------


@by_name
def test_an_undisturbed_task_does_what_it_says(world: World, scenario: Scenario) -> None:
    scenario.setup(world.user)
    before = world.user.everything()
    (result,) = apply(world.disk, scenario.build(world.disk))
    assert isinstance(result, Applied)
    assert world.user.tree() == scenario.done
    assert before <= world.user.everything()
    assert drive(world.disk.list_staged()) == []


@by_name
def test_the_stats_reported_are_those_on_disk(world: World, scenario: Scenario) -> None:
    scenario.setup(world.user)
    task = scenario.build(world.disk)
    (result,) = apply(world.disk, task)
    assert isinstance(result, Applied)
    match task:
        case MovePaths(moves):
            paths = [one.target for one in moves]
        case TrashUnit():
            paths = []
        case PlaceFile(path=path) | PlaceFolder(path=path) | PlaceSymlink(path=path) | SetAttrs(path=path):
            paths = [path]
    assert list(result.stats) == [stat_of(world.disk, one) for one in paths]


def test_a_placed_file_has_the_mtime_and_the_bit(world: World) -> None:
    (result,) = apply(world.disk, PlaceFile(NID, DiskPath(b"file"), "", NEW, MTIME_NS, True, None))
    assert isinstance(result, Applied)
    assert (result.stats[0].mtime_ns, result.stats[0].is_executable) == (MTIME_NS, True)


def test_a_kept_copy_is_reported_and_takes_the_next_free_name(world: World) -> None:
    world.user.write_file(b"a.txt", UNSYNCED)
    world.user.write_file(b"a (copy).txt", b"taken")
    before = stat_of(world.disk, b"a.txt")
    (result,) = apply(world.disk, new_file(b"a.txt", before, b"a (copy).txt"))
    assert isinstance(result, Applied)
    assert result.kept_name == b"a (copy 1).txt"
    assert result.kept is not None and result.kept.same_file(before)
    assert world.user.tree() == {b"a (copy 1).txt": UNSYNCED, b"a (copy).txt": b"taken", b"a.txt": NEW}


def test_a_replaced_file_is_in_the_trash_under_the_reported_name(world: World) -> None:
    world.user.write_file(b"file", SYNCED)
    (result,) = apply(world.disk, new_file(b"file", stat_of(world.disk, b"file")))
    assert isinstance(result, Applied)
    file = drive(world.disk.open_trashed(result.trashed))
    assert drive(file.read(0, 100)) == SYNCED
    drive(file.close())


def test_one_failing_task_does_not_stop_the_others(world: World) -> None:
    results = apply(
        world.disk,
        new_file(b"gone/file"),
        PlaceFolder(NID, DiskPath(b"folder")),
        new_file(b".satchel/file"),
        new_file(b"folder/file"),
    )
    assert [type(one) for one in results] == [Changed, Applied, Failed, Applied]
    assert world.user.tree() == {b"folder": None, b"folder/file": NEW}


def test_a_junk_file_does_not_bring_a_deleted_folder_back(world: World) -> None:
    world.user.make_folder(b"unit")
    world.user.write_file(b"unit/.DS_Store", b"where the icons were")
    (result,) = apply(world.disk, unit(world.disk, b"unit"))
    assert isinstance(result, Applied) and result.put_back == ()
    assert world.user.tree() == {}


def test_an_unexpected_folder_goes_back_with_all_that_is_in_it(world: World) -> None:
    world.user.make_folder(b"unit")
    world.user.make_folder(b"unit/new")
    world.user.write_file(b"unit/new/file", UNSYNCED)
    (result,) = apply(world.disk, unit(world.disk, b"unit"))
    assert isinstance(result, Applied)
    assert result.put_back == (b"unit", b"unit/new")
    assert world.user.tree() == {b"unit": None, b"unit/new": None, b"unit/new/file": UNSYNCED}


def test_a_rename_that_differs_in_nothing_the_disk_sees_is_no_loss(world: World) -> None:
    world.user.write_file(b"a", UNSYNCED)
    (result,) = apply(world.disk, MovePaths((move(world.disk, b"a", b"a"),)))
    assert world.user.tree() == {b"a": UNSYNCED}
    assert isinstance(result, Applied | Changed)


@pytest.mark.parametrize("name", [b"n" * 255, b"\xff\xfe \xe9", ("é" * 127).encode() + b"x"])
def test_long_and_undecodable_names_are_replaced_kept_and_trashed(world: World, name: bytes) -> None:
    world.user.write_file(name, UNSYNCED)
    (kept,) = apply(world.disk, new_file(name, stat_of(world.disk, name), name))
    assert isinstance(kept, Applied) and len(kept.kept_name) <= 255
    assert world.user.tree() == {name: NEW, kept.kept_name: UNSYNCED}
    (trashed,) = apply(world.disk, TrashUnit(NID, DiskPath(name), {b"": stat_of(world.disk, name)}))
    assert isinstance(trashed, Applied)
    assert world.user.tree() == {kept.kept_name: UNSYNCED}


# -- not as planned ---------------------------------------------------------------------------------------------------


@by_name
def test_nothing_changes_when_the_file_is_another_than_planned(world: World, scenario: Scenario) -> None:
    scenario.setup(world.user)
    task = scenario.build(world.disk)
    victim = scenario.paths[0]
    there = drive(world.disk.stat(DiskPath(victim)))
    if there is None or there.kind == Kind.FOLDER:
        world.user.write_file(victim + b"+", EDIT)
    elif there.kind == Kind.FILE:
        world.user.save_file(victim, EDIT)
    else:
        world.user.delete(victim)
        world.user.make_symlink(victim, b"the user's own target")
    before = world.user.tree()
    (result,) = apply(world.disk, task)
    if isinstance(result, Changed):
        assert world.user.tree() == before
    else:
        assert EDIT in world.user.tree().values()


def test_a_stat_that_the_scanner_was_not_sure_of_equals_nothing(world: World) -> None:
    world.user.write_file(b"file", UNSYNCED)
    unsure = replace(stat_of(world.disk, b"file"), ctime_ns=0)
    results = apply(world.disk, new_file(b"file", unsure), TrashUnit(NID, DiskPath(b"file"), {b"": unsure}))
    assert [type(one) for one in results] == [Changed, Changed]
    assert world.user.tree() == {b"file": UNSYNCED}


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_file_goes_for_an_equal_one_only_while_that_one_is_as_planned(world: World, *, is_changed: bool) -> None:
    world.user.write_file(b"first", UNSYNCED)
    world.user.write_file(b"second", UNSYNCED)
    twin = DiskPath(b"second"), stat_of(world.disk, b"second")
    task = TrashUnit(NID, DiskPath(b"first"), {b"": stat_of(world.disk, b"first")}, twin=twin)
    if is_changed:
        world.user.save_file(b"second", EDIT)
    before = world.user.tree()
    (result,) = apply(world.disk, task)
    if is_changed:
        assert isinstance(result, Changed) and set(result.paths) == {b"first", b"second"}
        assert world.user.tree() == before
    else:
        assert isinstance(result, Applied)
        assert world.user.tree() == {b"second": UNSYNCED}


def test_a_download_that_is_not_wanted_any_more_leaves_staging(world: World) -> None:
    world.user.write_file(b"file", UNSYNCED)
    stale = replace(stat_of(world.disk, b"file"), size=1)
    tasks = (downloaded(world.disk, b"file", None), downloaded(world.disk, b"file", stale))
    results = apply(world.disk, *tasks)
    assert [type(one) for one in results] == [Changed, Changed]
    assert world.user.tree() == {b"file": UNSYNCED}
    assert drive(world.disk.list_staged()) == []


def test_a_download_that_is_gone_fails_its_task_alone(world: World) -> None:
    missing = PlaceFile(NID, DiskPath(b"file"), "d-gone", None, MTIME_NS, False, None)
    results = apply(world.disk, missing, new_file(b"other"))
    assert [type(one) for one in results] == [Failed, Applied]


# -- a user between two calls -----------------------------------------------------------------------------------------


def edit_in_place(user: FakeUser, path: bytes) -> None:
    user.write_file(path, EDIT)


def save_over(user: FakeUser, path: bytes) -> None:
    user.save_file(path, EDIT)


def move_away(user: FakeUser, path: bytes) -> None:
    user.rename(path, b"moved away by the user")


def move_away_and_make_anew(user: FakeUser, path: bytes) -> None:
    user.rename(path, b"moved away by the user")
    user.write_file(path, EDIT)


def add_inside(user: FakeUser, path: bytes) -> None:
    user.write_file(path + b"/added", EDIT)


def replace_by_symlink(user: FakeUser, path: bytes) -> None:
    user.rename(path, b"moved away by the user")
    user.make_symlink(path, b"/etc")


DISTURBANCES: tuple[Callable[[FakeUser, bytes], None], ...] = (
    edit_in_place,
    save_over,
    move_away,
    move_away_and_make_anew,
    add_inside,
    replace_by_symlink,
)


def disturbed(scenario: Scenario, disturb: Callable[[FakeUser, bytes], None], path: bytes, at: int) -> bool:
    """Run the scenario; the user acts before the call number `at`. Result: False when there was no such call."""
    calls = 0
    acted = False
    overwritten: set[bytes] = set()

    def before_call(name: str, args: tuple[object, ...]) -> Fault | None:
        nonlocal calls, acted
        calls += 1
        if calls == at:
            before = user.tree()
            try:
                disturb(user, path)
            except (Fault, KeyError, OSError):
                # What the user wanted to touch is not there at this moment.
                return None
            acted = True
            overwritten.update({data for data in [before.get(path)] if data is not None})
        return None

    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    scenario.setup(user)
    required = user.everything()
    task = scenario.build(disk)
    disk.before_call = before_call
    (result,) = apply(disk, task)
    disk.before_call = None
    if not acted:
        return calls >= at
    required -= overwritten if disturb in (edit_in_place, save_over) else set()
    assert required <= user.everything(), "a byte is lost"
    tree = user.tree()
    if disturb not in (move_away, replace_by_symlink):
        assert EDIT in tree.values(), "an edit is hidden"
    if UNSYNCED in required:
        assert UNSYNCED in tree.values(), "an unsynced file is hidden"
    if isinstance(result, Applied) and isinstance(task, PlaceFile) and tree.get(task.path) != NEW:
        seen = drive(disk.stat(task.path))
        assert seen != result.stats[0], "the user's edit would be taken for the service's version"
    assert drive(disk.list_staged()) == [], "something stays in staging"
    return True


@by_name
@pytest.mark.parametrize("disturb", DISTURBANCES, ids=lambda one: one.__name__)
def test_whatever_a_user_does_between_two_calls_nothing_is_lost_or_hidden(
    scenario: Scenario, disturb: Callable[[FakeUser, bytes], None]
) -> None:
    for path in scenario.paths:
        at = 1
        while disturbed(scenario, disturb, path, at):
            at += 1
        assert at > 2, "the enumeration reached no call"


def act_before(disk: FakeDisk, call: str, act: Callable[[], None]) -> None:
    """Let the user act once, just before the next call of that name."""
    is_over = False

    def before_call(name: str, args: tuple[object, ...]) -> Fault | None:
        nonlocal is_over
        if name == call and not is_over:
            is_over = True
            act()
        return None

    disk.before_call = before_call


def saved_twice(scenario: Scenario, path: bytes, first: int, second: int) -> bool:
    """Run the scenario; the user saves before both calls, by rename. Result: False when there was no second call."""
    calls = 0
    edits = [b"first " + EDIT, b"second " + EDIT]
    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    scenario.setup(user)
    required = user.everything()
    visible: set[bytes] = set()
    task = scenario.build(disk)

    def before_call(name: str, args: tuple[object, ...]) -> Fault | None:
        nonlocal calls
        calls += 1
        if calls in (first, second):
            replaced = user.tree().get(path)
            edit = edits.pop(0)
            user.save_file(path, edit)
            # What a user overwrites by himself is his own loss.
            if replaced is not None:
                required.discard(replaced)
                visible.discard(replaced)
            visible.add(edit)
        return None

    disk.before_call = before_call
    apply(disk, task)
    disk.before_call = None
    assert required <= user.everything(), "a byte is lost"
    assert visible <= set(user.tree().values()), "an edit is hidden"
    assert drive(disk.list_staged()) == []
    return calls >= second


@pytest.mark.parametrize("name", ["new file", "replace", "replace and keep", "move", "swap", "cycle", "trash file"])
def test_two_saves_at_any_two_moments_are_both_kept(name: str) -> None:
    scenario = next(one for one in SCENARIOS if one.name == name)
    reached = 0
    for first in range(1, 12):
        second = first + 1
        while saved_twice(scenario, scenario.paths[0], first, second):
            second += 1
            reached += 1
    assert reached > 3, "the enumeration reached no second call"


def kept_time(scenario: Scenario, path: bytes, at: int) -> bool:
    """Run the scenario; before call `at` the user writes to a file and sets its time back. Result: whether he could.

    What is reported must be nothing that stat says of it now: else the next look takes the write for what was synced.
    """
    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    scenario.setup(user)
    task = scenario.build(disk)
    calls = 0
    is_done = False

    def before_call(name: str, args: tuple[object, ...]) -> Fault | None:
        nonlocal calls, is_done
        calls += 1
        if calls != at or user.tree().get(path) is None or user.is_symlink(path) or name.endswith(GAP):
            # Nothing tells of what comes into the gap; that is why it is no longer than two calls of the kernel.
            return None
        inode = user.inode_at(path)
        mtime_ns = inode.mtime_ns
        user.write_inode(inode, EDIT[: len(inode.data)])
        inode.mtime_ns = mtime_ns
        is_done = True
        return None

    disk.before_call = before_call
    (result,) = apply(disk, task)
    disk.before_call = None
    if is_done and isinstance(result, Applied) and not isinstance(task, TrashUnit):
        moves = task.moves if isinstance(task, MovePaths) else ()
        places = [one.target for one in moves] if isinstance(task, MovePaths) else [task.path]
        for place, stat in zip(places, result.stats, strict=True):
            data = user.tree()[place]
            is_his = data is not None and EDIT.startswith(data)
            assert not is_his or stat != stat_of(disk, place), (scenario.name, path, at)
    return calls >= at


@by_name
def test_a_write_that_keeps_the_time_is_never_taken_for_what_was_synced(scenario: Scenario) -> None:
    reached = 0
    for path in (*scenario.paths, *scenario.done):
        at = 1
        while kept_time(scenario, path, at):
            at += 1
            reached += 1
    assert reached > 2, "the enumeration reached no call"


def test_an_edit_that_cannot_go_back_is_kept_beside_it() -> None:
    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    user.write_file(b"file", SYNCED)
    task = new_file(b"file", stat_of(disk, b"file"))
    edits = [UNSYNCED, EDIT]

    def before_call(name: str, args: tuple[object, ...]) -> Fault | None:
        if name.startswith("exchange_staged") and edits and (name.endswith(GAP) or len(edits) == 1):
            user.save_file(b"file", edits.pop(0))
        return None

    disk.before_call = before_call
    (result,) = apply(disk, task)
    disk.before_call = None
    assert isinstance(result, Changed)
    assert user.tree() == {b"file": UNSYNCED, b"file (conflicted copy 2026-11-18)": EDIT}
    assert set(result.paths) == set(user.tree())


@pytest.mark.parametrize(
    "scenario", [one for one in SCENARIOS if one.name in ("move", "swap", "cycle")], ids=lambda one: one.name
)
def test_what_moved_and_was_not_meant_goes_back(scenario: Scenario) -> None:
    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    scenario.setup(user)
    task = scenario.build(disk)
    before = user.tree()
    act_before(disk, ("move" if scenario.name == "move" else "exchange") + GAP, lambda: user.save_file(b"c", EDIT))
    (result,) = apply(disk, task)
    assert isinstance(result, Changed)
    assert user.tree() == {**before, b"c": EDIT}


def test_the_newest_save_keeps_the_name_and_the_unseen_one_stands_beside_it() -> None:
    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    user.write_file(b"file", SYNCED)
    task = new_file(b"file", stat_of(disk, b"file"))
    seen = [""]

    def before_call(name: str, args: tuple[object, ...]) -> Fault | None:
        if name == "exchange_staged" + GAP and name not in seen:
            user.save_file(b"file", UNSYNCED)
        elif seen[-1] == "exchange_staged" + GAP and seen.count(seen[-1]) == 1:
            user.save_file(b"file", EDIT)
        seen.append(name)
        return None

    disk.before_call = before_call
    (result,) = apply(disk, task)
    disk.before_call = None
    assert isinstance(result, Changed)
    assert user.tree() == {b"file": EDIT, b"file (conflicted copy 2026-11-18)": UNSYNCED}


def test_a_chain_that_breaks_is_taken_back_in_reverse() -> None:
    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    scenario = next(one for one in SCENARIOS if one.name == "chain")
    scenario.setup(user)
    task = scenario.build(disk)
    before = user.tree()

    def before_call(name: str, args: tuple[object, ...]) -> Fault | None:
        if name == "move" and args == (b"folder/a", b"b"):
            user.rename(b"folder/a", b"folder/elsewhere")
        return None

    disk.before_call = before_call
    (result,) = apply(disk, task)
    assert isinstance(result, Changed)
    del before[b"folder/a"]
    assert user.tree() == {**before, b"folder/elsewhere": SYNCED}


# -- a fault at each call ---------------------------------------------------------------------------------------------


def faulted(scenario: Scenario, fault: Fault, at: int, *, is_sticky: bool) -> bool:
    """Run the scenario with a fault at call `at` (and from then on). Result: False when there was no such call."""
    calls = 0

    def before_call(name: str, args: tuple[object, ...]) -> Fault | None:
        nonlocal calls
        calls += 1
        return fault if calls == at or (is_sticky and calls > at) else None

    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    scenario.setup(user)
    required = user.everything()
    task = scenario.build(disk)
    disk.before_call = before_call
    try:
        (result,) = apply(disk, task)
        assert isinstance(result, Applied | Changed | Failed)
    except Fault:
        # Even tidying up was refused: the next start does it.
        pass
    disk.before_call = None
    assert required <= user.everything(), "a byte is lost"
    recover(disk)
    assert required <= user.everything(), "a byte is lost by the recovery"
    assert drive(disk.list_staged()) == []
    if UNSYNCED in required:
        assert UNSYNCED in user.tree().values(), "an unsynced file is hidden"
    return calls >= at


@by_name
@pytest.mark.parametrize("is_sticky", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fault", [StorageFull(), StorageFailed(), FileUnreadable()], ids=lambda one: one.code)
def test_a_fault_at_any_call_loses_and_hides_nothing(scenario: Scenario, fault: Fault, is_sticky: bool) -> None:
    at = 1
    while faulted(scenario, fault, at, is_sticky=is_sticky):
        at += 1
    assert at > 2


def test_a_result_does_not_count_when_its_folder_could_not_be_synced() -> None:
    disk = FakeDisk(StillClock())
    disk.before_call = lambda name, args: StorageFailed() if name == "sync_folder" else None
    results = apply(disk, new_file(b"one"), new_file(b".satchel/two"), new_file(b"three"))
    assert [type(one) for one in results] == [Failed, Failed, Failed]


def test_each_touched_folder_is_synced_once_in_a_batch() -> None:
    disk = FakeDisk(StillClock())
    synced: list[object] = []

    def before_call(name: str, args: tuple[object, ...]) -> Fault | None:
        if name == "sync_folder":
            synced.append(args[0])
        return None

    disk.before_call = before_call
    apply(disk, PlaceFolder(NID, DiskPath(b"a")), *(new_file(b"a/%d" % number) for number in range(50)))
    assert synced == [b"", b"a"]
