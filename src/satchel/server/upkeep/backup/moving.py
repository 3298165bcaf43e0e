"""Moves a store into another, empty one, and compares the two. Invariant: the store that is left and the one that is
moved into are never both in service, and the new one only after every row and every block in it was compared.

Epoch, run and cursor key stay, so devices go on as if nothing had happened. Both services are stopped. The store that
is left keeps everything; it is marked at the very beginning, and the mark can be undone. The other one remembers which
start of the service it was copied after: when the old store was used since, the copy is not gone on with.
Source: docs/design/010 (migrate-store).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from satchel.core.errors import BlockDamaged, SettingInvalid, StorageFailed
from satchel.core.ids import BlockHash, PackId
from satchel.server.blocks.refs import BLOCK_CONDEMNED, BLOCK_DAMAGED, BLOCK_LIVE, PlacedBlock
from satchel.server.db.engine import Database, Row
from satchel.server.db.schema import store_facts
from satchel.server.ports import BlockStore, Clock, Workers
from satchel.server.upkeep.backup.bundles import Stored, placed_blocks
from satchel.server.upkeep.backup.filling import Filling
from satchel.server.upkeep.backup.marks import MOVE_IN, MOVE_OUT, RESTORE, Mark, marks, put_mark, remove_mark
from satchel.server.upkeep.backup.pages import page_txn, place_of
from satchel.server.upkeep.backup.tables import BY_NAME, COPIED, Table
from satchel.server.upkeep.reading import READ_BYTES_MAX, read_verified

_log = structlog.get_logger("upkeep.move")

Progress = Callable[[str, int], None]
_PLACES = ("pack_id", "pack_offset")


@dataclass(frozen=True, slots=True)
class Half:
    """One of the two stores. name: for people; place: what tells it from any other. Neither holds a password."""

    db: Database
    store: BlockStore
    name: str
    place: str


@dataclass(slots=True)
class MoveCounts:
    """What a move came to. rows: by table, compared one by one; blocks, stored_bytes: read back from the new store and
    hashed; damaged: blocks that the old store could not give.
    """

    rows: dict[str, int] = field(default_factory=dict)
    blocks: int = 0
    stored_bytes: int = 0
    damaged: int = 0


async def run(
    old: Half,
    new: Half,
    clock: Clock,
    workers: Workers,
    *,
    is_partial: bool = False,
    progress: Progress = lambda what, done: None,
) -> MoveCounts:
    """Copy `old` into `new` and compare. Safe to stop anywhere; run again, it goes on.

    is_partial: move although blocks cannot be read.
    Raises: SettingInvalid (a store that is not empty, or was used meanwhile), BlockDamaged, StorageFailed (the two are
    not equal), StorageFull, Unavailable.
    """
    facts = await store_facts(old.db)
    found = await marks(old.db)
    if RESTORE in found or MOVE_IN in found:
        raise SettingInvalid(
            "This store is not whole itself.", setting="database_url", reason="end its restore or its move first"
        )
    if MOVE_OUT in found and found[MOVE_OUT].place != new.place:
        raise SettingInvalid(
            f"This store is being moved to {found[MOVE_OUT].target}.",
            setting="database_url",
            reason="name that one, or run with --undo first",
        )
    filling = Filling(new.db, new.store, clock, PackId(facts.epoch))
    await new.store.probe()
    await filling.begin(MOVE_IN, Mark(facts.epoch.hex(), facts.run, old.name, old.place))
    leaving = Mark(facts.epoch.hex(), facts.run, new.name, new.place)
    await put_mark(old.db, MOVE_OUT, leaving)
    await _copy_rows(old, filling, progress)
    await _copy_blocks(old, filling, workers, progress)
    lost = await filling.lost()
    if lost.blocks and not is_partial:
        raise BlockDamaged(
            f"{lost.blocks:,} blocks, which {lost.versions:,} versions name, cannot be read from the old store; all the"
            " rest was copied. With --partial they are left behind; they heal when a device sends them.",
            blocks=lost.blocks,
            versions=lost.versions,
        )
    missing = {name async for page in filling.lacking() for name in page}
    await filling.give_up()
    counts = MoveCounts(damaged=len(missing))
    for table in COPIED:
        counts.rows[table.name] = await _compare(old.db, new.db, table, missing)
        progress("compared rows", sum(counts.rows.values()))
    await _hash_all(new, workers, counts, missing, progress)
    # First the one, then the other: in between neither is in service.
    await put_mark(old.db, MOVE_OUT, msgspec.structs.replace(leaving, is_done=True))
    await remove_mark(new.db, MOVE_IN)
    _log.info("move.done", blocks=counts.blocks, damaged=counts.damaged)
    return counts


async def undo(db: Database) -> str:
    """Let a store that was moved be used again; return to where it was moved. Raises: SettingInvalid."""
    found = await marks(db)
    if MOVE_OUT not in found:
        raise SettingInvalid("This store was not moved.", setting="database_url", reason="there is nothing to undo")
    await remove_mark(db, MOVE_OUT)
    return found[MOVE_OUT].target


async def _copy_rows(old: Half, filling: Filling, progress: Progress) -> None:
    done = 0
    for table in COPIED:
        after: Row | None = None
        while rows := await _page(old.db, table, after):
            await filling.add_rows(table, rows)
            after = place_of(table, rows[-1])
            done += len(rows)
            progress("rows", done)


async def _copy_blocks(old: Half, filling: Filling, workers: Workers, progress: Progress) -> None:
    """Copy what the new store lacks, in the order of the old one's packs."""
    table, after, done = BY_NAME["blocks"], None, 0
    group: list[PlacedBlock] = []

    async def copy() -> None:
        nonlocal done
        lacking = await filling.wanted([block.hash for block in group])
        read = await read_verified(old.store, workers, [block for block in group if block.hash in lacking])
        await filling.place([Stored.of(block, body) for block, body, _ in read if body is not None])
        done += sum(block.stored_size for block in group)
        progress("bytes", done)
        group.clear()

    while rows := await _page(old.db, table, after):
        for block in placed_blocks(rows):
            if group and sum(one.stored_size for one in group) + block.stored_size > READ_BYTES_MAX:
                await copy()
            group.append(block)
        after = place_of(table, rows[-1])
    await copy()
    await filling.flush()


async def _page(db: Database, table: Table, after: Row | None) -> list[Row]:
    return await db.read(lambda conn: page_txn(conn, table, after))


async def _compare(old: Database, new: Database, table: Table, missing: set[BlockHash]) -> int:
    """Compare a table of both stores, row by row along its key; return how many rows it has. Raises: StorageFailed."""
    by_key = Table(table.name, table.key, table.rest, page=table.page)
    after: Row | None = None
    count = 0
    while True:
        ours, theirs = await _page(old, by_key, after), await _page(new, by_key, after)
        if [_compared(table, row, missing) for row in ours] != [_compared(table, row, missing) for row in theirs]:
            raise StorageFailed(
                f"The two stores differ in the table {table.name}: the old one was written to while it was copied, or"
                " a store failed. The new one stays out of service; empty it and begin anew.",
                where=table.name,
                reason=_first_difference(ours, theirs),
            )
        if not ours:
            return count
        count += len(ours)
        after = place_of(by_key, ours[-1])


def _compared(table: Table, row: Row, missing: set[BlockHash]) -> tuple[object, ...]:
    """Return what has to be equal: all but places, and but the state of a block that is damaged in one of them."""
    if table.name != "blocks":
        return row
    values = {name: value for name, value in zip(table.columns, row, strict=True) if name not in _PLACES}
    if row[0] in missing:
        values["state"] = BLOCK_DAMAGED
    elif values["state"] == BLOCK_DAMAGED:
        values["state"] = BLOCK_LIVE if values["condemned_at"] is None else BLOCK_CONDEMNED
    return tuple(values.values())


def _first_difference(ours: Sequence[Row], theirs: Sequence[Row]) -> str:
    place = next((at for at, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), None)
    if place is None:
        return f"{len(ours)} rows against {len(theirs)}"
    key = ours[place][0]
    return f"near {key.hex() if isinstance(key, bytes) else key}"


async def _hash_all(
    new: Half, workers: Workers, counts: MoveCounts, missing: set[BlockHash], progress: Progress
) -> None:
    """Read every block back from the new store. Raises: StorageFailed."""
    table, after = BY_NAME["blocks"], None
    while rows := await _page(new.db, table, after):
        after = place_of(table, rows[-1])
        blocks = [block for block in placed_blocks(rows) if block.hash not in missing]
        for group in _groups(blocks):
            for block, body, why in await read_verified(new.store, workers, group):
                if body is None:
                    raise StorageFailed(
                        "A block that was copied cannot be read back.", where=f"blocks/{block.hash.hex()}", reason=why
                    )
                counts.blocks += 1
                counts.stored_bytes += block.stored_size
            progress("bytes read back", counts.stored_bytes)


def _groups(blocks: Sequence[PlacedBlock]) -> list[list[PlacedBlock]]:
    groups: list[list[PlacedBlock]] = []
    size = READ_BYTES_MAX
    for block in blocks:
        if size + block.stored_size > READ_BYTES_MAX:
            groups.append([])
            size = 0
        groups[-1].append(block)
        size += block.stored_size
    return groups
