"""A device that writes without a pause and knows exactly what was acknowledged.

Each works on nodes of its own, so that nothing it does can meet a conflict, also where several share a namespace.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from satchel.core.entries import Kind
from satchel.core.hashing import block_hash
from satchel.core.ids import ROOT_NODE, BlockHash, NodeId, OpId, uuid7
from satchel.core.messages import (
    CommitReply,
    CommitRequest,
    CreateOp,
    DeleteOp,
    EditOp,
    MoveOp,
    NeedBlocks,
    Op,
    Outcome,
    Placement,
    PutReply,
    PutRequest,
    Stored,
)
from tests.chaos.client import Client
from tests.chaos.scene import require
from tests.support.wire import content_of, raw_block

SMALL_BYTES_MAX = 3_000
LARGE_BYTES_MAX = 90_000
OPS_MAX = 3
FILES_MAX = 200
ROUNDS_MAX = 200
REPEATS_KEPT = 50


@dataclass(slots=True)
class Made:
    """A node as it must be. versions: blocks by rev."""

    node_id: NodeId
    name: str
    rev: int
    place_rev: int
    versions: dict[int, tuple[BlockHash, ...]]
    is_live: bool = True


@dataclass(slots=True)
class Writer:
    """One writer. acknowledged: the seq of each op that was confirmed.

    lasts: the last requests that were cut, with their answers. pause_s: about so long it rests after each request.
    """

    client: Client
    chance: random.Random
    pause_s: float = 0.0
    nodes: dict[NodeId, Made] = field(default_factory=dict)
    acknowledged: dict[OpId, int] = field(default_factory=dict)
    lasts: list[tuple[CommitRequest, tuple[bytes, ...], tuple[Outcome, ...]]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _blocks: dict[BlockHash, bytes] = field(default_factory=dict)
    _number: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Write until the event is set; what was begun is brought to its end."""
        while not stop.is_set():
            await self.step()
            if self.pause_s:
                await asyncio.sleep(self.pause_s * 2 * self.chance.random())

    async def step(self) -> None:
        """Commit a few ops."""
        ops = self._ops()
        outcomes = await self._committed(ops)
        for op, outcome in zip(ops, outcomes, strict=True):
            require(isinstance(outcome, Stored) and outcome.seq > 0, f"{op} has {outcome}")
            assert isinstance(outcome, Stored)
            self.acknowledged[op.op_id] = outcome.seq
            self._note(op, outcome.seq)
        self.counts["ops"] += len(ops)
        self._blocks.clear()

    async def repeat_lasts(self) -> int:
        """Send once more what had been cut; each must have the answer that it had. Return how many ops that were."""
        for request, bodies, outcomes in self.lasts:
            await self._repeated(request, bodies, outcomes)
        return sum(len(request.ops) for request, _, _ in self.lasts)

    # -- what is done ---

    def _ops(self) -> list[Op]:
        live = [made for made in self.nodes.values() if made.is_live]
        self.chance.shuffle(live)
        ops: list[Op] = []
        for _ in range(self.chance.randrange(1, OPS_MAX + 1)):
            roll = self.chance.random()
            if not live or (roll < 0.5 and len(live) < FILES_MAX):
                ops.append(self._create())
                continue
            made = live.pop()
            if roll < 0.8:
                ops.append(EditOp(self._op_id(), made.node_id, made.rev, content_of(*self._content())))
            elif roll < 0.92:
                place = Placement(made.node_id, made.place_rev, ROOT_NODE, self._name())
                ops.append(MoveOp(self._op_id(), (place,)))
            else:
                ops.append(DeleteOp(self._op_id(), made.node_id, max(made.rev, made.place_rev)))
        return ops

    def _create(self) -> CreateOp:
        node_id = NodeId(uuid7(self._next(), self.chance.randbytes(10)))
        return CreateOp(self._op_id(), node_id, ROOT_NODE, self._name(), int(Kind.FILE), content_of(*self._content()))

    def _content(self) -> tuple[bytes, ...]:
        is_large = self.chance.random() < 0.1
        count = self.chance.randrange(2, 4) if is_large else 1
        size = LARGE_BYTES_MAX if is_large else SMALL_BYTES_MAX
        blocks = tuple(self.chance.randbytes(self.chance.randrange(1, size)) for _ in range(count))
        self._blocks.update({block_hash(block): block for block in blocks})
        return blocks

    def _name(self) -> str:
        return f"{self.client.link.hex()[:12]} {self._next()}.bin"

    def _op_id(self) -> OpId:
        return OpId(b"\0" + self.chance.randbytes(15))

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _note(self, op: Op, seq: int) -> None:
        match op:
            case CreateOp(content=content) if content is not None:
                hashes = _hashes(content.blocks)
                self.nodes[op.node_id] = Made(op.node_id, op.name, seq, seq, {seq: hashes})
            case EditOp(content=content) if content is not None:
                made = self.nodes[op.node_id]
                made.rev, made.versions[seq] = seq, _hashes(content.blocks)
            case MoveOp(placements=(place,)):
                made = self.nodes[place.node_id]
                made.name, made.place_rev = place.name, seq
            case DeleteOp():
                self.nodes[op.node_id].is_live = False

    # -- how it is sent ---

    async def _committed(self, ops: list[Op]) -> tuple[Outcome, ...]:
        """Return one outcome per op, after blocks were put as often as the service wants them."""
        inline = tuple(self._blocks.values()) if self.chance.random() < 0.6 else ()
        request = CommitRequest(self.client.account.ns, self.client.link, tuple(ops), tuple(map(raw_block, inline)))
        for _ in range(ROUNDS_MAX):
            reply, _, lost = await self.client.ask("commit", request, CommitReply, inline)
            wanted = {name for one in reply.outcomes if isinstance(one, NeedBlocks) for name in one.hashes}
            if not wanted:
                if lost:
                    self.counts["cut"] += 1
                    await self._repeated(request, inline, reply.outcomes)
                    self.lasts = [*self.lasts[-REPEATS_KEPT:], (request, inline, reply.outcomes)]
                return reply.outcomes
            await self._put(sorted(wanted))
        require(False, f"blocks are wanted again and again: {sorted(name.hex() for name in wanted)}")
        return ()

    async def _put(self, names: list[BlockHash]) -> None:
        self.counts["put"] += len(names)
        bodies = [self._blocks[name] for name in names]
        request = PutRequest(self.client.account.ns, tuple(map(raw_block, bodies)))
        reply, _, _ = await self.client.ask("blocks/put", request, PutReply, bodies)
        require(list(reply.stored) == names, "not all blocks were stored that the answer is for")

    async def _repeated(self, request: CommitRequest, inline: tuple[bytes, ...], outcomes: tuple[Outcome, ...]) -> None:
        again, _, _ = await self.client.ask("commit", request, CommitReply, inline)
        require(again.outcomes == outcomes, f"a repeated request was answered {again.outcomes} instead of {outcomes}")
        self.counts["repeated"] += len(outcomes)


def _hashes(packed: bytes) -> tuple[BlockHash, ...]:
    return tuple(BlockHash(packed[at : at + 32]) for at in range(0, len(packed), 36))
