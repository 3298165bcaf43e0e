"""Write locks, in the database. Invariant: what several gateways hold as locked is the same, and a lock that ended
protects nothing.

A lock is on a node and, when deep, on all below it. Whoever changes something looks at the namespace's locks, decides,
and has the commit look again under the namespace's row (`unchanged`), so no lock comes between. Source: RFC 4918.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from satchel.core.entries import Kind
from satchel.core.errors import LimitExceeded
from satchel.core.ids import ROOT_NODE, AccountId, NamespaceId, NodeId
from satchel.core.limits import DAV_LOCK_S_MAX, DAV_LOCKS_MAX
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database
from satchel.server.gateway.webdav.answers import ChangedMeanwhile, locked
from satchel.server.gateway.webdav.names import href_of
from satchel.server.metadata.journal import head_txn
from satchel.server.metadata.tree import path_in
from satchel.server.metadata.view import View
from satchel.server.ports import Clock

TOKEN_BYTES = 16
TOKEN_PREFIX = "urn:uuid:"
LOCK_S_MIN = 60
LOCK_S_DEFAULT = 600


class Lock(NamedTuple):
    """A write lock as its row says. owner: XML from the client; expires_at: Unix ms."""

    token: bytes
    node_id: NodeId
    account_id: AccountId
    is_exclusive: int
    is_deep: int
    owner: str
    expires_at: int

    @property
    def name(self) -> str:
        """The token as clients know it."""
        return TOKEN_PREFIX + str(uuid.UUID(bytes=self.token))

    @property
    def mark(self) -> tuple[bytes, int]:
        """What of it matters to others; a refresh changes none of that."""
        return self.token, self.is_deep


_COLUMNS = ", ".join(Lock._fields)


@dataclass(frozen=True, slots=True)
class Held:
    """The locks of a namespace at one moment, with the folders above them and above the nodes that were asked for."""

    ns: NamespaceId
    locks: tuple[Lock, ...]
    view: View

    def covering(self, node_id: NodeId) -> list[Lock]:
        """Return the locks that a node is under: its own, and the deep ones of folders above it."""
        return [
            lock
            for lock in self.locks
            if lock.node_id == node_id or (lock.is_deep and self.view.stands_in(node_id, lock.node_id))
        ]

    def within(self, unit: NodeId) -> list[Lock]:
        """Return the locks on a node and on what lies below it."""
        return [lock for lock in self.locks if self.view.stands_in(lock.node_id, unit)]

    def href(self, lock: Lock) -> str:
        """Return the address of the lock's root."""
        node = self.view.nodes.get(lock.node_id)
        path = path_in(self.view, lock.node_id)
        return href_of([name for name in path.split("/") if name], is_folder=node is None or node.kind == Kind.FOLDER)

    def require(
        self, principal: Principal, submitted: frozenset[str], *, under: Iterable[NodeId], units: Iterable[NodeId] = ()
    ) -> None:
        """Return when the principal submitted a lock of its own wherever there is one. Raises: Refusal (423).

        under: nodes whose locks count; units: nodes of which all locks below count too. Of several locks on one node,
        which are shared ones, one is enough.
        """
        asked = [self.covering(node_id) for node_id in under]
        for unit in units:
            by_node: dict[NodeId, list[Lock]] = {}
            for lock in self.within(unit):
                by_node.setdefault(lock.node_id, []).append(lock)
            asked += by_node.values()
        blocked = [
            lock
            for locks in asked
            if not any(lock.name in submitted and lock.account_id == principal.account_id for lock in locks)
            for lock in locks
        ]
        if blocked:
            raise locked([self.href(lock) for lock in blocked])


async def held(db: Database, clock: Clock, ns: NamespaceId, nodes: Iterable[NodeId]) -> Held:
    """Return the namespace's locks; the caller has authorized it. nodes: those that will be asked about."""
    now_ms, wanted = clock.now_ms(), set(nodes)

    async def read_txn(conn: Connection) -> Held:
        locks, view = await locks_txn(conn, ns, now_ms), View(ns)
        if locks:
            await view.load_txn(conn, wanted | {lock.node_id for lock in locks}, set())
        living = [lock for lock in locks if _is_live(view, lock)]
        return Held(ns, tuple(living), view)

    return await db.glance(read_txn)


async def locks_txn(conn: Connection, ns: NamespaceId, now_ms: int) -> list[Lock]:
    """Return the locks that have not ended, by token; those of nodes that were deleted among them."""
    sql = f"SELECT {_COLUMNS} FROM dav_locks WHERE ns = $1 AND expires_at > $2 ORDER BY token LIMIT $3"
    return [Lock._make(row) for row in await conn.fetch(sql, ns, now_ms, DAV_LOCKS_MAX)]


def unchanged(clock: Clock, seen: Held) -> Callable[[Connection], Awaitable[None]]:
    """Return what looks at the locks again inside a transaction, with the namespace's row held.

    It raises ChangedMeanwhile when they are not those that were seen.
    """
    ns, marks = seen.ns, {lock.mark for lock in seen.locks}

    async def look_txn(conn: Connection) -> None:
        await head_txn(conn, ns, for_update=True)
        locks = await locks_txn(conn, ns, clock.now_ms())
        if {lock.mark for lock in locks} != marks:
            view = View(ns)
            await view.load_txn(conn, {lock.node_id for lock in locks}, set())
            if {lock.mark for lock in locks if _is_live(view, lock)} != marks:
                raise ChangedMeanwhile

    return look_txn


async def add_lock_txn(conn: Connection, ns: NamespaceId, lock: Lock, now_ms: int) -> None:
    """Store a lock; the caller holds the namespace's row and knows that none is in its way. Raises: LimitExceeded."""
    await conn.execute("DELETE FROM dav_locks WHERE ns = $1 AND expires_at <= $2", ns, now_ms)
    count = (await conn.fetch("SELECT COUNT(*) FROM dav_locks WHERE ns = $1", ns))[0][0]
    if count >= DAV_LOCKS_MAX:
        raise LimitExceeded("There are too many locks.", limit="DAV_LOCKS_MAX", maximum=DAV_LOCKS_MAX, actual=count + 1)
    await conn.execute(
        f"INSERT INTO dav_locks (ns, {_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        *(ns, *lock),
    )


async def refresh_lock(db: Database, ns: NamespaceId, lock: Lock, expires_at: int) -> bool:
    """Let a lock end later; False when it is gone."""
    changed = await db.write(
        ns,
        lambda conn: conn.execute(
            "UPDATE dav_locks SET expires_at = $3 WHERE ns = $1 AND token = $2", ns, lock.token, expires_at
        ),
    )
    return bool(changed)


async def drop_locks(db: Database, ns: NamespaceId, locks: Iterable[Lock]) -> None:
    """End locks; those that are gone stay gone."""
    keys = [(ns, lock.token) for lock in locks]
    if keys:
        sql = "DELETE FROM dav_locks WHERE ns = $1 AND token = $2"
        await db.write(ns, lambda conn: conn.execute_many(sql, keys))


def new_token(random: bytes) -> bytes:
    """Return a token's bytes, which are a UUID of version 4. random: 16 bytes."""
    return uuid.UUID(bytes=random, version=4).bytes


def lock_s(text: str) -> int:
    """Return for how many seconds a lock is given, from a `Timeout` header; the first that can be read counts."""
    for told in text.split(","):
        word = told.strip().lower()
        if word == "infinite":
            return DAV_LOCK_S_MAX
        number = word.removeprefix("second-")
        if number != word and number.isascii() and number.isdigit() and len(number) <= 20:
            return max(LOCK_S_MIN, min(int(number), DAV_LOCK_S_MAX))
    return LOCK_S_DEFAULT


def _is_live(view: View, lock: Lock) -> bool:
    node = view.nodes.get(lock.node_id)
    return lock.node_id == ROOT_NODE or (node is not None and view.is_live(node))
