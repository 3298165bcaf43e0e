"""Keeps the index of names. Invariant: what is in it up to `seq` is what the journal says up to there, so it is made in
steps that may be repeated, stopped anywhere, and done by many processes at once.

No commit waits for it: a step reads and counts beside all others, and writes a few rows a transaction. A namespace
without an index, and one whose journal was pruned past it, is read from its tree first and then followed from where the
journal stood. Docs that are gone are known by their node: the grams keep them until the index is made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeVar

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

K = TypeVar("K")

SEARCH_KEY = b"search"
"""Group-commit key, with the namespace, of writes to the index."""
STEP_NAMES = 400
"""So many names are indexed before a search looks on."""
ROWS_A_WRITE = 400
"""So many rows take the embedded store's writer for some ms."""
NAMES_A_TURN = 100
"""Names whose grams are made before others have the processor: some ms."""
_NAMING = (Action.CREATE, Action.MOVE, Action.UNDELETE, Action.DELETE, Action.MOUNT, Action.UNMOUNT)
_FILLING = (*_NAMING, Action.EDIT)


class Phase(IntEnum):
    """What is done in a namespace next."""

    REMOVING = 0
    READING = 1
    FOLLOWING = 2


class Place(NamedTuple):
    """How far a namespace is indexed. after: the last node, while its tree is read. made: how often the index was begun
    anew. head_seq, min_seq: of its journal."""

    phase: Phase
    seq: int
    after: bytes
    made: int
    head_seq: int
    min_seq: int

    @property
    def is_complete(self) -> bool:
        """Tell whether the index knows all that the journal does."""
        return self.phase == Phase.FOLLOWING and self.seq >= self.head_seq

    @property
    def is_cut_off(self) -> bool:
        """Tell whether the journal was pruned past it."""
        return self.phase == Phase.FOLLOWING and self.seq < self.min_seq


class Named(NamedTuple):
    """A node's name from `doc` on."""

    doc: int
    node_id: NodeId
    key: str
    kind: int


async def place_txn(conn: Connection, ns: NamespaceId) -> Place | None:
    """Return how far the namespace is indexed; None for one that is not there."""
    rows = await conn.fetch(
        "SELECT p.phase, p.seq, p.after, p.made, n.head_seq, n.min_seq FROM namespaces n"
        " LEFT JOIN search_places p ON p.ns = n.ns WHERE n.ns = $1",
        ns,
    )
    if not rows:
        return None
    phase, seq, after, made, head_seq, min_seq = rows[0]
    return Place(Phase(phase or 0), seq or 0, after or b"", made or 0, head_seq, min_seq)


async def step(db: Database, ns: NamespaceId, *, count: int = STEP_NAMES) -> int | None:
    """Do one step of at most `count` names; return how many were looked at, None when there was nothing to do."""
    place = await db.glance(lambda conn: place_txn(conn, ns))
    if place is None or place.is_complete:
        return None
    if place.phase == Phase.REMOVING or place.is_cut_off:
        return await db.write(SEARCH_KEY + ns, lambda conn: _remove_txn(conn, ns))
    looked = await db.read(lambda conn: _look_txn(conn, ns, count))
    return 0 if looked is None else await _write(db, ns, looked)


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
        await _remove_all_txn(conn, ns)
        again = f"UPDATE texts SET state = {int(State.WAITING)} WHERE ns = $1 AND state = {int(State.NONE)}"
        await conn.execute(again, ns)

    await db.write(SEARCH_KEY + ns, begin_txn)


@dataclass(frozen=True, slots=True)
class _Looked:
    """What a step found. place, then: before and after it; count: rows it looked at; names: those to add; gone: nodes
    that have no name any more; sources: what is read for its text, by node; docs: the seq of each node's change."""

    place: Place
    then: Place
    count: int
    names: Sequence[Named]
    gone: Sequence[NodeId]
    sources: Mapping[NodeId, bytes]
    docs: Mapping[NodeId, int]


async def _look_txn(conn: Connection, ns: NamespaceId, count: int) -> _Looked | None:
    """Look at what comes next; None when that is not to be read, or not any more."""
    place = await place_txn(conn, ns)
    if place is None or place.is_complete or place.is_cut_off or place.phase == Phase.REMOVING:
        return None
    look = _read_txn if place.phase == Phase.READING else _follow_txn
    return await look(conn, ns, place, count)


async def _read_txn(conn: Connection, ns: NamespaceId, place: Place, count: int) -> _Looked:
    rows = await conn.fetch(
        "SELECT seq, node_id, name_key, kind, state, name, content, size FROM files WHERE ns = $1 AND node_id > $2"
        " ORDER BY node_id LIMIT $3",
        *(ns, place.after, count),
    )
    live = [row for row in rows if row[4] == LIVE]
    sources = {node: source_named(kind, name, content, size) for _, node, _, kind, _, name, content, size in live}
    is_last = len(rows) < count
    then = place._replace(phase=Phase.FOLLOWING, after=b"") if is_last else place._replace(after=rows[-1][1])
    names = [Named(*row[:4]) for row in live]
    return _Looked(place, then, len(rows), names, (), sources, {node: seq for seq, node, *_ in live})


async def _follow_txn(conn: Connection, ns: NamespaceId, place: Place, count: int) -> _Looked:
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
    then = place._replace(seq=rows[-1][0] if rows else place.head_seq)
    names = [named for named in newest.values() if named is not None]
    gone = [node_id for node_id, named in newest.items() if named is None]
    return _Looked(place, then, len(rows), names, gone, sources, {node: seq for seq, node, *_ in rows})


async def _write(db: Database, ns: NamespaceId, looked: _Looked) -> int:
    """Write what a step found, a few rows a transaction, and last that it is there; return how many it looked at.

    When another process did the step meanwhile, or the index is made anew, the rest is left: what was written says too
    much at most, and the step that comes next writes all of it once more.
    """

    async def write(work: Callable[[Connection], Awaitable[None]]) -> bool:
        async def guarded_txn(conn: Connection) -> bool:
            if not await _stands_txn(conn, ns, looked.place):
                return False
            await work(conn)
            return True

        return await db.write(SEARCH_KEY + ns, guarded_txn)

    grams = await _grams(looked.names)
    for keys in _parts(sorted(grams), ROWS_A_WRITE):
        added = {key: grams[key] for key in keys}
        if not await write(lambda conn, added=added: _add_grams_txn(conn, ns, added)):  # type: ignore[misc]
            return 0
    named = {one.node_id: one for one in looked.names}
    # Sources come before their ends: a document that was copied and deleted keeps its text.
    nodes = sorted({*named, *looked.gone, *looked.sources}, key=lambda node: (not looked.sources.get(node), node))
    for part in _parts(nodes, ROWS_A_WRITE):
        names = [named[node] for node in part if node in named]
        sources = {node: looked.sources[node] for node in part if node in looked.sources}
        gone = set(looked.gone).intersection(part)

        async def docs_txn(
            conn: Connection,
            names: Sequence[Named] = names,
            gone: Set[NodeId] = gone,
            sources: Mapping[NodeId, bytes] = sources,
        ) -> None:
            await _add_docs_txn(conn, ns, names, gone)
            await keep_sources_txn(conn, ns, sources, looked.docs)

        if not await write(docs_txn):
            return 0
    return looked.count if await write(lambda conn: _keep_txn(conn, ns, looked.then)) else 0


async def _grams(names: Sequence[Named]) -> Mapping[tuple[bytes, int], int]:
    """Return a bit for each of the names' docs, by gram and part. Whoever else waits for the processor has turns."""
    parts: defaultdict[int, dict[bytes, int]] = defaultdict(dict)
    for number, named in enumerate(names):
        part, at = divmod(named.doc, PART_DOCS)
        held, bit = parts[part], 1 << at
        for gram in grams_of_name(named.key, named.kind):
            held[gram] = held.get(gram, 0) | bit
        if number % NAMES_A_TURN == NAMES_A_TURN - 1:
            await asyncio.sleep(0)
    return {(gram, part): bits for part, held in parts.items() for gram, bits in held.items()}


async def _stands_txn(conn: Connection, ns: NamespaceId, place: Place) -> bool:
    """Hold the namespace's row of the index, and tell whether the place is still that one."""
    rows = await conn.fetch(f"SELECT phase, seq, after, made FROM search_places WHERE ns = $1{row_lock(conn)}", ns)
    return [tuple(row) for row in rows] == [(place.phase, place.seq, place.after, place.made)]


async def _add_grams_txn(conn: Connection, ns: NamespaceId, added: Mapping[tuple[bytes, int], int]) -> None:
    rows = await fetch_in_pairs(
        conn,
        "SELECT t.gram, t.part, t.docs FROM {wanted} CROSS JOIN search_grams t"
        " WHERE t.ns = $1 AND t.gram = w.k0 AND t.part = w.k1",
        list(added),
        ns,
    )
    held = {(gram, part): unpack(docs) for gram, part, docs in rows}
    text = (
        "INSERT INTO search_grams (ns, gram, part, docs) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (ns, gram, part) DO UPDATE SET docs = excluded.docs"
    )
    await change_together(
        conn, [Change(text, [(*key, pack(bits | held.get(key, 0))) for key, bits in added.items()], (ns,))]
    )


async def _add_docs_txn(conn: Connection, ns: NamespaceId, names: Sequence[Named], gone: Set[NodeId]) -> None:
    """Make these the names of their nodes; those that a node has already, from the same entry or a later, stay."""
    nodes = [named.node_id for named in names]
    held = "SELECT node_id, doc FROM search_docs WHERE ns = $1 AND node_id IN {keys}"
    known: dict[NodeId, int] = dict(await fetch_in(conn, held, nodes, ns))
    new = sorted(named for named in names if named.doc > known.get(named.node_id, 0))
    over = sorted({*gone, *(named.node_id for named in new if named.node_id in known)})
    await execute_in(conn, "DELETE FROM search_docs WHERE ns = $1 AND node_id IN {keys}", over, ns)
    text = "INSERT INTO search_docs (ns, doc, node_id) VALUES ($1, $2, $3)"
    await change_together(conn, [Change(text, [named[:2] for named in new], (ns,))])


async def _remove_txn(conn: Connection, ns: NamespaceId) -> int:
    """Remove some of the old index, and what a namespace that has none has; have its tree read when nothing is left."""
    # The row is locked from here on, so of many who index a namespace one does each step.
    await conn.execute(
        "INSERT INTO search_places (ns, phase, seq, after) VALUES ($1, 0, 0, $2) ON CONFLICT (ns) DO NOTHING", ns, b""
    )
    await conn.fetch(f"SELECT phase FROM search_places WHERE ns = $1{row_lock(conn)}", ns)
    place = await place_txn(conn, ns)
    if place is None:
        return 0
    if place.is_cut_off:
        await _remove_all_txn(conn, ns)
        return 0
    if place.phase != Phase.REMOVING:
        return 0
    rows = await conn.fetch("SELECT gram, part FROM search_grams WHERE ns = $1 ORDER BY gram, part LIMIT $2", ns, 1_000)
    await execute_in(conn, "DELETE FROM search_grams WHERE ns = $1 AND gram IN {keys}", {row[0] for row in rows}, ns)
    docs = await conn.fetch("SELECT doc FROM search_docs WHERE ns = $1 ORDER BY doc LIMIT $2", ns, 1_000)
    await execute_in(conn, "DELETE FROM search_docs WHERE ns = $1 AND doc IN {keys}", [row[0] for row in docs], ns)
    nodes = await conn.fetch("SELECT node_id FROM text_nodes WHERE ns = $1 ORDER BY node_id LIMIT $2", ns, 1_000)
    text = "DELETE FROM text_nodes WHERE ns = $1 AND node_id IN {keys}"
    await execute_in(conn, text, [row[0] for row in nodes], ns)
    if not rows and not docs and not nodes:
        # What is committed while the tree is read stands above this seq, and is followed afterwards.
        await _keep_txn(conn, ns, place._replace(phase=Phase.READING, seq=place.head_seq, after=b""))
    return len(docs)


async def _remove_all_txn(conn: Connection, ns: NamespaceId) -> None:
    """Have the index removed and made anew: whoever is at a step of the old one leaves it."""
    await conn.execute(
        "INSERT INTO search_places (ns, phase, seq, after, made) VALUES ($1, 0, 0, $2, 1)"
        " ON CONFLICT (ns) DO UPDATE SET phase = 0, seq = 0, after = excluded.after, made = search_places.made + 1",
        *(ns, b""),
    )


async def _keep_txn(conn: Connection, ns: NamespaceId, place: Place) -> None:
    sql = "UPDATE search_places SET phase = $2, seq = $3, after = $4 WHERE ns = $1"
    await conn.execute(sql, ns, int(place.phase), place.seq, place.after)


def _parts(keys: Sequence[K], count: int) -> Iterator[Sequence[K]]:
    for at in range(0, len(keys), count):
        yield keys[at : at + count]
