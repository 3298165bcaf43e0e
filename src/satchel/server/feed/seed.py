"""The feed for people's programs: one opaque cursor over all namespaces of an account. Invariant: a cursor holds places
in journals, never times, and opens only for the account and the store that sealed it.

Without a cursor the live nodes come first, page by page, then the journal from where the first page stood; a program
that applies entries in order, by id, ends with the tree as it is. Source: docs/design (journal and cursor).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from satchel.core.cursor import CursorPayload, CursorPlace, seal, unseal
from satchel.core.entries import Entry, Kind
from satchel.core.errors import CursorInvalid, EpochChanged
from satchel.core.ids import ROOT_NODE, NamespaceId, NodeId, Tag
from satchel.core.limits import CURSOR_NAMESPACES_MAX, FEED_PAGE_ENTRIES_MAX
from satchel.server.accounts.members import memberships_txn
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database
from satchel.server.db.schema import store_facts_txn
from satchel.server.feed.snapshots import page_txn
from satchel.server.metadata.journal import Head, entry_of, heads_txn, knows, read_txn, tag_at_txn
from satchel.server.metadata.namespaces import mounted_of
from satchel.server.metadata.nodes import image_of
from satchel.server.metadata.tree import path_in
from satchel.server.metadata.view import View

NO_NODE = NodeId(b"")
_TYPES = {Kind.FILE: "file", Kind.FOLDER: "folder", Kind.SYMLINK: "symlink", Kind.MOUNT: "mount"}


@dataclass(frozen=True, slots=True)
class SeedEntry:
    """What happened to one node. action: `update` or `delete`; a folder's entry stands for all below it.

    Ids and hashes are hex. path: where it is (or was) by the names its folders have now, those above its mount too.
    is_unit: the folder came back with what lies in it: list it. rev: expected by a conditional write of the content.
    """

    type: str
    action: str
    namespace: str
    id: str
    parent_id: str
    name: str
    path: str
    size: int
    content_hash: str
    mtime_ns: int
    is_executable: bool
    rev: int
    seq: int
    is_unit: bool
    created_ms: int


@dataclass(frozen=True, slots=True)
class SeedPage:
    """Entries in order and the cursor to go on from. is_reset: what was known is void; the tree is listed anew."""

    entries: list[SeedEntry]
    cursor: str
    has_more: bool
    is_reset: bool = False


@dataclass(frozen=True, slots=True)
class SeedPosition:
    """Where a cursor stands, for a caller that waits for more."""

    ns: NamespaceId
    seq: int
    is_joining: bool


async def sync(db: Database, principal: Principal, cursor: str | None = None, limit: int = 1_000) -> SeedPage:
    """Return the entries after the cursor; without one, from the beginning. At the end: no entries, an equal cursor.

    Raises: CursorInvalid (not ours, or another account's), EpochChanged (the store was restored: start again).
    """
    limit = max(1, min(limit, FEED_PAGE_ENTRIES_MAX))
    return await db.read(lambda conn: _sync_txn(conn, principal, cursor, limit))


async def latest(db: Database, principal: Principal) -> str:
    """Return a cursor at which everything that there is was told: for whoever wants news alone."""

    async def latest_txn(conn: Connection) -> str:
        facts = await store_facts_txn(conn)
        heads = await heads_txn(conn, roots := await _shown_txn(conn, principal))
        places = tuple(CursorPlace(ns, heads[ns].seq, heads[ns].tag) for ns in roots)
        return seal(facts.cursor_key, CursorPayload(facts.epoch, principal.account_id, places))

    return await db.read(latest_txn)


async def position(db: Database, principal: Principal, cursor: str) -> SeedPosition:
    """Return where the cursor stands. Raises: as `sync`."""

    async def read_txn_(conn: Connection) -> SeedPosition:
        place = (await _opened_txn(conn, principal, cursor)).places[0]
        return SeedPosition(place.ns, place.seq, place.joining_after is not None)

    return await db.read(read_txn_)


async def here(db: Database, principal: Principal) -> str:
    """Return a cursor behind all that happened so far."""

    async def read_txn_(conn: Connection) -> str:
        facts = await store_facts_txn(conn)
        roots = await _shown_txn(conn, principal)
        heads = await heads_txn(conn, roots)
        places = tuple(CursorPlace(ns, heads[ns].seq, heads[ns].tag) for ns in roots)
        return seal(facts.cursor_key, CursorPayload(facts.epoch, principal.account_id, places))

    return await db.read(read_txn_)


async def _sync_txn(conn: Connection, principal: Principal, cursor: str | None, limit: int) -> SeedPage:
    facts = await store_facts_txn(conn)
    roots = await _shown_txn(conn, principal)
    heads = await heads_txn(conn, roots)
    starts = {ns: CursorPlace(ns, head.seq, head.tag, NO_NODE) for ns, head in heads.items()}
    opened = (await _opened_txn(conn, principal, cursor)).places if cursor else ()
    # What is not readable any more is left out: its mount's end stands in the root's journal.
    places = starts | {place.ns: place for place in opened if place.ns in heads}
    is_reset = False
    for ns, place in places.items():
        head = heads[ns]
        found = head.tag if place.seq == head.seq else await tag_at_txn(conn, ns, place.seq)
        is_reset |= not knows(head, seq=place.seq, tag=place.tag, found=found)
    if is_reset:
        places = dict(starts)
    told: list[SeedEntry] = []
    has_more = False
    for ns in roots:
        if len(told) < limit:
            entries, places[ns] = await _read_place_txn(conn, places[ns], heads[ns], limit - len(told))
            told += await _told_txn(conn, ns, entries, roots[ns])
        has_more |= places[ns].joining_after is not None or places[ns].seq < heads[ns].seq
    sealed = seal(facts.cursor_key, CursorPayload(facts.epoch, principal.account_id, tuple(places[ns] for ns in roots)))
    return SeedPage(told, sealed, has_more, is_reset)


async def _shown_txn(conn: Connection, principal: Principal) -> dict[NamespaceId, str]:
    """Return all namespaces that the principal can read with the paths of their mounts, the root one first."""
    mounted = mounted_of(await memberships_txn(conn, principal.account_id))
    view = View(principal.root_ns)
    if mounted:
        await view.load_txn(conn, {each.mount_node for each in mounted.values()}, set())
    shown = {ns: path_in(view, each.mount_node) for ns, each in mounted.items()}
    return {principal.root_ns: "/", **dict(list(shown.items())[: CURSOR_NAMESPACES_MAX - 1])}


async def _read_place_txn(
    conn: Connection, place: CursorPlace, head: Head, limit: int
) -> tuple[list[Entry], CursorPlace]:
    """Return what comes next in one namespace, and the place behind it."""
    ns = place.ns
    if place.joining_after is not None:
        entries, has_more = await page_txn(conn, ns, ROOT_NODE, after=place.joining_after, limit=limit)
        return entries, CursorPlace(ns, place.seq, place.tag, entries[-1].node_id if has_more else None)
    if place.seq == head.seq:
        return [], place
    rows = await read_txn(conn, ns, after=place.seq, limit=limit)
    entries = [entry_of(row, image_of(row.post)) for row in rows]
    return entries, CursorPlace(ns, entries[-1].seq, Tag(entries[-1].tag)) if entries else place


async def _opened_txn(conn: Connection, principal: Principal, cursor: str) -> CursorPayload:
    facts = await store_facts_txn(conn)
    payload = unseal(facts.cursor_key, cursor)
    if payload.account != principal.account_id or not payload.places:
        raise CursorInvalid("The cursor belongs to another account.", reason="account")
    if payload.epoch != facts.epoch:
        raise EpochChanged("The store was restored.", expected=payload.epoch.hex(), actual=facts.epoch.hex())
    return payload


async def _told_txn(conn: Connection, ns: NamespaceId, entries: Sequence[Entry], mount: str) -> list[SeedEntry]:
    view = View(ns)
    await view.load_txn(conn, {entry.parent_id for entry in entries}, set())
    return [_seed_entry(ns, view, entry, mount) for entry in entries]


def _seed_entry(ns: NamespaceId, view: View, entry: Entry, mount: str) -> SeedEntry:
    above = mount.rstrip("/") + path_in(view, entry.parent_id)
    return SeedEntry(
        type=_TYPES[Kind(entry.kind)],
        action="update" if entry.is_live else "delete",
        namespace=ns.hex(),
        id=entry.node_id.hex(),
        parent_id=entry.parent_id.hex(),
        name=entry.name,
        path=above.rstrip("/") + "/" + entry.name,
        size=entry.size,
        content_hash=entry.content.hex() if entry.kind == Kind.FILE else "",
        mtime_ns=entry.mtime_ns,
        is_executable=entry.is_executable,
        rev=entry.content_rev,
        seq=entry.seq,
        is_unit=entry.is_subtree,
        created_ms=entry.created_ms,
    )
