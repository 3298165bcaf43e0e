"""The conflicted copies that an account sees. Invariant: found by the index of names, never by a look at all files, and
only where the caller may read at this moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from satchel.core.conflicts import is_conflicted_copy, original_name
from satchel.core.entries import Kind
from satchel.core.ids import NamespaceId
from satchel.core.paths import name_key
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database
from satchel.server.metadata.nodes import Node
from satchel.server.metadata.view import Place as Spot
from satchel.server.metadata.view import View
from satchel.server.search.grams import question_of
from satchel.server.search.names import Hit, Wanted, search_names
from satchel.server.search.scopes import Place

QUESTION = "conflicted copy"
"""What stands in the name of each of them."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Files with the name of a conflicted copy, the newest first. is_complete, is_all: as of a search by name."""

    hits: list[Hit]
    is_complete: bool
    is_all: bool


async def conflicted_copies(db: Database, principal: Principal, places: Sequence[Place]) -> Copies:
    """Return the conflicted copies in these places, `SEARCH_HITS_MAX` at most. Raises: NotFound for one that the
    caller may not read."""
    found = await search_names(db, principal, places, Wanted(question_of(QUESTION), Kind.FILE))
    hits = [hit for hit in found.hits if is_conflicted_copy(hit.node.name)]
    hits.sort(key=lambda hit: (-hit.node.created_at, hit.ns, hit.node.node_id))
    return Copies(hits, found.is_complete, found.is_all)


async def originals_of(db: Database, hits: Sequence[Hit]) -> list[Node | None]:
    """Return the file that each copy was made of, in order: what stands beside it under the name without the addition;
    None where there is none. The caller has read the hits."""
    wanted: defaultdict[NamespaceId, set[Spot]] = defaultdict(set)
    for hit in hits:
        wanted[hit.ns].add(_spot(hit))
    views: dict[NamespaceId, View] = {}

    async def load_txn(conn: Connection) -> None:
        for ns, spots in wanted.items():
            views[ns] = View(ns)
            await views[ns].load_txn(conn, set(), spots)

    await db.read(load_txn)
    return [_live_file(views[hit.ns], _spot(hit)) for hit in hits]


def _spot(hit: Hit) -> Spot:
    return hit.node.parent_id, name_key(original_name(hit.node.name))


def _live_file(view: View, spot: Spot) -> Node | None:
    node = view.holder(spot)
    return node if node is not None and node.kind == Kind.FILE and view.is_live(node) else None
