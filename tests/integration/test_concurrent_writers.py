"""Fifty writers and a reader with a cursor on one namespace: each change is seen once, in order, without a gap."""

from __future__ import annotations

import asyncio

from satchel.core.entries import Entry
from satchel.core.folding import Tree
from satchel.core.ids import NodeId
from satchel.core.messages import DeleteOp, MoveOp, Op, Placement, Stored
from satchel.server.db.engine import Database
from satchel.server.feed.seed import sync
from tests.support.databases import Run
from tests.support.writers import Writer, create_file, create_folder, new_id, op_id

WRITERS = 50
ROUNDS = 8


async def _write(ada: Writer, number: int) -> list[int]:
    """Commit a few rounds of changes that hang together; return the seqs that were answered."""
    seqs: list[int] = []
    own = NodeId(new_id())
    folder: list[Op] = [create_folder(own, f"writer {number}")]
    seqs += await ada.stored(*folder)
    for step in range(ROUNDS):
        file, data = NodeId(new_id()), f"{number}-{step}".encode()
        (made,) = await ada.stored(create_file(file, f"file {step}", data, own), blocks=[data])
        move = MoveOp(op_id(), (Placement(file, made, own, f"moved {step}"),))
        contested = create_folder(NodeId(new_id()), f"contested {step}")
        outcomes = await ada.commit(move, contested, DeleteOp(op_id(), file, 10**9))
        assert isinstance(outcomes[0], Stored) and isinstance(outcomes[2], Stored)
        seqs += [made, *(outcome.seq for outcome in outcomes if isinstance(outcome, Stored))]
    return seqs


async def _read(ada: Writer, is_over: asyncio.Event) -> list[Entry]:
    """Follow the journal until the writers are done and nothing is left."""
    entries: list[Entry] = []
    seq, tag = 0, b""
    while True:
        was_over = is_over.is_set()
        page = await ada.changes(seq, tag, limit=37)
        assert page.prev_seq == seq and not page.is_reset
        entries += page.entries
        seq, tag = page.last_seq, page.last_tag
        if was_over and not page.has_more:
            return entries
        await asyncio.sleep(0)


async def _follow(ada: Writer, is_over: asyncio.Event) -> list[int]:
    """The same with the sealed cursor of the REST feed."""
    seqs: list[int] = []
    cursor: str | None = (await sync(ada.db, ada.principal)).cursor
    while True:
        was_over = is_over.is_set()
        page = await sync(ada.db, ada.principal, cursor, 41)
        seqs += [entry.seq for entry in page.entries]
        cursor = page.cursor
        if was_over and not page.has_more:
            return seqs
        await asyncio.sleep(0)


def test_a_reader_sees_each_change_of_fifty_writers_once_and_in_order(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        writers = [Writer(db, ada.clock, (await ada.other_device()).principal) for _ in range(WRITERS)]
        is_over = asyncio.Event()

        async def write_all() -> list[list[int]]:
            try:
                return await asyncio.gather(*(_write(writer, number) for number, writer in enumerate(writers)))
            finally:
                is_over.set()

        async with asyncio.TaskGroup() as group:
            writing = group.create_task(write_all())
            reading = group.create_task(_read(ada, is_over))
            following = group.create_task(_follow(ada, is_over))
        answered = sorted(seq for seqs in writing.result() for seq in seqs)
        entries = reading.result()
        everything = list(range(1, len(answered) + 1))
        assert answered == everything
        assert [entry.seq for entry in entries] == everything
        assert following.result() == everything
        times = [entry.created_ms for entry in entries]
        assert times == sorted(times)
        tree = Tree()
        for entry in entries:
            assert tree.fold(entry) is None
        folded = {entry.node_id: entry.name for entry in tree.entries()}
        assert folded == {entry.node_id: entry.name for entry in await ada.snapshot()}
        assert len(folded) == WRITERS + ROUNDS

    run(scenario)
