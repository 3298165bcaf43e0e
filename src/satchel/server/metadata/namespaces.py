"""The namespaces that an account can read, and where their journals stand."""

from __future__ import annotations

from satchel.core.access import Right, allows
from satchel.core.messages import PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, NamespaceHead, NamespacesReply
from satchel.server.accounts.access import role_of
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, Question, fetch_together


async def namespaces(db: Database, principal: Principal) -> NamespacesReply:
    """Return all namespaces that the principal can read, the root one first, the store's epoch, and our protocol."""

    async def read_txn(conn: Connection) -> NamespacesReply:
        asked = (
            Question("SELECT value FROM store_meta WHERE name = 'epoch'"),
            Question("SELECT ns, kind, head_seq, head_tag FROM namespaces WHERE ns = $1", (principal.root_ns,)),
        )
        epoch, rows = await fetch_together(conn, asked)
        heads = tuple(
            NamespaceHead(ns, kind, allows(role_of(principal, ns), Right.WRITE), seq, tag)
            for ns, kind, seq, tag in rows
        )
        return NamespacesReply(epoch[0][0], principal.account_name, heads, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN)

    return await db.glance(read_txn)
