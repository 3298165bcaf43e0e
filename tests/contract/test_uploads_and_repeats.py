"""Rows of uploads in parts and of repeated requests, over both databases: who is late is told, and what ended goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from satchel.core.errors import KeyReused, NotFound, OffsetMismatch, RequestInProgress
from satchel.core.ids import AccountId, NamespaceId, NodeId, OpId
from satchel.server.accounts.repeated import CLAIM_MS, KEPT_MS, Kept, Key, claim, hashed_key, keep, let_go, renew
from satchel.server.db.engine import Database
from satchel.server.db.schema import migrate
from satchel.server.metadata.upload_sessions import (
    AGE_MS,
    IDLE_MS,
    UploadSession,
    advance,
    begin_again,
    begin_upload,
    decide,
    end_upload,
    finish_upload,
    open_bytes,
    parts_of,
    upload_of,
    uploads_of,
)
from satchel.server.upkeep.requests import GRACE_MS, forget_requests, forget_uploads
from tests.support.clocks import SteppingClock
from tests.support.databases import Run

ANN, BEN = AccountId(b"a" * 16), AccountId(b"b" * 16)
NOW = 1_764_400_000_000
FIRST = UploadSession(
    account_id=ANN,
    upload_id=b"1" * 16,
    ns=NamespaceId(b"n" * 16),
    parent_id=NodeId(bytes(16)),
    name="film.mp4",
    base_rev=None,
    size=100,
    wanted_hash=b"",
    mtime_ns=1,
    node_id=NodeId(b"f" * 16),
    op_id=OpId(b"o" * 16),
    op=b"",
    received=0,
    cut=0,
    tail=b"",
    created_ms=NOW,
    seen_ms=NOW,
    leased_ms=NOW,
    finished_ms=None,
)
KEY = Key(ANN, hashed_key("k"), b"asked", b"claim 1")
KEPT = Kept(b"body", 201, "[]", b"{}")


def clock_at(now_ms: int) -> SteppingClock:
    return SteppingClock(now_ms)


def test_of_two_writers_of_an_upload_one_goes_on(run: Run) -> None:
    async def scenario(db: Database) -> None:
        await migrate(db, clock_at(NOW))
        await begin_upload(db, FIRST)
        await begin_upload(db, replace(FIRST, upload_id=b"2" * 16, size=7))
        assert await open_bytes(db, ANN, NOW) == 107
        after = await advance(db, FIRST, blocks=b"B1", cut=40, tail=b"T", received=50, now_ms=NOW + 1)
        with pytest.raises(OffsetMismatch):
            await advance(db, FIRST, blocks=b"xx", cut=40, tail=b"T", received=50, now_ms=NOW + 2)
        assert await upload_of(db, ANN, FIRST.upload_id, NOW) == after
        last = await advance(db, after, blocks=b"B2", cut=100, tail=b"", received=100, now_ms=NOW + 3)
        assert await parts_of(db, last) == b"B1B2"
        assert [one.upload_id for one in await uploads_of(db, ANN, b"", 10, NOW)] == [b"1" * 16, b"2" * 16]
        assert [one.upload_id for one in await uploads_of(db, ANN, b"1" * 16, 10, NOW)] == [b"2" * 16]
        with pytest.raises(NotFound):
            await upload_of(db, BEN, FIRST.upload_id, NOW)
        with pytest.raises(NotFound):
            await end_upload(db, BEN, FIRST.upload_id)
        await begin_again(db, last, NOW + 4)
        again = await upload_of(db, ANN, FIRST.upload_id, NOW)
        assert (again.received, await parts_of(db, again)) == (0, b"")

    run(scenario)


def test_what_is_committed_is_decided_once(run: Run) -> None:
    async def scenario(db: Database) -> None:
        await migrate(db, clock_at(NOW))
        await begin_upload(db, FIRST)
        assert await decide(db, FIRST, b"one", b"") == b"one"
        assert await decide(db, FIRST, b"two", b"") == b"one"
        assert await decide(db, FIRST, b"", b"one") == b""
        await finish_upload(db, FIRST, NodeId(b"g" * 16), NOW + 1)
        done = await upload_of(db, ANN, FIRST.upload_id, NOW)
        assert (done.finished_ms, done.node_id) == (NOW + 1, b"g" * 16)
        assert await open_bytes(db, ANN, NOW) == 0
        # Another request that was finishing it too found parts gone, and took them for wrong.
        await begin_again(db, FIRST, NOW + 2)
        assert await upload_of(db, ANN, FIRST.upload_id, NOW) == done
        with pytest.raises(OffsetMismatch):
            await advance(db, FIRST, blocks=b"", cut=0, tail=b"T", received=1, now_ms=NOW + 2)

    run(scenario)


@pytest.mark.parametrize("over", ["idle", "age"])
def test_an_upload_whose_time_is_over_is_gone_before_and_after_it_is_removed(run: Run, over: str) -> None:
    async def scenario(db: Database) -> None:
        await migrate(db, clock_at(NOW))
        end = NOW + (IDLE_MS if over == "idle" else AGE_MS)
        seen = NOW if over == "idle" else end - 1
        await begin_upload(db, replace(FIRST, seen_ms=seen))
        await advance(db, replace(FIRST, seen_ms=seen), blocks=b"B", cut=9, tail=b"", received=9, now_ms=seen)
        assert (await upload_of(db, ANN, FIRST.upload_id, end - 1)).received == 9
        with pytest.raises(NotFound):
            await upload_of(db, ANN, FIRST.upload_id, end)
        assert await uploads_of(db, ANN, b"", 10, end) == []
        assert (await forget_uploads(db, clock_at(end))).done == {"uploads": 0}
        assert (await forget_uploads(db, clock_at(end + GRACE_MS + 1))).done == {"uploads": 1}
        assert await parts_of(db, FIRST) == b""

    run(scenario)


def test_a_request_is_worked_on_once_and_answered_again_for_a_day(run: Run) -> None:
    async def scenario(db: Database) -> None:
        await migrate(db, clock_at(NOW))
        other = replace(KEY, claim=b"claim 2")
        assert await claim(db, KEY, NOW) is None
        with pytest.raises(RequestInProgress):
            await claim(db, other, NOW + CLAIM_MS - 1)
        await renew(db, KEY, NOW + CLAIM_MS - 1)
        with pytest.raises(RequestInProgress):
            await claim(db, other, NOW + CLAIM_MS + 1)
        with pytest.raises(KeyReused):
            await claim(db, replace(other, asked=b"something else"), NOW)
        assert await claim(db, replace(other, account_id=BEN), NOW) is None
        # Its process says nothing any more: another one takes it, and the first one's answer comes too late.
        assert await claim(db, other, NOW + 3 * CLAIM_MS) is None
        await keep(db, KEY, replace(KEPT, status=500))
        await let_go(db, KEY)
        await keep(db, other, KEPT)
        assert await claim(db, KEY, NOW + KEPT_MS - 1) == KEPT
        assert (await forget_requests(db, clock_at(NOW + KEPT_MS))).done == {"requests": 0}
        assert await claim(db, replace(KEY, asked=b"something else"), NOW + KEPT_MS) is None
        assert (await forget_requests(db, clock_at(NOW + 2 * KEPT_MS + GRACE_MS + 1))).done == {"requests": 2}

    run(scenario)


def test_a_request_that_was_let_go_is_worked_on_again(run: Run) -> None:
    async def scenario(db: Database) -> None:
        await migrate(db, clock_at(NOW))
        assert await claim(db, KEY, NOW) is None
        await let_go(db, KEY)
        assert await claim(db, replace(KEY, claim=b"claim 2"), NOW) is None

    run(scenario)
