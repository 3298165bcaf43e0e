"""One HTTP session to one server: requests, bounded replies, faults. Invariant: nothing leaves the server's own origin.

Redirects are never followed, so a token cannot travel to another place. Foreign errors are translated here, once:
what keeps us from an answer is `Unavailable`, what the server says is the fault of that code. Source: docs/design/060.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import SimpleNamespace

import aiohttp
from yarl import URL

from satchel import __version__
from satchel.core.errors import (
    Fault,
    LimitExceeded,
    MessageInvalid,
    StorageFailed,
    StorageFull,
    Unavailable,
    every_fault,
)
from satchel.core.limits import KIB
from satchel.device.pace import Bucket

CONNECTIONS_MAX = 8
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
ANSWER_TIMEOUT_S = 120
BYTES_PER_S_MIN = 16 * KIB
"""A request may last as long as its bytes need at this rate, beside ANSWER_TIMEOUT_S."""
ERROR_BYTES_MAX = 64 * KIB
JOINED_BYTES_MAX = 64 * KIB
"""Shorter bodies are joined: one write and one packet instead of several."""
PART_BYTES = 256 * KIB
"""Small pieces of a long body leave in parts of about this length: a copy costs far less than a write."""
KEEPALIVE_S = 60

_FAULTS = {fault.code: fault for fault in every_fault()}
_LOST = (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError, aiohttp.ClientOSError)


class ConnectionLost(Unavailable):
    """An open connection broke before the answer, as an idle one does that the server closed meanwhile."""


def parse_origin(url: str) -> URL:
    """Return the server's address without path. Raises: MessageInvalid."""
    try:
        parsed = URL(url.strip())
        if parsed.scheme in ("http", "https") and parsed.host and not parsed.user and not parsed.password:
            return parsed.origin()
    except ValueError:
        pass
    raise MessageInvalid("A server address looks like https://files.example.org.", reason="url", url=url)


class Deadline:
    """How long one request may take. Its time stands still while the request waits under a limit of the user's."""

    def __init__(self) -> None:
        self._timeout: asyncio.Timeout | None = None

    @contextlib.asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Raise TimeoutError when the block lasts longer than that and what it was put off by."""
        async with asyncio.timeout(seconds) as self._timeout:
            try:
                yield
            finally:
                self._timeout = None

    def put_off(self, seconds: float) -> None:
        """Move the end; nothing when it has not begun or is over."""
        if self._timeout is not None and not self._timeout.expired():
            when = self._timeout.when()
            assert when is not None
            self._timeout.reschedule(when + seconds)


class HttpSession:
    """Requests to one origin with one token ("" before login). Made outside a loop; the first request opens it."""

    def __init__(self, url: str, token: str, *, connections: int = CONNECTIONS_MAX) -> None:
        self._connections = connections
        self.origin = parse_origin(url)
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open aiohttp session."""
        if self._session is None:
            tracing = aiohttp.TraceConfig()
            tracing.on_request_redirect.append(_refuse_redirect)
            headers = {"User-Agent": f"satchel/{__version__}", "Accept-Encoding": "identity"}
            if self._token:
                headers["Authorization"] = f"Bearer {self._token}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=KEEPALIVE_S),
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=256 * KIB,
                trace_configs=[tracing],
            )
        return self._session

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | AsyncIterator[bytes | memoryview] | None = None,
        bytes_expected: int = 0,
        deadline: Deadline | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the response, whatever its status; its body is read inside. bytes_expected: both ways, for the timeout.

        deadline: given by who puts it off meanwhile. Raises: Unavailable, also for what breaks while the body is read.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
        total_s = ANSWER_TIMEOUT_S + bytes_expected / BYTES_PER_S_MIN
        url = self.origin.with_path(path).with_query(params)
        with translating(str(self.origin)):
            async with (
                (deadline or Deadline()).within(total_s),
                self.session.request(
                    method, url, headers=headers, data=data, timeout=timeout, allow_redirects=False
                ) as response,
            ):
                if 300 <= response.status < 400:
                    raise redirected(str(self.origin))
                yield response

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None


@contextlib.contextmanager
def translating(where: str) -> Iterator[None]:
    """Turn what the network and its library raise into `Unavailable`."""
    try:
        yield
    except TimeoutError as error:
        raise Unavailable("The server did not answer in time.", where=where, reason="timeout") from error
    except (aiohttp.ClientConnectorCertificateError, ssl.SSLError) as error:
        raise Unavailable("The server's certificate is not trusted.", where=where, reason=str(error)) from error
    except (aiohttp.ClientError, OSError) as error:
        if isinstance(error, _LOST) and not isinstance(error, aiohttp.ClientConnectorError):
            raise ConnectionLost("The connection to the server broke.", where=where, reason=repr(error)) from error
        raise Unavailable("The server cannot be reached.", where=where, reason=repr(error)) from error


async def read_bounded(
    response: aiohttp.ClientResponse,
    bytes_max: int,
    *,
    bucket: Bucket | None = None,
    deadline: Deadline | None = None,
) -> memoryview:
    """Return the whole body, as fast as `bucket` lets it come. deadline: the request's, put off by what that takes.

    Raises: LimitExceeded, before anything is read when the length is declared.
    """
    size = response.content_length or 0
    # Parts are appended as they come: a list of them and their join would be in memory at once.
    body = bytearray()
    if size <= bytes_max:
        async for part in response.content.iter_any():
            body += part
            size = max(size, len(body))
            if size > bytes_max:
                break
            if bucket is not None:
                await bucket.take(len(part), (deadline or Deadline()).put_off)
    if size > bytes_max:
        response.close()
        raise LimitExceeded("The server's reply is too long.", limit="reply_bytes", maximum=bytes_max, actual=size)
    return memoryview(body)


async def pieces_of(body: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Yield the body in parts worth a write each: small pieces joined, long ones as they are, so none is copied."""
    part: list[bytes] = []
    size = 0
    for piece in body:
        if len(piece) >= PART_BYTES:
            if part:
                yield b"".join(part)
                part, size = [], 0
            yield piece
            continue
        part.append(piece)
        size += len(piece)
        if size >= PART_BYTES:
            yield b"".join(part)
            part, size = [], 0
    if part:
        yield b"".join(part)


@contextlib.contextmanager
def keeping() -> Iterator[None]:
    """Turn what this machine's disk raises while it takes what came into its own fault: the network is well.

    Raises: StorageFull, StorageFailed.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFull("The disk is full.", where="here", reason=reason) from error
        raise StorageFailed("The disk failed.", where="here", reason=reason) from error


def named_fault(code: str, message: str, hint: str, fields: Mapping[str, object]) -> Fault:
    """Return the fault that the server named. A code of a newer server is a plain Fault with that code and hint."""
    data = {name: value for name, value in fields.items() if name not in ("self", "message")}
    known = _FAULTS.get(code)
    if known is not None:
        return known(message, **data)
    fault = Fault(message, **data)
    fault.code, fault.hint = code, hint
    return fault


def foreign_fault(response: aiohttp.ClientResponse, where: str) -> Unavailable:
    """Return the fault for an answer that no Satchel made: a proxy's error page, a hotel's sign-in page."""
    retry_after_s = retry_after(response)
    return Unavailable(
        "Something between this device and the server answered in its place.",
        where=where,
        reason=f"HTTP {response.status}, {response.content_type}",
        retry_after_s=retry_after_s,
    )


def retry_after(response: aiohttp.ClientResponse) -> float:
    """Return the seconds of Retry-After, 0 when there is none that can be read."""
    told = response.headers.get("Retry-After", "")
    return float(min(int(told), 3600)) if told.isdigit() and len(told) < 10 else 0.0


def redirected(where: str) -> Unavailable:
    """Return the fault for a redirect, which is never followed."""
    return Unavailable(
        "The server answered with a redirect. If its address changed, sign in at the new one.",
        where=where,
        reason="redirect",
    )


async def _refuse_redirect(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestRedirectParams
) -> None:
    raise redirected(str(params.url.origin()))
