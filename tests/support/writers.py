"""One device of an account that commits to its root namespace, as short to write as a sentence."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from satchel.core.entries import Entry, Kind
from satchel.core.hashing import Block, block_hash, content_hash, pack_blocks
from satchel.core.ids import ROOT_NODE, ContentHash, LinkId, NodeId, OpId, PackId, Tag
from satchel.core.messages import (
    Changes,
    ChangesRequest,
    CommitReply,
    CommitRequest,
    Content,
    CreateOp,
    Op,
    Outcome,
    Position,
    SnapshotRequest,
    Stored,
    WireBlock,
)
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import authenticate, register_account, register_device
from satchel.server.blocks.refs import PlacedBlock
from satchel.server.db.engine import Database
from satchel.server.feed.service import changes, snapshot
from satchel.server.metadata.commit import commit
from satchel.server.ports import Clock
from tests.support.clocks import SteppingClock

_ids = itertools.count(1)


def new_id() -> bytes:
    """Return an id that nothing else has."""
    return next(_ids).to_bytes(16, "big")


def content_of(*blocks: bytes) -> Content:
    """Return the content of a file made of these blocks."""
    named = [Block(block_hash(block), len(block)) for block in blocks]
    packed = pack_blocks(named)
    return Content(content_hash(block.hash for block in named), packed, sum(block.size for block in named))


def placed(*blocks: bytes) -> list[PlacedBlock]:
    """Return the blocks as if their bytes were durable."""
    return [PlacedBlock(block_hash(b), len(b), len(b), 0, PackId(bytes(16)), 0) for b in blocks]


class NoInline:
    """Serves small contents from what it is given, raw."""

    def __init__(self, *blocks: bytes) -> None:
        self._blocks = {block_hash(block): block for block in blocks}

    async def read_inline(self, ns: bytes, hashes: Iterable[bytes]) -> dict[bytes, tuple[WireBlock, bytes]]:
        return {
            name: (WireBlock(block_hash(data), len(data), 0, len(data)), data)
            for name in hashes
            if (data := self._blocks.get(name)) is not None  # type: ignore[call-overload]
        }


class Writer:
    """A device and its link."""

    def __init__(self, db: Database, clock: Clock, principal: Principal) -> None:
        self.db, self.clock, self.principal = db, clock, principal
        self.link = LinkId(new_id())

    @property
    def ns(self) -> bytes:
        return self.principal.root_ns

    @classmethod
    async def new(cls, db: Database, *, name: str = "ada", quota_bytes: int | None = None) -> Writer:
        """Make an account with one device."""
        clock = SteppingClock(seed=next(_ids))
        account = await register_account(db, clock, name=name, password_hash="none", quota_bytes=quota_bytes)
        token, _ = await register_device(db, clock, account_id=account.account_id, name="laptop")
        return cls(db, clock, await authenticate(db, token))

    async def other_device(self) -> Writer:
        """Sign another device of the account in."""
        token, _ = await register_device(self.db, self.clock, account_id=self.principal.account_id, name="desktop")
        return Writer(self.db, self.clock, await authenticate(self.db, token))

    async def reply(self, *ops: Op, blocks: Iterable[bytes] = ()) -> CommitReply:
        """Commit the ops with inline blocks."""
        request = CommitRequest(self.principal.root_ns, self.link, ops)
        return await commit(self.db, self.clock, self.principal, request, placed(*blocks))

    async def commit(self, *ops: Op, blocks: Iterable[bytes] = ()) -> tuple[Outcome, ...]:
        return (await self.reply(*ops, blocks=blocks)).outcomes

    async def stored(self, *ops: Op, blocks: Iterable[bytes] = ()) -> list[int]:
        """Commit ops that must all hold; return their seqs."""
        outcomes = await self.commit(*ops, blocks=blocks)
        seqs = [outcome.seq for outcome in outcomes if isinstance(outcome, Stored)]
        assert len(seqs) == len(ops), outcomes
        return seqs

    async def folder(self, name: str, parent: NodeId = ROOT_NODE) -> NodeId:
        node_id = NodeId(new_id())
        await self.stored(create_folder(node_id, name, parent))
        return node_id

    async def file(self, name: str, data: bytes = b"data", parent: NodeId = ROOT_NODE) -> NodeId:
        node_id = NodeId(new_id())
        await self.stored(create_file(node_id, name, data, parent), blocks=[data])
        return node_id

    async def changes(
        self, seq: int = 0, tag: bytes = b"", *, limit: int = 2_000, inline: NoInline | None = None
    ) -> Changes:
        """Read one page of the feed, as a program that is no link."""
        request = ChangesRequest(Position(self.principal.root_ns, seq, Tag(tag)), LinkId(b""), limit, with_xattrs=True)
        return (await changes(self.db, inline or NoInline(), self.principal, request))[0]  # type: ignore[arg-type]

    async def all_entries(self) -> list[Entry]:
        """Read the feed from the beginning."""
        entries: list[Entry] = []
        page = await self.changes()
        while page.entries:
            entries += page.entries
            page = await self.changes(page.last_seq, page.last_tag)
        return entries

    async def snapshot(self, unit: NodeId = ROOT_NODE, *, limit: int = 2_000) -> list[Entry]:
        """Read a snapshot, all pages."""
        entries: list[Entry] = []
        after, seq, has_more = NodeId(b""), -1, True
        while has_more:
            request = SnapshotRequest(self.principal.root_ns, unit, after, seq, limit, with_xattrs=True)
            page = await snapshot(self.db, self.principal, request)
            entries += page.entries
            seq, has_more = page.seq, page.has_more
            after = page.entries[-1].node_id if page.entries else after
        return entries

    async def entry(self, node_id: NodeId) -> Entry:
        """Return the newest entry of a node."""
        return [entry for entry in await self.all_entries() if entry.node_id == node_id][-1]


def create_folder(node_id: NodeId, name: str, parent: NodeId = ROOT_NODE) -> CreateOp:
    return CreateOp(OpId(new_id()), node_id, parent, name, Kind.FOLDER)


def create_file(node_id: NodeId, name: str, data: bytes = b"data", parent: NodeId = ROOT_NODE) -> CreateOp:
    return CreateOp(OpId(new_id()), node_id, parent, name, Kind.FILE, content_of(data))


def op_id() -> OpId:
    return OpId(new_id())


def hash_of(data: bytes) -> ContentHash:
    """Return the content hash of a file of one block."""
    return content_of(data).content_hash
