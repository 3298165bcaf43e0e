"""PostgreSQL ends at once, again and again, while all write: what was acknowledged is there, once, and nothing else."""

from __future__ import annotations

import asyncio
import signal

from tests.chaos.load import finish, load
from tests.chaos.scene import Figures, Scene
from tests.chaos.servers import EVERY_ROLE, LEAN, Servers, running_service

CUTS = 100
WRITERS = 50
GENTLE_EVERY = 10
"""Each tenth time the sessions are ended one by one besides, as a planned restart does."""
OPS_BETWEEN = 25
SOON_S = 0.3


async def run(scene: Scene, servers: Servers) -> Figures:
    """Cut it as often as the scale says."""
    cuts, writers = scene.count(CUTS, least=3), scene.count(WRITERS, least=8)
    environment = await servers.environment()
    chance = scene.chance("cuts")
    figures = Figures({"restarts in immediate mode": cuts, "writers": writers})
    roles = LEAN if servers.is_lean else EVERY_ROLE
    async with (
        running_service(scene.folder, environment.variables, roles) as service,
        load(scene, service, environment, writers=writers, follow=not servers.is_lean) as running,
    ):
        for number in range(1, cuts + 1):
            await running.more(OPS_BETWEEN)
            await asyncio.sleep(SOON_S * chance.random())
            await asyncio.to_thread(servers.postgres.stop, signal.SIGQUIT)
            await asyncio.to_thread(servers.postgres.start)
            if number % GENTLE_EVERY == 1:
                await running.more(OPS_BETWEEN)
                await asyncio.to_thread(servers.postgres.stop, signal.SIGINT)
                await asyncio.to_thread(servers.postgres.start)
                scene.tell(f"{number} restarts, {running.ops:,} ops acknowledged")
        await running.more(OPS_BETWEEN)
        await finish(running, figures)
    return figures
