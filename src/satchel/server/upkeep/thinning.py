"""Thins out old versions, and forgets blocklists that none has any more. Invariant: a file's newest version never goes.

Which versions go is decided by their ages alone (`core.retention`), on what is read under the namespace's row. They are
found by reading all along their key: an index by time would be paid for by each commit. A round that finds very much
to do, as after a change of the settings, goes on for some days.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from satchel.core.ids import ID_BYTES, NamespaceId, NodeId
from satchel.core.retention import Stamp, VersionPolicy, choose_removable
from satchel.server.db.engine import Connection, Database, execute_in
from satchel.server.metadata.journal import head_txn
from satchel.server.ports import Clock
from satchel.server.upkeep.ages import judged_now_ms
from satchel.server.upkeep.dropping import (
    BLOCKS_MAX,
    SPENT_BYTES,
    Brake,
    Doomed,
    Dropped,
    Spent,
    brake,
    drop_versions_txn,
)
from satchel.server.upkeep.marking import named_contents
from satchel.server.upkeep.schedule import DAY_S, Counts, Task
from satchel.server.upkeep.walk import Standing, Visited, walk

VERSIONS, BLOCKLISTS = "versions", "blocklists"
REV_BYTES = 8
BLOCKLISTS_PAGE = 2_000
BRAKE = Brake(floor=2_000, share=0.05)


@dataclass(frozen=True, slots=True)
class ThinningBounds:
    """page: versions looked at in one transaction, more than a policy's newest; blocks_max: see `drop_versions_txn`;
    brake: how much of a namespace goes in a round."""

    page: int = 1_000
    blocks_max: int = BLOCKS_MAX
    brake: Brake = BRAKE


class _Page(NamedTuple):
    """What a page of versions comes to. after: the key that it was looked through to; None at the end."""

    doomed: list[Doomed]
    after: tuple[bytes, int] | None


def tasks(db: Database, clock: Clock, policy: VersionPolicy | None) -> list[Task]:
    """Return the tasks of this part of upkeep. policy: None keeps all versions for ever."""

    async def thin() -> Counts:
        return await thin_versions(db, clock, policy, now_ms=await judged_now_ms(db, clock)) if policy else Counts({})

    return [
        Task(VERSIONS, DAY_S, thin),
        Task(BLOCKLISTS, 7 * DAY_S, lambda: drop_blocklists(db, clock)),
    ]


async def thin_versions(
    db: Database, clock: Clock, policy: VersionPolicy, *, now_ms: int, bounds: ThinningBounds | None = None
) -> Counts:
    """Take away the versions that may go. now_ms: Unix time that ages are judged by. Safe to stop anywhere, to repeat,
    and beside itself and all writers.

    Counts: `versions` that went, `blocklists` that nothing uses any more, `bytes` that the namespaces use no more, and
    `slowed` namespaces, of which more may go in the next round.
    """
    bounds = bounds or ThinningBounds()
    # Enough to look past those of one file that are kept as its newest.
    limit = bounds.page + policy.newest_min + 1

    async def visit(standing: Standing, after: bytes) -> Visited:
        ns, rest = standing.ns, after[SPENT_BYTES:]
        spent = await brake(db, ns, Spent.unpacked(after[:SPENT_BYTES]), bounds.brake, VERSIONS)
        if spent is None:
            return Visited({"slowed": 1})
        look = _Look(ns, rest[:ID_BYTES], int.from_bytes(rest[ID_BYTES:], "big"), limit, policy, now_ms)
        page, dropped = await db.read(lambda conn: _page_txn(conn, look)), Dropped()
        if page.doomed:
            page, dropped = await db.write(ns, lambda conn: _drop_txn(conn, look, bounds.blocks_max))
        done = {name: count for name, count in dropped._asdict().items() if count}
        if page.after is None:
            return Visited(done)
        node_id, rev = page.after
        spent = spent._replace(versions=spent.versions + dropped.versions)
        return Visited(done, spent.packed() + node_id + rev.to_bytes(REV_BYTES, "big"))

    return await walk(db, clock, VERSIONS, visit)


class _Look(NamedTuple):
    """Which versions are looked at, and how: at most `limit` behind the key (node_id, rev)."""

    ns: NamespaceId
    node_id: bytes
    rev: int
    limit: int
    policy: VersionPolicy
    now_ms: int


async def _drop_txn(conn: Connection, look: _Look, blocks_max: int) -> tuple[_Page, Dropped]:
    """Look again under the namespace's row, and take away what may go; return it with where to go on."""
    await head_txn(conn, look.ns, for_update=True)
    page = await _page_txn(conn, look)
    dropped = await drop_versions_txn(conn, look.ns, page.doomed, blocks_max=blocks_max)
    if 0 < dropped.versions < len(page.doomed):
        last = page.doomed[dropped.versions - 1]
        page = page._replace(after=(last.node_id, last.rev))
    return page, dropped


async def _page_txn(conn: Connection, look: _Look) -> _Page:
    rows = await conn.fetch(
        "SELECT node_id, rev, created_at, content FROM file_versions WHERE ns = $1 AND (node_id, rev) > ($2, $3)"
        " ORDER BY node_id, rev LIMIT $4",
        *(look.ns, look.node_id, look.rev, look.limit),
    )
    is_last = len(rows) < look.limit
    doomed: list[Doomed] = []
    after: tuple[bytes, int] | None = None
    for node_id, group in itertools.groupby(rows, key=lambda row: row[0]):
        of_node = list(group)
        versions = [Stamp(rev, created_at) for _, rev, created_at, _ in of_node]
        removable = set(choose_removable(versions, look.policy, now_ms=look.now_ms))
        doomed += [Doomed(NodeId(node_id), rev, content) for _, rev, _, content in of_node if rev in removable]
        if of_node[-1] is not rows[-1]:
            after = node_id, of_node[-1][1]
        elif not is_last and len(of_node) > look.policy.newest_min:
            # Of the last file there may be more: what was taken for its newest is looked at again.
            after = node_id, of_node[-1 - look.policy.newest_min][1]
    return _Page(doomed, None if is_last else after)


async def drop_blocklists(db: Database, clock: Clock, *, page: int = BLOCKLISTS_PAGE) -> Counts:
    """Forget the blocklists that no version and no file names. Their count only proposes: all are looked through.

    Counts: `blocklists` that went. One that is named and yet counted as unused stays; `recount` tells of it.
    """

    async def visit(standing: Standing, after: bytes) -> Visited:
        ns = standing.ns
        text = (
            "SELECT manifest_id, refs FROM manifests WHERE ns = $1 AND manifest_id > $2 ORDER BY manifest_id LIMIT $3"
        )
        rows = await db.read(lambda conn: conn.fetch(text, ns, after, page))
        unused = {name for name, refs in rows if refs == 0}
        going = sorted(unused - await named_contents(db, ns, unused))
        gone = await db.write(ns, lambda conn: _forget_txn(conn, ns, going)) if going else 0
        return Visited({"blocklists": gone} if gone else {}, rows[-1][0] if len(rows) == page else None)

    return await walk(db, clock, BLOCKLISTS, visit)


async def _forget_txn(conn: Connection, ns: NamespaceId, names: Sequence[bytes]) -> int:
    """Whatever began to name one of them since they were looked for has counted itself under the namespace's row."""
    await head_txn(conn, ns, for_update=True)
    text = "DELETE FROM manifests WHERE ns = $1 AND manifest_id IN {keys} AND refs = 0"
    return await execute_in(conn, text, names, ns)
