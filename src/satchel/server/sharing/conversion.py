"""Makes a folder a shared one: its rows become a namespace of their own. Invariant: node ids, revs, versions and the
trash stay as they are, no block moves, and no moment shows a node in both namespaces or in none.

All of it is one transaction under the old namespace's row. The folder's node stays where it is, as a mount; everything
below it, dead rows too, changes its namespace. The new journal begins with one entry about the root folder, at the seq
and tag of the mount's entry in the old one: so revs stay comparable, a device that has folded that entry stands at the
new journal's beginning, and whoever asks from an earlier place is told to start anew.
Source: docs/design/030 (between namespaces), 085.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection

from msgspec.structs import replace

from satchel.core.access import Right, Role
from satchel.core.entries import Action, Kind
from satchel.core.errors import LimitExceeded, NotFound, ShareRefused
from satchel.core.ids import ID_BYTES, ROOT_NODE, NamespaceId, NodeId, OpId, uuid7
from satchel.core.limits import SHARED_NODES_MAX
from satchel.core.messages import CreateOp
from satchel.server.accounts.access import authorize, authorize_txn
from satchel.server.accounts.audit import Action as Act
from satchel.server.accounts.audit import by, record_txn
from satchel.server.accounts.members import Member, State, keep_member_txn, memberships_txn
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, change_together, execute_in, fetch_in
from satchel.server.metadata.commit import write_batch_txn
from satchel.server.metadata.decide import Batch
from satchel.server.metadata.journal import appended, head_txn
from satchel.server.metadata.mounts import author_of, batch_of
from satchel.server.metadata.nodes import COLUMNS, DEAD, LIVE, Node, image_bytes
from satchel.server.metadata.tree import ROOT
from satchel.server.ports import Clock
from satchel.server.sharing.bounds import require_room
from satchel.server.sharing.counting import take_contents_txn

SHARING_KEY = b"sharing"
"""Before a namespace's id: what changes the parts of people shares no transaction with commits."""

FOLLOWING: dict[str, str] = {
    "file_versions": "rev version_number content size mtime_ns author device op_id created_at",
    "link_scopes": "device_id link_id",
    "shares": "share_id maker device permission password_hash token_hash is_no_download expires_at downloads_max"
    " downloads hits created_at seen_at revoked_at",
    "dav_locks": "token account_id is_exclusive is_deep owner expires_at",
    "dav_properties": "namespace name value lang",
}
"""Tables, beside `files`, whose rows go where their node goes, with their columns beside ns and node_id."""
STAYING: dict[str, str] = {
    "file_changes": "the journal stays: it tells what happened while the nodes stood there",
    "upload_sessions": "an upload into a folder that left this namespace finds no place, and is begun again",
    "text_nodes": "as search_docs",
    "search_docs": "a hint where to look; the new namespace's index is made from its own tree",
}
"""Tables that name nodes by ns and node_id and stay, with the reason. A test finds the table that is in neither."""


async def share_folder(
    db: Database,
    clock: Clock,
    principal: Principal,
    ns: NamespaceId,
    node_id: NodeId,
    *,
    from_address: str = "",
) -> NamespaceId:
    """Return the namespace of a folder of the principal's root, made one if it was none. Idempotent.

    node_id: the folder, or the mount that it is already. Raises: NotFound (also where the principal may not administer
    what is mounted), ShareRefused (`root`, `inside_share`, `not_folder`, `holds_mount`), LimitExceeded.
    """
    await authorize(db, principal, ns, Right.READ)
    if ns != principal.root_ns:
        raise ShareRefused("A folder inside a shared folder cannot be shared by itself.", reason="inside_share")
    if node_id == ROOT_NODE:
        raise ShareRefused("The root folder itself cannot be shared.", reason="root")
    target = NamespaceId(uuid7(clock.now_ms(), clock.random(10)))
    return await db.write(
        SHARING_KEY + ns, lambda conn: _share_txn(conn, clock, principal, node_id, target, from_address)
    )


async def _share_txn(
    conn: Connection, clock: Clock, principal: Principal, node_id: NodeId, target: NamespaceId, from_address: str
) -> NamespaceId:
    ns = principal.root_ns
    head = await head_txn(conn, ns, for_update=True)
    batch = batch_of(clock, ns, head, author_of(principal))
    await batch.view.load_txn(conn, {node_id}, set())
    folder = batch.view.nodes.get(node_id)
    if folder is None or not batch.view.is_live(folder):
        raise NotFound("There is no such folder.")
    if folder.kind == Kind.MOUNT:
        await authorize_txn(conn, principal, NamespaceId(folder.content), Right.ADMINISTER)
        return NamespaceId(folder.content)
    if folder.kind != Kind.FOLDER:
        raise ShareRefused("Only a folder can be shared with people.", reason="not_folder")
    await batch.view.load_mounts_txn(conn)
    if any(batch.view.stands_in(mount, node_id) for mount in batch.view.mounts):
        raise ShareRefused("A shared folder stands in it.", reason="holds_mount")
    require_room(await memberships_txn(conn, principal.account_id))
    unit = await unit_txn(conn, ns, node_id)
    seq = batch.next_seq()
    mount = replace(folder, kind=Kind.MOUNT, content=target, content_rev=seq, cleared_seq=0, cleared_before=0, seq=seq)
    op = CreateOp(OpId(clock.random(ID_BYTES)), node_id, folder.parent_id, folder.name, Kind.MOUNT)
    batch.store(Action.MOUNT, folder, mount, op)
    await _begin_txn(conn, target, principal, batch)
    await _move_rows_txn(conn, ns, target, folder, unit, now_ms=batch.now_ms)
    await _count_txn(conn, ns, target, batch)
    await write_batch_txn(conn, ns, batch)
    me, now = principal.account_id, batch.now_ms
    await keep_member_txn(conn, Member(target, me, Role.OWNER, State.ACCEPTED, folder.name, me, node_id, now, now))
    event = by(principal, Act.SHARE_MADE, now, address=from_address, subject=target.hex(), node=node_id.hex())
    await record_txn(conn, me, event)
    return target


async def unit_txn(conn: Connection, ns: NamespaceId, folder: NodeId) -> list[NodeId]:
    """Return all that stands below a folder, live or dead, however it died. Raises: LimitExceeded."""
    dead: defaultdict[NodeId, list[NodeId]] = defaultdict(list)
    # Two ways to be dead, each with an index: deleted, or purged and done with.
    for where in ("deleted_at IS NOT NULL", "cleared_seq > 0"):
        text = f"SELECT node_id, parent_id FROM files WHERE ns = $1 AND {where} AND state <> {LIVE}"
        for node_id, parent_id in await conn.fetch(text, ns):
            dead[parent_id].append(node_id)
    found: set[NodeId] = set()
    level = {folder}
    children = f"SELECT node_id FROM files WHERE ns = $1 AND parent_id IN {{keys}} AND state = {LIVE}"
    while level:
        below = {row[0] for row in await fetch_in(conn, children, sorted(level), ns)}
        below.update(node_id for parent in level for node_id in dead.get(parent, ()))
        level = below - found
        found |= level
        if len(found) > SHARED_NODES_MAX:
            raise LimitExceeded(
                "Too much stands in this folder.", limit="SHARED_NODES_MAX", maximum=SHARED_NODES_MAX, actual="more"
            )
    return sorted(found)


async def _begin_txn(conn: Connection, target: NamespaceId, principal: Principal, batch: Batch) -> None:
    """Write the new namespace's row and the first entry of its journal, at the seq and tag of the mount's entry: the
    oldest place that a reader can stand at, and where a device that held the folder stands. Nobody is told of it."""
    mounted = batch.rows[-1]
    await conn.execute(
        "INSERT INTO namespaces"
        " (ns, kind, owner, head_seq, head_tag, head_at, min_seq, bytes_used, quota, created_at)"
        " VALUES ($1, 'shared', $2, $3, $4, $5, $3, 0, NULL, $5)",
        *(target, principal.account_id, mounted.seq, mounted.tag, batch.now_ms),
    )
    first = mounted._replace(node_id=ROOT_NODE, pre=None, post=image_bytes(ROOT, is_live=True), is_subtree=1)
    await change_together(conn, [appended(target, [first])])


async def _move_rows_txn(
    conn: Connection, ns: NamespaceId, target: NamespaceId, folder: Node, unit: Collection[NodeId], *, now_ms: int
) -> None:
    if folder.cleared_seq:
        # Dead only since the folder came back without them: what they hung on is no row any more.
        await conn.execute(
            f"UPDATE files SET state = {DEAD}, deleted_at = $4, cleared_before = cleared_seq WHERE ns = $1"
            f" AND parent_id = $2 AND state = {LIVE} AND seq <= $3",
            *(ns, folder.node_id, folder.cleared_seq, now_ms),
        )
    rest = ", ".join(column for column in COLUMNS if column not in ("node_id", "parent_id"))
    await execute_in(
        conn,
        f"INSERT INTO files (ns, node_id, parent_id, {rest}) SELECT $1, node_id,"
        f" CASE WHEN parent_id = $3 THEN $4 ELSE parent_id END, {rest}"
        " FROM files WHERE ns = $2 AND node_id IN {keys}",
        *(unit, target, ns, folder.node_id, ROOT_NODE),
    )
    await execute_in(conn, "DELETE FROM files WHERE ns = $1 AND node_id IN {keys}", unit, ns)
    for table, columns in FOLLOWING.items():
        listed = ", ".join(("node_id", *columns.split()))
        chosen = f"SELECT $1, {listed} FROM {table} WHERE ns = $2 AND node_id IN {{keys}}"
        await execute_in(conn, f"INSERT INTO {table} (ns, {listed}) {chosen}", unit, target, ns)
        await execute_in(conn, f"DELETE FROM {table} WHERE ns = $1 AND node_id IN {{keys}}", unit, ns)
    await _move_links_txn(conn, ns, target, folder.node_id)


async def _move_links_txn(conn: Connection, ns: NamespaceId, target: NamespaceId, folder: NodeId) -> None:
    """Let links to the folder itself lead to the new namespace, and the tokens of all that moved there."""
    listed = ", ".join(FOLLOWING["shares"].split())
    await conn.execute(
        f"INSERT INTO shares (ns, node_id, {listed}) SELECT $1, $4, {listed} FROM shares"
        " WHERE ns = $2 AND node_id = $3",
        *(target, ns, folder, ROOT_NODE),
    )
    await conn.execute("DELETE FROM shares WHERE ns = $1 AND node_id = $2", ns, folder)
    tokens = [row[0] for row in await conn.fetch("SELECT token_hash FROM shares WHERE ns = $1", target)]
    await execute_in(conn, "UPDATE share_tokens SET ns = $1 WHERE token_hash IN {keys}", tokens, target)


async def _count_txn(conn: Connection, ns: NamespaceId, target: NamespaceId, batch: Batch) -> None:
    """Count contents and blocks anew in both. All versions in the new namespace are those that moved."""
    text = "SELECT content, COUNT(*) FROM file_versions WHERE ns = $1 GROUP BY content"
    uses = Counter({bytes(content): int(count) for content, count in await conn.fetch(text, target)})
    taken = await take_contents_txn(conn, source=ns, target=target, uses=uses, is_moving=True, now_ms=batch.now_ms)
    batch.contents.bytes_used = max(0, batch.contents.bytes_used - taken.freed)
    await conn.execute("UPDATE namespaces SET bytes_used = $2 WHERE ns = $1", target, taken.gained)
