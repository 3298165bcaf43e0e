"""How a page of changes is put together: looked up, cut to its size, its small contents added. Invariant: what is
looked up depends on the place, the limit and the link's scope alone, so those who ask alike can share one look.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from satchel.core.entries import Entry, Kind
from satchel.core.hashing import PACKED_BYTES, packed_hashes
from satchel.core.ids import BlockHash, LinkId, NamespaceId, Tag
from satchel.core.limits import (
    FEED_PAGE_BYTES_MAX,
    FEED_PAGE_ENTRIES_MAX,
    INLINE_DOWN_BYTES_MAX,
    MANIFEST_INLINE_BLOCKS_MAX,
)
from satchel.core.messages import Changes, ChangesRequest, Position, WireBlock
from satchel.server.db.engine import Connection, Question, Row
from satchel.server.feed.scopes import LinkScope, told_rows_txn
from satchel.server.metadata.blocklists import blocklists_txn
from satchel.server.metadata.journal import (
    Head,
    JournalRow,
    entry_of,
    knows,
    read_txn,
    rows_of,
    rows_question,
    tag_of,
    tag_question,
)
from satchel.server.metadata.nodes import image_of

ENTRY_BYTES = 256
"""About what an entry takes on the wire beside its names, blocklist and content."""
HIDDEN_ROWS_MAX = 20_000
"""About so many entries that a link leaves out are passed over for one page."""
_FILE = int(Kind.FILE)


class Found(NamedTuple):
    """Entries that were told of, how far was looked, and the scope that was left out."""

    entries: Sequence[Entry]
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


@dataclass(frozen=True, slots=True)
class Draft:
    """A page without its contents. carried: the seqs whose content travels along."""

    entries: Sequence[Entry]
    carried: set[int]
    last_seq: int
    last_tag: Tag

    @property
    def hashes(self) -> list[BlockHash]:
        """The blocks that travel along."""
        return [next(packed_hashes(entry.blocks)) for entry in self.entries if entry.seq in self.carried]


def look_questions(request: ChangesRequest) -> tuple[Question, Question]:
    """Return what `look_txn` wants the answers to: the tag at the position, and the first rows after it."""
    ns, seq = request.position.ns, request.position.seq
    return tag_question(ns, seq), rows_question(ns, after=seq, limit=page_limit(request))


async def look_txn(
    conn: Connection, head: Head, request: ChangesRequest, scope: LinkScope, answers: Sequence[Sequence[Row]]
) -> Found | None:
    """Return what a request finds; None when the journal, whose end is `head`, does not know its position.

    answers: to `look_questions`, of one view with the head; mostly they are all that is needed.
    """
    asked = request.position
    if not knows(head, seq=asked.seq, tag=asked.tag, found=tag_of(asked.seq, answers[0])):
        return None
    if asked.seq == head.seq:
        return Found((), asked.seq, asked.tag, scope)
    return await _entries_txn(conn, asked, page_limit(request), scope, rows_of(answers[1]))


def page_limit(request: ChangesRequest) -> int:
    """Return how many entries the page may hold."""
    return max(1, min(request.limit, FEED_PAGE_ENTRIES_MAX))


def draft_of(request: ChangesRequest, found: Found) -> Draft:
    """Return the page as far as it fits."""
    told = found.entries if request.with_xattrs else without_xattrs(found.entries)
    carried = _carried(told, request.link) if request.with_content else set()
    entries = cut_to_page(told, carried)
    if len(entries) < len(told):
        return Draft(entries, carried, entries[-1].seq, entries[-1].tag)
    return Draft(entries, carried, found.last_seq, found.last_tag)


def page_of(
    request: ChangesRequest,
    head: Head,
    found: Found,
    draft: Draft,
    contents: dict[BlockHash, tuple[WireBlock, bytes]],
) -> tuple[Changes, list[bytes]]:
    """Return the page with its bodies. contents: what there is of the draft's blocks."""
    entries, wires, bodies = _with_bodies(draft.entries, draft.carried, contents)
    page = Changes(
        ns=request.position.ns,
        prev_seq=request.position.seq,
        last_seq=draft.last_seq,
        last_tag=draft.last_tag,
        entries=tuple(entries),
        head_seq=head.seq,
        has_more=draft.last_seq < head.seq,
        inline=tuple(wires),
        scope=found.scope.mark,
    )
    return page, bodies


def reset_page(ns: NamespaceId, head: Head) -> Changes:
    """Return the page for a position that the journal does not know."""
    return Changes(ns, head.seq, head.seq, head.tag, (), head.seq, is_reset=True)


async def _entries_txn(
    conn: Connection, asked: Position, limit: int, scope: LinkScope, rows: Sequence[JournalRow]
) -> Found:
    """Return the first entries that are told of. What is left out is passed over, up to a bound.

    rows: the first after the position, at most `limit`.
    """
    ns, last_seq, last_tag, passed = asked.ns, asked.seq, asked.tag, 0
    while True:
        if rows:
            last_seq, last_tag = rows[-1].seq, rows[-1].tag
        told = await told_rows_txn(conn, ns, scope, rows)
        passed += len(rows)
        if told or len(rows) < limit or passed >= HIDDEN_ROWS_MAX:
            return Found(await _with_lists_txn(conn, ns, told), last_seq, last_tag, scope)
        rows = await read_txn(conn, ns, after=last_seq, limit=limit)


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


def without_xattrs(entries: Sequence[Entry]) -> Sequence[Entry]:
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


def cut_to_page(entries: Sequence[Entry], carried: set[int]) -> Sequence[Entry]:
    """Return the first entries that fit a page; at least one."""
    room = FEED_PAGE_BYTES_MAX
    for at, entry in enumerate(entries):
        room -= ENTRY_BYTES + 2 * len(entry.name.encode()) + len(entry.blocks) + len(entry.xattrs or b"")
        room -= entry.size if entry.seq in carried else 0
        if room < 0 and at:
            return entries[:at]
    return entries


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
