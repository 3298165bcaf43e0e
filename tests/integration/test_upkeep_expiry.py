"""Expiry removes what nobody can ask for any more, and nothing else, over both databases."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import cast

from msgspec.structs import replace

from satchel.core.ids import DeviceId, LinkId, NodeId, OpId
from satchel.core.limits import OP_RESULT_AGE_DAYS_MAX
from satchel.core.messages import Outcome, Refused, ScopeRequest, Stored
from satchel.server.accounts.invitations import invite, list_invitations, revoke_invitation
from satchel.server.accounts.link_runs import begin_link_run, holds_link
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.proving import Proved
from satchel.server.accounts.service import revoke_device
from satchel.server.accounts.sessions import begin_session
from satchel.server.db.engine import Database
from satchel.server.feed.scopes import scope_txn, store_scope
from satchel.server.metadata.tree import versions
from satchel.server.upkeep import expiry
from satchel.server.upkeep.expiry import (
    DAY_MS,
    PAGE_LINKS,
    expire_invitations,
    expire_link_runs,
    expire_op_results,
    expire_scopes,
)
from tests.support.clocks import SteppingClock
from tests.support.databases import Run
from tests.support.stores import stores_beside
from tests.support.writers import Writer, create_folder, new_id

AGE_MS = OP_RESULT_AGE_DAYS_MAX * DAY_MS


async def folders(ada: Writer, count: int) -> list[OpId]:
    """Make so many folders by operations whose ids are strewn over the key; return those."""
    made = []
    for _ in range(count):
        node = NodeId(new_id())
        op = replace(create_folder(node, node.hex()), op_id=OpId(ada.clock.random(16)))
        await ada.stored(op)
        made.append(op.op_id)
    return made


async def kept_results(db: Database) -> set[bytes]:
    return {row[0] for row in await db.read(lambda conn: conn.fetch("SELECT op_id FROM op_results"))}


def clock_of(ada: Writer) -> SteppingClock:
    return cast("SteppingClock", ada.clock)


def test_answers_older_than_thirty_days_go_and_the_others_stay(run: Run) -> None:
    async def scenario(db: Database) -> None:
        writers = [await Writer.new(db, name=name) for name in ("ada", "bob", "cyd")]
        old = [op for ada in writers for op in await folders(ada, 11)]
        now = clock_of(writers[0]).now + AGE_MS
        for ada in writers:
            clock_of(ada).now = now
        young = [op for ada in writers for op in await folders(ada, 7)]
        assert await kept_results(db) == {*old, *young}
        counts = await expire_op_results(db, SteppingClock(now), page_results=4)
        assert (counts.done, counts.has_more) == ({"results": 33}, False)
        assert await kept_results(db) == set(young)
        assert (await expire_op_results(db, SteppingClock(now), page_results=4)).done == {"results": 0}

    run(scenario)


def test_an_answer_at_the_limit_of_its_age_is_still_given(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        op = create_folder(NodeId(new_id()), "a")
        await ada.stored(op)
        rows = await db.read(lambda conn: conn.fetch("SELECT created_at FROM op_results"))
        clock = SteppingClock(rows[0][0] + AGE_MS - 1)
        await expire_op_results(db, clock)
        assert await ada.commit(op) == (Stored(1),)
        clock.now = rows[0][0] + AGE_MS
        await expire_op_results(db, clock)
        assert await kept_results(db) == set()

    run(scenario)


def test_operations_repeated_while_answers_expire_are_never_done_twice(run: Run, database_url: str) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await folders(ada, 40)
        now = clock_of(ada).now = clock_of(ada).now + AGE_MS + 1
        is_over = asyncio.Event()

        async def commit_twice() -> None:
            for number in range(30):
                op = create_folder(NodeId(new_id()), f"new {number}")
                first: tuple[Outcome, ...] = await ada.commit(op)
                assert await ada.commit(op) == first and not isinstance(first[0], Refused)
            is_over.set()

        async def expire(store: Database) -> int:
            removed = 0
            while not is_over.is_set():
                counts = await expire_op_results(store, SteppingClock(now), page_results=3)
                removed += counts.done["results"]
            return removed

        async with stores_beside(db, database_url, 2) as stores, asyncio.TaskGroup() as group:
            group.create_task(commit_twice())
            removals = [group.create_task(expire(store)) for store in stores]
        # A row that two found is removed, and counted, once.
        assert sum(removal.result() for removal in removals) == 40
        assert len(await kept_results(db)) == 30
        assert len(await ada.all_entries()) == 70

    run(scenario)


def test_a_run_that_is_cut_short_goes_on_where_it_was(run: Run, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    async def scenario(db: Database) -> None:
        for name in ("ada", "bob", "cyd"):
            await folders(await Writer.new(db, name=name), 9)
        whole = expiry.walk
        monkeypatch.setattr(expiry, "walk", lambda *args: whole(*args, visits_max=2))
        clock = SteppingClock(SteppingClock().now + 2 * AGE_MS)
        runs = [await expire_op_results(db, clock, page_results=2)]
        while runs[-1].has_more:
            assert len(await kept_results(db)) == 27 - sum(counts.done["results"] for counts in runs)
            runs.append(await expire_op_results(db, clock, page_results=2))
        assert len(runs) == 8 and await kept_results(db) == set()

    run(scenario)


async def scoped(ada: Writer, count: int) -> None:
    """Let the writer's link leave out so many nodes, and say hello."""
    nodes = tuple(NodeId(new_id()) for _ in range(count))
    await store_scope(ada.db, ada.principal, ScopeRequest(ada.principal.root_ns, ada.link, nodes))
    await begin_link_run(ada.db, ada.principal, ada.link, 1 << 32)


async def left_out(ada: Writer) -> int:
    who = ada.principal
    scope = await ada.db.read(lambda conn: scope_txn(conn, who.root_ns, who.device_id, ada.link))
    return len(scope.left_out)


async def devices_of_all_kinds(db: Database) -> tuple[Writer, Writer, Writer, Writer]:
    """Return devices that are signed in, signed out just now, signed out for two days, and that never were; each with
    a scope of five. The last two are not to be waited for."""
    ada = await Writer.new(db)
    now, old, gone = await ada.other_device(), await ada.other_device(), await ada.other_device()
    who = gone.principal
    gone.principal = Principal(who.account_id, who.account_name, new_id(), "?", who.root_ns, False)  # type: ignore[arg-type]
    for device in (ada, now, old, gone):
        await scoped(device, 5)
    await revoke_device(db, ada.clock, ada.principal, old.principal.device_id)
    clock_of(ada).now += 2 * DAY_MS
    await revoke_device(db, ada.clock, ada.principal, now.principal.device_id)
    return ada, now, old, gone


def test_scopes_of_devices_that_are_gone_go_and_those_of_others_stay(run: Run) -> None:
    async def scenario(db: Database) -> None:
        devices = await devices_of_all_kinds(db)
        ada = devices[0]
        second = Writer(db, ada.clock, ada.principal)
        await scoped(second, 3)
        counts = await expire_scopes(db, SteppingClock(clock_of(ada).now), page_links=2)
        assert counts.done == {"links": 2, "nodes": 10}
        assert [await left_out(device) for device in (*devices, second)] == [5, 5, 0, 0, 3]
        assert (await expire_scopes(db, SteppingClock(clock_of(ada).now))).done == {}
        assert (await expire_scopes(db, SteppingClock(clock_of(ada).now + 2 * DAY_MS))).done == {"links": 1, "nodes": 5}

    run(scenario)


def test_two_at_once_remove_scopes_beside_links_that_name_theirs(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        other = await ada.other_device()
        for _ in range(PAGE_LINKS + 5):
            other.link = LinkId(new_id())
            await scoped(other, 2)
        await revoke_device(db, ada.clock, ada.principal, other.principal.device_id)
        clock = SteppingClock(clock_of(ada).now + 2 * DAY_MS)
        async with asyncio.TaskGroup() as group:
            expiring = [group.create_task(expire_scopes(db, clock)) for _ in range(2)]
            for count in range(1, 20):
                await scoped(ada, count)
        assert sum(task.result().done["nodes"] for task in expiring) == 2 * (PAGE_LINKS + 5)
        assert await left_out(ada) == 19

    run(scenario)


def test_runs_of_links_go_with_their_device_which_itself_stays_as_an_author(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada, now, old, gone = await devices_of_all_kinds(db)
        node = await old.file("written by a device that is gone")
        counts = await expire_link_runs(db, SteppingClock(clock_of(ada).now), page_runs=2)
        assert (counts.done, counts.has_more) == ({"links": 2}, False)
        held = [await holds_link(db, device.principal, device.link, 1 << 32) for device in (ada, now)]
        assert held == [True, True]
        rows = await db.read(lambda conn: conn.fetch("SELECT device_id FROM link_runs"))
        assert {row[0] for row in rows} == {ada.principal.device_id, now.principal.device_id}
        (version,) = await versions(db, ada.principal, ada.principal.root_ns, node)
        assert "desktop" in repr(version) and gone is not None

    run(scenario)


def test_runs_of_browsers_stay_while_they_can_be_signed_in_and_then_go(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        clock = clock_of(ada)
        hashed = await db.read(lambda conn: conn.fetch("SELECT password_hash FROM accounts"))
        who = Proved(ada.principal.account_id, "ada", ada.principal.root_ns, hashed[0][0])
        _, session = await begin_session(db, clock, who, name="Fox")
        browser = dataclasses.replace(ada.principal, device_id=DeviceId(session.session_id))
        await begin_link_run(db, browser, ada.link, 1 << 32)
        for days, left in ((2, 1), (29, 1), (3, 0)):
            clock.now += days * DAY_MS
            await expire_link_runs(db, clock)
            rows = await db.read(lambda conn: conn.fetch("SELECT COUNT(*) FROM link_runs"))
            assert rows == [(left,)], days

    run(scenario)


def test_invitations_go_long_after_their_end_and_open_ones_stay(run: Run) -> None:
    async def scenario(db: Database) -> None:
        clock = SteppingClock()
        _, revoked = await invite(db, clock, None, days=30)
        await revoke_invitation(db, clock, None, revoked.invitation_id)
        await invite(db, clock, None, days=1)
        clock.now += 89 * DAY_MS
        assert (await expire_invitations(db, clock)).done == {"invitations": 0}
        _, fresh = await invite(db, clock, None, days=30)
        clock.now += 2 * DAY_MS
        assert (await expire_invitations(db, clock)).done == {"invitations": 2}
        assert [one.invitation_id for one in await list_invitations(db, b"", 10)] == [fresh.invitation_id]

    run(scenario)
