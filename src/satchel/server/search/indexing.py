"""Keeps the index of names. Invariant: what is in it up to `seq` is what the journal says up to there, so it is made in
steps, each one transaction, that may be repeated, stopped anywhere, and done by many processes at once.

No commit waits for it. A namespace without an index, and one whose journal was pruned past it, is read from its tree
first and then followed from where the journal stood. Docs that are gone are known by their node: the grams keep them
until the index is made anew.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from satchel.core.entries import Action
from satchel.core.errors import StorageFull
from satchel.core.ids import NamespaceId, NodeId
from satchel.server.db.engine import (
    Change,
    Connection,
    Database,
    change_together,
    execute_in,
    fetch_in,
    fetch_in_pairs,
    row_lock,
)
from satchel.server.metadata.nodes import LIVE, image_of
from satchel.server.search.grams import grams_of_name
from satchel.server.search.postings import PART_DOCS, pack, unpack
from satchel.server.search.sources import State, keep_sources_txn, source_named

SEARCH_KEY = b"search"
"""Group-commit key, with the namespace, of writes to the index."""
STEP_NAMES = 200
"""A step of so many takes the embedded store's writer for some tens of ms."""
_NAMING = (Action.CREATE, Action.MOVE, Action.UNDELETE, Action.DELETE, Action.MOUNT, Action.UNMOUNT)
_FILLING = (*_NAMING, Action.EDIT)


class Phase(IntEnum):
    """What is done in a namespace next."""

    REMOVING = 0
    READING = 1
    FOLLOWING = 2


class Place(NamedTuple):
    """How far a namespace is indexed. after: the last node, while its tree is read. head_seq: of its journal."""

    phase: Phase
    seq: int
    after: bytes
    head_seq: int
    min_seq: int

    @property
    def is_complete(self) -> bool:
        """Tell whether the index knows all that the journal does."""
        return self.phase == Phase.FOLLOWING and self.seq >= self.head_seq


class Named(NamedTuple):
    """A node's name from `doc` on."""

    doc: int
    node_id: NodeId
    key: str
    kind: int


async def place_txn(conn: Connection, ns: NamespaceId) -> Place | None:
    """Return how far the namespace is indexed; None for one that is not there."""
    rows = await conn.fetch(
        "SELECT p.phase, p.seq, p.after, n.head_seq, n.min_seq FROM namespaces n"
        " LEFT JOIN search_places p ON p.ns = n.ns WHERE n.ns = $1",
        ns,
    )
    if not rows:
        return None
    phase, seq, after, head_seq, min_seq = rows[0]
    return Place(Phase(phase or 0), seq or 0, after or b"", head_seq, min_seq)


async def step(db: Database, ns: NamespaceId, *, count: int = STEP_NAMES) -> int | None:
    """Do one step of at most `count` names; return how many were looked at, None when there was nothing to do."""
    place = await db.glance(lambda conn: place_txn(conn, ns))
    if place is None or place.is_complete:
        return None
    return await db.write(SEARCH_KEY + ns, lambda conn: _step_txn(conn, ns, count))


async def catch_up(db: Database, ns: NamespaceId, *, steps: int) -> bool:
    """Do at most so many steps; return whether the index is complete now. A store without room is no reason to fail."""
    with contextlib.suppress(StorageFull):
        for _ in range(steps):
            if await step(db, ns) is None:
                return True
    return False


async def begin_again(db: Database, ns: NamespaceId) -> None:
    """Have the namespace's index made anew, by the steps that follow, and documents without a text read again."""

    async def begin_txn(conn: Connection) -> None:
        await _keep_txn(conn, ns, Phase.REMOVING, 0, b"")
        again = f"UPDATE texts SET state = {int(State.WAITING)} WHERE ns = $1 AND state = {int(State.NONE)}"
        await conn.execute(again, ns)

    await db.write(SEARCH_KEY + ns, begin_txn)


async def _step_txn(conn: Connection, ns: NamespaceId, count: int) -> int:
    # The row is locked from here on, so of many who index a namespace one does each step.
    await conn.execute(
        "INSERT INTO search_places (ns, phase, seq, after) VALUES ($1, 0, 0, $2) ON CONFLICT (ns) DO NOTHING", ns, b""
    )
    await conn.fetch(f"SELECT phase FROM search_places WHERE ns = $1{row_lock(conn)}", ns)
    place = await place_txn(conn, ns)
    if place is None or place.is_complete:
        return 0
    if place.phase == Phase.REMOVING:
        return await _remove_txn(conn, ns, place)
    if place.phase == Phase.READING:
        return await _read_txn(conn, ns, place, count)
    if place.seq < place.min_seq:
        await _keep_txn(conn, ns, Phase.REMOVING, 0, b"")
        return 0
    return await _follow_txn(conn, ns, place, count)


async def _remove_txn(conn: Connection, ns: NamespaceId, place: Place) -> int:
    rows = await conn.fetch("SELECT gram, part FROM search_grams WHERE ns = $1 ORDER BY gram, part LIMIT $2", ns, 1_000)
    await execute_in(conn, "DELETE FROM search_grams WHERE ns = $1 AND gram IN {keys}", {row[0] for row in rows}, ns)
    docs = await conn.fetch("SELECT doc FROM search_docs WHERE ns = $1 ORDER BY doc LIMIT $2", ns, 1_000)
    await execute_in(conn, "DELETE FROM search_docs WHERE ns = $1 AND doc IN {keys}", [row[0] for row in docs], ns)
    nodes = await conn.fetch("SELECT node_id FROM text_nodes WHERE ns = $1 ORDER BY node_id LIMIT $2", ns, 1_000)
    text = "DELETE FROM text_nodes WHERE ns = $1 AND node_id IN {keys}"
    await execute_in(conn, text, [row[0] for row in nodes], ns)
    if not rows and not docs and not nodes:
        # What is committed while the tree is read stands above this seq, and is followed afterwards.
        await _keep_txn(conn, ns, Phase.READING, place.head_seq, b"")
    return len(docs)


async def _read_txn(conn: Connection, ns: NamespaceId, place: Place, count: int) -> int:
    rows = await conn.fetch(
        "SELECT seq, node_id, name_key, kind, state, name, content, size FROM files WHERE ns = $1 AND node_id > $2"
        " ORDER BY node_id LIMIT $3",
        *(ns, place.after, count),
    )
    live = [row for row in rows if row[4] == LIVE]
    await _add_txn(conn, ns, [Named(*row[:4]) for row in live])
    sources = {node: source_named(kind, name, content, size) for _, node, _, kind, _, name, content, size in live}
    await keep_sources_txn(conn, ns, sources, {node: seq for seq, node, *_ in live})
    is_last = len(rows) < count
    phase = Phase.FOLLOWING if is_last else Phase.READING
    await _keep_txn(conn, ns, phase, place.seq, b"" if is_last else rows[-1][1])
    return len(rows)


async def _follow_txn(conn: Connection, ns: NamespaceId, place: Place, count: int) -> int:
    rows = await conn.fetch(
        "SELECT seq, node_id, action, post FROM file_changes WHERE ns = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        *(ns, place.seq, count),
    )
    newest: dict[NodeId, Named | None] = {}
    sources: dict[NodeId, bytes] = {}
    for seq, node_id, action, post in rows:
        if action in _FILLING:
            image = image_of(post)
            held = source_named(image.kind, image.name, image.content, image.size) if image.is_live else b""
            sources[node_id] = held
        if action in _NAMING:
            newest[node_id] = Named(seq, node_id, image.name_key, image.kind) if image.is_live else None
    await _drop_txn(conn, ns, [node_id for node_id, named in newest.items() if named is None])
    await _add_txn(conn, ns, [named for named in newest.values() if named is not None])
    await keep_sources_txn(conn, ns, sources, {node: seq for seq, node, *_ in rows})
    await _keep_txn(conn, ns, Phase.FOLLOWING, rows[-1][0] if rows else place.head_seq, b"")
    return len(rows)


async def _add_txn(conn: Connection, ns: NamespaceId, names: Sequence[Named]) -> None:
    """Make these the names of their nodes; those that a node has already, from the same entry or a later, stay."""
    known = await fetch_in(
        conn,
        "SELECT node_id, doc FROM search_docs WHERE ns = $1 AND node_id IN {keys}",
        [named.node_id for named in names],
        ns,
    )
    docs: dict[NodeId, int] = dict(known)
    new = sorted(named for named in names if named.doc > docs.get(named.node_id, 0))
    await _drop_txn(conn, ns, [named.node_id for named in new if named.node_id in docs])
    added: defaultdict[tuple[bytes, int], int] = defaultdict(int)
    for named in new:
        part, at = divmod(named.doc, PART_DOCS)
        bit = 1 << at
        for gram in grams_of_name(named.key, named.kind):
            added[gram, part] |= bit
    changes = [
        Change("INSERT INTO search_docs (ns, doc, node_id) VALUES ($1, $2, $3)", [named[:2] for named in new], (ns,)),
        await _grams_txn(conn, ns, added),
    ]
    await change_together(conn, changes)


async def _grams_txn(conn: Connection, ns: NamespaceId, added: Mapping[tuple[bytes, int], int]) -> Change:
    keys = sorted(added)
    rows = await fetch_in_pairs(
        conn,
        "SELECT t.gram, t.part, t.docs FROM {wanted} CROSS JOIN search_grams t"
        " WHERE t.ns = $1 AND t.gram = w.k0 AND t.part = w.k1",
        keys,
        ns,
    )
    held = {(gram, part): unpack(docs) for gram, part, docs in rows}
    return Change(
        "INSERT INTO search_grams (ns, gram, part, docs) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (ns, gram, part) DO UPDATE SET docs = excluded.docs",
        [(*key, pack(added[key] | held.get(key, 0))) for key in keys],
        (ns,),
    )


async def _drop_txn(conn: Connection, ns: NamespaceId, nodes: Sequence[NodeId]) -> None:
    await execute_in(conn, "DELETE FROM search_docs WHERE ns = $1 AND node_id IN {keys}", nodes, ns)


async def _keep_txn(conn: Connection, ns: NamespaceId, phase: Phase, seq: int, after: bytes) -> None:
    await conn.execute(
        "INSERT INTO search_places (ns, phase, seq, after) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (ns) DO UPDATE SET phase = excluded.phase, seq = excluded.seq, after = excluded.after",
        *(ns, int(phase), seq, after),
    )
