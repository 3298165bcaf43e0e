"""Sends what happened to addresses that people named. Invariant: nothing reaches a machine of ours, or beside us.

A name is resolved by us, each of its addresses is looked at, and the connection goes to one that was looked at: a name
that means another machine a moment later gains nothing. Redirects are not followed. Source: docs/design/060 (6).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from satchel.core.errors import MessageInvalid, Unavailable
from satchel.server.adapters.addresses import Address, address_of, is_public

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

TOTAL_S = 10.0
RESOLVE_S = 5.0
URL_CHARS_MAX = 2_000


class HttpPoster:
    """Implements `Poster`. networks: those that may be reached though they are not public, also without TLS."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)

    async def check(self, url: str) -> None:
        """Return when something may be sent there. Raises: MessageInvalid."""
        scheme, host, port = _parts(url)
        try:
            await _Resolver(self._networks, is_plain=scheme == "http").resolve(host, port)
        except (OSError, UnicodeError) as error:
            # A name with a label that is empty or too long is none that is looked up.
            raise MessageInvalid(f"Nothing is sent to this address: {error}.", reason="url") from None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Send a body; return the answer's status. Raises: Unavailable."""
        try:
            scheme, host, port = _parts(url)
            resolver = _Resolver(self._networks, is_plain=scheme == "http")
            # What is an address already is not resolved by the client, so it is looked at here.
            await resolver.resolve(host, port)
            connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True, limit=1)
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    timeout=aiohttp.ClientTimeout(total=TOTAL_S),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trust_env=False,
                    auto_decompress=False,
                ) as session,
                session.post(url, data=body, headers=dict(headers), allow_redirects=False) as response,
            ):
                return response.status
        except MessageInvalid as error:
            raise Unavailable(error.message, where="webhook", reason="url") from error
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Unavailable("The address does not answer.", where="webhook", reason=type(error).__name__) from error


class _Resolver(AbstractResolver):
    """Resolves names to addresses that may be reached; a name with one that may not has none."""

    def __init__(self, networks: Sequence[Network], *, is_plain: bool) -> None:
        self._networks = networks
        self._is_plain = is_plain

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(RESOLVE_S):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        told: list[ResolveResult] = []
        for kind, _, protocol, _, place in found:
            address = str(place[0])
            self._require_reachable(address_of(address))
            told.append(
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=kind,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        if not told:
            raise OSError("the name has no address")
        return told

    async def close(self) -> None:
        """Nothing is held."""

    def _require_reachable(self, address: Address) -> None:
        if any(address in network for network in self._networks):
            return
        if self._is_plain:
            raise OSError("without TLS only networks that the administrator named are reached")
        if not is_public(address):
            raise OSError("it is not a public address")


def _parts(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port. Raises: MessageInvalid."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise MessageInvalid("This is no address.", reason="url") from None
    is_clean = url.isascii() and url.isprintable() and " " not in url and "\\" not in url and len(url) <= URL_CHARS_MAX
    if not is_clean or parts.scheme not in ("http", "https") or not parts.hostname:
        raise MessageInvalid("An address looks like https://example.org/hook.", reason="url")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise MessageInvalid("An address holds no name, no password and no '#'.", reason="url")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)
