"""The service went back in time, and has no more what a device leaves out: it comes back from that device's trash.

The laptop is the only device, so what is neither on its disk nor on the service is lost but for the trash; a second one
comes later, and shows what the service has.
"""

from __future__ import annotations

import pytest

from satchel.device.engine import excluding
from satchel.device.reporting import excluded_items
from satchel.device.tasks import Hinted
from satchel.simulation.fake_user import FakeUser
from satchel.simulation.world import SimDevice
from tests.support.scripted_world import World, held

Tree = dict[bytes, bytes | None]

OLD: Tree = {b"films": None, b"films/old": b"old", b"films/deep": None, b"films/deep/older": b"older", b"note": b"note"}
NEW: Tree = {b"films/new": b"new", b"films/deep/newer": b"newer"}
SMALL: Tree = {b"note": b"note"}


@pytest.fixture
def world() -> World:
    """Two devices; the desktop is switched off, and stays so until `everything` is asked for."""
    made = World(5, 2)
    fill(made.devices[0].user, OLD)
    made.settle()
    made.kill(2, "crash")
    made.history.take("service", 0)
    return made


def fill(user: FakeUser, tree: Tree) -> None:
    for path, data in tree.items():
        if data is None:
            user.make_folder(path)
        else:
            user.write_file(path, data)


def look(world: World, seconds: float = 60.0) -> None:
    """The laptop alone looks at everything, and comes to rest."""
    laptop = world.devices[0]
    laptop.hint_all()
    world.scheduler.run_for(seconds)
    assert held(laptop) == {}


def leave_out(world: World, path: str) -> None:
    laptop = world.devices[0]
    excluding.exclude(laptop.engine.state, [path])
    laptop.put(Hinted(()))


def go_back(world: World, *, is_told: bool) -> None:
    """The backup is put back. A raw copy is put back under a daemon that runs on."""
    laptop = world.devices[0]
    if is_told:
        world.kill(laptop.number, "crash")
    world.history.put_back("service", 0, is_told=is_told)
    if is_told:
        laptop.start()


def states(device: SimDevice) -> dict[str, str]:
    return {item.path: item.state for item in excluded_items(device.engine)}


def everything(world: World) -> Tree:
    """Return what the service has, by the desktop, which learned nothing since the backup."""
    world.devices[1].start()
    world.settle()
    return world.devices[1].user.tree()


told = pytest.mark.parametrize("is_told", [True, False], ids=["restored-by-command", "raw-copy-put-back"])


@told
def test_a_folder_that_is_left_out_gives_the_service_what_it_lost_and_leaves_again(world: World, is_told: bool) -> None:
    laptop = world.devices[0]
    fill(laptop.user, NEW)
    look(world)
    leave_out(world, "films")
    look(world)
    assert laptop.user.tree() == SMALL
    go_back(world, is_told=is_told)
    look(world)
    assert everything(world) == OLD | NEW
    assert laptop.user.tree() == SMALL
    assert states(laptop) == {"films": "out"}


@told
@pytest.mark.parametrize("call", ["set_aside", "trash_staged", "sync_trash", "sync_folder"])
def test_what_was_being_taken_when_the_device_stopped_is_found_in_the_trash(
    world: World, call: str, is_told: bool
) -> None:
    """Seed 4237: the stop came before anybody was told under which name it lies there."""
    laptop = world.devices[0]
    fill(laptop.user, NEW)
    look(world)

    def stop(name: str, args: tuple[object, ...]) -> None:
        if name == call and laptop.is_running:
            world.kill(laptop.number, "crash")

    leave_out(world, "films")
    laptop.disk.before_call = stop
    world.scheduler.run_for(20.0)
    laptop.disk.before_call = None
    assert not laptop.is_running
    world.history.put_back("service", 0, is_told=is_told)
    laptop.start()
    look(world)
    assert everything(world) == OLD | NEW
    assert laptop.user.tree() == SMALL
    assert states(laptop) == {"films": "out"}


@told
def test_what_the_service_lost_altogether_is_back_on_the_disk(world: World, is_told: bool) -> None:
    laptop = world.devices[0]
    fill(laptop.user, {b"music": None, b"music/song": b"song"})
    look(world)
    leave_out(world, "music")
    look(world)
    go_back(world, is_told=is_told)
    look(world)
    whole = OLD | {b"music": None, b"music/song": b"song"}
    assert laptop.user.tree() == whole
    assert everything(world) == whole
    assert states(laptop) == {}


@told
def test_an_older_state_of_a_file_on_the_service_stands_beside_the_newer_one(world: World, is_told: bool) -> None:
    laptop = world.devices[0]
    laptop.user.write_file(b"films/old", b"edited")
    look(world)
    leave_out(world, "films")
    look(world)
    go_back(world, is_told=is_told)
    look(world)
    tree = everything(world)
    assert {data for path, data in tree.items() if path.startswith(b"films/old")} == {b"old", b"edited"}
    assert laptop.user.tree() == SMALL


@told
def test_what_was_left_out_inside_comes_back_into_its_folder(world: World, is_told: bool) -> None:
    laptop = world.devices[0]
    fill(laptop.user, NEW)
    look(world)
    leave_out(world, "films/deep")
    look(world)
    leave_out(world, "films")
    look(world)
    go_back(world, is_told=is_told)
    look(world)
    assert everything(world) == OLD | NEW
    assert laptop.user.tree() == SMALL


def test_what_stands_at_its_place_stays_and_its_folders_are_joined(world: World) -> None:
    laptop = world.devices[0]
    fill(laptop.user, {b".satchelignore": b"*.tmp\n", b"films/deep/cut.tmp": b"ignored"} | NEW)
    look(world)
    leave_out(world, "films")
    look(world)
    kept = {b"films": None, b"films/deep": None, b"films/deep/cut.tmp": b"ignored"}
    assert laptop.user.tree() == SMALL | kept | {b".satchelignore": b"*.tmp\n"}
    go_back(world, is_told=True)
    look(world)
    assert everything(world) == OLD | NEW | {b".satchelignore": b"*.tmp\n"}
    assert laptop.user.tree() == SMALL | kept | {b".satchelignore": b"*.tmp\n"}


def test_what_was_brought_back_by_a_person_before_does_not_come_from_the_trash_again(world: World) -> None:
    laptop = world.devices[0]
    fill(laptop.user, NEW)
    look(world)
    leave_out(world, "films")
    look(world)
    excluding.include(laptop.engine.state, ["films"])
    laptop.put(Hinted(()))
    look(world)
    laptop.user.delete(b"films/new")
    look(world)
    go_back(world, is_told=True)
    look(world)
    assert everything(world) == {path: data for path, data in (OLD | NEW).items() if path != b"films/new"}


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0])
def test_put_back_at_any_moment_while_it_leaves_nothing_is_lost(world: World, after_s: float) -> None:
    laptop = world.devices[0]
    fill(laptop.user, NEW)
    look(world)
    leave_out(world, "films")
    laptop.hint_all()
    world.scheduler.run_for(after_s)
    go_back(world, is_told=False)
    look(world)
    assert everything(world) == OLD | NEW
    assert laptop.user.tree() == SMALL


@pytest.mark.parametrize("call", ["restore_trashed", "stat_trashed", "sync_folder", "list_trashed"])
@pytest.mark.parametrize("is_power_cut", [False, True], ids=["killed", "power-cut"])
def test_stopped_while_it_comes_back_it_goes_on(world: World, call: str, is_power_cut: bool) -> None:
    """Killed at each call of that kind in turn, until it comes back without one more."""
    laptop = world.devices[0]
    fill(laptop.user, {b".satchelignore": b"*.tmp\n", b"films/deep/cut.tmp": b"ignored"} | NEW)
    look(world)
    leave_out(world, "films")
    look(world)
    go_back(world, is_told=True)
    kills = 0

    def stop(name: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if name == call and laptop.is_running:
            left -= 1
            if left < 0:
                world.kill(laptop.number, "power_cut" if is_power_cut else "crash")

    for number in range(4):
        left = number
        laptop.disk.before_call = stop
        laptop.hint_all()
        world.scheduler.run_for(60.0)
        laptop.disk.before_call = None
        if laptop.is_running:
            break
        kills += 1
        laptop.start()
    assert kills
    look(world)
    assert everything(world) == OLD | NEW | {b".satchelignore": b"*.tmp\n"}
