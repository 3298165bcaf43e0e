"""Takes, keeps and gives blocks. Invariant: bytes are verified once, on the way in, and durable before anyone hears so.

Hashes give no right: what is read is what the namespace has a row for; bytes that another account already stored are
taken and verified all the same, then not stored twice. Source: docs/design/030 (blocks and packs), 060 (3).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from satchel.core.errors import BlockDamaged, BlockMismatch, LimitExceeded, MessageInvalid
from satchel.core.hashing import block_hash
from satchel.core.ids import BlockHash, NamespaceId, PackId, uuid7
from satchel.core.limits import BLOCKS_GET_COUNT_MAX, INLINE_DOWN_BYTES_MAX, KIB, LEASE_HOURS_MIN, MIB
from satchel.core.messages import GetReply, GetRequest, PutReply, PutRequest, WireBlock
from satchel.server.blocks.codec import open_block, shut_block, verify_blocks
from satchel.server.blocks.packs import build, pack_id_of, pack_name
from satchel.server.blocks.refs import PlacedBlock, held_txn, readable_txn, register_txn, stored_txn
from satchel.server.db.engine import Database
from satchel.server.ports import BlockStore, Clock, Span, Workers

INLINE_HASHING_BYTES_MAX = 64 * KIB
"""Up to this much is hashed on the loop: a thread's hop costs about as much."""
READ_GROUP_BYTES_MAX = 8 * MIB
RECENT_BYTES_MAX = 16 * MIB
RECENT_ENTRY_BYTES = 600
"""What an entry takes beside its body: files of a few bytes would otherwise be kept by the hundred thousand."""
LEASE_MS = LEASE_HOURS_MIN * 2 * 3_600_000

Bytes = bytes | memoryview
Incoming = Sequence[tuple[WireBlock, Bytes]]


@dataclass(slots=True)
class BlockCounts:
    """What this process took and gave since it started. received: blocks that arrived; duplicate: known already."""

    received: int = 0
    duplicate: int = 0
    received_bytes: int = 0
    given: int = 0
    given_bytes: int = 0


class BlockService:
    """Blocks by name, over one store and one database."""

    def __init__(self, store: BlockStore, db: Database, clock: Clock, workers: Workers) -> None:
        self.store_port = store
        self.counts = BlockCounts()
        self._db = db
        self._clock = clock
        self._workers = workers
        self._recent = Recent()

    def lease_until_ms(self) -> int:
        """Return until when a right given now holds without a use: 48 h from now, Unix ms."""
        return self._clock.now_ms() + LEASE_MS

    async def store(self, ns: NamespaceId, incoming: Incoming) -> list[PlacedBlock]:
        """Verify the blocks and make them durable; return where each is, in order. Gives no right: see `register`.

        Raises: BlockMismatch, LimitExceeded (nothing of the call counts), StorageFull, StorageFailed, Unavailable.
        """
        if not incoming:
            return []
        await self._verify(incoming)
        wanted = {wire.hash: (wire, body) for wire, body in incoming}
        known = await self._db.glance(lambda conn: stored_txn(conn, wanted))
        self._count_received(incoming, known)
        fresh = [pair for name, pair in wanted.items() if name not in known]
        placed = known | {block.hash: block for block in await self._append(fresh)}
        for wire, body in incoming:
            if wire.size <= INLINE_DOWN_BYTES_MAX:
                self._recent.keep(ns, wire, body)
        return [placed[wire.hash] for wire, _ in incoming]

    async def register(self, ns: NamespaceId, placed: Sequence[PlacedBlock]) -> None:
        """Give `ns` the right to placed blocks, in a transaction of its own. Idempotent; renews the lease."""
        until_ms, now_ms = self.lease_until_ms(), self._clock.now_ms()
        await self._db.write(ns, lambda conn: register_txn(conn, ns, placed, lease_until_ms=until_ms, now_ms=now_ms))

    async def renew(self, ns: NamespaceId, hashes: Sequence[BlockHash]) -> bool:
        """Hold blocks for `ns` for another while; tell whether all of them were there."""
        placed = await self._db.glance(lambda conn: readable_txn(conn, ns, hashes))
        if placed:
            await self.register(ns, list(placed.values()))
        return len(placed) == len(set(hashes))

    async def held(self, ns: NamespaceId, hashes: Sequence[BlockHash]) -> dict[BlockHash, int]:
        """Return the lengths of those of the blocks that `ns` has a right to and that a commit would take."""
        return await self._db.glance(lambda conn: held_txn(conn, ns, hashes))

    async def put(self, request: PutRequest, bodies: Sequence[Bytes]) -> PutReply:
        """Store blocks for a namespace that the caller may write. Idempotent. Raises: as `store`, MessageInvalid."""
        placed = await self.store(request.ns, paired(request.blocks, bodies))
        await self.register(request.ns, placed)
        return PutReply(tuple(wire.hash for wire in request.blocks))

    async def put_bytes(self, ns: NamespaceId, blocks: Sequence[Bytes]) -> list[WireBlock]:
        """Store the blocks' own bytes (each at most 4 MiB) for `ns`; return what they are, in order."""
        incoming = await self._workers.run(lambda: [shut_block(data) for data in blocks])
        await self.register(ns, await self.store(ns, incoming))
        return [wire for wire, _ in incoming]

    async def get(self, request: GetRequest) -> tuple[GetReply, AsyncIterator[Bytes]]:
        """Return the reply and its bodies, as stored, in the order asked. The first 8 MiB are read before it returns.

        Raises: LimitExceeded; BlockDamaged, also while the bodies are read.
        """
        if len(request.hashes) > BLOCKS_GET_COUNT_MAX:
            raise LimitExceeded(
                "Too many blocks are asked for.",
                limit="BLOCKS_GET_COUNT_MAX",
                maximum=BLOCKS_GET_COUNT_MAX,
                actual=len(request.hashes),
            )
        placed = await self._db.glance(lambda conn: readable_txn(conn, request.ns, request.hashes))
        found = [placed[name] for name in request.hashes if name in placed]
        missing = tuple(name for name in request.hashes if name not in placed)
        self.counts.given += len(found)
        self.counts.given_bytes += sum(block.stored_size for block in found)
        groups = _groups(found)
        first = await self._read(request.ns, next(groups, []))

        async def bodies() -> AsyncIterator[Bytes]:
            for body in first:
                yield body
            for group in groups:
                for body in await self._read(request.ns, group):
                    yield body

        return GetReply(tuple(_wire(block) for block in found), missing), bodies()

    async def read_inline(
        self, ns: NamespaceId, hashes: Iterable[BlockHash]
    ) -> dict[BlockHash, tuple[WireBlock, bytes]]:
        """Return those of the blocks that `ns` may read, as stored. One that is missing or damaged is left out."""
        wanted = set(hashes)
        found = {name: pair for name in wanted if (pair := self._recent.find(ns, name)) is not None}
        rest = wanted - found.keys()
        if rest:
            placed = list((await self._db.glance(lambda conn: readable_txn(conn, ns, rest))).values())
            parts = await self.store_port.get([_span(block) for block in placed]) if placed else []
            found |= {b.hash: (_wire(b), part) for b, part in zip(placed, parts, strict=True) if part is not None}
        return found

    async def read_bytes(self, ns: NamespaceId, hashes: Sequence[BlockHash]) -> list[Bytes]:
        """Return the blocks' own bytes, in order, each hashed again: nobody behind us would. Raises: BlockDamaged."""
        placed = await self._db.glance(lambda conn: readable_txn(conn, ns, hashes))
        for name in hashes:
            if name not in placed:
                raise BlockDamaged("A block of this file is not there.", hash=name.hex())
        blocks = [placed[name] for name in hashes]
        bodies = await self._read(ns, blocks)
        pairs = [(_wire(block), body) for block, body in zip(blocks, bodies, strict=True)]
        if sum(block.size for block in blocks) <= INLINE_HASHING_BYTES_MAX:
            return _whole(pairs)
        return await self._workers.run(lambda: _whole(pairs))

    async def _verify(self, incoming: Incoming) -> None:
        if sum(wire.size for wire, _ in incoming) <= INLINE_HASHING_BYTES_MAX:
            verify_blocks(incoming)
        else:
            await self._workers.run(lambda: verify_blocks(incoming))

    async def _append(self, fresh: Incoming) -> list[PlacedBlock]:
        if not fresh:
            return []
        name = pack_name(PackId(uuid7(self._clock.now_ms(), self._clock.random(10))))
        pieces, offsets = build(fresh)
        place = await self.store_port.put(name, pieces)
        pack_id = pack_id_of(place.name)
        return [
            PlacedBlock(wire.hash, wire.size, len(body), wire.codec, pack_id, place.offset + offset)
            for (wire, body), offset in zip(fresh, offsets, strict=True)
        ]

    async def _read(self, ns: NamespaceId, blocks: Sequence[PlacedBlock]) -> list[bytes]:
        """Return the blocks' bytes as stored. A block whose pack is gone is looked up once more: it may have moved."""
        if not blocks:
            return []
        parts = await self.store_port.get([_span(block) for block in blocks])
        lost = [block.hash for block, part in zip(blocks, parts, strict=True) if part is None]
        if lost:
            again = await self._db.glance(lambda conn: readable_txn(conn, ns, lost))
            # The caller was told a codec and a length: a block that was stored anew meanwhile may have others.
            same = {b.hash: again[b.hash] for b in blocks if b.hash in again and again[b.hash][:4] == b[:4]}
            moved = await self.store_port.get([_span(block) for block in same.values()])
            found = dict(zip(same, moved, strict=True))
            parts = [found.get(b.hash) if part is None else part for b, part in zip(blocks, parts, strict=True)]
        whole = []
        for block, part in zip(blocks, parts, strict=True):
            if part is None:
                raise BlockDamaged("A stored block is missing or short.", hash=block.hash.hex())
            whole.append(part)
        return whole

    def _count_received(self, incoming: Incoming, known: dict[BlockHash, PlacedBlock]) -> None:
        self.counts.received += len(incoming)
        self.counts.received_bytes += sum(len(body) for _, body in incoming)
        self.counts.duplicate += sum(wire.hash in known for wire, _ in incoming)


class Recent:
    """Small blocks that just arrived, so that peers' streams read no disk. A key names the namespace that sent it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[bytes, bytes], tuple[WireBlock, bytes]] = OrderedDict()
        self._size = 0

    def keep(self, ns: NamespaceId, wire: WireBlock, body: Bytes) -> None:
        key = (ns, wire.hash)
        if key in self._kept:
            return
        self._kept[key] = (wire, bytes(body))
        self._size += len(body) + RECENT_ENTRY_BYTES
        while self._size > RECENT_BYTES_MAX:
            _, (_, old) = self._kept.popitem(last=False)
            self._size -= len(old) + RECENT_ENTRY_BYTES

    def find(self, ns: NamespaceId, name: BlockHash) -> tuple[WireBlock, bytes] | None:
        return self._kept.get((ns, name))


def paired(blocks: Sequence[WireBlock], bodies: Sequence[Bytes]) -> list[tuple[WireBlock, Bytes]]:
    """Return each block with its body. Raises: MessageInvalid when their numbers differ."""
    if len(blocks) != len(bodies):
        raise MessageInvalid("The frame has not one body for each block.", reason="bodies")
    return list(zip(blocks, bodies, strict=True))


def _whole(pairs: Incoming) -> list[Bytes]:
    """Return the blocks' own bytes. Raises: BlockDamaged for one that is not what its name says."""
    opened: list[Bytes] = []
    for wire, body in pairs:
        try:
            data = open_block(wire, body)
        except BlockMismatch as mismatch:
            raise BlockDamaged("A stored block does not open.", hash=wire.hash.hex()) from mismatch
        if block_hash(data) != wire.hash:
            raise BlockDamaged("A stored block does not have its hash.", hash=wire.hash.hex())
        opened.append(data)
    return opened


def _groups(blocks: Sequence[PlacedBlock]) -> Iterator[list[PlacedBlock]]:
    """Yield the blocks in order, in groups of at most 8 MiB as stored (or of one)."""
    group: list[PlacedBlock] = []
    size = 0
    for block in blocks:
        if group and size + block.stored_size > READ_GROUP_BYTES_MAX:
            yield group
            group, size = [], 0
        group.append(block)
        size += block.stored_size
    if group:
        yield group


def _span(block: PlacedBlock) -> Span:
    return Span(pack_name(block.pack_id), block.offset, block.stored_size)


def _wire(block: PlacedBlock) -> WireBlock:
    return WireBlock(block.hash, block.size, block.codec, block.stored_size)
