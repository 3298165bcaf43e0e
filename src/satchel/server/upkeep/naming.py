"""Keeps the index of names near the journals. Invariant: it only adds what a search would have done itself.

A search brings the index of its own namespaces up to date first, as far as a few steps go; this does the rest: trees
that were there before the index was, and many changes at once. Source: docs/use/search.md.
"""

from __future__ import annotations

from satchel.core.ids import ID_BYTES, NamespaceId
from satchel.server.db.engine import Database
from satchel.server.ports import Clock
from satchel.server.search.indexing import begin_again, step
from satchel.server.upkeep.schedule import Counts, Task
from satchel.server.upkeep.walk import NAMESPACES_PAGE, Standing, Visited, walk

NAMES = "names"
EVERY_S = 120.0
NAMES_A_STEP = 2_000
"""Names share their grams, and a row of the index is written once a step for all of them: a name costs 144, 97, 71 and
62 us of the processor in steps of 200, 400, 1,000 and 2,000 (`python -m bench.search`)."""
PAUSE_SHARE = 2
BUSY_PAUSE_SHARE = 17
BUSY = 0.5
"""For PAUSE_SHARE times what a step took nothing is indexed; when others had more of a processor than BUSY meanwhile,
for so much longer: whoever commits hardly waits, and the index catches up when there is room."""


def tasks(db: Database, clock: Clock) -> list[Task]:
    """Return the tasks of this part of upkeep."""
    return [Task(NAMES, EVERY_S, lambda: index_names(db, clock))]


async def index_names(db: Database, clock: Clock) -> Counts:
    """Bring the index of every namespace up to date, a step at a time."""

    async def visit(standing: Standing, after: bytes) -> Visited:
        done = await index_some(db, clock, standing.ns)
        return Visited({"names": done or 0}, None if done is None else b"more")

    return await walk(db, clock, NAMES, visit)


async def index_some(db: Database, clock: Clock, ns: NamespaceId) -> int | None:
    """Do one step behind the back of all others; as `step`."""
    begun_ms = clock.now_ms()
    done = await step(db, ns, count=NAMES_A_STEP)
    took_s = max(0, clock.now_ms() - begun_ms) / 1_000
    if done == 0:
        # Mostly others were at the same step: out of time with them from here on, neither does the other's work again.
        await clock.sleep_s((PAUSE_SHARE + 1) * took_s)
    elif done is not None:
        before_s = clock.used_s()
        await clock.sleep_s(PAUSE_SHARE * took_s)
        if clock.used_s() - before_s > BUSY * PAUSE_SHARE * took_s:
            await clock.sleep_s(BUSY_PAUSE_SHARE * took_s)
    return done


async def make_anew(db: Database, page: int = NAMESPACES_PAGE) -> int:
    """Throw the index of every namespace away and make it again; return how many names were looked at."""
    ns, count = NamespaceId(b""), 0
    sql = "SELECT ns FROM namespaces WHERE ns > $1 ORDER BY ns LIMIT $2"
    while rows := await db.read(lambda conn, ns=ns: conn.fetch(sql, ns, page)):  # type: ignore[misc]  # bound here
        for (ns,) in rows:
            assert len(ns) == ID_BYTES
            await begin_again(db, ns)
            while (done := await step(db, ns, count=NAMES_A_STEP)) is not None:
                count += done
    return count
