"""REST: devices that sign in by a code that somebody approves. Invariant: a device's secret travels in bodies alone."""

from __future__ import annotations

import msgspec
from litestar import post

from satchel.server.accounts.device_codes import (
    answer_device_code,
    begin_device_code,
    look_at_device_code,
    poll_device_code,
)
from satchel.server.gateway.account import LOGIN_BODY_BYTES_MAX, LoggedIn, logged_in
from satchel.server.gateway.rest import Asked, address_of, principal_of, services_of


class DeviceCodeAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the device is to be called."""

    device_name: str


class DeviceCodeMade(msgspec.Struct, frozen=True):
    """user_code: to be shown to people; device_code: to ask with, never shown; page: where to approve it."""

    user_code: str
    device_code: str
    page: str
    expires_in_s: int
    interval_s: int


class DeviceCodeGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The secret of a device that waits."""

    device_code: str


class DevicePolled(msgspec.Struct, frozen=True):
    """status: `pending`, `slow_down`, `approved`, `denied` or `expired`; interval_s: to wait before asking again.

    signed_in: the new device and its token, told once, when approved.
    """

    status: str
    interval_s: int
    signed_in: LoggedIn | None = None


class UserCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code as a device shows it."""

    user_code: str


class UserCodeAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code as a device shows it; approve: false to turn the device away."""

    user_code: str
    approve: bool = True


class DeviceWaiting(msgspec.Struct, frozen=True):
    """A device that waits: what it wants to be called, where it asked from, since when."""

    device_name: str
    address: str
    created_ms: int


@post("/api/v1/device-codes", status_code=201, public=True, request_max_body_size=LOGIN_BODY_BYTES_MAX)
async def begin(request: Asked, data: DeviceCodeAsked) -> DeviceCodeMade:
    """Ask for a code to sign a device in with; somebody who is signed in approves it within ten minutes."""
    services = services_of(request)
    made = await begin_device_code(
        services.db,
        services.state,
        services.clock,
        device_name=data.device_name,
        from_address=address_of(request),
    )
    return DeviceCodeMade(made.user_code, made.device_code, "/device", made.expires_in_s, made.interval_s)


@post("/api/v1/device-codes/poll", status_code=200, public=True, request_max_body_size=LOGIN_BODY_BYTES_MAX)
async def poll(request: Asked, data: DeviceCodeGiven) -> DevicePolled:
    """Tell a device that waits how it stands; whoever asks too soon is told to slow down."""
    services = services_of(request)
    found = await poll_device_code(services.db, services.state, services.clock, data.device_code, address_of(request))
    signed = found.signed_in
    told = logged_in(signed) if signed is not None else None
    return DevicePolled(str(found.status), found.interval_s, told)


@post("/api/v1/device-codes/look", status_code=200)
async def look(request: Asked, data: UserCode) -> DeviceWaiting:
    """Tell which device shows a code, before it is approved."""
    services, principal = services_of(request), await principal_of(request)
    found = await look_at_device_code(
        services.db, services.state, services.clock, principal, data.user_code, from_address=address_of(request)
    )
    return DeviceWaiting(found.device_name, found.address, found.created_ms)


@post("/api/v1/device-codes/approve", status_code=204)
async def approve(request: Asked, data: UserCodeAnswer) -> None:
    """Sign the device that shows a code in to one's own account, or turn it away."""
    services, principal = services_of(request), await principal_of(request)
    await answer_device_code(
        services.db,
        services.state,
        services.clock,
        principal,
        data.user_code,
        is_approved=data.approve,
        from_address=address_of(request),
    )


ROUTES = (begin, poll, look, approve)
