"""Another tenant who knows every hash of a file learns nothing: neither from an answer nor from what is asked of the
database for it. On both databases, through the whole device protocol.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from satchel.core.entries import Kind
from satchel.core.hashing import Block, block_hash, content_hash, pack_blocks
from satchel.core.ids import ROOT_NODE, BlockHash, LinkId, NamespaceId, NodeId, OpId
from satchel.core.messages import (
    CommitReply,
    CommitRequest,
    Content,
    CreateOp,
    GetReply,
    GetRequest,
    ManifestsRequest,
    NeedBlocks,
    PutRequest,
    Stored,
    decode_frame,
    encode_frame,
)
from satchel.server.accounts.service import register_account, register_device
from satchel.server.db.engine import Database
from tests.support.databases import Run
from tests.support.memory_service import MemoryService, open_service
from tests.support.recording import RecordingDatabase
from tests.support.wire import raw_block
from tests.support.writers import new_id

SIZES = (1, 4_096, 100_000)
Answer = tuple[int, bytes, list[str]]


def content_of(blocks: Sequence[Block]) -> Content:
    """Return a file's content by the names of its blocks alone."""
    return Content(content_hash(block.hash for block in blocks), pack_blocks(blocks), sum(SIZES))


def create(content: Content) -> CreateOp:
    return CreateOp(OpId(new_id()), NodeId(new_id()), NodeId(ROOT_NODE), "file", int(Kind.FILE), content)


class Tenants:
    """ann, who has a file, and mallory, who knows all of its hashes and has none of its bytes."""

    def __init__(self, ann: MemoryService, mallory: MemoryService, db: RecordingDatabase) -> None:
        self.ann, self.mallory, self.db = ann, mallory, db
        data = [os.urandom(size) for size in SIZES]
        self.known = [Block(block_hash(each), len(each)) for each in data]
        self.random = [Block(BlockHash(os.urandom(32)), size) for size in SIZES]
        self.data = data

    async def store(self) -> None:
        """Put ann's file where it is to be."""
        listed = tuple(raw_block(each) for each in self.data)
        put = b"".join(encode_frame(PutRequest(self.ann.ns, listed), self.data))
        assert (await self.ann.ask("blocks/put", put))[0] == 200
        request = CommitRequest(self.ann.ns, LinkId(b"ann"), (create(content_of(self.known)),))
        _, told = await self.ann.ask("commit", b"".join(encode_frame(request)))
        assert isinstance(decode_frame(told, CommitReply)[0].outcomes[0], Stored)

    async def asked(self, call: str, message: msgspec.Struct, blocks: Sequence[Block]) -> Answer:
        """Return mallory's answer with the hashes masked, and the statements that it took."""
        before = len(self.db.statements)
        status, told = await self.mallory.ask(call, b"".join(encode_frame(message)))
        for at, block in enumerate(blocks):
            told = told.replace(block.hash, b"hash %d" % at)
        told = told.replace(content_of(blocks).content_hash, b"content")
        return status, told, self.db.statements[before:]


async def tenants(store: Database) -> Tenants:
    db = RecordingDatabase(store)
    ann = await open_service(db)
    await db.write(b"quota", lambda conn: conn.execute("UPDATE namespaces SET quota = NULL"))
    clock = ann.services.clock
    account = await register_account(db, clock, name="mallory", password_hash="none")
    token, _ = await register_device(db, clock, account_id=account.account_id, name="desktop")
    made = Tenants(ann, replace(ann, token=token, ns=account.root_ns), db)
    await made.store()
    return made


@pytest.mark.parametrize("call", ["commit", "get", "manifests"])
def test_known_hashes_answer_like_random_ones_and_take_the_same_statements(run: Run, call: str) -> None:
    async def scenario(store: Database) -> None:
        play = await tenants(store)
        ns = play.mallory.ns

        def message(blocks: Sequence[Block]) -> tuple[str, msgspec.Struct]:
            content = content_of(blocks)
            if call == "commit":
                return "commit", CommitRequest(ns, LinkId(b"m"), (create(content),))
            if call == "get":
                return "blocks/get", GetRequest(ns, tuple(block.hash for block in blocks))
            return "manifests/get", ManifestsRequest(ns, (content.content_hash,))

        # Once before: what is remembered of a token or prepared of a statement is so for both.
        await play.asked(*message([Block(BlockHash(os.urandom(32)), size) for size in SIZES]), play.random)
        known = await play.asked(*message(play.known), play.known)
        unknown = await play.asked(*message(play.random), play.random)
        assert known == unknown
        status, told, statements = known
        assert (status, bool(statements)) == (200, True)
        assert not any(data in told for data in play.data[1:])

    run(scenario)


def test_all_blocks_are_needed_and_none_is_given(run: Run) -> None:
    async def scenario(store: Database) -> None:
        play = await tenants(store)
        hashes = tuple(block.hash for block in play.known)
        request = CommitRequest(play.mallory.ns, LinkId(b"m"), (create(content_of(play.known)),))
        _, told = await play.mallory.ask("commit", b"".join(encode_frame(request)))
        assert decode_frame(told, CommitReply)[0].outcomes == (NeedBlocks(hashes),)
        _, told = await play.mallory.ask("blocks/get", b"".join(encode_frame(GetRequest(play.mallory.ns, hashes))))
        reply, bodies = decode_frame(told, GetReply)
        assert (reply.blocks, reply.missing, bodies) == ((), hashes, [])

    run(scenario)


def test_another_ones_namespace_is_like_one_that_is_not_there(run: Run) -> None:
    async def scenario(store: Database) -> None:
        play = await tenants(store)
        hashes = tuple(block.hash for block in play.known)

        async def answers(ns: NamespaceId) -> list[Answer]:
            told = []
            for call, message in (
                ("blocks/get", GetRequest(ns, hashes)),
                ("manifests/get", ManifestsRequest(ns, (content_of(play.known).content_hash,))),
                ("commit", CommitRequest(ns, LinkId(b"m"), (create(content_of(play.known)),))),
            ):
                told.append(await play.asked(call, message, play.known))
            return told

        await answers(NamespaceId(os.urandom(16)))
        found = await answers(play.ann.ns)
        assert found == await answers(NamespaceId(os.urandom(16)))
        assert {status for status, _, _ in found} == {404}

    run(scenario)
