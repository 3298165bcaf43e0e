"""The journal: rows of `file_changes`. Invariant: seq has no gap, and every prefix of a journal is a valid tree.

Rows are appended only by a commit that holds the namespace row, so what is visible is in order and complete.
Source: docs/design (journal and cursor).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from satchel.core.entries import Entry
from satchel.core.errors import NotFound
from satchel.core.ids import AccountId, DeviceId, LinkId, NamespaceId, NodeId, OpId, Tag
from satchel.server.db.engine import Connection, row_lock
from satchel.server.metadata.nodes import image_of


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
    return [JournalRow(*row) for row in rows]


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


def entry_of(row: JournalRow, blocklists: Mapping[bytes, bytes]) -> Entry:
    """Return the entry of a journal row. blocklists: packed blocklists by content hash, as far as they go inline."""
    post = image_of(row.post)
    return Entry(
        seq=row.seq,
        tag=row.tag,
        action=row.action,
        node_id=row.node_id,
        parent_id=post.parent_id,
        name=post.name,
        name_key=post.name_key,
        kind=post.kind,
        is_live=post.is_live,
        content=post.content,
        blocks=blocklists.get(post.content, b""),
        size=post.size,
        mtime_ns=post.mtime_ns,
        is_executable=post.is_executable,
        content_rev=post.content_rev,
        place_rev=post.place_rev,
        is_subtree=bool(row.is_subtree),
        device=row.device,
        link=row.link,
        op_id=row.op_id,
        created_ms=row.created_at,
    )
