"""A mount is the person's own entry: its extended attributes are kept in their root, whatever happens to the share."""

from __future__ import annotations

import random

from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NODE
from satchel.core.messages import AttrOp, Stored
from satchel.core.xattrs import pack_xattrs
from satchel.server.db.engine import Database
from satchel.server.sharing.conversion import share_folder
from satchel.simulation.stores import MemoryBlocks
from tests.support.databases import Run
from tests.support.shared_folders import Past
from tests.support.upkeep_world import World
from tests.support.writers import op_id


def test_extended_attributes_of_a_shared_folder_are_those_of_its_mount(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db, MemoryBlocks())
        past = Past(world, await world.owner(), random.Random(1))
        folder = await past.folder(ROOT_NODE, "Team")
        who = past.owner.principal
        await share_folder(db, world.clock, who, who.root_ns, folder)
        mount = await past.node(folder)
        assert mount.kind == Kind.MOUNT
        marks = pack_xattrs({b"mark": b"red"})
        said = await world.commit(past.owner, AttrOp(op_id(), folder, mount.content_rev, False, marks))
        assert isinstance(said, Stored)
        after = await past.node(folder)
        assert (after.kind, after.content, after.xattrs) == (Kind.MOUNT, mount.content, marks)

    run(scenario)
