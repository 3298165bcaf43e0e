"""The walk over all namespaces: each in its turn, whatever fails or is cut short; and by index alone."""

from __future__ import annotations

import re

import apsw
import pytest

from satchel.core.errors import StorageFailed
from satchel.server.accounts.service import register_account, revoke_device
from satchel.server.db import sqlite
from satchel.server.db.engine import Database, drive, numbered
from satchel.server.db.schema import migrate
from satchel.server.upkeep import walk as walking
from satchel.server.upkeep.expiry import expire_link_runs, expire_op_results, expire_scopes
from satchel.server.upkeep.pruning import prune_journals
from satchel.server.upkeep.schedule import Counts
from satchel.server.upkeep.usage import recount_usage
from satchel.server.upkeep.walk import Standing, Visited, place_of, walk
from tests.integration.test_upkeep_expiry import scoped
from tests.support.clocks import SteppingClock
from tests.support.databases import Run
from tests.support.writers import Writer

FAR_MS = 400 * 24 * 60 * 60 * 1_000


class Visitor:
    """Visits each namespace `pages` times and notes it; fails at those in `bad`."""

    def __init__(self, pages: int = 1) -> None:
        self.pages = pages
        self.seen: list[tuple[bytes, int]] = []
        self.bad: set[bytes] = set()

    async def __call__(self, standing: Standing, after: bytes) -> Visited:
        page = int(after or b"0")
        self.seen.append((standing.ns, page))
        if standing.ns in self.bad:
            raise StorageFailed("A bad page.", where="test", reason="test")
        return Visited({"pages": 1}, b"%d" % (page + 1) if page + 1 < self.pages else None)


async def namespaces(db: Database, count: int) -> list[bytes]:
    clock = SteppingClock()
    made = [await register_account(db, clock, name=f"user {at}", password_hash="none") for at in range(count)]
    return sorted(account.root_ns for account in made)


@pytest.mark.parametrize("visits_max", [1, 2, 3, 4, 7, 21, 22, 1_000])
def test_a_walk_cut_short_at_any_visit_goes_on_with_the_next(
    run: Run, visits_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "NAMESPACES_PAGE", 3)

    async def scenario(db: Database) -> None:
        every, visitor = await namespaces(db, 7), Visitor(pages=3)
        counts = Counts({}, has_more=True)
        while counts.has_more:
            before = len(visitor.seen)
            counts = await walk(db, SteppingClock(), "test", visitor, visits_max=visits_max)
            assert counts.done.get("pages", 0) == len(visitor.seen) - before <= visits_max
        assert visitor.seen == [(ns, page) for ns in every for page in range(3)]
        assert await place_of(db, "test") == b""
        await walk(db, SteppingClock(), "test", visitor)
        assert len(visitor.seen) == 42

    run(scenario)


def test_a_walk_ends_when_its_time_is_over(run: Run) -> None:
    async def scenario(db: Database) -> None:
        await namespaces(db, 5)
        visitor = Visitor()
        # The clock goes on by a millisecond a look: one is spent on the beginning.
        counts = await walk(db, SteppingClock(), "test", visitor, run_ms=3)
        assert (counts.has_more, len(visitor.seen)) == (True, 3)

    run(scenario)


def test_a_namespace_that_fails_is_passed_over_by_the_next_walk(run: Run) -> None:
    async def scenario(db: Database) -> None:
        every, visitor = await namespaces(db, 4), Visitor(pages=2)
        visitor.bad = {every[1]}
        with pytest.raises(StorageFailed):
            await walk(db, SteppingClock(), "test", visitor)
        await walk(db, SteppingClock(), "test", visitor)
        passed = [(every[0], 0), (every[0], 1), (every[1], 0), (every[2], 0), (every[2], 1), (every[3], 0)]
        assert visitor.seen == [*passed, (every[3], 1)]
        visitor.bad.clear()
        visitor.seen.clear()
        await walk(db, SteppingClock(), "test", visitor)
        assert len(visitor.seen) == 8

    run(scenario)


async def _fill(db: Database) -> None:
    ada = await Writer.new(db)
    other = await ada.other_device()
    for at in range(20):
        await other.file(f"{at}", b"%d" % at)
    await scoped(other, 5)
    await revoke_device(db, ada.clock, ada.principal, other.principal.device_id)
    await db.write(b"test", lambda conn: conn.execute("UPDATE namespaces SET bytes_used = 1 WHERE kind = 'root'"))


async def _run_all(db: Database) -> list[dict[str, int]]:
    clock = SteppingClock(SteppingClock().now + FAR_MS)
    done = [
        await expire_op_results(db, clock, page_results=6),
        await expire_scopes(db, clock),
        await expire_link_runs(db, clock),
        await prune_journals(db, clock, entries_min=5, page_entries=6),
        await recount_usage(db, clock),
    ]
    return [dict(counts.done) for counts in done]


def test_every_statement_of_upkeep_finds_its_rows_by_index() -> None:
    db = sqlite.InlineSqliteDatabase()
    drive(migrate(db, SteppingClock()))
    drive(_fill(db))
    seen: dict[str, None] = {}

    def recorded(sql: str) -> str:
        seen.setdefault(numbered(sql))
        return numbered(sql)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "numbered", recorded)
        told = drive(_run_all(db))
    usage = {"namespaces": 1, "repaired": 1}
    assert told == [{"results": 20}, {"links": 1, "nodes": 5}, {"links": 1}, {"entries": 15}, usage]
    assert len(seen) > 15
    raw: apsw.Connection = db._raw
    wide = []
    for text in seen:
        numbers = [int(number) for number in re.findall(r"\?(\d+)", text)]
        for *_, step in raw.execute(f"EXPLAIN QUERY PLAN {text}", (None,) * max(numbers, default=0)).fetchall():
            is_wide = re.search(r"\(ns=\?\)$", step) and "namespaces" not in step
            if is_wide or re.search(r"SCAN|TEMP B-TREE", step):
                wide.append((step, text))
    assert wide == []
