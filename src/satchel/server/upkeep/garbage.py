"""Removes blocks that nobody has used for long, and packs without blocks. Invariant: no block of a version ever goes.

A right without a use ends with its lease; a block that nobody holds for 24 h is condemned, and removed 24 h later; a
pack without blocks leaves the store an hour after that. Any use on the way revives. Counters only propose: what goes is
looked up in the blocklists first, and once more under the lock. When one run would condemn too much, or when what it
reads does not fit together, it condemns and removes nothing and says so. Source: docs/design/030 (garbage).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import structlog
from msgspec.structs import replace

from satchel.core.errors import Fault, StorageFailed
from satchel.core.ids import BlockHash, NamespaceId, PackId
from satchel.core.limits import MIB
from satchel.server.blocks.packs import PREFIX, pack_id_of, pack_name
from satchel.server.blocks.refs import (
    BLOCK_CONDEMNED,
    BLOCK_LIVE,
    PACK_GONE,
    PACK_LEAVING,
    PACK_LIVE,
    PACK_OLD,
    add_packs_txn,
    give_up_pack_txn,
)
from satchel.server.db.engine import Connection, Database, Row, execute_in, fetch_in, row_lock
from satchel.server.ports import BlockStore, Clock
from satchel.server.upkeep.marking import (
    UPKEEP_KEY,
    Brake,
    blocks_in_use,
    namespace_ids,
    read_brake,
    used_blocks,
    write_brake,
)

_log = structlog.get_logger("upkeep.garbage")

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class GarbageBounds:
    """How long things wait, and how much one run does.

    gone_ms: without a holder before it is condemned; condemned_ms: before it is removed; old_ms: from a pack's last
    block to the end of its object; unused_ms: a pack's age before it may be found empty; tombstone_ms: for which the
    row of a pack outlives it. share_max: of all stored bytes, that one run condemns by itself when it is more than
    floor_bytes. page: rows a transaction; rights_max, blocks_max, packs_max: a run.
    """

    gone_ms: int = DAY_MS
    condemned_ms: int = DAY_MS
    old_ms: int = HOUR_MS
    unused_ms: int = 7 * DAY_MS
    tombstone_ms: int = 30 * DAY_MS
    allowed_ms: int = DAY_MS
    share_max: float = 0.10
    floor_bytes: int = 16 * MIB
    orphans_floor: int = 64
    page: int = 500
    rights_max: int = 20_000
    blocks_max: int = 100_000
    packs_max: int = 1_000


@dataclass(slots=True)
class GarbageCounts:
    """What a run did; with `dry_run`, what it would have done. errors: things that do not fit together.

    alarm: why nothing was condemned or removed, "" when nothing was wrong. waiting_bytes: condemned, not yet removed.
    """

    dry_run: bool = False
    rights_dropped: int = 0
    blocks_gone: int = 0
    blocks_revived: int = 0
    blocks_condemned: int = 0
    bytes_condemned: int = 0
    blocks_removed: int = 0
    bytes_removed: int = 0
    packs_given_up: int = 0
    packs_deleted: int = 0
    packs_adopted: int = 0
    packs_revived: int = 0
    total_bytes: int = 0
    waiting_bytes: int = 0
    errors: int = 0
    alarm: str = ""


@dataclass(slots=True)
class _Marked:
    """What a walk over all blocks found. ripe: may be condemned; over: may be removed; recent_bytes: condemned of late.

    The lists are bounded, the sums are not.
    """

    ripe: list[BlockHash] = field(default_factory=list)
    ripe_bytes: int = 0
    over: list[BlockHash] = field(default_factory=list)
    recent_bytes: int = 0


async def run(
    db: Database,
    store: BlockStore,
    clock: Clock,
    bounds: GarbageBounds | None = None,
    *,
    dry_run: bool = False,
    allow_large: bool = False,
    is_listing: bool = True,
) -> GarbageCounts:
    """Collect what is ripe. Safe to stop anywhere, to repeat, and beside itself and all writers.

    dry_run: count, change nothing. allow_large: an administrator says that as much as is found now may be condemned;
    what does not fit together stops it all the same. is_listing: list the store too, for packs that no row names.
    Raises: Unavailable, StorageFailed, StorageFull.
    """
    work = _Collection(db, store, bounds or GarbageBounds(), clock.now_ms(), dry_run=dry_run)
    try:
        await work.drop_rights()
        marked = await work.mark(await read_brake(db))
        if await work.may_go_on(marked, allow_large=allow_large):
            await work.condemn(marked)
            await work.remove(marked)
            await work.give_up_packs()
            await work.delete_packs()
        if is_listing:
            await work.adopt_packs()
    except Fault as fault:
        with contextlib.suppress(Fault):
            await work.alarm(f"the run failed: {fault.code}")
        raise
    _log.info("garbage.done", **{name: value for name, value in shown(work.counts).items() if value})
    return work.counts


def shown(counts: GarbageCounts) -> dict[str, object]:
    """Return the counts as plain data."""
    return {name: getattr(counts, name) for name in counts.__dataclass_fields__}


class _Collection:
    """One run. All ages are judged by the moment it began: a later one would only take more."""

    def __init__(self, db: Database, store: BlockStore, bounds: GarbageBounds, now_ms: int, *, dry_run: bool) -> None:
        self._db = db
        self._store = store
        self._bounds = bounds
        self._now_ms = now_ms
        self._dry_run = dry_run
        self._brake = Brake()
        self._is_allowed = False
        self.counts = GarbageCounts(dry_run=dry_run)

    # -- rights without a use ---

    async def drop_rights(self) -> None:
        """End rights that nothing uses and whose lease is over, unless a blocklist says that the count is wrong."""
        async for ns in namespace_ids(self._db):
            unused = await self._unused_rights(ns)
            if not unused:
                continue
            used = await used_blocks(self._db, ns, frozenset(unused))
            if used and (wrong := await self._still_unused(ns, used)):
                self._unsure("count_too_low", ns=ns.hex(), blocks=len(wrong))
                continue
            unused = [name for name in unused if name not in used]
            for page in _pages(unused, self._bounds.page):
                if self._dry_run:
                    self.counts.rights_dropped += len(page)
                else:
                    self.counts.rights_dropped += await self._db.write(
                        ns,
                        lambda conn, ns=ns, page=page: self._drop_rights_txn(conn, ns, page),  # type: ignore[misc]
                    )

    async def _unused_rights(self, ns: NamespaceId) -> list[BlockHash]:
        """Return at most rights_max hashes. A negative count is an error, never a zero."""
        unused: list[BlockHash] = []
        last = b""
        text = (
            "SELECT block_hash, refs FROM namespace_blocks WHERE ns = $1 AND block_hash > $2 AND refs <= 0"
            " AND lease_until <= $3 ORDER BY block_hash LIMIT $4"
        )
        while len(unused) < self._bounds.rights_max:
            args = (ns, last, self._now_ms, self._bounds.page)
            rows = await self._db.read(lambda conn, args=args: conn.fetch(text, *args))  # type: ignore[misc]
            negative = [row for row in rows if row[1] < 0]
            if negative:
                self._unsure("count_negative", ns=ns.hex(), blocks=len(negative))
            unused += [row[0] for row in rows if row[1] == 0]
            if len(rows) < self._bounds.page:
                break
            last = rows[-1][0]
        return unused

    async def _still_unused(self, ns: NamespaceId, used: set[BlockHash]) -> set[BlockHash]:
        """Return those that are counted as unused and yet named: not those that a commit began to use meanwhile."""
        text = "SELECT block_hash FROM namespace_blocks WHERE ns = $1 AND block_hash IN {keys} AND refs <= 0"
        rows = await self._db.read(lambda conn: fetch_in(conn, text, sorted(used), ns))
        return await used_blocks(self._db, ns, frozenset(row[0] for row in rows)) if rows else set()

    async def _drop_rights_txn(self, conn: Connection, ns: NamespaceId, hashes: Sequence[BlockHash]) -> int:
        lock, now = row_lock(conn), self._now_ms
        # The namespace row keeps commits out; the holders' rows keep out uploads, which take them before the rights.
        await conn.fetch(f"SELECT ns FROM namespaces WHERE ns = $1{lock}", ns)
        held = f"SELECT block_hash, lease_until FROM block_refs WHERE block_hash IN {{keys}} AND ns = $1{lock}"
        leased = {row[0] for row in await fetch_in(conn, held, sorted(hashes), ns) if row[1] > now}
        text = (
            "SELECT block_hash FROM namespace_blocks WHERE ns = $1 AND block_hash IN {keys} AND refs = 0"
            " AND lease_until <= $2"
        )
        over = sorted({row[0] for row in await fetch_in(conn, text, hashes, ns, now)} - leased)
        await execute_in(
            conn,
            "DELETE FROM namespace_blocks WHERE ns = $1 AND block_hash IN {keys} AND refs = 0 AND lease_until <= $2",
            *(over, ns, now),
        )
        await execute_in(
            conn,
            "DELETE FROM block_refs WHERE ns = $1 AND block_hash IN {keys} AND lease_until <= $2 AND NOT EXISTS (SELECT"
            " 1 FROM namespace_blocks n WHERE n.ns = block_refs.ns AND n.block_hash = block_refs.block_hash)",
            *(over, ns, now),
        )
        return len(over)

    # -- blocks without a holder ---

    async def mark(self, brake: Brake) -> _Marked:
        """Walk over all blocks: note which nobody holds, revive those that are held again, find those that are ripe."""
        self._brake = brake
        marked = _Marked()
        text = (
            "SELECT b.block_hash, b.stored_size, b.state, b.gone_at, b.condemned_at, b.touched_at,"
            " CASE WHEN EXISTS (SELECT 1 FROM block_refs r WHERE r.block_hash = b.block_hash) THEN 1 ELSE 0 END"
            " FROM blocks b WHERE b.block_hash > $1 ORDER BY b.block_hash LIMIT $2"
        )
        last, size = b"", self._bounds.page
        while True:
            rows = await self._db.read(lambda conn, last=last: conn.fetch(text, last, size))  # type: ignore[misc]
            gone, held = self._judge(rows, marked)
            if self._dry_run:
                self.counts.blocks_gone += len(gone)
                self.counts.blocks_revived += len(held)
            elif gone or held:
                await self._db.write(UPKEEP_KEY, lambda conn, g=gone, h=held: self._note_txn(conn, g, h))  # type: ignore[misc]
            if len(rows) < size:
                return marked
            last = rows[-1][0]

    def _judge(self, rows: Sequence[Row], marked: _Marked) -> tuple[list[BlockHash], list[BlockHash]]:
        """Sort a page of blocks; return those that are found without a holder, and those that have one again."""
        bounds, now = self._bounds, self._now_ms
        gone, held = [], []
        for name, size, state, gone_at, condemned_at, touched_at, is_held in rows:
            self.counts.total_bytes += size
            if is_held:
                if gone_at is not None or condemned_at is not None or state == BLOCK_CONDEMNED:
                    held.append(name)
            elif gone_at is None:
                gone.append(name)
            elif condemned_at is not None:
                self.counts.waiting_bytes += size
                if condemned_at <= now - bounds.condemned_ms and touched_at <= now - bounds.condemned_ms:
                    if len(marked.over) < bounds.blocks_max:
                        marked.over.append(name)
                elif condemned_at > self._brake.allowed_since_ms:
                    marked.recent_bytes += size
            elif gone_at <= now - bounds.gone_ms and touched_at <= now - bounds.gone_ms:
                marked.ripe_bytes += size
                if len(marked.ripe) < bounds.blocks_max:
                    marked.ripe.append(name)
        return gone, held

    async def _note_txn(self, conn: Connection, gone: Sequence[BlockHash], held: Sequence[BlockHash]) -> None:
        found = await self._locked_txn(conn, [*gone, *held])
        lost = [row[0] for row in found if not row[-1] and row[0] in set(gone)]
        back = [row[0] for row in found if row[-1] and row[0] in set(held)]
        text = "UPDATE blocks SET gone_at = $1 WHERE block_hash IN {keys} AND gone_at IS NULL"
        self.counts.blocks_gone += len(lost)
        self.counts.blocks_revived += len(back)
        await execute_in(conn, text, lost, self._now_ms)
        await self._revive_txn(conn, back)

    async def _locked_txn(self, conn: Connection, hashes: Sequence[BlockHash]) -> list[Row]:
        """Lock the blocks' rows, then look: hash, state, gone_at, condemned_at, touched_at, pack, size, is it held.

        Two statements: PostgreSQL looks for holders again only in a new one, not after it has waited for a lock.
        """
        ordered = sorted(set(hashes))
        lock = row_lock(conn)
        await fetch_in(conn, f"SELECT block_hash FROM blocks WHERE block_hash IN {{keys}}{lock}", ordered)
        return await fetch_in(
            conn,
            "SELECT block_hash, state, gone_at, condemned_at, touched_at, pack_id, stored_size, CASE WHEN EXISTS ("
            "SELECT 1 FROM block_refs r WHERE r.block_hash = blocks.block_hash) THEN 1 ELSE 0 END FROM blocks"
            " WHERE block_hash IN {keys}",
            ordered,
        )

    async def _revive_txn(self, conn: Connection, hashes: Sequence[BlockHash]) -> None:
        await execute_in(
            conn,
            f"UPDATE blocks SET gone_at = NULL, condemned_at = NULL, state = CASE WHEN state = {BLOCK_CONDEMNED}"
            f" THEN {BLOCK_LIVE} ELSE state END WHERE block_hash IN {{keys}}",
            hashes,
        )

    # -- the brake ---

    async def may_go_on(self, marked: _Marked, *, allow_large: bool) -> bool:
        """Tell whether blocks may be condemned and removed; an alarm is kept until a run finds nothing wrong."""
        wanted = frozenset((*marked.ripe, *marked.over))
        used = await blocks_in_use(self._db, wanted) if wanted else set()
        if used and (wrong := await self._still_unheld(used)):
            self._unsure("block_without_holder_is_used", blocks=len(wrong))
        if self.counts.errors:
            await self.alarm(f"{self.counts.errors} counts do not fit the blocklists; run fsck", marked)
            return False
        bounds, brake = self._bounds, self._brake
        most = max(bounds.floor_bytes, int(bounds.share_max * self.counts.total_bytes))
        if marked.ripe and marked.ripe_bytes + marked.recent_bytes > most:
            if allow_large:
                self._brake = brake = replace(
                    brake, allowed_bytes=marked.ripe_bytes, allowed_until_ms=self._now_ms + bounds.allowed_ms
                )
            self._is_allowed = self._now_ms < brake.allowed_until_ms and marked.ripe_bytes <= brake.allowed_bytes
            if not self._is_allowed:
                await self.alarm("more would be condemned than one run may", marked)
                return False
        if brake.alarm and not self._dry_run:
            self._brake = replace(self._brake, alarm="", raised_at_ms=0, would_bytes=0, total_bytes=0)
            await write_brake(self._db, self._brake, now_ms=self._now_ms)
        return True

    async def _still_unheld(self, used: set[BlockHash]) -> set[BlockHash]:
        """Return those that nobody holds and yet somebody uses: not those that were placed anew meanwhile."""
        text = "SELECT block_hash FROM block_refs WHERE block_hash IN {keys}"
        held = {row[0] for row in await self._db.read(lambda conn: fetch_in(conn, text, sorted(used)))}
        return await blocks_in_use(self._db, frozenset(used - held)) if used - held else set()

    async def alarm(self, reason: str, marked: _Marked | None = None) -> None:
        """Say it, and keep it where an administrator finds it."""
        would = marked.ripe_bytes + marked.recent_bytes if marked else 0
        self.counts.alarm = reason
        _log.error("garbage.braked", reason=reason, would_bytes=would, total_bytes=self.counts.total_bytes)
        if self._dry_run:
            return
        first = self._brake.raised_at_ms if self._brake.alarm else self._now_ms
        self._brake = replace(
            self._brake, alarm=reason, raised_at_ms=first, would_bytes=would, total_bytes=self.counts.total_bytes
        )
        await write_brake(self._db, self._brake, now_ms=self._now_ms)

    def _unsure(self, what: str, *, blocks: int, ns: str = "") -> None:
        self.counts.errors += blocks
        _log.error("garbage.unsure", what=what, blocks=blocks, ns=ns)

    # -- condemning and removing ---

    async def condemn(self, marked: _Marked) -> None:
        """Condemn what is ripe."""
        if self._dry_run:
            self.counts.blocks_condemned, self.counts.bytes_condemned = len(marked.ripe), marked.ripe_bytes
            return
        for page in _pages(marked.ripe, self._bounds.page):
            count, size = await self._db.write(UPKEEP_KEY, lambda conn, page=page: self._condemn_txn(conn, page))  # type: ignore[misc]
            self.counts.blocks_condemned += count
            self.counts.bytes_condemned += size
            if self._is_allowed:
                left = max(0, self._brake.allowed_bytes - size)
                self._brake = replace(self._brake, allowed_bytes=left, allowed_since_ms=self._now_ms)
                await write_brake(self._db, self._brake, now_ms=self._now_ms)

    async def _condemn_txn(self, conn: Connection, hashes: Sequence[BlockHash]) -> tuple[int, int]:
        cutoff = self._now_ms - self._bounds.gone_ms
        ripe = [
            (row[0], row[6])
            for row in await self._locked_txn(conn, hashes)
            if not row[-1] and row[2] is not None and row[2] <= cutoff and row[3] is None and row[4] <= cutoff
        ]
        await execute_in(
            conn,
            f"UPDATE blocks SET condemned_at = $1, state = CASE WHEN state = {BLOCK_LIVE} THEN {BLOCK_CONDEMNED}"
            " ELSE state END WHERE block_hash IN {keys}",
            [name for name, _ in ripe],
            self._now_ms,
        )
        return len(ripe), sum(size for _, size in ripe)

    async def remove(self, marked: _Marked) -> None:
        """Remove the rows of blocks that were condemned long enough; those that are held again are revived."""
        for page in _pages(marked.over, self._bounds.page):
            if self._dry_run:
                self.counts.blocks_removed += len(page)
                continue
            count, size, back = await self._db.write(UPKEEP_KEY, lambda conn, page=page: self._remove_txn(conn, page))  # type: ignore[misc]
            self.counts.blocks_removed += count
            self.counts.bytes_removed += size
            self.counts.blocks_revived += back

    async def _remove_txn(self, conn: Connection, hashes: Sequence[BlockHash]) -> tuple[int, int, int]:
        cutoff = self._now_ms - self._bounds.condemned_ms
        found = await self._locked_txn(conn, hashes)
        held = [row[0] for row in found if row[-1]]
        await self._revive_txn(conn, held)
        over = [
            row
            for row in found
            if not row[-1] and row[1] != BLOCK_LIVE and row[3] is not None and row[3] <= cutoff and row[4] <= cutoff
        ]
        names = [row[0] for row in over]
        sizes: Counter[PackId] = Counter()
        for row in over:
            sizes[row[5]] += row[6]
        await execute_in(conn, "DELETE FROM blocks WHERE block_hash IN {keys}", names)
        await execute_in(conn, "DELETE FROM block_damage WHERE block_hash IN {keys}", names)
        await conn.execute_many(
            "UPDATE packs SET live_bytes = CASE WHEN live_bytes > $2 THEN live_bytes - $2 ELSE 0 END"
            " WHERE pack_id = $1",
            sorted(sizes.items()),
        )
        return len(over), sum(sizes.values()), len(held)

    # -- packs ---

    async def give_up_packs(self) -> None:
        """Let packs be old in which no block stands. One that is still written to never is."""
        text = (
            f"SELECT pack_id FROM packs WHERE state = {PACK_LIVE} AND created_at <= $1 AND NOT EXISTS"
            " (SELECT 1 FROM blocks b WHERE b.pack_id = packs.pack_id) ORDER BY pack_id LIMIT $2"
        )
        args = (self._now_ms - self._bounds.unused_ms, self._bounds.packs_max)
        rows = await self._db.read(lambda conn: conn.fetch(text, *args))
        still_open = await self._store.open_names()
        for (pack_id,) in rows:
            if pack_name(pack_id) in still_open:
                continue
            if self._dry_run or await self._db.write(
                UPKEEP_KEY,
                lambda conn, pack_id=pack_id: give_up_pack_txn(conn, pack_id, now_ms=self._now_ms),  # type: ignore[misc]
            ):
                self.counts.packs_given_up += 1

    async def delete_packs(self) -> None:
        """Delete the objects of packs that are old long enough, and forget those that are long gone."""
        pins = await self._db.read(
            lambda conn: conn.fetch("SELECT pin_id FROM pins WHERE until > $1 LIMIT 1", self._now_ms)
        )
        if pins:
            _log.info("garbage.pinned")
            return
        text = (
            f"SELECT pack_id FROM packs WHERE (state = {PACK_OLD} AND state_at <= $1) OR state = {PACK_LEAVING}"
            " ORDER BY pack_id LIMIT $2"
        )
        args = (self._now_ms - self._bounds.old_ms, self._bounds.packs_max)
        for (pack_id,) in await self._db.read(lambda conn: conn.fetch(text, *args)):
            await self._delete_pack(pack_id)
        if not self._dry_run:
            forget = f"DELETE FROM packs WHERE state = {PACK_GONE} AND state_at <= $1"
            until = self._now_ms - self._bounds.tombstone_ms
            await self._db.write(UPKEEP_KEY, lambda conn: conn.execute(forget, until))

    async def _delete_pack(self, pack_id: PackId) -> None:
        name = pack_name(pack_id)
        if name in await self._store.open_names():
            self._unsure("old_pack_is_open", blocks=1)
            return
        if self._dry_run:
            self.counts.packs_deleted += 1
            return
        if not await self._db.write(UPKEEP_KEY, lambda conn: self._leave_txn(conn, pack_id)):
            self.counts.packs_revived += 1
            _log.error("garbage.old_pack_has_blocks", pack=pack_id.hex())
            return
        await self._store.delete(name)
        gone = f"UPDATE packs SET state = {PACK_GONE}, state_at = $2 WHERE pack_id = $1 AND state = {PACK_LEAVING}"
        await self._db.write(UPKEEP_KEY, lambda conn: conn.execute(gone, pack_id, self._now_ms))
        self.counts.packs_deleted += 1

    async def _leave_txn(self, conn: Connection, pack_id: PackId) -> bool:
        """Let an old pack leave; one in which a block stands after all is live again."""
        await conn.fetch(f"SELECT pack_id FROM packs WHERE pack_id = $1{row_lock(conn)}", pack_id)
        stands = await conn.fetch("SELECT block_hash FROM blocks WHERE pack_id = $1 LIMIT 1", pack_id)
        await conn.execute(
            f"UPDATE packs SET state = $2, state_at = $3 WHERE pack_id = $1 AND state IN ({PACK_OLD}, {PACK_LEAVING})",
            *(pack_id, PACK_LIVE if stands else PACK_LEAVING, self._now_ms),
        )
        return not stands

    async def adopt_packs(self) -> None:
        """Give a row to stored packs without one (a stop came between the bytes and the row); they age from now on.

        When many are unknown, the database is rather an old one put back than the packs left-overs: then none is.
        """
        names = await self._store.names(PREFIX)
        still_open = await self._store.open_names()
        known = {pack_name(pack_id) for pack_id in await self._known_packs()}
        unknown = [name for name in names if name not in known and name not in still_open]
        if len(unknown) > max(self._bounds.orphans_floor, int(self._bounds.share_max * len(names))):
            await self.alarm(f"{len(unknown)} stored packs are not in the database")
            return
        packs = list(_ids(unknown[: self._bounds.packs_max]))
        self.counts.packs_adopted += len(packs)
        if packs and not self._dry_run:
            await self._db.write(UPKEEP_KEY, lambda conn: add_packs_txn(conn, packs, now_ms=self._now_ms))

    async def _known_packs(self) -> list[PackId]:
        known: list[PackId] = []
        text = "SELECT pack_id FROM packs WHERE pack_id > $1 ORDER BY pack_id LIMIT $2"
        last, size = b"", 10_000
        while True:
            rows = await self._db.read(lambda conn, last=last: conn.fetch(text, last, size))  # type: ignore[misc]
            known += [row[0] for row in rows]
            if len(rows) < size:
                return known
            last = rows[-1][0]


def _ids(names: Sequence[str]) -> Iterator[PackId]:
    """Yield the ids of packs; a foreign object is nobody's to touch."""
    for name in names:
        try:
            yield pack_id_of(name)
        except StorageFailed:
            _log.warning("garbage.foreign_object", name=name)


def _pages(hashes: Sequence[BlockHash], size: int) -> Iterator[Sequence[BlockHash]]:
    for at in range(0, len(hashes), size):
        yield hashes[at : at + size]
