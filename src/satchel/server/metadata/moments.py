"""From a time to a place in the journal, and how much happened when. Invariant: created_at never falls along seq, and
seq has no gap; so a time is found by halving, and what lies between two times is counted without being read.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from satchel.core.access import Right
from satchel.core.errors import HistoryEnded, LimitExceeded
from satchel.core.ids import NamespaceId
from satchel.core.limits import COMMIT_OPS_MAX
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, fetch_in
from satchel.server.metadata.journal import Head, head_txn

DAY_MS = 24 * 60 * 60 * 1_000
DAYS_MAX = 400


class Day(NamedTuple):
    """begin_ms: Unix ms at which the caller's day begins; changes: entries of the journal on that day."""

    begin_ms: int
    changes: int


class Reach(NamedTuple):
    """How far back a namespace's history goes. oldest_seq, oldest_ms: the oldest state that can be looked at."""

    oldest_seq: int
    oldest_ms: int
    head_seq: int
    head_ms: int


async def seqs_at_txn(conn: Connection, ns: NamespaceId, head: Head, times_ms: Sequence[int]) -> list[int]:
    """Return for each time the newest seq that was there then; one below the oldest entry for a time before it.

    All times are halved together, so that it takes some twenty statements, however many they are.
    """
    first = max(head.min_seq, 1)
    low, high = [first - 1] * len(times_ms), [head.seq] * len(times_ms)
    while asked := {(below + above + 1) // 2 for below, above in zip(low, high, strict=True) if below < above}:
        text = "SELECT seq, created_at FROM file_changes WHERE ns = $1 AND seq IN {keys}"
        known: dict[int, int] = dict(await fetch_in(conn, text, sorted(asked), ns))
        for at, time_ms in enumerate(times_ms):
            middle = (low[at] + high[at] + 1) // 2
            if low[at] < high[at] and known[middle] <= time_ms:
                low[at] = middle
            elif low[at] < high[at]:
                high[at] = middle - 1
    return low


async def seq_at_txn(conn: Connection, ns: NamespaceId, head: Head, time_ms: int) -> int:
    """Return the newest seq that was there at a time. Raises: HistoryEnded for a time before all that is known."""
    [seq] = await seqs_at_txn(conn, ns, head, [time_ms])
    if seq < max(head.min_seq, 1):
        reach = await _reach_txn(conn, ns, head)
        raise HistoryEnded("The history does not reach back so far.", **reach._asdict())
    return seq


async def whole_txn(conn: Connection, ns: NamespaceId, seq: int) -> int:
    """Return `seq`, or the end of the operation that it is within: several moves that are one, as a swap of two names,
    are a tree only when all of them are done."""
    text = "SELECT seq, op_id FROM file_changes WHERE ns = $1 AND seq >= $2 ORDER BY seq LIMIT $3"
    rows = await conn.fetch(text, ns, seq, COMMIT_OPS_MAX)
    if not rows or rows[0][0] != seq:
        return seq
    return int([row[0] for row in itertools.takewhile(lambda row: row[1] == rows[0][1], rows)][-1])


async def time_of_txn(conn: Connection, ns: NamespaceId, seq: int) -> int:
    """Return when the entry at `seq` was stored, Unix ms; 0 when there is none."""
    rows = await conn.fetch("SELECT created_at FROM file_changes WHERE ns = $1 AND seq = $2", ns, seq)
    return int(rows[0][0]) if rows else 0


async def require_reach_txn(conn: Connection, ns: NamespaceId, head: Head, seq: int) -> None:
    """Return when all entries after `seq` are still there. Raises: HistoryEnded."""
    if not head.min_seq <= seq <= head.seq:
        reach = await _reach_txn(conn, ns, head)
        raise HistoryEnded("The history does not hold this place.", seq=seq, **reach._asdict())


async def reach(db: Database, principal: Principal, ns: NamespaceId) -> Reach:
    """Return how far back the history of a namespace goes. Raises: NotFound."""
    await authorize(db, principal, ns, Right.READ)

    async def read_txn(conn: Connection) -> Reach:
        return await _reach_txn(conn, ns, await head_txn(conn, ns))

    return await db.read(read_txn)


async def _reach_txn(conn: Connection, ns: NamespaceId, head: Head) -> Reach:
    oldest_ms = await time_of_txn(conn, ns, max(head.min_seq, 1))
    return Reach(head.min_seq, oldest_ms, head.seq, head.at if head.seq else 0)


async def days(
    db: Database, principal: Principal, ns: NamespaceId, *, until_ms: int, count: int, offset_min: int
) -> list[Day]:
    """Return how many changes each of the last `count` days had, the oldest day first; the last holds `until_ms`.

    offset_min: minutes by which the caller's clock is ahead of UTC. Raises: NotFound, LimitExceeded.
    """
    await authorize(db, principal, ns, Right.READ)
    if not 1 <= count <= DAYS_MAX:
        raise LimitExceeded("So many days are not counted at once.", limit="days", maximum=DAYS_MAX, actual=count)
    shift_ms = offset_min * 60_000
    last = (until_ms + shift_ms) // DAY_MS * DAY_MS - shift_ms
    begins = [last - DAY_MS * back for back in range(count - 1, -1, -1)]

    async def read_txn(conn: Connection) -> list[Day]:
        head = await head_txn(conn, ns)
        seqs = await seqs_at_txn(conn, ns, head, [begin - 1 for begin in (*begins, last + DAY_MS)])
        return [Day(begin, after - before) for begin, before, after in zip(begins, seqs[:-1], seqs[1:], strict=True)]

    return await db.read(read_txn)
