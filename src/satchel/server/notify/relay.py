"""From the outbox to the event log. Invariant: a row goes only after the log has taken the position that it says.

A commit leaves one row a namespace, which says how far the journal reaches, in its own transaction; a later commit
puts its position in the same row. So a server that has no log and no relay piles nothing up: there are never more rows
than namespaces, and whoever connects a log later begins with the newest position of each.

Relays of several processes may send the same row; followers take each position once (`newest.py`). A row that a commit
changed meanwhile no longer says what was sent and stays for the next round. Source: docs/design/020, 060 (11).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from satchel.core.errors import Fault
from satchel.core.ids import NamespaceId, Tag
from satchel.server.db.engine import Connection, Database
from satchel.server.event_log import ChangeEvent, EventLog, pause
from satchel.server.ports import Clock
from satchel.server.spans import span

_log = structlog.get_logger("relay")

ROWS_MAX = 1_000
COUNTED_MAX = 10_000
INTERVAL_S = 3.0
GATHER_S = 0.02
BACKOFF_S_MIN = 0.5
BACKOFF_S_MAX = 30.0

_KEY = b"outbox"
"""All relays of a process share a transaction where they meet; no commit waits in this line."""


class OutboxRow(NamedTuple):
    """A position that was not yet told."""

    ns: NamespaceId
    seq: int
    tag: Tag


async def relay_once(db: Database, log: EventLog, clock: Clock, *, limit: int = ROWS_MAX) -> int:
    """Send at most `limit` rows of the outbox to the log and then delete them; return how many were sent.

    A row that was overwritten since it was read stays. Idempotent; may run in several processes at once and beside
    commits. Raises: Unavailable when the log does not take them, and as `Database.read`: then no row is gone.
    """
    return len(await _relay_page(db, log, clock, after=NamespaceId(b""), limit=limit))


async def _relay_page(
    db: Database, log: EventLog, clock: Clock, *, after: NamespaceId, limit: int
) -> Sequence[OutboxRow]:
    rows = await db.read(lambda conn: rows_txn(conn, after=after, limit=limit))
    if rows:
        now = clock.now_ms()
        with span("relay") as step:
            step.note(rows=len(rows))
            await log.append([ChangeEvent(row.ns, row.seq, now) for row in rows])
            await db.write(_KEY, lambda conn: delete_txn(conn, rows))
    return rows


async def rows_txn(conn: Connection, *, after: NamespaceId, limit: int) -> list[OutboxRow]:
    """Return at most `limit` rows of namespaces above `after`, by namespace."""
    sql = "SELECT ns, seq, tag FROM outbox WHERE ns > $1 ORDER BY ns LIMIT $2"
    return [OutboxRow._make(row) for row in await conn.fetch(sql, after, limit)]


async def delete_txn(conn: Connection, rows: Sequence[OutboxRow]) -> None:
    """Delete the rows that still say the same. Rows come by namespace, so that two relays lock them in one order."""
    await conn.execute_many("DELETE FROM outbox WHERE ns = $1 AND seq = $2 AND tag = $3", rows)


async def waiting_txn(conn: Connection, *, limit: int) -> int:
    """Return how many rows wait, `limit` when there are more."""
    rows = await conn.fetch("SELECT COUNT(*) FROM (SELECT ns FROM outbox LIMIT $1) AS counted", limit)
    return int(rows[0][0])


@dataclass(slots=True)
class RelayCounts:
    """For metrics. relayed: rows sent since the start, again included; waiting: rows left after the last round, at most
    10,000 are counted; fault: what the last round ended with, empty when it held; failed: rounds that did not;
    drained_ms: when the last round that held began (Unix ms, 0 for none): no row is older."""

    relayed: int = 0
    waiting: int = 0
    fault: str = ""
    failed: int = 0
    drained_ms: int = 0


class Relay:
    """Sends what commits leave in the outbox until it is stopped.

    interval_s: how often it looks unasked, for rows of other processes and of before the start; gather_s: how long it
    waits after a wake-up, so that commits in a row share a round; backoff_s_min, backoff_s_max: while it cannot.
    """

    def __init__(
        self,
        db: Database,
        log: EventLog,
        clock: Clock,
        *,
        limit: int = ROWS_MAX,
        interval_s: float = INTERVAL_S,
        gather_s: float = GATHER_S,
        backoff_s_min: float = BACKOFF_S_MIN,
        backoff_s_max: float = BACKOFF_S_MAX,
    ) -> None:
        self.counts = RelayCounts()
        self._db, self._events, self._clock, self._limit = db, log, clock, limit
        self._interval_s, self._gather_s = interval_s, gather_s
        self._backoff_s_min, self._backoff_s_max = backoff_s_min, backoff_s_max
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Look soon; to be called after a commit. A wake-up that is lost costs `interval_s`."""
        self._news.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until `stop`. What is in the outbox then is sent after the next start."""
        async with asyncio.TaskGroup() as tasks:
            stopping = tasks.create_task(self._wake_at(stop))
            failures = 0
            while not stop.is_set():
                self._news.clear()
                begun_ms = self._clock.now_ms()
                try:
                    await self._round(stop)
                except Fault as fault:
                    await self._failed(fault)
                    await pause(stop, self._backoff_s(failures))
                    failures += 1
                else:
                    failures, self.counts.fault, self.counts.drained_ms = 0, "", begun_ms
                    await self._wait(stop)
            stopping.cancel()

    async def _round(self, stop: asyncio.Event) -> None:
        """Send all there is, page by page in the order of namespaces: a busy one does not keep the others waiting."""
        after = NamespaceId(b"")
        while not stop.is_set():
            rows = await _relay_page(self._db, self._events, self._clock, after=after, limit=self._limit)
            self.counts.relayed += len(rows)
            if len(rows) < self._limit:
                break
            after = rows[-1].ns
        self.counts.waiting = await self._waiting() if after or rows else 0

    async def _failed(self, fault: Fault) -> None:
        if not self.counts.fault:
            _log.warning("relay.waits", reason=str(fault))
        self.counts.fault = str(fault)
        self.counts.failed += 1
        try:
            self.counts.waiting = await self._waiting()
        except Fault:
            # The store is what is away; the number stays what it was.
            return

    async def _waiting(self) -> int:
        return await self._db.read(lambda conn: waiting_txn(conn, limit=COUNTED_MAX))

    async def _wait(self, stop: asyncio.Event) -> None:
        await pause(self._news, self._interval_s)
        if not stop.is_set():
            await pause(stop, self._gather_s)

    def _backoff_s(self, failures: int) -> float:
        jitter = int.from_bytes(self._clock.random(2), "big") / 65_536
        return min(self._backoff_s_max, self._backoff_s_min * 2.0 ** min(failures, 16)) * (0.5 + jitter / 2)

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._news.set()
