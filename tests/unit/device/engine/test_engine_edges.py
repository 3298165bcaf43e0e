"""What one link does for the sake of another that stands beside it, around it or in it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
from msgspec.structs import replace

from satchel.core.entries import Action, Kind
from satchel.core.ids import LinkId, NamespaceId
from satchel.core.messages import CreateOp, DeleteOp
from satchel.device.index.mounts import Mount, MountStage, mounts_with_rows, put_mount
from satchel.device.index.turning import FolderTarget
from satchel.device.links import Link
from satchel.device.mounted import NO_UNIT, mounted_of, settle
from satchel.device.ports import ROOT_PATH, Hint
from satchel.device.tasks import ApplyTask, CommitTask, Hinted, Scanned, ScanTask, SeenChanged, SeenGone
from tests.support.engine_rig import (
    NODE_A,
    NODE_B,
    NODE_C,
    NODE_D,
    Rig,
    entry,
    folder,
    new,
    new_folder,
    pushed,
)

SHARED, OTHER = NamespaceId(b"s" * 16), NamespaceId(b"t" * 16)
LINK = Link(LinkId(b"O" * 16), "/home/ann", "/", "00" * 16, NO_UNIT, "laptop")


class Held:
    """An edge beyond which what is deleted here stands, not committed yet. waits: its own deletion waits for us."""

    def __init__(self, *, waits: bool) -> None:
        self.waits = waits
        self.asked: list[bool] = []

    def may_delete(self, files: Collection[tuple[int, int]], *, is_wanted: bool) -> bool:
        self.asked.append(is_wanted)
        return is_wanted and self.waits


def gone(rig: Rig, node: bytes) -> SeenGone:
    row = rig.index.reader.local(rig.nid(node))  # type: ignore[arg-type]
    assert row is not None
    return SeenGone(row.nid, row.version)


@pytest.mark.parametrize("waits", [True, False])
def test_a_deletion_whose_name_is_wanted_goes_when_the_other_side_waits_for_one_too(waits: bool) -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.state.edge = edge = Held(waits=waits)
    rig.scan(gone(rig, NODE_A), new(9, "a.txt", b"came"))
    rig.wait(3.0)
    assert edge.asked and all(edge.asked)
    if not waits:
        assert not rig.has(CommitTask) and "moved_across" in rig.held_codes()
        return
    assert [type(op) for op in rig.take_commit()] == [DeleteOp, CreateOp]


def test_a_deletion_that_nothing_waits_for_waits_for_the_other_side() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.state.edge = edge = Held(waits=True)
    rig.scan(gone(rig, NODE_A))
    rig.wait(3.0)
    assert edge.asked and not any(edge.asked) and not rig.has(CommitTask)


def test_a_new_folder_is_carried_away_when_all_that_is_in_it_was_seen() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.state.is_view_only = True
    rig.step(Hinted((Hint(ROOT_PATH, None, True),)))
    task = rig.take(ScanTask)
    rig.step(Scanned(task, (new_folder(1, "d"),), False, 1))
    rig.wait(3.0)
    assert not rig.has(ApplyTask), "the scan is not over: there is more in it"
    (d,) = (nid for nid in rig.index.dirty_nids() if rig.index.reader.path_of(nid) == b"d")
    rig.step(Scanned(task, (new(2, "x.txt", b"x", parent=d),), True, 1, begun_s=rig.now_s))
    rig.wait(3.0)
    (one,) = rig.take(ApplyTask).tasks
    assert one.path == b"d"
    assert [row[0] for row in rig.index.connection.execute("SELECT path FROM carried")] == [b"d"]


def test_a_new_folder_waits_until_what_is_in_it_is_old_enough_to_be_sure_of() -> None:
    """Seed 80035 with shared folders: a file that was just written was put back, found, and carried again, thousands of
    times a second."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.state.is_view_only = True
    rig.step(Hinted((Hint(ROOT_PATH, None, True),)))
    young = new(2, "x.txt", b"x", inside=1)
    rig.scan(new_folder(1, "d"), replace(young, stat=replace(young.stat, ctime_ns=0)))
    rig.wait(0.05)
    assert not rig.has(ApplyTask) and not rig.has(ScanTask)
    rig.wait(0.1)
    assert [task.hints[0].names for task in rig.pending if isinstance(task, ScanTask)] == [{b"d"}]
    (x,) = (nid for nid in rig.index.dirty_nids() if rig.index.reader.path_of(nid) == b"d/x.txt")
    row = rig.index.reader.local(x)
    assert row is not None
    rig.scan(SeenChanged(x, row.version, young.stat, young.content, young.blocks))
    rig.wait(3.0)
    assert [one.path for one in rig.take(ApplyTask).tasks] == [b"d"]


def test_a_folder_is_looked_at_as_a_shared_one_when_the_part_that_ends_in_it_is_over() -> None:
    rig = Rig()
    rig.start(
        [
            folder(1, NODE_D, "d"),
            entry(2, NODE_C, "c", OTHER, parent=NODE_D, kind=Kind.MOUNT, action=Action.MOUNT),
            entry(3, NODE_B, "b.txt", b"two", parent=NODE_D),
        ],
        [new_folder(1, "d"), new_folder(2, "c", inside=1), new(3, "b.txt", b"two", inside=1)],
    )
    c, d = rig.nid(NODE_C), rig.nid(NODE_D)
    left = entry(4, NODE_C, "c", OTHER, parent=NODE_D, kind=Kind.MOUNT, action=Action.UNMOUNT, is_live=False)
    rig.step(pushed(3, left))
    rig.step(pushed(4, entry(5, NODE_D, "d", SHARED, kind=Kind.MOUNT, action=Action.MOUNT)))
    assert [one.nid for one in mounted_of(rig.index, LINK)] == [c], "what ends comes first"
    assert mounts_with_rows(rig.index) == [] and not rig.state.is_turning
    rig.engine.end_mount(c)
    rig.step()
    assert [one.nid for one in mounted_of(rig.index, LINK)] == [d]
    assert mounts_with_rows(rig.index) == [d] and rig.state.is_turning


def test_a_released_mount_in_one_that_is_held_does_not_wait(tmp_path: Path) -> None:
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), folder(2, NODE_C, "c", parent=NODE_D)],
        [new_folder(1, "d"), new_folder(2, "c", inside=1)],
    )
    put_mount(rig.index, rig.nid(NODE_D), Mount(SHARED, MountStage.HELD))
    put_mount(rig.index, rig.nid(NODE_C), Mount(OTHER, MountStage.RELEASED))
    ids = iter(range(1, 99))
    turned = settle(
        rig.index, LINK, lambda inner: FolderTarget(tmp_path / inner.hex()), lambda: next(ids).to_bytes(16, "big")
    )
    assert turned == 1 and rig.index.reader.nid_of(NODE_C) is None
