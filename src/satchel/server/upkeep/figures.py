"""What the store holds, in figures for an administrator. Invariant: it only reads.

Figures are read one after another, so beside writers they may differ by what came between.
"""

from __future__ import annotations

from satchel.core.entries import Kind
from satchel.server.blocks.refs import PACK_LIVE, PACK_OLD
from satchel.server.db.engine import Database
from satchel.server.metadata.nodes import DEAD
from satchel.server.upkeep.marking import read_brake

_TEXTS = {
    ("files", "file_bytes"): (
        f"SELECT COUNT(*), COALESCE(SUM(size), 0) FROM files WHERE kind = {int(Kind.FILE)} AND state = 1"
    ),
    ("versions", "logical_bytes"): "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM file_versions",
    ("blocks", "block_bytes", "stored_bytes"): (
        "SELECT COUNT(*), COALESCE(SUM(size), 0), COALESCE(SUM(stored_size), 0) FROM blocks"
    ),
    ("garbage_blocks", "garbage_bytes"): (
        "SELECT COUNT(*), COALESCE(SUM(stored_size), 0) FROM blocks WHERE gone_at IS NOT NULL"
    ),
    ("condemned_blocks", "condemned_bytes"): (
        "SELECT COUNT(*), COALESCE(SUM(stored_size), 0) FROM blocks WHERE condemned_at IS NOT NULL"
    ),
    ("trash_items",): f"SELECT COUNT(*) FROM files WHERE state = {DEAD} AND deleted_at IS NOT NULL",
    ("damaged_blocks",): "SELECT COUNT(*) FROM block_damage",
    ("packs",): f"SELECT COUNT(*) FROM packs WHERE state = {PACK_LIVE}",
    ("packs_waiting", "packs_waiting_bytes"): (
        f"SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM packs WHERE state = {PACK_OLD}"
    ),
}


async def figures(db: Database) -> dict[str, object]:
    """Return counts and bytes by name.

    files: in folders, those below a deleted folder too; logical_bytes: of all versions; dedup_ratio: logical_bytes to
    stored_bytes, 0 in an empty store; trash_items: deleted files and folders, without what was in them; garbage: held
    by nobody; condemned: part of that; packs_waiting: old ones whose object leaves soon. alarm and scrub_alarm: ""
    while nothing is wrong.
    """
    told: dict[str, object] = {}
    for names, text in _TEXTS.items():
        (row,) = await db.read(lambda conn, text=text: conn.fetch(text))  # type: ignore[misc]
        told |= {name: int(value) for name, value in zip(names, row, strict=True)}
    logical, stored = int(str(told["logical_bytes"])), int(str(told["stored_bytes"]))
    told["dedup_ratio"] = round(logical / stored, 3) if stored else 0.0
    told["alarm"] = (await read_brake(db)).alarm
    told["scrub_alarm"] = (await read_brake(db, "scrub")).alarm
    return told
