"""Removes what has ended: answers kept for repeated operations, and what devices left that can never come back.

Invariant: nothing goes that anyone could still ask for. An operation's answer is kept for 30 days. A device that was
signed out never signs in again; its row stays, because it names who made a version. A scope that was lost costs its
link requests, never a change (docs/protocol/device.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from satchel.core.ids import ID_BYTES, DeviceId, LinkId, NamespaceId
from satchel.core.limits import OP_RESULT_AGE_DAYS_MAX, SESSION_AGE_DAYS_MAX
from satchel.server.db.engine import Connection, Database, fetch_in
from satchel.server.ports import Clock
from satchel.server.upkeep.schedule import DAY_S, UPKEEP_KEY, Counts, Task
from satchel.server.upkeep.walk import RUN_MS, Standing, Visited, keep_place, place_of, walk

OP_RESULTS, SCOPES, LINK_RUNS, INVITATIONS = "op-results", "scopes", "link-runs", "invitations"
DAY_MS = DAY_S * 1_000
PAGE_RESULTS = 2_000
PAGE_LINKS = 100
PAGE_RUNS = 500
BROWSER_MS = (SESSION_AGE_DAYS_MAX + 1) * DAY_MS
"""A browser's session is no row of `devices`; its id tells when it began, and by then it is over."""
INVITATION_KEPT_DAYS = 90
GRACE_MS = DAY_MS
"""How long a device must be signed out: its last requests have ended."""


class DeviceLink(NamedTuple):
    """A linked folder of a device, as rows name it."""

    device_id: DeviceId
    link_id: LinkId


def tasks(db: Database, clock: Clock) -> list[Task]:
    """Return the tasks of this part of upkeep."""
    return [
        Task(OP_RESULTS, DAY_S, lambda: expire_op_results(db, clock)),
        Task(SCOPES, DAY_S, lambda: expire_scopes(db, clock)),
        Task(LINK_RUNS, DAY_S, lambda: expire_link_runs(db, clock)),
        Task(INVITATIONS, DAY_S, lambda: expire_invitations(db, clock)),
    ]


async def expire_op_results(
    db: Database, clock: Clock, *, age_days: float = OP_RESULT_AGE_DAYS_MAX, page_results: int = PAGE_RESULTS
) -> Counts:
    """Remove answers older than `age_days`. They are found by reading all along their key: no index by time is kept,
    since each commit would pay for it."""
    before_ms = clock.now_ms() - round(age_days * DAY_MS)

    async def visit(standing: Standing, after: bytes) -> Visited:
        ns, low = standing.ns, (after[:ID_BYTES], after[ID_BYTES:])
        rows = await db.read(
            lambda conn: conn.fetch(
                "SELECT actor, op_id, created_at FROM op_results WHERE ns = $1 AND (actor, op_id) > ($2, $3)"
                " ORDER BY actor, op_id LIMIT $4",
                *(ns, *low, page_results),
            )
        )
        removed = 0
        if any(created_at < before_ms for _, _, created_at in rows):
            high = rows[-1][:2]
            removed = await db.write(
                UPKEEP_KEY + ns,
                lambda conn: conn.execute(
                    "DELETE FROM op_results WHERE ns = $1 AND (actor, op_id) > ($2, $3) AND (actor, op_id) <= ($4, $5)"
                    " AND created_at < $6",
                    *(ns, *low, *high, before_ms),
                ),
            )
        is_last = len(rows) < page_results
        return Visited({"results": removed}, None if is_last else rows[-1][0] + rows[-1][1])

    return await walk(db, clock, OP_RESULTS, visit)


async def expire_scopes(
    db: Database, clock: Clock, *, grace_ms: int = GRACE_MS, page_links: int = PAGE_LINKS
) -> Counts:
    """Remove what links of devices leave out that were signed out longer ago than `grace_ms`, or do not exist."""
    before_ms = clock.now_ms() - grace_ms

    async def visit(standing: Standing, after: bytes) -> Visited:
        ns = standing.ns

        async def find_txn(conn: Connection) -> tuple[list[DeviceLink], list[DeviceLink]]:
            links = await _scoped_links_txn(conn, ns, after, page_links)
            return links, await _ended_txn(conn, links, before_ms)

        links, ended = await db.read(find_txn)
        done: Counter[str] = Counter()
        for link in ended:
            done["links"] += 1
            done["nodes"] += await _drop_scope(db, ns, link)
        return Visited(done, None if len(links) < page_links else b"".join(links[-1]))

    return await walk(db, clock, SCOPES, visit)


async def expire_link_runs(
    db: Database, clock: Clock, *, grace_ms: int = GRACE_MS, page_runs: int = PAGE_RUNS
) -> Counts:
    """Remove the runs of links of devices that were signed out longer ago than `grace_ms`, or do not exist."""
    now_ms = clock.now_ms()
    place = await place_of(db, LINK_RUNS)
    removed = 0

    async def page_txn(conn: Connection) -> tuple[list[DeviceLink], list[DeviceLink]]:
        rows = await conn.fetch(
            "SELECT device_id, link_id FROM link_runs WHERE (device_id, link_id) > ($1, $2)"
            " ORDER BY device_id, link_id LIMIT $3",
            *(place[:ID_BYTES], place[ID_BYTES:], page_runs),
        )
        links = [DeviceLink._make(row) for row in rows]
        return links, await _ended_txn(conn, links, now_ms - grace_ms)

    while True:
        links, ended = await db.read(page_txn)
        if ended:
            await _drop_runs(db, ended)
            removed += len(ended)
        is_last = len(links) < page_runs
        place = b"" if is_last else b"".join(links[-1])
        if is_last or clock.now_ms() >= now_ms + RUN_MS:
            await keep_place(db, LINK_RUNS, place)
            return Counts({"links": removed}, has_more=not is_last)


async def expire_invitations(db: Database, clock: Clock, *, kept_days: int = INVITATION_KEPT_DAYS) -> Counts:
    """Remove invitations that were used, revoked or over longer ago than `kept_days`. There are as many as
    administrators make; that they were made and used stands in the audit log."""
    before_ms = clock.now_ms() - kept_days * DAY_MS
    removed = await db.write(
        UPKEEP_KEY,
        lambda conn: conn.execute(
            "DELETE FROM invitations WHERE used_at < $1 OR revoked_at < $1 OR ends_at < $1", before_ms
        ),
    )
    return Counts({"invitations": removed})


async def _scoped_links_txn(conn: Connection, ns: NamespaceId, after: bytes, limit: int) -> list[DeviceLink]:
    """Return the links behind `after` that leave something out, a look-up each, however much they leave out."""
    links: list[DeviceLink] = []
    place = (after[:ID_BYTES], after[ID_BYTES:])
    while len(links) < limit:
        rows = await conn.fetch(
            "SELECT device_id, link_id FROM link_scopes WHERE ns = $1 AND (device_id, link_id) > ($2, $3)"
            " ORDER BY device_id, link_id LIMIT 1",
            *(ns, *place),
        )
        if not rows:
            break
        place = rows[0]
        links.append(DeviceLink._make(rows[0]))
    return links


async def _ended_txn(conn: Connection, links: Sequence[DeviceLink], before_ms: int) -> list[DeviceLink]:
    """Return those whose device was signed out before `before_ms`, or is neither a device nor a browser of late."""
    text = "SELECT device_id, revoked_at FROM devices WHERE device_id IN {keys}"
    found: dict[bytes, int | None] = dict(await fetch_in(conn, text, sorted({link.device_id for link in links})))

    def is_ended(device_id: DeviceId) -> bool:
        if device_id not in found:
            return not _may_be_browser(device_id, before_ms)
        revoked_at = found[device_id]
        return revoked_at is not None and revoked_at < before_ms

    return [link for link in links if is_ended(link.device_id)]


def _may_be_browser(device_id: DeviceId, before_ms: int) -> bool:
    """Tell whether an id that is no device's can be that of a browser that is signed in: a UUIDv7 of the last weeks."""
    is_uuid7 = device_id[6] >> 4 == 7 and device_id[8] >> 6 == 2
    return is_uuid7 and before_ms - BROWSER_MS < int.from_bytes(device_id[:6], "big") <= before_ms + 2 * GRACE_MS


async def _drop_scope(db: Database, ns: NamespaceId, link: DeviceLink) -> int:
    return await db.write(
        UPKEEP_KEY + ns,
        lambda conn: conn.execute(
            "DELETE FROM link_scopes WHERE ns = $1 AND device_id = $2 AND link_id = $3", ns, *link
        ),
    )


async def _drop_runs(db: Database, links: Sequence[DeviceLink]) -> None:
    await db.write(
        UPKEEP_KEY,
        lambda conn: conn.execute_many("DELETE FROM link_runs WHERE device_id = $1 AND link_id = $2", links),
    )
