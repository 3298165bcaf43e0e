"""What a shared folder's link leaves behind is the person's own before anything of the link is forgotten."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from satchel.core.ids import LinkId, NamespaceId, Nid
from satchel.device.clock import MachineClock
from satchel.device.disk import LocalDisk
from satchel.device.disk_mount import MountedDisk, prepare_state
from satchel.device.drive import drive
from satchel.device.index.mounts import Carried, Mount, MountStage, kept_name, load_carried, put_carried, put_mount
from satchel.device.index.store import Index
from satchel.device.keeper import LinkKeeper, Runner
from satchel.device.links import Link, index_folder
from satchel.device.mount_keepers import MountKeepers, forget_mount, settle_mounts
from satchel.device.mounted import NO_UNIT, Board, Mounted, released
from satchel.device.ports import DiskPath
from satchel.device.unsynced import carry_orphans

NS, LOST = NamespaceId(b"s" * 16), NamespaceId(b"t" * 16)
CLOCK = MachineClock()
TIMEOUT_S = 30.0


class Place:
    """A linked folder with a shared one in it, and the folder of indexes."""

    def __init__(self, base: Path) -> None:
        self.home, self.folder = base / "home", base / "ann"
        self.outer = os.fsencode(self.folder)
        (self.folder / "team").mkdir(parents=True)
        LocalDisk.initialise(self.outer)
        prepare_state(self.outer, NS)
        self.link = Link(LinkId(b"O" * 16), str(self.folder), "/", "00" * 16, NO_UNIT, "laptop")
        at = str(self.folder / "team")
        self.inner = Link(LinkId(b"I" * 16), at, "/team", NS.hex(), NO_UNIT, "laptop", outer=str(self.folder))
        self.disk = MountedDisk(os.fsencode(at), self.outer, NS)

    def index(self, link: LinkId) -> Index:
        folder = index_folder(self.home, link)
        folder.mkdir(parents=True, exist_ok=True)
        return Index(str(folder / "index.db"))

    def trash(self, name: str, ns: NamespaceId = NS) -> str:
        """Put a file of the shared folder into the trash, as what is to be carried goes there."""
        (self.folder / "team" / name).write_text(name)
        kept = kept_name(ns, CLOCK.now_ns(), CLOCK.random(4))
        self.stage(name)
        drive(self.disk.trash_staged(f"t-{name}", kept))
        return kept

    def stage(self, name: str) -> None:
        """Leave a file of the shared folder in staging, as a kill between two steps does."""
        (self.folder / "team" / name).write_text(name)
        drive(self.disk.set_aside(DiskPath(name.encode()), f"t-{name}"))

    def note(self, name: str) -> None:
        """Put a file into the trash, and note it."""
        kept = self.trash(name)
        index = self.index(self.inner.link_id)
        with index.transaction():
            put_carried(index, Carried(kept, Nid(1), DiskPath(b"deep/" + name.encode())))
        index.close()

    def brought(self, top: str = "Unsynced from team") -> dict[str, str]:
        """Return what was brought over."""
        base = self.folder / top
        return {path.relative_to(base).as_posix(): path.read_text() for path in base.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_was_noted_or_left_in_staging_is_brought_over_before_the_index_goes(place: Place) -> None:
    place.note("noted.txt")
    place.trash("unnoted.txt")
    place.stage("staged.txt")
    assert forget_mount(place.home, place.inner, frozenset(), CLOCK)
    assert place.brought() == {
        "deep/noted.txt": "noted.txt",
        "unnoted.txt": "unnoted.txt",
        "staged.txt": "staged.txt",
    }
    assert not index_folder(place.home, place.inner.link_id).exists()
    assert forget_mount(place.home, place.inner, frozenset(), CLOCK), "a second time there is nothing"


def test_a_damaged_index_loses_nothing(place: Place) -> None:
    place.note("noted.txt")
    at = index_folder(place.home, place.inner.link_id) / "index.db"
    at.write_bytes(b"no database at all" * 1_000)
    assert forget_mount(place.home, place.inner, frozenset(), CLOCK)
    assert place.brought() == {"noted.txt": "noted.txt"}


def test_of_a_lost_index_all_is_brought_over_that_the_trash_keeps(place: Place) -> None:
    place.trash("a.txt")
    place.trash("theirs.txt", LOST)
    assert forget_mount(place.home, place.inner, frozenset(), CLOCK)
    assert place.brought() == {"a.txt": "a.txt"}


def test_where_it_cannot_be_brought_over_nothing_is_forgotten(place: Place) -> None:
    place.note("a.txt")
    away = place.folder.with_name("away")
    place.folder.rename(away)
    place.folder.mkdir()
    assert not forget_mount(place.home, place.inner, frozenset(), CLOCK)
    assert load_carried(place.index(place.inner.link_id))
    place.folder.rmdir()
    away.rename(place.folder)
    assert forget_mount(place.home, place.inner, frozenset(), CLOCK)
    assert place.brought() == {"deep/a.txt": "a.txt"}


def test_the_trash_keeps_it_however_old_it_is(place: Place) -> None:
    kept = place.trash("a.txt")
    (place.folder / "b.txt").write_text("b")
    drive(LocalDisk(place.outer).trash(DiskPath(b"b.txt")))
    assert drive(LocalDisk(place.outer).purge_trash(2**62)) == 1
    assert drive(LocalDisk(place.outer).kept_in_trash()) == [(kept, b"a.txt")]


def test_what_only_looks_like_one_of_ours_in_the_trash_is_left_alone(place: Place) -> None:
    for name in ("unsynced-", "unsynced-notes-1", "unsynced-" + "z" * 32 + "-1", "unsynced-ab-1"):
        (place.folder / ".satchel/trash" / name).write_text("a person's")
    assert forget_mount(place.home, place.inner, frozenset(), CLOCK)
    assert place.brought() == {} and drive(carry_orphans(LocalDisk(place.outer), (), frozenset())) == 0


def test_the_staging_of_a_folder_whose_next_link_runs_is_that_links(place: Place) -> None:
    place.note("noted.txt")
    place.stage("staged.txt")
    assert forget_mount(place.home, place.inner, frozenset(), CLOCK, is_alone=False)
    assert place.brought() == {"deep/noted.txt": "noted.txt"}
    assert [one.name for one in drive(place.disk.list_staged())] == [b"t-staged.txt"]


def test_a_folder_that_is_shared_no_more_has_all_brought_over_before_its_index_goes(place: Place) -> None:
    index = place.index(place.link.link_id)
    put_mount(index, Nid(7), Mount(NS, MountStage.RELEASED))
    ((inner, (ns, _)),) = released(index, place.link).items()
    index.close()
    assert ns == NS
    place.trash("a.txt")
    place.index(inner).close()
    settle_mounts(place.home, place.link, CLOCK)
    (found,) = place.folder.glob("Unsynced from */a.txt")
    assert found.read_text() == "a.txt" and not index_folder(place.home, inner).exists()


class Around:
    """The link around, which has nothing to end."""

    def end_mount(self, nid: Nid) -> None:
        raise AssertionError(nid)


def keepers(place: Place, told: Callable[[], None]) -> MountKeepers:
    @asynccontextmanager
    async def open_runner(link: Link) -> AsyncIterator[Runner]:
        class Runs:
            has_begun = True

            async def run(self, stop: asyncio.Event) -> None:
                await stop.wait()

        yield cast("Runner", Runs())

    async def tell() -> None:
        told()

    board = Board(place.link, CLOCK.monotonic_s)
    outer = LinkKeeper(place.link, open_runner, CLOCK)
    return MountKeepers(place.home, outer, board, open_runner, CLOCK, tell, [place.inner])


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


def test_one_of_the_last_life_that_stands_here_no_more_is_forgotten_when_all_is_known(place: Place) -> None:
    place.note("a.txt")
    place.trash("lost.txt", LOST)
    folder = index_folder(place.home, place.inner.link_id)
    seen: list[int] = []

    async def work() -> None:
        made = keepers(place, lambda: seen.append(len(made.links)))
        running = asyncio.create_task(made.run())
        made.board.outer = Around()
        made.board.changed.set()
        await asyncio.sleep(0.2)
        assert folder.exists() and made.links == [place.inner], "it may be told of in a moment"
        made.board.note_whole()
        await until(lambda: not folder.exists() and bool(place.brought("Unsynced from a shared folder")))
        await until(lambda: seen != [] and seen[-1] == 0)
        made.stop()
        await running

    asyncio.run(work())
    assert place.brought() == {"deep/a.txt": "a.txt"}
    assert place.brought("Unsynced from a shared folder") == {"lost.txt": "lost.txt"}


def test_one_of_the_last_life_that_stands_here_goes_on_with_what_it_knows(place: Place) -> None:
    place.note("a.txt")

    async def work() -> None:
        made = keepers(place, lambda: None)
        running = asyncio.create_task(made.run())
        made.board.outer = Around()
        made.board.tell((Mounted(Nid(5), MountStage.HELD, DiskPath(b"team"), place.inner),))
        made.board.note_whole()
        await until(lambda: [keeper.link for keeper in made.keepers] == [place.inner])
        assert made.links == [place.inner]
        made.stop()
        await running

    asyncio.run(work())
    assert load_carried(place.index(place.inner.link_id)) and place.brought() == {}
