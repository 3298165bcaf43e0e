"""The journal: rows of `file_changes`. Invariant: seq has no gap, and every prefix of a journal is a valid tree.

Rows are appended only by a commit that holds the namespace row, so what is visible is in order and complete.
Source: docs/design (journal and cursor).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from satchel.core.entries import Entry
from satchel.core.errors import NotFound
from satchel.core.ids import AccountId, DeviceId, LinkId, NamespaceId, NodeId, OpId, Tag
from satchel.server.db.engine import Connection, row_lock
from satchel.server.metadata.nodes import Image


class JournalRow(NamedTuple):
    """One entry as it is stored. pre and post: packed images; pre is None for a node that was not there."""

    seq: int
    tag: Tag
    action: int
    node_id: NodeId
    pre: bytes | None
    post: bytes
    is_subtree: int
    actor: AccountId
    device: DeviceId
    link: LinkId
    op_id: OpId
    created_at: int


_COLUMNS = ", ".join(JournalRow._fields)
_MARKS = ", ".join(f"${number}" for number in range(2, 2 + len(JournalRow._fields)))


class Head(NamedTuple):
    """Where a namespace's journal stands. at: Unix ms of its newest entry; min_seq: positions below it are pruned."""

    seq: int
    tag: Tag
    at: int
    min_seq: int
    bytes_used: int
    quota: int | None


async def head_txn(conn: Connection, ns: NamespaceId, *, for_update: bool = False) -> Head:
    """Return the head, holding the namespace row when it is read for a write. Raises: NotFound."""
    lock = row_lock(conn) if for_update else ""
    rows = await conn.fetch(
        f"SELECT head_seq, head_tag, head_at, min_seq, bytes_used, quota FROM namespaces WHERE ns = $1{lock}", ns
    )
    if not rows:
        raise NotFound("There is no such namespace.")
    return Head(*rows[0])


async def append_txn(conn: Connection, ns: NamespaceId, rows: Sequence[JournalRow]) -> None:
    """Append entries; the caller holds the namespace row and moves the head."""
    await conn.execute_many(
        f"INSERT INTO file_changes (ns, {_COLUMNS}) VALUES ($1, {_MARKS})", [(ns, *row) for row in rows]
    )


async def read_txn(conn: Connection, ns: NamespaceId, *, after: int, limit: int) -> list[JournalRow]:
    """Return at most `limit` entries above `after`, in order."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM file_changes WHERE ns = $1 AND seq > $2 ORDER BY seq LIMIT $3", ns, after, limit
    )
    return [JournalRow._make(row) for row in rows]


async def tag_at_txn(conn: Connection, ns: NamespaceId, seq: int) -> Tag | None:
    """Return the tag of the entry at `seq`; empty for the beginning, None where there is no entry."""
    if seq == 0:
        return Tag(b"")
    rows = await conn.fetch("SELECT tag FROM file_changes WHERE ns = $1 AND seq = $2", ns, seq)
    return rows[0][0] if rows else None


async def knows_txn(conn: Connection, ns: NamespaceId, head: Head, *, seq: int, tag: Tag) -> bool:
    """Tell whether the position is one of this journal and everything after it is still here."""
    if not head.min_seq <= seq <= head.seq:
        return False
    return await tag_at_txn(conn, ns, seq) == tag


def entry_of(row: JournalRow, post: Image, blocks: bytes = b"") -> Entry:
    """Return the entry of a journal row. post: its post-image; blocks: the packed blocklist, when that goes inline."""
    # By position, in the order of Entry's fields: a page of the feed makes thousands.
    return Entry(
        row.seq,
        row.tag,
        row.action,
        row.node_id,
        post.parent_id,
        post.name,
        post.name_key,
        post.kind,
        post.is_live,
        post.content,
        blocks,
        post.size,
        post.mtime_ns,
        post.is_executable,
        post.content_rev,
        post.place_rev,
        row.is_subtree != 0,
        row.device,
        row.link,
        row.op_id,
        row.created_at,
        -1,
        post.xattrs,
    )
