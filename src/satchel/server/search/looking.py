"""Search in texts. Invariant: a hit is a file that lives, stands where the caller may read, and has at this moment the
content that the words stand in.

At most `SEARCH_HITS_MAX` hits are kept, the newest documents first. Source: docs/use/search.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from satchel.core.access import Right
from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NODE
from satchel.core.limits import SEARCH_HITS_MAX
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, Question, fetch_in, fetch_together
from satchel.server.metadata.nodes import Node, columns_of, node_of
from satchel.server.metadata.tree import path_in
from satchel.server.metadata.view import View
from satchel.server.ports import Workers
from satchel.server.search.indexing import catch_up
from satchel.server.search.names import CAUGHT_UP_STEPS, tested
from satchel.server.search.postings import Parts, docs_of, in_all, in_any, unpack
from satchel.server.search.scopes import Place
from satchel.server.search.sources import State, source_of
from satchel.server.search.within import ANY, Within
from satchel.server.search.words import BEGINNING_CHARS_MIN, Snippet, snippet_of, unpack_text

ROWS_OF_WORD_MAX = 4_000
"""Of a word that begins very many others, so many rows of the index are looked at."""
_EVERY_BYTE = b"\xff"
"""Above every byte of a word."""


@dataclass(frozen=True, slots=True)
class TextHit:
    """A file in whose text the words stand. source: its content and how it is read."""

    place: Place
    node: Node
    view: View = field(repr=False)
    source: bytes

    @property
    def path(self) -> str:
        """From the root of the caller's own tree."""
        return self.place.above + path_in(self.view, self.node.node_id)


@dataclass(frozen=True, slots=True)
class FoundTexts:
    """The hits, the file that was changed last first. is_complete: all documents were read; is_all: no more fit."""

    hits: list[TextHit]
    is_complete: bool
    is_all: bool


async def search_texts(
    db: Database, principal: Principal, places: Sequence[Place], words: Sequence[str], within: Within = ANY
) -> FoundTexts:
    """Return the files whose text has all of the words. Raises: NotFound for a place that the caller may not read."""
    hits: list[TextHit] = []
    is_complete = is_all = True
    for place in places:
        await authorize(db, principal, place.ns, Right.READ)
        is_complete &= await catch_up(db, place.ns, steps=CAUGHT_UP_STEPS)
        looking = _Looking(place, words, within)
        await db.read(looking.look_txn)
        hits += looking.hits
        is_complete &= looking.is_complete
        is_all &= looking.is_all
    hits.sort(key=lambda hit: (-hit.node.mtime_ns, hit.place.ns, hit.node.node_id))
    return FoundTexts(hits[:SEARCH_HITS_MAX], is_complete, is_all and len(hits) <= SEARCH_HITS_MAX)


async def snippets_of(db: Database, workers: Workers, hits: Sequence[TextHit], words: Sequence[str]) -> list[Snippet]:
    """Return a piece of each hit's text, in order; an empty one where the text is gone meanwhile."""
    wanted: defaultdict[bytes, set[bytes]] = defaultdict(set)
    for hit in hits:
        wanted[hit.place.ns].add(hit.source)
    bodies: dict[tuple[bytes, bytes], bytes] = {}
    text = "SELECT source, body FROM texts WHERE ns = $1 AND source IN {keys}"
    for ns, sources in wanted.items():
        rows = await db.read(lambda conn, ns=ns, sources=sources: fetch_in(conn, text, sorted(sources), ns))  # type: ignore[misc]
        bodies |= {(ns, source): body for source, body in rows if body}

    def snippet(hit: TextHit) -> Snippet:
        body = bodies.get((hit.place.ns, hit.source))
        return Snippet("", []) if body is None else snippet_of(unpack_text(body), words)

    return await workers.run(lambda: [snippet(hit) for hit in hits])


class _Looking:
    """One look into one namespace."""

    def __init__(self, place: Place, words: Sequence[str], within: Within) -> None:
        self._place, self._words, self._within = place, words, within
        self._view = View(place.ns)
        self.hits: list[TextHit] = []
        self.is_complete = self.is_all = True

    async def look_txn(self, conn: Connection) -> None:
        """Look for hits, beginning with the newest documents."""
        # A transaction may be done again from its start.
        self.hits, self._view, self.is_all = [], View(self._place.ns), True
        docs = docs_of(await self._docs_txn(conn))
        self.is_all &= await tested(docs, self.hits, lambda batch: self._test_txn(conn, batch))

    async def _docs_txn(self, conn: Connection) -> Parts:
        ns = self._place.ns
        waiting = f"SELECT 1 FROM texts WHERE ns = $1 AND state = {int(State.WAITING)} LIMIT 1"
        asked = [self._question(word.encode(), word) for word in self._words]
        *answers, left = await fetch_together(conn, [*asked, Question(waiting, (ns,))])
        self.is_complete = not left
        self.is_all &= all(len(rows) < ROWS_OF_WORD_MAX for rows in answers)
        return in_all([in_any({part: unpack(docs)} for part, docs in rows) for rows in answers])

    def _question(self, key: bytes, word: str) -> Question:
        ns = self._place.ns
        if len(word) < BEGINNING_CHARS_MIN:
            return Question("SELECT part, docs FROM text_words WHERE ns = $1 AND word = $2", (ns, key))
        text = (
            "SELECT part, docs FROM text_words WHERE ns = $1 AND word >= $2 AND word < $3"
            f" ORDER BY word, part LIMIT {ROWS_OF_WORD_MAX}"
        )
        return Question(text, (ns, key, key + _EVERY_BYTE))

    async def _test_txn(self, conn: Connection, docs: Sequence[int]) -> None:
        rows = await fetch_in(
            conn,
            f"SELECT n.source, {columns_of('f')} FROM texts t CROSS JOIN text_nodes n CROSS JOIN files f"
            f" WHERE t.ns = $1 AND t.state = {int(State.INDEXED)} AND t.doc IN {{keys}}"
            " AND n.ns = t.ns AND n.source = t.source AND f.ns = n.ns AND f.node_id = n.node_id",
            docs,
            self._place.ns,
        )
        await self._view.take_txn(conn, [[row[1:] for row in rows]])
        for source, *row in rows:
            node = node_of(tuple(row))
            if self._is_wanted(node, source):
                self.hits.append(TextHit(self._place, node, self._view, source))

    def _is_wanted(self, node: Node, source: bytes) -> bool:
        if node.kind != Kind.FILE or node.content != source_of(source).content or not self._view.is_live(node):
            return False
        if not self._within.holds(node):
            return False
        folder = self._place.folder
        return folder == ROOT_NODE or self._view.stands_in(node.parent_id, folder)
