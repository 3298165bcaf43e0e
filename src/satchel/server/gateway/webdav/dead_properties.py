"""Properties that clients made and the service only keeps. Invariant: a change of several is made whole or not at all.

They hang on the node's id, so they go with a move, and come back with what is restored. Source: RFC 4918 (4, 9.2).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

from satchel.core.errors import LimitExceeded
from satchel.core.ids import NamespaceId, NodeId
from satchel.core.limits import DAV_PROPERTIES_BYTES_MAX, DAV_PROPERTIES_MAX
from satchel.server.db.engine import Connection, Database, fetch_in
from satchel.server.gateway.webdav.xml_bodies import Name

_INSERT = "INSERT INTO dav_properties (ns, node_id, namespace, name, value, lang) VALUES ($1, $2, $3, $4, $5, $6)"


class DeadValue(NamedTuple):
    """A property's value: XML, and its language, empty for none."""

    value: str
    lang: str


class PropertyChange(NamedTuple):
    """One instruction: a property's new value, None to remove it."""

    name: Name
    value: DeadValue | None


Properties = dict[Name, DeadValue]


async def properties_of(db: Database, ns: NamespaceId, nodes: Iterable[NodeId]) -> dict[NodeId, Properties]:
    """Return the properties of nodes that have any, by name; the caller has authorized it."""
    sql = "SELECT node_id, namespace, name, value, lang FROM dav_properties WHERE ns = $1 AND node_id IN {keys}"
    wanted = list(dict.fromkeys(nodes))
    rows = await db.glance(lambda conn: fetch_in(conn, sql, wanted, ns)) if wanted else []
    found: dict[NodeId, Properties] = {}
    for node_id, namespace, name, value, lang in sorted(rows):
        found.setdefault(node_id, {})[namespace, name] = DeadValue(value, lang)
    return found


async def change_properties(
    db: Database,
    ns: NamespaceId,
    node_id: NodeId,
    changes: Sequence[PropertyChange],
    guard: Callable[[Connection], Awaitable[None]],
) -> None:
    """Make the changes in order, all or none. guard: called first, inside the transaction; holds the namespace's row.

    Raises: LimitExceeded, and what `guard` raises.
    """

    async def change_txn(conn: Connection) -> None:
        await guard(conn)
        for (namespace, name), value in changes:
            await conn.execute(
                "DELETE FROM dav_properties WHERE ns = $1 AND node_id = $2 AND namespace = $3 AND name = $4",
                *(ns, node_id, namespace, name),
            )
            if value is not None:
                await conn.execute(_INSERT, ns, node_id, namespace, name, *value)
        await _check_room_txn(conn, ns, node_id)

    await db.write(ns, change_txn)


async def copy_properties(db: Database, ns: NamespaceId, copies: Sequence[tuple[NodeId, NodeId]]) -> None:
    """Give each second node exactly the properties of the first one of its pair."""
    found = await properties_of(db, ns, [source for source, _ in copies])
    rows = [(ns, target, *name, *value) for source, target in copies for name, value in found.get(source, {}).items()]
    targets = [(ns, target) for _, target in copies]

    async def copy_txn(conn: Connection) -> None:
        await conn.execute_many("DELETE FROM dav_properties WHERE ns = $1 AND node_id = $2", targets)
        await conn.execute_many(_INSERT, rows)

    await db.write(ns, copy_txn)


async def _check_room_txn(conn: Connection, ns: NamespaceId, node_id: NodeId) -> None:
    rows = await conn.fetch(
        "SELECT namespace, name, value, lang FROM dav_properties WHERE ns = $1 AND node_id = $2", ns, node_id
    )
    size = sum(len(text.encode()) for row in rows for text in row)
    for limit, maximum, actual in (
        ("DAV_PROPERTIES_MAX", DAV_PROPERTIES_MAX, len(rows)),
        ("DAV_PROPERTIES_BYTES_MAX", DAV_PROPERTIES_BYTES_MAX, size),
    ):
        if actual > maximum:
            raise LimitExceeded("There is no room for these properties.", limit=limit, maximum=maximum, actual=actual)
