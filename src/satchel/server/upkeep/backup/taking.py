"""Takes a backup beside a running service. Invariant: it counts only once all that its snapshot names was copied or was
told as damaged, and a cut one leaves the earlier ones whole.

Pin, snapshot of all rows on one moment's view, then the blocks that it names and the repository does not have. A block
whose bytes are not where the snapshot says has moved meanwhile: it is looked up once more before it is called damaged.
Source: docs/design/060 (13).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from satchel import __version__
from satchel.core.entries import Kind
from satchel.core.errors import Unavailable
from satchel.core.ids import BlockHash
from satchel.server.blocks.refs import PlacedBlock
from satchel.server.db.engine import Connection, Database, Row, fetch_in
from satchel.server.db.schema import StoreFacts, store_facts_txn
from satchel.server.ports import BlockStore, Clock, Workers
from satchel.server.upkeep.backup.bundles import (
    FILE_BYTES,
    BlockWriter,
    Stored,
    block_files,
    blocks_in,
    named_in,
    placed_blocks,
    write_names,
)
from satchel.server.upkeep.backup.pages import pack_page, pack_totals, stream_txn, unpacked
from satchel.server.upkeep.backup.pinning import Pin, pinned
from satchel.server.upkeep.backup.repository import (
    BACKUPS,
    METADATA,
    NAMES_SUFFIX,
    Backup,
    Repository,
    Secret,
    begin_repository,
    locked,
    make_repository,
)
from satchel.server.upkeep.backup.tables import BY_NAME
from satchel.server.upkeep.reading import READ_BYTES_MAX, Read, read_verified

_log = structlog.get_logger("upkeep.backup")

SNAPSHOT_S = 6 * 3_600.0
"""Longest that the rows may take; well within the life of a pin."""
NODE_LIVE = 1
DAMAGED_TOLD_MAX = 100

Progress = Callable[[str, int], None]


@dataclass(slots=True)
class BackupCounts:
    """What a backup came to. files, versions, blocks, stored_bytes: that it holds; copied: that were new in the
    repository. damaged: blocks that the store could not give; damaged_hashes: the first of them, in hex.
    """

    backup_id: str = ""
    created_ms: int = 0
    encrypted: bool = True
    files: int = 0
    versions: int = 0
    blocks: int = 0
    stored_bytes: int = 0
    copied_blocks: int = 0
    copied_bytes: int = 0
    damaged: int = 0
    damaged_hashes: list[str] = field(default_factory=list)


async def run(
    db: Database,
    store: BlockStore,
    clock: Clock,
    workers: Workers,
    folder: str,
    secret: Secret,
    *,
    secrets_key: str = "",
    progress: Progress = lambda what, done: None,
    file_bytes: int = FILE_BYTES,
) -> BackupCounts:
    """Take a backup into `folder` (absolute). Safe to stop anywhere, to repeat, and beside all writers and upkeep.

    secrets_key: what seals secrets in the database, hex; it goes along where the backup is encrypted.

    Raises: SettingInvalid (a wrong passphrase, a folder of something else), AlreadyRunning, StorageFull, StorageFailed,
    Unavailable.
    """
    await workers.run(lambda: make_repository(folder))
    with locked(folder):
        repository = await workers.run(lambda: begin_repository(folder, secret, clock))
        await workers.run(repository.sweep)
        async with pinned(db, clock, f"backup to {folder}") as pin:
            taking = _Taking(db, store, clock, workers, repository, pin, progress)
            await taking.snapshot()
            await taking.copy_blocks(file_bytes)
            await taking.confirm(secrets_key)
    counts = taking.counts
    _log.info("backup.done", blocks=counts.blocks, copied=counts.copied_blocks, damaged=counts.damaged)
    return counts


class _Taking:
    """One backup."""

    def __init__(
        self,
        db: Database,
        store: BlockStore,
        clock: Clock,
        workers: Workers,
        repository: Repository,
        pin: Pin,
        progress: Progress,
    ) -> None:
        self._db = db
        self._store = store
        self._workers = workers
        self._repository = repository
        self._pin = pin
        self._progress = progress
        self._facts: StoreFacts | None = None
        self._rows: dict[str, int] = {}
        self.counts = BackupCounts(
            backup_id=repository.new_id().hex(),
            created_ms=clock.now_ms(),
            encrypted=repository.keys.encryption != "none",
        )

    @property
    def _metadata(self) -> str:
        return f"{METADATA}/{self.counts.backup_id}"

    async def snapshot(self) -> None:
        """Write all rows as they are at one moment."""
        # A reader of SQLite runs on a thread and would go on when its caller was cancelled.
        given_up = threading.Event()

        async def snapshot_txn(conn: Connection) -> tuple[StoreFacts, dict[str, int]]:
            seen = 0
            with self._repository.writing(self._metadata) as sealer:

                def write(table: str, rows: list[Row]) -> None:
                    nonlocal seen
                    if given_up.is_set():
                        raise Unavailable("The backup was stopped.", where="backup", reason="stopped")
                    sealer.write(pack_page(table, rows))
                    self._count(table, rows)
                    seen += len(rows)
                    self._progress("rows", seen)

                counts = await stream_txn(conn, write)
                sealer.write(pack_totals(counts))
                return await store_facts_txn(conn), counts

        try:
            self._facts, self._rows = await self._db.read(snapshot_txn, wait_s=SNAPSHOT_S)
        finally:
            given_up.set()

    def _count(self, table: str, rows: Sequence[Row]) -> None:
        if table == "files":
            kind, state = BY_NAME["files"].columns.index("kind"), BY_NAME["files"].columns.index("state")
            self.counts.files += sum(row[kind] == Kind.FILE and row[state] == NODE_LIVE for row in rows)
        elif table == "file_versions":
            self.counts.versions += len(rows)
        elif table == "blocks":
            self.counts.blocks += len(rows)
            self.counts.stored_bytes += sum(block.stored_size for block in placed_blocks(rows))

    async def copy_blocks(self, file_bytes: int) -> None:
        """Copy the blocks that the snapshot names and the repository lacks, in the order of the packs."""
        known = await self._known()
        pages = unpacked(self._repository.parts(self._metadata), self._metadata)
        group: list[PlacedBlock] = []
        size = 0
        with BlockWriter(self._repository, file_bytes) as writer:
            while (page := await self._workers.run(lambda: next(pages, None))) is not None:
                table, rows = page
                for block in placed_blocks(rows) if table.name == "blocks" else ():
                    if block.hash in known:
                        continue
                    if group and size + block.stored_size > READ_BYTES_MAX:
                        await self._copy(writer, group)
                        group, size = [], 0
                    group.append(block)
                    size += block.stored_size
            await self._copy(writer, group)
            await self._workers.run(writer.flush)

    async def _known(self) -> set[BlockHash]:
        """Return which blocks the repository has; a file whose list is lost gets a new one."""
        known: set[BlockHash] = set()
        for name in await self._workers.run(lambda: block_files(self._repository)):
            names = await self._workers.run(lambda name=name: _names(self._repository, name))  # type: ignore[misc]
            known.update(names)
            self._progress("known blocks", len(known))
            await self._pin.renew()
        return known

    async def _copy(self, writer: BlockWriter, group: Sequence[PlacedBlock]) -> None:
        await self._pin.renew()
        read = await read_verified(self._store, self._workers, group)
        good = [Stored.of(block, body) for block, body, _ in read if body is not None]
        if bad := [block for block, body, _ in read if body is None]:
            again = await self._read_again(bad)
            good += [Stored.of(block, body) for block, body, _ in again if body is not None]
            found = {block.hash for block, body, _ in again if body is not None}
            self._tell_damaged([block.hash for block in bad if block.hash not in found])
        await self._workers.run(lambda: writer.add(good))
        self.counts.copied_blocks += len(good)
        self.counts.copied_bytes += sum(len(one.body) for one in good)
        self._progress("bytes", self.counts.copied_bytes)

    async def _read_again(self, blocks: Sequence[PlacedBlock]) -> list[Read]:
        """Read blocks where they are now: they may have been moved or healed since the snapshot."""
        text = (
            "SELECT block_hash, size, stored_size, codec, pack_id, pack_offset FROM blocks WHERE block_hash IN {keys}"
        )
        rows = await self._db.read(lambda conn: fetch_in(conn, text, sorted(block.hash for block in blocks)))
        return await read_verified(self._store, self._workers, [PlacedBlock(*row) for row in rows])

    def _tell_damaged(self, hashes: Sequence[BlockHash]) -> None:
        for name in hashes:
            _log.error("backup.block_damaged", hash=name.hex())
            self.counts.damaged += 1
            if self.counts.damaged <= DAMAGED_TOLD_MAX:
                self.counts.damaged_hashes.append(name.hex())

    async def confirm(self, secrets_key: str) -> None:
        """Write the file that makes the backup count."""
        assert self._facts is not None
        counts = self.counts
        backup = Backup(
            backup_id=counts.backup_id,
            created_ms=counts.created_ms,
            epoch=self._facts.epoch.hex(),
            schema=self._facts.schema_version,
            program=__version__,
            rows=self._rows,
            metadata_bytes=self._repository.size(self._metadata),
            files=counts.files,
            versions=counts.versions,
            blocks=counts.blocks,
            stored_bytes=counts.stored_bytes,
            damaged=counts.damaged,
            secrets_key=secrets_key if counts.encrypted else "",
        )
        name = f"{BACKUPS}/{counts.backup_id}"
        await self._workers.run(lambda: self._repository.write_whole(name, msgspec.json.encode(backup)))


def _names(repository: Repository, name: str) -> list[BlockHash]:
    """Return which blocks a file holds; one whose list is missing or wrong is looked into, and gets a new one."""
    names = named_in(repository, name)
    if names is None:
        names = [one.wire.hash for one in blocks_in(repository, name) if one is not None]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(repository.path(name + NAMES_SUFFIX))
        write_names(repository, name, names)
    return names
