"""`python -m bench.rewind`: what a rewind of a whole account costs, by how much changed and by how much there is.

An account in an embedded store of its own (temporary folder) gets files, a hundred to a folder. Then, for each number
of changes, that many edits, new files, moves and deletions are made; the rewind to before them is shown, made and
undone, and every time the tree is compared, file by file, with what it was. The same changes on a small account say how
much of it is due to the account's size.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import random
import tempfile
import time
from collections.abc import Awaitable, Sequence
from typing import NamedTuple, TypeVar

from satchel.core.entries import Kind
from satchel.core.hashing import Block, block_hash, content_hash, pack_blocks
from satchel.core.ids import ROOT_NODE, LinkId, NodeId, OpId, PackId
from satchel.core.messages import (
    CommitRequest,
    Content,
    CreateOp,
    DeleteOp,
    EditOp,
    MoveOp,
    Op,
    Placement,
    Stored,
)
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import authenticate, register_account, register_device
from satchel.server.adapters.machine import MachineClock, ThreadWorkers
from satchel.server.blocks.refs import PlacedBlock
from satchel.server.db.engine import Database
from satchel.server.db.opening import open_database
from satchel.server.metadata.commit import commit
from satchel.server.metadata.rewind import preview, rewind

T = TypeVar("T")
BATCH = 1_000
CHANGES = (100, 1_000, 10_000)
DATA = [b"%d" % number for number in range(64)]
_numbers = itertools.count(1)


class Taken(NamedTuple):
    """Seconds of each part of one rewind, and how many commits it took."""

    files: int
    changes: int
    preview_s: float
    rewind_s: float
    undo_s: float


class Account:
    """One account and its device, in a store."""

    def __init__(self, db: Database, clock: MachineClock, principal: Principal) -> None:
        self.db, self.clock, self.principal = db, clock, principal
        self.folders: list[NodeId] = []
        self.files: list[NodeId] = []
        self.revs: dict[NodeId, tuple[int, int]] = {}

    async def do(self, ops: Sequence[Op]) -> None:
        """Commit the ops; all must hold."""
        for at in range(0, len(ops), BATCH):
            part = tuple(ops[at : at + BATCH])
            request = CommitRequest(self.principal.root_ns, LinkId(b"l" * 16), part)
            reply = await commit(self.db, self.clock, self.principal, request, _placed())
            for op, outcome in zip(part, reply.outcomes, strict=True):
                assert isinstance(outcome, Stored), outcome
                if isinstance(op, CreateOp):
                    self.revs[op.node_id] = (outcome.seq, outcome.seq)

    async def fill(self, count: int) -> None:
        """Make `count` files, a hundred to a folder."""
        self.folders = [_id() for _ in range(max(1, count // 100))]
        await self.do([CreateOp(_op(), f, ROOT_NODE, f"folder {at}", Kind.FOLDER) for at, f in enumerate(self.folders)])
        made = [_file(f"file {at}", self.folders[at % len(self.folders)], at) for at in range(count)]
        self.files = [op.node_id for op in made]
        await self.do(made)

    async def change(self, count: int, chance: random.Random) -> None:
        """Make `count` changes: four of ten edit, two each make, move and delete."""
        others = chance.sample(self.files, count)
        head = await self.head()
        ops: list[Op] = []
        for at, node in enumerate(others):
            content_rev, place_rev = self.revs[node]
            match at % 10:
                case 0 | 1 | 2 | 3:
                    ops.append(EditOp(_op(), node, content_rev, _content(at + 1 + head)))
                case 4 | 5:
                    ops.append(_file(f"new {head}-{at}", chance.choice(self.folders), at))
                case 6 | 7:
                    place = Placement(node, place_rev, chance.choice(self.folders), f"moved {head}-{at}")
                    ops.append(MoveOp(_op(), (place,)))
                case _:
                    ops.append(DeleteOp(_op(), node, 2**40))
        await self.do(ops)

    async def head(self) -> int:
        """Return the journal's end."""
        text = "SELECT head_seq FROM namespaces WHERE ns = $1"
        rows = await self.db.read(lambda conn: conn.fetch(text, self.principal.root_ns))
        return int(rows[0][0])

    async def tree(self) -> bytes:
        """Return a hash of all that lives: ids, places and contents."""
        text = "SELECT node_id, parent_id, name, content FROM files WHERE ns = $1 AND state = 1 ORDER BY node_id"
        rows = await self.db.read(lambda conn: conn.fetch(text, self.principal.root_ns))
        return hashlib.sha256(repr(rows).encode()).digest()

    async def reload(self) -> None:
        """Read the revs that the rewinds left."""
        text = "SELECT node_id, content_rev, place_rev FROM files WHERE ns = $1"
        rows = await self.db.read(lambda conn: conn.fetch(text, self.principal.root_ns))
        self.revs = {NodeId(node_id): (content_rev, place_rev) for node_id, content_rev, place_rev in rows}


async def measure(account: Account, changes: int, chance: random.Random) -> Taken:
    """Change, look, rewind, undo, rewind; every tree is compared."""
    db, clock, principal, ns = account.db, account.clock, account.principal, account.principal.root_ns
    workers = ThreadWorkers()
    before, tree = await account.head(), await account.tree()
    await account.change(changes, chance)
    changed = await account.tree()
    shown, preview_s = await _timed(preview(db, workers, principal, ns, ROOT_NODE, before))
    done, rewind_s = await _timed(rewind(db, clock, workers, principal, ns, ROOT_NODE, before))
    assert done.is_finished and done.counts == shown.counts
    assert await account.tree() == tree
    record = done.record
    undone, undo_s = await _timed(
        rewind(db, clock, workers, principal, ns, ROOT_NODE, record.before_seq, undoes=record.rewind_id)
    )
    assert undone.is_finished
    assert await account.tree() == changed
    await rewind(db, clock, workers, principal, ns, ROOT_NODE, before)
    assert await account.tree() == tree
    await account.reload()
    workers.close()
    return Taken(len(account.files), changes, preview_s, rewind_s, undo_s)


async def run(sizes: Sequence[int]) -> None:
    """Print one line for each account's size and number of changes."""
    print(f"{'files':>9} {'changes':>8} {'preview':>10} {'rewind':>10} {'undo':>10} {'a change':>10}")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            clock = MachineClock()
            db = await open_database(f"sqlite:///{folder}/satchel.db", clock)
            made = await register_account(db, clock, name="ada", password_hash="none")
            token, _ = await register_device(db, clock, account_id=made.account_id, name="laptop")
            account = Account(db, clock, await authenticate(db, token))
            await account.fill(size)
            for changes in [count for count in CHANGES if count <= size]:
                taken = await measure(account, changes, random.Random(changes))
                each = 1_000 * taken.rewind_s / taken.changes
                spans = " ".join(f"{1_000 * s:7,.0f} ms" for s in taken[2:])
                print(f"{taken.files:9,} {taken.changes:8,} {spans} {each:7.3f} ms", flush=True)
            await db.close()


async def _timed(work: Awaitable[T]) -> tuple[T, float]:
    start = time.perf_counter()
    result = await work
    return result, time.perf_counter() - start


def _id() -> NodeId:
    return NodeId(next(_numbers).to_bytes(16, "big"))


def _op() -> OpId:
    return OpId(_id())


def _content(number: int) -> Content:
    data = DATA[number % len(DATA)]
    block = Block(block_hash(data), len(data))
    return Content(content_hash([block.hash]), pack_blocks([block]), len(data))


def _file(name: str, parent: NodeId, number: int) -> CreateOp:
    return CreateOp(_op(), _id(), parent, name, Kind.FILE, _content(number))


def _placed() -> list[PlacedBlock]:
    return [PlacedBlock(block_hash(data), len(data), len(data), 0, PackId(bytes(16)), 0) for data in DATA]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="+", default=[10_000, 100_000])
    asyncio.run(run(parser.parse_args().files))


if __name__ == "__main__":
    main()
