"""Takes contents from one namespace into another. Invariant: what each of the two counts is true when it is done, and
every block that a version names is held by the version's namespace at each moment.

No block is read or moved: its holders are rows. The namespace that had it keeps its own row, with one use less, until
garbage has looked at it; so the block is never without a holder, and its own row need not be locked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from satchel.core.hashing import packed_hashes
from satchel.core.ids import BlockHash, NamespaceId
from satchel.server.db.engine import Change, Connection, change_together, execute_in, fetch_in

CONTENTS_PAGE = 500
BLOCKS_PAGE = 5_000

T = TypeVar("T")


class Taken(NamedTuple):
    """How many bytes, before compression, one namespace uses more and the other less."""

    gained: int
    freed: int


async def take_contents_txn(
    conn: Connection,
    *,
    source: NamespaceId,
    target: NamespaceId,
    uses: Mapping[bytes, int],
    is_moving: bool,
    now_ms: int,
) -> Taken:
    """Count so many uses of each content in the target, and, when they move there, so many less in the source.

    uses: versions by content hash. The caller holds both namespaces' rows.
    """
    gained: Counter[BlockHash] = Counter()
    dropped: Counter[BlockHash] = Counter()
    for page in _pages(sorted(uses), CONTENTS_PAGE):
        await _page_txn(conn, source, target, {name: uses[name] for name in page}, is_moving, gained, dropped)
    more = await _hold_txn(conn, target, gained, now_ms)
    return Taken(more, await _let_go_txn(conn, source, dropped))


async def _page_txn(
    conn: Connection,
    source: NamespaceId,
    target: NamespaceId,
    uses: Mapping[bytes, int],
    is_moving: bool,
    gained: Counter[BlockHash],
    dropped: Counter[BlockHash],
) -> None:
    text = "SELECT manifest_id, blocks, size, cutter, refs FROM manifests WHERE ns = $1 AND manifest_id IN {keys}"
    found = await fetch_in(conn, text, list(uses), source)
    used = "SELECT manifest_id FROM manifests WHERE ns = $1 AND refs > 0 AND manifest_id IN {keys}"
    there = {row[0] for row in await fetch_in(conn, used, list(uses), target)}
    made = Change(
        "INSERT INTO manifests (ns, manifest_id, blocks, size, cutter, refs) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT (ns, manifest_id) DO UPDATE SET refs = manifests.refs + excluded.refs",
        [(name, blocks, size, cutter, uses[name]) for name, blocks, size, cutter, _ in sorted(found)],
        (target,),
    )
    await change_together(conn, [made])
    for name, blocks, _, _, refs in found:
        hashes = set(packed_hashes(blocks))
        if name not in there:
            gained.update(hashes)
        if is_moving and 0 < refs <= uses[name]:
            dropped.update(hashes)
    if is_moving:
        # A blocklist without a use stays until upkeep has looked whether anything names it after all.
        text = (
            "UPDATE manifests SET refs = CASE WHEN refs > $2 THEN refs - $2 ELSE 0 END"
            " WHERE ns = $1 AND manifest_id IN {keys}"
        )
        for count, names in _by_count(uses):
            await execute_in(conn, text, names, source, count)


async def _hold_txn(conn: Connection, ns: NamespaceId, gained: Counter[BlockHash], now_ms: int) -> int:
    """Count more uses of blocks, as holder first and then as right, in the order that uploads take them in."""
    fresh = 0
    for page in _pages(sorted(gained), BLOCKS_PAGE):
        counted = "SELECT block_hash FROM namespace_blocks WHERE ns = $1 AND refs > 0 AND block_hash IN {keys}"
        known = {row[0] for row in await fetch_in(conn, counted, page, ns)}
        fresh += await _size_txn(conn, [name for name in page if name not in known])
        holders = "INSERT INTO block_refs (lease_until, ns, block_hash) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
        await change_together(conn, [Change(holders, [(name,) for name in page], (now_ms, ns))])
        rights = (
            "INSERT INTO namespace_blocks (lease_until, ns, block_hash, refs) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (ns, block_hash) DO UPDATE SET refs = namespace_blocks.refs + excluded.refs"
        )
        await change_together(conn, [Change(rights, [(name, gained[name]) for name in page], (now_ms, ns))])
    return fresh


async def _let_go_txn(conn: Connection, ns: NamespaceId, dropped: Counter[BlockHash]) -> int:
    """Count fewer uses of blocks; return the bytes of those that have none any more. Their rows are garbage's."""
    freed = 0
    for page in _pages(sorted(dropped), BLOCKS_PAGE):
        text = "SELECT block_hash, refs FROM namespace_blocks WHERE ns = $1 AND block_hash IN {keys}"
        counted = await fetch_in(conn, text, page, ns)
        freed += await _size_txn(conn, [name for name, refs in counted if 0 < refs <= dropped[name]])
        text = "UPDATE namespace_blocks SET refs = refs - $2 WHERE ns = $1 AND block_hash IN {keys}"
        for count, names in _by_count({name: dropped[name] for name in page}):
            await execute_in(conn, text, names, ns, count)
    return freed


async def _size_txn(conn: Connection, hashes: Sequence[BlockHash]) -> int:
    rows = await fetch_in(conn, "SELECT block_hash, size FROM blocks WHERE block_hash IN {keys}", hashes)
    return sum(int(size) for _, size in rows)


def _by_count(counts: Mapping[bytes, int]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield those of one count together, since one statement does for all of them: mostly that is 1."""
    groups: dict[int, list[bytes]] = {}
    for name, count in sorted(counts.items()):
        groups.setdefault(count, []).append(name)
    yield from groups.items()


def _pages(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(values), size):
        yield values[at : at + size]
