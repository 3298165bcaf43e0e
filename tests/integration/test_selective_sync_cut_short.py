"""Selective sync, stopped, failing and taken back at every point of its way."""

from __future__ import annotations

import pytest

from satchel.core.errors import Fault, StorageFailed
from tests.support.left_out_world import LEFT, TREE, deletions, exclude, filled, include, only_left, states
from tests.support.scripted_world import SimDevice, World


@pytest.fixture
def world() -> World:
    return filled()


@pytest.mark.parametrize("is_power_cut", [False, True], ids=["killed", "power-cut"])
@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5])
def test_stopped_anywhere_on_the_way_out_it_goes_on(world: World, after_s: float, is_power_cut: bool) -> None:
    laptop = world.devices[0]
    laptop.user.write_file(b"big/new", b"new")
    laptop.hint_all()
    exclude(laptop, "big")
    world.scheduler.run_for(after_s)
    world.kill(laptop.number, "power_cut" if is_power_cut else "crash")
    world.scheduler.run_for(5.0)
    laptop.start()
    world.settle()
    only_left(world, LEFT, TREE | {b"big/new": b"new"})


@pytest.mark.parametrize("is_power_cut", [False, True], ids=["killed", "power-cut"])
@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.02, 0.1, 0.25, 0.5, 1.0])
def test_stopped_anywhere_on_the_way_back_it_goes_on(world: World, after_s: float, is_power_cut: bool) -> None:
    laptop = world.devices[0]
    exclude(laptop, "big")
    world.settle()
    include(laptop, "big")
    world.scheduler.run_for(after_s)
    world.kill(laptop.number, "power_cut" if is_power_cut else "crash")
    laptop.start()
    world.settle()
    only_left(world, TREE, TREE)


def test_every_call_to_the_disk_on_the_way_out_may_be_the_last(world: World) -> None:
    """Killed before each call of the applier that takes the unit away: it goes on, or all is as it was."""
    laptop = world.devices[0]
    count = 0
    while _is_stopped_at(world, laptop, count, "big", is_power_cut=bool(count % 2)):
        laptop.start()
        world.settle()
        only_left(world, LEFT, TREE)
        include(laptop, "big")
        world.settle()
        only_left(world, TREE, TREE)
        count += 1
    assert count > 1


def test_taken_back_right_after_a_start_that_finds_it_taken_it_comes_back(world: World) -> None:
    """Killed before each call that takes it away; the word is taken back before the next start has looked (seed 7)."""
    laptop = world.devices[0]
    count = 0
    while _is_stopped_at(world, laptop, count, "big", is_power_cut=bool(count % 2)):
        laptop.start()
        include(laptop, "big")
        world.settle()
        only_left(world, TREE, TREE)
        assert states(laptop) == {}
        count += 1
    assert count > 1


@pytest.mark.parametrize("calls", [None, 0, 1, 2, 3], ids=["running", *(f"killed-{calls}-later" for calls in range(4))])
@pytest.mark.parametrize("call", ["set_aside", "list_staged", "trash_staged", "sync_trash", "sync_folder"])
def test_taken_back_while_it_is_being_taken_it_comes_back(world: World, call: str, calls: int | None) -> None:
    """calls: so many calls of the disk after the word the daemon is killed."""
    laptop = world.devices[0]
    left: int | None = None

    def say(name: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if left is None and name == call:
            include(laptop, "big")
            left = -1 if calls is None else calls
        elif left is not None and left >= 0 and laptop.is_running:
            left -= 1
            if left < 0:
                world.kill(laptop.number, "crash")

    exclude(laptop, "big")
    laptop.disk.before_call = say
    world.look(10.0)
    laptop.disk.before_call = None
    assert left == -1 and laptop.is_running == (calls is None)
    if calls is not None:
        laptop.start()
    world.settle()
    only_left(world, TREE, TREE)
    assert states(laptop) == {}


def _is_stopped_at(world: World, device: SimDevice, number: int, path: str, *, is_power_cut: bool) -> bool:
    """Exclude, and kill the device before the call of that number. Result: whether there was one."""
    left = number

    def stop(name: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if name in ("set_aside", "trash_staged", "sync_folder", "list_staged"):
            left -= 1
            if left < 0 and device.is_running:
                world.kill(device.number, "power_cut" if is_power_cut else "crash")

    device.disk.before_call = stop
    exclude(device, path)
    world.look(10.0)
    device.disk.before_call = None
    return not device.is_running


def test_a_file_made_at_the_name_of_one_that_was_just_taken_is_another(world: World) -> None:
    """The daemon dies between taking the file and noting it; a program makes the name anew before the next start."""
    laptop, desktop = world.devices
    assert _is_stopped_at(world, laptop, 1, "kept/c", is_power_cut=False)
    assert b"kept/c" not in laptop.user.tree()
    laptop.user.write_file(b"kept/c", b"made anew")
    laptop.start()
    world.settle()
    assert desktop.user.tree()[b"kept/c"] == b"kept/c"
    # The start found the taken file in staging and its name taken: nothing that it cannot be sure of is left there.
    beside = {
        b"kept/c (selective sync conflict)": b"made anew",
        b"kept/c (recovered 2027-01-15)": b"kept/c",
    }
    only_left(world, {path: data for path, data in TREE.items() if path != b"kept/c"} | beside, TREE | beside)


@pytest.mark.parametrize("call", ["sync_trash", "sync_folder"])
def test_a_file_made_at_the_name_of_one_that_may_have_been_taken_is_another(world: World, call: str) -> None:
    """The disk fails when the taking is to be made durable: it may be gone or not, and a program uses the name anew."""
    laptop, desktop = world.devices
    is_failed = False

    def fail(name: str, args: tuple[object, ...]) -> Fault | None:
        nonlocal is_failed
        if name != call or is_failed or b"kept/c" in laptop.user.tree():
            return None
        is_failed = True
        laptop.user.write_file(b"kept/c", b"made anew")
        return StorageFailed("simulated", where=name)

    laptop.disk.before_call = fail
    exclude(laptop, "kept/c")
    world.settle()
    laptop.disk.before_call = None
    assert is_failed
    assert desktop.user.tree()[b"kept/c"] == b"kept/c"
    beside: dict[bytes, bytes | None] = {b"kept/c (selective sync conflict)": b"made anew"}
    only_left(world, {path: data for path, data in TREE.items() if path != b"kept/c"} | beside, TREE | beside)


def test_what_is_moved_to_where_this_disk_has_no_folder_leaves_too(world: World) -> None:
    laptop, desktop = world.devices
    laptop.engine.state.is_paused = True
    desktop.user.make_folder(b"huge")
    desktop.user.make_folder(b"huge/deep")
    desktop.user.rename(b"kept", b"huge/deep/kept")
    world.look(20.0)
    exclude(laptop, "huge")
    laptop.engine.state.is_paused = False
    world.settle()
    assert states(laptop) == {"huge": "out"}
    assert laptop.user.tree() == {path: data for path, data in TREE.items() if not path.startswith(b"kept")}
    include(laptop, "huge")
    world.settle()
    assert world.tree()[b"huge/deep/kept/c"] == b"kept/c"
    assert deletions(world) == []
