"""Counts everything again and compares. Invariant: it repairs counters alone, never contents, and only when asked.

A count that is too low is the danger: it lets a block go. It is raised at once under the lock of the commit; one that
is too high is lowered only after it was counted once more under that lock. What cannot be repaired (a version without
its blocklist, a block without its bytes) is told and left alone, and what it may need is not lowered: the blocklist of
a file whose version is lost, the blocks of a namespace that lost a blocklist. Source: docs/design/030 (fsck).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from satchel.core.entries import Kind
from satchel.core.hashing import packed_hashes
from satchel.core.ids import BlockHash, NamespaceId
from satchel.server.blocks.refs import BLOCK_CONDEMNED, BLOCK_LIVE, PACK_GONE, PACK_LEAVING, PACK_LIVE, PACK_OLD
from satchel.server.db.engine import Connection, Database, Row, execute_in, fetch_in, row_lock
from satchel.server.metadata.nodes import PURGED
from satchel.server.ports import BlockStore, Clock, Workers
from satchel.server.upkeep import scrub
from satchel.server.upkeep.marking import UPKEEP_KEY, namespace_ids
from satchel.server.upkeep.scrub import ScrubCounts

_log = structlog.get_logger("upkeep.recount")

KINDS = {
    "manifest_count_low": "a blocklist is counted as less used than it is",
    "manifest_count_high": "a blocklist is counted as more used than it is",
    "manifest_missing": "a version has no blocklist",
    "version_missing": "a file shows a content of which it has no version",
    "right_missing": "a blocklist in use names a block that its namespace has no right to",
    "right_count_low": "a block is counted as less used than it is",
    "right_count_high": "a block is counted as more used than it is",
    "holder_missing": "a namespace has a right to a block that it does not hold",
    "holder_without_right": "a namespace holds a block without a right to it",
    "block_missing": "a namespace holds a block of which nobody knows where it is",
    "pack_missing": "a block stands in a pack that is not there or about to go",
    "pack_bytes_wrong": "a pack's count of live bytes is not what stands in it",
}
"""What can be found, in words for people."""

REPAIRED = frozenset(
    {
        *("manifest_count_low", "manifest_count_high", "right_count_low", "right_count_high"),
        *("right_missing", "holder_missing", "pack_bytes_wrong", "pack_missing"),
    }
)
"""Kinds that `repair` puts right; of `pack_missing` only those whose pack is still in the store."""

FIGURES = frozenset({"pack_bytes_wrong"})
"""Kinds that a sound store shows now and then: figures that decide nothing. A condemned block that comes again stands
elsewhere, and the pack that it left is not told; the next compaction measures all packs."""

EXAMPLES_MAX = 20


@dataclass(frozen=True, slots=True)
class RecountBounds:
    """page: rows a statement; hashes_max: counted in memory at once, a namespace with more is counted in parts."""

    page: int = 1_000
    hashes_max: int = 500_000


@dataclass(slots=True)
class RecountCounts:
    """What was compared and found. found and repaired: by kind; examples: a few of each kind, ids and hashes in hex."""

    namespaces: int = 0
    manifests: int = 0
    rights: int = 0
    blocks: int = 0
    packs: int = 0
    found: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    scrub: ScrubCounts | None = None

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing is left that is wrong; figures that decide nothing may be late."""
        is_read = self.scrub is None or not (self.scrub.damaged or self.scrub.alarm)
        left = (kind for kind, count in self.found.items() if count > self.repaired[kind])
        return is_read and not set(left) - FIGURES

    def tell(self, kind: str, names: Sequence[str]) -> None:
        """Note differences of one kind."""
        if names:
            self.found[kind] += len(names)
            known = self.examples.setdefault(kind, [])
            known += names[: EXAMPLES_MAX - len(known)]


async def run(
    db: Database,
    store: BlockStore,
    clock: Clock,
    workers: Workers,
    bounds: RecountBounds | None = None,
    *,
    repair: bool = False,
    deep: bool = False,
    progress: Callable[[str, int], None] = lambda what, done: None,
) -> RecountCounts:
    """Compare every counter with what it counts. Safe to stop, to repeat, and beside all writers.

    repair: put counters right. deep: read every pack too. progress: told what is counted and how many are done.
    Raises: Unavailable, StorageFailed.
    """
    work = _Recount(db, clock, bounds or RecountBounds(), repair=repair)
    counts = work.counts
    async for ns in namespace_ids(db):
        await work.count_manifests(ns)
        await work.count_rights(ns)
        await work.compare_holders(ns)
        counts.namespaces += 1
        progress("namespaces", counts.namespaces)
    await work.compare_places()
    progress("packs", counts.packs)
    if deep:
        counts.scrub = await scrub.run(
            db, store, clock, workers, everything=True, progress=lambda done: progress("bytes", done)
        )
    for kind, count in counts.found.items():
        _log.error("recount.found", kind=kind, count=count, repaired=counts.repaired[kind])
    return counts


class _Recount:
    """One run over the store. Each comparison reads one moment's view, so commits beside it are no differences."""

    def __init__(self, db: Database, clock: Clock, bounds: RecountBounds, *, repair: bool) -> None:
        self._db = db
        self._clock = clock
        self._bounds = bounds
        self._repair = repair
        self.counts = RecountCounts()

    async def _fix(self, ns: NamespaceId, kinds: dict[str, int], fix: Callable[[Connection], Awaitable[int]]) -> None:
        """Repair under the namespace's row, which every commit takes first."""
        if not self._repair or not any(kinds.values()):
            return

        async def locked_txn(conn: Connection) -> int:
            await conn.fetch(f"SELECT ns FROM namespaces WHERE ns = $1{row_lock(conn)}", ns)
            return await fix(conn)

        await self._db.write(ns, locked_txn)
        self.counts.repaired.update({kind: count for kind, count in kinds.items() if count})

    # -- blocklists: how many versions use each ---

    async def count_manifests(self, ns: NamespaceId) -> None:
        """Compare `manifests.refs` with the versions."""

        async def compare_txn(conn: Connection) -> tuple[int, dict[str, list[bytes]]]:
            return await _manifests_txn(conn, ns)

        seen, wrong = await self._db.read(compare_txn)
        self.counts.manifests += seen
        for kind, ids in wrong.items():
            self.counts.tell(kind, [f"{ns.hex()}/{one.hex()}" for one in ids])

        async def fix_txn(conn: Connection) -> int:
            _, again = await _manifests_txn(conn, ns)
            ids = [*again["manifest_count_low"], *again["manifest_count_high"]]
            text = (
                "UPDATE manifests SET refs = (SELECT COUNT(*) FROM file_versions v WHERE v.ns = manifests.ns"
                " AND v.content = manifests.manifest_id) WHERE ns = $1 AND manifest_id IN {keys}"
            )
            return await execute_in(conn, text, ids, ns)

        kinds = {kind: len(wrong[kind]) for kind in ("manifest_count_low", "manifest_count_high")}
        await self._fix(ns, kinds, fix_txn)

    # -- rights: how many blocklists in use name each block ---

    async def count_rights(self, ns: NamespaceId) -> None:
        """Compare `namespace_blocks.refs` with the blocklists in use, in parts of the hashes when there are many."""
        text = "SELECT COUNT(*) FROM namespace_blocks WHERE ns = $1"
        ((total,),) = await self._db.read(lambda conn: conn.fetch(text, ns))
        self.counts.rights += total
        parts = min(256, 1 + total // self._bounds.hashes_max)
        for part in range(parts):
            low, high = bytes([part * 256 // parts]), bytes([(part + 1) * 256 // parts - 1]) + b"\xff" * 32
            wrong = await self._db.read(lambda conn, low=low, high=high: _rights_txn(conn, ns, low, high))  # type: ignore[misc]
            for kind, names in wrong.items():
                self.counts.tell(kind, [f"{ns.hex()}/{name.hex()}" for name in names])
            kinds = {kind: len(names) for kind, names in wrong.items()}
            if wrong["right_count_high"]:
                lost: list[bytes] = await self._db.read(lambda conn: _lost_manifests_txn(conn, ns))
                if lost:
                    del kinds["right_count_high"]
            await self._fix(ns, kinds, lambda conn, low=low, high=high: self._fix_rights_txn(conn, ns, low, high))  # type: ignore[misc]

    async def _fix_rights_txn(self, conn: Connection, ns: NamespaceId, low: bytes, high: bytes) -> int:
        wrong = await _rights_txn(conn, ns, low, high)
        if await _lost_manifests_txn(conn, ns):
            # Its blocks are counted for nothing that is there, and all that is left of it.
            del wrong["right_count_high"]
        names = sorted({name for some in wrong.values() for name in some})
        truth = await _uses_txn(conn, ns, low, high)
        now = self._clock.now_ms()
        await conn.execute_many(
            "INSERT INTO namespace_blocks (ns, block_hash, refs, lease_until) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (ns, block_hash) DO UPDATE SET refs = excluded.refs",
            [(ns, name, truth[name], now) for name in names],
        )
        return len(names)

    # -- holders ---

    async def compare_holders(self, ns: NamespaceId) -> None:
        """Compare rights with holders, and both with the blocks."""
        text = (
            "SELECT n.block_hash, CASE WHEN EXISTS (SELECT 1 FROM block_refs r WHERE r.block_hash = n.block_hash"
            " AND r.ns = n.ns) THEN 1 ELSE 0 END, CASE WHEN EXISTS (SELECT 1 FROM blocks b WHERE b.block_hash ="
            " n.block_hash) THEN 1 ELSE 0 END FROM namespace_blocks n WHERE n.ns = $1 AND n.block_hash > $2"
            " ORDER BY n.block_hash LIMIT $3"
        )
        last, page = b"", self._bounds.page
        while True:
            rows = await self._db.read(lambda conn, last=last: conn.fetch(text, ns, last, page))  # type: ignore[misc]
            unheld = [row[0] for row in rows if not row[1]]
            lost = [row[0] for row in rows if not row[2]]
            self.counts.tell("holder_missing", [f"{ns.hex()}/{name.hex()}" for name in unheld])
            self.counts.tell("block_missing", [f"{ns.hex()}/{name.hex()}" for name in lost])
            if unheld and self._repair:
                await self._db.write(UPKEEP_KEY, lambda conn, names=unheld: self._hold_txn(conn, ns, names))  # type: ignore[misc]
                self.counts.repaired["holder_missing"] += len(unheld)
            if len(rows) < page:
                return
            last = rows[-1][0]

    async def _hold_txn(self, conn: Connection, ns: NamespaceId, names: Sequence[BlockHash]) -> None:
        """Write the holders that rights lack; a block that was condemned for it is revived. Locks as a put does."""
        ordered = sorted(names)
        await fetch_in(conn, f"SELECT block_hash FROM blocks WHERE block_hash IN {{keys}}{row_lock(conn)}", ordered)
        held = "SELECT block_hash FROM namespace_blocks WHERE ns = $1 AND block_hash IN {keys}"
        still = sorted(row[0] for row in await fetch_in(conn, held, ordered, ns))
        await conn.execute_many(
            "INSERT INTO block_refs (block_hash, ns, lease_until) VALUES ($1, $2, $3)"
            " ON CONFLICT (block_hash, ns) DO NOTHING",
            [(name, ns, self._clock.now_ms()) for name in still],
        )
        await execute_in(
            conn,
            f"UPDATE blocks SET gone_at = NULL, condemned_at = NULL, state = CASE WHEN state = {BLOCK_CONDEMNED}"
            f" THEN {BLOCK_LIVE} ELSE state END WHERE block_hash IN {{keys}}",
            still,
        )

    # -- places ---

    async def compare_places(self) -> None:
        """Look for blocks in packs that are not there, for holders without a right, and count packs' live bytes."""
        await self._strays()
        await self._packs()
        await self._lost_packs()

    async def _strays(self) -> None:
        text = (
            "SELECT r.block_hash, r.ns FROM block_refs r WHERE (r.block_hash, r.ns) > ($1, $2) AND NOT EXISTS (SELECT 1"
            " FROM namespace_blocks n WHERE n.ns = r.ns AND n.block_hash = r.block_hash)"
            " ORDER BY r.block_hash, r.ns LIMIT $3"
        )
        place, page = (b"", b""), self._bounds.page
        while True:
            rows = await self._db.read(lambda conn, place=place: conn.fetch(text, *place, page))  # type: ignore[misc]
            self.counts.tell("holder_without_right", [f"{ns.hex()}/{name.hex()}" for name, ns in rows])
            if len(rows) < page:
                return
            place = (rows[-1][0], rows[-1][1])

    async def _packs(self) -> None:
        text = (
            "SELECT p.pack_id, p.live_bytes, COALESCE(SUM(b.stored_size), 0), COUNT(b.block_hash) FROM packs p"
            f" LEFT JOIN blocks b ON b.pack_id = p.pack_id WHERE p.pack_id > $1 AND p.state = {PACK_LIVE}"
            " GROUP BY p.pack_id, p.live_bytes ORDER BY p.pack_id LIMIT $2"
        )
        last, page = b"", self._bounds.page
        while True:
            rows = await self._db.read(lambda conn, last=last: conn.fetch(text, last, page))  # type: ignore[misc]
            self.counts.packs += len(rows)
            self.counts.blocks += sum(row[3] for row in rows)
            # Compaction counts them in turn; until then a pack says 0, which decides nothing.
            wrong = [row for row in rows if row[1] not in (0, int(row[2]))]
            self.counts.tell("pack_bytes_wrong", [row[0].hex() for row in wrong])
            if wrong and self._repair:
                await self._db.write(UPKEEP_KEY, lambda conn, wrong=wrong: _fix_packs_txn(conn, wrong))  # type: ignore[misc]
                self.counts.repaired["pack_bytes_wrong"] += len(wrong)
            if len(rows) < page:
                return
            last = rows[-1][0]

    async def _lost_packs(self) -> None:
        text = (
            "SELECT b.block_hash, b.pack_id, p.state FROM blocks b LEFT JOIN packs p ON p.pack_id = b.pack_id"
            " WHERE b.block_hash > $1 AND (p.state IS NULL OR p.state >= $2) ORDER BY b.block_hash LIMIT $3"
        )
        last, page = b"", self._bounds.page
        while True:
            args = (last, PACK_OLD, page)
            rows = await self._db.read(lambda conn, args=args: conn.fetch(text, *args))  # type: ignore[misc]
            self.counts.tell("pack_missing", [f"{row[1].hex()}/{row[0].hex()}" for row in rows])
            kept = sorted({row[1] for row in rows if row[2] not in (PACK_LEAVING, PACK_GONE)})
            if kept and self._repair:
                await self._db.write(UPKEEP_KEY, lambda conn, kept=kept: self._revive_packs_txn(conn, kept))  # type: ignore[misc]
                self.counts.repaired["pack_missing"] += sum(row[1] in kept for row in rows)
            if len(rows) < page:
                return
            last = rows[-1][0]

    async def _revive_packs_txn(self, conn: Connection, packs: Sequence[bytes]) -> None:
        await conn.execute_many(
            "INSERT INTO packs (pack_id, state, bytes, live_bytes, created_at, verified_at)"
            " VALUES ($1, $2, 0, 0, $3, 0)"
            f" ON CONFLICT (pack_id) DO UPDATE SET state = excluded.state WHERE packs.state = {PACK_OLD}",
            [(pack_id, PACK_LIVE, self._clock.now_ms()) for pack_id in packs],
        )


async def _manifests_txn(conn: Connection, ns: NamespaceId) -> tuple[int, dict[str, list[bytes]]]:
    """Return how many manifests there are, and those that are counted wrongly by kind, in one moment's view."""
    text = (
        "SELECT m.manifest_id, m.refs, v.uses FROM manifests m LEFT JOIN (SELECT content, COUNT(*) AS uses"
        " FROM file_versions WHERE ns = $1 GROUP BY content) v ON v.content = m.manifest_id"
        " WHERE m.ns = $1 AND m.refs <> COALESCE(v.uses, 0) ORDER BY m.manifest_id"
    )
    rows = await conn.fetch(text, ns)
    ((seen,),) = await conn.fetch("SELECT COUNT(*) FROM manifests WHERE ns = $1", ns)
    bare = await conn.fetch(
        "SELECT f.node_id, f.content FROM files f WHERE f.ns = $1"
        f" AND f.kind = {int(Kind.FILE)} AND f.state <> {PURGED}"
        " AND NOT EXISTS (SELECT 1 FROM file_versions v WHERE v.ns = f.ns AND v.node_id = f.node_id"
        " AND v.content = f.content) ORDER BY f.node_id",
        ns,
    )
    shown = {row[1] for row in bare}
    return seen, {
        "manifest_count_low": [row[0] for row in rows if row[1] < (row[2] or 0)],
        "manifest_count_high": [row[0] for row in rows if row[1] > (row[2] or 0) and row[0] not in shown],
        "manifest_missing": await _lost_manifests_txn(conn, ns),
        "version_missing": [row[0] for row in bare],
    }


async def _lost_manifests_txn(conn: Connection, ns: NamespaceId) -> list[bytes]:
    """Return the contents of versions that have no blocklist."""
    rows = await conn.fetch(
        "SELECT DISTINCT v.content FROM file_versions v JOIN files f ON f.ns = v.ns AND f.node_id = v.node_id"
        f" WHERE v.ns = $1 AND f.kind = {int(Kind.FILE)} AND NOT EXISTS (SELECT 1 FROM manifests m"
        " WHERE m.ns = v.ns AND m.manifest_id = v.content)",
        ns,
    )
    return [row[0] for row in rows]


async def _uses_txn(conn: Connection, ns: NamespaceId, low: bytes, high: bytes) -> Counter[BlockHash]:
    """Return how many blocklists in use name each block whose hash is from `low` to `high`."""
    uses: Counter[BlockHash] = Counter()
    text = (
        "SELECT manifest_id, blocks FROM manifests WHERE ns = $1 AND manifest_id > $2 AND refs > 0"
        " ORDER BY manifest_id LIMIT 64"
    )
    last = b""
    while True:
        rows = await conn.fetch(text, ns, last)
        for _, packed in rows:
            uses.update({name for name in packed_hashes(packed) if low <= name <= high})
        if len(rows) < 64:
            return uses
        last = rows[-1][0]


async def _rights_txn(conn: Connection, ns: NamespaceId, low: bytes, high: bytes) -> dict[str, list[BlockHash]]:
    """Return the rights that are counted wrongly by kind, in one moment's view."""
    uses = await _uses_txn(conn, ns, low, high)
    text = "SELECT block_hash, refs FROM namespace_blocks WHERE ns = $1 AND block_hash >= $2 AND block_hash <= $3"
    counted: dict[BlockHash, int] = dict(await conn.fetch(text, ns, low, high))
    return {
        "right_missing": sorted(uses.keys() - counted.keys()),
        "right_count_low": sorted(name for name, count in counted.items() if count < uses[name]),
        "right_count_high": sorted(name for name, count in counted.items() if count > uses[name]),
    }


async def _fix_packs_txn(conn: Connection, wrong: Sequence[Row]) -> None:
    await conn.execute_many(
        "UPDATE packs SET live_bytes = (SELECT COALESCE(SUM(b.stored_size), 0) FROM blocks b WHERE b.pack_id ="
        " packs.pack_id) WHERE pack_id = $1",
        [(row[0],) for row in wrong],
    )
