"""The journal: rows of `file_changes`. Invariant: seq has no gap, and every prefix of a journal is a valid tree.

Rows are appended only by a commit that holds the namespace row, so what is visible is in order and complete.
Source: docs/design (journal and cursor).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from satchel.core.entries import Entry
from satchel.core.errors import NotFound
from satchel.core.ids import AccountId, DeviceId, LinkId, NamespaceId, NodeId, OpId, Tag
from satchel.server.db.engine import Change, Connection, Question, Row, fetch_in, fetch_together, row_lock
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

    @property
    def shared(self) -> tuple[AccountId, DeviceId, LinkId, int]:
        """What all entries of a commit have in common."""
        return self.actor, self.device, self.link, self.created_at


_HEAD_COLUMNS = "head_seq, head_tag, head_at, min_seq, bytes_used, quota, kind, owner"
_HEAD = f"SELECT {_HEAD_COLUMNS} FROM namespaces WHERE ns = $1"
_COLUMNS = ", ".join(JournalRow._fields)
_SHARED_AT = JournalRow._fields.index("actor")
_OWN_COLUMNS = ", ".join((*JournalRow._fields[:_SHARED_AT], "op_id"))
_MARKS = ", ".join(f"${number}" for number in range(1, 2 + len(JournalRow._fields)))


class Head(NamedTuple):
    """Where a namespace's journal stands. at: Unix ms of its newest entry; min_seq: positions below it are pruned.

    kind: `root` or `shared`; owner: whose quota it counts against.
    """

    seq: int
    tag: Tag
    at: int
    min_seq: int
    bytes_used: int
    quota: int | None
    kind: str
    owner: AccountId


def head_question(ns: NamespaceId) -> Question:
    """Ask for the head; `head_of` reads the answer."""
    return Question(_HEAD, (ns,))


def head_of(answer: Sequence[Row]) -> Head:
    """Return the head. Raises: NotFound."""
    if not answer:
        raise NotFound("There is no such namespace.")
    return Head(*answer[0])


async def head_txn(conn: Connection, ns: NamespaceId, *, for_update: bool = False) -> Head:
    """Return the head, holding the namespace row when it is read for a write. Raises: NotFound."""
    lock = row_lock(conn) if for_update else ""
    return head_of(await conn.fetch(_HEAD + lock, ns))


async def heads_txn(conn: Connection, namespaces: Iterable[NamespaceId]) -> dict[NamespaceId, Head]:
    """Return where the journals of the namespaces stand; those that are not there are left out."""
    text = f"SELECT ns, {_HEAD_COLUMNS} FROM namespaces WHERE ns IN {{keys}}"
    return {NamespaceId(ns): Head(*head) for ns, *head in await fetch_in(conn, text, sorted(set(namespaces)))}


def appended(ns: NamespaceId, rows: Sequence[JournalRow]) -> Change:
    """Return what appends the entries of one commit; the caller holds the namespace row and moves the head.

    rows: at least one; all of one author and one moment.
    """
    assert all(row.shared == rows[0].shared for row in rows)
    return Change(
        f"INSERT INTO file_changes (ns, actor, device, link, created_at, {_OWN_COLUMNS}) VALUES ({_MARKS})",
        [(*row[:_SHARED_AT], row.op_id) for row in rows],
        (ns, *rows[0].shared),
    )


def rows_question(ns: NamespaceId, *, after: int, limit: int) -> Question:
    """Ask for at most `limit` entries above `after`; `rows_of` puts them in order."""
    sql = f"SELECT {_COLUMNS} FROM file_changes WHERE ns = $1 AND seq > $2 ORDER BY seq LIMIT $3"
    return Question(sql, (ns, after, limit))


def rows_of(answer: Sequence[Row]) -> list[JournalRow]:
    """Return the entries, in order."""
    return [JournalRow._make(row) for row in sorted(answer)]


async def read_txn(conn: Connection, ns: NamespaceId, *, after: int, limit: int) -> list[JournalRow]:
    """Return at most `limit` entries above `after`, in order."""
    sql, args, _, _ = rows_question(ns, after=after, limit=limit)
    return [JournalRow._make(row) for row in await conn.fetch(sql, *args)]


def tag_question(ns: NamespaceId, seq: int) -> Question:
    """Ask for the tag of the entry at `seq`; nothing is asked of the beginning."""
    return Question("SELECT tag FROM file_changes WHERE ns = $1 AND seq = $2", (ns, seq), None if seq else ())


def tag_of(seq: int, answer: Sequence[Row]) -> Tag | None:
    """Return the tag of the entry at `seq`; empty for the beginning, None where there is no entry."""
    return Tag(b"") if seq == 0 else answer[0][0] if answer else None


async def tag_at_txn(conn: Connection, ns: NamespaceId, seq: int) -> Tag | None:
    """As `tag_of`, asked now."""
    [found] = await fetch_together(conn, [tag_question(ns, seq)])
    return tag_of(seq, found)


def knows(head: Head, *, seq: int, tag: Tag, found: Tag | None) -> bool:
    """Tell whether the position is one of this journal and everything after it is still here.

    found: the tag that stands at `seq`, as `tag_of` gives it.
    """
    return head.min_seq <= seq <= head.seq and found == tag


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
