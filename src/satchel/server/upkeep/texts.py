"""Reads documents for the index of their texts, and lets go of those that are gone. Invariant: a document is read after
its commit, by nobody's request, and a namespace with very many keeps the others waiting no longer than a few.

Source: docs/use/search.md.
"""

from __future__ import annotations

from satchel.core.ids import NamespaceId, NodeId
from satchel.server.db.engine import Database
from satchel.server.ports import Clock
from satchel.server.search.texts import Reading, check_sources, check_texts, step_texts
from satchel.server.upkeep.naming import index_some
from satchel.server.upkeep.schedule import DAY_S, Counts, Task
from satchel.server.upkeep.walk import NAMESPACES_PAGE, Standing, Visited, walk

READING, CHECKING = "texts", "texts-gone"
EVERY_S = 30.0
DOCUMENTS_MAX = 50
"""So many of a namespace are read before the next one's turn."""
_NODES, _SOURCES = b"n", b"s"


def tasks(reading: Reading, clock: Clock) -> list[Task]:
    """Return the tasks of this part of upkeep."""
    return [
        Task(READING, EVERY_S, lambda: read_texts(reading, clock)),
        Task(CHECKING, DAY_S, lambda: drop_texts(reading.db, clock)),
    ]


async def read_texts(reading: Reading, clock: Clock) -> Counts:
    """Read what waits to be read, and remove from the index what no file has any more.

    Raises: Unavailable (retry) when too many documents are being read, or a store is away.
    """
    is_left = False

    async def visit(standing: Standing, after: bytes) -> Visited:
        nonlocal is_left
        if await index_some(reading.db, clock, standing.ns) is not None:
            return Visited({}, after or b"0")
        if not await step_texts(reading, standing.ns):
            return Visited({})
        count = int(after or b"0") + 1
        is_left |= count >= DOCUMENTS_MAX
        return Visited({"texts": 1}, None if count >= DOCUMENTS_MAX else b"%d" % count)

    counts = await walk(reading.db, clock, READING, visit)
    return Counts(counts.done, has_more=counts.has_more or is_left)


async def read_all(reading: Reading) -> int:
    """Read all that waits, in every namespace whose names are indexed; return how many documents that were."""
    ns, count = NamespaceId(b""), 0
    sql = "SELECT ns FROM namespaces WHERE ns > $1 ORDER BY ns LIMIT $2"
    while rows := await reading.db.read(lambda conn, ns=ns: conn.fetch(sql, ns, NAMESPACES_PAGE)):  # type: ignore[misc]  # bound here
        for (ns,) in rows:
            while await step_texts(reading, ns):
                count += 1
    return count


async def drop_texts(db: Database, clock: Clock) -> Counts:
    """Drop the documents whose file is gone for good, and mark the texts that no document has."""

    async def visit(standing: Standing, after: bytes) -> Visited:
        at = after[1:]
        if after[:1] != _SOURCES:
            dropped, more = await check_sources(db, standing.ns, NodeId(at))
            return Visited({"documents": dropped}, _SOURCES if more is None else _NODES + more)
        gone, more = await check_texts(db, standing.ns, at)
        return Visited({"texts": gone}, None if more is None else _SOURCES + more)

    return await walk(db, clock, CHECKING, visit)
