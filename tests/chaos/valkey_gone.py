"""Valkey forgets everything every ten seconds, is gone for minutes, comes back empty: no follower misses a change."""

from __future__ import annotations

import asyncio

from tests.chaos.load import Load, finish, load
from tests.chaos.scene import Figures, Scene
from tests.chaos.servers import EVERY_ROLE, LEAN, Servers, running_service

WRITERS = 50
PAUSE_S = 0.8
FLUSHED_S = 60.0
EVERY_S = 10.0
GONE_S = 300.0


async def run(scene: Scene, servers: Servers) -> Figures:
    """Flush, take away, flush again."""
    writers = scene.count(WRITERS, least=8)
    environment = await servers.environment(bus="redis" if servers.is_lean else "")
    figures = Figures({"writers": writers, "s without Valkey": round(scene.seconds(GONE_S, least=2.0), 1)})
    roles = LEAN if servers.is_lean else EVERY_ROLE
    async with (
        running_service(scene.folder, environment.variables, roles) as service,
        load(scene, service, environment, writers=writers, pause_s=PAUSE_S * min(1.0, scene.scale * 4)) as running,
    ):
        flushes = await _flushed(scene, servers, running)
        await asyncio.to_thread(servers.valkey.stop)
        scene.tell("Valkey is gone")
        await asyncio.sleep(scene.seconds(GONE_S, least=2.0))
        await running.more(1)
        await asyncio.to_thread(servers.valkey.start)
        scene.tell(f"Valkey is back, {running.ops:,} ops acknowledged")
        flushes += await _flushed(scene, servers, running)
        figures["flushes"] = flushes
        await finish(running, figures)
    return figures


async def _flushed(scene: Scene, servers: Servers, running: Load) -> int:
    """Flush now and then for a while; return how often."""
    every_s = scene.seconds(EVERY_S, least=0.5)
    count = max(2, round(scene.seconds(FLUSHED_S) / every_s))
    for _ in range(count):
        await asyncio.sleep(every_s)
        await asyncio.to_thread(servers.valkey.command, "FLUSHALL")
        await running.more(1)
    scene.tell(f"flushed {count} times, {running.ops:,} ops acknowledged")
    return count
