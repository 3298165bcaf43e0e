"""Requests with an `Idempotency-Key`: asked again, they get the first answer. Invariant: an answer is kept before it is
sent, and no secret is kept with it.

It stands around REST. What goes wrong inside the server, or is not let in, is not kept: asked again, it is tried again.
Secrets are shown once; in a repeated answer their fields are empty. Source: docs/use/api.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Awaitable, Callable

import structlog

from satchel.core.errors import Fault, KeyReused, MessageInvalid, Unauthenticated
from satchel.core.limits import IDEMPOTENCY_KEY_CHARS_MAX, KIB, MIB
from satchel.server.accounts.repeated import CLAIM_MS, Kept, Key, claim, hashed_key, keep, let_go, renew
from satchel.server.gateway.errors import as_fault, headers_of, json_body
from satchel.server.gateway.raw import App, Disconnected, Message, Receive, Scope, Send, header, respond
from satchel.server.gateway.services import Services
from satchel.server.gateway.tally import CODE

_log = structlog.get_logger("gateway")

METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
PREFIX = "/api/v1/"
NOT_FOR = ("/api/v1/public/",)
"""Routes of whoever has no account."""
ANSWER_BYTES_MAX = MIB
UNREAD_BYTES_MAX = 64 * KIB
"""A body that the route did not read is read for its hash up to this length."""
CLAIM_BYTES = 16
TOLD_AGAIN = (b"content-type", b"location", b"etag", b"upload-offset", b"upload-length", b"cache-control")
_NAMED_BY = (b"if-match", b"if-none-match", b"upload-offset", b"content-type")
"""Headers that make another request of the same address."""
_NOT_KEPT = frozenset({401, 403, 408, 429})
_SECRETS = frozenset({"token", "secret", "uri", "recovery_codes", "device_code", "key"})


class Repeating:
    """Answers requests by `app`, and repeated ones from what is kept."""

    def __init__(self, services: Services, app: App) -> None:
        self._services = services
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of REST."""
        told = header(scope["headers"], b"idempotency-key")
        is_wanted = bool(told) and scope["method"] in METHODS and scope["path"].startswith(PREFIX)
        if not is_wanted or scope["path"].startswith(NOT_FOR):
            await self._app(scope, receive, send)
            return
        try:
            key = await self._key(scope, told)
            kept = None if key is None else await claim(self._services.db, key, self._services.clock.now_ms())
            if kept is not None:
                await self._again(kept, receive, send)
                return
        except Fault as error:
            await self._refuse(error, scope, send)
            return
        if key is None:
            await self._app(scope, receive, send)
        else:
            await self._first(key, scope, receive, send)

    async def _key(self, scope: Scope, told: bytes) -> Key | None:
        """Return the request's key; None for a caller who is unknown: the route refuses it. Raises: MessageInvalid."""
        if len(told) > IDEMPOTENCY_KEY_CHARS_MAX or not all(0x20 < byte < 0x7F for byte in told):
            raise MessageInvalid("An Idempotency-Key is 1 to 255 printable characters.", reason="idempotency-key")
        try:
            principal = await self._services.identity.of_scope(scope)
        except Unauthenticated:
            return None
        named = [header(scope["headers"], name) for name in _NAMED_BY]
        address = scope.get("raw_path") or scope["path"].encode()
        parts = [scope["method"].encode(), address, scope["query_string"], *named]
        asked = hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()
        return Key(principal.account_id, hashed_key(told.decode()), asked, self._services.clock.random(CLAIM_BYTES))

    async def _first(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the request answered, keep the answer, send it."""
        db, body, answer = self._services.db, _Body(scope, receive), _Answer()
        is_done = False
        try:
            await self._held(key, lambda: self._app(scope, body.receive, answer.send))
            is_done = answer.is_worth_keeping and await body.is_whole()
        finally:
            if not is_done:
                await let_go(db, key)
        if is_done:
            kept = Kept(body.digest(), answer.status, answer.told_again(), _without_secrets(answer))
            try:
                await keep(db, key, kept)
            except Fault as error:
                # It is done all the same, and its caller has to know.
                _log.warning("repeat.not_kept", error=str(error))
        for message in answer.messages:
            await send(message)

    async def _held(self, key: Key, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work, and say meanwhile that it is being done."""
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renewed(key))
                try:
                    await work()
                finally:
                    renewing.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _renewed(self, key: Key) -> None:
        while True:
            await asyncio.sleep(CLAIM_MS / 3_000)
            with contextlib.suppress(Fault):
                await renew(self._services.db, key, self._services.clock.now_ms())

    async def _again(self, kept: Kept, receive: Receive, send: Send) -> None:
        """Give the answer that was given. Raises: KeyReused when what comes is not what came."""
        hasher, is_more = hashlib.sha256(), True
        while is_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            hasher.update(message.get("body", b""))
            is_more = message.get("more_body", False)
        if hasher.digest() != kept.body:
            raise KeyReused("This Idempotency-Key was used for another request.")
        headers = [(name.encode(), value.encode()) for name, value in json.loads(kept.headers)]
        await respond(send, kept.status, [*headers, (b"idempotent-replayed", b"true")], (kept.answer,))

    async def _refuse(self, error: Fault, scope: Scope, send: Send) -> None:
        fault, number = as_fault(error, self._services.clock, route=PREFIX)
        scope[CODE] = fault.code
        body = json_body(fault, number)
        headers = [pair for pair in headers_of(fault, b"application/json", body) if pair[0] != b"content-length"]
        await respond(send, fault.status, headers, (body,))


class _Body:
    """A request's body, hashed while the route reads it."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        length = header(scope["headers"], b"content-length")
        self._is_read = not header(scope["headers"], b"transfer-encoding") and length in (b"", b"0")
        self._unread = int(length) if length.isdigit() else UNREAD_BYTES_MAX + 1
        self._receive = receive
        self._hasher = hashlib.sha256()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            part = message.get("body", b"")
            self._hasher.update(part)
            self._unread -= len(part)
            self._is_read = not message.get("more_body", False)
        return message

    async def is_whole(self) -> bool:
        """Tell whether all of it was read; a short rest is read now."""
        while not self._is_read and self._unread <= UNREAD_BYTES_MAX:
            if (await self.receive())["type"] == "http.disconnect":
                return False
        return self._is_read

    def digest(self) -> bytes:
        return self._hasher.digest()


class _Answer:
    """What the route answers, held back until it is kept."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.status = 0
        self.body = b""

    async def send(self, message: Message) -> None:
        self.messages.append(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message.get("body", b"")

    @property
    def is_worth_keeping(self) -> bool:
        return 0 < self.status < 500 and self.status not in _NOT_KEPT and len(self.body) <= ANSWER_BYTES_MAX

    def told_again(self) -> str:
        """Return the headers of a repeated answer, as JSON."""
        headers = self.messages[0].get("headers", ())
        return json.dumps([(name.decode(), value.decode("latin-1")) for name, value in headers if name in TOLD_AGAIN])


def _without_secrets(answer: _Answer) -> bytes:
    """Return the answer's body as it may be kept."""
    if answer.status >= 400 or not answer.body.startswith(b"{"):
        return answer.body
    return json.dumps(_blanked(json.loads(answer.body)), separators=(",", ":"), ensure_ascii=False).encode()


def _blanked(value: object) -> object:
    if isinstance(value, list):
        return [_blanked(each) for each in value]
    if not isinstance(value, dict):
        return value
    # A link's address holds its token.
    hidden = _SECRETS | {"url"} if "token" in value else _SECRETS
    return {
        name: (type(each)() if name in hidden and isinstance(each, str | list) else _blanked(each))
        for name, each in value.items()
    }
