"""Entries since a position, snapshots and blocklists. Invariant: a reader sees each change once, in order, no gap;
what its link leaves out it never sees.

A page of changes covers prev_seq < seq <= last_seq; the next one starts where it ends. A snapshot is read while writers
go on: its first page fixes a place in the journal, and the reader folds from there. Source: docs/design (journal).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from satchel.core.access import Right
from satchel.core.entries import Entry, Kind
from satchel.core.errors import LimitExceeded
from satchel.core.hashing import PACKED_BYTES, packed_hashes
from satchel.core.ids import BlockHash, LinkId, NamespaceId, Tag
from satchel.core.limits import (
    FEED_PAGE_BYTES_MAX,
    FEED_PAGE_ENTRIES_MAX,
    INLINE_DOWN_BYTES_MAX,
    MANIFEST_INLINE_BLOCKS_MAX,
    MANIFESTS_GET_COUNT_MAX,
)
from satchel.core.messages import (
    Changes,
    ChangesRequest,
    ManifestsReply,
    ManifestsRequest,
    Position,
    SnapshotPage,
    SnapshotRequest,
    WireBlock,
)
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database
from satchel.server.feed.scopes import LinkScope, scope_txn, told_rows_txn
from satchel.server.feed.snapshots import page_txn
from satchel.server.metadata.blocklists import blocklists_txn
from satchel.server.metadata.journal import Head, JournalRow, entry_of, head_txn, knows_txn, read_txn, tag_at_txn
from satchel.server.metadata.nodes import image_of

ENTRY_BYTES = 256
"""About what an entry takes on the wire beside its names, blocklist and content."""
HIDDEN_ROWS_MAX = 20_000
"""About so many entries that a link leaves out are passed over for one page."""
_FILE = int(Kind.FILE)


class _Found(NamedTuple):
    """Entries that were told of, how far was looked, and the scope that was left out."""

    entries: list[Entry]
    last_seq: int
    last_tag: Tag
    scope: LinkScope


class InlineBlocks(Protocol):
    """Where small contents come from."""

    async def read_inline(
        self, ns: NamespaceId, hashes: Iterable[BlockHash]
    ) -> dict[BlockHash, tuple[WireBlock, bytes]]:
        """Return those of the blocks that `ns` may read, as stored; others are left out."""
        ...


async def changes(
    db: Database, blocks: InlineBlocks, principal: Principal, request: ChangesRequest
) -> tuple[Changes, list[bytes]]:
    """Return the entries after a position, and the bodies of the small contents that travel with them.

    Bounded by entries and bytes. A position that this journal does not know answers with `is_reset` and the head.
    Raises: NotFound.
    """
    ns, asked = request.position.ns, request.position
    authorize(principal, ns, Right.READ)
    limit = max(1, min(request.limit, FEED_PAGE_ENTRIES_MAX))

    async def page(conn: Connection) -> tuple[Head, _Found | None]:
        head = await head_txn(conn, ns)
        if not await knows_txn(conn, ns, head, seq=asked.seq, tag=asked.tag):
            return head, None
        scope = await scope_txn(conn, ns, principal.device_id, request.link)
        if asked.seq == head.seq:
            return head, _Found([], asked.seq, asked.tag, scope)
        return head, await _entries_txn(conn, ns, asked, limit, scope)

    head, told = await db.read(page)
    if told is None:
        return Changes(ns, head.seq, head.seq, head.tag, (), head.seq, is_reset=True), []
    all_told = told.entries if request.with_xattrs else _without_xattrs(told.entries)
    carried = _carried(all_told, request.link) if request.with_content else set()
    entries = _cut(all_told, carried)
    last_seq, last_tag = told.last_seq, told.last_tag
    if len(entries) < len(all_told):
        last_seq, last_tag = entries[-1].seq, entries[-1].tag
    found = await blocks.read_inline(ns, _inline_hashes(entries, carried)) if carried else {}
    entries, wires, bodies = _with_bodies(entries, carried, found)
    reply = Changes(
        ns=ns,
        prev_seq=asked.seq,
        last_seq=last_seq,
        last_tag=last_tag,
        entries=tuple(entries),
        head_seq=head.seq,
        has_more=last_seq < head.seq,
        inline=tuple(wires),
        scope=told.scope.mark,
    )
    return reply, bodies


async def snapshot(db: Database, principal: Principal, request: SnapshotRequest) -> SnapshotPage:
    """Return a page of the live nodes of a unit (itself included, unless it is the root), by node id.

    A unit that is not live has none. Raises: NotFound.
    """
    authorize(principal, request.ns, Right.READ)
    limit = max(1, min(request.limit, FEED_PAGE_ENTRIES_MAX))

    async def read(conn: Connection) -> SnapshotPage:
        head = await head_txn(conn, request.ns)
        seq = head.seq if request.seq < 0 else min(request.seq, head.seq)
        tag = await tag_at_txn(conn, request.ns, seq) or Tag(b"")
        scope = await scope_txn(conn, request.ns, principal.device_id, request.link)
        entries, has_more = await page_txn(
            conn, request.ns, request.unit, after=request.after, limit=limit, scope=scope
        )
        all_told = entries if request.with_xattrs else _without_xattrs(entries)
        told = _cut(all_told, set())
        has_more = has_more or len(told) < len(all_told)
        return SnapshotPage(request.ns, seq, tag, tuple(told), has_more, scope.mark)

    return await db.read(read)


async def manifests(db: Database, principal: Principal, request: ManifestsRequest) -> ManifestsReply:
    """Return blocklists by content hash; unknown ones are left out. Raises: NotFound, LimitExceeded."""
    authorize(principal, request.ns, Right.READ)
    if len(request.ids) > MANIFESTS_GET_COUNT_MAX:
        raise LimitExceeded(
            "Too many blocklists are asked for.",
            limit="MANIFESTS_GET_COUNT_MAX",
            maximum=MANIFESTS_GET_COUNT_MAX,
            actual=len(request.ids),
        )
    found = await db.read(lambda conn: blocklists_txn(conn, request.ns, request.ids))
    return ManifestsReply(tuple((id_, found[id_]) for id_ in dict.fromkeys(request.ids) if id_ in found))


async def _entries_txn(conn: Connection, ns: NamespaceId, asked: Position, limit: int, scope: LinkScope) -> _Found:
    """Return the first entries that are told of. What is left out is passed over, up to a bound."""
    last_seq, last_tag, passed = asked.seq, asked.tag, 0
    while True:
        rows = await read_txn(conn, ns, after=last_seq, limit=limit)
        if rows:
            last_seq, last_tag = rows[-1].seq, rows[-1].tag
        told = await told_rows_txn(conn, ns, scope, rows)
        passed += len(rows)
        if told or len(rows) < limit or passed >= HIDDEN_ROWS_MAX:
            return _Found(await _with_lists_txn(conn, ns, told), last_seq, last_tag, scope)


async def _with_lists_txn(conn: Connection, ns: NamespaceId, rows: Sequence[JournalRow]) -> list[Entry]:
    posts = [image_of(row.post) for row in rows]
    files = {post.content for post in posts if post.kind == _FILE and post.is_live and not post.blocks}
    lists = await blocklists_txn(conn, ns, files, blocks_max=MANIFEST_INLINE_BLOCKS_MAX)
    return [
        entry_of(
            row, post, post.blocks or (lists.get(post.content, b"") if post.kind == _FILE and post.is_live else b"")
        )
        for row, post in zip(rows, posts, strict=True)
    ]


def _without_xattrs(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Whoever does not sync extended attributes is not told of them."""
    if not any(entry.xattrs for entry in entries):
        return entries
    return [replace(entry, xattrs=None) if entry.xattrs else entry for entry in entries]


def _carried(entries: Sequence[Entry], link: LinkId) -> set[int]:
    """Return the seqs whose content travels along: small, one block, the node's newest here, not the asker's own."""
    if link and all(entry.link == link for entry in entries):
        return set()
    newest = {entry.node_id: entry.seq for entry in entries}
    return {
        entry.seq
        for entry in entries
        if entry.kind == _FILE
        and entry.is_live
        and 0 < entry.size <= INLINE_DOWN_BYTES_MAX
        and len(entry.blocks) == PACKED_BYTES
        and newest[entry.node_id] == entry.seq
        and not (link and entry.link == link)
    }


def _cut(entries: Sequence[Entry], carried: set[int]) -> Sequence[Entry]:
    """Return the first entries that fit a page; at least one."""
    room = FEED_PAGE_BYTES_MAX
    for at, entry in enumerate(entries):
        room -= ENTRY_BYTES + 2 * len(entry.name.encode()) + len(entry.blocks) + len(entry.xattrs or b"")
        room -= entry.size if entry.seq in carried else 0
        if room < 0 and at:
            return entries[:at]
    return entries


def _inline_hashes(entries: Sequence[Entry], carried: set[int]) -> list[BlockHash]:
    return [next(packed_hashes(entry.blocks)) for entry in entries if entry.seq in carried]


def _with_bodies(
    entries: Sequence[Entry], carried: set[int], found: dict[BlockHash, tuple[WireBlock, bytes]]
) -> tuple[list[Entry], list[WireBlock], list[bytes]]:
    """Return the entries with `inline` set to the place of their block among the bodies; equal blocks travel once."""
    if not carried:
        return list(entries), [], []
    wires: list[WireBlock] = []
    bodies: list[bytes] = []
    places: dict[BlockHash, int] = {}
    told: list[Entry] = []
    for entry in entries:
        pair = found.get(next(packed_hashes(entry.blocks))) if entry.seq in carried else None
        if pair is None:
            told.append(entry)
            continue
        place = places.setdefault(pair[0].hash, len(bodies))
        if place == len(bodies):
            wires.append(pair[0])
            bodies.append(pair[1])
        told.append(replace(entry, inline=place))
    return told, wires, bodies
