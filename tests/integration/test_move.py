"""A store moves into another one and back: every row and every byte, and never two stores in service."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from satchel.core.errors import BlockDamaged, SettingInvalid, StorageFailed, Unavailable
from satchel.server.db.schema import begin_run, store_facts
from satchel.server.main import opened
from satchel.server.ports import BlockStore
from satchel.server.settings import Settings, load_settings
from satchel.server.stopped import run_stopped
from satchel.server.upkeep import recount
from satchel.server.upkeep.backup import moving
from satchel.server.upkeep.backup.marks import MOVE_OUT, marks, require_in_service
from satchel.server.upkeep.backup.moving import Half, MoveCounts
from tests.integration.test_backup import check_restored, rows_of
from tests.support.backups import fill, flip, opened_world, play
from tests.support.postgres import PostgresServer
from tests.support.s3 import S3Server
from tests.support.upkeep_stores import StoppingDatabase, StoppingStore
from tests.support.upkeep_world import World


def half(world: World, name: str, *, db: object = None, store: BlockStore | None = None) -> Half:
    return Half(db or world.db, store or world.store, name, name)  # type: ignore[arg-type]


async def move(old: Half, new: Half, world: World, *, partial: bool = False) -> MoveCounts:
    return await moving.run(old, new, world.clock, world.workers, is_partial=partial)


@contextlib.asynccontextmanager
async def refused(world: World) -> AsyncIterator[None]:
    """The store must be out of service."""
    with pytest.raises(SettingInvalid) as told:
        await require_in_service(world.db)
    assert "migrate-store" in str(told.value)
    yield


def test_there_and_back_over_postgres_and_s3_everything_is_equal(
    tmp_path: Path, postgres_server: PostgresServer, s3_server: S3Server, s3_keys: None
) -> None:
    database_url = postgres_server.create(f"test_move_{os.getpid()}")

    async def ask(settings: Settings, command: str, **args: object) -> dict[str, object]:
        return await run_stopped(settings, command, args, lambda what, done: None)

    async def scene() -> None:
        settings = load_settings({"data": str(tmp_path / "old")})
        async with opened_world(tmp_path / "old") as old:
            await fill(old, 2)
            await begin_run(old.db)
            before = await rows_of(old.db)
            facts = await store_facts(old.db)
        urls = {
            "database_url": database_url,
            "blocks_url": s3_server.url(s3_server.fresh_prefix()),
        }
        (tmp_path / "old" / "secrets.key").write_text("5a" * 32)
        told = await ask(settings, "migrate", **urls)
        assert told["secrets_file"] == str(tmp_path / "old" / "secrets.key")
        assert told["damaged"] == 0 and told["rows"]["accounts"] == 2  # type: ignore[index]
        with pytest.raises(SettingInvalid, match="was moved to postgresql"):
            async with opened(settings):
                pass
        (tmp_path / "cluster").mkdir()
        cluster = load_settings({"data": str(tmp_path / "cluster"), **urls})
        back = {
            "database_url": f"sqlite:///{tmp_path}/back/metadata.db",
            "blocks_url": f"file://{tmp_path}/back/blocks",
        }
        with pytest.raises(SettingInvalid, match="into itself"):
            await ask(cluster, "migrate", **{**back, "blocks_url": urls["blocks_url"]})
        await ask(cluster, "migrate", **back)
        async with opened_world(tmp_path / "back") as new:
            assert await rows_of(new.db) == before
            assert await store_facts(new.db) == facts
            await check_restored(old, new)
        # The first one can be used again, when that is said.
        await ask(settings, "migrate.undo")
        async with opened(settings) as made:
            assert made.services.facts.epoch == facts.epoch

    play(scene())


@pytest.mark.parametrize("what", ["old", "new", "puts"])
def test_a_move_that_is_cut_goes_on(tmp_path: Path, what: str) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old, opened_world(tmp_path / "new") as new:
            await fill(old, 1)
            before = await rows_of(old.db)
            cuts, is_done = 0, False
            while not is_done:
                cuts += 1
                ours, theirs = half(old, "old"), half(new, "new")
                if what == "puts":
                    theirs = half(new, "new", store=StoppingStore(new.store, cuts, is_after=bool(cuts % 2)))  # type: ignore[arg-type]
                else:
                    world = old if what == "old" else new
                    cut = StoppingDatabase(world.db, cuts, Unavailable("cut"), is_after=bool(cuts % 2))
                    ours, theirs = (
                        (half(old, "old", db=cut), theirs) if what == "old" else (ours, half(new, "new", db=cut))
                    )
                try:
                    await move(ours, theirs, old)
                    is_done = True
                except (Unavailable, asyncio.CancelledError):
                    # After the very last step the new one is in service, before it none is but the untouched old one.
                    is_done = (await marks(old.db)).get(MOVE_OUT) is not None and not await marks(new.db)
                    is_done = is_done and bool(await new.rows("SELECT 1 FROM accounts"))
            assert cuts > (1 if what == "puts" else 5)
            assert await rows_of(new.db) == before == await rows_of(old.db)
            async with refused(old):
                await require_in_service(new.db)
                await check_restored(old, new)

    play(scene())


def test_a_store_that_was_used_meanwhile_is_not_gone_on_with(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old, opened_world(tmp_path / "new") as new:
            await fill(old, 1)
            stopping = StoppingStore(new.store, 1, is_after=True)
            with pytest.raises(asyncio.CancelledError):
                await move(half(old, "old"), half(new, "new", store=stopping), old)  # type: ignore[arg-type]
            async with refused(old), refused(new):
                with pytest.raises(SettingInvalid, match="is being moved to new"):
                    await move(half(old, "old"), half(new, "elsewhere"), old)
            assert await moving.undo(old.db) == "new"
            with pytest.raises(SettingInvalid, match="was not moved"):
                await moving.undo(old.db)
            await begin_run(old.db)
            await old.save(old.owners[0], None, b"written meanwhile")
            with pytest.raises(SettingInvalid, match="something else"):
                await move(half(old, "old"), half(new, "new"), old)
            await require_in_service(old.db)

    play(scene())


def test_a_difference_keeps_both_stores_out_of_service(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old, opened_world(tmp_path / "new") as new:
            await fill(old, 1)
            stopping = StoppingStore(new.store, 1, is_after=True)
            with pytest.raises(asyncio.CancelledError):
                await move(half(old, "old"), half(new, "new", store=stopping), old)  # type: ignore[arg-type]
            # As a process that was not stopped would.
            await old.execute("UPDATE files SET mtime_ns = mtime_ns + 1")
            with pytest.raises(StorageFailed, match="differ in the table files"):
                await move(half(old, "old"), half(new, "new"), old)
            async with refused(old), refused(new):
                pass

    play(scene())


def test_a_damaged_block_is_moved_as_damaged_only_when_that_is_said(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened_world(tmp_path / "old") as old, opened_world(tmp_path / "new") as new:
            await fill(old, 2)
            owner = old.owners[0]
            bad = next(iter(next(iter(owner.files.values())).versions.values()))[0]
            span = await old.span(bad)
            flip(tmp_path / "old" / "blocks" / span.name, span.offset)
            with pytest.raises(BlockDamaged, match="1 blocks, which 1 versions name"):
                await move(half(old, "old"), half(new, "new"), old)
            counts = await move(half(old, "old"), half(new, "new"), old, partial=True)
            assert counts.damaged == 1 and await new.state(bad) == 2
            told = await recount.run(new.db, new.store, new.clock, new.workers)
            assert told.is_clean
            await new.put(owner, bad)
            await check_restored(old, new)

    play(scene())
