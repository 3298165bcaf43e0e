"""Taking back on a real disk: nothing is overwritten unseen, and each undo can be undone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from satchel.core.ids import ROOT_NODE
from satchel.device.applier import Applier
from satchel.device.disk import LocalDisk
from satchel.device.drive import drive
from satchel.device.hashing_files import read_file
from satchel.device.index.activity import Act, What
from satchel.device.ports import DiskPath
from satchel.device.undoing import Amender, Done
from tests.support.still_clock import StillClock

FAR_NS = 4_000_000_000_000_000_000
"""A clock that stands long after every write, so that no file is too young to be sure of."""


class Root:
    """A linked folder and what takes back in it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        LocalDisk.initialise(os.fsencode(folder))
        self.disk = LocalDisk(os.fsencode(folder))
        self.clock = StillClock(FAR_NS)
        self.amender = Amender(self.disk, Applier(self.disk, self.clock), self.clock)

    def content(self, name: str) -> bytes:
        return bytes(drive(read_file(self.disk, DiskPath(name.encode()), self.clock)).content)

    def trash(self, name: str) -> str:
        return drive(self.disk.trash(DiskPath(name.encode())))

    def undo(self, *acts: Act, with_new: bool = False) -> list[Done]:
        return drive(self.amender.undo(acts, with_new=with_new))

    def replaced(self, name: str, old: str, new: str) -> Act:
        """Play the applier: the old content is in the trash, the new one at the name."""
        (self.folder / name).write_text(old)
        was, trashed = self.content(name), self.trash(name)
        (self.folder / name).write_text(new)
        return Act(
            What.REPLACED,
            ROOT_NODE,
            name,
            "remote edit",
            was_content=was,
            content=self.content(name),
            trashed=trashed,
        )


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "linked")


def test_an_undo_of_a_replacement_can_be_undone(root: Root) -> None:
    act = root.replaced("a.txt", "old", "new")
    (done,) = root.undo(act)
    assert done.told.is_done and (root.folder / "a.txt").read_text() == "old"
    assert done.act is not None and done.act.rule == "undo"
    (again,) = root.undo(done.act)
    assert again.told.is_done and (root.folder / "a.txt").read_text() == "new"


def test_two_replacements_of_one_file_are_both_taken_back_though_the_first_was_so_this_very_moment(root: Root) -> None:
    first, second = root.replaced("a.txt", "one", "two"), root.replaced("a.txt", "two", "three")
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        root.clock.wall_ns = FAR_NS

    root.amender = Amender(root.disk, Applier(root.disk, root.clock), root.clock, pause)
    root.clock.wall_ns = (root.folder / "a.txt").stat().st_ctime_ns
    assert [done.told.is_done for done in root.undo(first, second)] == [True, True]
    assert (root.folder / "a.txt").read_text() == "one" and waits


def test_what_was_edited_since_is_left_as_it_is(root: Root) -> None:
    act = root.replaced("a.txt", "old", "new")
    (root.folder / "a.txt").write_text("a person's own")
    (done,) = root.undo(act)
    assert not done.told.is_done and done.act is None
    assert (root.folder / "a.txt").read_text() == "a person's own"


def test_a_removed_folder_comes_back_with_all_in_it_and_with_the_folders_above(root: Root) -> None:
    (root.folder / "top" / "unit").mkdir(parents=True)
    (root.folder / "top" / "unit" / "f").write_text("f")
    trashed = root.trash("top/unit")
    (root.folder / "top").rmdir()
    _, done = root.undo(Act(What.REMOVED, ROOT_NODE, "top/unit", "remote delete", trashed=trashed))
    assert done.told.is_done and (root.folder / "top" / "unit" / "f").read_text() == "f"


def test_what_was_removed_takes_no_name_from_another(root: Root) -> None:
    (root.folder / "a").write_text("old")
    trashed = root.trash("a")
    (root.folder / "a").write_text("another")
    (done,) = root.undo(Act(What.REMOVED, ROOT_NODE, "a", "remote delete", trashed=trashed))
    assert not done.told.is_done and (root.folder / "a").read_text() == "another"
    assert drive(root.disk.stat_trashed(trashed)) is not None


def test_a_move_goes_back_but_never_over_another(root: Root) -> None:
    (root.folder / "b").write_text("moved")
    act = Act(What.MOVED, ROOT_NODE, "b", "remote move", was_path="a")
    (root.folder / "a").write_text("in the way")
    assert not root.undo(act)[0].told.is_done
    (root.folder / "a").unlink()
    assert root.undo(act)[0].told.is_done
    assert (root.folder / "a").read_text() == "moved" and not (root.folder / "b").exists()


def test_what_came_new_stays_unless_it_is_asked_for(root: Root) -> None:
    (root.folder / "folder").mkdir()
    (root.folder / "folder" / "n").write_text("new")
    acts = (
        Act(What.CREATED, ROOT_NODE, "folder", "remote create"),
        Act(What.CREATED, ROOT_NODE, "folder/n", "remote create", content=root.content("folder/n")),
    )
    assert not any(done.told.is_done for done in root.undo(*acts))
    (root.folder / "folder" / "own").write_text("a person's own")
    assert [done.told.is_done for done in root.undo(*acts, with_new=True)] == [True, False]
    assert [each.name for each in (root.folder / "folder").iterdir()] == ["own"]


def test_the_bit_goes_back(root: Root) -> None:
    (root.folder / "run").write_text("x")
    os.chmod(root.folder / "run", 0o755)
    (done,) = root.undo(Act(What.EXECUTABLE, ROOT_NODE, "run", "remote exec"))
    assert done.told.is_done and not os.access(root.folder / "run", os.X_OK)


COPY = "a (laptop's conflicted copy 2026-11-22).txt"


@pytest.mark.parametrize(("keep", "left"), [("copy", "mine"), ("original", "theirs"), ("newest", "theirs")])
def test_a_resolved_conflict_leaves_one_file_and_can_be_taken_back(root: Root, keep: str, left: str) -> None:
    (root.folder / COPY).write_text("mine")
    (root.folder / "a.txt").write_text("theirs")
    os.utime(root.folder / COPY, ns=(1, 1))
    copy, original = (Act(What.DECIDED, ROOT_NODE, path, "resolved") for path in (COPY, "a.txt"))
    done = drive(root.amender.resolve(copy, original, keep))
    assert all(each.told.is_done for each in done)
    assert (root.folder / "a.txt").read_text() == left and not (root.folder / COPY).exists()
    root.undo(*(each.act for each in done if each.act is not None))
    assert (root.folder / "a.txt").read_text() == "theirs" and (root.folder / COPY).read_text() == "mine"


def test_both_keeps_two_names(root: Root) -> None:
    (root.folder / COPY).write_text("mine")
    (root.folder / "a (2).txt").write_text("in the way")
    copy, original = (Act(What.DECIDED, ROOT_NODE, path, "resolved") for path in (COPY, "a.txt"))
    drive(root.amender.resolve(copy, original, "both"))
    assert (root.folder / "a (3).txt").read_text() == "mine"
    assert (root.folder / "a (2).txt").read_text() == "in the way"


def test_the_only_file_left_is_never_thrown_away(root: Root) -> None:
    (root.folder / COPY).write_text("mine")
    copy, original = (Act(What.DECIDED, ROOT_NODE, path, "resolved") for path in (COPY, "a.txt"))
    assert not drive(root.amender.resolve(copy, original, "original"))[0].told.is_done
    assert drive(root.amender.resolve(copy, original, "copy"))[0].told.is_done
    assert (root.folder / "a.txt").read_text() == "mine"


def back_with_a_folder(root: Root) -> Act:
    """Let a folder that was removed come back; return the act of it."""
    (root.folder / "f/deep").mkdir(parents=True)
    (root.folder / "f/deep/a.txt").write_text("one")
    (root.folder / "f/b.txt").write_text("two")
    removed = Act(What.REMOVED, ROOT_NODE, "f", "remote delete", trashed=root.trash("f"))
    (done,) = root.undo(removed)
    assert done.told.is_done and done.act is not None
    return done.act


def test_a_folder_that_came_back_with_all_in_it_goes_again(root: Root) -> None:
    act = back_with_a_folder(root)
    (done,) = root.undo(act)
    assert done.told.is_done and not (root.folder / "f").exists()
    assert done.trashed is not None and set(done.trashed) == {b"", b"b.txt", b"deep", b"deep/a.txt"}
    assert done.act is not None
    (again,) = root.undo(done.act)
    assert again.told.is_done and (root.folder / "f/deep/a.txt").read_text() == "one"


@pytest.mark.parametrize("deed", ["edited", "added", "removed", "moved out"])
def test_a_folder_that_came_back_and_was_worked_in_stays(root: Root, deed: str) -> None:
    act = back_with_a_folder(root)
    match deed:
        case "edited":
            (root.folder / "f/b.txt").write_text("owt")
        case "added":
            (root.folder / "f/deep/c.txt").write_text("three")
        case "removed":
            (root.folder / "f/deep/a.txt").unlink()
        case _:
            (root.folder / "f/deep").rename(root.folder / "deep")
    (done,) = root.undo(act)
    assert not done.told.is_done and (root.folder / "f/b.txt").exists()


def test_a_folder_that_is_made_for_what_comes_back_goes_again_with_it(root: Root) -> None:
    (root.folder / "above/deep").mkdir(parents=True)
    (root.folder / "above/deep/a.txt").write_text("one")
    removed = Act(What.REMOVED, ROOT_NODE, "above/deep/a.txt", "remote delete", trashed=root.trash("above/deep/a.txt"))
    (root.folder / "above/deep").rmdir()
    (root.folder / "above").rmdir()
    done = root.undo(removed)
    assert [one.told.path for one in done] == ["above", "above/deep", "above/deep/a.txt"]
    again = root.undo(*(one.act for one in done if one.act is not None))
    assert all(one.told.is_done for one in again) and not (root.folder / "above").exists()


def test_a_folder_that_was_made_for_what_came_back_stays_for_what_is_in_it(root: Root) -> None:
    (root.folder / "above").mkdir()
    (root.folder / "above/a.txt").write_text("one")
    removed = Act(What.REMOVED, ROOT_NODE, "above/a.txt", "remote delete", trashed=root.trash("above/a.txt"))
    (root.folder / "above").rmdir()
    done = root.undo(removed)
    (root.folder / "above/b.txt").write_text("a person's own")
    root.undo(*(one.act for one in done if one.act is not None))
    assert [path.name for path in (root.folder / "above").iterdir()] == ["b.txt"]
