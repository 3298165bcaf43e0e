"""The daemon's own page in a browser on this machine: what it does, what waits and why, and what may be asked of it.

Invariant: it listens on loopback only, from when `satchel open` asks for it until nobody has looked for a while. It
does nothing for who cannot show a token, which only a code gives that `satchel open` handed over (once, within
minutes). The code travels in the fragment of an address, which is in no request; no cookie is used, since those are
shared by all ports of a machine. A request that names another host is a page elsewhere that had its name resolved to
here. Source: docs/design/060 (3, 5, 7).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from satchel.core.errors import Fault, MessageInvalid, TooManyRequests, Unauthenticated, Unavailable
from satchel.device.control import ANSWER_DEADLINE_S, REQUEST_BYTES_MAX, Answer, FaultTold, Request
from satchel.device.logs import EventLog

if TYPE_CHECKING:
    from aiohttp import web

log = EventLog(__name__)

FOLDER = Path(__file__).parent / "static"
PAGE = "/device.html"
HOST = "127.0.0.1"
CODE_S = 180.0
IDLE_S = 1_800.0
IDLE_LOOK_S = 60.0
CODES_MAX = 8
TOKENS_MAX = 16
BUSY_MAX = 16
AMEND_S_MAX = 600.0
ALLOWED: Final = frozenset(
    [
        *("status", "pause", "resume", "hint", "held", "allow_held", "undo_held", "undo", "resolve"),
        *("include", "excluded", "conflicts", "set_limits"),
    ]
)
"""What the page may ask. It neither ends the daemon nor leaves anything out: those need no page."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none';"
    " form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[object]]


class PageOpened(msgspec.Struct, frozen=True):
    """Where the page is. url: with a code in its fragment, for one browser."""

    url: str


class _CodeGiven(msgspec.Struct, frozen=True):
    code: str


class _Token(msgspec.Struct, frozen=True):
    token: str


class LocalPage:
    """Serves the page while somebody looks. handler: does what is asked; random: bytes nobody can guess."""

    def __init__(
        self, handler: Handler, random: Callable[[int], bytes], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._handler = handler
        self._random = random
        self._now_s = now_s
        self._codes: dict[bytes, float] = {}
        self._tokens: list[bytes] = []
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._seen_s = 0.0
        self._busy = 0
        self._opening = asyncio.Lock()
        self._files: dict[str, bytes] = {}

    async def open(self) -> PageOpened:
        """Listen, unless it does, and make a code. Raises: Unavailable when no port is free or no page is built."""
        async with self._opening:
            if self._runner is None:
                await self._begin()
        now_s = self._seen_s = self._now_s()
        code = self._random(16).hex()
        self._codes = {known: until_s for known, until_s in self._codes.items() if until_s > now_s}
        while len(self._codes) >= CODES_MAX:
            del self._codes[next(iter(self._codes))]
        self._codes[_hash(code)] = now_s + CODE_S
        return PageOpened(f"http://{HOST}:{self._port}/#{code}")

    async def run(self) -> None:
        """End the listening once nobody looks; ends when it is cancelled."""
        try:
            while True:
                await asyncio.sleep(IDLE_LOOK_S)
                await self.end_if_idle()
        finally:
            await self.close()

    async def end_if_idle(self) -> None:
        """Stop listening when nothing was asked for a while; who comes back opens it anew."""
        async with self._opening:
            if self._runner is not None and self._now_s() - self._seen_s > IDLE_S:
                await self.close()

    async def close(self) -> None:
        """Stop listening; every token ends."""
        runner, self._runner = self._runner, None
        self._tokens.clear()
        self._codes.clear()
        if runner is not None:
            await runner.cleanup()

    async def _begin(self) -> None:
        # Only who opens the page pays for it in memory.
        from aiohttp import web

        self._files = await asyncio.to_thread(_built)
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        app.router.add_post("/session", self._session)
        app.router.add_post("/ask", self._ask)
        app.router.add_get("/{path:.*}", self._file)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        site = web.TCPSite(runner, HOST, 0)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise Unavailable("No port is free for the page.", where="page", reason=str(error)) from error
        self._port = int(runner.addresses[0][1])
        self._runner = runner
        log.info("page.opened", port=self._port)

    # -- what a browser asks ------------------------------------------------------------------------------------------

    async def _file(self, request: web.Request) -> web.Response:
        from aiohttp import web

        path = PAGE if request.path == "/" else request.path
        data = self._files.get(path)
        if data is None or not self._is_ours(request):
            return web.Response(status=404, headers=HEADERS)
        return web.Response(body=data, content_type=_TYPES[Path(path).suffix], charset="utf-8", headers=HEADERS)

    async def _session(self, request: web.Request) -> web.Response:
        """Give a token for a code, which is used up."""
        try:
            self._check(request)
            given = _decoded(await request.read(), _CodeGiven)
            until_s = self._codes.pop(_hash(given.code), 0.0)
            if until_s < self._now_s():
                raise Unauthenticated("The code is used up. Run 'satchel open' again.")
        except Fault as fault:
            return _told(fault)
        token = self._random(16).hex()
        self._tokens = [*self._tokens[1 - TOKENS_MAX :], _hash(token)]
        return _given(_Token(token))

    async def _ask(self, request: web.Request) -> web.Response:
        """Do what the daemon's socket does, for who has a token."""
        try:
            self._check(request)
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or _hash(token) not in self._tokens:
                raise Unauthenticated("This page has ended. Run 'satchel open' again.")
            asked = _decoded(await request.read(), Request)
            if asked.do not in ALLOWED:
                raise MessageInvalid("The page may not ask this.", reason=asked.do)
            self._seen_s = self._now_s()
            if self._busy >= BUSY_MAX:
                raise TooManyRequests("Too many requests at once.", retry_after_s=1)
            self._busy += 1
            try:
                async with asyncio.timeout(min(asked.timeout_s, AMEND_S_MAX) + ANSWER_DEADLINE_S):
                    return _given(await self._handler(asked))
            except TimeoutError:
                raise Unavailable("The daemon took too long.", where="daemon", reason="deadline") from None
            finally:
                self._busy -= 1
        except Fault as fault:
            return _told(fault)

    def _is_ours(self, request: web.Request) -> bool:
        return request.headers.get("Host", "") == f"{HOST}:{self._port}"

    def _check(self, request: web.Request) -> None:
        """Refuse what another page asks. Raises: Unauthenticated."""
        origin = request.headers.get("Origin", "")
        if not self._is_ours(request) or origin not in ("", f"http://{HOST}:{self._port}"):
            raise Unauthenticated("This is asked by another page.")


def _built() -> dict[str, bytes]:
    """Return the page's files by their paths. Raises: Unavailable."""
    found = {
        f"/{path.relative_to(FOLDER).as_posix()}": path.read_bytes()
        for path in FOLDER.rglob("*")
        if path.suffix in _TYPES
    }
    if PAGE not in found:
        raise Unavailable(
            "This installation has no page; 'satchel status' tells the same.", where="page", reason="none"
        )
    return found


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _decoded(raw: bytes, into: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=into)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageInvalid("The page asked something else than this daemon knows.", reason=str(error)) from error


def _given(value: object) -> web.Response:
    from aiohttp import web

    answer = Answer(msgspec.Raw(msgspec.json.encode(value)))
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json", headers=HEADERS)


def _told(fault: Fault) -> web.Response:
    from aiohttp import web

    told = FaultTold(fault.code, fault.message, {key: str(value) for key, value in fault.fields.items()})
    body = msgspec.json.encode(Answer(fault=told))
    return web.Response(body=body, status=fault.status, content_type="application/json", headers=HEADERS)
