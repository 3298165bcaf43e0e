"""The schema's history and the store's own facts. Invariant: migrations go forward only, each exactly once, unchanged.

A migration is a file `NNNN_name.sql`; its SHA-256 is recorded when it is applied, and a store whose record differs, or
that knows a newer one, is refused. Source: docs/design (data).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from dataclasses import dataclass

from satchel.core.errors import StorageFailed, VersionUnsupported
from satchel.core.paths import UNICODE_VERSION
from satchel.server.db.engine import Connection, Database, Dialect
from satchel.server.db.statistics import fix_statistics_txn
from satchel.server.ports import Clock

STORE_KEY = b"store"
"""Group-commit key of writes that belong to the store itself."""

EPOCH_BYTES = 16
CURSOR_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema, as it stands in its file."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the text, 32 bytes."""
        return hashlib.sha256(self.text.encode()).digest()

    def statements(self, dialect: Dialect) -> list[str]:
        """Return the statements in order, in the dialect's words."""
        text = self.text.replace("{clustered}", "WITHOUT ROWID" if dialect == "sqlite" else "")
        if dialect == "sqlite":
            # Without it SQLite would give these columns numeric affinity.
            text = text.replace(" BYTEA", " BLOB")
        else:
            # Names sort by their bytes everywhere, whatever the database's locale.
            text = text.replace(" TEXT", ' TEXT COLLATE "C"')
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
        return [statement for part in "\n".join(lines).split(";") if (statement := part.strip())]


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What a store says of itself. epoch: changes when it is restored; run: grows at each start of the service."""

    epoch: bytes
    run: int
    unicode_version: str
    schema_version: int
    cursor_key: bytes


@functools.cache
def migrations() -> tuple[Migration, ...]:
    """Return all migrations that this program knows, in order."""
    folder = importlib.resources.files("satchel.server.db") / "migrations"
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(Migration(int(file.name[:4]), file.name, file.read_text(encoding="utf-8")) for file in found)


async def migrate(db: Database, clock: Clock) -> None:
    """Apply what is missing, in one transaction. Idempotent. Raises: VersionUnsupported, StorageFailed."""
    await db.write(STORE_KEY, lambda conn: migrate_txn(conn, clock))


async def migrate_txn(conn: Connection, clock: Clock, known: tuple[Migration, ...] | None = None) -> None:
    """As `migrate`, inside a transaction. known: the migrations to apply, those of this program when None."""
    known = migrations() if known is None else known
    if conn.dialect == "postgres":
        # Two services that start at once must not both create the tables; the lock ends with the transaction.
        await conn.fetch("SELECT CAST(pg_advisory_xact_lock(7253419011) AS TEXT)")
    await conn.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL,"
        f" checksum {'BLOB' if conn.dialect == 'sqlite' else 'BYTEA'} NOT NULL, applied_at BIGINT NOT NULL)"
    )
    applied = {row[0]: row[1] for row in await conn.fetch("SELECT number, checksum FROM schema_migrations")}
    newest = max((step.number for step in known), default=0)
    if applied and max(applied) > newest:
        raise VersionUnsupported(
            "The store was written by a newer Satchel.", what="schema", found=max(applied), known=newest
        )
    for step in known:
        if step.number in applied:
            if applied[step.number] != step.checksum:
                raise StorageFailed("A migration changed after it was applied.", where="database", reason=step.name)
            continue
        for statement in step.statements(conn.dialect):
            await conn.execute(statement)
        await conn.execute(
            "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)",
            step.number,
            step.name,
            step.checksum,
            clock.now_ms(),
        )
    await _fill_meta_txn(conn, clock)
    await fix_statistics_txn(conn)


async def store_facts(db: Database) -> StoreFacts:
    """Return what the store says of itself."""
    return await db.read(store_facts_txn)


async def store_facts_txn(conn: Connection) -> StoreFacts:
    """As `store_facts`, inside a transaction."""
    meta = {row[0]: row[1] for row in await conn.fetch("SELECT name, value FROM store_meta")}
    (version,) = (await conn.fetch("SELECT MAX(number) FROM schema_migrations"))[0]
    return StoreFacts(
        epoch=meta["epoch"],
        run=int(meta["run"]),
        unicode_version=meta["unicode_version"].decode(),
        schema_version=version,
        cursor_key=meta["cursor_key"],
    )


async def begin_run(db: Database) -> StoreFacts:
    """Count one more start of the service and return the facts with the new run number."""

    async def count_txn(conn: Connection) -> StoreFacts:
        facts = await store_facts_txn(conn)
        await _put_meta_txn(conn, "run", str(facts.run + 1).encode())
        return await store_facts_txn(conn)

    return await db.write(STORE_KEY, count_txn)


async def new_epoch(db: Database, clock: Clock) -> bytes:
    """Give the store a new epoch (it was restored); every device then merges both sides. Return it."""
    epoch = clock.random(EPOCH_BYTES)
    await db.write(STORE_KEY, lambda conn: _put_meta_txn(conn, "epoch", epoch))
    return epoch


async def _fill_meta_txn(conn: Connection, clock: Clock) -> None:
    first = {
        "epoch": clock.random(EPOCH_BYTES),
        "cursor_key": clock.random(CURSOR_KEY_BYTES),
        "run": b"0",
        "unicode_version": UNICODE_VERSION.encode(),
    }
    await conn.execute_many(
        "INSERT INTO store_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", list(first.items())
    )


async def _put_meta_txn(conn: Connection, name: str, value: bytes) -> None:
    await conn.execute("UPDATE store_meta SET value = $2 WHERE name = $1", name, value)
