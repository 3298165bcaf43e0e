"""Rewinds over what upkeep took away: a thinned version is replaced by the nearest older one, what was removed for good
stays away and is told, and what the journal does not speak of any more cannot be asked for.
"""

from __future__ import annotations

import pytest

from satchel.core.errors import HistoryEnded
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.messages import MoveOp, Placement, Stored
from satchel.server.metadata.rewind import Preview, preview, rewind
from satchel.server.upkeep.pruning import prune_journals
from tests.support.retention_world import RetentionWorld, play_embedded
from tests.support.writers import content_of, op_id


async def head(world: RetentionWorld) -> int:
    ((seq,),) = await world.rows("SELECT head_seq FROM namespaces WHERE ns = $1", world.ada.ns)
    return int(seq)


async def shown(world: RetentionWorld, seq: int) -> Preview:
    return await preview(world.db, world.workers, world.ada.principal, world.ada.principal.root_ns, ROOT_NODE, seq)


async def done(world: RetentionWorld, seq: int, unit: NodeId = ROOT_NODE) -> None:
    told = await rewind(
        world.db, world.clock, world.workers, world.ada.principal, world.ada.principal.root_ns, unit, seq
    )
    assert told.is_finished


async def content(world: RetentionWorld, node: NodeId) -> bytes:
    ((found,),) = await world.rows("SELECT content FROM files WHERE ns = $1 AND node_id = $2", world.ada.ns, node)
    return bytes(found)


def test_a_thinned_version_is_replaced_by_the_nearest_older_one() -> None:
    async def scenario(world: RetentionWorld) -> None:
        node = await world.file(b"first")
        world.days(1)
        places = []
        for data in (b"second", b"third", b"fourth"):
            await world.edit(node, data)
            places.append(await head(world))
        for data in (b"fifth", b"sixth"):
            world.days(1)
            await world.edit(node, data)
        world.days(60)
        assert dict((await world.thin()).done)["versions"] == 2
        told = await shown(world, places[1])
        assert told.counts == {"content": 1, "thinned": 1}
        assert told.lines[0].instead_of == places[1]
        await done(world, places[1])
        assert await content(world, node) == content_of(b"first").content_hash
        await world.check()

    play_embedded(scenario)


def test_what_was_removed_for_good_stays_away_and_is_told() -> None:
    async def scenario(world: RetentionWorld) -> None:
        folder, kept = await world.folder(), await world.file(b"kept")
        inner = await world.folder(folder)
        lost, saved = await world.file(b"lost", parent=inner), await world.file(b"saved", parent=inner)
        twin = await world.file(b"lost twice", parent=inner)
        other = await world.file(b"lost twice")
        before = await head(world)
        await world.remove(lost)
        await world.remove(twin)
        place = (await world.writer.entry(saved)).place_rev
        move = MoveOp(op_id(), (Placement(saved, place, ROOT_NODE, "saved"),))
        assert isinstance(await world.commit(world.ada, move), Stored)
        await world.remove(folder)
        world.days(40)
        while dict((await world.empty_trash()).done):
            pass
        assert await world.live() == {kept, saved, other}
        told = await shown(world, before)
        # The content of the twin is still held by another file; the folders come back for what was in them.
        assert told.counts == {"back": 3, "moved": 1, "gone": 1}
        await done(world, before)
        assert await world.live() == {kept, saved, other, folder, inner, twin}
        assert (await shown(world, before)).counts == {"gone": 1}
        await world.check()

    play_embedded(scenario)


def test_a_rewind_reaches_as_far_as_the_journal() -> None:
    async def scenario(world: RetentionWorld) -> None:
        for number in range(20):
            await world.file(b"%d" % number)
        world.days(400)
        await prune_journals(world.db, world.clock, age_days=1, entries_min=10)
        with pytest.raises(HistoryEnded) as caught:
            await shown(world, 5)
        oldest = caught.value.fields["oldest_seq"]
        assert oldest == 11
        assert (await shown(world, 11)).counts == {"trash": 9}

    play_embedded(scenario)
