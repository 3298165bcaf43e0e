"""The namespaces that an account can read, and where their journals stand."""

from __future__ import annotations

from satchel.core.access import Right, Role, allows
from satchel.core.ids import NamespaceId
from satchel.core.messages import PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, NamespaceHead, NamespacesReply
from satchel.server.accounts.members import Membership, State, memberships_of, memberships_question
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, Question, fetch_in, fetch_together

_HEADS = "SELECT ns, kind, head_seq, head_tag FROM namespaces WHERE ns IN {keys}"


async def namespaces(db: Database, principal: Principal) -> NamespacesReply:
    """Return all namespaces that the principal can read, the root one first, the store's epoch, and our protocol."""

    async def read_txn(conn: Connection) -> NamespacesReply:
        asked = (
            Question("SELECT value FROM store_meta WHERE name = 'epoch'"),
            Question(_HEADS, keys=(principal.root_ns,)),
            memberships_question(principal.account_id),
        )
        epoch, rows, answer = await fetch_together(conn, asked)
        mounted = mounted_of(memberships_of(answer))
        if mounted:
            rows = [*rows, *sorted(await fetch_in(conn, _HEADS, list(mounted)))]
        heads = tuple(
            NamespaceHead(ns, kind, allows(mounted[ns].role if ns in mounted else Role.OWNER, Right.WRITE), seq, tag)
            for ns, kind, seq, tag in rows
        )
        return NamespacesReply(epoch[0][0], principal.account_name, heads, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN)

    return await db.glance(read_txn)


def mounted_of(memberships: list[Membership]) -> dict[NamespaceId, Membership]:
    """Return those that are accepted, by namespace."""
    return {each.ns: each for each in memberships if each.state == State.ACCEPTED}
