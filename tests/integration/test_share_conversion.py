"""A folder becomes a shared one on both databases: nothing of it is lost, moved or seen twice, whatever its past."""

from __future__ import annotations

import asyncio
import random

import pytest

from satchel.core.entries import Action, Kind
from satchel.core.errors import BlockDamaged, NotFound, ShareRefused
from satchel.core.hashing import block_hash
from satchel.core.ids import ROOT_NODE, LinkId, NamespaceId, NodeId, Tag
from satchel.core.messages import (
    ChangesRequest,
    CommitRequest,
    CreateOp,
    DeleteOp,
    EditOp,
    Moved,
    MoveOp,
    NeedBlocks,
    Placement,
    Position,
    Refused,
    Stored,
    UndeleteOp,
)
from satchel.server.blocks.service import LEASE_MS
from satchel.server.db.engine import Database
from satchel.server.feed.service import changes
from satchel.server.metadata.commit import commit
from satchel.server.sharing.conversion import share_folder
from satchel.simulation.stores import MemoryBlocks
from tests.support.databases import Run
from tests.support.shared_folders import NEVER, Past, picture, require_sound, versions_in
from tests.support.upkeep_world import HOUR_MS, World
from tests.support.writers import NoInline, content_of, new_id, op_id

NO_LINK = LinkId(b"")


async def lived(db: Database, seed: int, steps: int = 60) -> Past:
    world = World(db, MemoryBlocks())
    past = Past(world, await world.owner(), random.Random(seed))
    await past.live(steps)
    return past


async def shared(past: Past, folder: NodeId) -> NamespaceId:
    who = past.owner.principal
    return await share_folder(past.world.db, past.world.clock, who, who.root_ns, folder)


@pytest.mark.parametrize("seed", range(3))
def test_all_that_a_folder_was_is_in_its_own_namespace(run: Run, seed: int) -> None:
    async def scenario(db: Database) -> None:
        past = await lived(db, seed)
        before = await picture(db, past.owner.ns, ROOT_NODE)
        nodes = {node for found in before.values() for node, is_live in found.items() if is_live}
        folder = next(each for each in past.folders[1:] if each in nodes)
        inside = await picture(db, past.owner.ns, folder)
        versions = await versions_in(db, past.owner.ns)
        ns = await shared(past, folder)
        assert await picture(db, ns, ROOT_NODE) == inside
        moved = {node for found in inside.values() for node in found}
        after = await picture(db, past.owner.ns, ROOT_NODE)
        assert {node for found in after.values() for node in found} == {
            node for found in before.values() for node in found if node not in moved
        }
        assert await versions_in(db, ns) == {version for version in versions if version[0] in moved}
        assert await versions_in(db, past.owner.ns) == {version for version in versions if version[0] not in moved}
        await require_sound(past.world, [past.owner.ns, ns], past)
        await past.world.collect(3)
        await require_sound(past.world, [past.owner.ns, ns], past)

    run(scenario)


def test_the_mount_is_one_entry_and_positions_are_answered_as_designed(run: Run) -> None:
    async def scenario(db: Database) -> None:
        past = await lived(db, 99, 0)
        folder = await past.folder(ROOT_NODE, "Team")
        file = await past.write(None, folder, b"one")
        head = (await past.node(file)).seq
        ns = await shared(past, folder)
        assert await shared(past, folder) == ns
        world, who = past.world, past.owner.principal

        async def ask(place: Position) -> object:
            return (await changes(db, NoInline(), who, ChangesRequest(place, NO_LINK)))[0]  # type: ignore[arg-type]

        rows = await world.rows("SELECT seq, tag FROM file_changes WHERE ns = $1 ORDER BY seq", who.root_ns)
        old = await ask(Position(who.root_ns, head, rows[-2][1]))
        [entry] = old.entries  # type: ignore[attr-defined]
        assert (entry.action, entry.node_id, entry.kind, entry.content) == (Action.MOUNT, folder, Kind.MOUNT, ns)
        ((seq, tag),) = await world.rows("SELECT head_seq, head_tag FROM namespaces WHERE ns = $1", ns)
        # Whoever has folded the mount's entry stands at the new journal's beginning, and needs no snapshot.
        assert (seq, tag) == (entry.seq, entry.tag)
        for place in (Position(ns, 0, Tag(b"")), Position(ns, head, rows[-2][1]), Position(ns, seq, Tag(b"other!!!"))):
            assert (await ask(place)).is_reset  # type: ignore[attr-defined]
        at_head = await ask(Position(ns, seq, tag))
        assert (at_head.is_reset, at_head.entries) == (False, ())  # type: ignore[attr-defined]

    run(scenario)


def test_a_commit_in_the_old_namespace_is_told_where_its_nodes_live(run: Run) -> None:
    async def scenario(db: Database) -> None:
        past = await lived(db, 7, 0)
        folder = await past.folder(ROOT_NODE, "Team")
        below = await past.folder(folder, "below")
        file = await past.write(None, folder, b"one")
        other = await past.write(None, ROOT_NODE, b"two")
        rev = (await past.node(file)).content_rev
        place_rev = (await past.node(other)).place_rev
        ns = await shared(past, folder)
        world = past.world
        content = content_of(b"two")
        ops = (
            EditOp(op_id(), file, rev, content),
            CreateOp(op_id(), NodeId(new_id()), folder, "new", Kind.FOLDER),
            CreateOp(op_id(), NodeId(new_id()), below, "new", Kind.FOLDER),
            MoveOp(op_id(), (Placement(other, place_rev, below, "in"),)),
            MoveOp(op_id(), (Placement(file, rev, ROOT_NODE, "out"),)),
            DeleteOp(op_id(), file, NEVER),
            UndeleteOp(op_id(), below, ROOT_NODE, "back"),
        )
        for op in ops:
            assert await world.commit(past.owner, op) == Moved(ns)
        assert await world.commit(past.owner, DeleteOp(op_id(), folder, NEVER)) == Refused("holds_mount")
        unknown = DeleteOp(op_id(), NodeId(new_id()), NEVER)
        assert await world.commit(past.owner, unknown) == Refused("not_found")
        who = past.owner.principal
        await world.service.put_bytes(ns, [b"three"])
        again = CommitRequest(ns, NO_LINK, (EditOp(op_id(), file, rev, content_of(b"three")),))
        [outcome] = (await commit(db, world.clock, who, again)).outcomes
        assert isinstance(outcome, Stored)
        past.contents[file, outcome.seq] = (b"three",)
        late = CommitRequest(ns, NO_LINK, (DeleteOp(op_id(), file, rev),))
        [refused] = (await commit(db, world.clock, who, late)).outcomes
        assert isinstance(refused, Refused)
        assert refused.code == "changed_since"
        await require_sound(world, [who.root_ns, ns], past)

    run(scenario)


def test_what_cannot_be_shared_is_refused_with_its_reason(run: Run) -> None:
    async def scenario(db: Database) -> None:
        past = await lived(db, 3, 0)
        outer = await past.folder(ROOT_NODE, "outer")
        inner = await past.folder(outer, "inner")
        file = await past.write(None, ROOT_NODE, b"one")
        ns = await shared(past, inner)
        below = NodeId(new_id())
        who, world = past.owner.principal, past.world
        request = CommitRequest(ns, NO_LINK, (CreateOp(op_id(), below, ROOT_NODE, "below", Kind.FOLDER),))
        await commit(db, world.clock, who, request)
        for place, node, reason in (
            (who.root_ns, outer, "holds_mount"),
            (who.root_ns, file, "not_folder"),
            (who.root_ns, ROOT_NODE, "root"),
            (ns, below, "inside_share"),
        ):
            with pytest.raises(ShareRefused) as refused:
                await share_folder(db, world.clock, who, place, node)
            assert refused.value.fields["reason"] == reason
        stranger = (await world.owner()).principal
        for node in (inner, below):
            with pytest.raises(NotFound):
                await share_folder(db, world.clock, stranger, ns, node)

    run(scenario)


def test_commits_that_race_with_it_are_in_one_of_the_two(run: Run) -> None:
    async def scenario(db: Database) -> None:
        past = await lived(db, 5, 0)
        folder = await past.folder(ROOT_NODE, "Team")
        for number in range(30):
            await past.write(None, folder, b"first %d" % number)
        moved: list[object] = []

        async def write_on(number: int) -> None:
            for turn in range(6):
                node, data = NodeId(new_id()), b"late %d %d" % (number, turn)
                await past.world.put(past.owner, data)
                op = CreateOp(op_id(), node, folder, node.hex(), Kind.FILE, content_of(data))
                outcome = await past.world.commit(past.owner, op)
                if isinstance(outcome, Stored):
                    past.contents[node, outcome.seq] = (data,)
                else:
                    moved.append(outcome)

        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(write_on(number))
            share = group.create_task(shared(past, folder))
        ns = share.result()
        assert {type(each) for each in moved} <= {Moved}
        text = "SELECT COUNT(*) FROM files WHERE ns = $1"
        assert (await past.world.rows(text, ns))[0][0] == len(past.contents)
        await require_sound(past.world, [past.owner.ns, ns], past)

    run(scenario)


def test_the_rights_of_the_former_namespace_end_with_their_leases(run: Run) -> None:
    async def scenario(db: Database) -> None:
        past = await lived(db, 5, 0)
        world, old = past.world, past.owner.ns
        folder = await past.folder(ROOT_NODE, "Team")
        inside = await past.write(None, folder, b"inside", b"both")
        await past.write(inside, folder, b"edited")
        await past.write(None, ROOT_NODE, b"both")
        ns = await shared(past, folder)

        async def held(table: str, holder: bytes) -> set[bytes]:
            return {row[0] for row in await world.rows(f"SELECT block_hash FROM {table} WHERE ns = $1", holder)}

        inner, both = {block_hash(b"inside"), block_hash(b"edited")}, block_hash(b"both")
        # The lease of the upload goes on: a device may be about to name the block again.
        world.later(LEASE_MS / HOUR_MS - 1)
        await world.gc()
        assert await held("namespace_blocks", old) == await held("block_refs", old) == inner | {both}
        world.later(2)
        await world.gc()
        assert await held("namespace_blocks", old) == await held("block_refs", old) == {both}
        assert await held("namespace_blocks", ns) == await held("block_refs", ns) == inner | {both}
        asked = CreateOp(op_id(), NodeId(new_id()), ROOT_NODE, "again", Kind.FILE, content_of(b"inside"))
        outcome = await world.commit(past.owner, asked)
        assert outcome == NeedBlocks((block_hash(b"inside"),))
        with pytest.raises(BlockDamaged):
            await world.service.read_bytes(past.owner.principal.root_ns, [block_hash(b"inside")])
        await world.collect(3)
        await require_sound(world, [old, ns], past)

    run(scenario)
