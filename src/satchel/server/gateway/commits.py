"""From a request to the write path. Invariant: blocks are durable before the commit, waiters hear only after it."""

from __future__ import annotations

from collections.abc import Sequence

from satchel.core.access import Right
from satchel.core.errors import (
    AlreadyExists,
    Fault,
    LimitExceeded,
    MessageInvalid,
    NameInvalid,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
)
from satchel.core.ids import LinkId, NamespaceId, OpId, uuid7
from satchel.core.limits import INLINE_UP_BYTES_MAX
from satchel.core.messages import CommitReply, CommitRequest, Conflict, Moved, NeedBlocks, Op, Outcome, Refused, Stored
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.blocks.service import paired
from satchel.server.db.engine import Connection
from satchel.server.gateway.services import Services
from satchel.server.metadata.commit import Guard, commit
from satchel.server.metadata.journal import Head, head_txn
from satchel.server.metadata.quota import quota_here_txn

NO_LINK = LinkId(b"")
"""Programs have no link: their own entries come back to them like anyone's."""


async def commit_request(
    services: Services,
    principal: Principal,
    request: CommitRequest,
    bodies: Sequence[bytes | memoryview],
    guard: Guard | None = None,
) -> CommitReply:
    """Store the request's inline blocks, commit its ops, and tell who waits. Raises: as `commit`, BlockMismatch.

    guard: as of `commit`.
    """
    await authorize(services.db, principal, request.ns, Right.WRITE)
    for wire in request.inline:
        if wire.size > INLINE_UP_BYTES_MAX:
            raise LimitExceeded(
                "A block inside a commit is too long; put it first.",
                limit="INLINE_UP_BYTES_MAX",
                maximum=INLINE_UP_BYTES_MAX,
                actual=wire.size,
            )
    placed = await services.blocks.store(request.ns, paired(request.inline, bodies))
    reply = await commit(services.db, services.clock, principal, request, placed, guard)
    services.counters.committed(reply.outcomes)
    if any(isinstance(outcome, Stored) and outcome.seq for outcome in reply.outcomes):
        await services.bus.publish(request.ns, reply.head_seq)
    return reply


async def commit_op(services: Services, principal: Principal, ns: NamespaceId, op: Op) -> Stored:
    """Commit one op of a program. Raises: the fault that its outcome means outside."""
    request = CommitRequest(ns, NO_LINK, (op,))
    reply = await commit_request(services, principal, request, ())
    return stored_or_fault(reply.outcomes[0])


def stored_or_fault(outcome: Outcome) -> Stored:
    """Return what was stored. Raises: the fault that another outcome means to a program."""
    match outcome:
        case Stored():
            return outcome
        case Conflict():
            current = outcome.current
            if current is not None and current.is_live:
                raise PreconditionFailed("It changed meanwhile, or its name is taken.", actual=current.content_rev)
            raise NotFound("The file or folder is gone.")
        case NeedBlocks(hashes=hashes):
            raise MessageInvalid("Blocks are missing.", reason="need_blocks", missing=len(hashes))
        case Moved():
            raise NotFound("The file or folder lives elsewhere now.")
        case Refused(code=code, detail=detail):
            raise refusal(code, detail)


def refusal(code: str, detail: str) -> Fault:
    """Return the fault that a refusal means to a program."""
    match code:
        case "name_invalid":
            return NameInvalid("This name cannot be used.", reason=detail)
        case "quota_exceeded":
            return QuotaExceeded("The account has no room left.")
        case "parent_gone" | "not_found" | "forbidden":
            return NotFound("There is no such file or folder.")
        case "changed_since":
            return PreconditionFailed("Something in it changed meanwhile.")
        case "op_id_reused":
            return AlreadyExists("This was asked for before, with other words.", what="operation", name=detail)
        case _:
            return MessageInvalid("This cannot be done.", reason=code, detail=detail)


async def check_room(services: Services, principal: Principal, ns: NamespaceId, more_bytes: int) -> None:
    """Return if `more_bytes` more may be stored in the namespace; its owner answers for it. Raises: QuotaExceeded."""

    async def look_txn(conn: Connection) -> tuple[Head, int | None]:
        head = await head_txn(conn, ns)
        return head, await quota_here_txn(conn, ns, head)

    head, quota = await services.db.glance(look_txn)
    if quota is not None and head.bytes_used + more_bytes > quota:
        if head.owner != principal.account_id:
            raise QuotaExceeded("The owner of this folder has no room left.")
        raise QuotaExceeded("The account has no room left.", used_bytes=head.bytes_used, quota_bytes=quota)


def new_op_id(services: Services) -> OpId:
    """Return an id for an op that the service makes itself."""
    return OpId(uuid7(services.clock.now_ms(), services.clock.random(10)))
