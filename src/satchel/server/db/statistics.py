"""What SQLite's planner is told of the tables. Invariant: plans are the same in an empty store and in a full one.

Without statistics SQLite takes a namespace for ten rows and reads it whole where a look-up by index was meant. These
numbers are not measured and never change: they only say that a namespace is large and its keys are selective. Nobody
runs ANALYZE beside them. Source: the SQLite manual, "Manual control of query plans using SQLITE_STAT tables".
"""

from __future__ import annotations

from satchel.server.db.engine import Connection

# Table, index (a table without row ids: its own name), rows in all and for each further column of the key.
STATISTICS: tuple[tuple[str, str, str], ...] = (
    ("files", "files", "1000000 100000 1"),
    ("files", "files_by_name", "1000000 100000 20 1"),
    ("files", "files_deleted", "100000 10000 2 1"),
    ("files", "files_cleared", "1000 100 2"),
    ("file_versions", "file_versions", "1000000 100000 2 1"),
    ("file_changes", "file_changes", "1000000 100000 1"),
    ("file_changes", "file_changes_of_node", "1000000 100000 2 1"),
    ("manifests", "manifests", "1000000 100000 1"),
    ("op_results", "op_results", "1000000 100000 50000 1"),
    ("namespace_blocks", "namespace_blocks", "1000000 100000 1"),
    ("blocks", "blocks", "1000000 1"),
    ("block_refs", "block_refs", "1000000 2 1"),
    ("namespaces", "namespaces", "1000 1"),
    ("namespaces", "namespaces_of_owner", "1000 2"),
    ("devices", "devices", "5000 1"),
    ("devices", "devices_of_account", "5000 5"),
)


async def fix_statistics_txn(conn: Connection) -> None:
    """Tell SQLite's planner; other databases measure for themselves. Idempotent."""
    if conn.dialect != "sqlite":
        return
    # This form of ANALYZE reads no table: it makes sqlite_stat1 when it is missing, and reads it.
    await conn.execute("ANALYZE sqlite_schema")
    held = await conn.fetch("SELECT tbl, idx, stat FROM sqlite_stat1 ORDER BY tbl, idx")
    if held != sorted(STATISTICS):
        await conn.execute("DELETE FROM sqlite_stat1")
        await conn.execute_many("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ($1, $2, $3)", STATISTICS)
        await conn.execute("ANALYZE sqlite_schema")
