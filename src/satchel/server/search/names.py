"""Search by name. Invariant: a hit lives, stands in a namespace that the caller may read, and its name of this moment
fits; the index only says where to look.

At most `SEARCH_HITS_MAX` hits of a question are ranked and can be paged through. Source: docs/design/030 (live).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence, Sized
from dataclasses import dataclass, field

from satchel.core.access import Right
from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NODE, NamespaceId
from satchel.core.limits import SEARCH_HITS_MAX
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, fetch_in
from satchel.server.metadata.nodes import Node, columns_of, node_of
from satchel.server.metadata.tree import path_in
from satchel.server.metadata.view import View
from satchel.server.search.grams import (
    Question,
    Rank,
    end_gram,
    extension_gram,
    kind_gram,
    name_gram,
    part_grams,
    rank_of,
    word_gram,
)
from satchel.server.search.indexing import catch_up
from satchel.server.search.postings import Parts, docs_of, in_all, in_any, unpack
from satchel.server.search.scopes import Place
from satchel.server.search.within import ANY, Within

LOOKED_MAX = 10_000
"""So many nodes are looked at for a question, where most that the index brings are not wanted."""
BATCH_NODES = 200
CAUGHT_UP_STEPS = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for: names that fit the question, of nodes that are within."""

    question: Question
    kind: Kind | None = None
    within: Within = ANY


@dataclass(frozen=True, slots=True)
class Hit:
    """A node that fits. place: where it was looked for; view: of the moment, with all above it."""

    place: Place
    node: Node
    view: View = field(repr=False)
    rank: Rank

    @property
    def ns(self) -> NamespaceId:
        """The namespace that it stands in."""
        return self.place.ns

    @property
    def path(self) -> str:
        """From the root of the caller's own tree, through a mount where it stands in a shared folder."""
        return self.place.above + path_in(self.view, self.node.node_id)

    @property
    def order(self) -> tuple[int, int, bytes, bytes]:
        """The best first, of those the newest."""
        return self.rank, -self.node.mtime_ns, self.ns, self.node.node_id


@dataclass(frozen=True, slots=True)
class Found:
    """The hits, in order. is_complete: the index knew all names. is_all: there are no more than these."""

    hits: list[Hit]
    is_complete: bool
    is_all: bool


async def search_names(db: Database, principal: Principal, places: Sequence[Place], wanted: Wanted) -> Found:
    """Return what is called so in these places. Raises: NotFound for one that the caller may not read."""
    hits: list[Hit] = []
    is_complete = is_all = True
    for place in places:
        await authorize(db, principal, place.ns, Right.READ)
        is_complete &= await catch_up(db, place.ns, steps=CAUGHT_UP_STEPS)
        looking = _Looking(place, wanted)
        await db.read(looking.look_txn)
        hits += looking.hits
        is_all &= looking.is_all
    hits.sort(key=lambda hit: hit.order)
    return Found(hits[:SEARCH_HITS_MAX], is_complete, is_all and len(hits) <= SEARCH_HITS_MAX)


class _Looking:
    """One look into one namespace."""

    def __init__(self, place: Place, wanted: Wanted) -> None:
        self._place, self._ns, self._wanted = place, place.ns, wanted
        self._view = View(place.ns)
        self.hits: list[Hit] = []
        self.is_all = True

    async def look_txn(self, conn: Connection) -> None:
        """Look for hits, beginning with those that rank best."""
        # A transaction may be done again from its start.
        self.hits, self._view, self.is_all = [], View(self._ns), True
        self.is_all = await tested(await self._docs_txn(conn), self.hits, lambda batch: self._test_txn(conn, batch))

    async def _docs_txn(self, conn: Connection) -> Iterator[int]:
        """Return the docs that may fit, each once, the best first and of those the newest."""
        question, wanted = self._wanted.question, self._wanted
        parts = [alternatives for word in question.words for alternatives in part_grams(word)]
        if wanted.kind is not None:
            parts.append([kind_gram(kind) for kind in _kinds(wanted.kind)])
        if wanted.within.extensions:
            parts.append([extension_gram(each) for each in sorted(wanted.within.extensions)])
        begins, ends = name_gram(question.whole), end_gram(question.whole)
        words = [word_gram(word) for word in question.words]
        asked = {gram for alternatives in parts for gram in alternatives} | {begins, ends, *words}
        rows = await fetch_in(
            conn, "SELECT gram, part, docs FROM search_grams WHERE ns = $1 AND gram IN {keys}", sorted(asked), self._ns
        )
        sets: defaultdict[bytes, dict[int, int]] = defaultdict(dict)
        for gram, part, docs in rows:
            sets[gram][part] = unpack(docs)
        fitting = in_all(in_any(sets[gram] for gram in alternatives) for alternatives in parts)
        prefix = in_all([fitting, sets[begins]])
        classes = (in_all([prefix, sets[ends]]), prefix, in_all([fitting, *(sets[gram] for gram in words)]), fitting)
        return _each_once(classes)

    async def _test_txn(self, conn: Connection, docs: Sequence[int]) -> None:
        rows = await fetch_in(
            conn,
            f"SELECT {columns_of('f')} FROM search_docs d CROSS JOIN files f WHERE d.ns = $1 AND d.doc IN {{keys}}"
            " AND f.ns = d.ns AND f.node_id = d.node_id",
            docs,
            self._ns,
        )
        await self._view.take_txn(conn, [rows])
        for node in map(node_of, rows):
            if (rank := self._rank(node)) is not None:
                self.hits.append(Hit(self._place, node, self._view, rank))

    def _rank(self, node: Node) -> Rank | None:
        """Return how well the node fits, None when it does not or is none that lives."""
        wanted = self._wanted
        if wanted.kind is not None and node.kind not in _kinds(wanted.kind):
            return None
        if not wanted.within.holds(node):
            return None
        rank = rank_of(wanted.question, node.name_key)
        if rank is None or not self._view.is_live(node):
            return None
        folder = self._place.folder
        is_inside = folder == ROOT_NODE or self._view.stands_in(node.parent_id, folder)
        return rank if is_inside else None


async def tested(docs: Iterator[int], hits: Sized, test: Callable[[Sequence[int]], Awaitable[None]]) -> bool:
    """Test docs in their order, some together, until there are hits enough. test: adds to `hits`.

    Result: False when the rest was not looked at.
    """
    looked = 0
    while batch := list(itertools.islice(docs, BATCH_NODES)):
        if len(hits) >= SEARCH_HITS_MAX or looked >= LOOKED_MAX:
            return False
        looked += len(batch)
        await test(batch)
    return True


def _kinds(kind: Kind) -> tuple[Kind, ...]:
    """Return what somebody means by a kind: a shared folder is a folder too."""
    return (Kind.FOLDER, Kind.MOUNT) if kind is Kind.FOLDER else (kind,)


def _each_once(classes: Sequence[Parts]) -> Iterator[int]:
    seen: dict[int, int] = {}
    for parts in classes:
        fresh = {part: left for part, bits in parts.items() if (left := bits & ~seen.get(part, 0))}
        yield from docs_of(fresh)
        seen = dict(in_any([seen, parts]))
