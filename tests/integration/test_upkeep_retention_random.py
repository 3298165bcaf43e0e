"""A person's work and upkeep in any order, stopped at any point: what must be readable is, and what is deleted whole
comes back whole or is gone whole.

The model knows the tree, when each unit was deleted, and each version's bytes; the policy says which versions may go.
"""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass, field, replace

import pytest

from satchel.core.entries import Kind
from satchel.core.errors import NotFound
from satchel.core.hashing import block_hash, packed_hashes
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.messages import Stored
from satchel.core.retention import DAY_MS, Stamp, choose_removable
from satchel.server.db.engine import Database
from satchel.server.metadata.restore import restore_version
from satchel.server.upkeep import garbage
from tests.support.databases import Run
from tests.support.retention_world import KEEP_DAYS, POLICY, RetentionWorld, play_embedded, play_on
from tests.support.upkeep_stores import StoppingDatabase
from tests.support.upkeep_world import UNBRAKED, data_of

SEEDS = int(os.environ.get("RETENTION_SEEDS", "2"))
FIRST_SEED = int(os.environ.get("RETENTION_SEED", "1"))
STEPS = 60
GARBAGE = replace(UNBRAKED, gone_ms=0, condemned_ms=0, old_ms=0, unused_ms=0)


@dataclass
class Known:
    """A node as the model knows it. deleted_ms: of its own deletion. versions: blocks by rev."""

    kind: Kind
    parent: NodeId
    deleted_ms: int | None = None
    versions: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    is_marked: bool = False


class RandomRun:
    """One random run. Each step is drawn from the seed alone."""

    def __init__(self, world: RetentionWorld, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.nodes: dict[NodeId, Known] = {}
        self.told: list[str] = []
        self.thinned = self.purged = self.came_back = 0

    # -- the model ---

    def is_live(self, node: NodeId) -> bool:
        while node != ROOT_NODE:
            if self.nodes[node].deleted_ms is not None or self.nodes[node].is_marked:
                return False
            node = self.nodes[node].parent
        return True

    def some(self, kind: Kind, *, is_live: bool) -> NodeId | None:
        found = [node for node, known in self.nodes.items() if known.kind == kind and self.is_live(node) == is_live]
        return self.chance.choice(found) if found else None

    def below(self, top: NodeId) -> list[NodeId]:
        """Return what goes and comes with the unit: not what was deleted by itself."""
        unit = [top]
        for at in unit:
            unit += [node for node, known in self.nodes.items() if known.parent == at and known.deleted_ms is None]
        return unit

    def due(self) -> set[NodeId]:
        before_ms = self.world.clock.now_ms() - KEEP_DAYS * DAY_MS
        tops = [node for node, known in self.nodes.items() if (known.deleted_ms or before_ms) < before_ms]
        return {node for top in tops for node in self.below(top)}

    async def agree(self) -> None:
        """Compare the model with the store; learn what a stopped purge has marked."""
        world = self.world
        due = self.due()
        states = dict(await world.rows("SELECT node_id, state FROM files"))
        for node, known in self.nodes.items():
            if states[node] == 3 and not known.is_marked:
                assert node in due, "what was not due was purged"
                known.is_marked = True
        for known in self.nodes.values():
            above = self.nodes.get(known.parent)
            if known.is_marked and known.deleted_ms is None and above is not None:
                assert above.is_marked, "a folder is marked before what is in it"
        assert await world.live() == {node for node in self.nodes if self.is_live(node)}
        stored = await world.rows(
            "SELECT v.node_id, v.rev, m.blocks FROM file_versions v JOIN manifests m ON m.ns = v.ns"
            " AND m.manifest_id = v.content"
        )
        named = {(node, rev): tuple(packed_hashes(packed)) for node, rev, packed in stored}
        expected = {
            (node, rev): tuple(map(block_hash, blocks))
            for node, known in self.nodes.items()
            for rev, blocks in known.versions.items()
            if not known.is_marked
        }
        assert expected.items() <= named.items(), "versions are gone"
        assert all(self.nodes[node].is_marked for node, _ in named.keys() - expected.keys())

    # -- a person ---

    def blocks(self) -> tuple[bytes, ...]:
        return tuple(data_of(self.chance.randrange(40), 300) for _ in range(self.chance.randrange(1, 4)))

    def place(self) -> NodeId:
        folder = self.some(Kind.FOLDER, is_live=True)
        return ROOT_NODE if folder is None or self.chance.random() < 0.3 else folder

    async def make_folder(self) -> None:
        parent = self.place()
        self.nodes[await self.world.folder(parent)] = Known(Kind.FOLDER, parent)

    async def make_file(self) -> None:
        parent, blocks = self.place(), self.blocks()
        node = await self.world.file(*blocks, parent=parent)
        self.nodes[node] = Known(Kind.FILE, parent, versions={(await self.world.versions(node))[0]: blocks})

    async def edit(self) -> None:
        node = self.some(Kind.FILE, is_live=True)
        for _ in range(self.chance.randrange(1, 6)):
            blocks = self.blocks()
            if node is not None and (rev := await self.world.edit(node, *blocks)):
                known = self.nodes[node].versions
                if known[max(known)] != blocks:
                    known[rev] = blocks
            self.world.days(self.chance.choice([0, 0.1, 1]))

    async def remove(self) -> None:
        node = self.some(self.chance.choice([Kind.FILE, Kind.FOLDER]), is_live=True)
        if node is not None:
            await self.world.remove(node)
            self.nodes[node].deleted_ms = self.world.clock.now_ms()

    async def restore(self) -> None:
        node = self.some(self.chance.choice([Kind.FILE, Kind.FOLDER]), is_live=False)
        if node is None:
            return
        known = self.nodes[node]
        try:
            outcome = await self.world.restore(node)
        except NotFound:
            assert known.is_marked
            return
        assert isinstance(outcome, Stored), outcome
        assert not known.is_marked
        if known.parent != ROOT_NODE and not self.is_live(known.parent):
            known.parent = ROOT_NODE
        known.deleted_ms = None
        self.came_back += 1

    async def restore_version(self) -> None:
        node = self.some(Kind.FILE, is_live=True)
        if node is not None:
            world, known = self.world, self.nodes[node].versions
            rev = self.chance.choice(list(known))
            principal = world.ada.principal
            await restore_version(world.db, world.clock, principal, principal.root_ns, node, rev)
            newest = (await world.versions(node))[-1]
            known.setdefault(newest, known[rev])

    async def time(self) -> None:
        self.world.days(self.chance.choice([0.01, 1, 6, 20, 31, 70, 300]))

    # -- upkeep ---

    async def thin(self) -> None:
        await self._thin(self.world.db)
        for known in self.nodes.values():
            if not known.is_marked:
                assert not self._removable(await self._stamps(), known)

    async def thin_stopped(self) -> None:
        await self._thin(self._stopping(12))

    async def _thin(self, db: Database) -> None:
        before = await self._stamps()
        allowed = {rev for known in self.nodes.values() for rev in self._removable(before, known)}
        try:
            await self.world.thin(db)
        except asyncio.CancelledError:
            self.told[-1] += " (stopped)"
        gone = before.keys() - (await self._stamps()).keys()
        for known in self.nodes.values():
            for rev in gone & known.versions.keys():
                assert rev in allowed or known.is_marked
                del known.versions[rev]
                self.thinned += 1

    async def _stamps(self) -> dict[int, int]:
        """Return when each version was made, by rev: no two of a namespace have the same."""
        return dict(await self.world.rows("SELECT rev, created_at FROM file_versions"))

    def _removable(self, stamps: dict[int, int], known: Known) -> list[int]:
        versions = [Stamp(rev, stamps[rev]) for rev in known.versions if rev in stamps]
        return choose_removable(versions, POLICY, now_ms=self.world.clock.now_ms())

    async def purge(self) -> None:
        due = self.due()
        counts = await self.world.empty_trash()
        assert not counts.has_more
        for node in due:
            self.nodes[node].is_marked = True
        self.purged += len(due)
        states = dict(await self.world.rows("SELECT node_id, state FROM files"))
        assert all(states[node] == 3 for node in due)
        left = "SELECT COUNT(*) FROM file_versions v JOIN files f ON f.node_id = v.node_id WHERE f.state = 3"
        assert await self.world.rows(left) == [(0,)]

    async def purge_stopped(self) -> None:
        try:
            await self.world.empty_trash(self._stopping(9))
        except asyncio.CancelledError:
            self.told[-1] += " (stopped)"

    async def blocklists(self) -> None:
        await self.world.blocklists()

    async def collect(self) -> None:
        world = self.world
        for _ in range(3):
            counts = await garbage.run(world.db, world.store, world.clock, GARBAGE)
            assert (counts.errors, counts.alarm) == (0, "")

    async def check(self) -> None:
        await self.world.check()

    def _stopping(self, most: int) -> Database:
        number, is_after = self.chance.randrange(1, most), self.chance.random() < 0.5
        return StoppingDatabase(self.world.db, number, asyncio.CancelledError(), kinds=("write",), is_after=is_after)

    async def play(self) -> None:
        steps = {
            self.make_folder: 6,
            self.make_file: 9,
            self.edit: 14,
            self.remove: 10,
            self.restore: 8,
            self.restore_version: 4,
            self.time: 10,
            self.thin: 5,
            self.thin_stopped: 5,
            self.purge: 3,
            self.purge_stopped: 9,
            self.blocklists: 3,
            self.collect: 5,
            self.check: 4,
        }
        for _ in range(STEPS):
            step = self.chance.choices(list(steps), list(steps.values()))[0]
            self.told.append(step.__name__)
            await step()
            await self.agree()
        await self.world.check()
        self.world.days(KEEP_DAYS + 1)
        for last in (self.purge, self.thin, self.collect, self.blocklists):
            self.told.append(last.__name__)
            await last()
            await self.agree()
        await self.world.is_clean()


def scene_of(seed: int):  # type: ignore[no-untyped-def]  # a scene
    async def scene(world: RetentionWorld) -> None:
        run = RandomRun(world, seed)
        try:
            await run.play()
        except BaseException:
            print(f"RETENTION_SEED={seed}:", ", ".join(run.told))
            raise
        assert run.thinned and run.purged, "nothing ever went: the run shows nothing"

    return scene


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEEDS))
def test_what_must_be_readable_is_whatever_happens(seed: int) -> None:
    play_embedded(scene_of(seed))


def test_it_is_the_same_on_both_databases(run: Run) -> None:
    play_on(run, scene_of(4_711))
