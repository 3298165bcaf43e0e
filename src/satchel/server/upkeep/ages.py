"""The time by which versions and trash are judged too old. Invariant: a clock that leaps ahead makes nothing old.

What it was last stands in a row of the database, so it holds over restarts and for all processes.
"""

from __future__ import annotations

import msgspec
import structlog

from satchel.core.retention import SteadyTime, steady_time
from satchel.server.db.engine import Connection, Database
from satchel.server.ports import Clock
from satchel.server.upkeep.schedule import UPKEEP_KEY

_log = structlog.get_logger("upkeep")

NAME = "steady-time"


async def judged_now_ms(db: Database, clock: Clock) -> int:
    """Return the Unix time in ms to judge ages by, and keep it: the clock's, or less when that leapt (logged)."""

    async def keep_txn(conn: Connection) -> SteadyTime:
        rows = await conn.fetch("SELECT value FROM block_upkeep WHERE name = $1", NAME)
        before = msgspec.json.decode(rows[0][0], type=SteadyTime) if rows else None
        found = steady_time(clock.now_ms(), before)
        await conn.execute(
            "INSERT INTO block_upkeep (name, value, changed_at) VALUES ($1, $2, $3)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at",
            *(NAME, msgspec.json.encode(found), found.seen_ms),
        )
        return found

    steady = await db.write(UPKEEP_KEY, keep_txn)
    if steady.now_ms < steady.seen_ms:
        _log.error("upkeep.clock_leapt", behind_ms=steady.seen_ms - steady.now_ms)
    return steady.now_ms
