"""`WS /sync/v1/stream`: entries are pushed as they are committed. Invariant: nothing is pushed that the device has not
the right to at that moment, and a frame that is lost or left out costs a request, never a change.

The device says where it is; we wait on positions, read the feed and push pages with small contents inline. With too
much waiting only the position goes out. The token is checked again at least once a minute, and with it how far the
journals are: whoever tells of positions may be gone, and a device asks nobody else. Source: docs/design/050, 060 (11).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field

from satchel.core.errors import Fault, MessageInvalid, NotFound, RequestTimedOut, TooManyRequests, Unauthenticated
from satchel.core.ids import NamespaceId
from satchel.core.limits import STREAM_FRAME_BYTES_MAX
from satchel.core.messages import (
    PROTOCOL_VERSION,
    PROTOCOL_VERSION_MIN,
    Behind,
    Changes,
    ChangesRequest,
    Hello,
    NamespacesReply,
    Ping,
    Position,
    Pushed,
    StreamFrame,
    Welcome,
    decode_frame,
    encode_frame,
)
from satchel.server.accounts.link_runs import begin_link_run
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import touch_device
from satchel.server.accounts.standing import Held, Standing
from satchel.server.accounts.tokens import token_hash
from satchel.server.gateway.errors import as_fault, frame_body, headers_of
from satchel.server.gateway.raw import Disconnected, Receive, Scope, Send
from satchel.server.gateway.services import Services
from satchel.server.metadata.namespaces import namespaces
from satchel.server.notify.presence import Connected, member_of, pack_connected, presence_key
from satchel.server.notify.renewals import PRESENCE_TTL_S
from satchel.server.notify.waiters import Waiter
from satchel.server.ports import Member

PATH = "/sync/v1/stream"
PING_S = 25.0
RECHECK_S = PING_S
LAG_S_MIN = 0.05
"""So soon what was told and is not shown yet is looked for again; each time after twice as long."""
HELLO_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 5.0
PAGE_ENTRIES_MAX = 500
UNTOLD_SEQS_MAX = 10_000
"""A device is told at least after so many entries that it leaves out: its place must not be pruned."""
ENTRY_BYTES = 200
"""About what an entry costs on the wire beside its blocklist and content."""

CLOSE_GOING_AWAY = 1001
CLOSE_BAD_HELLO = 4400
CLOSE_REVOKED = 4401
CLOSE_FAILED = 1011
CLOSE_TOO_SLOW = 4408
CLOSE_TOO_MANY = 4429


class RightsChanged(Exception):
    """What the account may read is not what it was: the device comes again and asks what there is."""


class LinkTaken(Exception):
    """Another start of this link said hello: this one comes again, and is told to recover or that it is a twin."""


@dataclass(slots=True)
class _Stream:
    """One connected device. positions: how far each namespace was looked at for it; told: how far it was told.

    The two differ by entries that its link leaves out: nothing is sent for those alone.
    connected: its packed `Connected`; readable: what the account could read when the stream began.
    """

    services: Services
    principal: Principal
    token: str
    hello: Hello
    send: Send
    positions: dict[NamespaceId, Position]
    told: dict[NamespaceId, int]
    connected: bytes
    readable: frozenset[tuple[NamespaceId, bool]]
    checked_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    renewed_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())


async def serve_stream(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket until either side ends it. Refused before the handshake: 401 with the usual error body."""
    await receive()
    try:
        principal, token = await services.identity.holder(scope)
        if scope["path"] != PATH:
            raise MessageInvalid("There is no such stream.", reason="path")
    except Fault as fault:
        await _refuse(services, send, fault)
        return
    await send({"type": "websocket.accept"})
    counters, code = services.counters, CLOSE_GOING_AWAY
    counters.answered("WS", PATH, 101, code="", sent_bytes=0)
    counters.streams += 1
    try:
        hello = await _hello(receive)
        await _serve(services, principal, token, hello, receive, send)
    except Disconnected:
        return
    except (LinkTaken, RightsChanged):
        code = CLOSE_GOING_AWAY
    except Unauthenticated:
        code = CLOSE_REVOKED
    except (MessageInvalid, RequestTimedOut):
        code = CLOSE_BAD_HELLO
    except TooManyRequests:
        code = CLOSE_TOO_MANY
    except TimeoutError:
        code = CLOSE_TOO_SLOW
    except Exception as error:  # the stream's main loop: the fault is logged, the device comes again
        as_fault(error, services.clock, route="stream")
        code = CLOSE_FAILED
    finally:
        counters.streams -= 1
    counters.closed_streams[code] += 1
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await send({"type": "websocket.close", "code": code})


async def answer_hello(services: Services, principal: Principal, hello: Hello) -> tuple[Welcome, NamespacesReply]:
    """Take the hello's run. Result: what it is answered, and what there is. Raises: MessageInvalid (its version)."""
    _require_version(hello)
    known = await namespaces(services.db, principal)
    newest = await begin_link_run(services.db, principal, hello.link, hello.run)
    await touch_device(services.db, services.clock, principal)
    recover = bool(newest) or hello.epoch not in (b"", known.epoch)
    return Welcome(known.epoch, recover, principal.device_id, known.version, newest), known


async def _serve(
    services: Services, principal: Principal, token: str, hello: Hello, receive: Receive, send: Send
) -> None:
    welcome, known = await answer_hello(services, principal, hello)
    heads = {head.ns: Position(head.ns, head.head_seq, head.head_tag) for head in known.namespaces}
    told = {position.ns: position for position in hello.positions if position.ns in heads}
    # The root always; a mounted one only for who says where it is there: others would not know what to do with it.
    positions = {principal.root_ns: heads[principal.root_ns]} | told
    readable = frozenset((head.ns, head.can_write) for head in known.namespaces)
    seqs = {ns: position.seq for ns, position in positions.items()}
    connected = pack_connected(Connected(services.server_id, services.clock.now_ms()))
    stream = _Stream(services, principal, token, hello, send, positions, seqs, connected, readable)
    presence = presence_key(principal.account_id)
    with services.waiters.joined(principal.account_id, positions) as waiter:
        await _push(stream, welcome)
        member = member_of(principal.device_id, hello.link)
        await services.state.add_member(presence, member, connected, ttl_s=PRESENCE_TTL_S)
        try:
            await _until_gone(receive, _push_forever(stream, waiter, presence))
        finally:
            # A newer connection of this device, here or at another process, is no longer ours to end.
            await services.state.remove_member(presence, member, value=connected)


async def _push_forever(stream: _Stream, waiter: Waiter, presence: str) -> None:
    """Push what is new until the service stops. Raises: Unauthenticated once the token is revoked."""
    services, principal = stream.services, stream.principal
    late = set(stream.positions)
    lag_s = LAG_S_MIN
    while not waiter.is_stopped:
        told = {ns: waiter.heads[ns] for ns in late}
        for ns in late:
            await _push_news(stream, ns)
        seen = {ns: position.seq for ns, position in stream.positions.items()}
        # Told before the look, and not shown by it: it may not be told again, and looking at once would spin.
        unshown = {ns: seq for ns, seq in told.items() if seen[ns] < seq == waiter.heads[ns]}
        lag_s = min(lag_s * 2, PING_S) if unshown else LAG_S_MIN
        is_news = await waiter.wait(seen | unshown, timeout_s=lag_s if unshown else PING_S)
        late = {ns for ns, seq in seen.items() if waiter.heads[ns] > seq}
        now = asyncio.get_running_loop().time()
        if waiter.is_doubted or now - stream.checked_at >= RECHECK_S:
            waiter.is_doubted = False
            late |= await _check(stream)
            stream.checked_at = now
        # By time and not by silence: a stream that always has news must not run out.
        if now - stream.renewed_at >= PING_S:
            stream.renewed_at = now
            member = Member(presence, member_of(principal.device_id, stream.hello.link), stream.connected)
            if not await services.renewals.renew(member):
                # It was forgotten where we are: what was told meanwhile was told to nobody.
                waiter.is_gapped = True
        if waiter.is_gapped:
            waiter.is_gapped = False
            late = set(stream.positions)
        if not is_news:
            await _push(stream, Ping())


async def _check(stream: _Stream) -> set[NamespaceId]:
    """Return the namespaces that are further than was looked at, told of or not. Raises: Unauthenticated, LinkTaken."""
    hello, seen = stream.hello, stream.positions
    held = Held(stream.principal, token_hash(stream.token), hello.link, hello.run, tuple(seen), stream.readable)
    standing, heads = await stream.services.standings.of(held)
    match standing:
        case Standing.HOLDS:
            return {ns for ns, seq in heads.items() if seq > seen[ns].seq}
        case Standing.REVOKED:
            raise Unauthenticated("The token is not valid.")
        case Standing.TAKEN:
            raise LinkTaken
        case Standing.CHANGED:
            raise RightsChanged


async def _push_news(stream: _Stream, ns: NamespaceId) -> None:
    services = stream.services
    hello = stream.hello
    asked = ChangesRequest(stream.positions[ns], hello.link, PAGE_ENTRIES_MAX, with_xattrs=hello.with_xattrs)
    try:
        page, bodies = await services.pages.changes(stream.principal, asked)
    except NotFound:
        raise RightsChanged from None
    if page.is_reset or page.has_more or _size(page, bodies) > STREAM_FRAME_BYTES_MAX:
        head = await _head(stream, ns)
        await _push(stream, Pushed(page) if page.is_reset else Behind(head))
        stream.positions[ns], stream.told[ns] = head, head.seq
        return
    stream.positions[ns] = Position(ns, page.last_seq, page.last_tag)
    if page.entries or page.last_seq - stream.told[ns] >= UNTOLD_SEQS_MAX:
        # From where the device stands, so that what it leaves out is no gap to it.
        await _send(stream, services.pages.frame(page, bodies, prev_seq=stream.told[ns]))
        services.counters.pushed_entries += len(page.entries)
        stream.told[ns] = page.last_seq


async def _head(stream: _Stream, ns: NamespaceId) -> Position:
    known = await namespaces(stream.services.db, stream.principal)
    for head in known.namespaces:
        if head.ns == ns:
            return Position(ns, head.head_seq, head.head_tag)
    raise RightsChanged


async def _push(stream: _Stream, frame: StreamFrame) -> None:
    await _send(stream, b"".join(encode_frame(frame)))


async def _send(stream: _Stream, raw: bytes) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        stream.services.counters.sent_bytes += len(raw)
        await stream.send({"type": "websocket.send", "bytes": raw})


async def _hello(receive: Receive) -> Hello:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            message = await receive()
    except TimeoutError:
        raise RequestTimedOut("No hello came.", phase="hello") from None
    raw = message.get("bytes")
    if message["type"] == "websocket.disconnect":
        raise Disconnected
    if not isinstance(raw, bytes):
        raise MessageInvalid("The first frame is not a hello.", reason="hello")
    hello: Hello = decode_frame(raw, Hello)[0]
    return hello


def _require_version(hello: Hello) -> None:
    """Raises: MessageInvalid for a version that this service does not speak."""
    if not PROTOCOL_VERSION_MIN <= hello.version <= PROTOCOL_VERSION:
        raise MessageInvalid("The hello speaks an unknown version.", reason="version", found=hello.version)


async def _until_gone(receive: Receive, work: Coroutine[object, object, None]) -> None:
    """Do the work until it ends or the other side goes away (Disconnected). What else comes in is ignored."""

    async def read() -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass
        raise Disconnected

    async def do(reader: asyncio.Task[None]) -> None:
        await work
        reader.cancel()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(do(group.create_task(read())))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _refuse(services: Services, send: Send, fault: Fault) -> None:
    fault, number = as_fault(fault, services.clock, route="stream")
    body = frame_body(fault, number)
    headers = headers_of(fault, b"application/x-satchel-error", body)
    services.counters.answered("WS", PATH, fault.status, code=fault.code, sent_bytes=len(body))
    await send({"type": "websocket.http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


def _size(page: Changes, bodies: Sequence[bytes]) -> int:
    told = sum(ENTRY_BYTES + len(entry.blocks) + len(entry.name) + len(entry.xattrs or b"") for entry in page.entries)
    return told + sum(len(body) for body in bodies)
