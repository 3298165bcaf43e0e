"""The trash ends: what was deleted long ago goes for good and whole, over both databases, and nothing else goes."""

from __future__ import annotations

import asyncio

import pytest

from satchel.core.entries import Kind
from satchel.core.errors import NotFound
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.messages import Conflict, CreateOp, EditOp, Refused, Stored, UndeleteOp
from satchel.server.db.engine import Database
from satchel.server.feed.seed import sync
from satchel.server.metadata.purging import purge_units
from satchel.server.metadata.restore import restore_unit, restore_version
from satchel.server.metadata.tree import trash, versions
from satchel.server.upkeep import trash as trash_upkeep
from satchel.server.upkeep.dropping import Brake
from satchel.server.upkeep.pruning import prune_journals
from satchel.server.upkeep.trash import TrashBounds
from satchel.simulation.stores import MemoryBlocks
from tests.support.databases import Run
from tests.support.retention_world import KEEP_DAYS, RetentionWorld, play_embedded, play_on
from tests.support.stores import stores_beside
from tests.support.upkeep_stores import MeetingDatabase, StoppingDatabase
from tests.support.upkeep_world import data_of
from tests.support.writers import content_of, op_id


async def listed(world: RetentionWorld) -> set[NodeId]:
    return {item.node_id for item in await trash(world.db, world.ada.principal, world.ada.principal.root_ns)}


async def used(world: RetentionWorld) -> int:
    return int((await world.rows("SELECT bytes_used FROM namespaces WHERE ns = $1", world.ada.ns))[0][0])


class Unit:
    """A folder with two files and a folder with a file in it; one file has many versions, one was deleted before."""

    def __init__(self, top: NodeId, below: list[NodeId], before: NodeId) -> None:
        self.top, self.below, self.before = top, below, before

    @classmethod
    async def made(cls, world: RetentionWorld, number: int = 0) -> Unit:
        top = await world.folder()
        inner = await world.folder(top)
        files = [await world.file(data_of(number), data_of(number + at), parent=top) for at in (1, 2)]
        deep = await world.file(data_of(number + 3), parent=inner)
        before = await world.file(data_of(number + 4), parent=top)
        for at in range(5, 11):
            await world.edit(files[0], data_of(number + at))
        await world.remove(before)
        return cls(top, [inner, *files, deep], before)

    @property
    def nodes(self) -> set[NodeId]:
        return {self.top, *self.below}


def test_a_deleted_unit_goes_whole_when_its_time_is_over_and_not_before(run: Run) -> None:
    async def scene(world: RetentionWorld) -> None:
        unit, other = await Unit.made(world), await Unit.made(world, 100)
        await world.remove(unit.top)
        await world.remove(other.below[1])
        world.days(KEEP_DAYS - 1)
        await world.remove(other.top)
        assert (await world.empty_trash()).done == {}
        assert await listed(world) == {unit.top, unit.before, other.top, other.before, other.below[1]}
        world.days(2)
        before = await used(world)
        counts = await world.empty_trash()
        assert (counts.done["deleted"], counts.done["beneath"]) == (4, 4)
        assert counts.done["versions"] == 7 + 1 + 1 + 1 + 7 + 1
        assert await listed(world) == {other.top}
        assert await used(world) == before - counts.done["bytes"]
        for node in (*unit.nodes, unit.before):
            with pytest.raises(NotFound):
                await world.restore(node)
            with pytest.raises(NotFound):
                await versions(world.db, world.ada.principal, world.ada.principal.root_ns, node)
        await world.is_clean()
        assert (await world.empty_trash()).done == {}
        assert isinstance(await world.restore(other.top), Stored)
        assert await world.live() == other.nodes - {other.below[1]}
        await world.collect()
        await world.blocklists()
        await world.is_clean()
        left = "SELECT COUNT(*) FROM manifests WHERE ns = $1"
        assert await world.rows(left, world.ada.ns) == [(2,)], "the blocklists of what is left, and no other"

    play_on(run, scene)


@pytest.mark.parametrize("is_after", [False, True])
def test_a_purge_that_is_stopped_anywhere_leaves_a_unit_whole_or_gone(is_after: bool) -> None:
    async def stopped_at(number: int) -> bool:
        """Stop at the transaction; return whether it came to that."""
        was_stopped = False

        async def scene(world: RetentionWorld) -> None:
            nonlocal was_stopped
            unit, kept = await Unit.made(world), await Unit.made(world, 100)
            await world.remove(unit.top)
            world.days(KEEP_DAYS + 1)
            db = StoppingDatabase(world.db, number, asyncio.CancelledError(), kinds=("write",), is_after=is_after)
            try:
                await world.empty_trash(db)
            except asyncio.CancelledError:
                was_stopped = True
            await world.check()
            can_restore = unit.top in await listed(world)
            try:
                outcome = await world.restore(unit.top)
                assert can_restore
                assert isinstance(outcome, Stored)
                assert await world.live() == unit.nodes | kept.nodes
                assert len(await world.versions(unit.below[1])) == 7
            except NotFound:
                assert not can_restore
                assert await world.live() == kept.nodes
            await world.empty_trash()
            await world.is_clean()
            assert await world.live() >= kept.nodes

        await asyncio.to_thread(play_embedded, scene)
        return was_stopped

    async def main() -> None:
        number = 1
        while await stopped_at(number):
            number += 1
        assert number > 8

    asyncio.run(main())


def test_a_folder_in_a_purged_one_comes_back_whole_or_not_at_all() -> None:
    async def scene(world: RetentionWorld) -> None:
        top = await world.folder()
        inner = [await world.folder(top) for _ in range(6)]
        deep = {folder: {await world.file(data_of(at), parent=folder) for at in range(3)} for folder in inner}
        await world.remove(top)
        world.days(KEEP_DAYS + 1)
        number = 0
        whole: set[NodeId] = set()
        while not await world.rows("SELECT 1 FROM files WHERE node_id = $1 AND state = 3 AND deleted_at IS NULL", top):
            number += 1
            db = StoppingDatabase(world.db, 2, asyncio.CancelledError(), kinds=("write",))
            with pytest.raises(asyncio.CancelledError):
                await world.empty_trash(db)
            folder = inner[-number % len(inner)]
            if folder in whole:
                continue
            try:
                assert isinstance(await world.restore(folder), Stored)
                whole |= {folder, *deep[folder]}
            except NotFound:
                pass
            assert await world.live() == whole
        await world.empty_trash()
        await world.is_clean()
        assert await world.live() == whole and 0 < len(whole) < 24

    play_embedded(scene)


def test_restores_and_purges_that_meet_leave_each_unit_whole_or_gone(run: Run, database_url: str) -> None:
    async def scenario(db: Database) -> None:
        world = await RetentionWorld(db, MemoryBlocks()).begin()
        units = [await Unit.made(world, 20 * at) for at in range(6)]
        for unit in units:
            await world.remove(unit.top)
        world.days(KEEP_DAYS + 1)
        came_back: set[NodeId] = set()

        async def restore(store: Database) -> None:
            for unit in reversed(units):
                try:
                    ns = world.ada.principal.root_ns
                    outcome = await restore_unit(store, world.clock, world.ada.principal, ns, unit.top)
                except NotFound:
                    continue
                if isinstance(outcome, Stored):
                    came_back.update(unit.nodes)
                else:
                    assert outcome == Refused("not_found", "purged")

        async with stores_beside(db, database_url, 3) as stores, asyncio.TaskGroup() as group:
            group.create_task(world.empty_trash(stores[0]))
            group.create_task(restore(stores[1]))
            group.create_task(world.empty_trash(stores[2]))
        assert await world.live() == came_back
        await world.empty_trash()
        assert await world.live() == came_back
        await world.is_clean()

    run(scenario)


def test_of_a_restore_and_a_purge_that_both_found_the_unit_the_first_to_lock_wins() -> None:
    async def scene(world: RetentionWorld) -> None:
        purged, restored = await Unit.made(world), await Unit.made(world, 100)
        principal, ns = world.ada.principal, world.ada.principal.root_ns
        await world.remove(purged.top)
        world.days(KEEP_DAYS + 1)
        db = MeetingDatabase(world.db, world.empty_trash)
        outcome = await restore_unit(db, world.clock, principal, ns, purged.top)
        assert outcome == Refused("not_found", "purged") and db.has_met
        await world.remove(restored.top)
        world.days(KEEP_DAYS + 1)
        db = MeetingDatabase(world.db, lambda: world.restore(restored.top))
        assert (await world.empty_trash(db)).done == {} and db.has_met
        assert await world.live() == restored.nodes
        await world.is_clean()

    play_embedded(scene)


def test_what_was_purged_is_refused_by_a_restore_that_found_it_before() -> None:
    async def scene(world: RetentionWorld) -> None:
        unit = await Unit.made(world)
        file = unit.below[1]
        await world.remove(unit.top)
        await world.remove(await world.file(b"x"))
        world.days(KEEP_DAYS + 1)
        await world.empty_trash()
        for node, kind in ((unit.top, Kind.FOLDER), (file, Kind.FILE)):
            op = UndeleteOp(op_id(), node, ROOT_NODE, kind.name, None, "", 0, False, True)
            assert await world.commit(world.ada, op) == Refused("not_found", "purged")
        with pytest.raises(NotFound):
            await restore_version(world.db, world.clock, world.ada.principal, world.ada.principal.root_ns, file, 4)
        assert await world.live() == set()

    play_embedded(scene)


def test_a_device_that_was_away_gets_its_own_work_in_by_the_same_ids(run: Run) -> None:
    async def scene(world: RetentionWorld) -> None:
        unit = await Unit.made(world)
        inner, file, _, deep = unit.below
        before = await world.writer.all_entries()
        place = before[-1]
        await world.remove(unit.top)
        world.days(KEEP_DAYS + 10)
        await world.empty_trash()
        # The feed tells of one deletion, and the journal folds to nothing from any place.
        told = await world.writer.changes(place.seq, place.tag)
        assert [(entry.node_id, entry.is_live) for entry in told.entries] == [(unit.top, False)]
        assert await world.live() == set()
        # An edit meets a dead node; so does one that is made anew under an id of before.
        edit = await world.commit(world.ada, EditOp(op_id(), file, place.seq, content_of(b"mine")), b"mine")
        made = CreateOp(op_id(), deep, ROOT_NODE, "mine", Kind.FILE, content_of(b"mine"))
        create = await world.commit(world.ada, made, b"mine")
        for outcome in (edit, create):
            assert isinstance(outcome, Conflict) and outcome.current is not None and not outcome.current.is_live
        # So the device brings the folders back bare, and the file with its content.
        for node, parent in ((unit.top, ROOT_NODE), (inner, unit.top)):
            await world.stored(UndeleteOp(op_id(), node, parent, "again", None, "", 0, False, False))
        revive = UndeleteOp(op_id(), deep, inner, "deep", content_of(b"mine"), "", 1, False, False)
        await world.stored(revive, b"mine")
        assert await world.live() == {unit.top, inner, deep}
        found = await versions(world.db, world.ada.principal, world.ada.principal.root_ns, deep)
        assert [(version.number, version.size) for version in found] == [(2, 4)]
        await world.empty_trash()
        await world.is_clean()

    play_on(run, scene)


def test_a_folder_that_comes_back_bare_in_the_middle_of_its_purge_keeps_nothing_half(run: Run) -> None:
    async def scene(world: RetentionWorld) -> None:
        unit = await Unit.made(world)
        await world.remove(unit.top)
        world.days(KEEP_DAYS + 1)
        db = StoppingDatabase(world.db, 2, asyncio.CancelledError(), kinds=("write",))
        with pytest.raises(asyncio.CancelledError):
            await world.empty_trash(db, bounds=TrashBounds(nodes=1, versions=2))
        await world.stored(UndeleteOp(op_id(), unit.top, ROOT_NODE, "bare", None, "", 0, False, False))
        await world.empty_trash()
        assert await world.live() == {unit.top}
        left = await listed(world)
        world.days(KEEP_DAYS + 1)
        counts = await world.empty_trash()
        # What lost its folder stays in the trash as long as what was deleted, from the folder's return on.
        assert counts.done.get("left_behind", 0) == len(left - {unit.before})
        assert await listed(world) == set()
        assert await world.live() == {unit.top}
        await world.is_clean()

    play_on(run, scene)


def test_what_lost_its_folder_goes_after_the_days_and_what_was_made_in_it_since_stays(run: Run) -> None:
    async def scene(world: RetentionWorld) -> None:
        unit = await Unit.made(world)
        await world.remove(unit.top)
        world.days(KEEP_DAYS - 1)
        await world.stored(UndeleteOp(op_id(), unit.top, ROOT_NODE, "bare", None, "", 0, False, False))
        since = await world.file(data_of(50), parent=unit.top)
        inner = unit.below[0]
        direct = {*unit.below[:3]}
        world.days(KEEP_DAYS - 1)
        assert "left_behind" not in (await world.empty_trash()).done
        assert await listed(world) == direct
        # One of them is brought back just in time, with what is in it.
        db = MeetingDatabase(world.db, lambda: world.restore(inner))
        world.days(2)
        counts = await world.empty_trash(db)
        assert db.has_met and counts.done["left_behind"] == 2
        assert await listed(world) == set()
        assert await world.live() == {unit.top, since, inner, unit.below[3]}
        await world.is_clean()

    play_on(run, scene)


def test_files_of_more_blocks_than_a_transaction_takes_go_one_after_another() -> None:
    async def scene(world: RetentionWorld) -> None:
        for at in range(4):
            await world.remove(await world.file(data_of(2 * at), data_of(2 * at + 1)))
        world.days(KEEP_DAYS + 1)
        counts = await world.empty_trash(bounds=TrashBounds(nodes=10, versions=10, blocks_max=3))
        assert (counts.done["deleted"], counts.done["versions"], counts.done["blocklists"]) == (4, 4, 4)
        await world.is_clean()

    play_embedded(scene)


def test_rows_of_what_was_purged_go_when_the_journal_is_silent_about_them() -> None:
    async def scene(world: RetentionWorld) -> None:
        unit = await Unit.made(world)
        await world.remove(unit.top)
        world.days(KEEP_DAYS + 1)
        assert "forgotten" not in (await world.empty_trash()).done
        known = await world.file(b"kept")
        world.days(200)
        await prune_journals(world.db, world.clock, entries_min=2)
        assert "forgotten" not in (await world.empty_trash()).done
        for at in range(3):
            await world.edit(known, b"%d" % at)
        world.days(200)
        await prune_journals(world.db, world.clock, entries_min=2)
        assert (await world.empty_trash()).done["forgotten"] == len(unit.nodes) + 1
        assert await world.rows("SELECT node_id FROM files WHERE ns = $1", world.ada.ns) == [(known,)]
        assert isinstance(await world.commit(world.ada, EditOp(op_id(), unit.top, 1, content_of(b"x")), b"x"), Refused)
        await world.is_clean()

    play_embedded(scene)


def test_the_feed_for_programs_names_the_old_places_of_what_was_purged() -> None:
    async def scene(world: RetentionWorld) -> None:
        start = (await sync(world.db, world.ada.principal)).cursor
        unit = await Unit.made(world)
        told = await sync(world.db, world.ada.principal, start)
        await world.remove(unit.top)
        world.days(KEEP_DAYS + 1)
        await world.empty_trash()
        again = await sync(world.db, world.ada.principal, start)
        assert [entry.path for entry in again.entries[: len(told.entries)]] == [entry.path for entry in told.entries]

    play_embedded(scene)


def test_a_round_that_finds_very_much_goes_on_in_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(world: RetentionWorld) -> None:
        for at in range(12):
            await world.remove(await world.file(data_of(at)))
        world.days(KEEP_DAYS + 1)
        bounds = TrashBounds(nodes=1, versions=1, brake=Brake(floor=2, share=0.3))
        gone = []
        for _ in range(6):
            counts = await world.empty_trash(bounds=bounds)
            gone.append((counts.done.get("versions", 0), counts.done.get("slowed", 0)))
            await world.check()
        assert gone == [(4, 1), (2, 1), (2, 1), (2, 1), (2, 1), (0, 0)]
        await world.is_clean()

    play_embedded(scene)
    assert "upkeep.slowed" in capsys.readouterr().out


def test_a_trash_that_is_kept_for_ever_loses_nothing() -> None:
    async def scene(world: RetentionWorld) -> None:
        (task,) = trash_upkeep.tasks(world.db, world.clock, None)
        node = await world.file(b"x")
        await world.remove(node)
        for _ in range(200):
            world.days(5)
            assert (await task.run()).done == {}
        assert isinstance(await world.restore(node), Stored)

    play_embedded(scene)


def test_a_clock_that_leaps_ten_years_purges_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(world: RetentionWorld) -> None:
        (task,) = trash_upkeep.tasks(world.db, world.clock, KEEP_DAYS)
        await world.remove(await world.file(b"x"))
        await task.run()
        world.days(3_650)
        assert (await task.run()).done == {}
        world.days(-3_650)
        for _ in range(KEEP_DAYS):
            assert (await task.run()).done == {}
            world.days(1)
        world.days(1)
        assert (await task.run()).done["deleted"] == 1

    play_embedded(scene)
    assert "upkeep.clock_leapt" in capsys.readouterr().out


def test_what_somebody_removes_for_good_goes_whole_with_the_next_round(run: Run) -> None:
    async def scene(world: RetentionWorld) -> None:
        unit, other = await Unit.made(world), await Unit.made(world, 100)
        ada = world.ada.principal
        await world.remove(unit.top)
        await world.remove(other.top)
        before = await used(world)
        purged = await purge_units(world.db, world.clock, ada, ada.root_ns, [unit.top, other.below[1]], before_ms=1)
        assert purged == (1, False), "what died with a folder is no unit of its own"
        assert await listed(world) == {unit.before, other.top, other.before}
        with pytest.raises(NotFound):
            await world.restore(unit.top)
        await world.check()
        counts = await world.empty_trash()
        assert (counts.done["beneath"], counts.done["versions"]) == (4, 7 + 1 + 1)
        assert await used(world) < before
        assert isinstance(await world.restore(other.top), Stored)
        # Page by page: what is deleted meanwhile stays.
        now_ms = world.clock.now_ms()
        world.days(1)
        last = await world.file(b"last")
        await world.remove(last)
        for has_more in (True, False):
            done = await purge_units(world.db, world.clock, ada, ada.root_ns, None, before_ms=now_ms, limit=1)
            assert done == (1, has_more)
        assert await listed(world) == {last}
        await world.empty_trash()
        await world.check()
        await world.is_clean()

    play_on(run, scene)


def test_where_the_trash_is_kept_for_ever_what_somebody_removes_goes() -> None:
    async def scene(world: RetentionWorld) -> None:
        (task,) = trash_upkeep.tasks(world.db, world.clock, None)
        gone, kept = [await world.file(data_of(number)) for number in range(2)]
        await world.remove(gone)
        await world.remove(kept)
        ada = world.ada.principal
        await purge_units(world.db, world.clock, ada, ada.root_ns, [gone], before_ms=1)
        assert (await task.run()).done == {"versions": 1, "blocklists": 1, "bytes": len(data_of(0))}
        assert isinstance(await world.restore(kept), Stored)
        await world.is_clean()

    play_embedded(scene)
