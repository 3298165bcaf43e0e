"""The way to a Valkey or Redis server. Invariant: while it is gone or hangs, one caller after each pause finds out, in
a bounded time, and all others are told at once that it is gone.

Nothing here repeats a command: what asks knows better whether that helps. Source: docs/design/020, 060 (11).
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, urlsplit

import structlog
from redis.asyncio import BlockingConnectionPool

from satchel.core.errors import SettingInvalid
from satchel.server.ports import Clock

TIMEOUT_S = 0.5
PAUSE_S_MIN = 0.25
PAUSE_S_MAX = 5.0
SCHEMES = ("redis://", "rediss://", "unix://")
PORT_DEFAULT = 6_379
TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_DB = re.compile(r"[0-9]{1,4}")

_log = structlog.get_logger("redis")


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A server by its URL. where: its address without name and password, for logs; db: the number of its database."""

    url: str = field(repr=False)
    where: str
    db: int

    def pool(self, *, connections: int, timeout_s: float) -> BlockingConnectionPool:
        """Return a pool whose takers wait for each other; connecting, writing and reading take `timeout_s` at most."""
        # Every server speaks the second form of the protocol. With the third, the library asks on each connection for
        # notices of maintenance, and its pool then hands out connections that still hold an unread answer.
        return BlockingConnectionPool.from_url(
            self.url,
            max_connections=connections,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            protocol=2,
            driver_info=None,
        )


def server_of(url: str, *, setting: str) -> RedisServer:
    """Return the server that `url` names: `redis://[user:password@]host[:port][/db]`, `rediss://…` or `unix:///path`.

    Options: `db` of a `unix` URL; `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (paths) of a `rediss` URL.
    Raises: SettingInvalid, without any part of the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or PORT_DEFAULT
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise _wrong(setting, "host, port or options cannot be read; write special characters as %XX") from None
    if not url.startswith(SCHEMES):
        raise _wrong(setting, f"known: {', '.join(SCHEMES)}")
    known = {"unix": {"db"}, "rediss": TLS_OPTIONS}.get(parts.scheme, set())
    if parts.fragment or not options.keys() <= known:
        raise _wrong(setting, "an unknown option; write special characters of a password as %XX")
    if parts.scheme == "unix":
        return _unix(url, parts, options.get("db", "0"), setting)
    db = parts.path.removeprefix("/") or "0"
    if not parts.hostname:
        raise _wrong(setting, "it names no host")
    if not _DB.fullmatch(db):
        raise _wrong(setting, "behind the host stands the number of a database")
    return RedisServer(url, f"{parts.hostname}:{port}/{int(db)}", int(db))


def _unix(url: str, parts: SplitResult, db: str, setting: str) -> RedisServer:
    if parts.hostname or len(parts.path) < 2:
        raise _wrong(setting, "a socket is named as unix:///path")
    if not _DB.fullmatch(db):
        raise _wrong(setting, "db is the number of a database")
    return RedisServer(url, f"{parts.path}/{int(db)}", int(db))


def _wrong(setting: str, reason: str) -> SettingInvalid:
    return SettingInvalid("A URL that names no Valkey or Redis server.", setting=setting, reason=reason)


class Outage:
    """Whether a server is gone, so that not everybody has to find out. One line in the log when it begins, one after.

    use: what it is used for; where: its address. Both for the log.
    """

    def __init__(self, use: str, where: str, clock: Clock) -> None:
        self._use, self._where, self._clock = use, where, clock
        self._pause_s = 0.0
        self._ask_at = 0.0
        self._is_asking = False

    @property
    def is_on(self) -> bool:
        """Whether the server was gone when last asked."""
        return self._pause_s > 0

    def may_ask(self) -> bool:
        """Return whether to ask the server: always while it answers; else once after each pause."""
        if not self.is_on:
            return True
        now = asyncio.get_running_loop().time()
        if now < self._ask_at:
            return False
        # Should the one that asks now be cancelled, another may ask later.
        self._ask_at = now + TIMEOUT_S + self._pause_s
        self._is_asking = True
        return True

    def failed(self, error: Exception) -> float:
        """Note that the server did not answer; return the seconds before it is asked again."""
        if not self.is_on:
            _log.warning("redis.gone", use=self._use, where=self._where, error=type(error).__name__, reason=str(error))
        elif not self._is_asking:
            # One of many that were on their way when it broke: counted once.
            return self._pause_s
        self._is_asking = False
        self._pause_s = min(max(PAUSE_S_MIN, self._pause_s * 2), PAUSE_S_MAX)
        jittered_s = self._pause_s * (0.75 + self._clock.random(1)[0] / 1_024)
        self._ask_at = asyncio.get_running_loop().time() + jittered_s
        return jittered_s

    def worked(self) -> None:
        """Note that the server answered."""
        if self.is_on:
            _log.info("redis.back", use=self._use, where=self._where)
        self._pause_s = 0.0
        self._is_asking = False
