"""Sends what an import decided, many files together. Invariant: a file is made of blocks that the service has or that
it asked for and got; an op keeps its id over all tries, so none is done twice.

First the names and hashes go, then the blocks that the service says it lacks, then the same ops again: what it has is
never sent. Memory holds lists of blocks, and one request's bytes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from satchel.core.entries import Kind
from satchel.core.errors import BlockMismatch, Fault, NotFound, QuotaExceeded, TooManyRequests, Unavailable
from satchel.core.hashing import PACKED_BYTES
from satchel.core.ids import BlockHash, LinkId, NamespaceId, NodeId, OpId, uuid7
from satchel.core.limits import BLOCKS_PER_COMMIT_MAX, MIB
from satchel.core.messages import (
    CommitReply,
    CommitRequest,
    Conflict,
    Content,
    CreateOp,
    EditOp,
    NeedBlocks,
    Op,
    Outcome,
    Refused,
    Stored,
)
from satchel.device.carrying.reading import read_blocks
from satchel.device.carrying.sources import State
from satchel.device.ports import Clock, OutgoingBlock
from satchel.device.remote import HttpRemote

NO_LINK: Final = LinkId(b"")
NO_OP: Final = OpId(b"")
PUT_BYTES_MAX = 8 * MIB
OPS_MAX = 500
SENT_AGAIN_MAX = 4
TRIES_MAX = 6
WAIT_S = 0.5
WAIT_S_MAX = 30.0
T = TypeVar("T")


@dataclass(slots=True)
class Step:
    """One state of a file that is to be stored. path: where its bytes lie now."""

    state: State
    content: Content
    path: Path


@dataclass(slots=True)
class Parcel:
    """One thing to make, or to give new content. told: its path, for people; steps: the states of a file, in order;
    base_rev: of the newest state there, 0 when it is to be made; node_id is the maker's choice then; xattrs: extended
    attributes, None to leave them as they are."""

    told: str
    ns: NamespaceId
    node_id: NodeId
    parent_id: NodeId
    name: str
    kind: Kind
    steps: list[Step] = field(default_factory=list)
    target: str = ""
    base_rev: int = 0
    xattrs: bytes | None = None
    at: int = 0
    op_id: OpId = NO_OP

    @property
    def is_made(self) -> bool:
        """Whether all of it is stored."""
        return self.base_rev > 0 and self.at >= len(self.steps)

    @property
    def blocks(self) -> int:
        """How many blocks the longest of its states has."""
        return max([len(step.content.blocks) // PACKED_BYTES for step in self.steps], default=0)


@dataclass(slots=True)
class Shipped:
    """What became of a shipment. failed: parcels and why, in words."""

    sent_bytes: int = 0
    failed: list[tuple[Parcel, str]] = field(default_factory=list)


class Shipper:
    """Sends parcels to one service."""

    def __init__(self, remote: HttpRemote, clock: Clock, sent: Callable[[str, int], None]) -> None:
        self._remote, self._clock, self._sent = remote, clock, sent

    async def ship(self, parcels: Sequence[Parcel]) -> Shipped:
        """Store all that can be stored; those of one namespace keep their order.

        Raises: QuotaExceeded, Unavailable, and as `Remote.commit`: what was stored stays so.
        """
        shipped = Shipped()
        of_namespace: defaultdict[NamespaceId, list[Parcel]] = defaultdict(list)
        for parcel in parcels:
            of_namespace[parcel.ns].append(parcel)
        for ns, all_there in of_namespace.items():
            try:
                await self._ship_into(ns, all_there, shipped)
            except NotFound:
                # A folder that somebody shared to be read alone, or shares no more.
                failed = {id(parcel) for parcel, _ in shipped.failed}
                left = [parcel for parcel in all_there if not parcel.is_made and id(parcel) not in failed]
                shipped.failed += [(parcel, "there is no right to write there") for parcel in left]
        return shipped

    async def _ship_into(self, ns: NamespaceId, left: list[Parcel], shipped: Shipped) -> None:
        while left:
            done = 0
            for batch in _batches(left):
                done += await self._rounds(ns, batch, shipped)
            failed = {id(parcel) for parcel, _ in shipped.failed}
            left = [parcel for parcel in left if not parcel.is_made and id(parcel) not in failed]
            assert done or not left, "each round stores or fails something"

    async def _rounds(self, ns: NamespaceId, batch: Sequence[Parcel], shipped: Shipped) -> int:
        """As `_round`; where there is no room for all of them, one after another while there is for the next."""
        try:
            return await self._round(ns, batch, shipped)
        except QuotaExceeded:
            if len(batch) == 1:
                raise
        failed = {id(parcel) for parcel, _ in shipped.failed}
        left = [parcel for parcel in batch if not parcel.is_made and id(parcel) not in failed]
        return len(batch) - len(left) + sum([await self._round(ns, [parcel], shipped) for parcel in left])

    async def _round(self, ns: NamespaceId, batch: Sequence[Parcel], shipped: Shipped) -> int:
        """Bring each parcel one step on; return how many moved or failed."""
        moved = 0
        outcomes = await self._stored(ns, batch, shipped)
        failed = {id(parcel) for parcel, _ in shipped.failed}
        for parcel, outcome in zip(batch, outcomes, strict=True):
            if id(parcel) in failed:
                moved += 1
            elif isinstance(outcome, Stored):
                parcel.base_rev = outcome.seq or parcel.base_rev or 1
                parcel.at += 1
                parcel.op_id = NO_OP
                moved += 1
            else:
                shipped.failed.append((parcel, _reason(outcome)))
                moved += 1
        if any(isinstance(each, Refused) and each.code == "quota_exceeded" for each in outcomes):
            raise QuotaExceeded("There is no room left on the server for the rest.")
        return moved

    async def _stored(self, ns: NamespaceId, batch: Sequence[Parcel], shipped: Shipped) -> Sequence[Outcome]:
        ops = tuple(self._op(parcel) for parcel in batch)
        for _ in range(SENT_AGAIN_MAX):
            outcomes = (await self._commit(CommitRequest(ns, NO_LINK, ops))).outcomes
            lacking = [
                (parcel, set(outcome.hashes))
                for parcel, outcome in zip(batch, outcomes, strict=True)
                if isinstance(outcome, NeedBlocks)
            ]
            failed = {id(parcel) for parcel, _ in shipped.failed}
            lacking = [(parcel, hashes) for parcel, hashes in lacking if id(parcel) not in failed]
            if not lacking:
                break
            await self._put(ns, lacking, shipped)
        return outcomes

    async def _put(self, ns: NamespaceId, lacking: Sequence[tuple[Parcel, set[BlockHash]]], shipped: Shipped) -> None:
        """Send the blocks that are lacking, each once, however many files hold it."""
        waiting: list[OutgoingBlock] = []
        size, done = 0, set[BlockHash]()
        for parcel, hashes in lacking:
            step = parcel.steps[parcel.at]
            blocks = read_blocks(step.path, step.content, hashes - done)
            while True:
                try:
                    block = await asyncio.to_thread(next, blocks, None)
                except Fault as fault:
                    shipped.failed.append((parcel, str(fault)))
                    break
                if block is None:
                    break
                done.add(block.hash)
                waiting.append(block)
                size += block.size
                self._sent(parcel.told, block.size)
                if size >= PUT_BYTES_MAX:
                    await self._sent_blocks(ns, waiting, shipped)
                    waiting, size = [], 0
        if waiting:
            await self._sent_blocks(ns, waiting, shipped)

    async def _sent_blocks(self, ns: NamespaceId, blocks: list[OutgoingBlock], shipped: Shipped) -> None:
        stored = set(await self._tried(lambda: self._remote.put_blocks(ns, blocks)))
        for block in blocks:
            if block.hash not in stored:
                raise BlockMismatch("The server did not store a block.", expected=block.hash.hex(), actual="nothing")
        shipped.sent_bytes += sum(block.size for block in blocks)

    async def _commit(self, request: CommitRequest) -> CommitReply:
        return await self._tried(lambda: self._remote.commit(request, ()))

    async def _tried(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what is safe to repeat until the server answers. Raises: Unavailable, TooManyRequests, and as `work`."""
        wait_s = WAIT_S
        for _ in range(TRIES_MAX - 1):
            try:
                return await work()
            except (Unavailable, TooManyRequests) as fault:
                told = fault.fields.get("retry_after_s")
                await self._clock.sleep_s(min(WAIT_S_MAX, max(wait_s, float(told or 0))))  # type: ignore[arg-type]
                wait_s *= 2
        return await work()

    def _op(self, parcel: Parcel) -> Op:
        parcel.op_id = parcel.op_id or OpId(uuid7(self._clock.now_ns() // 1_000_000, self._clock.random(10)))
        if parcel.kind is not Kind.FILE:
            return CreateOp(
                parcel.op_id,
                parcel.node_id,
                parcel.parent_id,
                parcel.name,
                parcel.kind,
                target=parcel.target,
                xattrs=parcel.xattrs,
            )
        step = parcel.steps[parcel.at]
        content, mtime_ns, bit = step.content, step.state.mtime_ns, step.state.is_executable
        if parcel.base_rev:
            return EditOp(parcel.op_id, parcel.node_id, parcel.base_rev, content, "", mtime_ns, bit, parcel.xattrs)
        return CreateOp(
            parcel.op_id,
            parcel.node_id,
            parcel.parent_id,
            parcel.name,
            Kind.FILE,
            content,
            mtime_ns=mtime_ns,
            is_executable=bit,
            xattrs=parcel.xattrs,
        )


def _batches(parcels: Sequence[Parcel]) -> Iterator[list[Parcel]]:
    """Yield as many together as one commit takes."""
    batch: list[Parcel] = []
    blocks = 0
    for parcel in parcels:
        if batch and (len(batch) == OPS_MAX or blocks + parcel.blocks > BLOCKS_PER_COMMIT_MAX):
            yield batch
            batch, blocks = [], 0
        batch.append(parcel)
        blocks += parcel.blocks
    if batch:
        yield batch


def _reason(outcome: Outcome) -> str:
    match outcome:
        case Conflict():
            return "something changed there meanwhile; run the import again"
        case NeedBlocks():
            return "the server still lacks some of its blocks; run the import again"
        case Refused(code=code, detail=detail):
            return f"the server refuses it: {detail or code}"
        case _:
            return "it went to another place there; run the import again"
