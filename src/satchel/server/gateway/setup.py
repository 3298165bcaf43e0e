"""REST: the first account. Invariant: only whoever reads what the server prints makes it."""

from __future__ import annotations

import msgspec
from litestar import get, post

from satchel.server.accounts.setup import is_setup_needed, set_up
from satchel.server.gateway.account import LOGIN_BODY_BYTES_MAX
from satchel.server.gateway.rest import Asked, address_of, services_of


class SetupShown(msgspec.Struct, frozen=True):
    """is_needed: there is no account yet."""

    is_needed: bool


class SetupAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """code: as the server printed it; user, password: of the first administrator."""

    code: str
    user: str
    password: str


class AccountMade(msgspec.Struct, frozen=True):
    """A new account; sign in to it next."""

    account_id: str
    account: str
    is_admin: bool


@get("/api/v1/setup", public=True)
async def setup_state(request: Asked) -> SetupShown:
    """Tell whether the server waits for its first account."""
    return SetupShown(await is_setup_needed(services_of(request).db))


@post("/api/v1/setup", status_code=201, public=True, request_max_body_size=LOGIN_BODY_BYTES_MAX)
async def setup(request: Asked, data: SetupAsked) -> AccountMade:
    """Make the first administrator with the code that the server printed at its start."""
    services = services_of(request)
    made = await set_up(
        services.db,
        services.state,
        services.clock,
        code=data.code,
        user=data.user,
        password=data.password,
        from_address=address_of(request),
    )
    return AccountMade(made.account_id.hex(), made.name, made.is_admin)


ROUTES = (setup_state, setup)
