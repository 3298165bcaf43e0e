"""Moves a file or folder from one namespace into another: a copy there, and a deletion here; or copies it. Invariant:
each moment shows what moves in one of the two, and what was taken away stays in the trash of where it was.

Rows are copied under new node ids, with their versions, in one transaction that holds both namespaces; no block moves.
The target's journal has one entry, whatever the unit holds, and the source's one deletion. Dead rows stay behind, with
the source's trash. A copy takes the newest contents alone, as new files of whoever makes it, and no mounts. What is to
be replaced is so in the same transaction: a file by a file gets a new version, all else goes into its trash.
Source: docs/design/030 (between namespaces).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from satchel.core.access import Right
from satchel.core.entries import Action, Entry, Kind
from satchel.core.errors import (
    AlreadyExists,
    LimitExceeded,
    MessageInvalid,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    ShareRefused,
)
from satchel.core.ids import ID_BYTES, LinkId, NamespaceId, NodeId, OpId, uuid7
from satchel.core.limits import DEPTH_MAX, MOVED_NODES_MAX, PATH_BYTES_MAX
from satchel.core.messages import CreateOp
from satchel.core.paths import name_key, validate_name
from satchel.server.accounts.access import authorize, authorize_txn
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Change, Connection, Database, Row, change_together, fetch_in
from satchel.server.metadata.commit import Guard, write_batch_txn
from satchel.server.metadata.decide import Batch, Version
from satchel.server.metadata.journal import Head, head_txn
from satchel.server.metadata.mounts import author_of, batch_of, lock_namespaces_txn
from satchel.server.metadata.nodes import COLUMN_LIST, DEAD, LIVE, Node, node_of
from satchel.server.metadata.quota import quota_here_txn
from satchel.server.metadata.view import FolderFacts
from satchel.server.ports import Clock
from satchel.server.sharing.conversion import SHARING_KEY
from satchel.server.sharing.counting import take_contents_txn

_VERSIONS = (
    "SELECT node_id, rev, content, size, mtime_ns, author, device, op_id, created_at FROM file_versions"
    " WHERE ns = $1 AND node_id IN {keys}"
)
_VERSION = (
    "INSERT INTO file_versions (ns, node_id, rev, version_number, content, size, mtime_ns, author, device, op_id,"
    " created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
)


class Replaced(NamedTuple):
    """What is to be replaced, as somebody saw it. seen_seq: the newest seq of its namespace before that look."""

    entry: Entry
    seen_seq: int


class Place(NamedTuple):
    """Where to: a folder of a namespace, and the name there. replaced: what may be replaced; without it it is free."""

    ns: NamespaceId
    parent: NodeId
    name: str
    replaced: Replaced | None = None


async def move_between(
    db: Database,
    clock: Clock,
    principal: Principal,
    source: NamespaceId,
    entry: Entry,
    place: Place,
    guards: Sequence[Guard] = (),
) -> NodeId:
    """Move what `entry` told of in `source` to a place of another namespace; return its id there.

    guards: called in the transaction, with both rows held; they raise when it is not to be done. A file that takes
    another one's place is that one's newest version then, and keeps its own versions in the source's trash.
    Raises: NotFound, PreconditionFailed (it, or what it replaces, changed since), AlreadyExists, NameInvalid,
    ShareRefused (`inside_share`, `holds_mount`), QuotaExceeded, LimitExceeded, MessageInvalid (too deep), and what
    `guards` raise.
    """
    await authorize(db, principal, source, Right.READ, Right.DELETE)
    await authorize(db, principal, place.ns, *_rights(entry.kind, place))
    validate_name(place.name)
    key = SHARING_KEY + b"".join(sorted((source, place.ns)))
    return await db.write(key, lambda conn: _move_txn(conn, clock, principal, source, entry, place, guards))


async def copy_between(
    db: Database,
    clock: Clock,
    principal: Principal,
    source: NamespaceId,
    entry: Entry,
    place: Place,
    *,
    is_deep: bool = True,
    guards: Sequence[Guard] = (),
) -> None:
    """Copy what `entry` told of in `source` to a place of another namespace.

    is_deep: a folder with all in it but mounts, else alone. guards: as of `move_between`. Raises: as that, without the
    refusals of mounts.
    """
    await authorize(db, principal, source, Right.READ)
    await authorize(db, principal, place.ns, *_rights(entry.kind, place))
    validate_name(place.name)
    key = SHARING_KEY + b"".join(sorted((source, place.ns)))

    async def copy_txn(conn: Connection) -> None:
        await lock_namespaces_txn(conn, [source, place.ns])
        for guard in guards:
            await guard(conn)
        await authorize_txn(conn, principal, source, Right.READ)
        await authorize_txn(conn, principal, place.ns, *_rights(entry.kind, place))
        author = author_of(principal)
        standing = batch_of(clock, source, await head_txn(conn, source, for_update=True), author)
        head = await head_txn(conn, place.ns, for_update=True)
        arriving = batch_of(clock, place.ns, head, author)
        top = await _live_txn(conn, standing, entry)
        unit = await _unit_txn(conn, source, top) if is_deep else [top]
        unit = [node for node in unit if node.kind != Kind.MOUNT]
        versions = {
            node_id: [(*rows[-1][:5], author.account, author.device, clock.random(ID_BYTES), arriving.now_ms)]
            for node_id, rows in (await _versions_txn(conn, source, unit)).items()
        }
        await _arrive_txn(conn, clock, source, head, arriving, unit, place, versions)

    await db.write(key, copy_txn)


async def _move_txn(
    conn: Connection,
    clock: Clock,
    principal: Principal,
    source: NamespaceId,
    entry: Entry,
    place: Place,
    guards: Sequence[Guard],
) -> NodeId:
    await lock_namespaces_txn(conn, [source, place.ns])
    for guard in guards:
        await guard(conn)
    await authorize_txn(conn, principal, source, Right.READ, Right.DELETE)
    await authorize_txn(conn, principal, place.ns, *_rights(entry.kind, place))
    author = author_of(principal)
    leaving = batch_of(clock, source, await head_txn(conn, source, for_update=True), author)
    head = await head_txn(conn, place.ns, for_update=True)
    arriving = batch_of(clock, place.ns, head, author)
    top = await _found_txn(conn, leaving, entry)
    unit = await _unit_txn(conn, source, top)
    versions = await _versions_txn(conn, source, unit)
    made = await _arrive_txn(conn, clock, source, head, arriving, unit, place, versions)
    _delete(clock, leaving, top)
    await write_batch_txn(conn, source, leaving)
    return made[top.node_id]


def _rights(kind: int, place: Place) -> tuple[Right, ...]:
    """Return the rights that it takes at the place; what is replaced by no new version of it is deleted there."""
    is_deleting = place.replaced is not None and not _is_edit(kind, place.replaced.entry.kind)
    return (Right.WRITE, Right.DELETE) if is_deleting else (Right.WRITE,)


def _is_edit(kind: int, replaced_kind: int) -> bool:
    return kind == replaced_kind == Kind.FILE


async def _arrive_txn(
    conn: Connection,
    clock: Clock,
    source: NamespaceId,
    head: Head,
    batch: Batch,
    unit: Sequence[Node],
    place: Place,
    versions: dict[NodeId, list[Row]],
) -> dict[NodeId, NodeId]:
    """Let the unit stand at the place, and write that; return what stands there for each of its nodes, by old ids."""
    facts, replaced = await _cleared_txn(conn, clock, head, batch, place, unit[0].kind)
    if replaced is not None:
        made = {unit[0].node_id: replaced.node_id}
        uses = _edit(clock, batch, unit[0], replaced)
        await conn.execute("DELETE FROM dav_properties WHERE ns = $1 AND node_id = $2", place.ns, replaced.node_id)
    else:
        _require_depth(facts, unit, place.name)
        made = _arrive(clock, batch, unit, place, versions)
        uses = await _copy_versions_txn(conn, batch, versions, made)
    await _count_txn(conn, source, head, batch, uses)
    await write_batch_txn(conn, place.ns, batch)
    await _copy_properties_txn(conn, source, place.ns, made)
    return made


def _delete(clock: Clock, batch: Batch, node: Node) -> None:
    seq = batch.next_seq()
    gone = replace(node, state=DEAD, deleted_at=batch.now_ms, cleared_before=node.cleared_seq, cleared_seq=seq, seq=seq)
    batch.store(Action.DELETE, node, gone, _op(clock, gone))


def _edit(clock: Clock, batch: Batch, node: Node, replaced: Node) -> Counter[bytes]:
    """Give a file what another one holds, as a new version unless it has it; return the contents that this uses."""
    is_equal = node.content == replaced.content
    xattrs = replaced.xattrs if node.xattrs is None else node.xattrs
    if is_equal and (node.is_executable, xattrs) == (replaced.is_executable, replaced.xattrs):
        return Counter()
    seq = batch.next_seq()
    fresh = replace(
        replaced,
        content=node.content,
        size=node.size,
        mtime_ns=node.mtime_ns,
        is_executable=node.is_executable,
        xattrs=xattrs,
        content_rev=seq,
        seq=seq,
        version_count=replaced.version_count + (not is_equal),
    )
    op = _op(clock, fresh)
    batch.store(Action.EDIT, replaced, fresh, op)
    if is_equal:
        return Counter()
    batch.versions.append(Version(fresh, op.op_id))
    return Counter([node.content])


async def _live_txn(conn: Connection, batch: Batch, entry: Entry) -> Node:
    view = batch.view
    await view.load_txn(conn, {entry.node_id}, set())
    node = view.nodes.get(entry.node_id)
    if node is None or not view.is_live(node):
        raise NotFound("The file or folder is gone.")
    if (node.content_rev, node.place_rev) != (entry.content_rev, entry.place_rev):
        raise PreconditionFailed("It changed meanwhile.", actual=node.content_rev)
    return node


async def _found_txn(conn: Connection, batch: Batch, entry: Entry) -> Node:
    node = await _live_txn(conn, batch, entry)
    if node.kind == Kind.MOUNT:
        raise ShareRefused("A shared folder does not stand inside another.", reason="inside_share")
    await _require_no_mount_txn(conn, batch, node)
    return node


async def _require_no_mount_txn(conn: Connection, batch: Batch, node: Node) -> None:
    await batch.view.load_mounts_txn(conn)
    if any(batch.view.stands_in(mount, node.node_id) for mount in batch.view.mounts):
        raise ShareRefused("A shared folder stands in it.", reason="holds_mount")


async def _unit_txn(conn: Connection, ns: NamespaceId, top: Node) -> list[Node]:
    """Return the node and all that lives below it, each folder before what stands in it. Raises: LimitExceeded."""
    found, level = [top], {top.node_id: top}
    text = f"SELECT {COLUMN_LIST} FROM files WHERE ns = $1 AND parent_id IN {{keys}} AND state = {LIVE}"
    while level:
        nodes = [node_of(row) for row in await fetch_in(conn, text, sorted(level), ns)]
        below = [node for node in nodes if node.seq > level[node.parent_id].cleared_seq]
        found += below
        if len(found) > MOVED_NODES_MAX:
            raise LimitExceeded(
                "Too much stands in this folder.", limit="MOVED_NODES_MAX", maximum=MOVED_NODES_MAX, actual="more"
            )
        level = {node.node_id: node for node in below if node.kind == Kind.FOLDER}
    return found


async def _cleared_txn(
    conn: Connection, clock: Clock, head: Head, batch: Batch, place: Place, kind: int
) -> tuple[FolderFacts, Node | None]:
    """Return where the target folder stands, and the file that is to get a new version, if it is one.

    What else is to be replaced is deleted. Raises: NotFound, AlreadyExists, PreconditionFailed, ShareRefused.
    """
    key = name_key(place.name)
    await batch.view.load_txn(conn, {place.parent}, {(place.parent, key)})
    facts = batch.view.facts(place.parent)
    if facts is None:
        raise NotFound("There is no such folder.")
    holder = batch.view.holder((place.parent, key))
    if holder is not None and batch.view.is_live(holder):
        await _require_seen_txn(conn, clock, head, batch, holder, place)
        if _is_edit(kind, holder.kind):
            return facts, holder
        await _require_no_mount_txn(conn, batch, holder)
        _delete(clock, batch, holder)
    batch.free_place(place.parent, key)
    return facts, None


async def _require_seen_txn(
    conn: Connection, clock: Clock, head: Head, batch: Batch, holder: Node, place: Place
) -> None:
    """Return when what stands at the place is what is to be replaced, as it was seen, with all in it."""
    if place.replaced is None or place.replaced.entry.node_id != holder.node_id:
        raise AlreadyExists("There is something at the target.", what="path", name=place.name)
    entry, seen_seq = place.replaced
    # A link that nobody has: a change since then counts as foreign even when the same device made it.
    stranger = LinkId(clock.random(ID_BYTES))
    await batch.view.load_foreign_txn(
        conn, after=seen_seq, head_seq=head.seq, min_seq=head.min_seq, device=batch.author.device, link=stranger
    )
    is_same = (holder.content_rev, holder.place_rev) == (entry.content_rev, entry.place_rev)
    if not is_same or batch.view.foreign_seq(holder.node_id) > seen_seq:
        raise PreconditionFailed("What is to be replaced changed meanwhile.", actual=holder.content_rev)


def _require_depth(facts: FolderFacts, unit: Sequence[Node], name: str) -> None:
    known = {unit[0].parent_id: facts}
    for node in unit:
        above, own = known[node.parent_id], name if node is unit[0] else node.name
        here = FolderFacts(above.depth + 1, above.path_bytes + 1 + len(own.encode()))
        if here.depth > DEPTH_MAX or here.path_bytes > PATH_BYTES_MAX:
            raise MessageInvalid("This cannot be done.", reason="too_deep", detail=own)
        known[node.node_id] = here


async def _versions_txn(conn: Connection, ns: NamespaceId, unit: Sequence[Node]) -> dict[NodeId, list[Row]]:
    """Return the versions of the unit's files, each file's in the order of their revs."""
    of_node: defaultdict[NodeId, list[Row]] = defaultdict(list)
    for row in await fetch_in(conn, _VERSIONS, [node.node_id for node in unit if node.kind == Kind.FILE], ns):
        of_node[row[0]].append(row)
    return {node_id: sorted(rows, key=lambda row: int(row[1])) for node_id, rows in of_node.items()}


def _arrive(
    clock: Clock, batch: Batch, unit: Sequence[Node], place: Place, versions: dict[NodeId, list[Row]]
) -> dict[NodeId, NodeId]:
    """Put the unit under new ids into the batch, with one entry for all; return the new ids by the old ones."""
    now, first, top = batch.now_ms, batch.next_seq(), unit[0]
    ids = {node.node_id: NodeId(uuid7(now, clock.random(10))) for node in unit}
    # Each version needs a rev of its own that is no seq to come: a young journal is given entries that change nothing.
    last = max([first, *[len(rows) for rows in versions.values()]])
    for node in unit:
        is_top = node is top
        fresh = replace(
            node,
            node_id=ids[node.node_id],
            parent_id=place.parent if is_top else ids[node.parent_id],
            name=place.name if is_top else node.name,
            name_key=name_key(place.name) if is_top else node.name_key,
            content_rev=first if is_top else last,
            place_rev=first if is_top else last,
            version_count=len(versions.get(node.node_id, ())),
            cleared_seq=0,
            cleared_before=0,
            seq=first if is_top else last,
            created_at=now,
        )
        if not is_top:
            batch.view.put(fresh)
            continue
        # A folder that moves in appears with all that it holds: whoever does not know it fetches its snapshot.
        is_unit = node.kind == Kind.FOLDER
        batch.store(Action.MOVE if is_unit else Action.CREATE, None, fresh, _op(clock, fresh), is_subtree=is_unit)
        while batch.head_seq < last:
            old, seq = fresh, batch.next_seq()
            fresh = replace(old, content_rev=seq, seq=seq)
            batch.store(Action.ATTR, old, fresh, _op(clock, fresh))
    return ids


async def _copy_versions_txn(
    conn: Connection, batch: Batch, versions: dict[NodeId, list[Row]], ids: dict[NodeId, NodeId]
) -> Counter[bytes]:
    """Copy the versions; return how often each content is used by them."""
    rows, uses = [], Counter[bytes]()
    for node_id, found in versions.items():
        first = batch.head_seq - len(found) + 1
        rows += [(ids[node_id], first + at, 1 + at, *row[2:]) for at, row in enumerate(found)]
        uses.update(bytes(row[2]) for row in found)
    await change_together(conn, [Change(_VERSION, rows, (batch.view.ns,))])
    return uses


async def _count_txn(conn: Connection, source: NamespaceId, head: Head, batch: Batch, uses: Counter[bytes]) -> None:
    """Count the contents in the target. Raises: QuotaExceeded."""
    taken = await take_contents_txn(
        conn, source=source, target=batch.view.ns, uses=uses, is_moving=False, now_ms=batch.now_ms
    )
    quota = await quota_here_txn(conn, batch.view.ns, head)
    if quota is not None and head.bytes_used + taken.gained > quota:
        raise QuotaExceeded("There is no room left where it is to go.")
    batch.contents.bytes_used += taken.gained


async def _copy_properties_txn(
    conn: Connection, source: NamespaceId, target: NamespaceId, ids: dict[NodeId, NodeId]
) -> None:
    """Give each copy the properties that programs gave to what it was made from."""
    text = "SELECT node_id, namespace, name, value, lang FROM dav_properties WHERE ns = $1 AND node_id IN {keys}"
    rows = [(ids[row[0]], *row[1:]) for row in await fetch_in(conn, text, sorted(ids), source)]
    kept = "INSERT INTO dav_properties (ns, node_id, namespace, name, value, lang) VALUES ($1, $2, $3, $4, $5, $6)"
    await change_together(conn, [Change(kept, rows, (target,))])


def _op(clock: Clock, node: Node) -> CreateOp:
    return CreateOp(OpId(clock.random(ID_BYTES)), node.node_id, node.parent_id, node.name, node.kind)
