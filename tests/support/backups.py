"""A store with people in it, its backups, and what was restored from them, for the tests of backups."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from satchel.server.adapters.blocks_local import LocalBlocks
from satchel.server.db.engine import Database
from satchel.server.db.opening import open_database
from satchel.server.ports import BlockStore
from satchel.server.upkeep import recount
from satchel.server.upkeep.backup import checking, restoring, taking
from satchel.server.upkeep.backup.repository import Secret
from satchel.server.upkeep.backup.sealing import KeyCost
from satchel.simulation.stores import InlineWorkers
from tests.support.upkeep_world import World, data_of

SECRET = Secret("five words that nobody guesses", KeyCost(memory_kib=8, passes=1, lanes=1))
OPEN = Secret(None)
FILE_BYTES = 20_000
"""Files of blocks are this small here, so that there are several."""


@contextlib.asynccontextmanager
async def opened_world(folder: Path, url: str = "") -> AsyncIterator[World]:
    """Give a world over a store below `folder`, with its database at `url` when that is given."""
    os.makedirs(folder, exist_ok=True)
    made = World(None, None)  # type: ignore[arg-type]
    db = await open_database(url or f"sqlite:///{folder}/metadata.db", made.clock)
    store = LocalBlocks(str(folder / "blocks"), log_bytes_max=20_000)
    try:
        yield World(db, store)
    finally:
        await store.close()
        await db.close()


async def fill(world: World, files: int = 6) -> None:
    """Make two accounts with files of several versions, one of them deleted, and an upload without a version."""
    for number in range(2):
        owner = await world.owner()
        for at in range(files):
            seed = number * 1_000 + at * 10
            file = await world.save(owner, None, data_of(seed), data_of(seed + 1), data_of(7))
            await world.save(owner, file, data_of(seed + 2), data_of(7))
        await world.delete(owner, file)
        await world.put(owner, data_of(seed + 5))


async def take(
    world: World, folder: Path, *, secret: Secret = SECRET, db: Database | None = None, store: BlockStore | None = None
) -> taking.BackupCounts:
    """Take a backup of a world, through another database or store where one is given."""
    return await taking.run(
        db or world.db,
        store or world.store,
        world.clock,
        InlineWorkers(),
        str(folder),
        secret,
        file_bytes=FILE_BYTES,
    )


async def restore(
    world: World,
    folder: Path,
    *,
    secret: Secret = SECRET,
    at_ms: int | None = None,
    partial: bool = False,
    db: Database | None = None,
    store: BlockStore | None = None,
) -> restoring.RestoreCounts:
    """Restore into a world's empty store."""
    return await restoring.run(
        db or world.db,
        store or world.store,
        world.clock,
        InlineWorkers(),
        str(folder),
        secret,
        at_ms=at_ms,
        is_partial=partial,
    )


async def check(world: World, folder: Path, *, secret: Secret = SECRET, deep: bool = True) -> checking.RepositoryCounts:
    """Look at all backups."""
    return await checking.run(world.clock, InlineWorkers(), str(folder), secret, deep=deep)


def files_of(folder: Path) -> list[Path]:
    """Return all files of a repository but its lock."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def flip(path: Path, at: int) -> Callable[[], None]:
    """Change one byte of a file; return what puts it right again."""
    data = path.read_bytes()
    os.chmod(path, 0o600)
    path.write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])

    def repair() -> None:
        path.write_bytes(data)

    return repair


def play(scene: object) -> None:
    """Run a coroutine to its end, within a minute."""

    async def main() -> None:
        async with asyncio.timeout(60):
            await scene  # type: ignore[misc]

    asyncio.run(main())


async def check_restored(old: World, new: World) -> None:
    """Every version that the old world knows is in the new one, and the counters are right."""
    new.owners = old.owners
    await new.check()
    counts = await recount.run(new.db, new.store, new.clock, new.workers, deep=True)
    assert counts.is_clean, (counts.found, counts.examples)
