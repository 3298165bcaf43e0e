"""Which nodes are documents, and of which content: rows of `text_nodes`. Invariant: a source that no node has any more
is marked as gone in the same transaction, and one that a node has again is marked as wanted.

The caller holds the namespace's row of `search_places`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from satchel.core.entries import Kind
from satchel.core.ids import ContentHash, NamespaceId, NodeId
from satchel.core.limits import DOCUMENT_BYTES_MAX
from satchel.server.db.engine import Change, Connection, change_together, execute_in, fetch_in
from satchel.server.documents.kinds import KINDS_OF_TEXT, kind_of

_HASH_BYTES = 32
_NUMBERS = {kind: bytes([number]) for number, kind in enumerate(KINDS_OF_TEXT, start=1)}
_KINDS = {number: kind for kind, number in _NUMBERS.items()}


class State(IntEnum):
    """How far a source is."""

    WAITING = 0
    INDEXED = 1
    NONE = 2
    GONE = 3


class Source(NamedTuple):
    """A content, and how it is read."""

    content: ContentHash
    kind: str

    @property
    def packed(self) -> bytes:
        """As it is stored."""
        return self.content + _NUMBERS[self.kind]


def source_of(packed: bytes) -> Source:
    """Return what `Source.packed` packed."""
    return Source(ContentHash(packed[:_HASH_BYTES]), _KINDS[packed[_HASH_BYTES:]])


def source_named(kind: int, name: str, content: bytes, size: int) -> bytes:
    """Return the packed source of a node; empty for one that is not read for its text."""
    read_as = kind_of(name) if kind == Kind.FILE and 0 < size <= DOCUMENT_BYTES_MAX else ""
    return Source(ContentHash(content), read_as).packed if read_as else b""


async def keep_sources_txn(
    conn: Connection, ns: NamespaceId, sources: Mapping[NodeId, bytes], docs: Mapping[NodeId, int]
) -> None:
    """Make these the sources of the nodes, an empty one for none. docs: the seq of each node's change."""
    held = "SELECT node_id, source FROM text_nodes WHERE ns = $1 AND node_id IN {keys}"
    known: dict[NodeId, bytes] = dict(await fetch_in(conn, held, sorted(sources), ns))
    changed = {node: source for node, source in sources.items() if source != known.get(node, b"")}
    dropped = sorted(node for node in changed if node in known)
    await execute_in(conn, "DELETE FROM text_nodes WHERE ns = $1 AND node_id IN {keys}", dropped, ns)
    wanted: dict[bytes, int] = {}
    for node, source in changed.items():
        if source:
            wanted[source] = max(docs[node], wanted.get(source, 0))
    new = "INSERT INTO text_nodes (ns, node_id, source) VALUES ($1, $2, $3)"
    again = (
        "INSERT INTO texts (ns, body, state, source, doc) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (ns, source)"
        f" DO UPDATE SET state = excluded.state WHERE texts.state = {int(State.GONE)}"
    )
    await change_together(
        conn,
        [
            Change(new, sorted((node, source) for node, source in changed.items() if source), (ns,)),
            Change(again, sorted(wanted.items()), (ns, b"", int(State.WAITING))),
        ],
    )
    await mark_gone_txn(conn, ns, [known[node] for node in dropped])


async def mark_gone_txn(conn: Connection, ns: NamespaceId, sources: Iterable[bytes]) -> int:
    """Mark those of the sources that no node has; return how many they are."""
    asked = sorted(set(sources))
    held = await fetch_in(conn, "SELECT source FROM text_nodes WHERE ns = $1 AND source IN {keys}", asked, ns)
    gone: Sequence[bytes] = sorted(set(asked).difference(row[0] for row in held))
    text = f"UPDATE texts SET state = {int(State.GONE)} WHERE ns = $1 AND source IN {{keys}}"
    return await execute_in(conn, text, gone, ns)
