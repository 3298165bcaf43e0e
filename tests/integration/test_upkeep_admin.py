"""`admin gc|fsck|stats`, on a store without a server and through a server's socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from satchel.core.errors import Unavailable
from satchel.server.adapters.blocks_local import LocalBlocks
from satchel.server.admin import Admin, answering, run_admin
from satchel.server.db.opening import open_database
from satchel.server.settings import Settings, load_settings
from tests.support.upkeep_world import World, data_of

Asking = Callable[[str, dict[str, object]], Awaitable[dict[str, object]]]


async def with_world(settings: Settings, scene: Callable[[World], Awaitable[None]]) -> None:
    clock = World(None, None).clock  # type: ignore[arg-type]
    db = await open_database(settings.database_url, clock)
    store = LocalBlocks(settings.blocks_folder)
    try:
        world = World(db, store)
        await scene(world)
        await world.check()
    finally:
        await store.close()
        await db.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"data": str(tmp_path)})


async def ask(settings: Settings, command: str, **args: object) -> dict[str, object]:
    told: list[tuple[str, int]] = []
    result = await run_admin(settings, command, args, lambda what, done: told.append((what, done)))
    assert isinstance(result, dict) and (told or command == "stats")
    return result


async def check_commands(settings: Settings, world: World) -> None:
    stats = await ask(settings, "stats")
    assert (stats["files"], stats["versions"], stats["blocks"], stats["logical_bytes"]) == (2, 3, 3, 10_000)
    assert (stats["stored_bytes"], stats["dedup_ratio"], stats["alarm"]) == (6_000, 1.667, "")
    assert (await ask(settings, "fsck", deep=True))["is_clean"] is True
    await world.execute("UPDATE manifests SET refs = refs - 1")
    fsck = await ask(settings, "fsck")
    found = {"manifest_count_low": 3, "right_count_high": 3}
    assert (fsck["is_clean"], fsck["found"], fsck["repaired"]) == (False, found, {})
    assert (await ask(settings, "fsck", repair=True))["is_clean"] is True
    gc = await ask(settings, "gc", dry_run=True)
    assert (gc["dry_run"], gc["errors"], gc["blocks_removed"]) == (True, 0, 0)


async def fill(world: World) -> None:
    ada = await world.owner()
    file = await world.save(ada, None, data_of(1), data_of(2))
    await world.save(ada, file, data_of(1))
    await world.save(ada, None, data_of(2), data_of(3))


def test_without_a_server_the_store_is_opened_for_the_command(settings: Settings) -> None:
    async def main() -> None:
        async def scene(world: World) -> None:
            await fill(world)
            await check_commands(settings, world)

        async with asyncio.timeout(60):
            await with_world(settings, scene)

    asyncio.run(main())


def test_a_running_server_does_the_command_and_tells_how_far_it_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satchel.server.admin.TELL_EVERY_S", 0.0)

    async def main() -> None:
        async def scene(world: World) -> None:
            await fill(world)
            admin = Admin(world.db, world.clock, lambda: None, world.store, world.workers)
            async with answering(settings.admin_socket, admin):
                await check_commands(settings, world)

        async with asyncio.timeout(60):
            await with_world(settings, scene)

    asyncio.run(main())


def test_a_server_whose_blocks_are_not_at_hand_says_so(settings: Settings) -> None:
    async def main() -> None:
        async def scene(world: World) -> None:
            async with answering(settings.admin_socket, Admin(world.db, world.clock, lambda: None)):
                with pytest.raises(Unavailable):
                    await ask(settings, "gc")
                assert (await ask(settings, "stats"))["blocks"] == 0

        async with asyncio.timeout(60):
            await with_world(settings, scene)

    asyncio.run(main())
