"""Entries since a position, snapshots and blocklists. Invariant: a reader sees each change once, in order, no gap;
what its link leaves out it never sees.

A page of changes covers prev_seq < seq <= last_seq; the next one starts where it ends. A snapshot is read while writers
go on: its first page fixes a place in the journal, and the reader folds from there. Source: docs/design (journal).
"""

from __future__ import annotations

from satchel.core.access import Right
from satchel.core.errors import LimitExceeded
from satchel.core.ids import Tag
from satchel.core.limits import FEED_PAGE_ENTRIES_MAX, MANIFESTS_GET_COUNT_MAX
from satchel.core.messages import (
    Changes,
    ChangesRequest,
    ManifestsReply,
    ManifestsRequest,
    SnapshotPage,
    SnapshotRequest,
)
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, fetch_together
from satchel.server.feed.pages import (
    Found,
    InlineBlocks,
    cut_to_page,
    draft_of,
    look_questions,
    look_txn,
    page_of,
    reset_page,
    without_xattrs,
)
from satchel.server.feed.scopes import scope_of, scope_question, scope_txn
from satchel.server.feed.snapshots import page_txn
from satchel.server.metadata.blocklists import blocklists_txn
from satchel.server.metadata.journal import Head, head_of, head_question, head_txn, tag_at_txn


async def changes(
    db: Database, blocks: InlineBlocks, principal: Principal, request: ChangesRequest
) -> tuple[Changes, list[bytes]]:
    """Return the entries after a position, and the bodies of the small contents that travel with them.

    Bounded by entries and bytes. A position that this journal does not know answers with `is_reset` and the head.
    Raises: NotFound.
    """
    ns = request.position.ns
    await authorize(db, principal, ns, Right.READ)

    async def look(conn: Connection) -> tuple[Head, Found | None]:
        whose = (principal.device_id, request.link)
        asked = [head_question(ns), scope_question(ns, *whose), *look_questions(request)]
        ends, left_out, *answers = await fetch_together(conn, asked)
        head = head_of(ends)
        return head, await look_txn(conn, head, request, scope_of(*whose, left_out), answers)

    head, found = await db.glance(look)
    if found is None:
        return reset_page(ns, head), []
    draft = draft_of(request, found)
    contents = await blocks.read_inline(ns, draft.hashes) if draft.carried else {}
    return page_of(request, head, found, draft, contents)


async def snapshot(db: Database, principal: Principal, request: SnapshotRequest) -> SnapshotPage:
    """Return a page of the live nodes of a unit (itself included, unless it is the root), by node id.

    A unit that is not live has none. Raises: NotFound.
    """
    await authorize(db, principal, request.ns, Right.READ)
    limit = max(1, min(request.limit, FEED_PAGE_ENTRIES_MAX))

    async def read(conn: Connection) -> SnapshotPage:
        head = await head_txn(conn, request.ns)
        seq = head.seq if request.seq < 0 else min(request.seq, head.seq)
        tag = await tag_at_txn(conn, request.ns, seq) or Tag(b"")
        scope = await scope_txn(conn, request.ns, principal.device_id, request.link)
        entries, has_more = await page_txn(
            conn, request.ns, request.unit, after=request.after, limit=limit, scope=scope
        )
        all_told = entries if request.with_xattrs else without_xattrs(entries)
        told = cut_to_page(all_told, set())
        has_more = has_more or len(told) < len(all_told)
        return SnapshotPage(request.ns, seq, tag, tuple(told), has_more, scope.mark)

    return await db.read(read)


async def manifests(db: Database, principal: Principal, request: ManifestsRequest) -> ManifestsReply:
    """Return blocklists by content hash; unknown ones are left out. Raises: NotFound, LimitExceeded."""
    await authorize(db, principal, request.ns, Right.READ)
    if len(request.ids) > MANIFESTS_GET_COUNT_MAX:
        raise LimitExceeded(
            "Too many blocklists are asked for.",
            limit="MANIFESTS_GET_COUNT_MAX",
            maximum=MANIFESTS_GET_COUNT_MAX,
            actual=len(request.ids),
        )
    found = await db.read(lambda conn: blocklists_txn(conn, request.ns, request.ids))
    return ManifestsReply(tuple((id_, found[id_]) for id_ in dict.fromkeys(request.ids) if id_ in found))
