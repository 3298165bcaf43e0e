"""REST: signing a browser in by the provider that the settings name. Invariant: a sign-in ends in the browser in which
it began, once, within ten minutes.

What belongs to an attempt (state, nonce and the verifier of PKCE) follows from one secret, which the browser holds in a
sealed cookie: nothing is stored for attempts that never come back. The cookie is sent along by the provider's page, so
it is `Lax`; the session's stays `Strict`. Source: OpenID Connect Core 1.0 (3.1), RFC 7636, docs/operate/oidc.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Annotated

import msgspec
import structlog
from litestar import Response, delete, get, post
from litestar.params import QueryParameter

from satchel.core.errors import Fault, MessageInvalid, NotFound, Unauthenticated
from satchel.core.ids import ID_BYTES
from satchel.server.accounts.guesses import Guessed, pay
from satchel.server.accounts.oidc_links import (
    Policy,
    link_own,
    list_links,
    prove_identified,
    unlink,
    use_attempt,
)
from satchel.server.accounts.principal import Means
from satchel.server.accounts.proving import prove_again
from satchel.server.accounts.sessions import begin_session
from satchel.server.gateway.account import LOGIN_BODY_BYTES_MAX
from satchel.server.gateway.cookies import Cookies, Headers
from satchel.server.gateway.rest import Asked, address_of, from_hex, principal_of, services_of
from satchel.server.gateway.services import Services
from satchel.server.gateway.sessions import cookie_headers, forget
from satchel.server.ports import SignInProvider
from satchel.server.settings import Oidc

_log = structlog.get_logger("oidc")

BEGIN = "/api/v1/oidc/begin"
CALLBACK = "/api/v1/oidc/callback"
END = "/api/v1/oidc/end"
OWN = "/api/v1/account/oidc"
SIGN_IN_PAGE, LINKING_PAGE = "/sign-in", "/settings/security"
"""Pages of the web app that say what became of an attempt."""
SECRET_BYTES = 32
ATTEMPT_MS = 10 * 60 * 1_000
CODE_CHARS_MAX = 4_096
COOKIE_CHARS_MAX = 1_024
NAME = "Browser"
_NEXT = re.compile(r"/(?![/\\])[\w./?=&%~-]{0,200}", re.ASCII)
"""A place of our own pages: never another host's."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in that is under way. account, session: whose browser asks to be linked; empty for a sign-in.

    goes_on: the page to show in the end.
    """

    secret: bytes
    until_ms: int
    account: bytes = b""
    session: bytes = b""
    goes_on: str = "/"

    @property
    def state(self) -> str:
        """What the provider sends back."""
        return self._derived(b"state")

    @property
    def nonce(self) -> str:
        """What the provider signs."""
        return self._derived(b"nonce")

    @property
    def verifier(self) -> str:
        """What proves to the provider that it was we who began."""
        return self._derived(b"verifier")

    @property
    def challenge(self) -> str:
        """The verifier's hash."""
        return _text(hashlib.sha256(self.verifier.encode()).digest())

    def _derived(self, purpose: bytes) -> str:
        return _text(hmac.digest(self.secret, b"satchel oidc " + purpose, hashlib.sha256))


class OidcOffered(msgspec.Struct, frozen=True):
    """issuer: empty when people sign in by password alone. begin, end: routes that lead a browser to its pages."""

    is_offered: bool
    issuer: str = ""
    begin: str = ""
    end: str = ""


class OidcLinkAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The account's password; next: the page to show in the end."""

    password: str
    next: str = "/"


class OidcBegun(msgspec.Struct, frozen=True):
    """page: the provider's, to which the browser goes next."""

    page: str


class OidcLinkShown(msgspec.Struct, frozen=True):
    """A sign-in that opens the account. email: as the provider said when it was linked; seen_ms: to the hour."""

    id: str
    issuer: str
    email: str
    created_ms: int
    seen_ms: int


@get("/api/v1/oidc", public=True)
async def offered(request: Asked) -> OidcOffered:
    """Tell whether people sign in by a provider, and where that begins."""
    provider = services_of(request).provider
    return OidcOffered(False) if provider is None else OidcOffered(True, provider.issuer, BEGIN, END)


@get(BEGIN, status_code=303, public=True)
async def begin(request: Asked, next: str = "/") -> Response[None]:  # the query's name
    """Go to the provider's page. next: the page of our own to show in the end."""
    services, (provider, _) = services_of(request), _configured(request)
    await pay(services.state, Guessed.PROVIDER, address=address_of(request))
    attempt = _attempt(services, next)
    return Response(
        None,
        status_code=303,
        headers={"location": await _page(services, provider, attempt), **_setting(services, attempt)},
    )


@get(END, status_code=303, public=True)
async def end(request: Asked) -> Response[None]:
    """Go to the provider's page that ends the sign-in there; it asks whoever is there, and may lead back. No session of
    this service ends by it: that is `POST /api/v1/logout`."""
    services, (provider, _) = services_of(request), _configured(request)
    await pay(services.state, Guessed.PROVIDER, address=address_of(request))
    try:
        page = await provider.end_page(back=services.settings.public_url + SIGN_IN_PAGE)
    except Fault as fault:
        if "text/html" not in request.headers.get("accept", ""):
            raise
        _log.info("oidc.not_ended", code=fault.code)
        page = ""
    # Where there is no such page a browser is told that it is signed in there still.
    headers = {"location": page or f"{SIGN_IN_PAGE}?left=here", "cache-control": "no-store"}
    return Response(None, status_code=303, headers=headers)


@get(CALLBACK, status_code=303, public=True)
async def callback(
    request: Asked,
    code: str = "",
    given: Annotated[str, QueryParameter(name="state")] = "",
    error: str = "",
    iss: str = "",
) -> Response[None]:
    """Come back from the provider's page: sets the session's cookie, or links what was asked for. Where that fails a
    browser is sent to the page that says so, with the fault's code as `refused`."""
    try:
        return await _came_back(request, code=code, given=given, error=error, iss=iss)
    except Fault as fault:
        if "text/html" not in request.headers.get("accept", ""):
            raise
        return _refused(request, fault)


async def _came_back(request: Asked, *, code: str, given: str, error: str, iss: str) -> Response[None]:
    services, (provider, told) = services_of(request), _configured(request)
    address = address_of(request)
    await pay(services.state, Guessed.PROVIDER, address=address)
    attempt = _opened(services, request.scope["headers"])
    if attempt is None or not hmac.compare_digest(attempt.state.encode(), given.encode(errors="replace")):
        raise Unauthenticated("This sign-in did not begin in this browser, or it took too long; begin again.")
    if not await use_attempt(services.db, services.clock, attempt.secret, ends_ms=attempt.until_ms):
        raise Unauthenticated("This sign-in was used before; begin again.")
    if error or not 0 < len(code) <= CODE_CHARS_MAX or (iss and iss != provider.issuer):
        raise Unauthenticated("The provider did not sign you in.")
    known = await provider.identified(
        code=code, verifier=attempt.verifier, nonce=attempt.nonce, redirect=_redirect(services)
    )
    headers = {"location": attempt.goes_on, "cache-control": "no-store"}
    db, clock = services.db, services.clock
    if attempt.account:
        await link_own(db, clock, known, account_id=attempt.account, session_id=attempt.session, from_address=address)
        return Response(None, status_code=303, headers=headers)
    policy = Policy(told.domains, told.claim, told.new_accounts)
    who = await prove_identified(db, clock, known, policy, from_address=address)
    replaced = services.identity.cookies.token(request.scope["headers"])
    token, _ = await begin_session(db, clock, who, name=NAME, replaced=replaced, from_address=address, means="oidc")
    services.identity.forget_account(who.account_id)
    return Response(None, status_code=303, headers=headers | cookie_headers(services, token))


def _refused(request: Asked, fault: Fault) -> Response[None]:
    services = services_of(request)
    attempt = _opened(services, request.scope["headers"])
    page = LINKING_PAGE if attempt is not None and attempt.account else SIGN_IN_PAGE
    _log.info("oidc.refused", code=fault.code)
    headers = {"location": f"{page}?refused={fault.code}", "cache-control": "no-store"}
    return Response(None, status_code=303, headers=headers)


@get(OWN)
async def links(request: Asked) -> list[OidcLinkShown]:
    """List the provider's sign-ins that open the account (at most 20)."""
    services, principal = services_of(request), await principal_of(request)
    found = await list_links(services.db, principal)
    return [OidcLinkShown(one.link_key.hex(), one.issuer, one.email, one.created_ms, one.seen_ms) for one in found]


@post(OWN, status_code=200, request_max_body_size=LOGIN_BODY_BYTES_MAX)
async def link(request: Asked, data: OidcLinkAsked) -> Response[OidcBegun]:
    """Begin to open the account by the provider too: for a browser, with the account's password."""
    services, (provider, _) = services_of(request), _configured(request)
    principal = await principal_of(request)
    if principal.means is not Means.SESSION:
        raise MessageInvalid("A browser that is signed in links itself.", reason="no session")
    address = address_of(request)
    await prove_again(services.db, services.state, services.clock, principal, data.password, from_address=address)
    attempt = _attempt(services, data.next, principal.account_id, principal.device_id)
    page = await _page(services, provider, attempt)
    return Response(OidcBegun(page), status_code=200, headers=_setting(services, attempt))


@delete(f"{OWN}/{{link_id:str}}", status_code=204)
async def remove(request: Asked, link_id: str) -> None:
    """Close one of these ways into the account; its other browsers and devices are signed out."""
    services, principal = services_of(request), await principal_of(request)
    key = from_hex(link_id, what="sign-in", length=32)
    await unlink(services.db, services.clock, principal, key, from_address=address_of(request))
    forget(services, principal)


# -- attempts ---------------------------------------------------------------------------------------------------------


def seal(key: bytes, attempt: Attempt) -> str:
    """Return what the browser keeps of an attempt. key: the store's."""
    plain = b"".join(
        (
            attempt.secret,
            attempt.until_ms.to_bytes(8, "big"),
            bytes([bool(attempt.account)]),
            attempt.account.ljust(ID_BYTES, b"\0"),
            attempt.session.ljust(ID_BYTES, b"\0"),
            attempt.goes_on.encode(),
        )
    )
    return _text(_mac(key, plain) + plain)


def unseal(key: bytes, sealed: str, *, now_ms: int) -> Attempt | None:
    """Return the attempt of a browser; None for what was not sealed here, or is over."""
    try:
        raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    except (binascii.Error, ValueError):
        return None
    mac, plain = raw[:SECRET_BYTES], raw[SECRET_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, plain)):
        return None
    secret, rest = plain[:SECRET_BYTES], plain[SECRET_BYTES:]
    until_ms, is_link, rest = int.from_bytes(rest[:8], "big"), rest[8], rest[9:]
    if until_ms <= now_ms:
        return None
    ids = (rest[:ID_BYTES], rest[ID_BYTES : 2 * ID_BYTES]) if is_link else (b"", b"")
    return Attempt(secret, until_ms, *ids, rest[2 * ID_BYTES :].decode())


def _attempt(services: Services, goes_on: str, account: bytes = b"", session: bytes = b"") -> Attempt:
    if not _NEXT.fullmatch(goes_on):
        raise MessageInvalid("This is no page of this server.", reason="next")
    clock = services.clock
    return Attempt(clock.random(SECRET_BYTES), clock.now_ms() + ATTEMPT_MS, account, session, goes_on)


async def _page(services: Services, provider: SignInProvider, attempt: Attempt) -> str:
    return await provider.page(
        state=attempt.state, nonce=attempt.nonce, challenge=attempt.challenge, redirect=_redirect(services)
    )


def _redirect(services: Services) -> str:
    return services.settings.public_url + CALLBACK


def _setting(services: Services, attempt: Attempt) -> dict[str, str]:
    """Return the headers that hand a browser its attempt."""
    cookies = services.identity.cookies
    secure = "; Secure" if cookies.is_secure else ""
    sealed, age_s = seal(services.facts.cursor_key, attempt), ATTEMPT_MS // 1_000
    told = f"{_name(cookies)}={sealed}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}"
    return {"set-cookie": told, "cache-control": "no-store"}


def _opened(services: Services, headers: Headers) -> Attempt | None:
    sealed = services.identity.cookies.value(headers, _name(services.identity.cookies), COOKIE_CHARS_MAX)
    return unseal(services.facts.cursor_key, sealed, now_ms=services.clock.now_ms()) if sealed else None


def _name(cookies: Cookies) -> str:
    return f"{cookies.name}-oidc"


def _configured(request: Asked) -> tuple[SignInProvider, Oidc]:
    """Return the provider. Raises: NotFound where the settings name none."""
    services = services_of(request)
    if services.provider is None or services.settings.oidc is None:
        raise NotFound("There is no such route.")
    return services.provider, services.settings.oidc


def _mac(key: bytes, plain: bytes) -> bytes:
    # Derived, so that no other use of the store's key can make one of these.
    own = hmac.digest(key, b"satchel oidc attempts", hashlib.sha256)
    return hmac.digest(own, plain, hashlib.sha256)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


ROUTES = (offered, begin, end, callback, links, link, remove)
