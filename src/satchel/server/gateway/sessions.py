"""REST: browsers that sign in, and the account's password. Invariant: a session's token leaves in a cookie alone, and a
sign-in always gives another one than the browser had.
"""

from __future__ import annotations

import msgspec
from litestar import Response, delete, get, post

from satchel.core.errors import Unauthenticated
from satchel.server.accounts.changing import change_password, sign_out_others
from satchel.server.accounts.principal import Means, Principal
from satchel.server.accounts.second_factor import prove_fully
from satchel.server.accounts.sessions import AGE_MS_MAX, begin_session, list_sessions, revoke_session, rotate_session
from satchel.server.gateway.account import LOGIN_BODY_BYTES_MAX
from satchel.server.gateway.rest import Asked, address_of, from_hex, principal_of, services_of
from satchel.server.gateway.services import Services


class SessionAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who signs in. name: what the browser is called; code: of the second factor, where the account has one."""

    user: str
    password: str
    name: str = "Browser"
    code: str = ""


class SessionMade(msgspec.Struct, frozen=True):
    """Who signed in; the token is in the cookie."""

    session_id: str
    account_id: str
    account: str
    root_ns: str
    ends_ms: int


class SessionShown(msgspec.Struct, frozen=True):
    """A browser that is signed in. seen_ms: its last visit, to the hour."""

    id: str
    name: str
    created_ms: int
    seen_ms: int
    ends_ms: int
    is_this: bool


class PasswordAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password and the one to be. keep_others: other devices, sessions and app passwords go on."""

    old: str
    new: str
    keep_others: bool = False


@post("/api/v1/sessions", status_code=201, public=True, request_max_body_size=LOGIN_BODY_BYTES_MAX)
async def sign_in(request: Asked, data: SessionAsked) -> Response[SessionMade]:
    """Sign a browser in: sets its cookie."""
    services, cookies = services_of(request), services_of(request).identity.cookies
    headers = request.scope["headers"]
    # A page of another site could sign somebody in as another, who then uploads into a foreign account.
    if request.headers.get("origin") and not cookies.is_own(headers, request.scope["scheme"]):
        raise Unauthenticated("This request was sent by a page of another site.")
    address = address_of(request)
    who = await prove_fully(
        services.db,
        services.state,
        services.clock,
        user=data.user,
        password=data.password,
        code=data.code,
        from_address=address,
        sealer=services.sealer,
    )
    token, made = await begin_session(
        services.db, services.clock, who, name=data.name, replaced=cookies.token(headers), from_address=address
    )
    services.identity.forget_account(who.account_id)
    shown = SessionMade(made.session_id.hex(), who.account_id.hex(), who.name, who.root_ns.hex(), made.ends_ms)
    return Response(shown, status_code=201, headers=cookie_headers(services, token))


@get("/api/v1/sessions")
async def sessions(request: Asked) -> list[SessionShown]:
    """List the browsers that are signed in, the oldest first (at most 100)."""
    services, principal = services_of(request), await principal_of(request)
    return [
        SessionShown(
            one.session_id.hex(),
            one.name,
            one.created_ms,
            one.seen_ms,
            one.ends_ms,
            one.session_id == principal.device_id,
        )
        for one in await list_sessions(services.db, services.clock, principal)
    ]


@delete("/api/v1/sessions/{session_id:str}", status_code=204)
async def revoke(request: Asked, session_id: str) -> None:
    """Sign one of the account's browsers out; its streams end."""
    services, principal = services_of(request), await principal_of(request)
    session = from_hex(session_id, what="session")
    await revoke_session(services.db, services.clock, principal, session, from_address=address_of(request))
    forget(services, principal)


@post("/api/v1/logout-others", status_code=204)
async def logout_others(request: Asked) -> None:
    """Sign all other devices and browsers of the account out; app passwords stay."""
    services, principal = services_of(request), await principal_of(request)
    await sign_out_others(services.db, services.clock, principal, from_address=address_of(request))
    forget(services, principal)


@post("/api/v1/account/password", status_code=204, request_max_body_size=LOGIN_BODY_BYTES_MAX)
async def password(request: Asked, data: PasswordAsked) -> Response[None]:
    """Change the password: all else that opens the account ends unless told otherwise; a session gets a new cookie."""
    services, principal = services_of(request), await principal_of(request)
    await change_password(
        services.db,
        services.state,
        services.clock,
        principal,
        old=data.old,
        new=data.new,
        keep_others=data.keep_others,
        from_address=address_of(request),
    )
    return Response(None, status_code=204, headers=await rotated(services, principal))


async def rotated(services: Services, principal: Principal) -> dict[str, str]:
    """Forget what was known of the account's tokens; give a session another one. Return the answer's headers."""
    headers = {"cache-control": "no-store"}
    if principal.means is Means.SESSION:
        headers = cookie_headers(services, await rotate_session(services.db, services.clock, principal))
    forget(services, principal)
    return headers


def cookie_headers(services: Services, token: str) -> dict[str, str]:
    """Return the headers that hand a browser its token; an empty one takes it away."""
    age_s = AGE_MS_MAX // 1_000 if token else 0
    return {"set-cookie": services.identity.cookies.setting(token, age_s), "cache-control": "no-store"}


def forget(services: Services, principal: Principal) -> None:
    """Look anew who may go on, after a right was taken away."""
    services.identity.forget_account(principal.account_id)
    services.waiters.doubt(principal.account_id)


ROUTES = (sign_in, sessions, revoke, logout_others, password)
