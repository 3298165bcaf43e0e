"""Puts a conflicted copy in the place of the file it stands beside. Invariant: neither side's bytes are lost: what the
file held stays its version, and the copy goes into the trash only once the file holds what it held.
"""

from __future__ import annotations

from satchel.core.access import Right
from satchel.core.entries import Kind
from satchel.core.errors import MessageInvalid, NotFound, PreconditionFailed
from satchel.core.ids import ID_BYTES, NamespaceId, NodeId, OpId
from satchel.core.messages import CommitRequest, Content, DeleteOp, EditOp, Op, Outcome, Stored
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database
from satchel.server.metadata.commit import commit
from satchel.server.metadata.journal import head_txn
from satchel.server.metadata.nodes import Node
from satchel.server.metadata.restore import NO_LINK
from satchel.server.metadata.view import View
from satchel.server.ports import Clock

State = tuple[NodeId, int]
"""A file, and the rev of its content that somebody has seen."""


async def keep_copy(
    db: Database, clock: Clock, principal: Principal, ns: NamespaceId, *, file: State, copy: State
) -> Outcome:
    """Give `file` the content of `copy`, then delete `copy`. Idempotent as long as both are as they were seen.

    Raises: NotFound, PreconditionFailed (one of them is at another rev), MessageInvalid, and as `commit`.
    """
    await authorize(db, principal, ns, Right.WRITE, Right.DELETE)
    if file[0] == copy[0]:
        raise MessageInvalid("A file is no copy of itself.", reason="copy")

    async def find_txn(conn: Connection) -> tuple[Node, Node, Content, int]:
        # Before the files are looked at: whatever another device does to the copy after that refuses its deletion.
        seen_seq = (await head_txn(conn, ns)).seq
        view = View(ns)
        await view.load_txn(conn, {file[0], copy[0]}, set())
        kept, source = (_seen(view, *state) for state in (file, copy))
        rows = await conn.fetch(
            "SELECT manifest_id, blocks, size, cutter FROM manifests WHERE ns = $1 AND manifest_id = $2",
            *(ns, source.content),
        )
        if not rows:
            raise NotFound("There is no such file.")
        return kept, source, Content(*rows[0]), seen_seq

    kept, source, content, seen_seq = await db.read(find_txn)
    bit = bool(source.is_executable)
    edit = EditOp(_op_id(clock), kept.node_id, kept.content_rev, content, "", source.mtime_ns, bit)
    outcome = await _commit_one(db, clock, principal, ns, edit)
    if not isinstance(outcome, Stored):
        return outcome
    deleted = await _commit_one(db, clock, principal, ns, DeleteOp(_op_id(clock), source.node_id, seen_seq))
    return Stored(max(outcome.seq, deleted.seq)) if isinstance(deleted, Stored) else deleted


def _seen(view: View, node_id: NodeId, rev: int) -> Node:
    node = view.nodes.get(node_id)
    if node is None or node.kind != Kind.FILE or not view.is_live(node):
        raise NotFound("There is no such file.")
    if node.content_rev != rev:
        raise PreconditionFailed("The file is not at that rev.", expected=str(rev), actual=str(node.content_rev))
    return node


async def _commit_one(db: Database, clock: Clock, principal: Principal, ns: NamespaceId, op: Op) -> Outcome:
    return (await commit(db, clock, principal, CommitRequest(ns, NO_LINK, (op,)))).outcomes[0]


def _op_id(clock: Clock) -> OpId:
    return OpId(clock.random(ID_BYTES))
