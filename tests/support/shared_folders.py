"""A folder with a past, and the same folder shared: what must be the same in both is asked here."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from satchel.core.entries import Kind
from satchel.core.hashing import block_hash
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.messages import CreateOp, DeleteOp, EditOp, MoveOp, Op, Placement, Stored, UndeleteOp
from satchel.server.db.engine import Database
from satchel.server.metadata.nodes import COLUMN_LIST, LIVE, Node, node_of
from satchel.server.upkeep import recount
from satchel.server.upkeep.usage import usage_txn
from satchel.simulation.stores import MemoryBlocks
from tests.support.upkeep_world import Owner, World
from tests.support.writers import content_of, new_id, op_id

NEVER = 1 << 60


@dataclass
class Past:
    """What somebody did in a tree. contents: the blocks of each version by (node, rev); folders: the root first."""

    world: World
    owner: Owner
    chance: random.Random
    contents: dict[tuple[NodeId, int], tuple[bytes, ...]] = field(default_factory=dict)
    folders: list[NodeId] = field(default_factory=lambda: [ROOT_NODE])
    files: list[NodeId] = field(default_factory=list)

    async def do(self, op: Op) -> int:
        """Commit; return the seq, 0 when it was not stored."""
        outcome = await self.world.commit(self.owner, op)
        return outcome.seq if isinstance(outcome, Stored) else 0

    async def node(self, node_id: NodeId) -> Node:
        text = f"SELECT {COLUMN_LIST} FROM files WHERE node_id = $1"
        return node_of((await self.world.rows(text, node_id))[0])

    async def folder(self, parent: NodeId, name: str = "") -> NodeId:
        node_id = NodeId(new_id())
        if await self.do(CreateOp(op_id(), node_id, parent, name or node_id.hex(), Kind.FOLDER)):
            self.folders.append(node_id)
        return node_id

    async def write(self, node_id: NodeId | None, parent: NodeId, *blocks: bytes) -> NodeId:
        """Make a file, or a version of one."""
        await self.world.put(self.owner, *blocks)
        content = content_of(*blocks)
        if node_id is None:
            node_id = NodeId(new_id())
            seq = await self.do(CreateOp(op_id(), node_id, parent, node_id.hex(), Kind.FILE, content))
        else:
            seq = await self.do(EditOp(op_id(), node_id, (await self.node(node_id)).content_rev, content))
        if seq:
            self.contents[node_id, seq] = blocks
            if node_id not in self.files:
                self.files.append(node_id)
        return node_id

    async def delete(self, node_id: NodeId) -> None:
        await self.do(DeleteOp(op_id(), node_id, NEVER))

    async def live(self, steps: int) -> None:
        """Do so many random things; some do not hold."""
        for _ in range(steps):
            chance = self.chance
            parent = chance.choice(self.folders)
            some = chance.choice(self.files) if self.files else None
            any_node = chance.choice([*self.files, *self.folders[1:], *self.folders[1:]] or [ROOT_NODE])
            data = [b"block %d" % chance.randrange(12) for _ in range(chance.randint(1, 3))]
            match chance.randrange(9):
                case 0 | 1:
                    await self.folder(parent)
                case 2 | 3:
                    await self.write(None, parent, *data)
                case 4 | 5 if some is not None:
                    await self.write(some, parent, *data)
                case 6 if any_node != ROOT_NODE:
                    await self.delete(any_node)
                case 7 if any_node != ROOT_NODE:
                    node = await self.node(any_node)
                    is_unit = bool(chance.randrange(2))
                    await self.do(UndeleteOp(op_id(), any_node, parent, node.name, is_subtree=is_unit))
                case 8 if any_node != ROOT_NODE:
                    node = await self.node(any_node)
                    place = Placement(any_node, node.place_rev, parent, node.name)
                    await self.do(MoveOp(op_id(), (place,)))
                case _:
                    pass


async def picture(db: Database, ns: bytes, top: NodeId) -> dict[str, dict[NodeId, bool]]:
    """Return what stands below `top` by path and whether it lives, from the rows alone: by names, dead or alive."""
    rows = await db.read(lambda conn: conn.fetch(f"SELECT {COLUMN_LIST} FROM files WHERE ns = $1", ns))
    nodes = {node.node_id: node for node in map(node_of, rows)}
    found: dict[str, dict[NodeId, bool]] = {}

    def descend(folder: NodeId, path: str, floor: int | None) -> None:
        for node in nodes.values():
            if node.parent_id == folder:
                lives = floor is not None and node.state == LIVE and node.seq > floor
                found.setdefault(path + "/" + node.name, {})[node.node_id] = lives
                descend(node.node_id, path + "/" + node.name, node.cleared_seq if lives else None)

    descend(top, "", -1 if top == ROOT_NODE else nodes[top].cleared_seq)
    return found


async def versions_in(db: Database, ns: bytes) -> set[tuple[NodeId, int]]:
    rows = await db.read(lambda conn: conn.fetch("SELECT node_id, rev FROM file_versions WHERE ns = $1", ns))
    return {(node_id, rev) for node_id, rev in rows}


async def require_sound(world: World, namespaces: list[bytes], past: Past) -> None:
    """Read every version's bytes from its namespace, count everything anew, and compare."""
    text = (
        "SELECT v.ns, v.node_id, v.rev, m.blocks FROM file_versions v JOIN manifests m ON m.ns = v.ns"
        " AND m.manifest_id = v.content"
    )
    seen = set()
    for ns, node_id, rev, packed in await world.rows(text):
        blocks = past.contents[node_id, rev]
        assert [packed[at : at + 32] for at in range(0, len(packed), 36)] == [block_hash(block) for block in blocks]
        read = await world.service.read_bytes(ns, [block_hash(block) for block in blocks])
        assert [bytes(part) for part in read] == list(blocks)
        seen.add((node_id, rev))
    assert seen == past.contents.keys()
    counts = await recount.run(world.db, MemoryBlocks(), world.clock, world.workers)
    assert counts.found == {}, counts.examples
    for ns in namespaces:
        used = await world.db.read(lambda conn, ns=ns: usage_txn(conn, ns))  # type: ignore[misc]
        ((told,),) = await world.rows("SELECT bytes_used FROM namespaces WHERE ns = $1", ns)
        assert (used.lost, used.bytes) == (0, told)
