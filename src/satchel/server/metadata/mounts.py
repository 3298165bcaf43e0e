"""Mounts: the nodes that show a shared namespace in somebody's root. Invariant: a root holds one for each namespace
that its account has accepted, and none for any other.

To mount and to unmount are changes that no client commits, since a member's row changes with them. They go through the
same writer as a commit: one journal entry each, under the root's row. A mount that ended stays as a purged row, because
the journal speaks of it and nobody can bring it back. Source: docs/design/085.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from satchel.core.entries import Action, Kind
from satchel.core.errors import AlreadyExists
from satchel.core.ids import ID_BYTES, ROOT_NODE, AccountId, DeviceId, LinkId, NamespaceId, NodeId, OpId, uuid7
from satchel.core.limits import NAME_BYTES_MAX
from satchel.core.messages import CreateOp
from satchel.core.paths import name_key
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, row_lock
from satchel.server.metadata.commit import tags, write_batch_txn
from satchel.server.metadata.contents import Contents
from satchel.server.metadata.decide import Author, Batch
from satchel.server.metadata.journal import Head, head_txn
from satchel.server.metadata.nodes import LIVE, PURGED, Node
from satchel.server.metadata.view import View
from satchel.server.ports import Clock

NAMES_TRIED_MAX = 100
_NO_DEVICE, _NO_LINK = DeviceId(b""), LinkId(b"")


async def lock_namespaces_txn(conn: Connection, namespaces: Iterable[NamespaceId]) -> None:
    """Hold the rows of namespaces, in the order of their ids: whoever writes in two takes both here, first of all."""
    for ns in sorted(set(namespaces)):
        await conn.fetch(f"SELECT ns FROM namespaces WHERE ns = $1{row_lock(conn)}", ns)


def author_of(principal: Principal) -> Author:
    """Return the author of what a person asks of the service itself: no link holds it already."""
    return Author(principal.account_id, principal.device_id, _NO_LINK)


def service_author(account: AccountId) -> Author:
    """Return the author of what somebody else's decision does in an account's root: none of its own devices."""
    return Author(account, _NO_DEVICE, _NO_LINK)


def batch_of(clock: Clock, ns: NamespaceId, head: Head, author: Author) -> Batch:
    """Return an empty batch for a namespace whose row is held."""
    contents = Contents(ns, bytes_used=head.bytes_used, quota=None)
    return Batch(View(ns), contents, author, head.seq, max(head.at, clock.now_ms()), tags(clock.random))


async def mount_txn(
    conn: Connection, clock: Clock, root: NamespaceId, author: Author, *, target: NamespaceId, name: str
) -> NodeId:
    """Mount a namespace in the root's first folder, under its name or one like it. The caller holds the root's row.

    Raises: AlreadyExists when a hundred names like it are taken.
    """
    head = await head_txn(conn, root, for_update=True)
    batch = batch_of(clock, root, head, author)
    names = {name_key(each): each for each in _names_like(name)}
    await batch.view.load_txn(conn, set(), {(ROOT_NODE, key) for key in names})
    free = [key for key in names if not _is_taken(batch.view, key)]
    if not free:
        raise AlreadyExists("All names like it are taken; rename what has it.", what="name", name=name)
    key = free[0]
    batch.free_place(ROOT_NODE, key)
    now, seq = batch.now_ms, batch.next_seq()
    node = Node(
        node_id=NodeId(uuid7(now, clock.random(10))),
        parent_id=ROOT_NODE,
        name=names[key],
        name_key=key,
        kind=Kind.MOUNT,
        content=target,
        size=0,
        mtime_ns=0,
        is_executable=0,
        content_rev=seq,
        place_rev=seq,
        version_count=0,
        state=LIVE,
        deleted_at=None,
        cleared_seq=0,
        cleared_before=0,
        seq=seq,
        created_at=now,
    )
    batch.store(Action.MOUNT, None, node, _made(clock, node))
    await write_batch_txn(conn, root, batch)
    return node.node_id


async def unmount_txn(conn: Connection, clock: Clock, root: NamespaceId, author: Author, node_id: NodeId) -> None:
    """Take a mount away. Idempotent. The caller holds the root's row."""
    head = await head_txn(conn, root, for_update=True)
    batch = batch_of(clock, root, head, author)
    await batch.view.load_txn(conn, {node_id}, set())
    old = batch.view.nodes.get(node_id)
    if old is None or old.kind != Kind.MOUNT or old.state != LIVE:
        return
    seq = batch.next_seq()
    node = replace(old, state=PURGED, content=b"", deleted_at=None, cleared_seq=seq, seq=seq)
    batch.store(Action.UNMOUNT, old, node, _made(clock, node))
    await write_batch_txn(conn, root, batch)


def _made(clock: Clock, node: Node) -> CreateOp:
    """Return the op that a journal entry of ours names: one that no client made."""
    return CreateOp(OpId(clock.random(ID_BYTES)), node.node_id, node.parent_id, node.name, node.kind)


def _names_like(name: str) -> list[str]:
    """Return the name and those that stand in for it when it is taken, within the limit of a name."""
    names = [name]
    for number in range(2, NAMES_TRIED_MAX + 1):
        suffix = f" ({number})"
        names.append(name.encode()[: NAME_BYTES_MAX - len(suffix)].decode(errors="ignore") + suffix)
    return names


def _is_taken(view: View, key: str) -> bool:
    holder = view.holder((ROOT_NODE, key))
    return holder is not None and view.is_live(holder)
