"""Accounts of people whom a provider of OpenID Connect knows. Invariant: whoever the provider names for good (issuer
and subject) has one account; an e-mail address leads to an account only once, verified by the provider, and where an
administrator named that address before.

Who decides about one provider's people at once is one after another: all hold the end of the store's audit chain.
Source: docs/operate/oidc.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from satchel.core.errors import AlreadyExists, LimitExceeded, MessageInvalid, NameInvalid, NotFound, Unauthenticated
from satchel.core.ids import AccountId
from satchel.core.limits import OIDC_LINKS_PER_ACCOUNT_MAX
from satchel.core.paths import name_key
from satchel.server.accounts.audit import STORE_CHAIN, Action, Event, by, lock_chain_txn, record, record_txn
from satchel.server.accounts.ending import end_access_txn
from satchel.server.accounts.invitations import checked_email, folded_email, use_invitation_txn
from satchel.server.accounts.names import check_name, looked_up
from satchel.server.accounts.passwords import NO_PASSWORD, is_password
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.proving import Proved
from satchel.server.accounts.service import new_account, register_account_txn
from satchel.server.db.engine import Connection, Database
from satchel.server.ports import Clock, Identified

NAME_TRIES = 50
SEEN_GRAIN_MS = 60 * 60 * 1000
"""A last sign-in is written at most this often."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may come in by the provider. domains: of verified e-mail addresses, all when empty; claim: a name and a value
    that must be among its values, None for any; may_make: whether the unknown get an account."""

    domains: tuple[str, ...] = ()
    claim: tuple[str, str] | None = None
    may_make: bool = False

    def admits(self, known: Identified) -> bool:
        """Tell whether this person may come in at all."""
        if self.domains and folded_email(known.email).rpartition("@")[2] not in self.domains:
            return False
        if self.claim is None:
            return True
        name, wanted = self.claim
        told = known.claims.get(name)
        return wanted in told if isinstance(told, list) else str(told) == wanted


class OidcLink(NamedTuple):
    """A way into an account. seen_ms: the last sign-in, to the hour."""

    link_key: bytes
    issuer: str
    email: str
    created_ms: int
    seen_ms: int


def link_key(issuer: str, subject: str) -> bytes:
    """Return the key of whom the provider names."""
    return hashlib.sha256(f"{len(issuer)}:{issuer}{subject}".encode(errors="surrogatepass")).digest()


async def prove_identified(
    db: Database, clock: Clock, known: Identified, policy: Policy, *, from_address: str = ""
) -> Proved:
    """Return whose account this person has: the linked one; else the one that waits for the address, one by an open
    invitation to it, or a new one where the policy says so.

    Raises: Unauthenticated (nobody's, disabled, or not admitted: all alike).
    """
    known = known._replace(email=folded_email(known.email) if known.email.isprintable() else "")
    found: Proved | None = None
    if policy.admits(known):
        found = await db.write(STORE_CHAIN, lambda conn: _prove_txn(conn, clock, known, policy, from_address))
    if found is None:
        event = Event(Action.SIGN_IN_FAILED, clock.now_ms(), address=from_address, detail={"means": "oidc"})
        await record(db, STORE_CHAIN, event)
        raise Unauthenticated("No account is yours here; ask the administrator for one.")
    return found


async def link_own(
    db: Database, clock: Clock, known: Identified, *, account_id: bytes, session_id: bytes, from_address: str = ""
) -> None:
    """Let this person into the account from now on too. session_id: the browser that asked for it, still signed in.

    Raises: Unauthenticated (it is not), AlreadyExists (it is another account's), LimitExceeded.
    """
    account = AccountId(account_id)

    async def link_txn(conn: Connection) -> None:
        now = clock.now_ms()
        await lock_chain_txn(conn, STORE_CHAIN)
        held = await conn.fetch(
            "SELECT s.session_id FROM sessions s JOIN accounts a ON a.account_id = s.account_id"
            " WHERE s.account_id = $1 AND s.session_id = $2 AND s.ends_at > $3 AND a.is_disabled = 0",
            *(account, session_id, now),
        )
        if not held:
            raise Unauthenticated("The session is over.")
        owner = await _owner_txn(conn, known)
        if owner is not None and owner != account:
            raise AlreadyExists("Another account is opened by this sign-in.", what="sign-in", name=known.issuer)
        if owner is None:
            event = Event(Action.OIDC_LINKED, now, account, session_id, from_address, known.subject)
            await _link_txn(conn, known, account, event)

    await db.write(STORE_CHAIN, link_txn)


async def list_links(db: Database, principal: Principal) -> list[OidcLink]:
    """Return by what the account is opened beside its password, the oldest first."""
    rows = await db.read(
        lambda conn: conn.fetch(
            "SELECT link_key, issuer, email, created_at, seen_at FROM oidc_links WHERE account_id = $1"
            " ORDER BY created_at, link_key",
            principal.account_id,
        )
    )
    return [OidcLink(*row) for row in rows]


async def unlink(db: Database, clock: Clock, principal: Principal, key: bytes, *, from_address: str = "") -> None:
    """Close one such way; other browsers and devices are signed out, since some may have come by it.

    Raises: NotFound, MessageInvalid (the account has no password: its owner would be shut out).
    """

    async def unlink_txn(conn: Connection) -> None:
        account, now = principal.account_id, clock.now_ms()
        rows = await conn.fetch("SELECT password_hash FROM accounts WHERE account_id = $1", account)
        gone = await conn.execute("DELETE FROM oidc_links WHERE link_key = $1 AND account_id = $2", key, account)
        if not gone:
            raise NotFound("There is no such sign-in.")
        if not is_password(rows[0][0]):
            raise MessageInvalid("The account has no password: nothing would open it.", reason="no password")
        await end_access_txn(conn, account, now, but=principal, app_passwords=False)
        await record_txn(conn, account, by(principal, Action.OIDC_UNLINKED, now, address=from_address))

    await db.write(principal.account_id, unlink_txn)


async def expect(db: Database, clock: Clock, name: str, email: str) -> None:
    """Give the account to the first one who comes with this address; for administrators of the machine.

    Raises: NotFound, MessageInvalid.
    """
    address = checked_email(email)

    async def expect_txn(conn: Connection) -> None:
        account, now = await _named_txn(conn, name), clock.now_ms()
        await conn.execute(
            "INSERT INTO oidc_expected (email_key, account_id, email, created_at) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (email_key) DO UPDATE SET account_id = excluded.account_id, created_at = excluded.created_at",
            *(_email_key(address), account, address, now),
        )
        event = Event(Action.OIDC_LINKED, now, subject=address, detail={"is_expected": True})
        await record_txn(conn, account, event)

    await db.write(STORE_CHAIN, expect_txn)


async def unlink_all(db: Database, clock: Clock, name: str) -> None:
    """Close all such ways into an account, and end what may have come by them; for administrators of the machine.

    Raises: NotFound.
    """

    async def unlink_txn(conn: Connection) -> None:
        account, now = await _named_txn(conn, name), clock.now_ms()
        await conn.execute("DELETE FROM oidc_links WHERE account_id = $1", account)
        await conn.execute("DELETE FROM oidc_expected WHERE account_id = $1", account)
        await end_access_txn(conn, account, now)
        await record_txn(conn, account, Event(Action.OIDC_UNLINKED, now))

    await db.write(STORE_CHAIN, unlink_txn)


async def use_attempt(db: Database, clock: Clock, attempt: bytes, *, ends_ms: int) -> bool:
    """Note that a sign-in came back from the provider. False when it did before. attempt: its secret."""
    key = hashlib.sha256(attempt).digest()

    async def use_txn(conn: Connection) -> bool:
        await conn.execute("DELETE FROM oidc_used WHERE ends_at < $1", clock.now_ms())
        return bool(
            await conn.execute(
                "INSERT INTO oidc_used (attempt_key, ends_at) VALUES ($1, $2) ON CONFLICT (attempt_key) DO NOTHING",
                *(key, ends_ms),
            )
        )

    return await db.write(key, use_txn)


# -- parts of these ---------------------------------------------------------------------------------------------------


async def _prove_txn(
    conn: Connection, clock: Clock, known: Identified, policy: Policy, from_address: str
) -> Proved | None:
    """Return whose account it is, made or linked now where it has to be; None for nobody's and for a disabled one."""
    now = clock.now_ms()
    account = await _owner_txn(conn, known)
    if account is None:
        await lock_chain_txn(conn, STORE_CHAIN)
        account = await _owner_txn(conn, known)
    if account is None:
        account = await _first_txn(conn, clock, known, policy, from_address)
        if account is None:
            return None
        event = Event(Action.OIDC_LINKED, now, account, address=from_address, subject=known.subject)
        await _link_txn(conn, known, account, event)
    rows = await conn.fetch(
        "SELECT name, root_ns, password_hash FROM accounts WHERE account_id = $1 AND is_disabled = 0", account
    )
    if not rows:
        return None
    await conn.execute(
        "UPDATE oidc_links SET seen_at = $2 WHERE link_key = $1 AND seen_at < $3",
        *(link_key(known.issuer, known.subject), now, now - SEEN_GRAIN_MS),
    )
    return Proved(account, *rows[0])


async def _first_txn(
    conn: Connection, clock: Clock, known: Identified, policy: Policy, from_address: str
) -> AccountId | None:
    """Return the account of somebody who is here for the first time; None when nobody said that there is to be one."""
    if known.email:
        key = _email_key(known.email)
        waiting = await conn.fetch("SELECT account_id FROM oidc_expected WHERE email_key = $1", key)
        if waiting:
            await conn.execute("DELETE FROM oidc_expected WHERE email_key = $1", key)
            return AccountId(waiting[0][0])
    name = await _free_name_txn(conn, known.names)
    if known.email:
        invited = await conn.fetch(
            "SELECT invitation_id, is_admin, quota FROM invitations WHERE email = $1 AND used_at IS NULL"
            " AND revoked_at IS NULL AND ends_at > $2 ORDER BY created_at DESC LIMIT 1",
            *(known.email, clock.now_ms()),
        )
        if invited:
            [(invitation_id, is_admin, quota)] = invited
            made = new_account(clock, name=name, password_hash=NO_PASSWORD, is_admin=bool(is_admin), quota_bytes=quota)
            try:
                await use_invitation_txn(conn, made, invitation_id, from_address=from_address)
            except NotFound:
                # Whoever invited may not do so any more.
                return None
            return made.account_id
    if not policy.may_make:
        return None
    made = new_account(clock, name=name, password_hash=NO_PASSWORD)
    await register_account_txn(conn, made)
    return made.account_id


async def _owner_txn(conn: Connection, known: Identified) -> AccountId | None:
    key = link_key(known.issuer, known.subject)
    rows = await conn.fetch("SELECT account_id FROM oidc_links WHERE link_key = $1", key)
    return AccountId(rows[0][0]) if rows else None


async def _link_txn(conn: Connection, known: Identified, account: AccountId, event: Event) -> None:
    """Link them. The caller holds the end of the store's chain, and looked that there is no link."""
    held = await conn.fetch("SELECT COUNT(*) FROM oidc_links WHERE account_id = $1", account)
    if held[0][0] >= OIDC_LINKS_PER_ACCOUNT_MAX:
        raise LimitExceeded(
            "The account has too many sign-ins by a provider.",
            limit="OIDC_LINKS_PER_ACCOUNT_MAX",
            maximum=OIDC_LINKS_PER_ACCOUNT_MAX,
            actual=held[0][0] + 1,
        )
    await conn.execute(
        "INSERT INTO oidc_links (link_key, account_id, issuer, email, created_at, seen_at)"
        " VALUES ($1, $2, $3, $4, $5, $5)",
        *(link_key(known.issuer, known.subject), account, known.issuer, known.email, event.at_ms),
    )
    await record_txn(conn, account, event)


async def _free_name_txn(conn: Connection, names: Sequence[str]) -> str:
    """Return the best name that nobody has, with a number where all are taken. Raises: AlreadyExists."""
    usable = [name for name in names if _is_name(name)] or ["user"]
    for number in range(1, NAME_TRIES + 1):
        for name in usable:
            tried = name if number == 1 else f"{name} {number}"
            if _is_name(tried) and not await conn.fetch("SELECT 1 FROM accounts WHERE name_key = $1", name_key(tried)):
                return tried
    raise AlreadyExists("All names that fit are taken.", what="account", name=usable[0])


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except (NameInvalid, LimitExceeded):
        return False
    return True


async def _named_txn(conn: Connection, name: str) -> AccountId:
    rows = await conn.fetch("SELECT account_id FROM accounts WHERE name_key = $1", looked_up(name))
    if not rows:
        raise NotFound("There is no such account.", name=name)
    return AccountId(rows[0][0])


def _email_key(address: str) -> bytes:
    """Return the key of an address as it is compared."""
    return hashlib.sha256(address.encode(errors="surrogatepass")).digest()
