"""Fills an empty store from a copy: rows as they were, blocks at places of their own. Invariant: the store says itself
what it still lacks, so a run that was cut goes on.

Rows of blocks come first, all of them placed in a pack that does not exist; each block that arrives moves its row to
the pack it was put into. What stands in that pack is what is missing. It ends by `give_up`: those become
damaged blocks, which a device that has them heals.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from satchel.core.errors import SettingInvalid
from satchel.core.hashing import packed_hashes
from satchel.core.ids import BlockHash, PackId, uuid7
from satchel.core.limits import MIB
from satchel.server.blocks.packs import build, pack_id_of, pack_name
from satchel.server.blocks.refs import BLOCK_CONDEMNED, BLOCK_DAMAGED, BLOCK_LIVE, add_packs_txn
from satchel.server.db.engine import Connection, Database, Row, execute_in, fetch_in
from satchel.server.db.schema import STORE_KEY
from satchel.server.ports import BlockStore, Clock
from satchel.server.upkeep.backup.bundles import Stored
from satchel.server.upkeep.backup.marks import Mark, marks_txn, put_mark_txn
from satchel.server.upkeep.backup.tables import Table

PACK_BYTES = 16 * MIB
PAGE = 500
_EMPTY = ("accounts", "namespaces", "blocks", "devices")
_FRESH = ("epoch", "cursor_key", "run", "unicode_version")


@dataclass(frozen=True, slots=True)
class Lost:
    """What a copy could not bring. versions: that name any of the blocks."""

    blocks: int
    versions: int


class Filling:
    """One store that is being filled. waiting: the pack that does not exist, the same in each run."""

    def __init__(self, db: Database, store: BlockStore, clock: Clock, waiting: PackId) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._waiting = waiting
        self._ordinal = 0
        self._held: dict[BlockHash, Stored] = {}
        self._held_bytes = 0

    async def begin(self, name: str, mark: Mark) -> None:
        """Mark an empty store, or go on in one that has the very same mark. Raises: SettingInvalid."""

        async def begin_txn(conn: Connection) -> None:
            found = await marks_txn(conn)
            if found == {name: mark}:
                return
            if found:
                raise SettingInvalid(
                    "The store was begun to be filled from something else.",
                    setting="database_url",
                    reason="go on with that, or name an empty store",
                )
            for table in _EMPTY:
                if await conn.fetch(f"SELECT 1 FROM {table} LIMIT 1"):
                    raise SettingInvalid(
                        "The store is not empty; nothing in it is overwritten.",
                        setting="database_url",
                        reason=f"there are {table}; name an empty store",
                    )
            await put_mark_txn(conn, name, mark)

        await self._db.write(STORE_KEY, begin_txn)

    async def add_rows(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows; those that are there already stay."""
        columns = table.columns
        if table.name == "store_meta":
            known = [row for row in rows if row[0] in _FRESH]
            text = "UPDATE store_meta SET value = $2 WHERE name = $1"
            await self._db.write(STORE_KEY, lambda conn: conn.execute_many(text, known))
            return
        if table.name == "blocks":
            rows = [self._placed_nowhere(columns, row) for row in rows]
        marks = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        text = (
            f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"
            f" ON CONFLICT ({', '.join(table.key)}) DO NOTHING"
        )

        async def add_txn(conn: Connection) -> None:
            if table.name == "blocks":
                await add_packs_txn(conn, [self._waiting], now_ms=self._clock.now_ms())
            await conn.execute_many(text, rows)

        await self._db.write(STORE_KEY, add_txn)

    def _placed_nowhere(self, columns: tuple[str, ...], row: Row) -> Row:
        values = list(row)
        values[columns.index("pack_id")] = self._waiting
        values[columns.index("pack_offset")] = self._ordinal
        self._ordinal += 1
        return tuple(values)

    async def wanted(self, hashes: Sequence[BlockHash]) -> set[BlockHash]:
        """Return those that the store still lacks."""
        text = "SELECT block_hash FROM blocks WHERE block_hash IN {keys} AND pack_id = $1"
        rows = await self._db.read(lambda conn: fetch_in(conn, text, hashes, self._waiting))
        return {row[0] for row in rows} - self._held.keys()

    async def place(self, blocks: Sequence[Stored]) -> None:
        """Take verified blocks; they count after `flush`."""
        for one in blocks:
            self._held[one.wire.hash] = one
            self._held_bytes += len(one.body)
            if self._held_bytes >= PACK_BYTES:
                await self.flush()

    async def flush(self) -> None:
        """Put what was taken into a pack, then let the rows point there."""
        held, self._held, self._held_bytes = [self._held[name] for name in sorted(self._held)], {}, 0
        if not held:
            return
        now_ms = self._clock.now_ms()
        pieces, offsets = build(held)
        place = await self._store.put(pack_name(PackId(uuid7(now_ms, self._clock.random(10)))), pieces)
        pack_id = pack_id_of(place.name)
        # A block that was damaged where the copy was taken is whole here.
        text = (
            "UPDATE blocks SET pack_id = $2, pack_offset = $3, stored_size = $4, codec = $5, state = CASE"
            f" WHEN state <> {BLOCK_DAMAGED} THEN state WHEN condemned_at IS NULL THEN {BLOCK_LIVE}"
            f" ELSE {BLOCK_CONDEMNED} END WHERE block_hash = $1 AND pack_id = $6"
        )
        moves = [
            (one.wire.hash, pack_id, place.offset + at, len(one.body), one.wire.codec, self._waiting)
            for one, at in zip(held, offsets, strict=True)
        ]

        async def place_txn(conn: Connection) -> None:
            await add_packs_txn(conn, [pack_id], now_ms=now_ms)
            await conn.execute_many(text, moves)

        await self._db.write(STORE_KEY, place_txn)

    async def lacking(self) -> AsyncIterator[list[BlockHash]]:
        """Yield the blocks that are still missing, in pages."""
        text = (
            "SELECT block_hash, pack_offset FROM blocks WHERE pack_id = $1 AND pack_offset > $2"
            " ORDER BY pack_offset LIMIT $3"
        )
        last = -1
        while True:
            args = (self._waiting, last, PAGE)
            rows = await self._db.read(lambda conn, args=args: conn.fetch(text, *args))  # type: ignore[misc]
            if rows:
                yield [row[0] for row in rows]
            if len(rows) < PAGE:
                return
            last = rows[-1][1]

    async def lost(self) -> Lost:
        """Return what is missing, and how many versions that concerns."""
        missing: set[BlockHash] = set()
        async for page in self.lacking():
            missing.update(page)
        return Lost(len(missing), await _versions_naming(self._db, missing) if missing else 0)

    async def give_up(self) -> None:
        """Let the missing blocks be damaged ones; without any, the pack that does not exist goes."""
        now_ms = self._clock.now_ms()
        async for page in self.lacking():

            async def damage_txn(conn: Connection, page: Sequence[BlockHash] = tuple(page)) -> None:
                await execute_in(conn, f"UPDATE blocks SET state = {BLOCK_DAMAGED} WHERE block_hash IN {{keys}}", page)
                await conn.execute_many(
                    "INSERT INTO block_damage (block_hash, pack_id, pack_offset, reason, found_at)"
                    " VALUES ($1, $2, 0, 'not in the copy', $3) ON CONFLICT (block_hash) DO NOTHING",
                    [(name, self._waiting, now_ms) for name in page],
                )

            await self._db.write(STORE_KEY, damage_txn)
        forget = "DELETE FROM packs WHERE pack_id = $1 AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.pack_id = $1)"
        await self._db.write(STORE_KEY, lambda conn: conn.execute(forget, self._waiting))


async def _versions_naming(db: Database, missing: set[BlockHash]) -> int:
    """Return how many versions name any of the blocks."""
    text = (
        "SELECT ns, manifest_id, blocks FROM manifests WHERE (ns, manifest_id) > ($1, $2)"
        " ORDER BY ns, manifest_id LIMIT 8"
    )
    place, count = (b"", b""), 0
    while True:

        async def page_txn(conn: Connection, place: tuple[bytes, bytes] = place) -> tuple[list[Row], int]:
            rows = await conn.fetch(text, *place)
            named = 0
            for ns, manifest_id, packed in rows:
                if not missing.isdisjoint(packed_hashes(packed)):
                    counted = "SELECT COUNT(*) FROM file_versions WHERE ns = $1 AND content = $2"
                    named += int((await conn.fetch(counted, ns, manifest_id))[0][0])
            return rows, named

        rows, named = await db.read(page_txn)
        count += named
        if len(rows) < 8:
            return count
        place = (rows[-1][0], rows[-1][1])
