"""REST: signing in and out, the account, its devices. Invariant: a token is told once, in the answer to its making."""

from __future__ import annotations

import msgspec
from litestar import Response, delete, get, patch, post

from satchel.core.ids import DeviceId
from satchel.core.limits import KIB
from satchel.server.accounts.principal import Means
from satchel.server.accounts.service import (
    SignedIn,
    account_of,
    list_devices,
    rename_device,
    revoke_device,
    sign_in,
    sign_out,
)
from satchel.server.accounts.sessions import revoke_session
from satchel.server.gateway.rest import Asked, address_of, from_hex, principal_of, services_of
from satchel.server.notify.presence import device_in, presence_key

LOGIN_BODY_BYTES_MAX = 16 * KIB


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who signs in, and what the device is called. code: of the second factor, where the account has one."""

    user: str
    password: str
    device_name: str
    code: str = ""


class LoggedIn(msgspec.Struct, frozen=True):
    """The new device's token, which is not shown again."""

    token: str
    account_id: str
    account: str
    device_id: str
    root_ns: str


class AccountShown(msgspec.Struct, frozen=True):
    """Who asks, and how much is stored: own files, and the shared folders that the account owns, as its limit counts
    them. quota_bytes: null when there is no limit."""

    account_id: str
    account: str
    device_id: str
    device: str
    root_ns: str
    is_admin: bool
    used_bytes: int
    quota_bytes: int | None


class DeviceShown(msgspec.Struct, frozen=True):
    """One of the account's devices. is_online: it holds a stream open now."""

    id: str
    name: str
    created_ms: int
    seen_ms: int
    is_this: bool
    is_online: bool


class DeviceName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device's new name."""

    name: str


@post("/api/v1/login", status_code=200, public=True, request_max_body_size=LOGIN_BODY_BYTES_MAX)
async def login(request: Asked, data: Login) -> LoggedIn:
    """Sign in with a password; makes a device and its token."""
    services = services_of(request)
    signed = await sign_in(
        services.db,
        services.state,
        services.clock,
        user=data.user,
        password=data.password,
        device_name=data.device_name,
        code=data.code,
        from_address=address_of(request),
        sealer=services.sealer,
    )
    return logged_in(signed)


def logged_in(signed: SignedIn) -> LoggedIn:
    """Return a new device as programs see it."""
    return LoggedIn(
        token=signed.token,
        account_id=signed.account_id.hex(),
        account=signed.account_name,
        device_id=signed.device_id.hex(),
        root_ns=signed.root_ns.hex(),
    )


@post("/api/v1/logout", status_code=204)
async def logout(request: Asked) -> Response[None]:
    """Revoke the token, or end the session, that is used."""
    services, principal = services_of(request), await principal_of(request)
    headers, db, clock, address = {}, services.db, services.clock, address_of(request)
    if principal.means is Means.SESSION:
        await revoke_session(db, clock, principal, principal.device_id, from_address=address)
        headers["set-cookie"] = services.identity.cookies.setting("", 0)
    else:
        await sign_out(db, clock, principal, from_address=address)
    services.identity.forget(principal.device_id)
    services.waiters.doubt(principal.account_id)
    return Response(None, status_code=204, headers=headers)


@get("/api/v1/account")
async def account(request: Asked) -> AccountShown:
    """Tell who asks."""
    services, principal = services_of(request), await principal_of(request)
    own = await account_of(services.db, principal)
    return AccountShown(
        account_id=principal.account_id.hex(),
        account=principal.account_name,
        device_id=principal.device_id.hex(),
        device=principal.device_name,
        root_ns=principal.root_ns.hex(),
        is_admin=principal.is_admin,
        used_bytes=own.used_bytes,
        quota_bytes=own.quota_bytes,
    )


@get("/api/v1/devices")
async def devices(request: Asked) -> list[DeviceShown]:
    """List the account's devices, the oldest first (at most 500)."""
    services, principal = services_of(request), await principal_of(request)
    online = {device_in(each) for each in await services.state.members(presence_key(principal.account_id))}
    return [
        DeviceShown(
            id=device.device_id.hex(),
            name=device.name,
            created_ms=device.created_ms,
            seen_ms=device.seen_ms,
            is_this=device.device_id == principal.device_id,
            is_online=device.device_id.hex() in online,
        )
        for device in await list_devices(services.db, principal)
    ]


@patch("/api/v1/devices/{device_id:str}", status_code=204)
async def rename(request: Asked, device_id: str, data: DeviceName) -> None:
    """Rename one of the account's devices."""
    services, principal = services_of(request), await principal_of(request)
    device = DeviceId(from_hex(device_id, what="device"))
    await rename_device(services.db, principal, device, data.name)
    services.identity.forget(device)


@delete("/api/v1/devices/{device_id:str}", status_code=204)
async def revoke(request: Asked, device_id: str) -> None:
    """Sign one of the account's devices out for ever; its streams end."""
    services, principal = services_of(request), await principal_of(request)
    device = DeviceId(from_hex(device_id, what="device"))
    await revoke_device(services.db, services.clock, principal, device, from_address=address_of(request))
    services.identity.forget(device)
    services.waiters.doubt(principal.account_id)


ROUTES = (login, logout, account, devices, rename, revoke)
