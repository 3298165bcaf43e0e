"""How much a namespace may hold. Invariant: an account's limit covers its root and every shared folder that it owns.

What the other namespaces use is read without a lock, so a limit can be passed by the commits in flight.
Source: docs/design/030 (account quota).
"""

from __future__ import annotations

from collections.abc import Sequence

from satchel.core.access import Role
from satchel.core.ids import NamespaceId
from satchel.server.accounts.members import memberships_of, memberships_question
from satchel.server.db.engine import Connection, Question, Row, fetch_in, fetch_together
from satchel.server.metadata.journal import Head

ROOT = "root"


def quota_question(head: Head) -> Question:
    """Ask what `quota_of_txn` wants the answer to; nothing for a root without a limit."""
    if head.kind == ROOT and head.quota is None:
        return Question("", keys=())
    return memberships_question(head.owner)


async def quota_here_txn(conn: Connection, ns: NamespaceId, head: Head) -> int | None:
    """Return how many bytes this namespace may use in all, None without a limit. May be below what it uses, or 0."""
    [answer] = await fetch_together(conn, [quota_question(head)])
    return await quota_of_txn(conn, ns, head, answer)


async def quota_of_txn(conn: Connection, ns: NamespaceId, head: Head, answer: Sequence[Row]) -> int | None:
    """As `quota_here_txn`, with the answer to `quota_question`."""
    if head.kind == ROOT and head.quota is None:
        return None
    others = [each.ns for each in memberships_of(answer) if each.role == Role.OWNER and each.ns != ns]
    if head.kind == ROOT:
        return None if head.quota is None else head.quota - await _used_txn(conn, others)
    roots = await conn.fetch("SELECT root_ns FROM accounts WHERE account_id = $1", head.owner)
    limits = [] if head.quota is None else [head.quota]
    for (root,) in roots:
        for quota, used in await conn.fetch("SELECT quota, bytes_used FROM namespaces WHERE ns = $1", root):
            if quota is not None:
                limits.append(quota - used - await _used_txn(conn, others))
    return min(limits) if limits else None


async def _used_txn(conn: Connection, namespaces: Sequence[NamespaceId]) -> int:
    rows = await fetch_in(conn, "SELECT ns, bytes_used FROM namespaces WHERE ns IN {keys}", namespaces)
    return sum(used for _, used in rows)
