"""What a power cut took from a disk is deleted nowhere: it comes back from the service.

The real engine and the real service core in one process, in virtual time, on disks that forget what was not written
out. Programs that save a file seldom ask the kernel to write it out, so for some seconds it is only in memory.
"""

from __future__ import annotations

import pytest

from satchel.core.errors import FileUnreadable, StorageFailed
from satchel.simulation.fake_user import FakeUser
from satchel.simulation.world import SimDevice
from tests.support.scripted_world import World


@pytest.fixture
def world() -> World:
    made = World(5, 2)
    user = made.devices[0].user
    user.make_folder(b"papers")
    user.write_file(b"papers/letter", b"letter")
    user.write_file(b"notes", b"notes")
    made.settle()
    made.scheduler.run_for(200.0)
    return made


def hasty(device: SimDevice) -> FakeUser:
    """Return the user of a program that does not wait for the disk."""
    return FakeUser(device.disk, is_durable=False)


def cut_power(world: World, device: SimDevice) -> None:
    world.kill(device.number, "power_cut")
    device.start()
    world.settle()


def test_a_new_file_that_a_power_cut_took_comes_back(world: World) -> None:
    device = world.devices[0]
    hasty(device).write_file(b"new", b"work of a minute ago")
    world.settle()
    expected = world.tree()
    cut_power(world, device)
    assert world.tree() == expected and expected[b"new"] == b"work of a minute ago"


def test_a_new_folder_that_a_power_cut_took_comes_back_with_all_in_it(world: World) -> None:
    device = world.devices[0]
    user = hasty(device)
    user.make_folder(b"new")
    user.make_folder(b"new/inner")
    user.write_file(b"new/inner/file", b"deep")
    world.settle()
    expected = world.tree()
    cut_power(world, device)
    assert world.tree() == expected and expected[b"new/inner/file"] == b"deep"


def test_a_file_that_a_power_cut_left_empty_is_whole_again(world: World) -> None:
    device = world.devices[0]
    user = hasty(device)
    # Its name reaches the disk, its bytes do not: what many file systems leave of a fresh file.
    user.write_file(b"new", b"")
    device.disk.volume.sync(device.disk.volume.root)
    user.write_file(b"new", b"bytes that were only in memory")
    world.settle()
    expected = world.tree()
    cut_power(world, device)
    assert world.tree() == expected and expected[b"new"] == b"bytes that were only in memory"


@pytest.mark.parametrize("is_saved_as_editors_do", [False, True])
def test_an_edit_that_a_power_cut_took_back_is_not_undone_elsewhere(world: World, is_saved_as_editors_do: bool) -> None:
    device = world.devices[0]
    user = hasty(device)
    (user.save_file if is_saved_as_editors_do else user.write_file)(b"notes", b"newer notes")
    world.settle()
    cut_power(world, device)
    tree = world.tree()
    assert tree.pop(b"notes") == b"newer notes"
    (copy,) = tree.keys() - {b"papers", b"papers/letter"}
    assert b"conflicted copy" in copy and tree[copy] == b"notes"


def test_a_new_file_where_the_lost_one_stood_is_kept_beside_it(world: World) -> None:
    device = world.devices[0]
    hasty(device).write_file(b"new", b"lost here")
    world.settle()
    world.kill(device.number, "power_cut")
    device.user.write_file(b"new", b"made after the power cut")
    device.start()
    world.settle()
    assert {b"lost here", b"made after the power cut"} <= set(world.tree().values())


def test_what_is_written_on_to_a_file_that_survived_is_an_edit(world: World) -> None:
    device = world.devices[0]
    device.user.write_file(b"log", b"line")
    world.settle()
    world.kill(device.number, "power_cut")
    device.user.write_file(b"log", b"line, line")
    device.start()
    world.settle()
    assert world.tree() == {b"log": b"line, line", b"notes": b"notes", b"papers": None, b"papers/letter": b"letter"}


def test_what_others_deleted_meanwhile_does_not_come_back(world: World) -> None:
    first, second = world.devices
    hasty(first).write_file(b"new", b"given up")
    world.settle()
    world.kill(first.number, "power_cut")
    second.user.delete(b"new")
    second.hint_all()
    world.scheduler.run_for(20.0)
    first.start()
    world.settle()
    assert b"new" not in world.tree()


def test_an_old_file_deleted_just_before_the_power_cut_stays_deleted(world: World) -> None:
    device = world.devices[0]
    world.kill(device.number, "crash")
    device.user.delete(b"papers/letter")
    device.start()
    world.kill(device.number, "power_cut")
    device.start()
    world.settle()
    assert world.tree() == {b"notes": b"notes", b"papers": None}


def test_a_deletion_while_the_program_was_stopped_is_one_without_a_power_cut(world: World) -> None:
    device = world.devices[0]
    hasty(device).write_file(b"new", b"soon deleted")
    world.settle()
    world.kill(device.number, "crash")
    device.user.delete(b"new")
    device.start()
    world.settle()
    assert b"new" not in world.tree()


def test_after_the_first_look_a_deletion_counts_again(world: World) -> None:
    device = world.devices[0]
    device.user.write_file(b"new", b"survives, then is deleted")
    world.settle()
    cut_power(world, device)
    device.user.delete(b"new")
    world.settle()
    assert b"new" not in world.tree()


def test_a_stop_during_the_first_look_forgets_no_doubt(world: World) -> None:
    device = world.devices[0]
    hasty(device).write_file(b"new", b"still wanted")
    world.settle()
    expected = world.tree()
    world.kill(device.number, "power_cut")
    for _ in range(3):
        device.start()
        world.scheduler.run_for(0.000_1)
        world.kill(device.number, "crash")
    device.start()
    world.settle()
    assert world.tree() == expected


def test_what_was_written_out_is_in_no_doubt(world: World) -> None:
    device = world.devices[0]
    device.user.write_file(b"new", b"written out")
    world.settle()
    world.scheduler.run_for(200.0)
    assert device.engine.state.durable == device.engine.state.index.version
    world.kill(device.number, "power_cut")
    device.user.delete(b"new")
    device.start()
    world.settle()
    assert b"new" not in world.tree()


def test_a_folder_that_could_not_be_synced_and_was_found_by_a_look_is_in_doubt(world: World) -> None:
    """The disk refuses one fsync after a file is placed; the file is then found by a look, as if a user had made it."""
    first, second = world.devices
    refused: list[str] = []

    def refuse(name: str, args: tuple[object, ...]) -> StorageFailed | None:
        if name == "sync_folder" and args == (b"d",) and not refused:
            refused.append(name)
            return StorageFailed("The disk refused.", where=name)
        return None

    second.disk.before_call = refuse
    first.user.make_folder(b"d")
    first.user.write_file(b"d/a", b"content")
    world.settle()
    assert refused and world.tree()[b"d/a"] == b"content"
    cut_power(world, second)
    assert world.tree()[b"d/a"] == b"content"


def test_what_cannot_be_looked_at_at_first_stays_in_doubt(world: World) -> None:
    device = world.devices[0]
    user = hasty(device)
    user.write_file(b"papers/new", b"in a folder that cannot be listed")
    world.settle()
    expected = world.tree()
    world.kill(device.number, "power_cut")
    denied = [FileUnreadable("Denied.", path="papers", reason="EACCES")] * 4

    def deny(name: str, args: tuple[object, ...]) -> FileUnreadable | None:
        return denied.pop() if denied and name == "list_folder" and args == (b"papers",) else None

    device.disk.before_call = deny
    device.start()
    world.settle()
    assert not denied and world.tree() == expected
    user = device.user
    user.delete(b"papers/new")
    world.settle()
    assert b"papers/new" not in world.tree()
