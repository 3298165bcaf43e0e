"""A backup beside whatever happens, restored: what was there at the snapshot is there, byte by byte."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
from pathlib import Path

import pytest

from satchel.core.errors import (
    AlreadyRunning,
    BlockDamaged,
    SettingInvalid,
    Unavailable,
)
from satchel.server.db.engine import Database, Row
from satchel.server.db.schema import store_facts
from satchel.server.upkeep import compaction, recount
from satchel.server.upkeep.backup import pages, taking
from satchel.server.upkeep.backup.marks import MARKS, RESTORE, marks, require_in_service
from satchel.server.upkeep.backup.repository import locked
from satchel.server.upkeep.backup.tables import COPIED, LEFT_OUT
from satchel.server.upkeep.compaction import CompactionBounds
from satchel.simulation.stores import MemoryBlocks
from tests.support.backups import (
    OPEN,
    SECRET,
    check,
    check_restored,
    files_of,
    fill,
    flip,
    opened_world,
    play,
    restore,
    take,
)
from tests.support.databases import Run
from tests.support.upkeep_stores import StoppingDatabase, StoppingStore
from tests.support.upkeep_world import World, data_of

PLACES = {"blocks": ("pack_id", "pack_offset")}
RACING = CompactionBounds(merge_min=1, young_ms=0, small_bytes=1 << 40, live_share=0.99)


async def rows_of(db: Database, *, places: bool = False) -> dict[str, list[Row]]:
    """All copied rows, without what a restore changes."""
    found = {}
    for table in COPIED:
        columns = [name for name in table.columns if places or name not in PLACES.get(table.name, ())]
        text = f"SELECT {', '.join(columns)} FROM {table.name} ORDER BY {', '.join(table.key)}"
        found[table.name] = await db.read(lambda conn, text=text: conn.fetch(text))
    found["store_meta"] = [row for row in found["store_meta"] if row[0] not in ("epoch", *MARKS)]
    return found


# -- what is in it ---


def test_every_table_is_classified_with_all_of_its_columns(run: Run) -> None:
    async def scenario(db: Database) -> None:
        if db.dialect == "sqlite":
            text = (
                "SELECT m.name, p.name, p.pk FROM sqlite_schema m JOIN pragma_table_info(m.name) p"
                " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
            )
        else:
            text = (
                "SELECT table_name::text, column_name::text, 0 FROM information_schema.columns"
                " WHERE table_schema = 'public'"
            )
        found: dict[str, set[str]] = {}
        keys: dict[str, dict[int, str]] = {}
        for table, column, place in await db.read(lambda conn: conn.fetch(text)):
            found.setdefault(table, set()).add(column)
            if place:
                keys.setdefault(table, {})[place] = column
        assert found.keys() == {table.name for table in COPIED} | LEFT_OUT.keys()
        assert {table.name: set(table.columns) for table in COPIED} == {
            name: columns for name, columns in found.items() if name not in LEFT_OUT
        }
        if db.dialect == "sqlite":
            assert {t.name: t.key for t in COPIED} == {
                t.name: tuple(column for _, column in sorted(keys[t.name].items())) for t in COPIED
            }

    run(scenario)


def test_a_restored_store_holds_every_row_and_every_byte(run: Run, tmp_path: Path) -> None:
    async def scenario(db: Database) -> None:
        secret = SECRET if db.dialect == "postgres" else OPEN
        async with opened_world(tmp_path / "old") as old:
            await fill(old)
            before = await rows_of(old.db)
            counts = await take(old, tmp_path / "backup", secret=secret)
            assert (counts.files, counts.versions, counts.damaged) == (10, 24, 0)
            assert counts.copied_blocks == counts.blocks == 2 * 6 * 3 + 1 + 2
            new = World(db, MemoryBlocks())
            with pytest.raises(SettingInvalid):
                await restore(old, tmp_path / "backup", secret=secret)
            told = await restore(new, tmp_path / "backup", secret=secret)
            assert (told.is_clean, told.lost_blocks, told.backup_id) == (True, 0, counts.backup_id)
            assert await rows_of(db) == before
            ours, theirs = await store_facts(old.db), await store_facts(db)
            assert (ours.run, ours.cursor_key) == (theirs.run, theirs.cursor_key)
            assert ours.epoch != theirs.epoch and theirs.epoch.hex() == told.epoch
            await check_restored(old, new)
            await require_in_service(db)
            assert await db.read(lambda conn: conn.fetch("SELECT pin_id FROM pins")) == []
            assert await old.rows("SELECT pin_id FROM pins") == []

    run(scenario)


def test_a_store_on_either_database_is_restored_on_sqlite(database_url: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old", database_url) as old, opened_world(tmp_path / "new") as new:
            await fill(old, 1)
            await take(old, tmp_path / "backup")
            await restore(new, tmp_path / "backup")
            assert await rows_of(new.db) == await rows_of(old.db)
            await check_restored(old, new)

    play(scene())


def test_a_second_backup_copies_only_what_is_new_and_both_can_be_restored(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            await fill(old)
            first = await take(old, tmp_path / "backup")
            before = await rows_of(old.db)
            assert (await take(old, tmp_path / "backup")).copied_blocks == 0
            old.later(1)
            owner = old.owners[0]
            await old.save(owner, None, data_of(5_000), data_of(7))
            third = await take(old, tmp_path / "backup")
            assert (third.copied_blocks, third.blocks) == (1, first.blocks + 1)
            looked = await check(old, tmp_path / "backup")
            assert looked.is_clean and [one.backup.blocks for one in looked.backups] == [first.blocks] * 2 + [
                third.blocks
            ]
            async with opened_world(tmp_path / "newest") as newest:
                await restore(newest, tmp_path / "backup")
                await check_restored(old, newest)
            async with opened_world(tmp_path / "earlier") as earlier:
                with pytest.raises(SettingInvalid):
                    await restore(earlier, tmp_path / "backup", at_ms=first.created_ms - 1)
                told = await restore(earlier, tmp_path / "backup", at_ms=first.created_ms)
                assert told.backup_id == first.backup_id
                assert await rows_of(earlier.db) == before

    play(scene())


def test_no_row_is_lost_where_a_page_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "COPIED", [dataclasses.replace(table, page=2) for table in COPIED])

    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old, opened_world(tmp_path / "new") as new:
            await fill(old, 3)
            await take(old, tmp_path / "backup")
            await restore(new, tmp_path / "backup")
            assert await rows_of(new.db) == await rows_of(old.db)
            await check_restored(old, new)

    play(scene())


# -- beside others ---


def test_a_backup_beside_writers_holds_a_state_that_was(run: Run, tmp_path: Path) -> None:
    async def scenario(db: Database) -> None:
        old = World(db, MemoryBlocks())
        await fill(old, 1)
        at_snapshot = {name for owner in old.owners for name in owner.files}
        done = False

        async def write(number: int) -> None:
            owner, at = old.owners[number], 0
            while not done and at < 200:
                at += 1
                seed = 10_000 * (number + 1) + at * 10
                file = await old.save(owner, None, data_of(seed, 300), data_of(seed + 1, 300), inline=True)
                await old.save(owner, file, data_of(seed + 2, 300), inline=True)

        async def back_up() -> None:
            nonlocal done
            try:
                await take(old, tmp_path / "backup")
            finally:
                done = True

        async with asyncio.TaskGroup() as group:
            group.create_task(write(0))
            group.create_task(write(1))
            group.create_task(back_up())
        async with opened_world(tmp_path / "new") as new:
            told = await restore(new, tmp_path / "backup")
            assert told.is_clean
            known = {
                (node_id, rev): content
                for node_id, rev, content in await old.rows("SELECT node_id, rev, content FROM file_versions")
            }
            found = {
                (node_id, rev): content
                for node_id, rev, content in await new.rows("SELECT node_id, rev, content FROM file_versions")
            }
            assert found.items() <= known.items()
            assert at_snapshot <= {node_id for node_id, _ in found}
            # No file at a state whose version is not there, and every block of every version reads back.
            assert (
                await new.rows(
                    "SELECT node_id FROM files f WHERE kind = 1 AND NOT EXISTS (SELECT 1 FROM file_versions v"
                    " WHERE v.ns = f.ns AND v.node_id = f.node_id AND v.rev = f.content_rev)"
                )
                == []
            )
            counts = await recount.run(new.db, new.store, new.clock, new.workers, deep=True)
            assert counts.is_clean and counts.scrub is not None and counts.scrub.blocks == told.blocks

    run(scenario)


class RacingDatabase:
    """A database after whose snapshot something happens."""

    def __init__(self, world: World, race: object) -> None:
        self._db, self._race, self.dialect = world.db, race, world.db.dialect

    async def read(self, work: object, *, wait_s: float = 0.0) -> object:
        result = await self._db.read(work)  # type: ignore[arg-type]
        if wait_s:
            await self._race()  # type: ignore[operator]
        return result

    async def write(self, key: bytes, work: object) -> object:
        return await self._db.write(key, work)  # type: ignore[arg-type]


def test_compaction_and_garbage_beside_a_backup_take_nothing_from_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            await fill(old)
            owner = old.owners[0]
            before = [(owner, dict(owner.files)) for owner in old.owners]
            gone = next(iter(owner.files.values()))

            async def race() -> None:
                await old.purge(owner, gone)
                for _ in range(3):
                    old.later(3)
                    await compaction.run(old.db, old.store, old.clock, old.workers, RACING)
                    counts = await old.gc(allow_large=True)
                    assert counts.packs_deleted == 0

            counts = await take(old, tmp_path / "backup", db=RacingDatabase(old, race))  # type: ignore[arg-type]
            assert (counts.damaged, counts.copied_blocks) == (0, counts.blocks)
            old.later(3)
            assert (await old.gc(allow_large=True)).packs_deleted > 0
            for one, files in before:
                one.files = files
            async with opened_world(tmp_path / "new") as new:
                await restore(new, tmp_path / "backup")
                await check_restored(old, new)

    play(scene())


def test_a_block_that_moved_and_whose_old_pack_is_gone_is_found_at_its_new_place(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            await fill(old)

            async def race() -> None:
                # As if the pin had ended: nothing stands at the old places any more.
                await compaction.run(old.db, old.store, old.clock, old.workers, RACING)
                await old.execute("DELETE FROM pins")
                old.later(2)
                assert (await old.gc()).packs_deleted > 0

            counts = await take(old, tmp_path / "backup", db=RacingDatabase(old, race))  # type: ignore[arg-type]
            assert counts.damaged == 0
            async with opened_world(tmp_path / "new") as new:
                await restore(new, tmp_path / "backup")
                await check_restored(old, new)

    play(scene())


def test_two_backups_into_one_folder_do_not_meet(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            await fill(old, 1)
            await take(old, tmp_path / "backup")
            with locked(str(tmp_path / "backup")), pytest.raises(AlreadyRunning):
                await take(old, tmp_path / "backup")

    play(scene())


# -- damage in the store ---


def test_a_damaged_block_is_told_and_the_rest_is_backed_up(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            await fill(old)
            owner = old.owners[0]
            file = next(iter(owner.files.values()))
            bad = file.versions[max(file.versions)][0]
            span = await old.span(bad)
            path = tmp_path / "old" / "blocks" / span.name
            repair = flip(path, span.offset + 5)
            counts = await take(old, tmp_path / "backup")
            assert (counts.damaged, counts.copied_blocks) == (1, counts.blocks - 1)
            looked = await check(old, tmp_path / "backup")
            assert not looked.is_clean and [one.missing for one in looked.backups] == [1]
            async with opened_world(tmp_path / "new") as new:
                with pytest.raises(BlockDamaged, match="lacks 1 blocks, which 1 versions"):
                    await restore(new, tmp_path / "backup")
                with pytest.raises(SettingInvalid):
                    await require_in_service(new.db)
                told = await restore(new, tmp_path / "backup", partial=True)
                assert (told.lost_blocks, told.lost_versions, told.is_clean) == (1, 1, True)
                assert await new.state(bad) == 2
                new.owners = old.owners
                with pytest.raises(Exception, match=r"not have its hash|missing"):
                    await new.check()
                # A device that has the block heals it, as it does in any store.
                await new.put(owner, bad)
                await check_restored(old, new)
            # The store can read it again: the next backup has it.
            repair()
            assert (await take(old, tmp_path / "backup")).copied_blocks == 1
            assert (await check(old, tmp_path / "backup")).is_clean

    play(scene())


# -- cut at any step ---


def test_a_backup_that_is_cut_leaves_the_earlier_ones_whole_and_goes_on(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            await fill(old, 3)
            first = await take(old, tmp_path / "backup")
            await fill(old, 2)
            cut = StoppingDatabase(old.db, 1, Unavailable("cut"), is_after=True)
            steps = 0
            while True:
                for is_after in (False, True):
                    cut = StoppingDatabase(old.db, steps + 1, Unavailable("cut"), is_after=is_after)
                    try:
                        await take(old, tmp_path / "backup", db=cut)
                    except Unavailable:
                        continue
                looked = await check(old, tmp_path / "backup")
                assert looked.is_clean and looked.backups[0].backup.backup_id == first.backup_id
                # Rows that no backup names are gone with the next run.
                if not cut.has_stopped:
                    assert len(files_of(tmp_path / "backup" / "metadata")) == len(looked.backups)
                    break
                steps += 1
            assert steps >= 3

    play(scene())


def test_a_backup_whose_disk_fails_goes_on_with_what_was_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            await fill(old)
            real = os.fsync
            for number in range(1, 200):
                left = number

                def failing(fd: int) -> None:
                    nonlocal left
                    left -= 1
                    if left == 0:
                        raise OSError(28, "No space left on device")
                    real(fd)

                with monkeypatch.context() as patched:
                    patched.setattr("satchel.server.upkeep.backup.repository.os.fsync", failing)
                    try:
                        counts = await take(old, tmp_path / f"backup-{number % 3}")
                    except Exception as fault:
                        assert getattr(fault, "code", "") == "storage_full", fault
                        continue
                if left > 0 and counts.copied_blocks < counts.blocks:
                    break
            else:
                raise AssertionError("never ended")
            for number in range(3):
                await take(old, tmp_path / f"backup-{number}")
                assert (await check(old, tmp_path / f"backup-{number}")).is_clean

    play(scene())


def test_a_backup_that_is_stopped_while_it_reads_the_rows_leaves_nothing_behind(tmp_path: Path) -> None:
    reads, goes_on = threading.Event(), threading.Event()

    def progress(what: str, done: int) -> None:
        if what == "rows":
            reads.set()
            assert goes_on.wait(30)

    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            await fill(old, 1)
            folder = str(tmp_path / "backup")
            task = asyncio.ensure_future(
                taking.run(old.db, old.store, old.clock, old.workers, folder, SECRET, progress=progress)
            )
            await asyncio.to_thread(reads.wait, 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            goes_on.set()
            assert await old.rows("SELECT pin_id FROM pins") == []
        # The store is closed: its readers have ended.
        assert [path.name for path in files_of(tmp_path / "backup")] == ["keys-copy.json", "keys.json"]

    play(scene())


@pytest.mark.parametrize("what", ["transactions", "puts"])
def test_a_restore_that_is_cut_goes_on(tmp_path: Path, what: str) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old:
            await fill(old, 2)
            await take(old, tmp_path / "backup")
            async with opened_world(tmp_path / "other") as other:
                await fill(other, 1)
                await take(other, tmp_path / "strange")
            async with opened_world(tmp_path / "new") as new:
                cuts, is_done = 0, False
                while not is_done:
                    cuts += 1
                    try:
                        if what == "puts":
                            stopping = StoppingStore(new.store, cuts, is_after=bool(cuts % 2))
                            await restore(new, tmp_path / "backup", store=stopping)  # type: ignore[arg-type]
                        else:
                            cut = StoppingDatabase(new.db, cuts, Unavailable("cut"), is_after=bool(cuts % 2))
                            await restore(new, tmp_path / "backup", db=cut)
                        is_done = True
                    except (Unavailable, asyncio.CancelledError):
                        if RESTORE in await marks(new.db):
                            with pytest.raises(SettingInvalid):
                                await require_in_service(new.db)
                            with pytest.raises(SettingInvalid, match="something else"):
                                await restore(new, tmp_path / "strange")
                        else:
                            # Cut after the very last step: the store is in service.
                            is_done = cuts > 3 and bool(await new.rows("SELECT 1 FROM accounts"))
                assert cuts > (1 if what == "puts" else 10)
                assert await rows_of(new.db) == await rows_of(old.db)
                await check_restored(old, new)

    play(scene())
