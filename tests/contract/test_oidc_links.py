"""Whose account somebody gets whom a provider knows: on both databases, whatever the provider says of them."""

from __future__ import annotations

import asyncio

import pytest

from satchel.core.errors import AlreadyExists, MessageInvalid, NotFound, Unauthenticated
from satchel.core.ids import AccountId
from satchel.server.accounts.audit import STORE_CHAIN, read_chain
from satchel.server.accounts.invitations import invite, list_invitations, revoke_invitation
from satchel.server.accounts.oidc_links import (
    Policy,
    expect,
    link_key,
    link_own,
    list_links,
    prove_identified,
    unlink,
    unlink_all,
    use_attempt,
)
from satchel.server.accounts.principal import Means, Principal
from satchel.server.accounts.proving import Proved
from satchel.server.accounts.service import Account, disable_user, list_users, register_account, register_device
from satchel.server.accounts.sessions import begin_session
from satchel.server.db.engine import Database
from satchel.server.ports import Identified
from tests.support.clocks import SteppingClock
from tests.support.databases import Run

ISSUER = "https://id.example"
OPEN = Policy(may_make=True)


def known(subject: str, email: str = "", *names: str, **claims: object) -> Identified:
    return Identified(ISSUER, subject, email, names or (subject,), claims)


async def account(db: Database, name: str, clock: SteppingClock) -> Account:
    return await register_account(db, clock, name=name, password_hash="$argon2 none")


async def named(db: Database, clock: SteppingClock, one: Identified, policy: Policy | None = None) -> str:
    """Return the name of the account that this person gets, empty for none."""
    try:
        return (await prove_identified(db, clock, one, policy or Policy())).name
    except Unauthenticated:
        return ""


def test_the_unknown_get_nothing_unless_the_administrator_said_so(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        await account(db, "ann", clock)
        # Not even with a name or an address that somebody has here.
        for one in (known("1", "", "ann"), known("2", "ann@example.org", "ann")):
            assert await named(db, clock, one) == ""
        assert len(await list_users(db)) == 1
        assert [row.action for row in await read_chain(db, STORE_CHAIN)] == ["sign_in_failed"] * 2
        assert await named(db, clock, known("2", "ann@example.org", "ann"), OPEN) == "ann 2"
        assert await named(db, clock, known("2", "other@example.org", "else"), OPEN) == "ann 2"
        assert await named(db, clock, known("3", "", "a/b", "", "bob"), OPEN) == "bob"

    run(scenario)


def test_an_address_leads_to_the_account_that_waits_for_it_once_and_then_the_subject_does(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        ann = await account(db, "ann", clock)
        await expect(db, clock, "ann", " Ann@Example.org ")
        assert await named(db, clock, known("1")) == ""
        # Letters that fold to those of another address are another address.
        await expect(db, clock, "ann", "strasse@k.example")
        for alike in ("straße@k.example", "strasse@\u212a.example", "ann@example.org ", "ann@example.org\0"):
            assert await named(db, clock, known("0", alike)) == ""
        assert await named(db, clock, known("1", "ANN@example.org")) == "ann"
        # The provider gave the address to somebody else since; the subject is who it was.
        assert await named(db, clock, known("2", "ann@example.org")) == ""
        assert await named(db, clock, known("1", "new@example.org")) == "ann"
        actions = [row.action for row in await read_chain(db, ann.account_id)]
        assert actions == ["oidc_linked", "oidc_linked", "oidc_linked", "account_made"]
        for wrong in ("", "ann", "@b", "a@", "a@b@c", "a b@c", "x" * 251 + "@b.c"):
            with pytest.raises(MessageInvalid):
                await expect(db, clock, "ann", wrong)
        with pytest.raises(NotFound):
            await expect(db, clock, "nobody", "a@b.c")

    run(scenario)


def test_an_invitation_to_the_address_makes_one_account_with_what_it_names(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        await invite(db, clock, None, email="Bob@example.org", quota_bytes=5_000)
        _, revoked = await invite(db, clock, None, email="eve@example.org")
        await revoke_invitation(db, clock, None, revoked.invitation_id)
        await invite(db, clock, None, email="old@example.org", days=1)
        clock.now += 2 * 24 * 3_600_000
        assert await named(db, clock, known("1", "", "bob")) == ""
        assert await named(db, clock, known("1", "bob@example.org", "bob")) == "bob"
        assert await named(db, clock, known("2", "bob@example.org", "bob")) == ""
        assert await named(db, clock, known("3", "eve@example.org")) == ""
        assert await named(db, clock, known("4", "old@example.org")) == ""
        [bob] = await list_users(db)
        assert (bob.name, bob.quota_bytes, bob.is_admin) == ("bob", 5_000, False)
        assert [bool(one.used_ms) for one in await list_invitations(db, b"", 10)] == [True, False, False]

    run(scenario)


def test_many_who_come_at_once_are_one_account(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        one = known("1", "ann@example.org", "ann")
        found = await asyncio.gather(*(named(db, clock, one, OPEN) for _ in range(8)))
        assert set(found) == {"ann"}
        assert len(await list_users(db)) == 1

    run(scenario)


def test_the_disabled_and_those_not_admitted_answer_like_the_unknown(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        assert await named(db, clock, known("1", "ann@example.org"), OPEN) != ""
        only = Policy(domains=("example.org",), claim=("groups", "files"), may_make=True)
        assert await named(db, clock, known("1", "ann@example.org", groups=["other"]), only) == ""
        assert await named(db, clock, known("1", "ann@evil.example", groups=["files"]), only) == ""
        assert await named(db, clock, known("1", "ann@sub.example.org", groups=["files"]), only) == ""
        assert await named(db, clock, known("1", "", groups=["files"]), only) == ""
        assert await named(db, clock, known("1", "ann@example.org", groups="files"), only) == "1"
        assert await named(db, clock, known("1", "ann@example.org", groups=["files", "x"]), only) == "1"
        await disable_user(db, clock, "1")
        assert await named(db, clock, known("1", "ann@example.org"), OPEN) == ""
        faults = []
        for one in (known("1"), known("9")):
            with pytest.raises(Unauthenticated) as refused:
                await prove_identified(db, clock, one, Policy())
            faults.append(str(refused.value))
        assert faults[0] == faults[1]

    run(scenario)


async def browser_of(db: Database, clock: SteppingClock, of: Account) -> Principal:
    who = Proved(of.account_id, of.name, of.root_ns, "$argon2 none")
    _, session = await begin_session(db, clock, who, name="Fox")
    device = AccountId(session.session_id)
    return Principal(of.account_id, of.name, device, "Fox", of.root_ns, means=Means.SESSION)  # type: ignore[arg-type]


def test_an_account_links_itself_while_its_browser_is_signed_in_and_takes_nobody_elses(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        ann, bob = await account(db, "ann", clock), await account(db, "bob", clock)
        mine, other = await browser_of(db, clock, ann), await browser_of(db, clock, bob)
        one = known("1", "x@example.org")
        await link_own(db, clock, one, account_id=mine.account_id, session_id=mine.device_id)
        await link_own(db, clock, one, account_id=mine.account_id, session_id=mine.device_id)
        assert await named(db, clock, one) == "ann"
        with pytest.raises(AlreadyExists):
            await link_own(db, clock, one, account_id=other.account_id, session_id=other.device_id)
        with pytest.raises(Unauthenticated):
            await link_own(db, clock, known("2"), account_id=mine.account_id, session_id=other.device_id)
        [shown] = await list_links(db, mine)
        assert (shown.link_key, shown.issuer, shown.email) == (link_key(ISSUER, "1"), ISSUER, "x@example.org")
        with pytest.raises(NotFound):
            await unlink(db, clock, other, shown.link_key)
        await unlink(db, clock, mine, shown.link_key)
        assert await named(db, clock, one) == ""

    run(scenario)


def test_who_has_no_password_does_not_shut_oneself_out_and_an_administrator_ends_all(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        who = await prove_identified(db, clock, known("1"), OPEN)
        _, device = await register_device(db, clock, account_id=who.account_id, name="laptop")
        mine = Principal(who.account_id, who.name, device, "laptop", who.root_ns)
        with pytest.raises(MessageInvalid):
            await unlink(db, clock, mine, link_key(ISSUER, "1"))
        await unlink_all(db, clock, who.name)
        assert await named(db, clock, known("1")) == ""
        rows = await db.read(lambda conn: conn.fetch("SELECT revoked_at FROM devices"))
        assert [row[0] is not None for row in rows] == [True]

    run(scenario)


def test_an_attempt_is_used_once_and_forgotten_after_its_time(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        ends = clock.now_ms() + 1_000
        told = await asyncio.gather(*(use_attempt(db, clock, b"secret", ends_ms=ends) for _ in range(4)))
        assert sorted(told) == [False, False, False, True]
        clock.now = ends + 1_000
        assert await use_attempt(db, clock, b"another", ends_ms=clock.now_ms() + 1_000)
        rows = await db.read(lambda conn: conn.fetch("SELECT COUNT(*) FROM oidc_used"))
        assert rows == [(1,)]

    run(scenario)
