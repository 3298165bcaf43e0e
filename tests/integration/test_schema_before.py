"""A store of the release before is opened by this one with all that is in it; programs of before work on beside it.

Releases overlap for as long as a rolling restart takes: what a migration adds must not be needed by older statements.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from satchel.core.errors import StorageFailed
from satchel.server.db.engine import Connection, Database, Value
from satchel.server.db.opening import open_database
from satchel.server.db.schema import Migration, migrate_txn, migrations
from tests.support.clocks import SteppingClock

ID, TAG, NOW = b"i" * 16, b"t" * 8, 1_000
BEFORE: tuple[tuple[str, str, tuple[Value, ...]], ...] = (
    (
        "accounts",
        "account_id, name, name_key, password_hash, root_ns, is_admin, is_disabled, created_at",
        (ID, "ann", "ann", "none", ID, 0, 0, NOW),
    ),
    (
        "devices",
        "device_id, account_id, name, token_hash, created_at, seen_at, revoked_at",
        (ID, ID, "laptop", b"h" * 32, NOW, NOW, None),
    ),
    ("link_runs", "device_id, link_id, run", (ID, ID, 1)),
    (
        "namespaces",
        "ns, kind, owner, head_seq, head_tag, head_at, min_seq, bytes_used, quota, created_at",
        (ID, "root", ID, 1, TAG, NOW, 0, 5, None, NOW),
    ),
    (
        "files",
        "ns, node_id, parent_id, name, name_key, kind, content, size, mtime_ns, is_executable, content_rev, place_rev,"
        " version_count, state, deleted_at, cleared_seq, cleared_before, seq, created_at",
        (ID, ID, b"p" * 16, "a", "a", 1, b"c" * 32, 5, 1, 0, 1, 1, 1, 1, None, 0, 0, 1, NOW),
    ),
    (
        "file_versions",
        "ns, node_id, rev, version_number, content, size, mtime_ns, author, device, op_id, created_at",
        (ID, ID, 1, 1, b"c" * 32, 5, 1, ID, ID, ID, NOW),
    ),
    ("manifests", "ns, manifest_id, blocks, size, cutter, refs", (ID, b"c" * 32, b"b" * 36, 5, "cdc1", 1)),
    (
        "file_changes",
        "ns, seq, tag, action, node_id, pre, post, is_subtree, actor, device, link, op_id, created_at",
        (ID, 1, TAG, 1, ID, None, b"post", 0, ID, ID, ID, ID, NOW),
    ),
    ("op_results", "ns, actor, op_id, body_hash, seq, created_at", (ID, ID, ID, b"h" * 32, 1, NOW)),
    ("outbox", "ns, seq, tag", (ID, 1, TAG)),
    ("namespace_blocks", "ns, block_hash, refs, lease_until", (ID, b"b" * 32, 1, NOW)),
    (
        "blocks",
        "block_hash, size, stored_size, codec, pack_id, pack_offset, state, touched_at, created_at",
        (b"b" * 32, 5, 5, 0, ID, 54, 1, NOW, NOW),
    ),
    ("block_refs", "block_hash, ns, lease_until", (b"b" * 32, ID, NOW)),
    (
        "packs",
        "pack_id, state, path, bytes, live_bytes, created_at, verified_at",
        (ID, 1, "", 100, 5, NOW, NOW),
    ),
    ("link_scopes", "ns, device_id, link_id, node_id", (ID, ID, ID, ID)),
)
"""What programs since schema 4 write into the oldest tables: by table, its columns as they knew them, and a row."""

CHANGES = (
    "UPDATE namespaces SET head_seq = head_seq + 1, head_tag = $1, head_at = $2, bytes_used = bytes_used + 1",
    "UPDATE files SET content = $1, content_rev = $2, seq = $2, version_count = version_count + 1",
    "UPDATE files SET state = 2, deleted_at = $2, name_key = name_key, content = $1",
    "UPDATE blocks SET pack_id = $1, touched_at = $2, state = 1",
    "UPDATE packs SET path = '', verified_at = $2, pack_id = $1",
    "UPDATE devices SET token_hash = $1, seen_at = $2",
    "UPDATE outbox SET tag = $1, seq = $2",
)
OLDEST = 4


def known_before(number: int) -> tuple[Migration, ...]:
    return tuple(step for step in migrations() if step.number <= number)


def inserting(table: str, columns: str, values: Sequence[Value]) -> str:
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join(f'${at + 1}' for at in range(len(values)))})"


async def write_all_txn(conn: Connection) -> None:
    for table, columns, values in BEFORE:
        await conn.execute(inserting(table, columns, values), *values)


async def emptied_txn(conn: Connection) -> None:
    """Take the store back to nothing, as an empty database is."""
    if conn.dialect == "sqlite":
        names = [row[0] for row in await conn.fetch("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    else:
        names = [row[0] for row in await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    for name in names:
        if not name.startswith("sqlite_"):
            await conn.execute(f"DROP TABLE {name}")


async def shown_txn(conn: Connection) -> dict[str, list[tuple[object, ...]]]:
    return {table: await conn.fetch(f"SELECT {columns} FROM {table}") for table, columns, _ in BEFORE}


@pytest.mark.parametrize("number", range(OLDEST, migrations()[-1].number))
def test_a_store_of_before_is_opened_with_all_that_is_in_it(number: int, database_url: str) -> None:
    async def main() -> None:
        clock = SteppingClock()
        db = await open_database(database_url, clock)
        await db.write(b"", emptied_txn)
        await db.write(b"", lambda conn: migrate_txn(conn, clock, known_before(number)))
        await db.write(b"", write_all_txn)
        await db.close()
        newer = await open_database(database_url, clock)
        try:
            assert await newer.read(shown_txn) == {table: [values] for table, _, values in BEFORE}
            await _written_beside(newer)
        finally:
            await newer.close()

    asyncio.run(main())


async def _written_beside(db: Database) -> None:
    """Do in the newest schema what a program of before does: rows of its own, and changes of those there are."""

    async def change_txn(conn: Connection) -> None:
        for text in CHANGES:
            assert await conn.execute(text, b"n" * 32, NOW + 1) == 1, text
        for table, _, _ in BEFORE:
            await conn.execute(f"DELETE FROM {table}")
        await write_all_txn(conn)

    await db.write(b"", change_txn)


def test_statements_of_before_meet_a_migration_that_breaks_them(tmp_path: Path) -> None:
    """Shows that the test above can fail: a column that has to be given, as a careless migration would add one."""

    async def main() -> None:
        db = await open_database(f"sqlite:///{tmp_path}/store.db", SteppingClock())
        try:
            careless = "ALTER TABLE packs ADD COLUMN checked BIGINT NOT NULL DEFAULT 0 CHECK (checked > 0)"
            await db.write(b"", lambda conn: conn.execute(careless))
            with pytest.raises(StorageFailed):
                await db.write(b"", write_all_txn)
        finally:
            await db.close()

    asyncio.run(main())


@pytest.mark.parametrize("step", [step for step in migrations() if step.number > OLDEST], ids=lambda step: step.name)
def test_a_migration_takes_nothing_away_and_demands_nothing(step: Migration) -> None:
    text = " ".join(step.statements("postgres")).upper()
    assert re.findall(r"\b(?:DROP (?:TABLE|COLUMN)|RENAME|ALTER COLUMN|DELETE FROM|TRUNCATE)\b", text) == []
    added = re.findall(r"ADD COLUMN ([^;]*?)(?= ALTER | CREATE |$)", text)
    assert [column for column in added if "NOT NULL" in column and "DEFAULT" not in column] == []
