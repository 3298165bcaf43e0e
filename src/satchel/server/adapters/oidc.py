"""Sign-in by OpenID Connect: the authorization code with PKCE, as a confidential client. Invariant: nothing of the
provider counts before its signature, issuer, audience, nonce and times were checked by the keys that the issuer names.

The administrator names the issuer, so that it may stand on a private address; what its discovery document names beside
it may not. No redirect is followed, and every answer is bounded in bytes and time.
Source: OpenID Connect Core 1.0 (3.1), Discovery 1.0, RP-Initiated Logout 1.0, RFC 7636, RFC 9207.
"""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar
from urllib.parse import quote_plus, urlencode, urlsplit

import aiohttp
import msgspec
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from satchel.core.errors import Unauthenticated, Unavailable
from satchel.server.adapters.addresses import address_of, is_public
from satchel.server.ports import Clock, Identified

_log = structlog.get_logger("oidc")

T = TypeVar("T")

WELL_KNOWN = "/.well-known/openid-configuration"
SCOPE = "openid profile email"
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
"""Signatures by a key that the issuer alone holds: none of those that a secret of ours would make."""
ANSWER_BYTES_MAX = 1 << 20
TIMEOUT_S = 10.0
KEPT_MS = 60 * 60 * 1_000
"""So long the discovery document and the keys are believed."""
KEYS_AGAIN_MS = 60 * 1_000
"""Keys that lack the one which signed are fetched anew, but not more often than this."""
LEEWAY_S = 60
SUBJECT_CHARS_MAX = 255
EMAIL_CHARS_MAX = 254


class Client(NamedTuple):
    """Who we are to the provider. secret: empty for a public client."""

    issuer: str
    client_id: str
    secret: str

    def __repr__(self) -> str:
        return f"Client({self.issuer!r}, {self.client_id!r})"


class _Document(msgspec.Struct, frozen=True):
    """What is used of the discovery document."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str | None = None
    token_endpoint_auth_methods_supported: list[str] = []


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str = ""


@dataclass(slots=True)
class _Kept:
    """What was fetched last, and when (Unix ms)."""

    document: _Document | None = None
    document_ms: int = 0
    keys: KeySet = field(default_factory=lambda: KeySet([]))
    keys_ms: int = 0


class OidcProvider:
    """`SignInProvider` over one issuer."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self.issuer = client.issuer
        self._client = client
        self._clock = clock
        self._kept = _Kept()
        self._http: aiohttp.ClientSession | None = None

    async def page(self, *, state: str, nonce: str, challenge: str, redirect: str) -> str:
        """As the port says."""
        document = await self._document()
        asked = {
            "response_type": "code",
            "client_id": self._client.client_id,
            "redirect_uri": redirect,
            "scope": SCOPE,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return _asking(document.authorization_endpoint, asked)

    async def end_page(self, *, back: str) -> str:
        """As the port says. No token is kept to name the person by: the provider asks who is there."""
        page = (await self._document()).end_session_endpoint or ""
        own, named = urlsplit(self.issuer), urlsplit(page)
        # A browser goes there, so it may be any host; but never a script, or a line that all can read.
        if not (named.scheme == "https" or (named.scheme, named.netloc) == (own.scheme, own.netloc)):
            return ""
        return _asking(page, {"client_id": self._client.client_id, "post_logout_redirect_uri": back})

    async def identified(self, *, code: str, verifier: str, nonce: str, redirect: str) -> Identified:
        """As the port says."""
        document = await self._document()
        tokens = await self._tokens(document, code=code, verifier=verifier, redirect=redirect)
        claims = await self._claims(document, tokens.id_token, nonce)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS_MAX:
            raise _wrong("sub")
        if "email" not in claims and document.userinfo_endpoint and tokens.access_token:
            more = await self._userinfo(document, tokens.access_token)
            # Another person's facts under this sign-in would be taken for theirs (OpenID Connect Core, 5.3.2).
            if more.get("sub") != subject:
                raise _wrong("userinfo")
            claims = {**more, **claims}
        email = claims.get("email")
        is_verified = claims.get("email_verified") is True and isinstance(email, str) and email.isprintable()
        address = str(email) if is_verified and len(str(email)) <= EMAIL_CHARS_MAX else ""
        told = (claims.get("preferred_username"), address.partition("@")[0], claims.get("name"))
        names = tuple(name for name in told if isinstance(name, str) and name)
        return Identified(self.issuer, subject, address, names, claims)

    async def close(self) -> None:
        """Let go of the connections."""
        if self._http is not None:
            await self._http.close()

    # -- what the provider says -----------------------------------------------------------------------------------

    async def _document(self) -> _Document:
        kept, now = self._kept, self._clock.now_ms()
        if kept.document is None or not 0 <= now - kept.document_ms < KEPT_MS:
            raw = await self._get(self.issuer.rstrip("/") + WELL_KNOWN)
            document = _decoded(raw, _Document)
            if document.issuer != self.issuer:
                raise _away(f"it calls itself {document.issuer[:200]}; oidc_issuer has to be written the same")
            kept.document, kept.document_ms = document, now
        return kept.document

    async def _tokens(self, document: _Document, *, code: str, verifier: str, redirect: str) -> _Tokens:
        client = self._client
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": verifier,
            "client_id": client.client_id,
        }
        headers = {}
        methods = document.token_endpoint_auth_methods_supported
        if client.secret and methods and "client_secret_basic" not in methods:
            form["client_secret"] = client.secret
        elif client.secret:
            pair = f"{quote_plus(client.client_id)}:{quote_plus(client.secret)}"
            headers["authorization"] = "Basic " + b64encode(pair.encode()).decode()
        raw = await self._ask("POST", document.token_endpoint, headers=headers, form=form)
        return _decoded(raw, _Tokens)

    async def _claims(self, document: _Document, token: str, nonce: str) -> dict[str, object]:
        """Return what a token says once it is checked. Raises: Unauthenticated, Unavailable."""
        now = self._clock.now_ms()
        kept = self._kept
        if not kept.keys.keys or not 0 <= now - kept.keys_ms < KEPT_MS:
            await self._fetch_keys(document)
        try:
            found = jwt.decode(token, kept.keys, algorithms=ALGORITHMS)
        except (JoseError, ValueError):
            # The issuer may have changed its keys since they were fetched.
            if self._clock.now_ms() - kept.keys_ms < KEYS_AGAIN_MS:
                raise _wrong("signature") from None
            await self._fetch_keys(document)
            try:
                found = jwt.decode(token, kept.keys, algorithms=ALGORITHMS)
            except (JoseError, ValueError):
                raise _wrong("signature") from None
        rules = jwt.JWTClaimsRegistry(
            now=now // 1_000,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self._client.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        claims: dict[str, object] = dict(found.claims)
        try:
            rules.validate(claims)
        except (JoseError, ValueError) as error:
            raise _wrong(str(getattr(error, "claim", "") or error.__class__.__name__)) from None
        audience = claims["aud"]
        is_shared = isinstance(audience, list) and len(audience) > 1
        if claims.get("azp", self._client.client_id) != self._client.client_id or (is_shared and "azp" not in claims):
            raise _wrong("azp")
        return claims

    async def _fetch_keys(self, document: _Document) -> None:
        found = _decoded(await self._get(document.jwks_uri), dict[str, list[dict[str, object]]])
        usable = []
        for key in found.get("keys", []):
            try:
                usable += KeySet.import_key_set({"keys": [key]}).keys  # type: ignore[list-item]  # raw, as it came
            except (JoseError, ValueError, KeyError, TypeError):
                # A key of a kind that is not known here signs nothing that counts.
                continue
        self._kept.keys, self._kept.keys_ms = KeySet(usable), self._clock.now_ms()

    async def _userinfo(self, document: _Document, access_token: str) -> dict[str, object]:
        raw = await self._get(document.userinfo_endpoint, {"authorization": f"Bearer {access_token}"})
        return _decoded(raw, dict[str, object])

    # -- how it is asked ------------------------------------------------------------------------------------------

    async def _get(self, url: str, headers: Mapping[str, str] | None = None) -> bytes:
        return await self._ask("GET", url, headers=headers or {}, form=None)

    async def _ask(self, method: str, url: str, *, headers: Mapping[str, str], form: Mapping[str, str] | None) -> bytes:
        """Return the body of a good answer. Raises: Unauthenticated (it refuses what it was given), Unavailable."""
        require_allowed(url, self.issuer)
        told = {"accept": "application/json", **headers}
        try:
            async with self._session().request(method, url, headers=told, data=form, allow_redirects=False) as answer:
                body = await _bounded(answer)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _away(f"{error.__class__.__name__} at {urlsplit(url).netloc}") from error
        if method == "POST" and status == 400:
            raise _wrong("code")
        if status != 200:
            raise _away(f"{status} at {urlsplit(url).netloc}{urlsplit(url).path}")
        return body

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            resolver = _PublicResolver(urlsplit(self.issuer).hostname or "")
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, limit=8),
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._http


class _PublicResolver(AbstractResolver):
    """Finds addresses: any for the issuer's own host, public ones alone for all others."""

    def __init__(self, issuer_host: str) -> None:
        self._issuer_host = issuer_host
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if host == self._issuer_host:
            return found
        public = [each for each in found if is_public(address_of(each["host"]))]
        if not public:
            raise OSError(None, "a private address that the administrator did not name")
        return public

    async def close(self) -> None:
        await self._inner.close()


def require_allowed(url: str, issuer: str) -> None:
    """Return when a URL of the issuer's documents may be asked: over HTTPS and not at a private address, or at the
    issuer itself. Raises: Unavailable."""
    parts, own = urlsplit(url), urlsplit(issuer)
    if (parts.scheme, parts.netloc) == (own.scheme, own.netloc):
        return
    try:
        is_private = parts.hostname != own.hostname and not is_public(address_of(parts.hostname or ""))
    except ValueError:
        # A name; the resolver looks at its addresses.
        is_private = False
    if parts.scheme != "https" or not parts.hostname or parts.username or is_private:
        raise _away(f"it names an address that is not asked: {url[:200]}")


def _asking(page: str, asked: Mapping[str, str]) -> str:
    return f"{page}{'&' if '?' in page else '?'}{urlencode(asked)}"


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in answer.content.iter_chunked(64 * 1024):
        parts.append(part)
        size += len(part)
        if size > ANSWER_BYTES_MAX:
            raise _away("an answer is too long")
    return b"".join(parts)


def _decoded(raw: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _away("an answer is not what the standard says") from error


def _wrong(what: str) -> Unauthenticated:
    _log.warning("oidc.refused", what=what)
    return Unauthenticated("The provider's answer does not sign anybody in.")


def _away(reason: str) -> Unavailable:
    _log.warning("oidc.unavailable", reason=reason)
    return Unavailable("The provider of the sign-in does not answer as it should.", where="oidc", reason=reason)
