"""Hints of a folder's old path find it where it went; what could not be folded of a folder is looked for again."""

from __future__ import annotations

import pytest

from satchel.core.entries import Action, Kind
from satchel.core.ids import ROOT_NID
from satchel.core.messages import CreateOp, Stored
from satchel.device.engine.trails import TRAIL_S, TRAILS_MAX, leave_trail
from satchel.device.ports import ROOT_PATH, DiskPath, Hint
from satchel.device.tasks import (
    ApplyTask,
    CommitTask,
    Hinted,
    LocalFact,
    ScanTask,
    SeenGone,
    SeenMoved,
    SeenNew,
    SeenUnknown,
)
from tests.support.engine_rig import NODE_A, NODE_B, Rig, folder, new, new_folder, pushed, stat

INSIDE = Hint(DiskPath(b"old/deep"), frozenset((b"f",)))
DEEP = Hint(ROOT_PATH, frozenset((b"old",)), True)


def rig_with_folders() -> Rig:
    rig = Rig()
    rig.start(
        [folder(1, NODE_A, "old"), folder(2, NODE_B, "deep", parent=NODE_A)],
        [new_folder(1, "old"), new_folder(2, "deep", inside=1)],
    )
    assert rig.engine.is_settled
    return rig


def moved(rig: Rig, name: bytes) -> SeenMoved:
    row = rig.index.reader.local(rig.nid(NODE_A))
    assert row is not None
    return SeenMoved(row.nid, row.version, ROOT_NID, name, row.stat, b"", b"")


def gone(rig: Rig) -> SeenGone:
    row = rig.index.reader.local(rig.nid(NODE_A))
    assert row is not None
    return SeenGone(row.nid, row.version)


def looks(rig: Rig) -> set[Hint]:
    """Return what is looked at next, each name for itself."""
    rig.wait(1.0)
    return {
        Hint(hint.folder, None if name is None else frozenset((name,)), hint.is_deep)
        for hint in rig.take(ScanTask).hints
        for name in hint.names or (None,)
    }


@pytest.mark.parametrize("is_late", [False, True])
def test_a_hint_of_the_old_path_is_one_of_the_new_path_too(is_late: bool) -> None:
    """It waited while a look found the folder at its new name, or came from a watcher that was behind."""
    rig = rig_with_folders()
    rig.step(Hinted((Hint(ROOT_PATH, frozenset((b"old", b"new"))),)))
    if not is_late:
        rig.step(Hinted((INSIDE,)))
    rig.scan(moved(rig, b"new"))
    if is_late:
        rig.step(Hinted((INSIDE,)))
    assert {INSIDE, Hint(DiskPath(b"new/deep"), INSIDE.names)} <= looks(rig)


def test_a_hint_follows_a_folder_that_this_device_moved() -> None:
    rig = rig_with_folders()
    rig.step(pushed(2, folder(3, NODE_A, "new", action=Action.MOVE)))
    rig.apply()
    rig.step(Hinted((INSIDE,)))
    assert Hint(DiskPath(b"new/deep"), INSIDE.names) in looks(rig)


def test_a_hint_follows_over_two_moves_and_into_a_folder_that_moved_itself() -> None:
    rig = rig_with_folders()
    for name in (b"mid", b"new"):
        rig.step(Hinted((Hint(ROOT_PATH, frozenset((name,))),)))
        rig.scan(moved(rig, name))
    deep = rig.index.reader.local(rig.nid(NODE_B))
    assert deep is not None
    rig.step(Hinted((Hint(ROOT_PATH, None),)))
    rig.scan(SeenMoved(deep.nid, deep.version, ROOT_NID, b"out", deep.stat, b"", b""))
    rig.step(Hinted((INSIDE,)))
    assert Hint(DiskPath(b"out"), INSIDE.names) in looks(rig)


def test_a_folder_that_went_into_one_of_its_old_name_is_followed_once() -> None:
    """Seed 44072: its new path begins with the old one, and so would that of each further step."""
    rig = rig_with_folders()
    rig.step(Hinted((Hint(ROOT_PATH, None),)))
    rig.scan(moved(rig, b"aside"))
    leave_trail(rig.engine.state, rig.nid(NODE_B), DiskPath(b"aside"))
    rig.step(Hinted((INSIDE,)))
    assert looks(rig) == {
        INSIDE,
        Hint(DiskPath(b"aside/deep"), INSIDE.names),
        Hint(DiskPath(b"aside/deep/deep"), INSIDE.names),
    }


def test_a_look_into_a_name_that_a_folder_left_is_one_into_its_new_name() -> None:
    rig = rig_with_folders()
    rig.step(Hinted((Hint(ROOT_PATH, frozenset((b"old", b"new"))),)))
    rig.scan(moved(rig, b"new"))
    rig.step(Hinted((DEEP,)))
    assert Hint(ROOT_PATH, frozenset((b"new",)), True) in looks(rig)


def test_old_trails_are_forgotten_and_never_too_many() -> None:
    rig = rig_with_folders()
    state = rig.engine.state
    for number in range(TRAILS_MAX + 5):
        leave_trail(state, rig.nid(NODE_A), DiskPath(b"n%d" % number))
    assert len(state.trails) == TRAILS_MAX and DiskPath(b"n4") not in state.trails
    leave_trail(state, rig.nid(NODE_A), DiskPath(b"older"))
    rig.wait(TRAIL_S + 1)
    rig.step(Hinted((INSIDE,)))
    assert looks(rig) == {INSIDE}
    assert not rig.engine.state.trails


def in_flight(rig: Rig) -> None:
    """Let the folder be in a commit: it moved here."""
    rig.step(Hinted((Hint(ROOT_PATH, None),)))
    rig.scan(moved(rig, b"mid"))
    assert rig.nid(NODE_A) in rig.engine.state.busy


def land(rig: Rig) -> None:
    """Let the commit come to its end."""
    rig.commit(Stored(3), head_seq=3)
    rig.step(pushed(2, folder(3, NODE_A, "mid", action=Action.MOVE)))
    assert not rig.engine.state.busy


@pytest.mark.parametrize("fact", [SeenGone, SeenUnknown])
def test_a_folder_of_which_something_was_seen_while_it_was_in_flight_is_looked_into(fact: type[LocalFact]) -> None:
    """What was hinted below it was not found there, and went with the fact."""
    rig = rig_with_folders()
    in_flight(rig)
    rig.step(Hinted((Hint(ROOT_PATH, None),)))
    seen = gone(rig) if fact is SeenGone else SeenUnknown(rig.nid(NODE_A), None, b"mid", "file_changing", "", True)
    rig.scan(seen)
    land(rig)
    assert Hint(ROOT_PATH, frozenset((b"mid",)), True) in looks(rig)


def test_a_folder_that_was_gone_while_it_was_in_flight_is_looked_into_where_it_is_found() -> None:
    rig = rig_with_folders()
    in_flight(rig)
    rig.step(Hinted((Hint(ROOT_PATH, None),)))
    rig.scan(gone(rig))
    land(rig)
    rig.wait(1.0)
    rig.scan(moved(rig, b"new"))
    assert Hint(ROOT_PATH, frozenset((b"new",)), True) in looks(rig)


def test_a_folder_that_was_compared_with_an_older_version_is_looked_into() -> None:
    rig = rig_with_folders()
    rig.step(Hinted((Hint(ROOT_PATH, None),)))
    old = gone(rig)
    rig.scan(SeenGone(old.nid, old.base - 1))
    assert DEEP in looks(rig)


def test_a_file_has_nothing_below_it() -> None:
    rig = Rig()
    rig.start([], [new(1, "a.txt", b"one")])
    rig.step(Hinted((Hint(ROOT_PATH, None),)))
    row = rig.index.reader.named(ROOT_NID, b"a.txt")[0]
    assert row.stat.kind is stat(1).kind is Kind.FILE
    rig.scan(SeenGone(row.nid, row.version - 1))
    assert not rig.engine.state.doubted_below


def test_a_folder_that_moved_and_went_during_the_look_has_left_its_name_to_another() -> None:
    """It is unknown for a moment; counted as where it was agreed to be, it would make the new one step aside."""
    rig = rig_with_folders()
    rig.step(Hinted((Hint(ROOT_PATH, None),)))
    rig.scan(
        moved(rig, b"out"),
        SeenUnknown(rig.nid(NODE_A), None, b"out", "file_changing", "", True),
        new_folder(3, "old"),
    )
    assert [op.name for op in rig.take(CommitTask).request.ops if isinstance(op, CreateOp)] == ["old"]
    assert not rig.has(ApplyTask)
    assert Hint(ROOT_PATH, frozenset((b"out",)), True) in looks(rig)


def test_a_new_folder_that_could_not_be_looked_into_is_looked_into_though_it_is_known_by_then() -> None:
    rig = rig_with_folders()
    home = rig.nid(NODE_B)
    more = SeenNew(1, home, b"more", stat(90, kind=Kind.FOLDER), b"", b"")
    rig.scan(more, SeenUnknown(None, home, b"more", "file_changing", "A folder moved away.", True))
    assert Hint(DiskPath(b"old/deep"), frozenset((b"more",)), True) in looks(rig)
