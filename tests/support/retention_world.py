"""A world of `upkeep_world` whose accounts have folders and a trash, and whose upkeep thins out and purges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from satchel.core.entries import Entry, Kind
from satchel.core.folding import Tree
from satchel.core.hashing import block_hash, packed_hashes
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.messages import CreateOp, DeleteOp, EditOp, Outcome, Stored, UndeleteOp
from satchel.core.retention import DAY_MS, VersionPolicy
from satchel.server.db.engine import Database
from satchel.server.db.schema import migrate
from satchel.server.db.sqlite import InlineSqliteDatabase
from satchel.server.metadata.restore import restore_unit
from satchel.server.upkeep import recount
from satchel.server.upkeep.dropping import Brake
from satchel.server.upkeep.schedule import Counts
from satchel.server.upkeep.thinning import ThinningBounds, drop_blocklists, thin_versions
from satchel.server.upkeep.trash import TrashBounds, purge_trash
from satchel.server.upkeep.usage import recount_usage
from satchel.simulation.stores import MemoryBlocks
from tests.support.databases import Run
from tests.support.upkeep_world import Owner, World
from tests.support.writers import Writer, content_of, new_id, op_id

KEEP_DAYS = 30
UNBRAKED = Brake(floor=1 << 40, share=1.0)
POLICY = VersionPolicy(newest_min=2)
SMALL_TRASH = TrashBounds(nodes=2, versions=2, blocks_max=3, brake=UNBRAKED)
SMALL_THINNING = ThinningBounds(page=3, blocks_max=3, brake=UNBRAKED)


class RetentionWorld(World):
    """One account that is used like a device uses it."""

    ada: Owner

    @property
    def writer(self) -> Writer:
        """A reader of the account's feed and snapshots."""
        return Writer(self.db, self.clock, self.ada.principal)

    async def begin(self) -> RetentionWorld:
        self.ada = await self.owner()
        return self

    def days(self, count: float) -> None:
        """Let so many days pass."""
        self.later(24 * count)

    async def stored(self, op: CreateOp | EditOp | DeleteOp | UndeleteOp, *inline: bytes) -> int:
        outcome = await self.commit(self.ada, op, *inline)
        assert isinstance(outcome, Stored), outcome
        return outcome.seq

    async def folder(self, parent: NodeId = ROOT_NODE) -> NodeId:
        node = NodeId(new_id())
        await self.stored(CreateOp(op_id(), node, parent, node.hex(), Kind.FOLDER))
        return node

    async def file(self, *blocks: bytes, parent: NodeId = ROOT_NODE) -> NodeId:
        node = NodeId(new_id())
        await self.stored(CreateOp(op_id(), node, parent, node.hex(), Kind.FILE, content_of(*blocks)), *blocks)
        return node

    async def edit(self, node: NodeId, *blocks: bytes) -> int:
        """Save the file again; return the version's rev."""
        ((rev,),) = await self.rows("SELECT content_rev FROM files WHERE ns = $1 AND node_id = $2", self.ada.ns, node)
        return await self.stored(EditOp(op_id(), node, rev, content_of(*blocks)), *blocks)

    async def remove(self, node: NodeId) -> None:
        await self.stored(DeleteOp(op_id(), node, 1 << 40))

    async def restore(self, node: NodeId) -> Outcome:
        return await restore_unit(self.db, self.clock, self.ada.principal, self.ada.principal.root_ns, node)

    # -- upkeep ---

    async def empty_trash(self, db: Database | None = None, *, bounds: TrashBounds = SMALL_TRASH) -> Counts:
        now_ms = self.clock.now_ms()
        return await purge_trash(db or self.db, self.clock, keep_days=KEEP_DAYS, now_ms=now_ms, bounds=bounds)

    async def thin(
        self, db: Database | None = None, *, policy: VersionPolicy = POLICY, bounds: ThinningBounds = SMALL_THINNING
    ) -> Counts:
        return await thin_versions(db or self.db, self.clock, policy, now_ms=self.clock.now_ms(), bounds=bounds)

    async def blocklists(self, db: Database | None = None) -> Counts:
        return await drop_blocklists(db or self.db, self.clock, page=3)

    # -- what is there ---

    async def live(self) -> set[NodeId]:
        """Return the live nodes; the journal folded from its beginning says the same as a snapshot."""
        snapshot = {entry.node_id for entry in await self.writer.snapshot()}
        page = await self.writer.changes()
        if not page.is_reset:
            assert {entry.node_id for entry in await self.folded(await self.writer.all_entries())} == snapshot
        return snapshot

    async def folded(self, entries: list[Entry]) -> list[Entry]:
        """Fold all entries as a reader does that was away since the beginning."""
        tree = Tree()
        for entry in entries:
            unit = tree.fold(entry)
            if unit is not None:
                tree.merge(await self.writer.snapshot(unit))
        tree.settle()
        return list(tree.entries())

    async def versions(self, node: NodeId) -> list[int]:
        text = "SELECT rev FROM file_versions WHERE ns = $1 AND node_id = $2 ORDER BY rev"
        return [rev for (rev,) in await self.rows(text, self.ada.ns, node)]

    async def check(self) -> None:
        """Read every block of every version that is there; count everything again."""
        stored = await self.rows(
            "SELECT v.node_id, v.rev, m.blocks FROM file_versions v LEFT JOIN manifests m ON m.ns = v.ns"
            " AND m.manifest_id = v.content WHERE v.ns = $1",
            self.ada.ns,
        )
        hashes = sorted({name for _, _, packed in stored for name in packed_hashes(packed)})
        read = await self.service.read_bytes(self.ada.principal.root_ns, hashes)
        assert [block_hash(bytes(part)) for part in read] == hashes
        newest = await self.rows(
            "SELECT COUNT(*) FROM files f WHERE f.state <> 3 AND f.kind = 0 AND f.content <> (SELECT v.content FROM"
            " file_versions v WHERE v.ns = f.ns AND v.node_id = f.node_id ORDER BY v.rev DESC LIMIT 1)"
        )
        assert newest[0][0] == 0
        counts = await recount.run(self.db, self.store, self.clock, self.workers)
        assert dict(counts.found) == {}
        usage = await recount_usage(self.db, self.clock)
        assert dict(usage.done) == {"namespaces": len(self.owners)}

    async def is_clean(self) -> None:
        """Nothing waits, nothing is counted that nobody has."""
        await self.check()
        queued = "SELECT COUNT(*) FROM files WHERE state = 3 AND deleted_at IS NOT NULL"
        orphans = (
            "SELECT COUNT(*) FROM file_versions v WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.ns = v.ns"
            " AND f.node_id = v.node_id AND f.state <> 3)"
        )
        assert [await self.rows(text) for text in (queued, orphans)] == [[(0,)], [(0,)]]


Scene = Callable[[RetentionWorld], Awaitable[None]]


def play_on(run: Run, scene: Scene) -> None:
    """Play a scene on the store that `run` opens."""

    async def scenario(db: Database) -> None:
        await scene(await RetentionWorld(db, MemoryBlocks()).begin())

    run(scenario)


def play_embedded(scene: Scene) -> None:
    """Play a scene on SQLite in memory, where the dialect does not matter."""

    async def main() -> None:
        db = InlineSqliteDatabase()
        world = RetentionWorld(db, MemoryBlocks())
        await migrate(db, world.clock)
        async with asyncio.timeout(60):
            await scene(await world.begin())

    asyncio.run(main())


__all__ = ["DAY_MS", "KEEP_DAYS", "POLICY", "RetentionWorld", "play_embedded", "play_on"]
