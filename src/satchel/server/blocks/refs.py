"""Rows of blocks: where their bytes are, who holds them, who may read them. Invariant: a row follows durable bytes.

`blocks` says where a block stands, `block_refs` which namespaces hold it, `namespace_blocks` gives one namespace the
right to it, its count of uses and its lease. Functions in `_txn` run inside the caller's transaction.
Source: docs/design/030.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from satchel.core.errors import Unavailable
from satchel.core.ids import BlockHash, NamespaceId, PackId
from satchel.server.db.engine import Change, Connection, Question, Row, change_together, fetch_in, row_lock

BLOCK_LIVE = 0
BLOCK_CONDEMNED = 1
BLOCK_DAMAGED = 2
"""Its stored bytes are wrong or missing. Whoever brings the block again has it stored anew, at another place."""

PACK_WRITING = 0
PACK_LIVE = 1
PACK_OLD = 2
"""No block stands in it and none is placed there any more; its object still waits for late readers."""
PACK_LEAVING = 3
"""Its object may be gone from the store at any moment."""
PACK_GONE = 4
"""Its object is gone. The row stays for a while, so that no late writer makes it anew."""

_IS_ROTTEN = (
    f"blocks.state = {BLOCK_DAMAGED} AND blocks.pack_id = excluded.pack_id"
    " AND blocks.pack_offset = excluded.pack_offset"
)


_PLACE = (
    "INSERT INTO blocks (touched_at, created_at, block_hash, size, stored_size, codec, pack_id, pack_offset, state)"
    f" VALUES ($1, $1, $2, $3, $4, $5, $6, $7, {BLOCK_LIVE})"
    f" ON CONFLICT (block_hash) DO UPDATE SET state = CASE WHEN {_IS_ROTTEN} THEN blocks.state"
    f" ELSE {BLOCK_LIVE} END, touched_at = excluded.touched_at, gone_at = NULL, condemned_at = NULL, "
    + ", ".join(
        f"{column} = CASE WHEN blocks.state = {BLOCK_LIVE} THEN blocks.{column} ELSE excluded.{column} END"
        for column in ("size", "stored_size", "codec", "pack_id", "pack_offset")
    )
)
_HOLD = (
    "INSERT INTO block_refs (lease_until, block_hash, ns) VALUES ($1, $2, $3)"
    " ON CONFLICT (block_hash, ns) DO UPDATE SET lease_until = excluded.lease_until"
    " WHERE block_refs.lease_until < excluded.lease_until"
)
_GRANT = (
    "INSERT INTO namespace_blocks (lease_until, ns, block_hash, refs) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (ns, block_hash) DO UPDATE SET refs = namespace_blocks.refs + excluded.refs, lease_until ="
    " CASE WHEN namespace_blocks.lease_until < excluded.lease_until THEN excluded.lease_until"
    " ELSE namespace_blocks.lease_until END"
)


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
    await register_all_txn(conn, [(ns, placed)], lease_until_ms=lease_until_ms, now_ms=now_ms)


async def register_all_txn(
    conn: Connection,
    brought: Sequence[tuple[NamespaceId, Sequence[PlacedBlock]]],
    *,
    lease_until_ms: int,
    now_ms: int,
) -> None:
    """As `register_txn`, for what several namespaces were brought."""
    await _place_all_txn(conn, brought, lease_until_ms=lease_until_ms, now_ms=now_ms)
    rows = sorted({(ns, block.hash, 0) for ns, placed in brought for block in placed})
    await change_together(conn, [Change(_GRANT, rows, (lease_until_ms,))])


async def place_txn(
    conn: Connection, ns: NamespaceId, placed: Sequence[PlacedBlock], *, lease_until_ms: int, now_ms: int
) -> None:
    """Write where the placed blocks are and that `ns` holds them; the right to them follows with `grant`.

    A live block stays where it is. A condemned one is revived and a damaged one healed, at the place given here: their
    bytes came anew. Locks: blocks, then their holders, then packs. Otherwise as `register_txn`. Raises: Unavailable
    (retry) when a pack was given up since the bytes were put.
    """
    await _place_all_txn(conn, [(ns, placed)], lease_until_ms=lease_until_ms, now_ms=now_ms)


async def _place_all_txn(
    conn: Connection,
    brought: Sequence[tuple[NamespaceId, Sequence[PlacedBlock]]],
    *,
    lease_until_ms: int,
    now_ms: int,
) -> None:
    rows = sorted({block.hash: block for _, placed in brought for block in placed}.values())
    if not rows:
        return
    await add_packs_txn(conn, {block.pack_id for block in rows}, now_ms=now_ms)
    # One statement after another: their order is the order of locks.
    await change_together(conn, [Change(_PLACE, rows, (now_ms,))])
    holders = sorted({(block.hash, ns) for ns, placed in brought for block in placed})
    await change_together(conn, [Change(_HOLD, holders, (lease_until_ms,))])
    await _require_packs_txn(conn, rows)


async def _require_packs_txn(conn: Connection, rows: Sequence[PlacedBlock]) -> None:
    """Hold the packs until the transaction ends, so that none is given up meanwhile. Raises: Unavailable."""
    lock = " FOR SHARE" if conn.dialect == "postgres" else ""
    text = f"SELECT pack_id, state FROM packs WHERE pack_id IN {{keys}}{lock}"
    states = await fetch_in(conn, text, sorted({block.pack_id for block in rows}))
    closed = {pack_id for pack_id, state in states if state not in (PACK_LIVE, PACK_WRITING)}
    if not closed:
        return
    late = [block.hash for block in rows if block.pack_id in closed]
    stand = await fetch_in(conn, "SELECT pack_id FROM blocks WHERE block_hash IN {keys}", late)
    if any(row[0] in closed for row in stand):
        raise Unavailable("A block's pack was given up meanwhile; send the block again.", where="packs", reason="old")


async def move_txn(
    conn: Connection, moves: Sequence[tuple[PlacedBlock, PackId, int]], *, now_ms: int
) -> set[BlockHash]:
    """Let blocks stand at new places where the same stored bytes are durable; return those that were moved.

    moves: block as it was read, its new pack and offset. One that stands elsewhere by now stays there.
    Raises: Unavailable when a new pack was given up since the bytes were put.
    """
    ordered = sorted(moves, key=lambda move: move[0].hash)
    columns = "block_hash, pack_id, pack_offset, stored_size, codec"
    text = f"SELECT {columns} FROM blocks WHERE block_hash IN {{keys}}{row_lock(conn)}"
    found = {row[0]: tuple(row[1:]) for row in await fetch_in(conn, text, [move[0].hash for move in ordered])}
    moved = [
        (block, pack_id, offset)
        for block, pack_id, offset in ordered
        if found.get(block.hash) == (block.pack_id, block.offset, block.stored_size, block.codec)
    ]
    if not moved:
        return set()
    await add_packs_txn(conn, {pack_id for _, pack_id, _ in moved}, now_ms=now_ms)
    await conn.execute_many(
        "UPDATE blocks SET pack_id = $2, pack_offset = $3 WHERE block_hash = $1 AND pack_id = $4 AND pack_offset = $5",
        [(block.hash, pack_id, offset, block.pack_id, block.offset) for block, pack_id, offset in moved],
    )
    await _require_packs_txn(conn, [block._replace(pack_id=pack_id, offset=at) for block, pack_id, at in moved])
    return {block.hash for block, _, _ in moved}


async def add_packs_txn(conn: Connection, packs: Iterable[PackId], *, now_ms: int) -> None:
    """Write rows of packs that hold durable bytes; those that have one keep it."""
    await conn.execute_many(
        "INSERT INTO packs (pack_id, state, bytes, live_bytes, created_at, verified_at) VALUES ($1, $2, 0, 0, $3, 0)"
        " ON CONFLICT (pack_id) DO NOTHING",
        [(pack_id, PACK_LIVE, now_ms) for pack_id in sorted(set(packs))],
    )


async def give_up_pack_txn(conn: Connection, pack_id: PackId, *, now_ms: int) -> bool:
    """Let a live pack in which no block stands be old; tell whether it is. Nothing is placed in it from then on."""
    lock = row_lock(conn)
    await conn.fetch(f"SELECT pack_id FROM packs WHERE pack_id = $1{lock}", pack_id)
    # Only in a second statement: who held the row until now may have placed a block.
    count = await conn.execute(
        f"UPDATE packs SET state = {PACK_OLD}, state_at = $2, live_bytes = 0 WHERE pack_id = $1 AND state = {PACK_LIVE}"
        " AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.pack_id = packs.pack_id)",
        pack_id,
        now_ms,
    )
    return count == 1


def held_question(conn: Connection, ns: NamespaceId, hashes: Sequence[BlockHash]) -> Question:
    """Return what `require_held` wants the answer to, of blocks (each once) that were placed for `ns`.

    To be asked by whoever holds the namespace row: from then on nobody takes them away. Embedded, they were placed in
    this very transaction, and nothing is asked.
    """
    keys = () if conn.dialect == "sqlite" else hashes
    return Question("SELECT block_hash FROM block_refs WHERE block_hash IN {keys} AND ns = $1", (ns,), keys=keys)


def require_held(question: Question, answer: Sequence[Row]) -> None:
    """Return when all are still held. Raises: Unavailable (retry): placed before, and nobody holds it any more."""
    if len(answer) < len(question.keys or ()):
        reason = "the lease of a block is over"
        raise Unavailable("A block went away meanwhile; send it again.", where="blocks", reason=reason)


def grant(ns: NamespaceId, uses: Sequence[tuple[BlockHash, int]], *, lease_until_ms: int) -> Change:
    """Return what gives `ns` the right to blocks that it holds and counts so many more uses of each.

    uses: each hash once, in order. A lease only ever grows. Whoever counts a use holds the namespace row.
    """
    return Change(_GRANT, [(ns, hash_, count) for hash_, count in uses], (lease_until_ms,))


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


async def held_txn(conn: Connection, ns: NamespaceId, hashes: Iterable[BlockHash]) -> dict[BlockHash, int]:
    """Return the lengths of the blocks that `ns` has a right to; damaged ones, which are to come anew, are left out."""
    rows = await fetch_in(
        conn,
        "SELECT b.block_hash, b.size FROM namespace_blocks n JOIN blocks b ON b.block_hash = n.block_hash"
        f" WHERE n.ns = $1 AND b.state <> {BLOCK_DAMAGED} AND n.block_hash IN {{keys}}",
        set(hashes),
        ns,
    )
    return {row[0]: row[1] for row in rows}


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
