"""A shared folder in a link's tree: a leaf for this engine, and never deleted or emptied by it."""

from __future__ import annotations

from pathlib import Path

from satchel.core.entries import Action, Kind
from satchel.core.ids import ROOT_NODE, LinkId, NamespaceId, Nid
from satchel.core.messages import Conflict, CreateOp, Moved, Refused
from satchel.device.engine import Engine
from satchel.device.engine.state import LinkIdentity
from satchel.device.index.left_out import Stage as Left
from satchel.device.index.left_out import keep_off, load_left, put_left
from satchel.device.index.mounts import Mount, MountStage, load_mounts, put_mount
from satchel.device.index.store import Index
from satchel.device.index.turning import FolderTarget, hand_over
from satchel.device.links import Link
from satchel.device.mounted import NO_UNIT, settle
from satchel.device.tasks import ApplyTask, CommitTask, PlaceFolder, SeenChanged, SeenGone, SeenMoved, TrashUnit
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

SHARED = b"s" * 16


def mounted(seq: int, name: str = "d", **more: object) -> object:
    return entry(seq, NODE_D, name, SHARED, kind=Kind.MOUNT, action=Action.MOUNT, **more)  # type: ignore[arg-type]


def joined_with_mount() -> Rig:
    rig = Rig()
    rig.start([mounted(1), entry(2, NODE_B, "b.txt", b"two")], [new(1, "b.txt", b"two")])  # type: ignore[list-item]
    return rig


def seen(rig: Rig, node: bytes) -> int:
    row = rig.index.reader.local(rig.nid(node))  # type: ignore[arg-type]
    assert row is not None
    return row.version


def test_a_mount_that_appears_is_an_empty_folder_here() -> None:
    rig = joined_with_mount()
    task = rig.apply()
    assert [(type(one), one.path) for one in task.tasks] == [(PlaceFolder, b"d")]  # type: ignore[union-attr]
    assert rig.engine.is_settled and not rig.held_codes()
    assert {mount.ns for mount in load_mounts(rig.index).values()} == {SHARED}


def test_a_folder_that_is_made_a_shared_one_stops_this_link_until_its_next_start() -> None:
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_A, "a.txt", b"one", parent=NODE_D)],
        [new_folder(1, "d"), new(2, "a.txt", b"one", inside=1)],
    )
    rig.pending.clear()
    assert rig.step(pushed(2, mounted(3), entry(4, NODE_B, "b.txt", b"two"), contents=[b"two"])) == []  # type: ignore[arg-type]
    assert rig.state.is_turning and not rig.engine.is_idle
    rig.wait(60.0)
    assert not rig.has(ApplyTask) and not rig.has(CommitTask)


def test_its_rows_go_to_an_index_of_its_own_and_are_settled_there(tmp_path: Path) -> None:
    rig = Rig()
    rig.start(
        [
            folder(1, NODE_D, "d"),
            entry(2, NODE_A, "a.txt", b"one", parent=NODE_D),
            folder(3, NODE_C, "c", parent=NODE_D),
        ],
        [
            new_folder(1, "d"),
            new(2, "a.txt", b"one", inside=1),
            new_folder(3, "c", inside=1),
            new(4, "x", b"x", inside=3),
        ],
    )
    rig.step(pushed(3, mounted(4)))  # type: ignore[arg-type]
    mount = rig.nid(NODE_D)
    ids = iter(range(1, 99))
    assert hand_over(rig.index, mount, FolderTarget(tmp_path / "inner"), lambda: next(ids).to_bytes(16, "big"))
    assert not hand_over(rig.index, mount, FolderTarget(tmp_path / "inner"), lambda: b"")
    assert rig.index.reader.nid_of(NODE_A) is None and rig.index.reader.path_of(mount) == b"d"
    inner = Index(str(tmp_path / "inner" / "index.db"))
    row = inner.row(inner.reader.nid_of(NODE_A) or Nid(0))
    assert row is not None and row.remote == row.local == row.synced and row.remote is not None
    assert inner.reader.path_of(row.nid) == b"a.txt"
    assert [inner.reader.path_of(nid) for nid in inner.dirty_nids()] == [b"c/x"], "only what was new here is to be sent"
    again = rig.restarted()
    again.start(head=4)
    assert not again.state.is_turning and again.engine.is_settled


def test_that_the_namespace_around_has_a_file_no_more_says_nothing_of_the_shared_one(tmp_path: Path) -> None:
    """A snapshot of the root, taken after the folder was shared, had it no more at an entry later than the one by which
    the shared folder has it: the shared one's own snapshot was passed over (seed 68393)."""
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_A, "a.txt", b"one", parent=NODE_D)],
        [new_folder(1, "d"), new(2, "a.txt", b"one", inside=1)],
    )
    rig.step(pushed(2, mounted(3)))  # type: ignore[arg-type]
    with rig.index.transaction():
        rig.index.set_remote_dead(rig.nid(NODE_A), 26)
    hand_over(rig.index, rig.nid(NODE_D), FolderTarget(tmp_path / "inner"), lambda: b"x" * 16)
    inner = Index(str(tmp_path / "inner" / "index.db"))
    assert list(inner.connection.execute("SELECT r_state, r_seq, l_state FROM nodes")) == [(0, 0, 1)]


def test_what_was_moved_over_the_edge_before_is_new_on_one_side_and_gone_on_the_other(tmp_path: Path) -> None:
    rig = Rig()
    rig.start(
        [
            folder(1, NODE_D, "d"),
            entry(2, NODE_A, "a.txt", b"one", parent=NODE_D),
            entry(3, NODE_B, "b.txt", b"two"),
        ],
        [new_folder(1, "d"), new(2, "a.txt", b"one", inside=1), new(3, "b.txt", b"two")],
    )
    a, b, d = rig.nid(NODE_A), rig.nid(NODE_B), rig.nid(NODE_D)
    content = {each: rig.index.reader.local(each) for each in (a, b)}
    facts = [
        SeenMoved(nid, row.version, parent, row.name, row.stat, row.content, b"")
        for nid, parent in ((a, Nid(0)), (b, d))
        if (row := content[nid]) is not None
    ]
    rig.scan(*facts)
    rig.step(pushed(3, mounted(4)))  # type: ignore[arg-type]
    ids = iter(range(1, 99))
    hand_over(rig.index, d, FolderTarget(tmp_path / "inner"), lambda: next(ids).to_bytes(16, "big"))
    inner = Index(str(tmp_path / "inner" / "index.db"))
    outside = {rig.index.reader.path_of(nid): rig.index.row(nid) for nid in rig.index.dirty_nids()}
    inside = {inner.reader.path_of(nid): inner.row(nid) for nid in inner.dirty_nids()}
    new_out, new_in = outside[b"a.txt"], inside[b"b.txt"]
    assert new_out is not None and (new_out.remote, new_out.synced) == (None, None) and new_out.node_id != NODE_A
    assert new_in is not None and (new_in.remote, new_in.synced) == (None, None) and new_in.node_id != NODE_B
    gone_in, gone_out = inside[None], outside[None]
    assert gone_in is not None and (gone_in.node_id, gone_in.local) == (NODE_A, None) and gone_in.synced is not None
    assert gone_out is not None and (gone_out.node_id, gone_out.local) == (NODE_B, None) and gone_out.synced is not None


def test_a_deleted_mount_comes_back_and_says_how_to_leave() -> None:
    rig = joined_with_mount()
    rig.apply()
    rig.pending.clear()
    rig.scan(SeenGone(rig.nid(NODE_D), seen(rig, NODE_D)), is_full=True)
    rig.wait(5.0)
    assert not rig.has(CommitTask)
    task = rig.take(ApplyTask)
    assert [type(one) for one in task.tasks] == [PlaceFolder]
    from satchel.device.engine.mounts import refusals

    assert "share leave" in refusals(rig.state)[0]


def test_a_folder_around_a_mount_comes_back_for_it_and_the_rest_of_it_goes() -> None:
    rig = Rig()
    rig.start(
        [
            folder(1, NODE_C, "c"),
            mounted(2, parent=NODE_C),  # type: ignore[list-item]
            entry(3, NODE_A, "a.txt", b"one", parent=NODE_C),
        ],
        [new_folder(1, "c"), new_folder(2, "d", inside=1), new(3, "a.txt", b"one", inside=1)],
    )
    rig.pending.clear()
    rig.scan(SeenGone(rig.nid(NODE_C), seen(rig, NODE_C)), is_full=True)
    rig.wait(5.0)
    task = rig.take(ApplyTask)
    assert [one.path for one in task.tasks] == [b"c", b"c/d"]  # type: ignore[union-attr]
    (op,) = rig.take_commit()
    assert op.node_id == NODE_A


def test_a_mount_that_is_over_waits_for_its_own_link() -> None:
    rig = joined_with_mount()
    rig.apply()
    rig.pending.clear()
    nid = rig.nid(NODE_D)
    rig.step(pushed(2, entry(3, NODE_D, "d", SHARED, kind=Kind.MOUNT, action=Action.UNMOUNT, is_live=False)))
    rig.wait(30.0)
    assert not rig.has(ApplyTask)
    assert load_mounts(rig.index)[nid].stage is MountStage.ENDING
    rig = rig.restarted()
    rig.step()
    rig.scan(is_full=True)
    rig.connect(head=3)
    rig.wait(30.0)
    assert not rig.has(ApplyTask)
    rig.engine.end_mount(nid)
    rig.wait(5.0)
    assert [type(one) for one in rig.take(ApplyTask).tasks] == [TrashUnit]


def test_the_folder_that_is_left_where_a_part_ended_is_another_node() -> None:
    rig = joined_with_mount()
    rig.apply()
    nid = rig.nid(NODE_D)
    rig.step(pushed(2, entry(3, NODE_D, "d", SHARED, kind=Kind.MOUNT, action=Action.UNMOUNT, is_live=False)))
    rig.engine.end_mount(nid)
    assert rig.index.node_id_of(nid) != NODE_D, "the service never brings back what a mount was"
    # The same where the service went back to before a part that has ended since.
    rig = joined_with_mount()
    rig.apply()
    nid = rig.nid(NODE_D)
    link = Link(LinkId(b"O" * 16), "/home/ann", "/", "00" * 16, NO_UNIT, "laptop")

    def released() -> bytes | None:
        put_mount(rig.index, nid, Mount(NamespaceId(SHARED), MountStage.RELEASED))
        settle(rig.index, link, lambda inner: FolderTarget(Path("/nowhere")), lambda: b"n" * 16)
        return rig.index.node_id_of(nid)

    assert released() == NODE_D and not load_mounts(rig.index), "one that is there is that one"
    rig.index.forget_remote(nid)
    assert released() == b"n" * 16


def test_a_folder_that_is_moved_while_its_part_ends_goes_from_where_it_stands_and_nothing_is_sent() -> None:
    rig = joined_with_mount()
    rig.apply()
    rig.pending.clear()
    nid = rig.nid(NODE_D)
    rig.step(pushed(2, entry(3, NODE_D, "d", SHARED, kind=Kind.MOUNT, action=Action.UNMOUNT, is_live=False)))
    row = rig.index.reader.local(nid)
    assert row is not None
    rig.scan(SeenMoved(nid, row.version, Nid(0), b"elsewhere", row.stat, b"", b""))
    rig.engine.end_mount(nid)
    rig.wait(5.0)
    (one,) = rig.take(ApplyTask).tasks
    assert isinstance(one, TrashUnit) and not rig.has(CommitTask)


def test_where_an_account_may_only_look_its_changes_are_carried_away_and_never_committed() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"two"), (NODE_C, "c.txt", b"three"))
    rig.state.is_view_only = True
    nids = {each: rig.nid(each) for each in (NODE_A, NODE_B, NODE_C)}
    rows = {each: rig.index.reader.local(nid) for each, nid in nids.items()}
    a, b, c = rows[NODE_A], rows[NODE_B], rows[NODE_C]
    assert a is not None and b is not None and c is not None
    mine = b"mine"
    rig.scan(
        SeenChanged(a.nid, a.version, stat(101, mine), hash_of(mine), blocks_of(mine)),
        SeenMoved(b.nid, b.version, Nid(0), b"moved.txt", b.stat, b.content, b""),
        SeenGone(c.nid, c.version),
        new(9, "new.txt", b"new"),
    )
    for _ in range(6):
        rig.wait(3.0)
        assert not rig.has(CommitTask)
        while rig.has(ApplyTask):
            rig.apply()
        rig.pending = [task for task in rig.pending if type(task).__name__ in ("FetchTask",)]
        if rig.pending:
            break
    paths = {row[0] for row in rig.index.connection.execute("SELECT path FROM carried")}
    assert paths == {b"a.txt", b"new.txt"}
    here = rig.index.reader.local(nids[NODE_B])
    assert here is not None and here.name == b"b.txt", "what was moved stands where it was"


def test_a_link_that_ends_takes_all_off_the_disk_and_asks_the_service_for_nothing() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"two"), (NODE_C, "c.txt", b"three"))
    with rig.index.transaction():
        rig.index.clear_local_unit(rig.nid(NODE_C))
        put_left(rig.index, rig.nid(NODE_C), Left.OUT)
        keep_off(rig.index, rig.nid(NODE_C))
    identity = rig.state.identity
    ending = LinkIdentity(identity.link, identity.device, identity.device_name, identity.ns, ROOT_NODE, is_ending=True)
    again = rig.restarted()
    again.engine = Engine(again.index, ending, again.clock)
    again.step()
    b = again.index.reader.local(again.nid(NODE_B))
    assert b is not None
    again.scan(is_full=True)
    task = again.apply()
    assert sorted(one.path for one in task.tasks) == [b"a.txt", b"b.txt"]  # type: ignore[union-attr]
    assert again.engine.is_empty and again.engine.is_settled and not again.has(CommitTask)


def test_what_is_left_out_in_a_folder_stays_so_when_it_is_shared(tmp_path: Path) -> None:
    rig = Rig()
    rig.start(
        [folder(1, NODE_D, "d"), entry(2, NODE_A, "a.txt", b"one", parent=NODE_D)],
        [new_folder(1, "d"), new(2, "a.txt", b"one", inside=1)],
    )
    a, d = rig.nid(NODE_A), rig.nid(NODE_D)
    with rig.index.transaction():
        rig.index.clear_local_unit(a)
        put_left(rig.index, a, Left.OUT)
        keep_off(rig.index, a)
    rig.step(pushed(2, mounted(3)))  # type: ignore[arg-type]
    hand_over(rig.index, d, FolderTarget(tmp_path / "inner"), lambda: b"x" * 16)
    inner = Index(str(tmp_path / "inner" / "index.db"))
    assert load_left(inner) == ({a: Left.OUT}, set()) and load_left(rig.index) == ({}, set())
    assert inner.dirty_nids() == []


def test_what_the_service_cannot_bring_back_is_made_anew() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    row = rig.index.reader.local(rig.nid(NODE_A))
    assert row is not None
    mine = b"mine"
    rig.scan(SeenChanged(row.nid, row.version, stat(101, mine), hash_of(mine), blocks_of(mine)))
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"one", action=Action.DELETE, is_live=False)))
    rig.commit(Conflict(), head_seq=2)
    rig.wait(1.0)
    task = rig.commit(Refused("not_found", "purged"))
    assert [type(op).__name__ for op in task.request.ops] == ["UndeleteOp"]
    rig.wait(1.0)
    assert [type(op).__name__ for op in rig.take(CommitTask).request.ops] == ["CreateOp"]


def test_what_came_out_of_a_folder_that_is_shared_now_is_another_node() -> None:
    """The service knows the node in the shared folder, and nothing that still comes says so here (seed 63014)."""
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    row = rig.index.reader.local(rig.nid(NODE_A))
    assert row is not None
    rig.scan(SeenChanged(row.nid, row.version, stat(101, b"mine"), hash_of(b"mine"), blocks_of(b"mine")))
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"one", action=Action.DELETE, is_live=False)))
    rig.commit(Conflict(), head_seq=2)
    rig.wait(1.0)
    # While something is still to come, it may bring the answer.
    rig.commit(Moved(NamespaceId(SHARED)), head_seq=3)
    rig.wait(60.0)
    task = rig.commit(Moved(NamespaceId(SHARED)), head_seq=2)
    assert [(type(op).__name__, op.node_id) for op in task.request.ops] == [("UndeleteOp", NODE_A)]
    rig.wait(1.0)
    (op,) = rig.take(CommitTask).request.ops
    assert isinstance(op, CreateOp) and op.node_id != NODE_A and op.name == "a.txt"
