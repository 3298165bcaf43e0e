"""Removes for good what was deleted long ago. Invariant: a deleted unit goes whole or can be restored whole.

The decision is one row's: under the namespace's row the deleted node is marked as purged, and from then on nobody can
restore it. What died with a folder follows from the top down, in pages: a folder is marked before anything in it is
touched, so whatever is not marked yet is complete. A marked row waits in the trash's index until nothing hangs on it.

The row itself stays, without its content, as long as the journal may speak of it: readers of old entries find the
places of all nodes, and a device that was away finds a dead node, not an unknown one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from satchel.core.entries import Kind
from satchel.core.ids import NamespaceId, NodeId
from satchel.core.retention import DAY_MS
from satchel.server.accounts.audit import Action, Detail, Event, record_txn
from satchel.server.db.engine import Connection, Database, execute_in, fetch_in
from satchel.server.metadata.journal import Head, head_txn
from satchel.server.metadata.nodes import COLUMN_LIST, DEAD, LIVE, PURGED, Node, node_of
from satchel.server.metadata.purging import DUE_NOW_MS, mark_purged_txn
from satchel.server.ports import Clock
from satchel.server.upkeep.ages import judged_now_ms
from satchel.server.upkeep.dropping import BLOCKS_MAX, Brake, Doomed, Spent, brake, drop_versions_txn
from satchel.server.upkeep.schedule import DAY_S, Counts, Task
from satchel.server.upkeep.walk import Standing, Visited, walk

TRASH = "trash"
SEQ_BYTES = 8
BRAKE = Brake(floor=2_000, share=0.2)
_SWEEP, _PURGE = b"s", b"p"


@dataclass(frozen=True, slots=True)
class TrashBounds:
    """nodes: marked or finished in one transaction; versions and blocks_max: taken away in one; brake: how much of a
    namespace goes in a round."""

    nodes: int = 100
    versions: int = 500
    blocks_max: int = BLOCKS_MAX
    brake: Brake = BRAKE


def tasks(db: Database, clock: Clock, keep_days: int | None) -> list[Task]:
    """Return the tasks of this part of upkeep. keep_days: None keeps all that nobody removed himself."""

    async def purge() -> Counts:
        return await purge_trash(db, clock, keep_days=keep_days, now_ms=await judged_now_ms(db, clock))

    return [Task(TRASH, DAY_S, purge)]


async def purge_trash(
    db: Database, clock: Clock, *, keep_days: int | None, now_ms: int, bounds: TrashBounds | None = None
) -> Counts:
    """Remove what was deleted more than `keep_days` before `now_ms` (Unix time; None: nothing for that), and what hangs
    on what somebody removed for good. Safe to stop anywhere, to repeat, and beside itself and all writers.

    Counts: `deleted` units that went, `beneath` them so many nodes more, `versions`, `blocklists` and `bytes` that they
    used, `left_behind` nodes that had lost their folder, rows `forgotten` since the journal is silent about them, and
    `slowed` namespaces, of which more goes in the next round.
    """
    bounds = bounds or TrashBounds()
    before_ms = DUE_NOW_MS + 1 if keep_days is None else now_ms - keep_days * DAY_MS

    async def visit(standing: Standing, after: bytes) -> Visited:
        ns = standing.ns
        if after[:1] != _PURGE:
            return await _sweep(db, ns, after[1:], before_ms, bounds)
        spent = await brake(db, ns, Spent.unpacked(after[1:]), bounds.brake, TRASH)
        if spent is None:
            return Visited({"slowed": 1})
        if not await db.read(lambda conn: _due_txn(conn, ns, before_ms, 1)):
            return Visited({})
        done = await db.write(ns, lambda conn: _purge_txn(conn, ns, before_ms, bounds, clock.now_ms()))
        return Visited(+done, _PURGE + spent._replace(versions=spent.versions + done["versions"]).packed())

    return await walk(db, clock, TRASH, visit)


# -- what was deleted -------------------------------------------------------------------------------------------------


async def _due_txn(conn: Connection, ns: NamespaceId, before_ms: int, limit: int) -> list[Node]:
    """Return deleted nodes that are due, and purged ones on which something hangs yet; the oldest first."""
    rows = await conn.fetch(
        f"SELECT {COLUMN_LIST} FROM files WHERE ns = $1 AND deleted_at IS NOT NULL AND deleted_at < $2"
        f" AND state <> {LIVE} ORDER BY deleted_at, node_id LIMIT $3",
        *(ns, before_ms, limit),
    )
    return [node_of(row) for row in rows]


async def _purge_txn(
    conn: Connection, ns: NamespaceId, before_ms: int, bounds: TrashBounds, now_ms: int
) -> Counter[str]:
    """Mark what is due, and take away a bounded part of what hangs on it; each call gets some of it done."""
    head = await head_txn(conn, ns, for_update=True)
    nodes = await _due_txn(conn, ns, before_ms, bounds.nodes)
    done: Counter[str] = Counter()
    fresh = [node.node_id for node in nodes if node.state == DEAD]
    await mark_purged_txn(conn, ns, fresh, head)
    done["deleted"] = len(fresh)
    hanging: set[NodeId] = set()
    room = bounds.nodes
    for node in nodes:
        if node.kind == Kind.FOLDER:
            below = await _children_txn(conn, ns, node.node_id, room) if room else []
            await mark_purged_txn(conn, ns, below, head, due_ms=node.deleted_at)
            done["beneath"] += len(below)
            if len(below) == room:
                hanging.add(node.node_id)
            room -= len(below)
    await _drop_versions_of_txn(conn, ns, nodes, bounds, done, hanging)
    finished = [node.node_id for node in nodes if node.node_id not in hanging]
    text = f"UPDATE files SET deleted_at = NULL WHERE ns = $1 AND node_id IN {{keys}} AND state = {PURGED}"
    await execute_in(conn, text, finished, ns)
    if fresh:
        # From here on nobody restores them: the owner's log says so, once for all that went together.
        owner = await conn.fetch("SELECT owner FROM namespaces WHERE ns = $1", ns)
        told: Detail = {"ns": ns.hex(), "deleted": len(fresh), "before_ms": before_ms}
        await record_txn(conn, owner[0][0], Event(Action.PURGED, now_ms, detail=told))
    return done


async def _children_txn(conn: Connection, ns: NamespaceId, folder: NodeId, limit: int) -> list[NodeId]:
    """Return what stands in a dead folder and was not deleted by itself."""
    rows = await conn.fetch(
        f"SELECT node_id FROM files WHERE ns = $1 AND parent_id = $2 AND state = {LIVE} LIMIT $3", ns, folder, limit
    )
    return [row[0] for row in rows]


async def _drop_versions_of_txn(
    conn: Connection,
    ns: NamespaceId,
    nodes: Sequence[Node],
    bounds: TrashBounds,
    done: Counter[str],
    hanging: set[NodeId],
) -> None:
    """Take away the versions of purged files, within the bounds; those that keep some are added to `hanging`."""
    files = [node for node in nodes if node.version_count]
    doomed: list[Doomed] = []
    for node in files:
        room = bounds.versions - len(doomed)
        rows = await conn.fetch(
            "SELECT node_id, rev, content FROM file_versions WHERE ns = $1 AND node_id = $2 ORDER BY rev LIMIT $3",
            *(ns, node.node_id, max(0, room)),
        )
        if len(rows) >= room:
            hanging.add(node.node_id)
        doomed += [Doomed._make(row) for row in rows]
    dropped = await drop_versions_txn(conn, ns, doomed, blocks_max=bounds.blocks_max)
    hanging.update([version.node_id for version in doomed[dropped.versions :]])
    done.update({name: count for name, count in dropped._asdict().items() if count})


# -- what is left behind, and what nobody speaks of any more ----------------------------------------------------------


class _Swept(NamedTuple):
    """A page of rows: left_behind: dead for long in a folder that came back without them; silent: purged, and older
    than the journal; after: where the next page begins, empty at the end."""

    left_behind: list[NodeId]
    silent: list[NodeId]
    after: bytes


async def _sweep(db: Database, ns: NamespaceId, after: bytes, before_ms: int, bounds: TrashBounds) -> Visited:
    """Queue what is left behind, and forget purged rows; then what was deleted comes."""
    swept = await db.read(lambda conn: _swept_txn(conn, ns, after, before_ms, bounds))
    done: Counter[str] = Counter()
    if swept.left_behind or swept.silent:

        async def queue_txn(conn: Connection) -> _Swept:
            head = await head_txn(conn, ns, for_update=True)
            again = await _swept_txn(conn, ns, after, before_ms, bounds)
            await mark_purged_txn(conn, ns, again.left_behind, head, due_ms=before_ms - 1)
            text = f"DELETE FROM files WHERE ns = $1 AND node_id IN {{keys}} AND state = {PURGED}"
            await execute_in(conn, text, again.silent, ns)
            return again

        swept = await db.write(ns, queue_txn)
        done = Counter({"left_behind": len(swept.left_behind), "forgotten": len(swept.silent)})
    if len(swept.left_behind) >= bounds.nodes:
        # There may be more on this page.
        return Visited(+done, _SWEEP + after)
    return Visited(+done, _SWEEP + swept.after if swept.after else _PURGE)


async def _swept_txn(conn: Connection, ns: NamespaceId, after: bytes, before_ms: int, bounds: TrashBounds) -> _Swept:
    head = await head_txn(conn, ns)
    limit = 5 * bounds.nodes
    rows = await conn.fetch(
        "SELECT node_id, cleared_seq, state, deleted_at FROM files WHERE ns = $1 AND cleared_seq > 0"
        " AND (cleared_seq, node_id) > ($2, $3) ORDER BY cleared_seq, node_id LIMIT $4",
        *(ns, int.from_bytes(after[:SEQ_BYTES], "big"), after[SEQ_BYTES:], limit),
    )
    silent = [
        node_id
        for node_id, cleared_seq, state, deleted_at in rows
        if state == PURGED and deleted_at is None and cleared_seq < head.min_seq
    ]
    folders = {node_id: cleared_seq for node_id, cleared_seq, state, _ in rows if state == LIVE}
    due = await _long_ago_txn(conn, ns, set(folders.values()), head, before_ms)
    left_behind: list[NodeId] = []
    for node_id, cleared_seq in folders.items():
        if cleared_seq in due and len(left_behind) < bounds.nodes:
            found = await conn.fetch(
                f"SELECT node_id FROM files WHERE ns = $1 AND parent_id = $2 AND state = {LIVE} AND seq <= $3 LIMIT $4",
                *(ns, node_id, cleared_seq, bounds.nodes),
            )
            left_behind += [row[0] for row in found]
    end = rows[-1] if len(rows) == limit else None
    return _Swept(left_behind, silent, b"" if end is None else end[1].to_bytes(SEQ_BYTES, "big") + end[0])


async def _long_ago_txn(conn: Connection, ns: NamespaceId, seqs: Iterable[int], head: Head, before_ms: int) -> set[int]:
    """Return those of the seqs whose entry is older than `before_ms`; one that was pruned is at least as old as the
    oldest that is there."""
    text = "SELECT seq, created_at FROM file_changes WHERE ns = $1 AND seq IN {keys}"
    known: dict[int, int] = dict(await fetch_in(conn, text, sorted({*seqs, head.min_seq}), ns))
    oldest_ms = known.get(head.min_seq, before_ms)
    return {seq for seq in seqs if known.get(seq, oldest_ms) < before_ms}
