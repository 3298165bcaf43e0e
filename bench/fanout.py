"""What a change costs on its way to the devices that follow it, with a thousand gateways: `python -m bench.fanout`.

A model, not a run: it draws commits and follow sets and counts messages. What is real in it is the notifier, which
decides whom to tell: the model hands it events and stands in for the log, the presence and the post. All numbers that
are not drawn are scaled from the sample to the rate; the seed makes a run repeatable.

Two ways are compared: the notifier looks up who is connected (what we do), or every gateway is told everything.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from satchel.core.ids import AccountId, DeviceId, LinkId, NamespaceId
from satchel.server.event_log import ChangeEvent
from satchel.server.gateway.stream import PING_S
from satchel.server.notify.notifier import Notifier
from satchel.server.notify.presence import Connected, member_of, pack_connected
from satchel.server.ports import Member

EVENT_BYTES = 150
"""A record of the log: 16 bytes of key, 32 of value, and what Kafka adds."""
TOLD_BYTES = 120
"""A position that is posted to a gateway, with the post's own cost."""
LOOKUP_BYTES = 60
BATCH = 100
"""So many events a notifier takes at once."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is modelled. sample: commits that are drawn; hot_followers: connected followers of one namespace."""

    gateways: int = 1_000
    partitions: int = 256
    active_devices: int = 100_000_000
    connected_share: float = 0.5
    devices_of_account: int = 2
    commits_per_s: float = 11_574.0
    peak: float = 3.0
    shared_share: float = 0.15
    hot_followers: int = 100_000
    hot_commits_per_s: float = 1.0
    sample: int = 20_000
    jitter_s: float = 60.0

    @property
    def connected(self) -> float:
        """Devices that are connected at the busiest minute."""
        return self.active_devices * self.connected_share


@dataclass(slots=True)
class World:
    """Stands in for what the notifier asks. follows: the accounts that follow each namespace that was drawn.

    Who is connected is made up when it is asked for and always the same: a device's gateway is drawn from its account.
    """

    sizes: Sizes
    chance: random.Random
    follows: dict[NamespaceId, tuple[AccountId, ...]] = field(default_factory=dict)
    lookups: int = 0
    found: int = 0
    told: Counter[str] = field(default_factory=Counter)

    async def readers(self, namespaces: Sequence[NamespaceId]) -> dict[NamespaceId, tuple[AccountId, ...]]:
        """Give the accounts that follow each namespace."""
        return {ns: self.follows[ns] for ns in namespaces}

    async def members(self, key: str) -> dict[str, bytes]:
        """Give an account's connected devices: each is at a gateway of its own."""
        self.lookups += 1
        devices = random.Random(key)
        members: dict[str, bytes] = {}
        for number in range(self.sizes.devices_of_account):
            if devices.random() < self.sizes.connected_share:
                server = f"gateway-{devices.randrange(self.sizes.gateways)}"
                member = member_of(DeviceId(b"%016d" % number), LinkId(b"link"))
                members[member] = pack_connected(Connected(server, 0))
        self.found += len(members)
        return members

    async def members_of(self, keys: Sequence[str]) -> list[dict[str, bytes]]:
        """Give many accounts' connected devices."""
        return [await self.members(key) for key in keys]

    async def add_members(self, members: Sequence[Member], *, ttl_s: float) -> list[bool]:
        """Not asked by the notifier."""
        raise NotImplementedError

    async def add_member(self, key: str, member: str, value: bytes, *, ttl_s: float) -> bool:
        """Not asked by the notifier."""
        raise NotImplementedError

    async def remove_member(self, key: str, member: str, *, value: bytes | None = None) -> None:
        """Not asked by the notifier."""
        raise NotImplementedError

    async def spend(self, key: str, *, burst: int, per_s: float) -> float:
        """Not asked by the notifier."""
        raise NotImplementedError

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def tell(self, server_id: str, positions: Sequence[tuple[NamespaceId, int]]) -> None:
        """Count what a gateway is told."""
        self.told[server_id] += len(positions)

    def listen(self, server_id: str, listener: Callable[[NamespaceId, int], None]) -> Callable[[], None]:
        """Not asked by the notifier."""
        raise NotImplementedError

    def on_gap(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Not asked by the notifier."""
        raise NotImplementedError

    async def append(self, events: Sequence[ChangeEvent]) -> None:
        """Not asked by the notifier."""
        raise NotImplementedError

    async def consume(self, group: str, handler: object, *, stop: asyncio.Event) -> None:
        """Not asked by the model, which hands the events over itself."""
        raise NotImplementedError

    def namespace(self, followers: int) -> NamespaceId:
        """Draw a namespace with so many accounts that follow it."""
        ns = NamespaceId(self.chance.randbytes(16))
        self.follows[ns] = tuple(AccountId(self.chance.randbytes(16)) for _ in range(followers))
        return ns


def follower_count(sizes: Sizes, chance: random.Random) -> int:
    """Draw how many accounts follow the namespace of a commit: one for a root, a heavy tail for a shared folder."""
    if chance.random() >= sizes.shared_share:
        return 1
    # Pareto with alpha 1.5: mean 3 times the least, and a few with thousands.
    return min(10_000, 1 + int(chance.paretovariate(1.5)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one commit comes to, in the mean, and how uneven it is.

    followers: accounts; connected: devices of theirs that are connected; told: gateways that were told.
    """

    followers: float
    lookups: float
    connected: float
    told: float
    busiest_gateway: float
    busiest_partition: float


async def outcome_of(sizes: Sizes, *, seed: int) -> Outcome:
    """Draw commits and have the notifier handle them."""
    world = World(sizes, random.Random(seed))
    notifier = Notifier(world, world, world, world.readers)
    partitions: Counter[int] = Counter()
    for at in range(0, sizes.sample, BATCH):
        events = []
        for seq in range(at, min(at + BATCH, sizes.sample)):
            ns = world.namespace(follower_count(sizes, world.chance))
            partitions[zlib.crc32(ns) % sizes.partitions] += 1
            events.append(ChangeEvent(ns, seq + 1, 0))
        await notifier.handle(events)
    told = sum(world.told.values())
    mean = told / sizes.gateways
    return Outcome(
        followers=sum(map(len, world.follows.values())) / sizes.sample,
        lookups=world.lookups / sizes.sample,
        connected=world.found / sizes.sample,
        told=told / sizes.sample,
        busiest_gateway=max(world.told.values()) / mean if told else 0.0,
        busiest_partition=max(partitions.values()) / (sizes.sample / sizes.partitions),
    )


async def hot_outcome(sizes: Sizes, *, seed: int) -> tuple[int, int, int]:
    """Return look-ups, gateways told, and connected devices for one change of the hot namespace."""
    world = World(sizes, random.Random(seed))
    share = sizes.devices_of_account * sizes.connected_share
    ns = world.namespace(round(sizes.hot_followers / share))
    await Notifier(world, world, world, world.readers).handle([ChangeEvent(ns, 1, 0)])
    return world.lookups, sum(world.told.values()), world.found


def storm(sizes: Sizes) -> tuple[float, float]:
    """Return how many streams a gateway that is lost held, and how many each other one opens a second after it.

    Devices come back after a random part of `jitter_s`, wherever the balancer sends them.
    """
    held = sizes.connected / sizes.gateways
    return held, held / (sizes.gateways - 1) / sizes.jitter_s


def rows_of(sizes: Sizes, *, seed: int = 4711) -> list[tuple[str, float, str]]:
    """Return the table: what, how much, in which unit. All rates are those of the busiest minute."""
    each = asyncio.run(outcome_of(sizes, seed=seed))
    hot_lookups, hot_told, hot_devices = asyncio.run(hot_outcome(sizes, seed=seed))
    commits = sizes.commits_per_s * sizes.peak
    held, reopened = storm(sizes)
    renewals = sizes.connected / PING_S
    lookups = commits * each.lookups
    told, told_all = commits * each.told, commits * sizes.gateways
    hot = sizes.hot_commits_per_s
    return [
        ("commits", commits, "a second"),
        ("accounts that follow a commit's namespace, mean", each.followers, "accounts"),
        ("of their devices connected, mean", each.connected, "devices a commit"),
        ("connections a gateway holds", held, "streams"),
        ("Kafka: events", commits, "a second"),
        ("Kafka: events of a partition", commits / sizes.partitions, "a second"),
        ("Kafka: events of the busiest partition in the sample", each.busiest_partition, "times the mean"),
        ("Kafka: bytes in, before copies", commits * EVENT_BYTES / 1e6, "MB/s"),
        ("Valkey: presence renewed", renewals, "operations a second"),
        ("Valkey: presence looked up", lookups, "operations a second"),
        ("Valkey: bytes looked up", lookups * LOOKUP_BYTES / 1e6, "MB/s"),
        ("with the look-up: positions told", told, "a second"),
        ("with the look-up: positions told to a gateway", told / sizes.gateways, "a second"),
        ("with the look-up: the busiest gateway in the sample", each.busiest_gateway, "times the mean"),
        ("with the look-up: bytes told", told * TOLD_BYTES / 1e6, "MB/s"),
        ("without: positions told", told_all, "a second"),
        ("without: positions told to a gateway", commits, "a second"),
        ("without: bytes told", told_all * TOLD_BYTES / 1e6, "MB/s"),
        ("without: told for each that was wanted", sizes.gateways / max(each.told, 1e-9), "times"),
        ("hot namespace: connected followers", hot_devices, "devices"),
        ("hot namespace: look-ups a change", hot_lookups, "operations"),
        ("hot namespace: gateways told a change", hot_told, "gateways"),
        ("hot namespace: followers woken at a gateway a change", hot_devices / sizes.gateways, "streams"),
        ("hot namespace: look-ups", hot_lookups * hot, "operations a second"),
        ("gateway lost: streams that come back", held, "streams"),
        ("gateway lost: streams opened by each other one", reopened, f"a second, over {sizes.jitter_s:.0f} s"),
        ("gateway lost: commits to the database for them", 2 * held / sizes.jitter_s, "a second, over all"),
        ("ten gateways lost at once: streams opened by each", 10 * reopened, "a second"),
    ]


def main() -> None:
    """Print the table."""
    usual = Sizes()
    parser = argparse.ArgumentParser(prog="python -m bench.fanout", description=__doc__)
    parser.add_argument("--gateways", type=int, default=usual.gateways)
    parser.add_argument("--sample", type=int, default=usual.sample)
    parser.add_argument("--seed", type=int, default=4711)
    given = parser.parse_args()
    sizes = Sizes(gateways=given.gateways, sample=given.sample)
    for name, value, unit in rows_of(sizes, seed=given.seed):
        print(f"{name:58} {value:>14,.1f} {unit}" if value < 100 else f"{name:58} {value:>14,.0f} {unit}")


if __name__ == "__main__":
    main()
