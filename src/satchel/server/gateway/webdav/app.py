"""WebDAV, `/dav`: the account's files for programs that mount them. Invariant: it is one more way to the same rooms.

What is here decides what the standard's words mean for nodes, versions and the trash; who may do what, and what is
written, is decided where it is for every other protocol. Source: RFC 4918, docs/use/webdav.md.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

from satchel.core.errors import Unavailable
from satchel.server.gateway.errors import as_fault
from satchel.server.gateway.raw import Disconnected, Message, Receive, Scope, Send, patient, respond
from satchel.server.gateway.services import Services
from satchel.server.gateway.tally import CODE, ROUTE
from satchel.server.gateway.webdav import copying, locking, reading, writing
from satchel.server.gateway.webdav.answers import Answer, Refusal, fault_answer
from satchel.server.gateway.webdav.calls import Call
from satchel.server.gateway.webdav.credentials import Credentials
from satchel.server.gateway.webdav.names import PREFIX

Handler = Callable[[Call], Awaitable[Answer | None]]

_METHODS: dict[str, Handler] = {
    "GET": reading.get,
    "HEAD": reading.get,
    "PROPFIND": reading.propfind,
    "PUT": writing.put,
    "MKCOL": writing.mkcol,
    "DELETE": writing.delete,
    "PROPPATCH": writing.proppatch,
    "COPY": copying.copy,
    "MOVE": copying.move,
    "LOCK": locking.lock,
    "UNLOCK": locking.unlock,
}
_READS = frozenset({"GET", "HEAD", "PROPFIND"})
_TRANSFERS = frozenset({"GET", "HEAD", "PUT", "PROPFIND"})


def is_webdav(path: str) -> bool:
    """Tell whether a request's path is answered here."""
    return path == PREFIX or path.startswith(PREFIX + "/")


class WebdavApp:
    """ASGI application of WebDAV."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._credentials = Credentials(services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope[ROUTE] = PREFIX
        sending = _Sending(patient(send))
        try:
            answer = await self._answered(scope, receive, sending)
            if answer is not None:
                await _send(sending, scope, answer)
        except Disconnected:
            return
        except Refusal as refusal:
            scope[CODE] = "webdav_refused"
            await _send(sending, scope, refusal.answer())
        except Exception as error:  # the request's main loop: the fault is logged and answered
            fault, _ = as_fault(error, self._services.clock, route=PREFIX)
            scope[CODE] = fault.code
            if not sending.has_begun:
                await _send(sending, scope, fault_answer(fault))
            # An answer that has begun is left unfinished, which ends the connection: nobody takes it for whole.

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        method, room = scope["method"], self._services.room
        if method == "OPTIONS":
            return reading.options()
        if room.is_full:
            raise Unavailable("The server has too much to do right now.", where="gateway", reason="requests")
        principal = await self._credentials.of(scope)
        handler = _METHODS.get(method)
        if handler is None:
            return Answer(405, ((b"allow", reading.ALLOWED),))
        if scope["query_string"] and method not in _READS:
            # A '?' that should have been escaped would name another file.
            raise Refusal(400, "The address of a change has no query.")
        with room.working(principal.account_id, is_transfer=method in _TRANSFERS):
            call = Call(self._services, principal, scope, receive, send, functools.partial(self._credentials.of, scope))
            return await handler(call)


class _Sending:
    """Sends an answer, and knows whether it has begun."""

    __slots__ = ("_send", "has_begun")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        self.has_begun = True
        await self._send(message)


async def _send(send: Send, scope: Scope, answer: Answer) -> None:
    if answer.status in (204, 304):
        await send({"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)})
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["method"] == "HEAD":
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    await respond(send, answer.status, answer.headers, [answer.body])
