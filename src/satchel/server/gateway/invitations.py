"""REST: invitations to have an account. Invariant: administrators make them; whoever has one makes one account with it.

The token travels in a body, never in a URL.
"""

from __future__ import annotations

import msgspec
from litestar import delete, get, post

from satchel.core.limits import LIST_PAGE_MAX
from satchel.server.accounts.invitations import (
    Invitation,
    accept_invitation,
    invite,
    list_invitations,
    look_at_invitation,
    revoke_invitation,
)
from satchel.server.gateway.account import LOGIN_BODY_BYTES_MAX
from satchel.server.gateway.files import Limit
from satchel.server.gateway.rest import Asked, address_of, admin_of, from_hex, services_of
from satchel.server.gateway.setup import AccountMade


class InvitationAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the account may be. note: for the administrators; quota_bytes: null for no limit; days: it is open.

    email: whoever the provider of the sign-in knows by this verified address needs no token.
    """

    note: str = ""
    is_admin: bool = False
    quota_bytes: int | None = None
    days: int = 7
    email: str = ""


class InvitationShown(msgspec.Struct, frozen=True):
    """An invitation. state: `open`, `used`, `revoked` or `expired`."""

    id: str
    note: str
    is_admin: bool
    quota_bytes: int | None
    created_ms: int
    ends_ms: int
    state: str
    email: str = ""


class InvitationMade(msgspec.Struct, frozen=True):
    """A new invitation and its token, which is not shown again."""

    token: str
    invitation: InvitationShown


class InvitationPage(msgspec.Struct, frozen=True):
    """A page of invitations, the oldest first. after: give it to get the next page; empty at the end."""

    items: list[InvitationShown]
    after: str


class InvitationToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An invitation's token."""

    token: str


class InvitationOpen(msgspec.Struct, frozen=True):
    """What whoever was invited sees."""

    ends_ms: int
    quota_bytes: int | None


class Acceptance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An invitation's token, and the account's name and password."""

    token: str
    user: str
    password: str


@post("/api/v1/invitations", status_code=201)
async def make(request: Asked, data: InvitationAsked) -> InvitationMade:
    """Invite somebody; for administrators."""
    services, principal = services_of(request), await admin_of(request)
    token, made = await invite(
        services.db,
        services.clock,
        principal,
        note=data.note,
        is_admin=data.is_admin,
        quota_bytes=data.quota_bytes,
        days=data.days,
        email=data.email,
    )
    return InvitationMade(token, _shown(made, services.clock.now_ms()))


@get("/api/v1/invitations")
async def list_all(request: Asked, after: str = "", limit: Limit = LIST_PAGE_MAX) -> InvitationPage:
    """List invitations, the oldest first; for administrators."""
    services, _ = services_of(request), await admin_of(request)
    found = await list_invitations(services.db, from_hex(after, what="after") if after else b"", limit)
    now = services.clock.now_ms()
    return InvitationPage(
        [_shown(one, now) for one in found], found[-1].invitation_id.hex() if len(found) == limit else ""
    )


@delete("/api/v1/invitations/{invitation_id:str}", status_code=204)
async def revoke(request: Asked, invitation_id: str) -> None:
    """Make an open invitation worthless; for administrators."""
    services, principal = services_of(request), await admin_of(request)
    await revoke_invitation(services.db, services.clock, principal, from_hex(invitation_id, what="invitation"))


@post("/api/v1/invitations/look", status_code=200, public=True, request_max_body_size=LOGIN_BODY_BYTES_MAX)
async def look(request: Asked, data: InvitationToken) -> InvitationOpen:
    """Tell what an invitation is, to whoever has its token."""
    services = services_of(request)
    found = await look_at_invitation(
        services.db, services.state, services.clock, data.token, from_address=address_of(request)
    )
    return InvitationOpen(found.ends_ms, found.quota_bytes)


@post("/api/v1/invitations/accept", status_code=201, public=True, request_max_body_size=LOGIN_BODY_BYTES_MAX)
async def accept(request: Asked, data: Acceptance) -> AccountMade:
    """Make the account that an invitation is for; sign in to it next."""
    services = services_of(request)
    made = await accept_invitation(
        services.db,
        services.state,
        services.clock,
        token=data.token,
        user=data.user,
        password=data.password,
        from_address=address_of(request),
    )
    return AccountMade(made.account_id.hex(), made.name, made.is_admin)


def _shown(one: Invitation, now_ms: int) -> InvitationShown:
    state = "used" if one.used_ms else "revoked" if one.revoked_ms else "open" if one.ends_ms > now_ms else "expired"
    return InvitationShown(
        one.invitation_id.hex(), one.note, one.is_admin, one.quota_bytes, one.created_ms, one.ends_ms, state, one.email
    )


ROUTES = (make, list_all, revoke, look, accept)
