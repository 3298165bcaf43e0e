"""A look tells nothing of what this device itself moved, took or gave back meanwhile; that is looked at again."""

from __future__ import annotations

import pytest

from satchel.core.entries import Action, Kind
from satchel.core.errors import StorageFailed
from satchel.core.ids import Nid
from satchel.core.trees import Item
from satchel.device.ports import ROOT_PATH, DiskPath, Hint
from satchel.device.tasks import (
    ApplyTask,
    Changed,
    CommitTask,
    Failed,
    Hinted,
    LocalFact,
    MovePaths,
    NewParent,
    ScanTask,
    SeenChanged,
    SeenGone,
    SeenMoved,
    SeenNew,
    SeenUnknown,
    SettleTask,
    StagingSettled,
    TrashUnit,
)
from tests.support.engine_rig import (
    NODE_A,
    NODE_B,
    NODE_C,
    NODE_D,
    Rig,
    blocks_of,
    entry,
    folder,
    hash_of,
    new,
    new_folder,
    pushed,
    stat,
)

ALL = Hinted((Hint(ROOT_PATH, None, True),))


def rig_with_two_folders() -> Rig:
    """`a` holds the folder `deep`, and `c` a file `f`."""
    rig = Rig()
    rig.start(
        [
            folder(1, NODE_A, "a"),
            folder(2, NODE_B, "c"),
            folder(3, NODE_C, "deep", parent=NODE_A),
            entry(4, NODE_D, "f", b"one", parent=NODE_B),
        ],
        [new_folder(1, "a"), new_folder(2, "c"), new_folder(3, "deep", inside=1), new(4, "f", b"one", inside=2)],
    )
    assert rig.engine.is_settled
    rig.pending.clear()
    return rig


def swap(rig: Rig) -> None:
    """Another device let the two change places."""
    at = folder(5, NODE_A, "c", action=Action.MOVE), folder(6, NODE_B, "a", action=Action.MOVE)
    rig.step(pushed(4, *at))
    assert any(isinstance(task, ApplyTask) and isinstance(task.tasks[0], MovePaths) for task in rig.pending)


def seen_moved(rig: Rig, nid: Nid, parent: Nid) -> SeenMoved:
    row = rig.index.reader.local(nid)
    assert row is not None
    return SeenMoved(nid, row.version, parent, row.name, row.stat, row.content or b"", b"")


def false_facts(rig: Rig) -> dict[str, tuple[LocalFact, ...]]:
    """What a look through the changed paths finds: in `a` what is in `c`, and nothing of what was there."""
    a, c, deep, file = (rig.nid(node) for node in (NODE_A, NODE_B, NODE_C, NODE_D))
    rows = {nid: rig.index.reader.local(nid) for nid in (deep, file)}
    row, inside = rows[file], rows[deep]
    assert row is not None and inside is not None
    return {
        "moved": (seen_moved(rig, file, a), seen_moved(rig, deep, c)),
        "moved into what is below": (seen_moved(rig, file, deep),),
        "new": (SeenNew(1, a, b"g", stat(90, b"two"), hash_of(b"two"), blocks_of(b"two")),),
        "new below a new folder": (
            SeenNew(1, a, b"made", stat(91, kind=Kind.FOLDER), b"", b""),
            SeenNew(2, NewParent(1), b"g", stat(90, b"two"), hash_of(b"two"), blocks_of(b"two")),
        ),
        "changed": (SeenChanged(file, row.version, stat(90, b"two"), hash_of(b"two"), blocks_of(b"two")),),
        "gone": (SeenGone(file, row.version), SeenGone(deep, inside.version)),
        "unknown": (SeenUnknown(file, None, b"f", "file_changing", "", True),),
        "unknown at a name": (SeenUnknown(None, a, b"f", "file_changing", "", True),),
    }


def tree(rig: Rig) -> dict[Nid, object]:
    return {nid: row.local for nid in range(1, 12) if (row := rig.index.row(Nid(nid))) is not None}


def looks(rig: Rig) -> set[tuple[DiskPath, bytes, bool]]:
    """Return what is looked at next: folder, name, and whether into it."""
    rig.wait(1.0)
    if rig.has(SettleTask):
        rig.step(StagingSettled(()))
    return {
        (hint.folder, name, hint.is_deep) for hint in rig.take(ScanTask).hints for name in hint.names or (b"<all>",)
    }


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", list(false_facts(rig_with_two_folders())))
def test_what_is_in_a_folder_that_this_device_moves_during_a_look_is_not_told_by_it(what: str, when: str) -> None:
    rig = rig_with_two_folders()
    rig.step(ALL)
    swap(rig)
    facts = false_facts(rig)[what]
    before = tree(rig)
    if when == "before":
        rig.scan(*facts)
        assert tree(rig) == before
        rig.apply()
    else:
        rig.apply()
        before = tree(rig)
        rig.scan(*facts)
        assert tree(rig) == before
    assert not rig.has(CommitTask)
    assert looks(rig) & {(ROOT_PATH, b"a", True), (ROOT_PATH, b"c", True)}


def test_a_look_that_begins_after_the_move_tells_all() -> None:
    rig = rig_with_two_folders()
    swap(rig)
    rig.apply()
    rig.step(ALL)
    file = rig.nid(NODE_D)
    rig.scan(seen_moved(rig, file, rig.nid(NODE_A)))
    row = rig.index.row(file)
    assert row is not None and isinstance(row.local, Item) and row.local.parent == rig.nid(NODE_A)


def test_a_look_that_begins_while_the_move_is_under_way_tells_nothing_of_it_to_its_end() -> None:
    rig = rig_with_two_folders()
    swap(rig)
    rig.step(ALL)
    rig.scan()
    rig.step(ALL)
    rig.apply()
    before = tree(rig)
    rig.scan(SeenGone(rig.nid(NODE_D), rig.index.reader.local(rig.nid(NODE_D)).version))  # type: ignore[union-attr]  # it is there
    assert tree(rig) == before and not rig.has(CommitTask)


@pytest.mark.parametrize("result", [Failed(StorageFailed("It broke.", path="f")), Changed((DiskPath(b"c/f"),), "no")])
def test_what_was_there_for_a_moment_and_was_given_back_is_not_told(result: Failed | Changed) -> None:
    """Simulation, seed 2 of 25 operations: a look read the download that was exchanged with the old file, and then the
    exchange was undone. Taken for what stood there, it made of the old file, which was found next, the newest edit."""
    rig = rig_with_two_folders()
    rig.step(ALL)
    file = rig.nid(NODE_D)
    row = rig.index.reader.local(file)
    assert row is not None
    rig.step(pushed(4, entry(5, NODE_D, "f", b"two", parent=NODE_B, action=Action.EDIT), contents=(b"two",)))
    rig.apply(result)
    rig.scan(SeenChanged(file, row.version, stat(90, b"two"), hash_of(b"two"), blocks_of(b"two")))
    found = rig.index.row(file)
    assert found is not None and isinstance(found.local, Item) and found.local.content == hash_of(b"one")
    assert (DiskPath(b"c"), b"f", False) in looks(rig)


def test_a_folder_that_was_put_back_is_looked_into() -> None:
    """It was taken away, held what nobody knew, and was given back; meanwhile a look found nothing in it."""
    rig = rig_with_two_folders()
    rig.step(ALL)
    file = rig.nid(NODE_D)
    row = rig.index.reader.local(file)
    assert row is not None
    gone = folder(5, NODE_B, "c", action=Action.DELETE, is_live=False)
    rig.step(pushed(4, gone))
    rig.wait(2.1)
    assert isinstance(rig.pending[-1], ApplyTask) and isinstance(rig.pending[-1].tasks[0], TrashUnit)
    rig.apply(Changed((DiskPath(b"c/new"),), "it holds what nobody knew"))
    rig.scan(SeenGone(file, row.version))
    found = rig.index.row(file)
    assert found is not None and isinstance(found.local, Item)
    assert (DiskPath(b"c"), b"f", False) in looks(rig)
