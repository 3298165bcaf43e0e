"""A folder is renamed and another made at its name, while what was known of the first is still in flight."""

from __future__ import annotations

import pytest

from tests.support.scripted_world import World

MOMENTS = [number * 0.000_5 for number in range(24)] + [0.02, 0.05, 0.1, 0.3]


@pytest.mark.parametrize("after_s", MOMENTS)
@pytest.mark.parametrize("is_killed", [False, True], ids=["running", "killed-and-started"])
def test_a_folder_made_at_the_name_of_one_just_renamed_is_no_clash(after_s: float, is_killed: bool) -> None:
    world = World(11, 2)
    world.settle()
    laptop = world.devices[0]
    laptop.user.make_folder(b"d")
    laptop.user.write_file(b"d/one", b"one")
    laptop.hint_all()
    world.scheduler.run_for(after_s)
    if is_killed:
        world.kill(laptop.number, "crash")
    user = laptop.user
    user.rename(b"d", b"e")
    user.make_folder(b"d")
    user.write_file(b"d/two", b"two")
    if is_killed:
        laptop.start()
    world.settle()
    assert world.tree() == {b"d": None, b"d/two": b"two", b"e": None, b"e/one": b"one"}
