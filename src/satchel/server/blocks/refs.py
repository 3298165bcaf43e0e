"""Rows of blocks: where their bytes are, who holds them, who may read them. Invariant: a row follows durable bytes.

`blocks` says where a block stands, `block_refs` which namespaces hold it, `namespace_blocks` gives one namespace the
right to it, its count of uses and its lease. Functions in `_txn` run inside the caller's transaction.
Source: docs/design/030.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from satchel.core.ids import BlockHash, NamespaceId, PackId
from satchel.server.db.engine import Connection, fetch_in

BLOCK_LIVE = 0
BLOCK_CONDEMNED = 1

PACK_WRITING = 0
PACK_LIVE = 1
PACK_OLD = 2


class PlacedBlock(NamedTuple):
    """A block whose bytes are durable. size: length before compression; stored_size: at rest; offset: in the pack."""

    hash: BlockHash
    size: int
    stored_size: int
    codec: int
    pack_id: PackId
    offset: int


async def register_txn(
    conn: Connection, ns: NamespaceId, placed: Sequence[PlacedBlock], *, lease_until_ms: int, now_ms: int
) -> None:
    """Give `ns` the right to the placed blocks, with refs 0 and a lease. Idempotent; existing rows stay as they are.

    A condemned block is revived; a lease only ever grows. Rows are taken in hash order: two callers never deadlock.
    """
    await place_txn(conn, ns, placed, lease_until_ms=lease_until_ms, now_ms=now_ms)
    hashes = sorted({block.hash for block in placed})
    await grant_txn(conn, ns, [(hash_, 0) for hash_ in hashes], lease_until_ms=lease_until_ms)


async def place_txn(
    conn: Connection, ns: NamespaceId, placed: Sequence[PlacedBlock], *, lease_until_ms: int, now_ms: int
) -> None:
    """Write where the placed blocks are and that `ns` holds them; the right to them follows with `grant_txn`.

    Otherwise as `register_txn`.
    """
    rows = sorted({block.hash: block for block in placed}.values())
    if not rows:
        return
    await conn.execute_many(
        "INSERT INTO packs (pack_id, state, bytes, live_bytes, created_at, verified_at) VALUES ($1, $2, 0, 0, $3, 0)"
        " ON CONFLICT (pack_id) DO NOTHING",
        [(pack_id, PACK_LIVE, now_ms) for pack_id in sorted({block.pack_id for block in rows})],
    )
    await conn.execute_many(
        "INSERT INTO blocks (block_hash, size, stored_size, codec, pack_id, pack_offset, state, touched_at, created_at)"
        f" VALUES ($1, $2, $3, $4, $5, $6, {BLOCK_LIVE}, $7, $7)"
        f" ON CONFLICT (block_hash) DO UPDATE SET state = {BLOCK_LIVE}, touched_at = excluded.touched_at",
        [(*block, now_ms) for block in rows],
    )
    await conn.execute_many(
        "INSERT INTO block_refs (block_hash, ns, lease_until) VALUES ($1, $2, $3)"
        " ON CONFLICT (block_hash, ns) DO UPDATE SET lease_until = excluded.lease_until"
        " WHERE block_refs.lease_until < excluded.lease_until",
        [(block.hash, ns, lease_until_ms) for block in rows],
    )


async def grant_txn(
    conn: Connection, ns: NamespaceId, uses: Sequence[tuple[BlockHash, int]], *, lease_until_ms: int
) -> None:
    """Give `ns` the right to blocks, and count so many more uses of each. A lease only ever grows.

    uses: each hash once, in order.
    """
    await conn.execute_many(
        "INSERT INTO namespace_blocks (ns, block_hash, refs, lease_until) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (ns, block_hash) DO UPDATE SET refs = namespace_blocks.refs + excluded.refs, lease_until ="
        " CASE WHEN namespace_blocks.lease_until < excluded.lease_until THEN excluded.lease_until"
        " ELSE namespace_blocks.lease_until END",
        [(ns, hash_, count, lease_until_ms) for hash_, count in uses],
    )


async def missing_txn(conn: Connection, ns: NamespaceId, hashes: Iterable[BlockHash]) -> set[BlockHash]:
    """Return those of `hashes` that `ns` has no right to. It tells nothing about what other namespaces hold."""
    wanted = set(hashes)
    text = "SELECT block_hash FROM namespace_blocks WHERE ns = $1 AND block_hash IN {keys}"
    rows = await fetch_in(conn, text, wanted, ns)
    return wanted - {row[0] for row in rows}


async def add_refs_txn(conn: Connection, ns: NamespaceId, hashes: Iterable[BlockHash]) -> None:
    """Count one more use of each hash; a hash given twice counts twice (once a manifest). The rows must exist."""
    await _count_txn(conn, ns, Counter(hashes), sign=1)


async def drop_refs_txn(conn: Connection, ns: NamespaceId, hashes: Iterable[BlockHash]) -> None:
    """Count one use less of each hash; a hash given twice counts twice. Rows stay; collection is upkeep's work."""
    await _count_txn(conn, ns, Counter(hashes), sign=-1)


async def readable_txn(conn: Connection, ns: NamespaceId, hashes: Iterable[BlockHash]) -> dict[BlockHash, PlacedBlock]:
    """Return where the blocks are that `ns` has a right to; others are left out."""
    rows = await fetch_in(
        conn,
        "SELECT b.block_hash, b.size, b.stored_size, b.codec, b.pack_id, b.pack_offset FROM namespace_blocks n"
        " JOIN blocks b ON b.block_hash = n.block_hash WHERE n.ns = $1 AND n.block_hash IN {keys}",
        set(hashes),
        ns,
    )
    return {row[0]: PlacedBlock(*row) for row in rows}


async def stored_txn(conn: Connection, hashes: Iterable[BlockHash]) -> dict[BlockHash, PlacedBlock]:
    """Return where live blocks are, whoever holds them. Never an answer to a caller: for storing known bytes once."""
    rows = await fetch_in(
        conn,
        "SELECT block_hash, size, stored_size, codec, pack_id, pack_offset FROM blocks"
        f" WHERE block_hash IN {{keys}} AND state = {BLOCK_LIVE}",
        set(hashes),
    )
    return {row[0]: PlacedBlock(*row) for row in rows}


async def _count_txn(conn: Connection, ns: NamespaceId, uses: Counter[BlockHash], *, sign: int) -> None:
    if uses:
        await conn.execute_many(
            "UPDATE namespace_blocks SET refs = refs + $3 WHERE ns = $1 AND block_hash = $2",
            [(ns, hash_, sign * count) for hash_, count in sorted(uses.items())],
        )
