"""A service's stores and its upkeep, with a model beside them that knows every version by its bytes.

`check` reads all of it back: whatever upkeep did meanwhile, each block of each version must be there and right.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field

from satchel.core.entries import Kind
from satchel.core.hashing import block_hash, packed_hashes
from satchel.core.ids import ROOT_NODE, LinkId, NodeId
from satchel.core.messages import CommitRequest, CreateOp, DeleteOp, EditOp, Op, Outcome, PutRequest, Stored
from satchel.core.retention import DAY_MS
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import authenticate, register_account, register_device
from satchel.server.blocks.codec import shut_block
from satchel.server.blocks.packs import pack_name
from satchel.server.blocks.service import BlockService
from satchel.server.db.engine import Database, Row
from satchel.server.metadata.commit import commit
from satchel.server.ports import BlockStore, Span
from satchel.server.upkeep import garbage
from satchel.server.upkeep.garbage import GarbageBounds, GarbageCounts
from satchel.server.upkeep.trash import purge_trash
from satchel.simulation.stores import InlineWorkers
from tests.support.clocks import SteppingClock
from tests.support.writers import content_of, new_id, op_id

HOUR_MS = 3_600_000
UNBRAKED = GarbageBounds(floor_bytes=1 << 40, unused_ms=24 * HOUR_MS, page=7)
"""Small stores lose most of what they hold: the brake has its own tests."""

_names = itertools.count(1)


@dataclass
class File:
    """A file as the model knows it. versions: blocks by rev."""

    node_id: NodeId
    rev: int = 0
    versions: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    is_deleted: bool = False


@dataclass
class Owner:
    """An account with one device and what it has."""

    principal: Principal
    files: dict[NodeId, File] = field(default_factory=dict)

    @property
    def ns(self) -> bytes:
        return self.principal.root_ns


class World:
    """Stores, a clock that is set by hand, and accounts."""

    def __init__(self, db: Database, store: BlockStore) -> None:
        self.db, self.store = db, store
        self.clock = SteppingClock(seed=next(_names))
        self.workers = InlineWorkers()
        self.service = BlockService(store, db, self.clock, self.workers)
        self.owners: list[Owner] = []
        self.link = LinkId(new_id())

    async def owner(self) -> Owner:
        name = f"user{next(_names)}"
        account = await register_account(self.db, self.clock, name=name, password_hash="none", quota_bytes=None)
        token, _ = await register_device(self.db, self.clock, account_id=account.account_id, name="laptop")
        self.owners.append(Owner(await authenticate(self.db, token)))
        return self.owners[-1]

    def later(self, hours: float) -> None:
        self.clock.now += int(hours * HOUR_MS)

    async def put(self, owner: Owner, *blocks: bytes) -> None:
        """Upload as a device does: the right and a lease, no version."""
        shut = [shut_block(block) for block in blocks]
        await self.service.put(PutRequest(owner.ns, tuple(wire for wire, _ in shut)), [body for _, body in shut])  # type: ignore[arg-type]

    async def commit(self, owner: Owner, op: Op, *inline: bytes) -> Outcome:
        placed = await self.service.store(owner.ns, [shut_block(block) for block in inline])  # type: ignore[arg-type]
        request = CommitRequest(owner.ns, self.link, (op,))  # type: ignore[arg-type]
        return (await commit(self.db, self.clock, owner.principal, request, placed)).outcomes[0]

    async def save(self, owner: Owner, file: File | None, *blocks: bytes, inline: bool = False) -> File:
        """Make a file of the blocks (or a version of one), sending what is needed."""
        if not inline:
            await self.put(owner, *blocks)
        op: Op
        if file is None:
            file = File(NodeId(new_id()))
            op = CreateOp(op_id(), file.node_id, ROOT_NODE, file.node_id.hex(), Kind.FILE, content_of(*blocks))
        else:
            op = EditOp(op_id(), file.node_id, file.rev, content_of(*blocks))
        outcome = await self.commit(owner, op, *(blocks if inline else ()))
        assert isinstance(outcome, Stored), outcome
        self.saved(owner, file, outcome.seq, blocks)
        return file

    def saved(self, owner: Owner, file: File, rev: int, blocks: tuple[bytes, ...]) -> None:
        """Tell the model of a version."""
        if blocks not in file.versions.values() or file.versions.get(file.rev) != blocks:
            file.versions[rev] = blocks
            file.rev = rev
        owner.files[file.node_id] = file

    async def delete(self, owner: Owner, file: File) -> None:
        """Put a file in the trash: all of its versions stay."""
        outcome = await self.commit(owner, DeleteOp(op_id(), file.node_id, 1 << 40))
        assert isinstance(outcome, Stored), outcome
        file.is_deleted = True

    async def purge(self, owner: Owner, file: File) -> None:
        """Take a file out of the trash for good, as if it had been there for long."""
        if not file.is_deleted:
            await self.delete(owner, file)
        del owner.files[file.node_id]
        text = "UPDATE files SET deleted_at = 1 WHERE ns = $1 AND node_id = $2"
        await self.execute(text, owner.ns, file.node_id)
        left = "SELECT rev FROM file_versions WHERE ns = $1 AND node_id = $2"
        # A run ends early when the clock is set meanwhile, and the next one may begin behind this namespace.
        for _ in range(50):
            await purge_trash(self.db, self.clock, keep_days=1, now_ms=DAY_MS + 2)
            if not await self.rows(left, owner.ns, file.node_id):
                return
        raise AssertionError("the file is still there")

    async def gc(self, *, dry_run: bool = False, allow_large: bool = False) -> GarbageCounts:
        return await garbage.run(self.db, self.store, self.clock, UNBRAKED, dry_run=dry_run, allow_large=allow_large)

    async def collect(self, times: int = 6, hours: float = 49) -> GarbageCounts:
        """Let so much time pass, with runs between, that whatever may go is gone."""
        counts = GarbageCounts()
        for _ in range(times):
            self.later(hours)
            counts = await self.gc()
        return counts

    async def check(self) -> None:
        """Read every block of every version that the model knows."""
        for owner in self.owners:
            known = {(f.node_id, rev): blocks for f in owner.files.values() for rev, blocks in f.versions.items()}
            stored = await self.rows(
                "SELECT v.node_id, v.rev, m.blocks FROM file_versions v JOIN manifests m ON m.ns = v.ns"
                " AND m.manifest_id = v.content WHERE v.ns = $1",
                owner.ns,
            )
            named = {(node_id, rev): tuple(packed_hashes(packed)) for node_id, rev, packed in stored}
            assert named.keys() == known.keys(), "versions are gone"
            assert named == {version: tuple(map(block_hash, blocks)) for version, blocks in known.items()}
            expected = {block_hash(block): block for blocks in known.values() for block in blocks}
            read = await self.service.read_bytes(owner.ns, list(expected))  # type: ignore[arg-type]
            assert [bytes(part) for part in read] == list(expected.values())

    async def rows(self, sql: str, *args: bytes | int | str) -> list[Row]:
        return await self.db.read(lambda conn: conn.fetch(sql, *args))

    async def execute(self, sql: str, *args: bytes | int | str) -> None:
        await self.db.write(b"test", lambda conn: conn.execute(sql, *args))

    async def state(self, block: bytes) -> int | None:
        """State of a block's row, None without one."""
        rows = await self.rows("SELECT state FROM blocks WHERE block_hash = $1", block_hash(block))
        return rows[0][0] if rows else None

    async def span(self, block: bytes) -> Span:
        """Where a block's bytes are."""
        text = "SELECT pack_id, pack_offset, stored_size FROM blocks WHERE block_hash = $1"
        ((pack_id, offset, size),) = await self.rows(text, block_hash(block))
        return Span(pack_name(pack_id), offset, size)


def data_of(number: int, size: int = 2_000) -> bytes:
    """Bytes that do not compress, the same for the same number."""
    return hashlib.shake_256(number.to_bytes(8, "big")).digest(size)
