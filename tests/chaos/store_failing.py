"""S3 refuses, breaks off, is slow, and stores without saying so: no wrong byte, and no storm of requests."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.chaos.load import Load, finish, load
from tests.chaos.scene import Figures, Scene, require
from tests.chaos.servers import GATEWAYS, Servers, running_service
from tests.support.s3 import FailingProxy

WRITERS = 50
OPS = 6_000
STORM_MAX = 3.0
SHARES = {"busy": 0.20, "cut": 0.03, "refused": 0.02, "slow": 0.05, "damaged": 0.01}
"""Of all requests. cut: stored, and the answer breaks off; damaged: the bytes that arrive are others."""
SWALLOWED = 0.002
"""Stored, and the answer never comes: each costs the minute after which a gateway gives a request up."""


@dataclass(slots=True)
class Weather:
    """Chooses what happens to a request. is_bad: False for a store in order."""

    chance: random.Random
    shares: dict[str, float]
    is_bad: bool = False

    def choose(self, head: bytes) -> str:
        """See `FailingProxy.choose`."""
        if not self.is_bad:
            return "fine"
        roll = self.chance.random()
        for name, share in self.shares.items():
            if roll < share:
                return name
            roll -= share
        return "fine"


async def run(scene: Scene, servers: Servers) -> Figures:
    """Write in good weather, then in bad, and compare what the store was asked."""
    writers, ops = scene.count(WRITERS, least=8), scene.count(OPS, least=150)
    weather = Weather(scene.chance("weather"), SHARES | ({} if servers.is_lean else {"swallowed": SWALLOWED}))
    proxy = FailingProxy(servers.s3.ports["s3"], weather.choose)
    figures = Figures({"writers": writers})
    async with proxy.running() as address:
        environment = await servers.environment(s3_endpoint=address)
        async with (
            running_service(scene.folder, environment.variables, GATEWAYS) as service,
            load(scene, service, environment, writers=writers, follow=False) as running,
        ):
            good = await _requests_per_op(running, proxy, ops // 3)
            scene.tell(f"in order: {good:.2f} requests an op")
            weather.is_bad = True
            bad = await _requests_per_op(running, proxy, ops)
            scene.tell(f"failing: {bad:.2f} requests an op, {dict(proxy.seen)}")
            # Each of these would cost the reader a minute; all else goes on.
            weather.shares.pop("swallowed", None)
            await finish(running, figures)
    figures["times the requests of a store in order"] = bad / good
    figures["requests"] = proxy.seen.total()
    figures |= {name: count for name, count in sorted(proxy.seen.items()) if name != "fine"}
    require(bad <= STORM_MAX * good, f"{bad:.1f} requests an op instead of {good:.1f}: more than three times as many")
    return figures


async def _requests_per_op(running: Load, proxy: FailingProxy, ops: int) -> float:
    """Let so many ops be acknowledged; return how often the store was asked for each."""
    before = proxy.seen.total(), running.ops
    await running.more(ops)
    return (proxy.seen.total() - before[0]) / (running.ops - before[1])
