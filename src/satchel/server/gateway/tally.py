"""One request on its way out: its id, its headers, how it ended. Invariant: every answer names its request, by the id
that stands in each of its log lines, and is counted once.

It stands around both protocols and adds one call to each message that is sent.
"""

from __future__ import annotations

import asyncio

from satchel.server.gateway.counters import GONE, METHODS, OTHER, Counters
from satchel.server.gateway.raw import App, Message, Receive, Scope, Send
from satchel.server.logs import begin_request
from satchel.server.spans import is_looked_at, span

CODE = "satchel.code"
ROUTE = "satchel.route"
"""Keys of a request's scope: the code of the fault that answered it, and its route where no framework names one."""
REQUEST_ID_BYTES = 8


class Tally:
    """Sends an answer on and notes what it was. headers: added to it."""

    __slots__ = ("_headers", "_send", "sent_bytes", "status")

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.status = 0
        self.sent_bytes = 0

    async def send(self, message: Message) -> None:
        """Send one message of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        else:
            self.sent_bytes += len(message.get("body", b""))
        await self._send(message)


async def tallied(
    app: App,
    counters: Counters,
    number: str,
    headers: list[tuple[bytes, bytes]],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Have `app` answer the request, with its id `number` and `headers` in the answer, and count it."""
    begin_request(number)
    tally = Tally(send, [(b"x-request-id", number.encode()), *headers])
    now = asyncio.get_running_loop().time
    began = now()
    counters.in_progress += 1
    with span("request", scope["headers"]) as step:
        try:
            await app(scope, receive, tally.send)
        finally:
            counters.in_progress -= 1
            method, status, code = scope["method"], tally.status or GONE, scope.get(CODE, "")
            method = method if method in METHODS else OTHER
            route = scope.get(ROUTE) or scope.get("path_template") or OTHER
            counters.answered(method, route, status, code=code, seconds=now() - began, sent_bytes=tally.sent_bytes)
            if is_looked_at():
                step.note(
                    f"{method} {route}",
                    failed=status >= 500,
                    http__request__method=method,
                    http__route=route,
                    http__response__status_code=status,
                    satchel__code=code,
                    satchel__request=number,
                )
