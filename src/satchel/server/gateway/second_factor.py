"""REST: the second factor of one's account. Invariant: secrets and recovery codes are told once, and the password is
asked for wherever the second factor is made, taken away or gone round.
"""

from __future__ import annotations

import msgspec
from litestar import Response, get, post

from satchel.server.accounts.second_factor import (
    begin_second_factor,
    confirm_second_factor,
    end_second_factor,
    renew_recovery_codes,
    second_factor_of,
)
from satchel.server.gateway.account import LOGIN_BODY_BYTES_MAX
from satchel.server.gateway.rest import Asked, address_of, principal_of, services_of
from satchel.server.gateway.sessions import rotated

PATH = "/api/v1/account/second-factor"


class SecondFactorShown(msgspec.Struct, frozen=True):
    """recovery_codes: how many are left."""

    is_enabled: bool
    recovery_codes: int


class PasswordGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The account's password."""

    password: str


class EnrolmentMade(msgspec.Struct, frozen=True):
    """What an authenticator app is given: typed (secret) or as a QR code (uri). Not shown again."""

    secret: str
    uri: str


class CodeGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code of the app."""

    code: str


class RecoveryCodes(msgspec.Struct, frozen=True):
    """Ten codes, each good once in place of the app's; not shown again."""

    recovery_codes: list[str]


@get(PATH)
async def shown(request: Asked) -> SecondFactorShown:
    """Tell whether sign-in asks for a code."""
    services, principal = services_of(request), await principal_of(request)
    found = await second_factor_of(services.db, principal)
    return SecondFactorShown(found.is_enabled, found.recovery_codes)


@post(PATH, status_code=201, request_max_body_size=LOGIN_BODY_BYTES_MAX)
async def begin(request: Asked, data: PasswordGiven) -> Response[EnrolmentMade]:
    """Make a secret for an app; codes are asked for once one of them was confirmed."""
    services, principal = services_of(request), await principal_of(request)
    made = await begin_second_factor(
        services.db,
        services.state,
        services.clock,
        principal,
        data.password,
        from_address=address_of(request),
        sealer=services.sealer,
    )
    return Response(EnrolmentMade(made.secret, made.uri), status_code=201, headers={"cache-control": "no-store"})


@post(f"{PATH}/confirm", status_code=200, request_max_body_size=LOGIN_BODY_BYTES_MAX)
async def confirm(request: Asked, data: CodeGiven) -> Response[RecoveryCodes]:
    """Ask for codes from now on. Other browsers are signed out; devices and app passwords stay."""
    services, principal = services_of(request), await principal_of(request)
    codes = await confirm_second_factor(
        services.db,
        services.state,
        services.clock,
        principal,
        data.code,
        from_address=address_of(request),
        sealer=services.sealer,
    )
    return Response(RecoveryCodes(codes), headers=await rotated(services, principal))


@post(f"{PATH}/disable", status_code=204, request_max_body_size=LOGIN_BODY_BYTES_MAX)
async def disable(request: Asked, data: PasswordGiven) -> None:
    """Ask for no codes any more."""
    services, principal = services_of(request), await principal_of(request)
    await end_second_factor(
        services.db, services.state, services.clock, principal, data.password, from_address=address_of(request)
    )


@post("/api/v1/account/recovery-codes", status_code=201, request_max_body_size=LOGIN_BODY_BYTES_MAX)
async def recovery_codes(request: Asked, data: PasswordGiven) -> Response[RecoveryCodes]:
    """Make other recovery codes; those of before are worthless."""
    services, principal = services_of(request), await principal_of(request)
    codes = await renew_recovery_codes(
        services.db, services.state, services.clock, principal, data.password, from_address=address_of(request)
    )
    return Response(RecoveryCodes(codes), status_code=201, headers={"cache-control": "no-store"})


ROUTES = (shown, begin, confirm, disable, recovery_codes)
