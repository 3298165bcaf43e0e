"""A shared folder in a linked one: what the two links tell each other, and its folder on a real disk."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from satchel.core.errors import RootMissing, StorageFailed
from satchel.core.ids import DeviceId, LinkId, NamespaceId, Nid
from satchel.device.clock import MachineClock
from satchel.device.disk import LocalDisk
from satchel.device.disk_mount import MountedDisk, prepare_state
from satchel.device.drive import drive
from satchel.device.engine import Engine
from satchel.device.engine.state import LinkIdentity
from satchel.device.index.mounts import Carried, MountStage, load_carried, put_carried
from satchel.device.index.store import Index
from satchel.device.links import Link
from satchel.device.mounted import NO_UNIT, Board, Mounted, link_of_folder
from satchel.device.neighbours import EdgeOf
from satchel.device.ports import EVERYTHING, ROOT_PATH, DiskPath, Hint, Stat, Volume
from satchel.device.shared_steps import SharedSteps
from satchel.device.unsynced import carry

NS = NamespaceId(b"s" * 16)
OUTER, INNER = LinkId(b"O" * 16), LinkId(b"I" * 16)
FILES = [(7, 49)]


class Beside:
    """A neighbour as the test says."""

    def __init__(
        self, *, has_looked: bool = True, looked_s: float | None = None, holds: bool = False, waits: bool = False
    ) -> None:
        self.has_looked = has_looked
        self.looked_s = looked_s
        self.holds = holds
        self.waits = waits
        self.hinted = 0

    def holds_uncommitted(self, files: Collection[tuple[int, int]]) -> bool:
        return self.holds and bool(files)

    def waits_at_edge(self) -> bool:
        return self.waits

    def hint_all(self) -> None:
        self.hinted += 1


class Around:
    """The link around, which has nothing to end."""

    def end_mount(self, nid: Nid) -> None:
        raise AssertionError(nid)


def board() -> Board:
    made = Board(Link(OUTER, "/home/ann", "/", "00" * 16, NO_UNIT, "laptop"), lambda: 100.0)
    inner = Link(INNER, "/home/ann/x/team", "/x/team", NS.hex(), NO_UNIT, "laptop", outer="/home/ann")
    made.tell((Mounted(Nid(5), MountStage.HELD, DiskPath(b"x/team"), inner),))
    made.enter(OUTER, Beside())
    made.enter(INNER, Beside())
    return made


def inbox(made: Board) -> list[Hint]:
    import asyncio

    return asyncio.run(made.inbox(INNER).next_hints(0.01))


@pytest.mark.parametrize(
    ("hint", "own", "inner"),
    [
        (Hint(DiskPath(b"x/team"), frozenset({b"a"})), False, Hint(ROOT_PATH, frozenset({b"a"}))),
        (Hint(DiskPath(b"x/team/deep"), None, True), False, Hint(DiskPath(b"deep"), None, True)),
        (Hint(DiskPath(b"x"), frozenset({b"team"})), True, EVERYTHING),
        (Hint(DiskPath(b"x"), frozenset({b"other"})), True, None),
        (Hint(DiskPath(b"x/team2"), None, True), True, None),
        (Hint(DiskPath(b"x"), None, True), True, EVERYTHING),
        (EVERYTHING, True, EVERYTHING),
    ],
)
def test_a_hint_comes_to_whom_it_concerns(hint: Hint, own: bool, inner: Hint | None) -> None:
    made = board()
    assert made.sort_out([hint]) == ([hint] if own else [])
    assert inbox(made) == ([] if inner is None else [inner])


def test_a_deletion_goes_when_all_neighbours_have_looked_and_none_holds_the_file() -> None:
    made = board()
    assert made.may_delete(INNER, FILES, is_wanted=False) and made.may_delete(OUTER, FILES, is_wanted=False)
    made.enter(OUTER, Beside(holds=True))
    assert (
        not made.may_delete(INNER, FILES, is_wanted=False)
        and made.may_delete(INNER, [], is_wanted=False)
        and made.may_delete(OUTER, FILES, is_wanted=False)
    )
    made.enter(OUTER, Beside(has_looked=False))
    assert not made.may_delete(INNER, FILES, is_wanted=False)
    made.leave(OUTER)
    assert not made.may_delete(INNER, FILES, is_wanted=False), "of one that does not run nothing is known"


@pytest.mark.parametrize(("is_wanted", "waits"), [(True, True), (True, False), (False, True)])
def test_two_deletions_that_wait_for_each_other_go_when_their_names_are_wanted(is_wanted: bool, waits: bool) -> None:
    made = board()
    made.enter(OUTER, Beside(holds=True, waits=waits))
    assert made.may_delete(INNER, FILES, is_wanted=is_wanted) == (is_wanted and waits)
    made.enter(OUTER, Beside(holds=True, waits=True, has_looked=False))
    assert not made.may_delete(INNER, FILES, is_wanted=True)


def test_nothing_is_forgotten_before_the_link_around_has_told_of_all() -> None:
    made = board()
    (one,) = made.mounted
    other = replace(one.link, link_id=LinkId(b"X" * 16))
    assert not made.is_forgotten(other), "of the link around nothing is known"
    made.outer = Around()
    assert not made.is_forgotten(other), "it may be told of in a moment"
    made.note_whole()
    assert made.is_forgotten(other) and not made.is_forgotten(one.link)
    made.outer = None
    assert not made.is_forgotten(other)


def test_where_nothing_watches_a_whole_look_comes_before_a_deletion() -> None:
    made = board()
    blind = Beside(looked_s=99.0)
    made.enter(OUTER, blind)
    assert not made.may_delete(INNER, FILES, is_wanted=False) and blind.hinted == 1
    blind.looked_s = 101.0
    assert made.may_delete(INNER, FILES, is_wanted=False)


# -- on a disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def outer(tmp_path: Path) -> bytes:
    folder = os.fsencode(tmp_path / "ann")
    os.mkdir(folder)
    os.mkdir(os.path.join(folder, b"team"))
    LocalDisk.initialise(folder)
    return folder


def mounted_disk(outer: bytes) -> MountedDisk:
    prepare_state(outer, NS)
    return MountedDisk(os.path.join(outer, b"team"), outer, NS)


def identity(disk: LocalDisk) -> Volume:
    return drive(disk.check_root())


def test_nothing_of_ours_stands_in_a_shared_folder_and_another_at_its_place_is_another(outer: bytes) -> None:
    disk = mounted_disk(outer)
    known = identity(disk)
    staged = drive(disk.stage())
    drive(staged.write(b"bytes"))
    drive(staged.finish(mtime_ns=1, is_executable=False))
    drive(disk.place_staged(staged.name, DiskPath(b"a.txt")))
    assert os.listdir(os.path.join(outer, b"team")) == [b"a.txt"]
    os.rename(os.path.join(outer, b"team"), os.path.join(outer, b"moved"))
    moved = MountedDisk(os.path.join(outer, b"moved"), outer, NS)
    assert identity(moved) == known, "wherever it stands it is the same one"
    os.mkdir(os.path.join(outer, b"team"))
    assert identity(mounted_disk(outer)) != known
    with pytest.raises(RootMissing):
        prepare_state(os.path.join(outer, b"team"), NS)


def begun(outer: bytes, link: Link, index: Index) -> Volume:
    """Begin the link of the shared folder as a start does."""
    board = Board(Link(OUTER, os.fsdecode(outer), "/", "00" * 16, NO_UNIT, "laptop"), lambda: 100.0)
    engine = Engine(index, LinkIdentity(link.link_id, DeviceId(b"D" * 16), "laptop", NS), MachineClock())
    fs = mounted_disk(outer)
    return drive(SharedSteps(engine, index, link, board, EdgeOf(board, link, lambda: identity(fs))).begin(fs))


def test_a_folder_that_came_into_the_place_of_a_shared_one_is_never_begun_with(outer: bytes) -> None:
    """Between the look of the link around and the start of the shared folder's own (seed 61003)."""
    team = os.path.join(outer, b"team")
    known = identity(mounted_disk(outer))
    link = Link(link_of_folder(OUTER, NS, known.marker), os.fsdecode(team), "/team", NS.hex(), NO_UNIT, "laptop")
    link = replace(link, outer=os.fsdecode(outer))
    with closing(Index(":memory:")) as index:
        os.rename(team, os.path.join(outer, b"moved"))
        os.mkdir(team)
        with pytest.raises(RootMissing):
            begun(outer, link, index)
        assert index.get("volume_marker") is None
        os.rmdir(team)
        os.rename(os.path.join(outer, b"moved"), team)
        assert begun(outer, link, index) == known
        # What an earlier version noted of a folder that it took for this one.
        index.put("volume_marker", b"another")
        assert begun(outer, link, index) == known and index.get("volume_marker") == known.marker


def test_what_is_carried_comes_to_free_names_and_into_no_shared_folder(outer: bytes) -> None:
    inner, around = mounted_disk(outer), LocalDisk(outer)
    for name in (b"a.txt", b"deep/a.txt", b"again"):
        path = os.path.join(outer, b"team", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(name)
    os.makedirs(os.path.join(outer, b"Unsynced from team"))
    Path(os.fsdecode(outer), "Unsynced from team (2)").mkdir()
    Path(os.fsdecode(outer), "Unsynced from team (2)", "a.txt").write_bytes(b"earlier")
    carried = []
    for name in (b"a.txt", b"deep/a.txt", b"again"):
        trashed = drive(inner.trash(DiskPath(name)))
        carried.append(Carried(trashed, Nid(1), DiskPath(name)))
    shared = frozenset({DiskPath(b"team"), DiskPath(b"Unsynced from team")})
    gone = Carried("1-never", Nid(2), DiskPath(b"never"))
    assert drive(carry(around, "team", [*carried, gone], shared)) == [*(one.trashed for one in carried), "1-never"]
    assert drive(carry(around, "team", carried, shared)) == [one.trashed for one in carried], (
        "a second time brings nothing"
    )
    base = Path(os.fsdecode(outer), "Unsynced from team (2)")
    found = {path.relative_to(base).as_posix(): path.read_bytes() for path in base.rglob("*") if path.is_file()}
    assert found == {"a.txt": b"earlier", "a (2).txt": b"a.txt", "deep/a.txt": b"deep/a.txt", "again": b"again"}
    assert os.listdir(os.path.join(outer, b"Unsynced from team")) == []


class NotedDisk(LocalDisk):
    """Notes in which order things arrive and folders are made durable; fails at the names that the test says."""

    def __init__(self, root: bytes, failing: str) -> None:
        super().__init__(root)
        self.failing = failing
        self.noted: list[str] = []

    async def restore_trashed(self, name: str, below: bytes, path: DiskPath) -> Stat:
        if name == self.failing:
            raise StorageFailed("The disk fails.", where="test")
        self.noted.append(os.fsdecode(path))
        return await super().restore_trashed(name, below, path)

    async def sync_folder(self, path: DiskPath) -> None:
        self.noted.append(f"sync {os.fsdecode(path)}")
        await super().sync_folder(path)


def test_what_is_carried_is_durable_before_anything_else_happens(outer: bytes) -> None:
    """The trash may be made durable at any moment: it has left there, and must be safe where it is (seed 65152)."""
    inner = mounted_disk(outer)
    carried = []
    for name in (b"deep/a.txt", b"deep/b.txt", b"c.txt"):
        path = os.path.join(outer, b"team", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(name)
        carried.append(Carried(drive(inner.trash(DiskPath(name))), Nid(1), DiskPath(name)))
    around = NotedDisk(outer, carried[2].trashed)
    with pytest.raises(StorageFailed):
        drive(carry(around, "team", carried, frozenset()))
    top = "Unsynced from team"
    assert around.noted == [
        *(f"{top}/deep/a.txt", f"sync {top}/deep", f"sync {top}", "sync "),
        *(f"{top}/deep/b.txt", f"sync {top}/deep"),
    ]
    # What has left before may have been brought by a life that ended before it made that durable.
    around.noted, around.failing = [], ""
    assert drive(carry(around, "team", carried, frozenset())) == [one.trashed for one in carried]
    assert around.noted == [
        *(f"sync {top}/deep", f"sync {top}", "sync ", f"sync {top}/deep"),
        *(f"{top}/c.txt", f"sync {top}"),
    ]


def test_a_folder_that_is_made_for_the_second_of_what_is_carried_is_durable_too(outer: bytes) -> None:
    """The first was gone, and the folder around had been made durable before this one was made (seed 66403)."""
    inner = mounted_disk(outer)
    Path(os.fsdecode(os.path.join(outer, b"team", b"a.txt"))).write_bytes(b"a")
    there = Carried(drive(inner.trash(DiskPath(b"a.txt"))), Nid(1), DiskPath(b"a.txt"))
    around = NotedDisk(outer, "")
    drive(carry(around, "team", [Carried("1-never", Nid(2), DiskPath(b"never")), there], frozenset()))
    top = "Unsynced from team"
    assert around.noted == ["sync ", f"{top}/a.txt", f"sync {top}", "sync "]


def test_what_was_noted_is_brought_over_although_the_right_to_write_came_back_first(outer: bytes) -> None:
    """It was still on its way to the trash when that came, and nobody looked any more (seed 66090)."""
    marker = identity(mounted_disk(outer)).marker
    team = os.path.join(os.fsdecode(outer), "team")
    link = Link(link_of_folder(OUTER, NS, marker), team, "/team", NS.hex(), NO_UNIT, "laptop", outer=os.fsdecode(outer))
    with closing(Index(":memory:")) as index:
        board = Board(Link(OUTER, os.fsdecode(outer), "/", "00" * 16, NO_UNIT, "laptop"), lambda: 100.0)
        engine = Engine(index, LinkIdentity(link.link_id, DeviceId(b"D" * 16), "laptop", NS), MachineClock())
        steps = SharedSteps(engine, index, link, board, EdgeOf(board, link, lambda: identity(mounted_disk(outer))))
        drive(steps.begin(mounted_disk(outer)))
        state, one = engine.state, Carried("unsynced-1", Nid(3), DiskPath(b"a.txt"))
        state.is_view_only = True
        assert steps.after().carried == ()
        state.carrying[Nid(3)] = one.trashed
        state.is_view_only = False
        assert steps.after().carried == ()
        put_carried(index, one)
        state.busy[Nid(3)] = 1
        assert steps.after().carried == ()
        del state.carrying[Nid(3)], state.busy[Nid(3)]
        assert steps.after().carried == (one,)
        steps.is_carrying = True
        assert steps.after().carried == ()
        steps.arrived([one.trashed], 1)
        steps.is_carrying = False
        assert steps.after().carried == () and not load_carried(index)
