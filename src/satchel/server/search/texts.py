"""Keeps the index of texts, a source at a time. Invariant: a source is found once all of its words are in the index,
and it leaves with all of them; each step may be repeated and stopped anywhere.

A source is read once, in a limited process, whatever comes of it. Its text is kept, packed: it is shown in pieces, and
says which words are to be removed. Source: docs/design/060 (6, 7).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from satchel.core.errors import BlockDamaged, MessageInvalid
from satchel.core.hashing import unpack_blocks
from satchel.core.ids import NamespaceId
from satchel.server.blocks.service import BlockService
from satchel.server.db.engine import (
    Change,
    Connection,
    Database,
    Question,
    change_together,
    execute_in,
    fetch_in,
    fetch_together,
    row_lock,
)
from satchel.server.documents.extracting import Extractor
from satchel.server.metadata.blocklists import blocklists_txn
from satchel.server.ports import Workers
from satchel.server.search.indexing import SEARCH_KEY
from satchel.server.search.postings import PART_DOCS, pack, unpack
from satchel.server.search.sources import State, mark_gone_txn, source_of
from satchel.server.search.words import pack_text, unpack_text, words_of

STEP_WORDS = 1_000
"""So many words a transaction takes: some tens of ms of the embedded store's writer."""
CHECKED_ROWS = 500


class _Next(NamedTuple):
    """A source that is to be read or removed."""

    source: bytes
    state: int
    doc: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """What documents are read with: where their bytes are, what reads them, and threads for what takes long."""

    db: Database
    blocks: BlockService
    documents: Extractor
    workers: Workers


async def step_texts(reading: Reading, ns: NamespaceId) -> bool:
    """Read one source into the index, or remove one that no node has; return False when there is none.

    Raises: Unavailable (retry) when too many documents are being read, or a store is away.
    """
    db = reading.db
    found = await db.glance(lambda conn: _next_txn(conn, ns))
    if found is None:
        return False
    if found.state == State.GONE:
        await _change_words(db, ns, found.doc, await _words(reading, found.body), is_added=False)
        await db.write(SEARCH_KEY + ns, lambda conn: _forget_txn(conn, ns, found.source))
        return True
    body = found.body or await _read(reading, ns, found.source)
    if not body:
        await _settle(db, ns, found.source, State.NONE, b"")
        return True
    # The text is kept before its words are in the index, so that they can be removed whenever this stops.
    await _settle(db, ns, found.source, State.WAITING, body)
    await _change_words(db, ns, found.doc, await _words(reading, body), is_added=True)
    await _settle(db, ns, found.source, State.INDEXED, body)
    return True


async def check_sources(db: Database, ns: NamespaceId, after: bytes) -> tuple[int, bytes | None]:
    """Look at a page of documents, and drop those whose file is gone for good or has other content; return how many
    were dropped, and where the next page begins."""

    async def check_txn(conn: Connection) -> tuple[int, bytes | None]:
        await lock_txn(conn, ns)
        rows = await conn.fetch(
            "SELECT t.node_id, t.source, f.content FROM text_nodes t LEFT JOIN files f ON f.ns = t.ns"
            " AND f.node_id = t.node_id WHERE t.ns = $1 AND t.node_id > $2 ORDER BY t.node_id LIMIT $3",
            *(ns, after, CHECKED_ROWS),
        )
        gone = [(node, source) for node, source, content in rows if content != source_of(source).content]
        drop = "DELETE FROM text_nodes WHERE ns = $1 AND node_id IN {keys}"
        await execute_in(conn, drop, [node for node, _ in gone], ns)
        await mark_gone_txn(conn, ns, [source for _, source in gone])
        return len(gone), rows[-1][0] if len(rows) == CHECKED_ROWS else None

    return await db.write(SEARCH_KEY + ns, check_txn)


async def check_texts(db: Database, ns: NamespaceId, after: bytes) -> tuple[int, bytes | None]:
    """Look at a page of sources, and mark those that no document has; result as of `check_sources`."""

    async def check_txn(conn: Connection) -> tuple[int, bytes | None]:
        await lock_txn(conn, ns)
        rows = await conn.fetch(
            "SELECT source, state FROM texts WHERE ns = $1 AND source > $2 ORDER BY source LIMIT $3",
            *(ns, after, CHECKED_ROWS),
        )
        gone = await mark_gone_txn(conn, ns, [source for source, state in rows if state != State.GONE])
        return gone, rows[-1][0] if len(rows) == CHECKED_ROWS else None

    return await db.write(SEARCH_KEY + ns, check_txn)


async def lock_txn(conn: Connection, ns: NamespaceId) -> bool:
    """Hold the namespace's row of the index; return whether its tree was read."""
    rows = await conn.fetch(f"SELECT phase FROM search_places WHERE ns = $1{row_lock(conn)}", ns)
    return bool(rows) and rows[0][0] == 2


async def _next_txn(conn: Connection, ns: NamespaceId) -> _Next | None:
    chosen = "SELECT source, state, doc, body FROM texts WHERE ns = $1 AND state = {state} ORDER BY doc DESC LIMIT 1"
    asked = [Question(chosen.format(state=int(state)), (ns,)) for state in (State.GONE, State.WAITING)]
    rows = [row for answer in await fetch_together(conn, asked) for row in answer]
    return _Next(*rows[0]) if rows else None


async def _read(reading: Reading, ns: NamespaceId, packed: bytes) -> bytes:
    """Return the text of a source, packed; empty when it has none to give."""
    content, kind = source_of(packed)
    lists = await reading.db.read(lambda conn: blocklists_txn(conn, ns, (content,)))
    try:
        data = await _bytes(reading.blocks, ns, lists.get(content, b""))
        text = (await reading.documents.text_as(kind, data)).text
    except (MessageInvalid, BlockDamaged):
        # Tried once: the same content comes to the same end. Damage is told by those who look after the blocks.
        return b""
    return await reading.workers.run(lambda: pack_text(text)) if text.strip() else b""


async def _words(reading: Reading, body: bytes) -> list[str]:
    """Return the words of a packed text."""
    return await reading.workers.run(lambda: words_of(unpack_text(body))) if body else []


async def _bytes(blocks: BlockService, ns: NamespaceId, blocklist: bytes) -> bytes:
    parts = []
    for block in unpack_blocks(blocklist):
        parts += await blocks.read_bytes(ns, [block.hash])
    return b"".join(parts)


async def _settle(db: Database, ns: NamespaceId, source: bytes, state: State, body: bytes) -> None:
    """Note how far a source is, unless it is gone meanwhile."""
    text = f"UPDATE texts SET state = $3, body = $4 WHERE ns = $1 AND source = $2 AND state = {int(State.WAITING)}"
    await db.write(SEARCH_KEY + ns, lambda conn: conn.execute(text, ns, source, int(state), body))


async def _forget_txn(conn: Connection, ns: NamespaceId, source: bytes) -> None:
    text = f"DELETE FROM texts WHERE ns = $1 AND source = $2 AND state = {int(State.GONE)}"
    await conn.execute(text, ns, source)


async def _change_words(db: Database, ns: NamespaceId, doc: int, words: Sequence[str], *, is_added: bool) -> None:
    """Let the doc be one of those that have the words, or not any more."""
    for part in _parts(sorted(word.encode() for word in words)):
        await db.write(
            SEARCH_KEY + ns,
            lambda conn, part=part: _change_txn(conn, ns, doc, part, is_added=is_added),  # type: ignore[misc]
        )


async def _change_txn(conn: Connection, ns: NamespaceId, doc: int, words: Sequence[bytes], *, is_added: bool) -> None:
    # Whoever changes a part of the index has read it under this row.
    await lock_txn(conn, ns)
    part, at = divmod(doc, PART_DOCS)
    held = "SELECT word, docs FROM text_words WHERE ns = $1 AND part = $2 AND word IN {keys}"
    known = {word: unpack(docs) for word, docs in await fetch_in(conn, held, words, ns, part)}
    bit = 1 << at
    after = {word: known.get(word, 0) | bit if is_added else known.get(word, 0) & ~bit for word in words}
    kept = [(word, pack(docs)) for word, docs in after.items() if docs and docs != known.get(word)]
    text = (
        "INSERT INTO text_words (ns, part, word, docs) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (ns, word, part) DO UPDATE SET docs = excluded.docs"
    )
    await change_together(conn, [Change(text, kept, (ns, part))])
    empty = [word for word, docs in after.items() if not docs and word in known]
    await execute_in(conn, "DELETE FROM text_words WHERE ns = $1 AND part = $2 AND word IN {keys}", empty, ns, part)


def _parts(words: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for at in range(0, len(words), STEP_WORDS):
        yield words[at : at + STEP_WORDS]
