"""Merges small packs and rewrites those that are mostly dead. Invariant: a block's row points at bytes that were read.

Blocks are read, verified and put into a new pack; only then do their rows move, each checked against its old place. The
old pack is given up in the same transaction and leaves the store an hour later (`garbage`), so a reader that holds an
old place has time; one that comes too late looks the block up once more. A log that is still written to is never
touched. Source: docs/design/030 (blocks and packs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from satchel.core.errors import StorageFailed
from satchel.core.ids import PackId, uuid7
from satchel.core.limits import MIB
from satchel.core.messages import WireBlock
from satchel.server.blocks.packs import HEADER_BYTES, build, pack_id_of, pack_name
from satchel.server.blocks.refs import BLOCK_DAMAGED, PACK_LIVE, PlacedBlock, give_up_pack_txn, move_txn
from satchel.server.db.engine import Connection, Database, fetch_in, row_lock
from satchel.server.ports import BlockStore, Clock, Workers
from satchel.server.upkeep.marking import UPKEEP_KEY
from satchel.server.upkeep.reading import blocks_of_pack, quarantine, read_verified

_log = structlog.get_logger("upkeep.compaction")


@dataclass(frozen=True, slots=True)
class CompactionBounds:
    """small_bytes: shorter packs are merged, when merge_min of them are older than young_ms. live_share: packs with
    less of their bytes alive are rewritten. bytes_max: copied in one run; pack_bytes: put together; page: packs looked
    at with one statement. damaged_max: with more in one run the disk is in doubt, and the run ends.
    """

    small_bytes: int = MIB
    merge_min: int = 4
    young_ms: int = 10 * 60_000
    live_share: float = 0.5
    bytes_max: int = 256 * MIB
    pack_bytes: int = 16 * MIB
    damaged_max: int = 100
    page: int = 500


@dataclass(slots=True)
class CompactionCounts:
    """What a run did. packs_seen: all that were measured; packs_emptied: those that were given up."""

    packs_seen: int = 0
    packs_emptied: int = 0
    packs_written: int = 0
    blocks_moved: int = 0
    bytes_copied: int = 0
    blocks_damaged: int = 0


@dataclass(frozen=True, slots=True)
class _Measured:
    """A pack as it is. length: at least so long; live: of it records of good blocks, in bytes."""

    pack_id: PackId
    length: int
    live: int


Copied = list[tuple[PlacedBlock, bytes]]


async def run(
    db: Database, store: BlockStore, clock: Clock, workers: Workers, bounds: CompactionBounds | None = None
) -> CompactionCounts:
    """Merge and rewrite packs. Safe to stop anywhere, to repeat, and beside itself and all readers and writers.

    What a stop leaves behind is a pack without rows, which `garbage` finds. Raises: Unavailable, StorageFailed,
    StorageFull.
    """
    bounds = bounds or CompactionBounds()
    counts = CompactionCounts()
    await store.probe()
    sources = await _sources(db, store, clock.now_ms(), bounds, counts)
    copied: Copied = []
    emptied: list[PackId] = []
    size = 0
    for pack_id in sources:
        async for group in blocks_of_pack(db, pack_id):
            whole = [block for block, state in group if state != BLOCK_DAMAGED]
            good = await _read_good(db, store, clock, workers, bounds, whole, counts)
            copied += good
            size += sum(len(part) for _, part in good)
            if size >= bounds.pack_bytes:
                await _move(db, store, clock, copied, emptied, counts)
                copied, size = [], 0
        emptied.append(pack_id)
    await _move(db, store, clock, copied, emptied, counts)
    _log.info("compaction.done", packs=counts.packs_emptied, blocks=counts.blocks_moved, bytes=counts.bytes_copied)
    return counts


async def _sources(
    db: Database, store: BlockStore, now_ms: int, bounds: CompactionBounds, counts: CompactionCounts
) -> list[PackId]:
    """Return the packs to copy, within the run's budget; measure all packs on the way."""
    small: list[_Measured] = []
    sparse: list[_Measured] = []
    still_open = await store.open_names()
    text = (
        "SELECT p.pack_id, p.created_at, p.bytes, p.live_bytes, MAX(b.pack_offset + b.stored_size),"
        " SUM(b.stored_size),"
        f" SUM(CASE WHEN b.state = {BLOCK_DAMAGED} THEN 0 ELSE b.stored_size + {HEADER_BYTES} END)"
        f" FROM packs p JOIN blocks b ON b.pack_id = p.pack_id WHERE p.pack_id > $1 AND p.state = {PACK_LIVE}"
        " GROUP BY p.pack_id, p.created_at, p.bytes, p.live_bytes ORDER BY p.pack_id LIMIT $2"
    )
    last, page = b"", bounds.page
    while True:
        rows = await db.read(lambda conn, last=last: conn.fetch(text, last, page))  # type: ignore[misc]
        measured = []
        for pack_id, created_at, length, live_bytes, end, stands, good in rows:
            counts.packs_seen += 1
            one = _Measured(pack_id, max(length, int(end)), int(good))
            # Blocks of a young one may still be on their way into the table: a count of them would soon be too low.
            is_filled = created_at <= now_ms - bounds.young_ms and pack_name(pack_id) not in still_open
            if one.length != length or (is_filled and int(stands) != live_bytes):
                measured.append((pack_id, one.length, int(is_filled)))
            if not is_filled or not one.live:
                continue
            if one.live < bounds.live_share * one.length:
                sparse.append(one)
            elif one.length < bounds.small_bytes:
                small.append(one)
        await _keep_measures(db, measured)
        if len(rows) < page:
            break
        last = rows[-1][0]
    chosen = [*sparse, *(small if len(small) >= bounds.merge_min else ())]
    return _within(chosen, bounds.bytes_max)


def _within(packs: Sequence[_Measured], bytes_max: int) -> list[PackId]:
    chosen: list[PackId] = []
    size = 0
    for pack in packs:
        if chosen and size + pack.live > bytes_max:
            break
        chosen.append(pack.pack_id)
        size += pack.live
    return chosen


async def _keep_measures(db: Database, measured: Sequence[tuple[PackId, int, int]]) -> None:
    """Note how long packs are and, of those that no block comes to any more (1 at the end), what stands in them now."""

    async def keep_txn(conn: Connection) -> None:
        locked = f"SELECT pack_id FROM packs WHERE pack_id IN {{keys}}{row_lock(conn)}"
        await fetch_in(conn, locked, [pack_id for pack_id, _, _ in measured])
        # Only in a second statement: who held a row until now may have removed blocks and lowered the number.
        await conn.execute_many(
            "UPDATE packs SET bytes = $2, live_bytes = CASE WHEN $3 = 0 THEN live_bytes ELSE (SELECT"
            " COALESCE(SUM(b.stored_size), 0) FROM blocks b WHERE b.pack_id = packs.pack_id) END WHERE pack_id = $1",
            measured,
        )

    if measured:
        await db.write(UPKEEP_KEY, keep_txn)


async def _read_good(
    db: Database,
    store: BlockStore,
    clock: Clock,
    workers: Workers,
    bounds: CompactionBounds,
    blocks: Sequence[PlacedBlock],
    counts: CompactionCounts,
) -> Copied:
    read = await read_verified(store, workers, blocks)
    bad = [one for one in read if one[1] is None]
    if counts.blocks_damaged + len(bad) > bounds.damaged_max:
        raise StorageFailed("Too many stored blocks cannot be read.", where="blocks", reason="missing or wrong")
    counts.blocks_damaged += len(await quarantine(db, store, workers, bad, now_ms=clock.now_ms()))
    return [(block, part) for block, part, _ in read if part is not None]


async def _move(
    db: Database, store: BlockStore, clock: Clock, copied: Copied, emptied: list[PackId], counts: CompactionCounts
) -> None:
    """Put the copies into a new pack and let the rows point there; give up the packs of `emptied` that are empty."""
    now_ms = clock.now_ms()
    moves: list[tuple[PlacedBlock, PackId, int]] = []
    if copied:
        name = pack_name(PackId(uuid7(now_ms, clock.random(10))))
        wires = [(WireBlock(b.hash, b.size, b.codec, b.stored_size), part) for b, part in copied]
        pieces, offsets = build(wires)
        place = await store.put(name, pieces)
        new_id = pack_id_of(place.name)
        moves = [(block, new_id, place.offset + at) for (block, _), at in zip(copied, offsets, strict=True)]
        counts.packs_written += 1
        counts.bytes_copied += sum(len(part) for _, part in copied)

    async def move_all_txn(conn: Connection) -> tuple[int, int]:
        moved = await move_txn(conn, moves, now_ms=now_ms)
        given_up = 0
        for pack_id in sorted(set(emptied)):
            given_up += await give_up_pack_txn(conn, pack_id, now_ms=now_ms)
        return len(moved), given_up

    if moves or emptied:
        moved, given_up = await db.write(UPKEEP_KEY, move_all_txn)
        counts.blocks_moved += moved
        counts.packs_emptied += given_up
        emptied.clear()
