"""Rewinds, times in the journal and what was done, on both databases; the random trees are in the property tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from satchel.core.errors import HistoryEnded, NotFound, PreconditionFailed, Unavailable
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.messages import DeleteOp, EditOp, MoveOp, Placement
from satchel.server.db.engine import Database
from satchel.server.metadata.activity import Wanted, activity
from satchel.server.metadata.moments import DAY_MS, days, reach
from satchel.server.metadata.restore import restore_unit
from satchel.server.metadata.rewind import Rewound, place_at, preview, rewind
from satchel.server.metadata.rewind_records import begin, rewinds
from satchel.server.metadata.tree import trash
from satchel.simulation.stores import InlineWorkers
from tests.support.clocks import SteppingClock
from tests.support.databases import Run
from tests.support.writers import Writer, content_of, create_file, new_id, op_id

T = TypeVar("T")
WORKERS = InlineWorkers()


async def head_of(ada: Writer) -> int:
    return (await ada.changes()).head_seq


async def to(ada: Writer, seq: int, unit: NodeId = ROOT_NODE, **more: int) -> Rewound:
    return await rewind(ada.db, ada.clock, WORKERS, ada.principal, ada.principal.root_ns, unit, seq, **more)  # type: ignore[arg-type]


async def tree_of(ada: Writer) -> dict[str, bytes]:
    """Return contents by path; folders have none."""
    entries = {entry.node_id: entry for entry in await ada.snapshot()}

    def path(node_id: NodeId) -> str:
        return "" if node_id == ROOT_NODE else f"{path(entries[node_id].parent_id)}/{entries[node_id].name}"

    return {path(node_id): entry.content for node_id, entry in entries.items()}


async def a_day(ada: Writer) -> tuple[int, dict[str, bytes]]:
    """Make a small tree, then do some of everything to it; return the place before and what was there."""
    docs = await ada.folder("docs")
    letter = await ada.file("letter.txt", b"one", docs)
    old = await ada.file("old.txt", b"old", docs)
    await ada.file("plain", b"plain")
    before, tree = await head_of(ada), await tree_of(ada)
    rev = (await ada.entry(letter)).content_rev
    await ada.stored(EditOp(op_id(), letter, rev, content_of(b"two")), blocks=[b"two"])
    place = (await ada.entry(letter)).place_rev
    await ada.stored(MoveOp(op_id(), (Placement(letter, place, ROOT_NODE, "Letter.txt"),)))
    await ada.file("letter.txt", b"another", docs)
    await ada.stored(DeleteOp(op_id(), old, 1 << 40))
    await ada.stored(DeleteOp(op_id(), docs, 1 << 40))
    await ada.folder("docs")
    return before, tree


def test_a_day_is_taken_back_and_that_too(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        before, tree = await a_day(ada)
        after = await tree_of(ada)
        shown = await preview(db, WORKERS, ada.principal, ada.principal.root_ns, ROOT_NODE, before)
        assert shown.counts == {"trash": 1, "back": 2, "moved": 1, "content": 1}
        done = await to(ada, before, seen_seq=shown.head_seq)
        assert (done.is_finished, done.counts) == (True, shown.counts)
        assert await tree_of(ada) == tree
        # A person saw it before: devices ask nobody about the deletions.
        made = (await ada.all_entries())[shown.head_seq :]
        assert {(entry.is_live, entry.op_id[0]) for entry in made} == {(True, 0), (False, 2)}
        record = done.record
        back = await rewind(
            db,
            ada.clock,
            WORKERS,
            ada.principal,
            ada.principal.root_ns,
            ROOT_NODE,
            record.before_seq,
            undoes=record.rewind_id,
        )
        assert back.is_finished
        assert await tree_of(ada) == after
        listed = await rewinds(db, ada.principal, ada.principal.root_ns)
        assert [(told.record.undoes, told.actor, told.device, told.is_undoable) for told in listed] == [
            (record.rewind_id, "ada", "laptop", True),
            (None, "ada", "laptop", True),
        ]
        assert (await to(ada, await head_of(ada))).counts == {}
        assert len(await rewinds(db, ada.principal, ada.principal.root_ns)) == 2

    run(scenario)


def test_a_long_one_is_cut_and_taken_up_where_it_was(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await ada.file("kept")
        before, tree = await head_of(ada), await tree_of(ada)
        for part in range(3):
            many = [create_file(NodeId(new_id()), f"{part}-{at}") for at in range(800)]
            await ada.stored(*many, blocks=[b"data"])
        head = await head_of(ada)
        cut = await to(ada, before, batches_max=1)
        assert not cut.is_finished
        assert len(await tree_of(ada)) == 1_401
        [told] = await rewinds(db, ada.principal, ada.principal.root_ns)
        assert told.record.finished_ms is None
        done = await to(ada, before)
        assert done.is_finished
        assert (done.record.rewind_id, done.record.before_seq) == (cut.record.rewind_id, head)
        assert await tree_of(ada) == tree

    run(scenario)


def test_what_changes_meanwhile_is_looked_at_again(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        folder = await ada.folder("new")
        desk = await ada.other_device()
        shown = await preview(db, WORKERS, ada.principal, ada.principal.root_ns, ROOT_NODE, 0)
        await desk.file("more", b"more", folder)
        with pytest.raises(PreconditionFailed):
            await to(ada, 0, seen_seq=shown.head_seq)
        held = await begin(
            db,
            ada.clock,
            ada.principal,
            ada.principal.root_ns,
            unit=folder,
            to_seq=1,
            seen_seq=None,
            undoes=None,
        )
        with pytest.raises(Unavailable):
            await to(ada, 0)
        assert held.claimed_until_ms > 0
        assert isinstance(ada.clock, SteppingClock)
        ada.clock.now = held.claimed_until_ms + 1
        assert (await to(ada, 0)).is_finished
        assert await tree_of(ada) == {}

    run(scenario)


def test_a_place_within_a_swap_is_the_end_of_it(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        one, other = await ada.file("one", b"1"), await ada.file("other", b"2")
        swap = (Placement(one, 1, ROOT_NODE, "other"), Placement(other, 2, ROOT_NODE, "one"))
        await ada.stored(MoveOp(op_id(), swap))
        swapped = await tree_of(ada)
        await ada.file("more")
        done = await to(ada, 3)
        assert (done.record.to_seq, await tree_of(ada)) == (4, swapped)
        assert (await to(ada, 2)).counts == {"moved": 2}
        assert (await tree_of(ada))["/one"] == content_of(b"1").content_hash

    run(scenario)


class Meddling(InlineWorkers):
    """Workers after whose thinking somebody else does something; three times a plan."""

    def __init__(self, meddle: Callable[[], Awaitable[object]], times: int) -> None:
        self._meddle, self._left = meddle, times

    async def run(self, work: Callable[[], T]) -> T:
        result = work()
        if self._left:
            self._left -= 1
            await self._meddle()
        return result


def test_what_somebody_does_between_plan_and_commit_is_never_lost(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await ada.file("kept")
        before, tree = await head_of(ada), await tree_of(ada)
        folder, desk = await ada.folder("new"), await ada.other_device()
        made: list[NodeId] = []

        async def meddle() -> None:
            made.append(await desk.file(f"more {len(made)}", b"more", folder))

        ns, unlucky = ada.principal.root_ns, Meddling(meddle, 1_000)
        with pytest.raises(Unavailable):
            await rewind(db, ada.clock, unlucky, ada.principal, ns, ROOT_NODE, before)
        assert "/new/more 0" in await tree_of(ada)
        done = await rewind(db, ada.clock, Meddling(meddle, 5), ada.principal, ns, ROOT_NODE, before)
        assert done.is_finished
        assert await tree_of(ada) == tree
        items = await trash(db, ada.principal, ns)
        assert [item.path for item in items] == ["/new"]
        await restore_unit(db, ada.clock, ada.principal, ns, folder)
        assert len(await tree_of(ada)) == 1 + 1 + len(made)

    run(scenario)


def test_nobody_else_sees_or_does_it(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada, eve = await Writer.new(db), await Writer.new(db, name="eve")
        folder = await ada.folder("docs")
        ns = ada.principal.root_ns
        for unit in (ROOT_NODE, folder):
            with pytest.raises(NotFound):
                await preview(db, WORKERS, eve.principal, ns, unit, 0)
            with pytest.raises(NotFound):
                await rewind(db, eve.clock, WORKERS, eve.principal, ns, unit, 0)
        for ask in (
            rewinds(db, eve.principal, ns),
            activity(db, eve.principal, ns, Wanted()),
            days(db, eve.principal, ns, until_ms=0, count=1, offset_min=0),
            reach(db, eve.principal, ns),
            place_at(db, eve.principal, ns, 0),
        ):
            with pytest.raises(NotFound):
                await ask
        with pytest.raises(NotFound):
            await to(ada, 0, folder)

    run(scenario)


def test_a_time_is_found_in_the_journal_and_days_are_counted(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        assert isinstance(ada.clock, SteppingClock)
        ns, start = ada.principal.root_ns, 1_800_000_000_000 // DAY_MS * DAY_MS
        for day, count in enumerate((1, 0, 3, 2)):
            for number in range(count):
                ada.clock.now = start + day * DAY_MS + (number + 1) * 3_600_000
                await ada.folder(f"{day}-{number}")
        times = (start + 3_700_000, start + DAY_MS, start + 2 * DAY_MS + 7_300_000, start + 9 * DAY_MS)
        assert [await place_at(db, ada.principal, ns, time) for time in times] == [1, 1, 3, 6]
        with pytest.raises(HistoryEnded) as caught:
            await place_at(db, ada.principal, ns, start)
        assert caught.value.fields["head_seq"] == 6
        for seq in (-1, 7):
            with pytest.raises(HistoryEnded):
                await to(ada, seq)
        counted = await days(db, ada.principal, ns, until_ms=start + 3 * DAY_MS + 5, count=5, offset_min=0)
        assert [day.changes for day in counted] == [0, 1, 0, 3, 2]
        shifted = await days(db, ada.principal, ns, until_ms=start + 3 * DAY_MS + 5, count=5, offset_min=-120)
        assert [day.changes for day in shifted] == [0, 1, 0, 1, 3]

    run(scenario)


def test_what_was_done_is_told_in_groups_that_open(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        desk = await ada.other_device()
        docs, other = await ada.folder("docs"), await ada.folder("other")
        files = [create_file(NodeId(new_id()), f"{at}", b"x", docs) for at in range(500)]
        await ada.stored(*files, blocks=[b"x"])
        moved = files[0].node_id
        place = (await ada.entry(moved)).place_rev
        await desk.stored(MoveOp(op_id(), (Placement(moved, place, other, "zero"),)))
        ns = ada.principal.root_ns
        told, more = await activity(db, ada.principal, ns, Wanted())
        shown = [(done.does, done.entries, done.device, done.path, done.path_before) for done in told]
        assert shown == [
            ("move", 1, "desktop", "/other/zero", "/docs/0"),
            ("create", 502, "laptop", "/docs/499", ""),
        ]
        assert more == 0
        group = told[1]
        opened = Wanted(below=group.last_seq + 1, above=group.first_seq - 1, is_grouped=False, limit=300)
        rows, more = await activity(db, ada.principal, ns, opened)
        assert [row.path for row in rows] == [f"/docs/{at}" for at in range(499, 199, -1)]
        rest, more = await activity(db, ada.principal, ns, Wanted(below=more, above=0, is_grouped=False, limit=300))
        assert len(rest) == 202
        within, _ = await activity(db, ada.principal, ns, Wanted(folder=other))
        # What stands in the folder now was made elsewhere, and is told of too.
        assert [(done.does, done.path, done.entries) for done in within] == [
            ("move", "/other/zero", 1),
            ("create", "/docs/0", 2),
        ]

    run(scenario)
