"""Takes versions away and lowers all that counted them, in one transaction. Invariant: what is counted stays true.

A version's content is a blocklist that other versions may have too: its uses go down, and with the last one the uses
of its blocks, and with a block's last use the bytes that the namespace uses. The blocklist's row stays, with no use,
until `blocklists` has looked whether anything names it; the blocks stay until `garbage` has.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from satchel.core.hashing import PACKED_BYTES, packed_hashes
from satchel.core.ids import BlockHash, NamespaceId, NodeId, short
from satchel.server.blocks.refs import drop_refs_txn
from satchel.server.db.engine import Connection, Database, fetch_in

_log = structlog.get_logger("upkeep")

BLOCKS_MAX = 5_000
"""About so many blocks lose a use in one transaction: commits wait for it."""


class Doomed(NamedTuple):
    """A version that goes."""

    node_id: NodeId
    rev: int
    content: bytes


class Dropped(NamedTuple):
    """What one transaction took away. versions: of those that were to go, the first so many; bytes: no longer used."""

    versions: int = 0
    blocklists: int = 0
    bytes: int = 0


async def drop_versions_txn(
    conn: Connection, ns: NamespaceId, doomed: Sequence[Doomed], *, blocks_max: int = BLOCKS_MAX
) -> Dropped:
    """Take versions away, from the first on, until about `blocks_max` blocks lost a use; at least one.

    doomed: each once, and all of them there. The caller holds the namespace's row and has decided under it.
    """
    text = "SELECT manifest_id, refs, LENGTH(blocks) FROM manifests WHERE ns = $1 AND manifest_id IN {keys}"
    found = await fetch_in(conn, text, sorted({version.content for version in doomed}), ns)
    going = _within(doomed, {name: (refs, length // PACKED_BYTES) for name, refs, length in found}, blocks_max)
    uses = Counter([version.content for version in going])
    await conn.execute_many(
        "DELETE FROM file_versions WHERE ns = $1 AND node_id = $2 AND rev = $3",
        [(ns, version.node_id, version.rev) for version in going],
    )
    await conn.execute_many(
        "UPDATE manifests SET refs = CASE WHEN refs > $3 THEN refs - $3 ELSE 0 END WHERE ns = $1 AND manifest_id = $2",
        [(ns, content, count) for content, count in sorted(uses.items())],
    )
    # One that was not in use by its count holds no block any more; `recount` tells how that came.
    emptied = [name for name, refs, _ in found if 0 < refs <= uses[name]]
    freed = await _drop_blocks_txn(conn, ns, emptied)
    return Dropped(len(going), len(emptied), freed)


def _within(doomed: Sequence[Doomed], known: dict[bytes, tuple[int, int]], blocks_max: int) -> Sequence[Doomed]:
    """Return the first versions. known: uses and length of each blocklist."""
    left, blocks = {name: refs for name, (refs, _) in known.items()}, 0
    for at, version in enumerate(doomed):
        if version.content not in known:
            continue
        left[version.content] -= 1
        if left[version.content] == 0:
            blocks += known[version.content][1]
            if blocks > blocks_max and at:
                return doomed[:at]
    return doomed


async def _drop_blocks_txn(conn: Connection, ns: NamespaceId, emptied: Sequence[bytes]) -> int:
    """Lower the uses of the blocks of blocklists that nothing uses any more; return how many bytes that frees."""
    if not emptied:
        return 0
    rows = await fetch_in(conn, "SELECT blocks FROM manifests WHERE ns = $1 AND manifest_id IN {keys}", emptied, ns)
    uses: Counter[BlockHash] = Counter()
    for (packed,) in rows:
        uses.update(set(packed_hashes(packed)))
    counted = "SELECT block_hash, refs FROM namespace_blocks WHERE ns = $1 AND block_hash IN {keys}"
    last = [name for name, refs in await fetch_in(conn, counted, sorted(uses), ns) if 0 < refs <= uses[name]]
    sizes = await fetch_in(conn, "SELECT block_hash, size FROM blocks WHERE block_hash IN {keys}", sorted(last))
    freed = sum(int(size) for _, size in sizes)
    await drop_refs_txn(conn, ns, uses.elements())
    await conn.execute(
        "UPDATE namespaces SET bytes_used = CASE WHEN bytes_used > $2 THEN bytes_used - $2 ELSE 0 END WHERE ns = $1",
        ns,
        freed,
    )
    return freed


class Brake(NamedTuple):
    """How much of a namespace's versions goes in one round over all namespaces, which is a day: more than `floor` of
    them only up to `share`. What is left goes in the next rounds."""

    floor: int
    share: float


class Spent(NamedTuple):
    """How many versions of a namespace went in this round, and how many may; most: 0 while nobody has counted."""

    versions: int = 0
    most: int = 0

    @classmethod
    def unpacked(cls, packed: bytes) -> Spent:
        """Return what `packed` packed; of nothing: nothing was spent."""
        return cls(*struct.unpack(">QQ", packed)) if packed else cls()

    def packed(self) -> bytes:
        """Return it as a part of a walk's place, SPENT_BYTES long."""
        return struct.pack(">QQ", *self)


SPENT_BYTES = 16


async def brake(db: Database, ns: NamespaceId, spent: Spent, limits: Brake, task: str) -> Spent | None:
    """Return what was spent, with the most that may be when that matters; None when it is used up, which is logged."""
    if spent.versions < limits.floor:
        return spent
    if not spent.most:
        text = "SELECT COUNT(*) FROM file_versions WHERE ns = $1"
        ((left,),) = await db.read(lambda conn: conn.fetch(text, ns))
        spent = spent._replace(most=max(limits.floor, round(limits.share * (left + spent.versions))))
    if spent.versions < spent.most:
        return spent
    _log.warning("upkeep.slowed", task=task, ns=short(ns), versions=spent.versions, most=spent.most)
    return None
