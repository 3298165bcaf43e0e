"""REST: shared folders, their people, invitations. Invariant: who is no member is told what is told of nothing at all.

A share is named by its namespace's id. To make, invite, change a role, remove, hand over and stop wants the right to
administer, which the owner has; to list the people wants the right to read; invitations are answered by who has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from litestar import delete, get, patch, post
from litestar.params import Parameter

from satchel.core.access import Role
from satchel.core.errors import NotFound, ShareRefused
from satchel.core.ids import AccountId, NamespaceId
from satchel.core.limits import MOUNTS_MAX
from satchel.server.accounts.guesses import Guessed, pay
from satchel.server.accounts.members import State
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.files import existing
from satchel.server.gateway.rest import Asked, address_of, from_hex, principal_of, services_of
from satchel.server.gateway.services import Services
from satchel.server.gateway.telling import leave_share, tell_heads, tell_touched
from satchel.server.sharing.conversion import share_folder
from satchel.server.sharing.listing import Person, Share, invitations_of, people_of, shares_of
from satchel.server.sharing.people import (
    accept,
    change_role,
    decline,
    invite,
    remove,
    require_people,
    stop,
    transfer,
)

INVITED_TOGETHER_MAX = 100
Limit = Annotated[int, Parameter(ge=1, le=MOUNTS_MAX + 1)]
_STATES = {State.INVITED: "invited", State.ACCEPTED: "accepted", State.DECLINED: "declined"}
_ROLES = {"view": Role.VIEWER, "viewer": Role.VIEWER, "edit": Role.EDITOR, "editor": Role.EDITOR}


class Invited(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to invite, by the account's name. role: `editor` or `viewer`."""

    user: str
    role: str = "editor"


class ShareAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"people": "with"}):
    """Which folder is to be shared, and with whom (at most 100)."""

    path: str
    people: Annotated[list[Invited], msgspec.Meta(max_length=INVITED_TOGETHER_MAX)] = []


class RoleAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member's new role: `editor` or `viewer`."""

    role: str


class TransferAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is to own it: the id of an accepted member's account."""

    account_id: str


class MemberShown(msgspec.Struct, frozen=True):
    """Somebody who takes part. role: `owner`, `editor`, `viewer`; state: `invited`, `accepted`, `declined`."""

    account_id: str
    user: str
    role: str
    state: str
    changed_ms: int


class ShareShown(msgspec.Struct, frozen=True):
    """A shared folder. id: its namespace; path: of its mount in the own tree; role: what one is there oneself."""

    id: str
    path: str
    role: str
    owner: str
    used_bytes: int
    created_ms: int
    members: list[MemberShown] = []


class Shares(msgspec.Struct, frozen=True):
    """A page of shared folders, without their members. after: give it to get the next page; empty at the end."""

    items: list[ShareShown]
    after: str


class InvitationShown(msgspec.Struct, frozen=True):
    """An invitation that waits for an answer. id: the namespace; name: what the folder was called then."""

    id: str
    name: str
    role: str
    invited_by: str
    created_ms: int


class Invitations(msgspec.Struct, frozen=True):
    """A page of invitations. after: give it to get the next page; empty at the end."""

    items: list[InvitationShown]
    after: str


@post("/api/v1/shares", status_code=200)
async def share(request: Asked, data: ShareAsked) -> ShareShown:
    """Make a folder a shared one, if it is none yet, and invite people: all of them, or nothing is done."""
    services, principal = services_of(request), await principal_of(request)
    people = _people(data.people)
    found = await existing(services, principal, data.path)
    await _pay(services, principal, people)
    await require_people(services.db, principal, people)
    ns = await share_folder(
        services.db,
        services.clock,
        principal,
        found.ns,
        found.entry.node_id,
        from_address=address_of(request),
    )
    await tell_heads(services, (principal.root_ns,))
    services.waiters.doubt(principal.account_id)
    if people:
        await invite(services.db, services.clock, principal, ns, people, from_address=address_of(request))
    return await _shown(services, principal, ns)


@get("/api/v1/shares")
async def list_shares(request: Asked, by: str = "", after: str = "", limit: Limit = MOUNTS_MAX) -> Shares:
    """List the shared folders that one takes part in. by: `me` for one's own, `others` for the others'."""
    services, principal = services_of(request), await principal_of(request)
    found = [
        each
        for each in await shares_of(services.db, principal)
        if each.ns.hex() > after and by in ("", "me" if each.role == Role.OWNER else "others")
    ]
    return Shares([_share(each, ()) for each in found[:limit]], found[limit - 1].ns.hex() if len(found) > limit else "")


@get("/api/v1/shares/{share_id:str}")
async def show_share(request: Asked, share_id: str) -> ShareShown:
    """Tell of one shared folder and who takes part in it."""
    services, principal = services_of(request), await principal_of(request)
    return await _shown(services, principal, _namespace(share_id))


@delete("/api/v1/shares/{share_id:str}", status_code=204)
async def stop_share(request: Asked, share_id: str) -> None:
    """End the parts of all others and all invitations. The folder stays the owner's."""
    services, principal = services_of(request), await principal_of(request)
    ns, address = _namespace(share_id), address_of(request)
    await tell_touched(services, await stop(services.db, services.clock, principal, ns, from_address=address))


@post("/api/v1/shares/{share_id:str}/members", status_code=200)
async def add_member(request: Asked, share_id: str, data: Invited) -> ShareShown:
    """Invite somebody more."""
    services, principal = services_of(request), await principal_of(request)
    ns, people = _namespace(share_id), _people([data])
    await _pay(services, principal, people)
    await invite(services.db, services.clock, principal, ns, people, from_address=address_of(request))
    return await _shown(services, principal, ns)


@patch("/api/v1/shares/{share_id:str}/members/{account_id:str}", status_code=204)
async def change_member(request: Asked, share_id: str, account_id: str, data: RoleAsked) -> None:
    """Give a member another role."""
    services, principal = services_of(request), await principal_of(request)
    ns, account = _namespace(share_id), _account(account_id)
    role = _role(data.role)
    db, clock, address = services.db, services.clock, address_of(request)
    await tell_touched(services, await change_role(db, clock, principal, ns, account, role, from_address=address))


@delete("/api/v1/shares/{share_id:str}/members/{account_id:str}", status_code=204)
async def remove_member(request: Asked, share_id: str, account_id: str) -> None:
    """End somebody's part, or withdraw the invitation."""
    services, principal = services_of(request), await principal_of(request)
    ns, account = _namespace(share_id), _account(account_id)
    address = address_of(request)
    await tell_touched(
        services, await remove(services.db, services.clock, principal, ns, account, from_address=address)
    )


@post("/api/v1/shares/{share_id:str}/leave", status_code=204)
async def leave(request: Asked, share_id: str) -> None:
    """End one's own part; the owner hands it over first."""
    services, principal = services_of(request), await principal_of(request)
    await leave_share(services, principal, _namespace(share_id), from_address=address_of(request))


@post("/api/v1/shares/{share_id:str}/transfer", status_code=204)
async def hand_over(request: Asked, share_id: str, data: TransferAsked) -> None:
    """Make a member the owner, against whose quota it counts from then on; who was it becomes an editor."""
    services, principal = services_of(request), await principal_of(request)
    ns, heir = _namespace(share_id), _account(data.account_id)
    address = address_of(request)
    await tell_touched(services, await transfer(services.db, services.clock, principal, ns, heir, from_address=address))


@get("/api/v1/share-invitations")
async def list_invitations(request: Asked, after: str = "", limit: Limit = MOUNTS_MAX) -> Invitations:
    """List the invitations that wait for an answer."""
    services, principal = services_of(request), await principal_of(request)
    found = [each for each in await invitations_of(services.db, principal) if each.ns.hex() > after]
    shown = [
        InvitationShown(each.ns.hex(), each.name, each.role, each.invited_by, each.created_ms) for each in found[:limit]
    ]
    return Invitations(shown, found[limit - 1].ns.hex() if len(found) > limit else "")


@post("/api/v1/share-invitations/{share_id:str}/accept", status_code=200)
async def accept_invitation(request: Asked, share_id: str) -> ShareShown:
    """Take an invitation up: the folder is mounted in the root folder, under its name or one like it."""
    services, principal = services_of(request), await principal_of(request)
    ns = _namespace(share_id)
    address = address_of(request)
    await tell_touched(services, await accept(services.db, services.clock, principal, ns, from_address=address))
    return await _shown(services, principal, ns)


@post("/api/v1/share-invitations/{share_id:str}/decline", status_code=204)
async def decline_invitation(request: Asked, share_id: str) -> None:
    """Turn an invitation down."""
    services, principal = services_of(request), await principal_of(request)
    address = address_of(request)
    await decline(services.db, services.clock, principal, _namespace(share_id), from_address=address)


async def _pay(services: Services, principal: Principal, people: Sequence[tuple[str, Role]]) -> None:
    # A name that is none is told, so that a slip is noticed; asking for many is guessing.
    for _ in people:
        await pay(services.state, Guessed.ACCOUNT_NAME, subject=principal.account_id.hex())


async def _shown(services: Services, principal: Principal, ns: NamespaceId) -> ShareShown:
    """Return a shared folder with its people. Raises: NotFound."""
    people = await people_of(services.db, principal, ns)
    for each in await shares_of(services.db, principal):
        if each.ns == ns:
            return _share(each, people)
    raise NotFound("There is no such namespace.")


def _share(each: Share, people: Sequence[Person]) -> ShareShown:
    members = [
        MemberShown(one.account_id.hex(), one.name, one.role, _STATES[one.state], one.changed_ms) for one in people
    ]
    return ShareShown(each.ns.hex(), each.path, each.role, each.owner, each.used_bytes, each.created_ms, members)


def _people(people: Sequence[Invited]) -> list[tuple[str, Role]]:
    return [(one.user, _role(one.role)) for one in people]


def _role(text: str) -> Role:
    if text not in _ROLES:
        raise ShareRefused("A member is an editor or a viewer.", reason="role")
    return _ROLES[text]


def _namespace(text: str) -> NamespaceId:
    return NamespaceId(from_hex(text, what="share"))


def _account(text: str) -> AccountId:
    return AccountId(from_hex(text, what="account"))


ROUTES = (
    share,
    list_shares,
    show_share,
    stop_share,
    add_member,
    change_member,
    remove_member,
    leave,
    hand_over,
    list_invitations,
    accept_invitation,
    decline_invitation,
)
