"""What can go no earlier than another that waits is planned again with that one, not at each news."""

from __future__ import annotations

from satchel.core.entries import Action, Kind
from satchel.core.errors import StorageFull
from satchel.device.tasks import (
    ApplyResult,
    ApplyTask,
    Changed,
    Failed,
    PlaceFile,
    PlaceFolder,
    SeenChanged,
    SeenUnknown,
    SettleTask,
    StagingSettled,
)
from tests.support.engine_rig import (
    NODE_A,
    NODE_B,
    NODE_C,
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

FULL = StorageFull("the disk is full", where="disk")


def look_without_news(rig: Rig) -> None:
    """Something happens elsewhere that leads to no plan of its own: a file was written anew with the same bytes."""
    nid = rig.nid(NODE_C)
    local = rig.index.reader.local(nid)
    assert local is not None
    at = stat(local.stat.inode + 1, b"same")
    rig.scan(SeenChanged(nid, local.version, at, hash_of(b"same"), blocks_of(b"same")))


def behind_a_full_disk() -> Rig:
    """Return a link whose disk was too full for a folder, in which a file is to stand."""
    rig = Rig()
    rig.start([entry(1, NODE_C, "c.txt", b"same")], [new(1, "c.txt", b"same")])
    rig.step(pushed(1, folder(2, NODE_A, "d")))
    batch = rig.take(ApplyTask)
    rig.step(ApplyResult(batch, tuple(Failed(FULL) for _ in batch.tasks)))
    rig.take(SettleTask)
    rig.step(StagingSettled(()))
    assert rig.nid(NODE_A) in rig.state.retry_at
    rig.step(pushed(2, entry(3, NODE_B, "b.txt", b"two", parent=NODE_A), contents=[b"two"]))
    return rig


def placed(rig: Rig) -> None:
    """Let the disk do all that is asked of it, then expect that the file stands in its folder."""
    while rig.has(ApplyTask):
        rig.apply()
    rig.wait(0.5)
    row = rig.index.row(rig.nid(NODE_B))
    assert row is not None and row.local is not None and row.local == row.remote == row.synced


def test_a_file_whose_folder_is_tried_again_later_waits_with_it() -> None:
    rig = behind_a_full_disk()
    planned = rig.state.progress.plans
    for _ in range(3):
        look_without_news(rig)
    assert rig.state.progress.plans == planned
    assert not rig.engine.is_settled

    rig.wait(3.0)
    kinds = [type(one) for one in rig.pending if isinstance(one, ApplyTask) for one in one.tasks]
    assert kinds[0] is PlaceFolder and rig.state.progress.plans == planned + 1
    placed(rig)
    assert rig.engine.is_settled


def test_news_of_the_folder_itself_frees_what_waits_with_it() -> None:
    rig = behind_a_full_disk()
    rig.step(pushed(3, folder(4, NODE_A, "e", action=Action.MOVE, content_rev=2)))
    (made, *_) = rig.take(ApplyTask).tasks
    assert isinstance(made, PlaceFolder) and made.path == b"e"


def test_a_file_whose_folder_is_gone_meanwhile_is_forgotten_with_it() -> None:
    rig = behind_a_full_disk()
    gone = folder(4, NODE_A, "d", action=Action.DELETE, is_live=False, is_subtree=True)
    rig.step(pushed(3, gone))
    rig.wait(5.0)
    assert rig.engine.is_settled and not rig.state.stalled
    assert not rig.has(ApplyTask)


def test_a_name_whose_holder_is_looked_at_first_is_waited_for_until_then() -> None:
    rig = Rig()
    rig.start(
        [entry(1, NODE_C, "c.txt", b"same"), entry(2, NODE_A, "a.txt", b"one")],
        [new(1, "c.txt", b"same"), new(2, "a.txt", b"one")],
    )
    rig.step(pushed(2, entry(3, NODE_A, "z.txt", b"one", action=Action.MOVE, content_rev=2)))
    rig.step(ApplyResult(rig.take(ApplyTask), (Changed((b"a.txt",), "it was written to"),)))
    assert rig.nid(NODE_A) in rig.state.after_scan
    rig.step(pushed(3, entry(4, NODE_B, "a.txt", b"two"), contents=[b"two"]))
    planned = rig.state.progress.plans
    look_without_news(rig)
    assert rig.state.progress.plans == planned and rig.nid(NODE_A) in rig.state.after_scan

    rig.wait(1.0)
    rig.scan()
    placed(rig)
    assert rig.engine.is_settled


def test_a_folder_that_cannot_be_read_is_waited_for_until_it_can() -> None:
    rig = Rig()
    rig.start(
        [entry(1, NODE_C, "c.txt", b"same"), folder(2, NODE_A, "d")], [new(1, "c.txt", b"same"), new_folder(2, "d")]
    )
    home = rig.nid(NODE_A)
    rig.scan(SeenUnknown(home, None, b"d", "folder_unreadable", "no right", True))
    rig.step(pushed(2, entry(3, NODE_B, "b.txt", b"two", parent=NODE_A), contents=[b"two"]))
    planned = rig.state.progress.plans
    for _ in range(3):
        look_without_news(rig)
    assert rig.state.progress.plans == planned and not rig.has(ApplyTask)
    assert not rig.engine.is_settled

    local = rig.index.reader.local(home)
    assert local is not None
    rig.scan(SeenChanged(home, local.version, stat(local.stat.inode, kind=Kind.FOLDER), b"", b""))
    rig.wait(3.0)
    (task,) = rig.take(ApplyTask).tasks
    assert isinstance(task, PlaceFile) and task.path == b"d/b.txt"


def test_a_whole_look_leaves_nothing_waiting_that_nobody_would_free() -> None:
    rig = behind_a_full_disk()
    lost = rig.state.retry_at.pop(rig.nid(NODE_A))
    assert lost and rig.state.stalled
    rig.wait(4_000.0)
    rig.scan(is_full=True)
    placed(rig)
