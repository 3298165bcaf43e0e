"""What goes into a folder goes into that very folder: never into another that a user has given its name."""

from __future__ import annotations

import pytest

from satchel.core.errors import Fault
from satchel.device.ports import DiskPath, Stat
from satchel.device.tasks import Applied, Changed, DiskTask, MovePaths, PlaceFile, PlaceFolder, PlaceSymlink
from satchel.simulation.fake_disk import FakeDisk
from satchel.simulation.fake_user import FakeUser
from tests.support.disk_scenarios import MTIME_NS, NEW, NID, apply, move, new_file, stat_of
from tests.support.still_clock import StillClock

HOME, INSIDE = DiskPath(b"home"), DiskPath(b"home/in")
BATCH = (
    PlaceFolder(NID, HOME),
    new_file(b"home/file"),
    PlaceFolder(NID, INSIDE),
    PlaceSymlink(NID, DiskPath(b"home/in/link"), b"file", None),
)


def own_folder(user: FakeUser, name: bytes) -> dict[bytes, bytes | None]:
    """A user has made this folder, with a file in it. Return how it stands."""
    user.make_folder(name)
    user.write_file(name + b"/mine", b"the user's")
    return {name: None, name + b"/mine": b"the user's"}


def test_what_belongs_in_a_folder_is_not_put_into_the_one_that_has_its_name() -> None:
    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    own = own_folder(user, b"home")
    assert all(isinstance(result, Changed) for result in apply(disk, *BATCH))
    assert user.tree() == own
    assert disk.volume.staging.entries == {}


def test_nor_into_one_that_was_put_over_the_empty_folder_just_made() -> None:
    """As an installer does that finds the name free, and puts what it made beside there."""
    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    own_folder(user, b"beside")
    seen: list[str] = []

    def before_call(name: str, args: tuple[object, ...]) -> Fault | None:
        seen.append(name)
        if name == "place_staged" and seen.count(name) == 1:
            user.rename(b"beside", b"home")
        return None

    disk.before_call = before_call
    made, *others = apply(disk, *BATCH)
    assert isinstance(made, Applied)
    assert all(isinstance(result, Changed) and result.paths[0] in (HOME, INSIDE) for result in others)
    assert user.tree() == {b"home": None, b"home/mine": b"the user's"}


def tasks_into(home: Stat, disk: FakeDisk) -> dict[str, DiskTask]:
    return {
        "file": PlaceFile(NID, DiskPath(b"home/file"), "", NEW, MTIME_NS, False, None, home=home),
        "folder": PlaceFolder(NID, INSIDE, home=home),
        "symlink": PlaceSymlink(NID, DiskPath(b"home/link"), b"file", None, home=home),
        "moved": MovePaths((move(disk, b"old", b"home/new", home),)),
    }


def test_what_moves_by_way_of_staging_goes_back_when_its_folder_has_lost_its_name() -> None:
    """A folder moves, and a file into what was in it: in no order do plain renames do that."""
    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    user.make_folder(b"home")
    user.make_folder(b"top")
    user.write_file(b"top/f", b"what moves")
    home = stat_of(disk, b"home")
    user.rename(b"home", b"away")
    own_folder(user, b"home")
    before = user.tree()
    moves = (move(disk, b"top", b"home/top", home), move(disk, b"top/f", b"home/top/g", stat_of(disk, b"top")))
    (result,) = apply(disk, MovePaths(moves))
    assert isinstance(result, Changed)
    assert user.tree() == before


@pytest.mark.parametrize("what", ["file", "folder", "symlink", "moved"])
@pytest.mark.parametrize("is_taken", [False, True])
def test_a_folder_that_stands_is_the_one_that_is_meant_or_nothing_comes_into_it(what: str, is_taken: bool) -> None:
    disk = FakeDisk(StillClock())
    user = FakeUser(disk)
    user.make_folder(b"home")
    user.write_file(b"old", b"what moves")
    home = stat_of(disk, b"home")
    if is_taken:
        user.rename(b"home", b"away")
        own_folder(user, b"home")
    before = user.tree()
    (result,) = apply(disk, tasks_into(home, disk)[what])
    assert isinstance(result, Changed if is_taken else Applied)
    assert (user.tree() == before) == is_taken
    if isinstance(result, Changed):
        assert HOME in result.paths, "the folder is looked at"
