"""Reads stored blocks back and judges them. Invariant: a block is called good only when its bytes hash to its name.

What is bad is looked at twice, since it may have moved meanwhile, and then only marked: its bytes stay as they are, and
whoever brings the block again has it stored anew. Source: docs/design/030 (blocks and packs).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import structlog

from satchel.core.errors import BlockMismatch, LimitExceeded, StorageFailed
from satchel.core.ids import BlockHash, PackId
from satchel.core.limits import MIB
from satchel.core.messages import WireBlock
from satchel.server.blocks.codec import verify_block
from satchel.server.blocks.packs import pack_name
from satchel.server.blocks.refs import BLOCK_CONDEMNED, BLOCK_DAMAGED, BLOCK_LIVE, PlacedBlock
from satchel.server.db.engine import Connection, Database, execute_in, fetch_in, row_lock
from satchel.server.ports import BlockStore, Span, Workers
from satchel.server.upkeep.marking import UPKEEP_KEY

_log = structlog.get_logger("upkeep.reading")

READ_BYTES_MAX = 8 * MIB
ROWS_PAGE = 1_024

Read = tuple[PlacedBlock, bytes | None, str]
"""A block, its bytes as stored when they are good, else None and why not."""


async def blocks_of_pack(db: Database, pack_id: PackId) -> AsyncIterator[list[tuple[PlacedBlock, int]]]:
    """Yield the blocks that stand in a pack, with their states, by their offsets, at most 8 MiB at once."""
    text = (
        "SELECT block_hash, size, stored_size, codec, pack_id, pack_offset, state FROM blocks"
        " WHERE pack_id = $1 AND pack_offset > $2 ORDER BY pack_offset LIMIT $3"
    )
    last = -1
    group: list[tuple[PlacedBlock, int]] = []
    size = 0
    while True:
        rows = await db.read(lambda conn, last=last: conn.fetch(text, pack_id, last, ROWS_PAGE))  # type: ignore[misc]
        for *columns, state in rows:
            block = PlacedBlock(*columns)
            if group and size + block.stored_size > READ_BYTES_MAX:
                yield group
                group, size = [], 0
            group.append((block, state))
            size += block.stored_size
        if len(rows) < ROWS_PAGE:
            break
        last = rows[-1][5]
    if group:
        yield group


async def read_verified(store: BlockStore, workers: Workers, blocks: Sequence[PlacedBlock]) -> list[Read]:
    """Return each block with its bytes when they are good. Raises: Unavailable; a part that fails to be read is bad."""
    spans = [Span(pack_name(block.pack_id), block.offset, block.stored_size) for block in blocks]
    try:
        parts = await store.get(spans)
    except StorageFailed:
        # One bad sector must not make its neighbours bad.
        parts = []
        for span in spans:
            try:
                parts += await store.get([span])
            except StorageFailed:
                parts.append(None)
    pairs = list(zip(blocks, parts, strict=True))
    return await workers.run(lambda: [_judged(block, part) for block, part in pairs])


def _judged(block: PlacedBlock, part: bytes | None) -> Read:
    if part is None:
        return block, None, "missing"
    try:
        verify_block(WireBlock(block.hash, block.size, block.codec, block.stored_size), part)
    except (BlockMismatch, LimitExceeded):
        return block, None, "wrong"
    return block, part, ""


async def quarantine(
    db: Database, store: BlockStore, workers: Workers, bad: Sequence[Read], *, now_ms: int
) -> list[BlockHash]:
    """Mark those that are still bad at the same place on a second look; return them. Nothing is overwritten."""
    if not bad:
        return []
    again = await read_verified(store, workers, [block for block, _, _ in bad])
    still = {block.hash: (block, why) for block, part, why in again if part is None}

    async def mark_txn(conn: Connection) -> list[BlockHash]:
        text = f"SELECT block_hash, pack_id, pack_offset FROM blocks WHERE block_hash IN {{keys}}{row_lock(conn)}"
        rows = await fetch_in(conn, text, sorted(still))
        marked = sorted(
            row[0] for row in rows if (row[1], row[2]) == (still[row[0]][0].pack_id, still[row[0]][0].offset)
        )
        await execute_in(conn, f"UPDATE blocks SET state = {BLOCK_DAMAGED} WHERE block_hash IN {{keys}}", marked)
        await conn.execute_many(
            "INSERT INTO block_damage (block_hash, pack_id, pack_offset, reason, found_at) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (block_hash) DO UPDATE SET pack_id = excluded.pack_id, pack_offset = excluded.pack_offset,"
            " reason = excluded.reason",
            [(name, still[name][0].pack_id, still[name][0].offset, still[name][1], now_ms) for name in marked],
        )
        return marked

    marked = await db.write(UPKEEP_KEY, mark_txn)
    for name in marked:
        _log.error("block.damaged", hash=name.hex(), pack=still[name][0].pack_id.hex(), reason=still[name][1])
    return marked


async def clear(db: Database, good: Sequence[PlacedBlock]) -> int:
    """Take blocks out of quarantine whose bytes are right after all; return how many stood at that place."""
    places = {block.hash: (block.pack_id, block.offset) for block in good}

    async def clear_txn(conn: Connection) -> int:
        text = (
            "SELECT block_hash, pack_id, pack_offset FROM blocks WHERE block_hash IN {keys}"
            f" AND state = {BLOCK_DAMAGED}{row_lock(conn)}"
        )
        rows = await fetch_in(conn, text, sorted(places))
        names = sorted(row[0] for row in rows if (row[1], row[2]) == places[row[0]])
        await execute_in(
            conn,
            f"UPDATE blocks SET state = CASE WHEN condemned_at IS NULL THEN {BLOCK_LIVE} ELSE {BLOCK_CONDEMNED} END"
            " WHERE block_hash IN {keys}",
            names,
        )
        return len(names)

    return await db.write(UPKEEP_KEY, clear_txn) if places else 0
