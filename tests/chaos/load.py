"""Writers and followers on a running service, and the check of everything afterwards.

What is checked: each acknowledged op has exactly one journal entry, of the seq that was told; no journal has a gap, or
an entry that nobody asked for; the tree and all versions are the model's; each block of a version is read through
a gateway and hashes to its name; all counters are counted anew and fit.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import aiohttp

from satchel.core.errors import Unavailable
from satchel.core.hashing import block_hash
from satchel.core.ids import BlockHash, NamespaceId, OpId
from satchel.server.adapters.blocks_object import ObjectBlocks
from satchel.server.adapters.machine import MachineClock, ThreadWorkers
from satchel.server.blocks.codec import open_block
from satchel.server.db.engine import Database, Row
from satchel.server.db.opening import open_database
from satchel.server.upkeep import recount
from tests.chaos.client import Account, Client, new_accounts
from tests.chaos.followers import Follower, followers_of
from tests.chaos.scene import Broken, Figures, Scene, require
from tests.chaos.servers import Environment, Service
from tests.chaos.writer import Writer

SHARING = 5
"""So many writers share one namespace; each other one has an account of its own."""
SEEN_S = 120.0
"""Within this every follower has seen the last change once all is well again."""
STALLED_S = 120.0


@dataclass(slots=True)
class Load:
    """What runs against a service. stop_writing, stop_following: set when that is to end."""

    scene: Scene
    service: Service
    environment: Environment
    writers: list[Writer]
    followers: list[Follower]
    writing: list[asyncio.Task[None]] = field(default_factory=list)
    stop_writing: asyncio.Event = field(default_factory=asyncio.Event)
    stop_following: asyncio.Event = field(default_factory=asyncio.Event)
    began_s: float = field(default_factory=time.monotonic)
    written_s: float = 0.0

    @property
    def ops(self) -> int:
        """How many ops were acknowledged."""
        return sum(len(writer.acknowledged) for writer in self.writers)

    def count(self, name: str) -> int:
        return sum(writer.counts[name] for writer in self.writers)

    @property
    def namespaces(self) -> set[NamespaceId]:
        return {writer.client.account.ns for writer in self.writers}

    async def more(self, ops: int) -> None:
        """Return when so many more ops were acknowledged. Raises: Broken when that takes two minutes."""
        wanted = self.ops + ops
        try:
            async with asyncio.timeout(STALLED_S):
                while self.ops < wanted:  # noqa: ASYNC110  # counters of many have no event to wait for
                    await asyncio.sleep(0.02)
        except TimeoutError:
            cuts = sum((writer.client.cuts for writer in self.writers), Counter[str]())
            raise Broken(f"nothing is acknowledged for {STALLED_S:.0f} s: {dict(cuts)}") from None

    async def all_seen(self, heads: dict[NamespaceId, int]) -> float:
        """Return the seconds until every follower has seen everything. Raises: Broken when it takes too long."""
        began = time.monotonic()

        async def wait(one: Follower) -> None:
            try:
                async with asyncio.timeout(SEEN_S):
                    await one.wait_until_seen(heads[one.client.account.ns])
            except TimeoutError:
                seen, head = max(one.seen, default=0), heads[one.client.account.ns]
                raise Broken(f"{type(one).__name__} has seen {seen} of {head} after {SEEN_S:.0f} s") from None

        async with asyncio.TaskGroup() as group:
            for one in self.followers:
                group.create_task(wait(one))
        for one in self.followers:
            missed = set(range(1, heads[one.client.account.ns] + 1)) - one.seen
            require(not missed, f"{type(one).__name__} has never seen {sorted(missed)[:10]}")
        return time.monotonic() - began


@contextlib.asynccontextmanager
async def load(
    scene: Scene, service: Service, environment: Environment, *, writers: int, pause_s: float = 0.0, follow: bool = True
) -> AsyncIterator[Load]:
    """Run writers, and a follower for each namespace, beside the block. The block ends them by `finish`."""
    shared = min(SHARING, writers)
    async with _opened(environment) as db:
        own = await new_accounts(db, [f"writer{number}" for number in range(writers - shared)], devices=2)
        together = await new_accounts(db, ["together"], devices=shared + 1)
    accounts = [*together, *own]
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:

        def client(account: Account) -> Client:
            chance = scene.chance("client", account.device.hex())
            return Client(session, service.addresses(), account, chance)

        made = [
            Writer(client(account), scene.chance("writer", number), pause_s)
            for number, account in enumerate(account for devices in accounts for account in devices[1:])
        ]
        watching = followers_of(client(devices[0]) for devices in accounts) if follow else []
        running = Load(scene, service, environment, made, watching)
        try:
            async with asyncio.TaskGroup() as group:
                running.writing = [group.create_task(writer.run(running.stop_writing)) for writer in made]
                tasks = [group.create_task(one.run(running.stop_following)) for one in watching]
                yield running
                running.stop_writing.set()
                running.stop_following.set()
                for task in tasks:
                    # A stream says nothing for a while; all that it had to see was waited for.
                    task.cancel()
        except* Broken as broken:
            raise _first(broken) from None


def _first(broken: BaseExceptionGroup[Broken]) -> Broken:
    first: BaseException = broken
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, Broken)
    return first


@contextlib.asynccontextmanager
async def _opened(environment: Environment) -> AsyncIterator[Database]:
    db = await open_database(environment.database_url, MachineClock())
    try:
        yield db
    finally:
        await db.close()


async def finish(running: Load, figures: Figures) -> None:
    """End the writers, wait for the followers, check everything, and tell the figures of all that. Raises: Broken."""
    running.stop_writing.set()
    running.written_s = time.monotonic() - running.began_s
    scene = running.scene
    # Each brings what it has begun to its end before it stops.
    await asyncio.wait(running.writing)
    async with asyncio.TaskGroup() as group:
        repeats = [group.create_task(writer.repeat_lasts()) for writer in running.writers]
    ended = running.service.ended()
    require(not ended, f"processes ended by themselves: {ended}")
    async with _opened(running.environment) as db:
        heads = await _check_journals(db, running)
        figures["ops acknowledged"] = running.ops
        figures["ops/s"] = round(running.ops / running.written_s)
        figures["requests cut"] = running.count("cut")
        figures["ops repeated with an equal answer"] = running.count("repeated") + sum(one.result() for one in repeats)
        scene.tell(f"{running.ops:,} ops, each with one journal entry, no gap")
        if running.followers:
            figures["s until all had seen all"] = round(await running.all_seen(heads), 1)
            figures["streams opened anew"] = sum(max(0, one.connects - 1) for one in running.followers)
            scene.tell("every follower has seen every change")
        figures["blocks read back"] = await _check_versions(db, running)
        scene.tell(f"{figures['blocks read back']:,} blocks of all versions read back")
        await _check_counters(db, running)
        scene.tell("recount and scrub are clean")


async def _check_journals(db: Database, running: Load) -> dict[NamespaceId, int]:
    """Compare the journals with what was acknowledged; return where they end."""
    told: dict[NamespaceId, dict[OpId, int]] = defaultdict(dict)
    for writer in running.writers:
        told[writer.client.account.ns].update(writer.acknowledged)
    heads = {}
    for ns, ops in told.items():
        rows = await _rows(db, "SELECT seq, op_id FROM file_changes WHERE ns = $1 ORDER BY seq", ns)
        ((head,),) = await _rows(db, "SELECT head_seq FROM namespaces WHERE ns = $1", ns)
        require([seq for seq, _ in rows] == list(range(1, head + 1)), f"the journal of {ns.hex()} has a gap")
        found: dict[OpId, int] = {}
        for seq, op_id in rows:
            require(op_id not in found, f"op {op_id.hex()} stands twice in the journal: {found.get(op_id)} and {seq}")
            found[op_id] = seq
        lost = {op_id.hex(): seq for op_id, seq in ops.items() if found.get(op_id) != seq}
        require(not lost, f"acknowledged and not in the journal at their place: {lost}")
        strange = found.keys() - ops.keys()
        require(not strange, f"in the journal and never acknowledged: {sorted(name.hex() for name in strange)[:10]}")
        heads[ns] = head
    return heads


async def _check_versions(db: Database, running: Load) -> int:
    """Compare tree and versions with the model and read all their blocks; return how many there were."""
    by_ns: dict[NamespaceId, list[Writer]] = defaultdict(list)
    for writer in running.writers:
        by_ns[writer.client.account.ns].append(writer)
    read = 0
    for ns, writers in by_ns.items():
        nodes = {node_id: made for writer in writers for node_id, made in writer.nodes.items()}
        rows = await _rows(db, "SELECT node_id, name FROM files WHERE ns = $1 AND state = 1", ns)
        live = {node_id: made.name for node_id, made in nodes.items() if made.is_live}
        require(dict(rows) == live, f"the tree of {ns.hex()} is not what was acknowledged")
        text = (
            "SELECT v.node_id, v.rev, m.blocks FROM file_versions v LEFT JOIN manifests m"
            " ON m.ns = v.ns AND m.manifest_id = v.content WHERE v.ns = $1"
        )
        stored = {(node_id, rev): _hashes(packed) for node_id, rev, packed in await _rows(db, text, ns)}
        known = {(node_id, rev): blocks for node_id, made in nodes.items() for rev, blocks in made.versions.items()}
        require(stored == known, f"the versions in {ns.hex()} are not what was acknowledged")
        read += await _read_back(writers[0].client, {name for blocks in known.values() for name in blocks})
    return read


async def _read_back(client: Client, names: Iterable[BlockHash]) -> int:
    wanted = sorted(names)
    got = 0
    for reply, bodies in await client.read_blocks(wanted):
        require(not reply.missing, f"blocks in use are missing: {[name.hex() for name in reply.missing][:5]}")
        for wire, body in zip(reply.blocks, bodies, strict=True):
            data = open_block(wire, body)
            require(block_hash(data) == wire.hash, f"other bytes than those of {wire.hash.hex()}")
            got += 1
    require(got == len(wanted), f"{got} blocks came for {len(wanted)} asked for")
    return got


async def _check_counters(db: Database, running: Load) -> None:
    store, workers = ObjectBlocks(running.environment.blocks_url, MachineClock()), ThreadWorkers()
    try:
        counts = await recount.run(db, store, MachineClock(), workers, deep=True)
    finally:
        workers.close()
        await store.close()
    require(counts.is_clean, f"recount found {dict(counts.found)} {counts.examples} {counts.scrub}")


async def _rows(db: Database, text: str, *args: bytes) -> list[Row]:
    for _ in range(20):
        with contextlib.suppress(Unavailable):
            return await db.read(lambda conn: conn.fetch(text, *args))
        # A connection of before a cut is found out by its first use.
    raise Broken("the database does not answer any more")


def _hashes(packed: bytes | None) -> tuple[BlockHash, ...]:
    return tuple(BlockHash(packed[at : at + 32]) for at in range(0, len(packed), 36)) if packed else ()
