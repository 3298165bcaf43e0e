"""A small service in memory that is put back to a known state within a millisecond, and what is known of its files.

Invariant: a state is made by the real rooms, one after another, and then put back row by row: the database stays, with
its prepared statements. All names and bytes are drawn from the seed of the state.
"""

from __future__ import annotations

import random
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import apsw
import zstandard

from satchel.core.entries import Kind
from satchel.core.hashing import Block, block_hash, content_hash, pack_blocks
from satchel.core.ids import ID_BYTES, ROOT_NODE, BlockHash, DeviceId, LinkId, NamespaceId, NodeId, OpId
from satchel.core.messages import (
    CODEC_RAW,
    CODEC_ZSTD,
    CommitRequest,
    Content,
    CreateOp,
    DeleteOp,
    EditOp,
    Op,
    Outcome,
    PutRequest,
    Stored,
    WireBlock,
)
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import register_account
from satchel.server.blocks.service import BlockService
from satchel.server.db.engine import READ_WAIT_S, Connection, Database, Row, Value, Work, drive
from satchel.server.db.schema import migrate
from satchel.server.db.sqlite import InlineSqliteDatabase, SqliteConnection
from satchel.server.metadata.commit import commit
from satchel.server.ports import BlockStore
from satchel.server.upkeep import compaction, garbage, trash
from satchel.server.upkeep.compaction import CompactionBounds
from satchel.server.upkeep.dropping import Brake
from satchel.server.upkeep.garbage import GarbageBounds
from satchel.server.upkeep.trash import TrashBounds
from satchel.simulation.stores import InlineWorkers, MemoryBlocks
from tests.store.stage import HOUR_MS, StageClock

T = TypeVar("T")

TABLES = (
    "namespaces", "files", "file_versions", "manifests", "file_changes", "op_results", "outbox", "namespace_blocks",
    "blocks", "block_refs", "packs", "block_damage", "pins", "block_upkeep", "upkeep_tasks", "members", "memberships",
)  # fmt: skip
OWNERS = 2
NO_NAMESPACE = NamespaceId(b"")
STATEMENTS = 4_000
LINK = LinkId(bytes(15) + b"\1")
UNBRAKED = Brake(floor=1 << 40, share=1.0)
SMALL_TRASH = TrashBounds(nodes=2, versions=2, blocks_max=3, brake=UNBRAKED)
EAGER = CompactionBounds(merge_min=2, young_ms=0, live_share=0.9, pack_bytes=400)


def no_grace(page: int = 500) -> GarbageBounds:
    """Nothing waits. Only the row of a pack outlives it as ever: that is how puts that come too late are told."""
    return GarbageBounds(gone_ms=0, condemned_ms=0, old_ms=0, unused_ms=0, floor_bytes=1 << 40, page=page)


def _bodies() -> dict[BlockHash, bytes]:
    texts = [
        b"%d:" % number + bytes((number + at * at) % 7 + 65 for at in range(90 + 7 * number)) for number in range(30)
    ]
    return {block_hash(text): text for text in texts}


BODIES = _bodies()
"""The blocks that all files are made of, by their hashes."""
NAMES = tuple(BODIES)[:6]
"""So few that everybody uses the same ones."""


def _sent() -> dict[BlockHash, tuple[tuple[WireBlock, bytes], ...]]:
    squeezed = zstandard.ZstdCompressor(level=3)
    found: dict[BlockHash, tuple[tuple[WireBlock, bytes], ...]] = {}
    for name, data in BODIES.items():
        small = squeezed.compress(data)
        raw = WireBlock(name, len(data), CODEC_RAW, len(data)), data
        found[name] = raw, (WireBlock(name, len(data), CODEC_ZSTD, len(small)), small)
    return found


SENT = _sent()
"""Each block as it may travel: raw and compressed, for two programs need not choose alike."""


def content_of(names: Iterable[BlockHash]) -> Content:
    """Return the content of a file made of these blocks."""
    blocks = [Block(name, len(BODIES[name])) for name in names]
    return Content(content_hash([block.hash for block in blocks]), pack_blocks(blocks), sum(b.size for b in blocks))


@dataclass(slots=True)
class File:
    """A file as its device knows it. versions: blocks by rev, all acknowledged.

    may_go: somebody deleted it or tried to. is_restored: somebody brought it back, and was told so. ns: where it
    stands, empty for its owner's root; parent: the folder that it was made in.
    """

    owner: int
    node: NodeId
    rev: int = 0
    versions: dict[int, tuple[BlockHash, ...]] = field(default_factory=dict)
    is_deleted: bool = False
    may_go: bool = False
    is_restored: bool = False
    ns: NamespaceId = NO_NAMESPACE
    parent: NodeId = ROOT_NODE

    def copy(self) -> File:
        return replace(self, versions=dict(self.versions))


@dataclass(slots=True)
class Image:
    """A state: rows by table, stored objects, the time, and the files."""

    rows: dict[str, list[Row]]
    objects: dict[str, bytes]
    now: int
    files: list[File]


class QuickDatabase(InlineSqliteDatabase):
    """The database in memory, which begins nothing for a read: one is driven to its end before anybody else goes on."""

    def __init__(self) -> None:
        super().__init__()
        # All statements stay prepared: to prepare one takes longer than to run it.
        self._raw.close()
        self._raw = apsw.Connection(":memory:", statementcachesize=STATEMENTS)
        self._conn = SqliteConnection(self._raw)

    async def read(self, work: Work[T], *, wait_s: float = READ_WAIT_S) -> T:
        return drive(cast("Coroutine[Any, Any, T]", work(self._conn)))


class House:
    """The stores of one process, used by one run after another."""

    def __init__(self) -> None:
        self.db = QuickDatabase()
        self.objects = MemoryBlocks()
        self.store: BlockStore = self.objects
        self.clock = StageClock(random.Random(0))
        self.workers = InlineWorkers()
        self.files: list[File] = []
        self.owners: list[Principal] = []
        self._widths: dict[str, int] = {}
        drive(self._begin())
        self.empty = self.image()

    async def _begin(self) -> None:
        await migrate(self.db, self.clock)
        for number in range(OWNERS):
            account = await register_account(self.db, self.clock, name=f"owner{number}", password_hash="none")
            device = DeviceId(bytes(15) + bytes([number + 1]))
            self.owners.append(Principal(account.account_id, account.name, device, "laptop", account.root_ns))

    # -- states ---

    def image(self) -> Image:
        """Take the state as it is."""
        rows = {table: self.rows(f"SELECT * FROM {table}") for table in TABLES}
        return Image(rows, dict(self.objects.objects), self.clock.now, [file.copy() for file in self.files])

    def put_back(self, image: Image) -> None:
        """Be in that state again."""

        async def fill_txn(conn: Connection) -> None:
            for table, rows in image.rows.items():
                await conn.execute(f"DELETE FROM {table}")
                if rows:
                    marks = ", ".join(f"${at + 1}" for at in range(len(rows[0])))
                    await conn.execute_many(f"INSERT INTO {table} VALUES ({marks})", rows)

        drive(self.db.write(b"test", fill_txn))
        self.objects.objects = dict(image.objects)
        self.files = [file.copy() for file in image.files]
        self.clock.now = self.clock.highest = image.now

    def rows(self, sql: str, *args: Value) -> list[Row]:
        return run(self.db.read(lambda conn: conn.fetch(sql, *args)))

    def execute(self, sql: str, *args: Value) -> int:
        return run(self.db.write(b"test", lambda conn: conn.execute(sql, *args)))

    def new_id(self) -> bytes:
        return self.clock.random(ID_BYTES)

    # -- what a device does, in one go ---

    def service(self, db: Database | None = None) -> BlockService:
        return BlockService(self.store, db or self.db, self.clock, self.workers)

    def ns_of(self, file: File) -> NamespaceId:
        """Return the namespace that a file stands in."""
        return file.ns or self.owners[file.owner].root_ns

    async def put(
        self, service: BlockService, owner: int, names: Iterable[BlockHash], ns: NamespaceId | None = None
    ) -> None:
        """Upload blocks as a device does, each raw or compressed. ns: where to, the owner's root by default."""
        sent = [self.clock.chance.choice(SENT[name]) for name in names]
        request = PutRequest(ns or self.owners[owner].root_ns, tuple(wire for wire, _ in sent))
        await service.put(request, [body for _, body in sent])

    async def commit(self, db: Database, owner: int, op: Op, ns: NamespaceId | None = None) -> Outcome:
        request = CommitRequest(ns or self.owners[owner].root_ns, LINK, (op,))
        return (await commit(db, self.clock, self.owners[owner], request)).outcomes[0]

    def op_of(self, file: File, content: Content) -> CreateOp | EditOp:
        """Return the op that gives the file a content: its first, or the next."""
        op_id = OpId(self.new_id())
        if file.versions:
            return EditOp(op_id, file.node, file.rev, content)
        return CreateOp(op_id, file.node, file.parent, file.node.hex(), Kind.FILE, content)

    async def save(self, file: File, names: tuple[BlockHash, ...]) -> None:
        await self.put(self.service(), file.owner, names)
        outcome = await self.commit(self.db, file.owner, self.op_of(file, content_of(names)))
        assert isinstance(outcome, Stored), outcome
        self.saved(file, outcome.seq, names)

    def saved(self, file: File, seq: int, names: tuple[BlockHash, ...]) -> None:
        """Note a version that was acknowledged; seq 0: it was the newest one already."""
        if not file.versions:
            self.files.append(file)
        if seq:
            file.versions[seq] = names
            file.rev = seq

    async def delete(self, db: Database, file: File) -> Outcome:
        file.may_go = True
        return await self.commit(db, file.owner, DeleteOp(OpId(self.new_id()), file.node, 1 << 40), self.ns_of(file))


class Scene:
    """Makes a state by the real rooms: some files, versions, uploads, deletions, garbage on its way."""

    def __init__(self, house: House, number: int) -> None:
        self.house = house
        self.chance = random.Random(f"scene {number}")

    def make(self) -> Image:
        house, chance = self.house, self.chance
        house.clock.chance = chance
        house.put_back(house.empty)
        steps = {self.new: 5, self.edit: 4, self.upload: 3, self.delete: 3, self.purge: 3, self.time: 4, self.gc: 5}
        steps |= {self.compact: 1}
        for _ in range(chance.randrange(8, 26)):
            run(chance.choices(list(steps), list(steps.values()))[0]())
        run(self.leave())
        return house.image()

    async def leave(self) -> None:
        """Let most of it be garbage at some point of its way, so that who comes next meets it there."""
        if self.chance.random() < 0.75:
            for file in self.alive()[1:]:
                if self.chance.random() < 0.8:
                    await self.house.delete(self.house.db, file)
                    file.is_deleted = True
            for _ in range(3):
                await self.purge()
            self.house.clock.jump(self.chance.choice((HOUR_MS, 49 * HOUR_MS, 49 * HOUR_MS, 49 * HOUR_MS)))
            for _ in range(self.chance.choice((0, 0, 1, 1, 2))):
                await self.gc()

    def names(self) -> tuple[BlockHash, ...]:
        return tuple(self.chance.choices(NAMES, k=self.chance.choice((1, 1, 2))))

    def alive(self) -> list[File]:
        return [file for file in self.house.files if not file.is_deleted]

    async def new(self) -> None:
        await self.house.save(File(self.chance.randrange(OWNERS), NodeId(self.house.new_id())), self.names())

    async def edit(self) -> None:
        if files := self.alive():
            await self.house.save(self.chance.choice(files), self.names())

    async def upload(self) -> None:
        await self.house.put(self.house.service(), self.chance.randrange(OWNERS), self.names())

    async def delete(self) -> None:
        if files := self.alive():
            file = self.chance.choice(files)
            await self.house.delete(self.house.db, file)
            file.is_deleted = True

    async def purge(self) -> None:
        now_ms = self.house.clock.now_ms() + 1
        for _ in range(4):
            await trash.purge_trash(self.house.db, self.house.clock, keep_days=0, now_ms=now_ms, bounds=SMALL_TRASH)

    async def time(self) -> None:
        self.house.clock.jump(self.chance.choice((HOUR_MS, 25 * HOUR_MS, 49 * HOUR_MS)))

    async def gc(self) -> None:
        await garbage.run(self.house.db, self.house.objects, self.house.clock, no_grace())

    async def compact(self) -> None:
        house = self.house
        await compaction.run(house.db, house.objects, house.clock, house.workers, EAGER)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine that never suspends."""
    return drive(work)
