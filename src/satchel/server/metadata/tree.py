"""Reads of the tree: by path, by id, folders, versions, trash. Invariant: what is given out lives, by the one test.

Paths are resolved name by name through name keys, so a path finds its node whatever the case. Source: docs/design.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from satchel.core.access import Right
from satchel.core.entries import Entry, Kind
from satchel.core.errors import MessageInvalid, NotFound
from satchel.core.ids import ROOT_NODE, ContentHash, DeviceId, NamespaceId, NodeId
from satchel.core.limits import LIST_PAGE_MAX
from satchel.core.paths import join_path, name_key, split_path
from satchel.server.accounts.access import authorize, authorize_txn
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, Question, Row, fetch_in, fetch_together
from satchel.server.metadata.blocklists import blocklists_txn
from satchel.server.metadata.nodes import COLUMN_LIST, LIVE, PURGED, Node, columns_of, node_of, snapshot_entry
from satchel.server.metadata.view import View

ROOT = Node(
    node_id=ROOT_NODE,
    parent_id=ROOT_NODE,
    name="",
    name_key="",
    kind=Kind.FOLDER,
    content=b"",
    size=0,
    mtime_ns=0,
    is_executable=0,
    content_rev=0,
    place_rev=0,
    version_count=0,
    state=LIVE,
    deleted_at=None,
    cleared_seq=0,
    cleared_before=0,
    seq=0,
    created_at=0,
)


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One content state of a file. number counts from 1; rev names it; author and device as they are called now."""

    rev: int
    number: int
    content_hash: ContentHash
    size: int
    mtime_ns: int
    author: str
    device: str
    device_id: DeviceId
    created_ms: int


@dataclass(frozen=True, slots=True)
class TrashItem:
    """A deleted unit: what restoring brings back. path: where it was; size: of a file alone; deleted_ms: 0 if unknown.

    actor, device: who deleted it, as they are called now, empty when unknown; has_home: the folder it was in lives.
    token: pages the listing; hand the last one in as `after`.
    """

    node_id: NodeId
    path: str
    name: str
    kind: int
    size: int
    deleted_ms: int
    actor: str
    device: str
    has_home: bool
    token: str


@dataclass(frozen=True, slots=True)
class Located:
    """What stands at a path: in which namespace, and the node. A mount is a node of the namespace that it stands in."""

    ns: NamespaceId
    entry: Entry

    @property
    def inside(self) -> tuple[NamespaceId, NodeId]:
        """The namespace and the folder whose children are listed at this path: behind a mount, another namespace's."""
        if self.entry.kind == Kind.MOUNT:
            return NamespaceId(self.entry.content), ROOT_NODE
        return self.ns, self.entry.node_id

    @property
    def is_folder(self) -> bool:
        """Whether other nodes can stand in it."""
        return self.entry.kind in (Kind.FOLDER, Kind.MOUNT)


async def locate(db: Database, principal: Principal, path: str) -> Located:
    """Return what stands at a path of the principal's tree, through mounts. Raises: NotFound, NameInvalid."""
    names = split_path(path)

    async def walk_txn(conn: Connection) -> Located:
        ns, node = principal.root_ns, ROOT
        for name in names:
            if node.kind == Kind.MOUNT:
                ns, node = NamespaceId(node.content), ROOT
                await authorize_txn(conn, principal, ns, Right.READ)
            node = await _child_txn(conn, ns, node, name, path)
        return Located(ns, snapshot_entry(node, is_live=True))

    return await db.read(walk_txn)


async def resolve(db: Database, principal: Principal, ns: NamespaceId, path: str) -> Entry:
    """Return the live node at a path; the root is a folder without a name. Raises: NotFound, NameInvalid."""
    await authorize(db, principal, ns, Right.READ)
    names = split_path(path)

    async def walk_txn(conn: Connection) -> Entry:
        node = ROOT
        for name in names:
            node = await _child_txn(conn, ns, node, name, path)
        return snapshot_entry(node, is_live=True)

    return await db.read(walk_txn)


async def entry_by_id(db: Database, principal: Principal, ns: NamespaceId, node_id: NodeId) -> Entry:
    """Return a live node. Raises: NotFound."""
    await authorize(db, principal, ns, Right.READ)
    node, _ = await db.read(lambda conn: _live_txn(conn, ns, node_id))
    return snapshot_entry(node, is_live=True)


async def path_of(db: Database, principal: Principal, ns: NamespaceId, node_id: NodeId) -> str:
    """Return the path of a live node. Raises: NotFound."""
    await authorize(db, principal, ns, Right.READ)
    node, view = await db.read(lambda conn: _live_txn(conn, ns, node_id))
    return path_in(view, node.node_id)


async def child_of(db: Database, principal: Principal, ns: NamespaceId, folder: NodeId, name: str) -> Entry | None:
    """Return what stands in a live folder under this name, or one that cannot stand beside it; None for nothing.

    Raises: NotFound when there is no such folder.
    """
    await authorize(db, principal, ns, Right.READ)

    async def find_txn(conn: Connection) -> Entry | None:
        parent, _ = await _live_txn(conn, ns, folder)
        if parent.kind != Kind.FOLDER:
            raise NotFound("This is no folder.")
        try:
            return snapshot_entry(await _child_txn(conn, ns, parent, name, name), is_live=True)
        except NotFound:
            return None

    return await db.read(find_txn)


async def list_folder(
    db: Database, principal: Principal, ns: NamespaceId, node_id: NodeId, after: str = "", limit: int = LIST_PAGE_MAX
) -> list[Entry]:
    """Return a live folder's live children by name key, at most `limit`, those whose key is above `after`.

    Raises: NotFound (also for what is no folder).
    """
    await authorize(db, principal, ns, Right.READ)
    limit = max(1, min(limit, LIST_PAGE_MAX))

    async def list_txn(conn: Connection) -> list[Entry]:
        folder, _ = await _live_txn(conn, ns, node_id)
        if folder.kind != Kind.FOLDER:
            raise NotFound("This is no folder.")
        rows = await conn.fetch(
            f"SELECT {COLUMN_LIST} FROM files"
            f" WHERE ns = $1 AND parent_id = $2 AND name_key > $3 AND state = {LIVE} AND seq > $4"
            " ORDER BY name_key LIMIT $5",
            *(ns, node_id, after.replace("\0", ""), folder.cleared_seq, limit),
        )
        return [snapshot_entry(node_of(row), is_live=True) for row in rows]

    return await db.read(list_txn)


async def versions(db: Database, principal: Principal, ns: NamespaceId, node_id: NodeId) -> list[VersionInfo]:
    """Return the content states of a file, live or in the trash, the newest first. Raises: NotFound."""
    await authorize(db, principal, ns, Right.READ)

    async def read_txn(conn: Connection) -> list[VersionInfo]:
        rows = await conn.fetch(
            "SELECT v.rev, v.version_number, v.content, v.size, v.mtime_ns, COALESCE(a.name, ''),"
            " COALESCE(d.name, ''), v.device, v.created_at FROM file_versions v"
            " LEFT JOIN accounts a ON a.account_id = v.author LEFT JOIN devices d ON d.device_id = v.device"
            " WHERE v.ns = $1 AND v.node_id = $2 ORDER BY v.rev DESC",
            *(ns, node_id),
        )
        known = f"SELECT 1 FROM files WHERE ns = $1 AND node_id = $2 AND state <> {PURGED}"
        if not await conn.fetch(known, ns, node_id):
            raise NotFound("There is no such node.")
        return [VersionInfo(*row) for row in rows]

    return await db.read(read_txn)


async def blocklist_of(db: Database, ns: NamespaceId, content_hash: ContentHash) -> bytes:
    """Return the packed blocklist of a content that the namespace holds; the caller has authorized it.

    Raises: NotFound.
    """
    found = await db.read(lambda conn: blocklists_txn(conn, ns, (content_hash,)))
    if content_hash not in found:
        raise NotFound("There is no such content.")
    return found[content_hash]


async def trash(
    db: Database, principal: Principal, ns: NamespaceId, after: str = "", limit: int = LIST_PAGE_MAX
) -> list[TrashItem]:
    """Return the deleted units, the last deleted first, from the one after the token `after`.

    Those that died because their folder was revived without them come last. Raises: NotFound, MessageInvalid.
    """
    await authorize(db, principal, ns, Right.READ)
    limit = max(1, min(limit, LIST_PAGE_MAX))
    deleted_ms, above = _token_parts(after)

    async def read_txn(conn: Connection) -> list[TrashItem]:
        rows = await conn.fetch(
            f"SELECT {COLUMN_LIST} FROM files WHERE ns = $1 AND deleted_at IS NOT NULL AND state <> {PURGED}"
            " AND (deleted_at < $2 OR (deleted_at = $2 AND node_id < $3))"
            " ORDER BY deleted_at DESC, node_id DESC LIMIT $4",
            *(ns, deleted_ms, above, limit),
        )
        if len(rows) < limit:
            rows += await left_behind_txn(conn, ns, above if deleted_ms == 0 else _LAST_ID, limit - len(rows))
        nodes = [node_of(row) for row in rows]
        view = View(ns)
        await view.load_txn(conn, {node.node_id for node in nodes}, set())
        deleters = await _deleters_txn(conn, ns, nodes)
        return [_trash_item(view, node, *deleters.get(node.node_id, ("", ""))) for node in nodes]

    return await db.read(read_txn)


def path_in(view: View, node_id: NodeId) -> str:
    """Return a node's path by the names of all above it, live or dead."""
    names: list[str] = []
    while node_id != ROOT_NODE and (node := view.nodes.get(node_id)) is not None:
        names.append(node.name)
        node_id = node.parent_id
    return join_path(reversed(names))


_LAST_ID = NodeId(b"\xff" * 17)
_LATEST_MS = 2**62


async def _live_txn(conn: Connection, ns: NamespaceId, node_id: NodeId) -> tuple[Node, View]:
    """Return the node, with a view of it and all above it. Raises: NotFound."""
    view = View(ns)
    if node_id == ROOT_NODE:
        return ROOT, view
    await view.load_txn(conn, {node_id}, set())
    node = view.nodes.get(node_id)
    if node is None or not view.is_live(node):
        raise NotFound("There is no such node.")
    return node, view


async def _child_txn(conn: Connection, ns: NamespaceId, folder: Node, name: str, path: str) -> Node:
    """Return the live node of a name in a live folder. Raises: NotFound, which names the path."""
    rows = await conn.fetch(
        f"SELECT {COLUMN_LIST} FROM files"
        f" WHERE ns = $1 AND parent_id = $2 AND name_key = $3 AND state = {LIVE} AND seq > $4",
        *(ns, folder.node_id, name_key(name), folder.cleared_seq),
    )
    if not rows:
        raise NotFound("There is nothing at this path.", path=path)
    return node_of(rows[0])


async def left_behind_txn(conn: Connection, ns: NamespaceId, below: NodeId, limit: int) -> Sequence[Row]:
    """Return rows that nobody deleted, dead since their live folder came back without them."""
    return await conn.fetch(
        f"SELECT {columns_of('f')} FROM files p CROSS JOIN files f"
        f" WHERE p.ns = $1 AND p.cleared_seq > 0 AND p.state = {LIVE}"
        f" AND f.ns = p.ns AND f.parent_id = p.node_id AND f.state = {LIVE}"
        " AND f.seq <= p.cleared_seq AND f.node_id < $2 ORDER BY f.node_id DESC LIMIT $3",
        *(ns, below, limit),
    )


async def _deleters_txn(conn: Connection, ns: NamespaceId, nodes: Sequence[Node]) -> dict[NodeId, tuple[str, str]]:
    """Return the names of who deleted these nodes, and with what device, where the journal still tells."""
    # A deletion is the last entry of what it deleted; what only lost its name has none of its own.
    seqs = {node.seq: node.node_id for node in nodes if node.cleared_seq == node.seq > node.cleared_before}
    text = "SELECT seq, actor, device FROM file_changes WHERE ns = $1 AND seq IN {keys}"
    rows = await fetch_in(conn, text, sorted(seqs), ns)
    people = "SELECT account_id, name FROM accounts WHERE account_id IN {keys}"
    machines = "SELECT device_id, name FROM devices WHERE device_id IN {keys}"
    asked = (Question(people, keys=[row[1] for row in rows]), Question(machines, keys=[row[2] for row in rows]))
    named, called = await fetch_together(conn, asked)
    accounts: dict[bytes, str] = dict(named)
    devices: dict[bytes, str] = dict(called)
    return {seqs[seq]: (accounts.get(actor, ""), devices.get(device, "")) for seq, actor, device in rows}


def _trash_item(view: View, node: Node, actor: str, device: str) -> TrashItem:
    deleted_ms = node.deleted_at or 0
    token = f"{deleted_ms}-{node.node_id.hex()}"
    path = path_in(view, node.node_id)
    has_home = view.facts(node.parent_id) is not None
    return TrashItem(node.node_id, path, node.name, node.kind, node.size, deleted_ms, actor, device, has_home, token)


def _token_parts(token: str) -> tuple[int, NodeId]:
    if not token:
        return _LATEST_MS, _LAST_ID
    deleted_ms, _, node_id = token.partition("-")
    try:
        return min(int(deleted_ms), _LATEST_MS), NodeId(bytes.fromhex(node_id))
    except ValueError as error:
        raise MessageInvalid("The token does not name a place in the trash.", reason="after") from error


async def with_blocklists(db: Database, ns: NamespaceId, entries: Sequence[Entry], *, blocks_max: int) -> list[Entry]:
    """Return the entries with the blocklists of their files, where these are not longer than `blocks_max`."""
    files = {entry.content for entry in entries if entry.kind == Kind.FILE}
    found = await db.read(lambda conn: blocklists_txn(conn, ns, files, blocks_max=blocks_max))
    return [replace(entry, blocks=found.get(entry.content, b"")) for entry in entries]
