"""REST: passwords for programs that know only a name and a password. Invariant: a secret is told once."""

from __future__ import annotations

import msgspec
from litestar import delete, get, post

from satchel.server.accounts.app_passwords import (
    AppPassword,
    add_app_password,
    list_app_passwords,
    revoke_app_password,
)
from satchel.server.gateway.rest import Asked, address_of, from_hex, principal_of, services_of


class AppPasswordAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """name: for whom it is; may_write: false for one that only reads."""

    name: str
    may_write: bool = True


class AppPasswordShown(msgspec.Struct, frozen=True):
    """An app password. seen_ms: its last use, to the hour; 0 for never."""

    id: str
    name: str
    may_write: bool
    created_ms: int
    seen_ms: int


class AppPasswordMade(msgspec.Struct, frozen=True):
    """A new app password and its secret, which is not shown again."""

    secret: str
    app_password: AppPasswordShown


@post("/api/v1/app-passwords", status_code=201)
async def make(request: Asked, data: AppPasswordAsked) -> AppPasswordMade:
    """Make an app password, for WebDAV."""
    services, principal = services_of(request), await principal_of(request)
    secret, made = await add_app_password(
        services.db,
        services.clock,
        principal,
        name=data.name,
        may_write=data.may_write,
        from_address=address_of(request),
    )
    return AppPasswordMade(secret, _shown(made))


@get("/api/v1/app-passwords")
async def list_all(request: Asked) -> list[AppPasswordShown]:
    """List the account's app passwords, the oldest first (at most 100)."""
    services, principal = services_of(request), await principal_of(request)
    return [_shown(one) for one in await list_app_passwords(services.db, principal)]


@delete("/api/v1/app-passwords/{password_id:str}", status_code=204)
async def revoke(request: Asked, password_id: str) -> None:
    """Make an app password worthless, for ever."""
    services, principal = services_of(request), await principal_of(request)
    raw = from_hex(password_id, what="app password")
    await revoke_app_password(services.db, services.clock, principal, raw, from_address=address_of(request))


def _shown(one: AppPassword) -> AppPasswordShown:
    return AppPasswordShown(one.password_id.hex(), one.name, one.may_write, one.created_ms, one.seen_ms)


ROUTES = (make, list_all, revoke)
