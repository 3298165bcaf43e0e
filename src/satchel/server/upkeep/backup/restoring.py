"""Restores a backup into an empty store. Invariant: the store is out of service until all of it is there and verified,
and then has a new epoch, by which devices merge both sides instead of deleting.

Every part is opened, every block hashed. What the backup lacks stops the restore before its end, unless it was asked to
end without. Run again, it goes on where it was cut. Source: docs/design/030 (epoch), 060 (13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog

from satchel.core.errors import BlockDamaged, SettingInvalid, StorageFailed, VersionUnsupported
from satchel.core.ids import BlockHash, PackId
from satchel.core.messages import WireBlock
from satchel.server.db.engine import Database
from satchel.server.db.schema import new_epoch, store_facts
from satchel.server.ports import BlockStore, Clock, Workers
from satchel.server.upkeep import recount
from satchel.server.upkeep.backup.bundles import Stored, block_files, blocks_in, named_in
from satchel.server.upkeep.backup.filling import PAGE, Filling, Lost
from satchel.server.upkeep.backup.marks import RESTORE, Mark, marks, remove_mark
from satchel.server.upkeep.backup.pages import unpacked
from satchel.server.upkeep.backup.repository import METADATA, Backup, Repository, Secret, open_repository
from satchel.server.upkeep.reading import READ_BYTES_MAX

_log = structlog.get_logger("upkeep.restore")

Progress = Callable[[str, int], None]
_END = Stored(WireBlock(BlockHash(b""), 0, 0, 0), b"")


@dataclass(slots=True)
class RestoreCounts:
    """What a restore came to. lost_blocks, lost_versions: what the backup could not give; is_clean and found: of the
    recount; epoch: the new one, hex.
    """

    backup_id: str
    created_ms: int
    files: int
    versions: int
    blocks: int
    lost_blocks: int = 0
    lost_versions: int = 0
    is_clean: bool = True
    found: dict[str, int] = field(default_factory=dict)
    epoch: str = ""


async def run(
    db: Database,
    store: BlockStore,
    clock: Clock,
    workers: Workers,
    folder: str,
    secret: Secret,
    *,
    at_ms: int | None = None,
    is_partial: bool = False,
    place_key: Callable[[str], None] = lambda key: None,
    progress: Progress = lambda what, done: None,
) -> RestoreCounts:
    """Restore the newest backup of `folder` (or the one that was begun), or the newest not after `at_ms`.

    The service is stopped.

    is_partial: end it although blocks are missing. place_key: takes the key that seals secrets in the database, hex,
    empty when the backup has none; may be called more than once. Raises: SettingInvalid (no such backup, a store that
    is not empty), VersionUnsupported, BlockDamaged (blocks are missing: nothing more was brought), StorageFailed,
    StorageFull, Unavailable.
    """
    repository = await workers.run(lambda: open_repository(folder, secret, clock))
    begun = (await marks(db)).get(RESTORE, Mark()).source if at_ms is None else ""
    backup = await workers.run(lambda: _chosen(repository, at_ms, begun))
    facts = await store_facts(db)
    if backup.schema != facts.schema_version:
        raise VersionUnsupported(
            f"The backup was taken by Satchel {backup.program}: restore it with that one, then update.",
            what="schema of the backup",
            found=backup.schema,
            known=facts.schema_version,
        )
    await _check_rows(repository, backup, workers)
    filling = Filling(db, store, clock, PackId(bytes.fromhex(backup.backup_id)))
    await store.probe()
    await filling.begin(RESTORE, Mark(source=backup.backup_id))
    await _rows(repository, backup, filling, workers, progress)
    await _blocks(repository, filling, workers, progress)
    lost = await filling.lost()
    if lost.blocks and not is_partial:
        raise _incomplete(lost)
    await filling.give_up()
    counts = RestoreCounts(
        backup.backup_id, backup.created_ms, backup.files, backup.versions, backup.blocks, lost.blocks, lost.versions
    )
    counted = await recount.run(db, store, clock, workers, progress=progress)
    counts.is_clean, counts.found = counted.is_clean, dict(counted.found)
    counts.epoch = (await new_epoch(db, clock)).hex()
    await workers.run(lambda: place_key(backup.secrets_key))
    await remove_mark(db, RESTORE)
    _log.info("restore.done", blocks=counts.blocks, lost=counts.lost_blocks, is_clean=counts.is_clean)
    return counts


def _chosen(repository: Repository, at_ms: int | None, begun: str) -> Backup:
    found, damaged = repository.backups()
    for backup in found:
        if backup.backup_id == begun:
            return backup
    fitting = [backup for backup in found if at_ms is None or backup.created_ms <= at_ms]
    if fitting:
        if at_ms is None and damaged and max(damaged) > f"backups/{fitting[-1].backup_id}":
            # Going on with an older one silently would lose what came between.
            raise StorageFailed(
                "The file of the newest backup is damaged; choose an earlier one by its time.",
                where=damaged[-1],
                reason="damaged",
            )
        return fitting[-1]
    raise SettingInvalid(
        "There is no such backup.",
        setting="at" if found else "SRC",
        reason="the first is later" if found else f"none is whole, {len(damaged)} are damaged",
    )


async def _check_rows(repository: Repository, backup: Backup, workers: Workers) -> None:
    """Read all rows before anything is written. Raises: StorageFailed."""
    name = f"{METADATA}/{backup.backup_id}"
    pages = unpacked(repository.parts(name), name)
    while await workers.run(lambda: next(pages, None)) is not None:
        pass


async def _rows(repository: Repository, backup: Backup, filling: Filling, workers: Workers, progress: Progress) -> None:
    name = f"{METADATA}/{backup.backup_id}"
    pages = unpacked(repository.parts(name), name)
    done = 0
    while (page := await workers.run(lambda: next(pages, None))) is not None:
        table, rows = page
        await filling.add_rows(table, rows)
        done += len(rows)
        progress("rows", done)


async def _blocks(repository: Repository, filling: Filling, workers: Workers, progress: Progress) -> None:
    """Read the files that hold what the store lacks."""
    done = 0
    for name in await workers.run(lambda: block_files(repository)):
        names = await workers.run(lambda name=name: named_in(repository, name))  # type: ignore[misc]
        if names is not None:
            wanted = set()
            for at in range(0, len(names), PAGE):
                wanted |= await filling.wanted(names[at : at + PAGE])
            if not wanted:
                continue
        blocks = blocks_in(repository, name)
        while page := await workers.run(lambda blocks=blocks: _some(blocks)):  # type: ignore[misc]
            good = [one for one in page if one is not None]
            lacking = await filling.wanted([one.wire.hash for one in good])
            await filling.place([one for one in good if one.wire.hash in lacking])
            done += sum(len(one.body) for one in good)
            progress("bytes", done)
    await filling.flush()


def _some(blocks: Iterator[Stored | None]) -> list[Stored | None]:
    """Return the next of them, about READ_BYTES_MAX: a turn of the threads costs more than a small block."""
    some: list[Stored | None] = []
    size = 0
    while size < READ_BYTES_MAX and len(some) < PAGE and (one := next(blocks, _END)) is not _END:
        some.append(one)
        size += 0 if one is None else len(one.body)
    return some


def _incomplete(lost: Lost) -> BlockDamaged:
    return BlockDamaged(
        f"The backup lacks {lost.blocks:,} blocks, which {lost.versions:,} versions name; all the rest was restored."
        " With --partial the restore ends without them: those versions cannot be read until a device sends the blocks.",
        blocks=lost.blocks,
        versions=lost.versions,
    )
