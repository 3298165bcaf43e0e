"""The device protocol, `/sync/v1`: frames in, frames out. Invariant: blocks are durable before the commit.

Each handler takes the principal and a whole frame and returns the pieces of the answer; no framework stands between.
Source: docs/protocol/device.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from satchel.core.access import Right
from satchel.core.errors import LimitExceeded, NotFound, TooManyRequests, Unavailable
from satchel.core.limits import (
    BLOCKS_PUT_BODY_BYTES_MAX,
    COMMIT_BODY_BYTES_MAX,
    COMMITS_IN_FLIGHT_MAX,
    MIB,
)
from satchel.core.messages import (
    ChangesRequest,
    CommitRequest,
    GetRequest,
    Hello,
    ManifestsRequest,
    PutRequest,
    ScopeRequest,
    SnapshotRequest,
    decode_frame,
    encode_frame,
    encode_frame_head,
)
from satchel.server.accounts.access import authorize
from satchel.server.accounts.principal import Principal
from satchel.server.feed.scopes import store_scope
from satchel.server.feed.service import changes, manifests, snapshot
from satchel.server.gateway.commits import check_room, commit_request
from satchel.server.gateway.counters import OTHER
from satchel.server.gateway.errors import as_fault, frame_body, headers_of
from satchel.server.gateway.raw import (
    Disconnected,
    Joining,
    Receive,
    Scope,
    Send,
    declared_bytes,
    patient,
    read_body,
    respond,
)
from satchel.server.gateway.services import Services
from satchel.server.gateway.stream import answer_hello, serve_stream
from satchel.server.gateway.tally import CODE, ROUTE
from satchel.server.metadata.namespaces import namespaces

PREFIX = "/sync/v1/"
FRAME_TYPE = (b"content-type", b"application/x-satchel")
HEADER_ROOM = 2 * MIB
"""What a frame's header may add to the limit on its bodies."""
ASKING_BODY_BYTES_MAX = 1 * MIB
COMMITS_WAITING_MAX = 4 * COMMITS_IN_FLIGHT_MAX

Bytes = bytes | memoryview
Pieces = Sequence[Bytes] | AsyncIterator[Bytes]
Handler = Callable[[Services, Principal, bytes], Awaitable[Pieces]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Route:
    """One call: what answers it, and the limit on its body by name and in bytes."""

    handler: Handler
    limit: str = "body_bytes"
    maximum: int = ASKING_BODY_BYTES_MAX


class DeviceApp:
    """ASGI application of the device protocol."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._committing: Counter[bytes] = Counter()
        self._routes = {PREFIX + name: route for name, route in _ROUTES.items()}
        self._routes[PREFIX + "commit"] = Route(
            self._commit, "COMMIT_BODY_BYTES_MAX", COMMIT_BODY_BYTES_MAX + HEADER_ROOM
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or serve one stream."""
        if scope["type"] == "websocket":
            await serve_stream(self._services, scope, receive, send)
            return
        path = scope["path"]
        route = self._routes.get(path)
        scope[ROUTE] = path if route else OTHER
        try:
            if route is None or scope["method"] != "POST":
                raise NotFound("There is no such call.")
            if self._services.room.is_full:
                raise Unavailable("The server has too much to do right now.", where="gateway", reason="requests")
            principal = await self._services.identity.of(scope["headers"])
            with self._services.room.taken(principal.account_id, declared_bytes(scope, maximum=route.maximum)):
                body = await read_body(scope, receive, limit=route.limit, maximum=route.maximum)
                with self._services.room.working(principal.account_id):
                    pieces = await route.handler(self._services, principal, body)
                del body
            await _answer(send, pieces)
        except Disconnected:
            return
        except Exception as error:  # the request's main loop: the fault is logged and answered
            await self._refuse(scope, send, error)

    async def _refuse(self, scope: Scope, send: Send, error: Exception) -> None:
        fault, number = as_fault(error, self._services.clock, route=scope[ROUTE])
        scope[CODE] = fault.code
        body = frame_body(fault, number)
        headers = [h for h in headers_of(fault, b"application/x-satchel-error", body) if h[0] != b"content-length"]
        if isinstance(fault, LimitExceeded):
            headers.append((b"connection", b"close"))
        await respond(send, fault.status, headers, [body])

    async def _commit(self, services: Services, principal: Principal, body: bytes) -> Pieces:
        if self._committing[principal.device_id] >= COMMITS_WAITING_MAX:
            raise TooManyRequests("This device has too many commits in flight.", retry_after_s=1)
        self._committing[principal.device_id] += 1
        try:
            return await _commit(services, principal, body)
        finally:
            self._committing[principal.device_id] -= 1
            if not self._committing[principal.device_id]:
                del self._committing[principal.device_id]


async def _commit(services: Services, principal: Principal, body: bytes) -> Pieces:
    request, bodies = _decoded(body, CommitRequest)
    return encode_frame(await commit_request(services, principal, request, bodies))


async def _put(services: Services, principal: Principal, body: bytes) -> Pieces:
    request, bodies = _decoded(body, PutRequest)
    await authorize(services.db, principal, request.ns, Right.WRITE)
    await check_room(services, principal, request.ns, sum(wire.size for wire in request.blocks))
    return encode_frame(await services.blocks.put(request, bodies))


async def _get(services: Services, principal: Principal, body: bytes) -> Pieces:
    request, _ = _decoded(body, GetRequest)
    await authorize(services.db, principal, request.ns, Right.READ)
    reply, bodies = await services.blocks.get(request)
    head = encode_frame_head(reply, [wire.stored_size for wire in reply.blocks])

    async def pieces() -> AsyncIterator[Bytes]:
        yield head
        async for piece in bodies:
            yield piece

    return pieces()


async def _changes(services: Services, principal: Principal, body: bytes) -> Pieces:
    request, _ = _decoded(body, ChangesRequest)
    page, bodies = await changes(services.db, services.blocks, principal, request)
    return encode_frame(page, bodies)


async def _snapshot(services: Services, principal: Principal, body: bytes) -> Pieces:
    request, _ = _decoded(body, SnapshotRequest)
    return encode_frame(await snapshot(services.db, principal, request))


async def _hello(services: Services, principal: Principal, body: bytes) -> Pieces:
    hello, _ = _decoded(body, Hello)
    welcome, _ = await answer_hello(services, principal, hello)
    return encode_frame(welcome)


async def _scope(services: Services, principal: Principal, body: bytes) -> Pieces:
    request, _ = _decoded(body, ScopeRequest)
    return encode_frame(await store_scope(services.db, principal, request))


async def _manifests(services: Services, principal: Principal, body: bytes) -> Pieces:
    request, _ = _decoded(body, ManifestsRequest)
    return encode_frame(await manifests(services.db, principal, request))


async def _namespaces(services: Services, principal: Principal, body: bytes) -> Pieces:
    return encode_frame(await namespaces(services.db, principal))


def _decoded(body: bytes, into: type[T]) -> tuple[T, list[memoryview]]:
    return decode_frame(body, into)


async def _answer(send: Send, pieces: Pieces) -> None:
    if not isinstance(pieces, AsyncIterator):
        await respond(send, 200, [FRAME_TYPE], pieces)
        return
    send = patient(send)
    await send({"type": "http.response.start", "status": 200, "headers": [FRAME_TYPE]})
    joining = Joining()
    async for piece in pieces:
        for part in joining.add(piece):
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": joining.rest()})


_ROUTES = {
    "blocks/put": Route(_put, "BLOCKS_PUT_BODY_BYTES_MAX", BLOCKS_PUT_BODY_BYTES_MAX + HEADER_ROOM),
    "blocks/get": Route(_get),
    "changes": Route(_changes),
    "snapshot": Route(_snapshot),
    "scope": Route(_scope),
    "hello": Route(_hello),
    "manifests/get": Route(_manifests),
    "namespaces": Route(_namespaces),
}
