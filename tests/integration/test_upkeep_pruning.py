"""Pruning the journal beside commits and readers, over both databases: nobody misses an entry without being told."""

from __future__ import annotations

import asyncio
import random

import pytest

from satchel.core.entries import Entry
from satchel.core.ids import NodeId
from satchel.core.limits import JOURNAL_AGE_DAYS_MIN, JOURNAL_ENTRIES_MIN
from satchel.core.messages import DeleteOp, Refused, Stored
from satchel.device.engine.remote_facts import JOURNAL_ENTRIES_KEPT
from satchel.server.db.engine import Database
from satchel.server.feed.seed import sync
from satchel.server.metadata.journal import head_txn
from satchel.server.metadata.view import FOREIGN_SEQS_MAX
from satchel.server.upkeep.expiry import DAY_MS
from satchel.server.upkeep.pruning import prune_journals
from tests.support.clocks import SteppingClock
from tests.support.databases import Run
from tests.support.stores import stores_beside
from tests.support.writers import Writer, create_folder, new_id, op_id

LATER = SteppingClock().now + 1_000 * DAY_MS


async def prune(db: Database, *, entries_min: int, page: int = 7, age_days: float = JOURNAL_AGE_DAYS_MIN) -> int:
    """Prune as in a far future; return how many entries went."""
    clock = SteppingClock(LATER)
    counts = await prune_journals(db, clock, age_days=age_days, entries_min=entries_min, page_entries=page)
    assert not counts.has_more
    return counts.done.get("entries", 0)


async def folders(ada: Writer, count: int) -> list[NodeId]:
    made = [NodeId(new_id()) for _ in range(count)]
    await ada.stored(*(create_folder(node, node.hex()) for node in made))
    return made


async def ends_of(ada: Writer) -> tuple[int, int, list[int]]:
    """Return min_seq, the head, and the seqs of the entries that are there."""
    ns = ada.principal.root_ns
    head = await ada.db.read(lambda conn: head_txn(conn, ns))
    rows = await ada.db.read(lambda conn: conn.fetch("SELECT seq FROM file_changes WHERE ns = $1 ORDER BY seq", ns))
    return head.min_seq, head.seq, [row[0] for row in rows]


@pytest.mark.parametrize("page", [1, 5, 14, 15, 16, 100])
def test_old_entries_go_but_for_the_newest_so_many(run: Run, page: int) -> None:
    async def scenario(db: Database) -> None:
        ada, bob = await Writer.new(db), await Writer.new(db, name="bob")
        await folders(ada, 20)
        await folders(bob, 5)
        assert await prune(db, entries_min=5, page=page) == 15
        assert await ends_of(ada) == (16, 20, [16, 17, 18, 19, 20])
        assert await ends_of(bob) == (0, 5, [1, 2, 3, 4, 5])
        assert await prune(db, entries_min=5, page=page) == 0
        assert await prune(db, entries_min=1, page=page) == 8
        assert (await ends_of(ada), await ends_of(bob)) == ((20, 20, [20]), (5, 5, [5]))
        await folders(ada, 2)
        assert await ends_of(ada) == (20, 22, [20, 21, 22])

    run(scenario)


def test_young_entries_stay_however_many_there_are(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await folders(ada, 10)
        ada.clock = SteppingClock(LATER - JOURNAL_AGE_DAYS_MIN * DAY_MS + 1_000)
        await folders(ada, 10)
        assert await prune(db, entries_min=3) == 10
        assert await ends_of(ada) == (11, 20, list(range(11, 21)))
        assert await prune(db, entries_min=3, age_days=1_000) == 0

    run(scenario)


def test_a_reader_at_any_place_gets_all_that_follows_or_is_told_to_start_anew(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await folders(ada, 30)
        places = [(0, b""), *((entry.seq, entry.tag) for entry in await ada.all_entries())]
        for entries_min in range(30, 0, -1):
            assert await prune(db, entries_min=entries_min) == (1 if entries_min < 30 else 0)
            low, head, _ = await ends_of(ada)
            assert low == (31 - entries_min if entries_min < 30 else 0)
            for seq, tag in places:
                page = await ada.changes(seq, tag)
                assert page.is_reset == (seq < low)
                told = [entry.seq for entry in page.entries]
                assert told == ([] if page.is_reset else list(range(seq + 1, head + 1)))

    run(scenario)


async def _read(ada: Writer, seed: int, is_over: asyncio.Event) -> tuple[int, int]:
    """Read from places chosen at random, in small pages with others between; return how many pages and resets came."""
    chance = random.Random(seed)
    known: list[tuple[int, bytes]] = [(0, b"")]
    pages = resets = 0
    while True:
        was_over = is_over.is_set()
        seq, tag = chance.choice(known[-60:])
        while True:
            page = await ada.changes(seq, tag, limit=chance.randint(1, 9))
            pages += 1
            if page.is_reset:
                resets += 1
                assert page.head_seq >= seq
                known.append((page.last_seq, page.last_tag))
                break
            assert page.prev_seq == seq
            assert [entry.seq for entry in page.entries] == list(range(seq + 1, page.last_seq + 1))
            seq, tag = page.last_seq, page.last_tag
            known.append((seq, tag))
            if not page.has_more:
                break
        if was_over:
            return pages, resets


async def _follow(ada: Writer, is_over: asyncio.Event) -> list[int]:
    """Follow by the sealed cursor, and list anew whenever that is asked for; return the ids that were told of."""
    told: set[str] = set()
    cursor = None
    while True:
        was_over = is_over.is_set()
        page = await sync(ada.db, ada.principal, cursor, 5)
        told |= {entry.id for entry in page.entries}
        cursor = page.cursor
        if was_over and not page.has_more:
            return sorted(int(one, 16) for one in told)


def test_readers_miss_nothing_while_entries_are_pruned_beside_commits(run: Run, database_url: str) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        is_over = asyncio.Event()
        made: list[NodeId] = []

        async def write() -> None:
            for number in range(60):
                made.extend(await folders(ada, 1 + number % 5))
            is_over.set()

        async def prune_on(store: Database) -> int:
            pruned = 0
            while not is_over.is_set():
                pruned += await prune(store, entries_min=12, page=3)
            return pruned

        async with stores_beside(db, database_url, 2) as stores, asyncio.TaskGroup() as group:
            group.create_task(write())
            pruning = [group.create_task(prune_on(store)) for store in stores]
            reading = [group.create_task(_read(ada, seed, is_over)) for seed in range(4)]
            following = group.create_task(_follow(ada, is_over))
        low, head, seqs = await ends_of(ada)
        assert head == len(made) == 180 and seqs == list(range(low, head + 1))
        # Each entry was removed, and counted, once.
        assert sum(task.result() for task in pruning) == low - 1 > 100
        assert sum(task.result()[1] for task in reading) > 0
        assert following.result() == sorted(int.from_bytes(node, "big") for node in made)

    run(scenario)


def test_a_pruned_namespace_takes_commits_deletions_and_snapshots_as_ever(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        other = await ada.other_device()
        nodes = await folders(ada, 10)
        child = NodeId(new_id())
        await other.stored(create_folder(child, "child", nodes[0]))
        await prune(db, entries_min=4)
        changed = await ada.commit(DeleteOp(op_id(), nodes[0], 10), DeleteOp(op_id(), nodes[1], 11))
        assert isinstance(changed[0], Refused) and changed[0].code == "changed_since"
        assert isinstance(changed[1], Stored)
        snapshot: list[Entry] = await ada.snapshot()
        assert {entry.node_id for entry in snapshot} == {*nodes, child} - {nodes[1]}

    run(scenario)


def test_what_relies_on_the_newest_entries_looks_no_further_back_than_they_are_kept() -> None:
    # Whether others changed a unit since is read in the journal; further back than this, a deletion is refused.
    assert FOREIGN_SEQS_MAX <= JOURNAL_ENTRIES_MIN
    # A reset within so many entries says to a device that the service went back in time.
    assert JOURNAL_ENTRIES_KEPT <= JOURNAL_ENTRIES_MIN
