"""REST: all accounts, for administrators, and the audit log. Invariant: there is always an administrator left who can
sign in, and nobody reads another's log but an administrator.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from litestar import get, patch
from litestar.params import Parameter

from satchel.core.ids import ID_BYTES
from satchel.core.limits import LIST_PAGE_MAX
from satchel.server.accounts.audit import PAGE_MAX, STORE_CHAIN, Place, Recorded, read_chain, read_newest
from satchel.server.accounts.roles import Change, change_account, list_accounts, with_second_factor
from satchel.server.accounts.service import Account, names_of
from satchel.server.gateway.files import Limit
from satchel.server.gateway.rest import Asked, admin_of, from_hex, principal_of, services_of

_INT_MAX = 2**63 - 1
"""What a database takes."""
Before = Annotated[int, Parameter(ge=0, le=1 << 62)]


class AccountListed(msgspec.Struct, frozen=True):
    """An account. quota_bytes: null when there is no limit; has_second_factor: its sign-in asks for a code."""

    account_id: str
    account: str
    is_admin: bool
    is_disabled: bool
    created_ms: int
    used_bytes: int
    quota_bytes: int | None
    has_second_factor: bool


class AccountPage(msgspec.Struct, frozen=True):
    """A page of accounts, the oldest first. after: give it to get the next page; empty at the end."""

    items: list[AccountListed]
    after: str


class AccountChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays. quota_bytes: null for no limit; has_second_factor: false asks
    for codes no more, of somebody who lost the app and the recovery codes; nobody but oneself can set one up."""

    is_admin: bool | msgspec.UnsetType = msgspec.UNSET
    is_disabled: bool | msgspec.UnsetType = msgspec.UNSET
    quota_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    has_second_factor: Literal[False] | msgspec.UnsetType = msgspec.UNSET


class AuditRow(msgspec.Struct, frozen=True):
    """A row of the audit log. seq: its place in the chain; actor: empty for the machine's administrator or strangers.

    detail: plain values, as JSON; hash: over the row before and this one; account: whose log it stands in, empty for
    the store's.
    """

    seq: int
    at_ms: int
    action: str
    actor: str
    device: str
    address: str
    subject: str
    detail: str
    hash: str
    account: str = ""


class AuditPage(msgspec.Struct, frozen=True):
    """Rows, the newest first. before: give it to get older ones; 0 at the end. after: the same of all logs together,
    empty at the end."""

    items: list[AuditRow]
    before: int
    after: str = ""


@get("/api/v1/admin/accounts")
async def accounts(request: Asked, after: str = "", limit: Limit = LIST_PAGE_MAX) -> AccountPage:
    """List all accounts, the oldest first; for administrators."""
    services, _ = services_of(request), await admin_of(request)
    found = await list_accounts(services.db, from_hex(after, what="after") if after else b"", limit)
    guarded = await with_second_factor(services.db, [one.account_id for one in found])
    shown = [_shown(one, has_second_factor=one.account_id in guarded) for one in found]
    return AccountPage(shown, found[-1].account_id.hex() if len(found) == limit else "")


@patch("/api/v1/admin/accounts/{account_id:str}", status_code=204)
async def change(request: Asked, account_id: str, data: AccountChange) -> None:
    """Change an account's role, shut it out or in, set its quota, or end its second factor; for administrators."""
    services, principal = services_of(request), await admin_of(request)
    account = from_hex(account_id, what="account")
    is_set = data.quota_bytes is not msgspec.UNSET
    told = Change(
        is_admin=None if data.is_admin is msgspec.UNSET else data.is_admin,
        is_disabled=None if data.is_disabled is msgspec.UNSET else data.is_disabled,
        is_quota_set=is_set,
        quota_bytes=None if data.quota_bytes is msgspec.UNSET else data.quota_bytes,
        is_second_factor_ended=data.has_second_factor is not msgspec.UNSET,
    )
    await change_account(services.db, services.clock, principal, account, told)
    services.identity.forget_all()
    services.waiters.doubt()


@get("/api/v1/audit")
async def own_audit(request: Asked, before: Before = 0, limit: Limit = PAGE_MAX) -> AuditPage:
    """List what was done about one's own account's rights and secrets, the newest first."""
    services, principal = services_of(request), await principal_of(request)
    return await _page(request, await read_chain(services.db, principal.account_id, before=before, limit=limit), limit)


@get("/api/v1/admin/audit")
async def store_audit(
    request: Asked, account_id: str = "", action: str = "", before: Before = 0, limit: Limit = PAGE_MAX
) -> AuditPage:
    """List the log of an account, or without one that of the store, the newest first; for administrators."""
    services, _ = services_of(request), await admin_of(request)
    chain = from_hex(account_id, what="account") if account_id else STORE_CHAIN
    rows = await read_chain(services.db, chain, before=before, limit=limit, action=action)
    return await _page(request, rows, limit)


@get("/api/v1/admin/audit/newest")
async def newest_audit(request: Asked, action: str = "", after: str = "", limit: Limit = PAGE_MAX) -> AuditPage:
    """List the logs of all accounts and of the store as one, the newest first; for administrators."""
    services, _ = services_of(request), await admin_of(request)
    raw = from_hex(after, what="after", length=8 + ID_BYTES + 8) if after else b""
    place = Place(int.from_bytes(raw[:8]) & _INT_MAX, raw[8:-8], int.from_bytes(raw[-8:]) & _INT_MAX) if raw else None
    rows = await read_newest(services.db, limit, after=place, action=action)
    page = await _page(request, rows, limit)
    last = rows[-1] if len(rows) == min(limit, PAGE_MAX) else None
    told = last.at_ms.to_bytes(8) + last.chain + last.seq.to_bytes(8) if last else b""
    return AuditPage(page.items, 0, told.hex())


async def _page(request: Asked, rows: list[Recorded], limit: int) -> AuditPage:
    people = {account for row in rows for account in (row.actor, row.chain) if account}
    names = await names_of(services_of(request).db, people)
    shown = [
        AuditRow(
            row.seq,
            row.at_ms,
            row.action,
            names.get(row.actor, row.actor.hex()),
            row.device.hex(),
            row.address,
            row.subject,
            row.detail,
            row.hash.hex(),
            "" if row.chain == STORE_CHAIN else names.get(row.chain, row.chain.hex()),
        )
        for row in rows
    ]
    return AuditPage(shown, rows[-1].seq if len(rows) == min(limit, PAGE_MAX) and rows[-1].seq > 1 else 0)


def _shown(one: Account, *, has_second_factor: bool) -> AccountListed:
    return AccountListed(
        one.account_id.hex(),
        one.name,
        one.is_admin,
        one.is_disabled,
        one.created_ms,
        one.used_bytes,
        one.quota_bytes,
        has_second_factor,
    )


ROUTES = (accounts, change, own_audit, store_audit, newest_audit)
