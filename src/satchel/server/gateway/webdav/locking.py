"""LOCK and UNLOCK. Invariant: no two locks that exclude each other are held at once, whichever gateways gave them.

A lock on a name that is free makes an empty file there, in the same transaction. Source: RFC 4918 (9.10, 9.11).
"""

from __future__ import annotations

from satchel.core.access import Right
from satchel.core.entries import Kind
from satchel.core.errors import LimitExceeded
from satchel.core.hashing import EMPTY_CONTENT
from satchel.core.ids import NodeId
from satchel.core.limits import DAV_LOCK_OWNER_BYTES_MAX
from satchel.core.messages import CommitRequest, Content, CreateOp
from satchel.server.db.engine import Connection
from satchel.server.gateway.commits import commit_request, new_op_id
from satchel.server.gateway.files import new_node_id
from satchel.server.gateway.webdav.answers import Answer, ChangedMeanwhile, Refusal, locked, xml_answer
from satchel.server.gateway.webdav.calls import Call, Look, Spot, decided, existing, folder_of, stored
from satchel.server.gateway.webdav.locks import (
    TOKEN_BYTES,
    Held,
    Lock,
    add_lock_txn,
    drop_locks,
    held,
    lock_s,
    new_token,
    refresh_lock,
    unchanged,
)
from satchel.server.gateway.webdav.properties import lockdiscovery, read_lockinfo

_MATCHES = "<D:lock-token-matches-request-uri/>"


async def lock(call: Call) -> Answer:
    """Lock what stands at a path, or the name; without a body, let a lock that is held end later."""
    body = await call.xml()
    if not body.strip():
        return await _refresh(call)
    is_exclusive, owner = read_lockinfo(body)
    if len(owner.encode()) > DAV_LOCK_OWNER_BYTES_MAX:
        raise LimitExceeded(
            "The lock says too much of its owner.",
            limit="DAV_LOCK_OWNER_BYTES_MAX",
            maximum=DAV_LOCK_OWNER_BYTES_MAX,
            actual=len(owner.encode()),
        )
    depth = call.depth("infinity")
    if depth == "1":
        raise Refusal(400, "A lock is of depth 0 or infinity.")

    async def attempt() -> Answer:
        look = await call.look()
        place = look.place
        [spot] = place.own or [Spot(place.ns, new_node_id(call.services))]
        await call.may(spot.ns, Right.WRITE)
        is_deep = int(depth == "infinity")
        token = new_token(call.services.clock.random(TOKEN_BYTES))
        expires_at = call.services.clock.now_ms() + 1_000 * lock_s(call.header(b"timeout"))
        account_id = call.principal.account_id
        wanted = Lock(token, spot.node_id, account_id, int(is_exclusive), is_deep, owner, expires_at)
        if place.entry is None:
            await _lock_name(call, look, wanted)
        else:
            existing(place)
            _require_free(look.locks[spot.ns], wanted, [spot.node_id])
            await _add(call, look.locks[spot.ns], wanted)
        return await _told(call, spot, wanted, 200 if place.entry is not None else 201)

    return await decided(attempt)


async def unlock(call: Call) -> Answer:
    """End a lock."""
    told = call.header(b"lock-token")
    if not (told.startswith("<") and told.endswith(">")):
        raise Refusal(400, "The request has no Lock-Token.")
    look = await call.look()
    existing(look.place)
    [spot] = look.place.own
    await call.may(spot.ns, Right.WRITE)
    found = [each for each in look.covering([spot]) if each.name == told[1:-1]]
    if not found:
        raise Refusal(409, "It is not locked by this token.", _MATCHES)
    if found[0].account_id != call.principal.account_id:
        raise Refusal(403, "Another account holds this lock.")
    await drop_locks(call.services.db, spot.ns, found)
    return Answer(204)


async def _refresh(call: Call) -> Answer:
    look = await call.look()
    existing(look.place)
    [spot] = look.place.own
    await call.may(spot.ns, Right.WRITE)
    own = [
        each
        for each in look.covering([spot])
        if each.name in look.submitted and each.account_id == call.principal.account_id
    ]
    if len(own) != 1:
        raise Refusal(412, "The If header names no lock that is held here.", _MATCHES)
    expires_at = call.services.clock.now_ms() + 1_000 * lock_s(call.header(b"timeout"))
    if not await refresh_lock(call.services.db, spot.ns, own[0], expires_at):
        raise Refusal(412, "The lock has ended.", _MATCHES)
    return await _told(call, spot, own[0]._replace(expires_at=expires_at), 200, is_new=False)


async def _lock_name(call: Call, look: Look, wanted: Lock) -> None:
    """Make an empty file with its lock."""
    ns, parent = look.place.ns, folder_of(look.place)
    look.require(call.principal, look.place.above)
    _require_free(look.locks[ns], wanted, [], above=parent)
    guard = unchanged(call.services.clock, look.locks[ns])

    async def guard_and_add_txn(conn: Connection) -> None:
        await guard(conn)
        await add_lock_txn(conn, ns, wanted, call.services.clock.now_ms())

    mtime_ns = call.services.clock.now_ms() * 1_000_000
    content = Content(EMPTY_CONTENT, b"", 0)
    op_id = new_op_id(call.services)
    op = CreateOp(op_id, wanted.node_id, parent, call.names[-1], Kind.FILE, content, mtime_ns=mtime_ns)
    request = CommitRequest(ns, call.link, (op,))
    reply = await commit_request(call.services, call.principal, request, (), guard_and_add_txn)
    try:
        stored(reply.outcomes[0])
    except Exception:
        await drop_locks(call.services.db, ns, [wanted])
        raise


async def _add(call: Call, locks: Held, wanted: Lock) -> None:
    guard = unchanged(call.services.clock, locks)

    async def add_txn(conn: Connection) -> None:
        await guard(conn)
        await add_lock_txn(conn, locks.ns, wanted, call.services.clock.now_ms())

    await call.services.db.write(locks.ns, add_txn)


def _require_free(locks: Held, wanted: Lock, nodes: list[NodeId], *, above: NodeId | None = None) -> None:
    """Return when no lock excludes the wanted one. Raises: Refusal (423). above: the folder of a node to be made."""
    met = [each for node_id in nodes for each in locks.covering(node_id)]
    if wanted.is_deep:
        met += [each for node_id in nodes for each in locks.within(node_id)]
    if above is not None:
        met += [each for each in locks.covering(above) if each.is_deep]
    excluding = [each for each in met if each.is_exclusive or wanted.is_exclusive]
    if excluding:
        hrefs = [locks.href(each) for each in excluding]
        raise locked(hrefs, "Another lock is in the way.", condition="no-conflicting-lock")


async def _told(call: Call, spot: Spot, given: Lock, status: int, *, is_new: bool = True) -> Answer:
    now = await held(call.services.db, call.services.clock, spot.ns, [given.node_id])
    if not any(each.token == given.token for each in now.locks):
        raise ChangedMeanwhile
    inner = lockdiscovery([given], now, call.services.clock.now_ms())
    body = f'<D:prop xmlns:D="DAV:"><D:lockdiscovery>{inner}</D:lockdiscovery></D:prop>'
    more = ((b"lock-token", f"<{given.name}>".encode()),) if is_new else ()
    return xml_answer(status, body, *more)
