"""The service or a device went back in time: nothing is deleted or overwritten, newer work is back, no needless copy.

The real engine and the real service core in one process, in virtual time. What went back went back whole: the database
and the blocks of the service, or the disk and the index of a device.
"""

from __future__ import annotations

import pytest

from satchel.simulation.world import SimDevice
from tests.support.scripted_world import World

NEWER = b"work of the last hour"
EARLY: dict[bytes, bytes | None] = {
    b"papers": None,
    b"papers/draft": b"draft",
    b"papers/letter": b"letter",
    b"notes": b"notes",
    b"big": bytes(range(256)) * 1_200,
}


@pytest.fixture
def world() -> World:
    made = World(3, 3)
    made.settle_with(EARLY)
    return made


def work(world: World) -> dict[bytes, bytes | None]:
    """An hour of work on all three devices. Result: the tree that all have then."""
    first, second, third = (device.user for device in world.devices)
    first.write_file(b"notes", NEWER)
    second.make_folder(b"new")
    second.write_file(b"new/idea", b"an idea")
    third.rename(b"papers/letter", b"new/letter" if b"new" in third.tree() else b"papers/sent")
    third.write_file(b"huge", bytes(reversed(range(256))) * 1_300)
    world.settle()
    tree = world.tree()
    assert tree[b"notes"] == NEWER
    return tree


def contents(tree: dict[bytes, bytes | None]) -> set[bytes]:
    return {data for data in tree.values() if data is not None}


# -- the service ------------------------------------------------------------------------------------------------------


def restore(world: World, *, is_told: bool) -> None:
    """Bring the backup back. is_told: as the restore command does, which gives the store another epoch."""
    for device in world.devices:
        if device.is_running:
            world.kill(device.number, "crash")
    world.history.put_back("service", 0, is_told=is_told)
    for device in world.devices:
        device.start()


@pytest.mark.parametrize("is_told", [True, False], ids=["restored-by-command", "raw-copy-put-back"])
def test_a_service_restored_to_an_hour_ago_gets_the_newer_work_of_three_devices_back(
    world: World, is_told: bool
) -> None:
    world.history.take("service", 0)
    newest = work(world)
    restore(world, is_told=is_told)
    world.settle()
    tree = world.tree()
    assert contents(newest) <= contents(tree)
    assert {b"new", b"new/idea", b"huge", b"papers/draft"} <= set(tree), "what only the devices had stands where it was"
    again = [data for data in tree.values() if data is not None]
    assert len(again) == len(set(again)), "no content is there twice"
    # What the service shows keeps its name, as in any merge without a common past; the newer one stands beside it.
    assert tree[b"notes"] == b"notes" and len([path for path in tree if b"conflicted copy" in path]) == 1


def test_devices_that_come_one_by_one_to_a_restored_service_lose_nothing_of_each_other(world: World) -> None:
    world.history.take("service", 0)
    newest = work(world)
    restore(world, is_told=True)
    first, *others = world.devices
    for device in others:
        world.kill(device.number, "crash")
    for device in (first, *others):
        if not device.is_running:
            device.start()
        device.user.write_file(b"papers/of %d" % device.number, b"made after the restore %d" % device.number)
        device.hint_all()
        world.scheduler.run_for(60.0)
    world.settle()
    tree = world.tree()
    assert contents(newest) | {b"made after the restore %d" % number for number in (1, 2, 3)} <= contents(tree)
    again = [data for data in tree.values() if data is not None]
    assert len(again) == len(set(again)), "no content is there twice"


# -- a device ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("starts", [0, 2], ids=["in-its-first-run-since", "some-starts-later"])
def test_a_device_restored_from_an_old_image_deletes_and_overwrites_nothing(world: World, starts: int) -> None:
    first, _, third = world.devices
    image = third.image()
    work(world)
    third.user.write_file(b"papers/own", b"made here after the image")
    third.user.write_file(b"papers/draft", b"edited here after the image")
    world.settle()
    for _ in range(starts):
        world.kill(third.number, "crash")
        third.start()
        world.settle()
    newest = first.user.tree()
    third.put_back(image)
    world.settle()
    assert world.tree() == newest


def test_what_was_not_yet_sent_when_the_image_was_taken_is_sent_from_it(world: World) -> None:
    third = world.devices[2]
    world.is_down = True
    third.user.write_file(b"unsent", b"unsent")
    third.user.write_file(b"notes", b"edited in the image")
    third.hint_all()
    world.scheduler.run_for(5.0)
    image = third.image()
    world.is_down = False
    work_of_others = world.devices[0].user
    work_of_others.write_file(b"notes", NEWER)
    world.settle()
    third.put_back(image)
    world.settle()
    tree = world.tree()
    assert {b"unsent", b"edited in the image", NEWER} <= contents(tree)
    assert len([data for data in tree.values() if data == b"edited in the image"]) == 1


@pytest.mark.parametrize("starts", [0, 3], ids=["in-its-first-run-since", "some-starts-later"])
def test_a_device_put_back_twice_still_deletes_nothing(world: World, starts: int) -> None:
    third = world.devices[2]
    image = third.image()
    for number in range(2):
        third.user.write_file(b"papers/made %d" % number, b"made %d" % number)
        world.settle()
        for _ in range(starts):
            world.kill(third.number, "crash")
            third.start()
            world.settle()
        third.put_back(image)
        world.settle()
    assert {b"papers/made 0", b"papers/made 1"} <= set(world.tree())


# -- a device that is there twice -------------------------------------------------------------------------------------


def test_of_a_copied_device_one_halts_with_a_clear_line_and_nothing_is_lost(world: World) -> None:
    first, second, original = world.devices
    twin = world.clone(original)
    for number, device in enumerate((original, twin)):
        device.user.write_file(b"papers/made %d" % number, b"made %d" % number)
        device.user.write_file(b"notes", b"edit %d" % number)
        device.hint_all()
    world.scheduler.run_for(120.0)
    halted = [device for device in (original, twin) if device.engine.state.halted]
    assert len(halted) == 1, "one goes on"
    assert "Another computer" in halted[0].engine.state.halted and "satchel login" in halted[0].engine.state.halted
    written = {b"made 0", b"made 1", b"edit 0", b"edit 1"}
    for device in (original, twin):
        assert {b"made %d" % (device is twin), b"edit %d" % (device is twin)} <= contents(device.user.tree())
    world.devices.remove(halted[0])
    sign_in_anew(world, halted[0])
    world.settle()
    assert written <= contents(world.tree())
    assert first.user.tree() == second.user.tree()


def test_what_one_copy_makes_the_other_never_takes_for_deleted(world: World) -> None:
    original = world.devices[2]
    twin = world.clone(original)
    for device in (original, twin):
        device.user.write_file(b"papers/of %d" % device.number, b"of %d" % device.number)
        device.hint_all()
        world.scheduler.run_for(0.7)
    world.scheduler.run_for(200.0)
    assert {b"papers/of 3", b"papers/of 4"} <= set(world.devices[0].user.tree())


def sign_in_anew(world: World, device: SimDevice) -> None:
    """As `satchel login` does: the same index and folder, another device."""
    device.kill("crash")
    device.core = world.service.remote()
    device.start()
    world.devices.append(device)
