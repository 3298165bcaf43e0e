"""Forgets rewinds that are older than the time for which all versions are kept. Invariant: one that is being done
stays, and so does each that could be taken back to just what was before it.

Older ones stand in the journal all the same: what they did is told as what it was, by whom and when. After that time
versions are thinned out, so that to take one back would give older contents than those that it replaced.
Source: docs/use/history.md, docs/operate/upkeep.md.
"""

from __future__ import annotations

from satchel.core.retention import VersionPolicy
from satchel.server.db.engine import Database
from satchel.server.ports import Clock
from satchel.server.upkeep.ages import judged_now_ms
from satchel.server.upkeep.schedule import DAY_S, UPKEEP_KEY, Counts, Task
from satchel.server.upkeep.walk import Standing, Visited, walk

REWINDS = "rewinds"
_DAY_MS = DAY_S * 1_000


def tasks(db: Database, clock: Clock, policy: VersionPolicy | None) -> list[Task]:
    """Return the tasks of this part of upkeep. policy: None keeps all for ever, as it keeps all versions."""

    async def forget() -> Counts:
        if policy is None:
            return Counts({})
        return await forget_rewinds(db, clock, kept_days=policy.keep_all_days, now_ms=await judged_now_ms(db, clock))

    return [Task(REWINDS, DAY_S, forget)]


async def forget_rewinds(db: Database, clock: Clock, *, kept_days: int, now_ms: int) -> Counts:
    """Remove rewinds that began longer ago than `kept_days`, finished or given up. now_ms: to judge ages by."""
    before_ms = now_ms - kept_days * _DAY_MS

    async def visit(standing: Standing, _after: bytes) -> Visited:
        ns = standing.ns
        rows = await db.read(
            lambda conn: conn.fetch("SELECT 1 FROM rewinds WHERE ns = $1 AND created_at < $2 LIMIT 1", ns, before_ms)
        )
        if not rows:
            return Visited({})
        # The claim is looked at in the removal itself: somebody may take an old one up again meanwhile.
        text = "DELETE FROM rewinds WHERE ns = $1 AND created_at < $2 AND claimed_until <= $3"
        removed = await db.write(UPKEEP_KEY + ns, lambda conn: conn.execute(text, ns, before_ms, clock.now_ms()))
        return Visited({"rewinds": removed})

    return await walk(db, clock, REWINDS, visit)
