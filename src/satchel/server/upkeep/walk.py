"""Visits all namespaces in turn, in pages. Invariant: a walk that was cut short goes on where it was, and a namespace
that fails keeps the others waiting no longer than one run.

The place stands in the task's row. It may be older than what was done, never newer: a visit may happen again. Two walks
of one task at once only do some of the work twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from satchel.core.errors import Fault
from satchel.core.ids import ID_BYTES, NamespaceId
from satchel.server.db.engine import Connection, Database
from satchel.server.ports import Clock
from satchel.server.upkeep.schedule import UPKEEP_KEY, Counts

NAMESPACES_PAGE = 500
RUN_MS = 20_000
"""About how long a run goes on; then it says that there is more."""
VISITS_MAX = 20_000


class Standing(NamedTuple):
    """A namespace and its journal's ends at the moment its page was read."""

    ns: NamespaceId
    head_seq: int
    min_seq: int


class Visited(NamedTuple):
    """What one page of work in a namespace did. after: where the next page begins; None when there is none."""

    done: Mapping[str, int]
    after: bytes | None = None


Visit = Callable[[Standing, bytes], Awaitable[Visited]]


async def walk(
    db: Database, clock: Clock, name: str, visit: Visit, *, run_ms: int = RUN_MS, visits_max: int = VISITS_MAX
) -> Counts:
    """Visit namespaces from where the task `name` last was, until the end or a bound; has_more: a bound was met.

    `visit` is called with the namespace and an empty place, then with each `after` that it returned. Raises: what it
    raises; the next walk then begins behind that namespace.
    """
    ends_ms = clock.now_ms() + run_ms
    place = await place_of(db, name)
    ns, after = NamespaceId(place[:ID_BYTES]), place[ID_BYTES:]
    done: Counter[str] = Counter()
    visits = 0
    while standings := await _standings(db, ns, is_inside=bool(after)):
        for standing in standings:
            more: bytes | None = after if standing.ns == ns else b""
            while more is not None:
                try:
                    visited = await visit(standing, more)
                except Fault:
                    await keep_place(db, name, standing.ns)
                    raise
                done.update(visited.done)
                visits += 1
                more = visited.after
                if visits >= visits_max or clock.now_ms() >= ends_ms:
                    await keep_place(db, name, standing.ns + (more or b""))
                    return Counts(done, has_more=True)
            ns, after = standing.ns, b""
    await keep_place(db, name, b"")
    return Counts(done)


async def place_of(db: Database, name: str) -> bytes:
    """Return where the task goes on; empty for the beginning."""
    rows = await db.read(lambda conn: conn.fetch("SELECT place FROM upkeep_tasks WHERE name = $1", name))
    place: bytes | None = rows[0][0] if rows else None
    return place or b""


async def keep_place(db: Database, name: str, place: bytes) -> None:
    """Make `place` where the task goes on, durable on return."""
    await db.write(
        UPKEEP_KEY,
        lambda conn: conn.execute(
            "INSERT INTO upkeep_tasks (name, place) VALUES ($1, $2)"
            " ON CONFLICT (name) DO UPDATE SET place = excluded.place",
            *(name, place),
        ),
    )


async def _standings(db: Database, ns: NamespaceId, *, is_inside: bool) -> list[Standing]:
    """Return a page of namespaces behind `ns`, with it when the walk stopped inside it."""
    above = ">=" if is_inside else ">"

    async def page_txn(conn: Connection) -> list[Standing]:
        rows = await conn.fetch(
            f"SELECT ns, head_seq, min_seq FROM namespaces WHERE ns {above} $1 ORDER BY ns LIMIT $2",
            *(ns, NAMESPACES_PAGE),
        )
        return [Standing._make(row) for row in rows]

    return await db.read(page_txn)
