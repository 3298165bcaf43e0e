"""Old versions thin out, over both databases: what a policy keeps is there and right, and all counts are."""

from __future__ import annotations

import asyncio
import re

import apsw
import pytest

from satchel.core.entries import Kind
from satchel.core.errors import NotFound
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.messages import CreateOp, Stored
from satchel.core.retention import Stamp, VersionPolicy, choose_removable
from satchel.server.db import sqlite
from satchel.server.db.engine import Database, numbered
from satchel.server.metadata.restore import restore_version
from satchel.server.metadata.tree import versions
from satchel.server.upkeep import thinning
from satchel.server.upkeep.dropping import Brake
from satchel.server.upkeep.thinning import ThinningBounds
from satchel.simulation.stores import MemoryBlocks
from tests.support.databases import Run
from tests.support.retention_world import POLICY, RetentionWorld, play_embedded, play_on
from tests.support.stores import stores_beside
from tests.support.upkeep_stores import MeetingDatabase, StoppingDatabase
from tests.support.upkeep_world import data_of
from tests.support.writers import content_of, new_id, op_id


async def saved_for_days(world: RetentionWorld, days: int, a_day: int = 3) -> list[NodeId]:
    """Save three files some times a day; the second often goes back to what it was, the third is never saved again."""
    files = [await world.file(data_of(number)) for number in (0, 1_000, 2_000)]
    for at in range(days * a_day):
        world.days(1 / a_day)
        await world.edit(files[0], data_of(at % 50), data_of(at))
        await world.edit(files[1], data_of(1_000 + at % 2))
    return files


async def promised(world: RetentionWorld, node: NodeId, policy: VersionPolicy = POLICY) -> list[int]:
    """Return the revs that the policy keeps of those that are there."""
    text = "SELECT rev, created_at FROM file_versions WHERE ns = $1 AND node_id = $2"
    stamps = [Stamp(*row) for row in await world.rows(text, world.ada.ns, node)]
    gone = set(choose_removable(stamps, policy, now_ms=world.clock.now_ms()))
    return sorted(stamp.rev for stamp in stamps if stamp.rev not in gone)


def test_what_the_policy_keeps_is_kept_and_counted_whatever_the_pages(run: Run) -> None:
    async def scene(world: RetentionWorld) -> None:
        files = await saved_for_days(world, 20, 2)
        world.days(31)
        expected = [await promised(world, node) for node in files]
        numbers = {v.rev: v.number for v in await _versions(world, files[0])}
        before = await _used(world)
        counts = await world.thin()
        assert counts.done["versions"] > 30 and counts.done["bytes"] == before - await _used(world) > 0
        assert [await world.versions(node) for node in files] == expected
        assert {v.rev: v.number for v in await _versions(world, files[0])}.items() <= numbers.items()
        await world.is_clean()
        assert (await world.thin()).done == {}
        # A later version goes on counting, and what was thinned away is refused by name.
        await world.edit(files[0], b"later")
        assert (await _versions(world, files[0]))[0].number == max(numbers.values()) + 1
        gone = min(set(numbers) - set(expected[0]))
        with pytest.raises(NotFound):
            await restore_version(world.db, world.clock, world.ada.principal, _ns(world), files[0], gone)
        outcome = await restore_version(
            world.db, world.clock, world.ada.principal, _ns(world), files[0], expected[0][1]
        )
        assert isinstance(outcome, Stored)
        await world.collect()
        await world.blocklists()
        await world.is_clean()
        unused = "SELECT COUNT(*) FROM manifests WHERE refs = 0"
        assert await world.rows(unused) == [(0,)]

    play_on(run, scene)


@pytest.mark.parametrize("page", [1, 2, 3, 7, 40, 500])
@pytest.mark.parametrize("newest_min", [1, 2, 5])
def test_pages_of_any_length_come_to_the_same(page: int, newest_min: int) -> None:
    async def scene(world: RetentionWorld) -> None:
        files = await saved_for_days(world, 12, 2)
        world.days(31)
        policy = VersionPolicy(newest_min=newest_min)
        expected = [await promised(world, node, policy) for node in files]
        await world.thin(policy=policy, bounds=ThinningBounds(page=page))
        assert [await world.versions(node) for node in files] == expected

    play_embedded(scene)


def test_a_run_that_is_stopped_anywhere_has_done_a_part_and_nothing_else() -> None:
    async def stopped_at(number: int, *, is_after: bool) -> bool:
        was_stopped = False

        async def scene(world: RetentionWorld) -> None:
            nonlocal was_stopped
            files = await saved_for_days(world, 6, 2)
            world.days(31)
            expected = [await promised(world, node) for node in files]
            db = StoppingDatabase(world.db, number, asyncio.CancelledError(), kinds=("write",), is_after=is_after)
            try:
                await world.thin(db)
                await world.blocklists(db)
            except asyncio.CancelledError:
                was_stopped = True
            await world.check()
            for node, kept in zip(files, expected, strict=True):
                assert set(kept) <= set(await world.versions(node))
            # The round is ended, and another one begins anew.
            for _ in range(2):
                await world.thin()
            await world.is_clean()
            assert [await world.versions(node) for node in files] == expected

        await asyncio.to_thread(play_embedded, scene)
        return was_stopped

    async def main() -> None:
        for is_after in (False, True):
            number = 1
            while await stopped_at(number, is_after=is_after):
                number += 1
            assert number > 6

    asyncio.run(main())


def test_versions_of_what_is_in_the_trash_thin_out_and_its_newest_comes_back() -> None:
    async def scene(world: RetentionWorld) -> None:
        folder = await world.folder()
        node = await world.file(b"0", parent=folder)
        for at in range(1, 9):
            await world.edit(node, b"%d" % at)
        await world.remove(folder)
        world.days(31)
        await world.thin(policy=VersionPolicy(newest_min=1))
        assert len(await world.versions(node)) == 1
        assert isinstance(await world.restore(folder), Stored)
        (found,) = await _versions(world, node)
        assert (found.number, found.content_hash) == (9, content_of(b"8").content_hash)
        await world.is_clean()

    play_embedded(scene)


def test_content_that_was_thinned_away_is_stored_anew_when_it_comes_again(run: Run) -> None:
    async def scene(world: RetentionWorld) -> None:
        node = await world.file(b"first")
        for at in range(5):
            await world.edit(node, b"%d" % at)
        world.days(31)
        await world.thin()
        again = CreateOp(op_id(), NodeId(new_id()), ROOT_NODE, "again", Kind.FILE, content_of(b"first"))
        assert isinstance(await world.commit(world.ada, again, b"first"), Stored)
        assert (await world.blocklists()).done == {"blocklists": 3}
        await world.is_clean()

    play_on(run, scene)


def test_thinning_twice_at_once_beside_commits_counts_each_version_once(run: Run, database_url: str) -> None:
    async def scenario(db: Database) -> None:
        world = await RetentionWorld(db, MemoryBlocks()).begin()
        files = await saved_for_days(world, 10, 2)
        world.days(31)
        rows = "SELECT COUNT(*) FROM file_versions"
        before = (await world.rows(rows))[0][0]
        made = 15

        async def save() -> None:
            for at in range(made):
                await world.edit(files[at % 2], data_of(5_000 + at), data_of(at))

        async with stores_beside(db, database_url, 3) as stores, asyncio.TaskGroup() as group:
            thinned = [group.create_task(world.thin(store)) for store in stores[:2]]
            group.create_task(world.blocklists(stores[2]))
            group.create_task(save())
        went = sum(task.result().done.get("versions", 0) for task in thinned)
        assert (await world.rows(rows))[0][0] == before + made - went < before
        await world.thin()
        await world.is_clean()

    run(scenario)


def test_what_went_between_the_look_and_the_lock_is_not_counted_twice() -> None:
    async def scene(world: RetentionWorld) -> None:
        files = await saved_for_days(world, 4, 3)
        world.days(31)
        bounds = ThinningBounds()
        db = MeetingDatabase(world.db, lambda: world.thin(bounds=bounds))
        expected = [await promised(world, node) for node in files]
        assert (await world.thin(db, bounds=bounds)).done == {} and db.has_met
        assert [await world.versions(node) for node in files] == expected
        await world.is_clean()

    play_embedded(scene)


def test_a_blocklist_that_is_used_or_named_after_all_is_not_forgotten() -> None:
    async def scene(world: RetentionWorld) -> None:
        node = await world.file(b"first")
        for at in range(3):
            await world.edit(node, b"%d" % at)
        world.days(31)
        await world.thin()
        unused = await world.rows("SELECT manifest_id FROM manifests WHERE refs = 0")
        assert len(unused) == 2
        # Somebody saves the first content again, just when it is to be forgotten.
        db = MeetingDatabase(world.db, lambda: world.file(b"first"))
        assert (await world.blocklists(db)).done == {"blocklists": 1} and db.has_met
        await world.is_clean()
        # A count that is wrong is not believed.
        await world.execute("UPDATE manifests SET refs = 0")
        assert (await world.blocklists()).done == {}
        assert (await world.rows("SELECT COUNT(*) FROM manifests"))[0][0] == 3

    play_embedded(scene)


def test_a_change_of_the_settings_takes_some_days(capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(world: RetentionWorld) -> None:
        files = await saved_for_days(world, 10, 3)
        world.days(31)
        expected = [await promised(world, node) for node in files]
        rounds = 0
        while True:
            before = (await world.rows("SELECT COUNT(*) FROM file_versions"))[0][0]
            counts = await world.thin(bounds=ThinningBounds(page=2, brake=Brake(floor=3, share=0.1)))
            await world.check()
            if "slowed" not in counts.done:
                break
            rounds += 1
            assert counts.done["versions"] <= max(3, 0.1 * before) + 2
        assert rounds > 3
        assert [await world.versions(node) for node in files] == expected

    play_embedded(scene)
    assert "upkeep.slowed" in capsys.readouterr().out


def test_versions_that_are_kept_for_ever_stay() -> None:
    async def scene(world: RetentionWorld) -> None:
        files = await saved_for_days(world, 3, 3)
        versions_task = thinning.tasks(world.db, world.clock, None)[0]
        for _ in range(100):
            world.days(6)
            assert (await versions_task.run()).done == {}
        assert len(await world.versions(files[0])) == 10

    play_embedded(scene)


def test_every_statement_of_thinning_and_of_the_trash_finds_its_rows_by_index() -> None:
    seen: dict[str, None] = {}
    plans: list[tuple[str, str]] = []

    def recorded(sql: str) -> str:
        seen.setdefault(numbered(sql))
        return numbered(sql)

    async def scene(world: RetentionWorld) -> None:
        await saved_for_days(world, 3, 3)
        folder = await world.folder()
        await world.remove(await world.file(b"in it", parent=folder))
        await world.remove(folder)
        world.days(31)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite, "numbered", recorded)
            await world.thin()
            await world.blocklists()
            await world.empty_trash()
        raw: apsw.Connection = world.db._raw  # type: ignore[attr-defined]
        for text in seen:
            numbers = [int(number) for number in re.findall(r"\?(\d+)", text)]
            for *_, step in raw.execute(f"EXPLAIN QUERY PLAN {text}", (None,) * max(numbers, default=0)).fetchall():
                plans.append((step, text))

    play_embedded(scene)
    assert len(seen) > 20
    wide = [
        (step, text)
        for step, text in plans
        if (re.search(r"\(ns=\?\)$", step) and "namespaces" not in step) or re.search(r"SCAN|TEMP B-TREE", step)
    ]
    assert wide == []


def _ns(world: RetentionWorld):  # type: ignore[no-untyped-def]  # the type that the rooms ask for
    return world.ada.principal.root_ns


async def _versions(world: RetentionWorld, node: NodeId):  # type: ignore[no-untyped-def]  # as the room gives them
    return await versions(world.db, world.ada.principal, _ns(world), node)


async def _used(world: RetentionWorld) -> int:
    return int((await world.rows("SELECT bytes_used FROM namespaces WHERE ns = $1", world.ada.ns))[0][0])
