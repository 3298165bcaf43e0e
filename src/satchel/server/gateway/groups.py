"""REST: groups of accounts. Invariant: administrators see and change all; others see those that they are in."""

from __future__ import annotations

import msgspec
from litestar import delete, get, patch, post, put

from satchel.core.limits import LIST_PAGE_MAX
from satchel.server.accounts.groups import (
    Group,
    add_group,
    add_member,
    groups_of,
    list_groups,
    list_members,
    remove_group,
    remove_member,
    rename_group,
)
from satchel.server.gateway.files import Limit
from satchel.server.gateway.rest import Asked, admin_of, from_hex, principal_of, services_of

ONE = "/api/v1/groups/{group_id:str}"
MEMBER = f"{ONE}/members/{{account_id:str}}"


class GroupName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group's name."""

    name: str


class GroupShown(msgspec.Struct, frozen=True):
    """A group. members: how many."""

    id: str
    name: str
    created_ms: int
    members: int


class GroupPage(msgspec.Struct, frozen=True):
    """A page of groups, the oldest first. after: give it to get the next page; empty at the end."""

    items: list[GroupShown]
    after: str


class MemberShown(msgspec.Struct, frozen=True):
    """An account in a group."""

    account_id: str
    account: str
    added_ms: int


class MemberPage(msgspec.Struct, frozen=True):
    """A page of a group's members. after: give it to get the next page; empty at the end."""

    items: list[MemberShown]
    after: str


@get("/api/v1/groups")
async def list_all(request: Asked, after: str = "", limit: Limit = LIST_PAGE_MAX) -> GroupPage:
    """List all groups, for administrators; those that one is in, for others."""
    services, principal = services_of(request), await principal_of(request)
    start = from_hex(after, what="after") if after else b""
    if principal.is_admin:
        found = await list_groups(services.db, start, limit)
    else:
        found = await groups_of(services.db, principal.account_id, start, limit)
    return GroupPage([_shown(one) for one in found], found[-1].group_id.hex() if len(found) == limit else "")


@post("/api/v1/groups", status_code=201)
async def make(request: Asked, data: GroupName) -> GroupShown:
    """Make a group; for administrators."""
    services, principal = services_of(request), await admin_of(request)
    return _shown(await add_group(services.db, services.clock, principal, data.name))


@patch(ONE, status_code=204)
async def rename(request: Asked, group_id: str, data: GroupName) -> None:
    """Rename a group; for administrators."""
    services, principal = services_of(request), await admin_of(request)
    await rename_group(services.db, services.clock, principal, from_hex(group_id, what="group"), data.name)


@delete(ONE, status_code=204)
async def remove(request: Asked, group_id: str) -> None:
    """Remove a group; its members' accounts stay. For administrators."""
    services, principal = services_of(request), await admin_of(request)
    await remove_group(services.db, services.clock, principal, from_hex(group_id, what="group"))


@get(f"{ONE}/members")
async def members(request: Asked, group_id: str, after: str = "", limit: Limit = LIST_PAGE_MAX) -> MemberPage:
    """List who is in a group; for administrators."""
    services, _ = services_of(request), await admin_of(request)
    start = from_hex(after, what="after") if after else b""
    found = await list_members(services.db, from_hex(group_id, what="group"), start, limit)
    shown = [MemberShown(one.account_id.hex(), one.name, one.added_ms) for one in found]
    return MemberPage(shown, shown[-1].account_id if len(found) == limit else "")


@put(MEMBER, status_code=204)
async def put_in(request: Asked, group_id: str, account_id: str) -> None:
    """Put an account into a group; for administrators."""
    services, principal = services_of(request), await admin_of(request)
    group, account = from_hex(group_id, what="group"), from_hex(account_id, what="account")
    await add_member(services.db, services.clock, principal, group, account)


@delete(MEMBER, status_code=204)
async def take_out(request: Asked, group_id: str, account_id: str) -> None:
    """Take an account out of a group; for administrators."""
    services, principal = services_of(request), await admin_of(request)
    group, account = from_hex(group_id, what="group"), from_hex(account_id, what="account")
    await remove_member(services.db, services.clock, principal, group, account)


def _shown(group: Group) -> GroupShown:
    return GroupShown(group.group_id.hex(), group.name, group.created_ms, group.members)


ROUTES = (list_all, make, rename, remove, members, put_in, take_out)
