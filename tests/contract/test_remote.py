"""What every Remote does: over HTTP to a real service in its own process, and straight onto the same rooms."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count

import pytest

from satchel.core.entries import Kind
from satchel.core.errors import Fault, NotFound
from satchel.core.hashing import block_hash
from satchel.core.ids import ROOT_NODE, BlockHash, ContentHash, LinkId, NamespaceId, NodeId, OpId, Tag, scope_mark
from satchel.core.messages import (
    ChangesRequest,
    CommitRequest,
    Content,
    CreateOp,
    NeedBlocks,
    Position,
    ScopeReply,
    ScopeRequest,
    SnapshotRequest,
    Stored,
)
from satchel.device.drive import drive
from satchel.device.ports import OutgoingBlock, Remote
from satchel.device.remote import HttpRemote
from satchel.device.wire_blocks import shut, wire
from satchel.simulation.core_remote import CoreService
from tests.support.files import content_of, noise, words
from tests.support.server import RunningServer, running_server

LINK = LinkId(b"L" * 16)
OTHER_LINK = LinkId(b"M" * 16)
_numbers = count(1)
Run = Callable[[Callable[[Remote], Awaitable[None]]], None]


class MachineClock:
    """The device's clock, as far as a remote asks it."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def random(self, count: int) -> bytes:
        return bytes(count)

    async def sleep_s(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One real service; each test has its own account."""
    with running_server(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(params=["http", "core"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs work with a remote of a fresh account."""
    if request.param == "core":

        async def main(work: Callable[[Remote], Awaitable[None]]) -> None:
            await work((await CoreService.start()).remote())

        return lambda work: drive(main(work))
    server: RunningServer = request.getfixturevalue("server")
    session = server.add_user(f"user{next(_numbers)}").sign_in()

    async def over_http(work: Callable[[Remote], Awaitable[None]]) -> None:
        remote = HttpRemote(server.url, session.token, clock=MachineClock())
        try:
            await work(remote)
        finally:
            await remote.close()

    return lambda work: asyncio.run(over_http(work))


def create(number: int, name: str, data: bytes) -> CreateOp:
    content, packed = content_of(data)
    ids = number.to_bytes(16, "big")
    return CreateOp(OpId(ids), NodeId(ids), ROOT_NODE, name, int(Kind.FILE), Content(content, packed, len(data)))


def shut_all(*blocks: bytes) -> list[OutgoingBlock]:
    return [shut(block_hash(data), data) for data in blocks]


async def commit_inline(remote: Remote, ns: NamespaceId, files: dict[str, bytes], first: int = 1) -> None:
    blocks = shut_all(*dict.fromkeys(data for data in files.values() if data))
    ops = tuple(create(first + index, name, data) for index, (name, data) in enumerate(files.items()))
    request = CommitRequest(ns, LINK, ops, tuple(wire(block) for block in blocks))
    reply = await remote.commit(request, [block.body for block in blocks])
    assert all(isinstance(outcome, Stored) for outcome in reply.outcomes), reply


async def own_ns(remote: Remote) -> NamespaceId:
    return (await remote.namespaces()).namespaces[0].ns


def test_blocks_come_back_as_they_were_put_and_a_repeat_is_the_same(run: Run) -> None:
    datas = [b"x", noise(70_000), words(90_000), noise(4 * 1024 * 1024)]

    async def work(remote: Remote) -> None:
        ns = await own_ns(remote)
        names = tuple(block_hash(data) for data in datas)
        assert await remote.put_blocks(ns, shut_all(*datas)) == names
        assert await remote.put_blocks(ns, shut_all(*datas)) == names
        assert await remote.get_blocks(ns, names) == dict(zip(names, datas, strict=True))

    run(work)


def test_a_block_that_the_service_lacks_is_left_out(run: Run) -> None:
    async def work(remote: Remote) -> None:
        ns = await own_ns(remote)
        await remote.put_blocks(ns, shut_all(b"there"))
        unknown = BlockHash(bytes(32))
        found = await remote.get_blocks(ns, [unknown, block_hash(b"there")])
        assert found == {block_hash(b"there"): b"there"}
        assert await remote.manifests(ns, [ContentHash(bytes(32))]) == {}

    run(work)


def test_what_a_link_leaves_out_is_left_out_of_its_pages_alone(run: Run) -> None:
    async def work(remote: Remote) -> None:
        ns = await own_ns(remote)
        folder, inside = NodeId(b"f" * 16), NodeId(b"i" * 16)
        ops = (
            CreateOp(OpId(folder), folder, ROOT_NODE, "out", int(Kind.FOLDER)),
            CreateOp(OpId(inside), inside, folder, "inside", int(Kind.FOLDER)),
        )
        await remote.commit(CommitRequest(ns, LINK, ops), [])
        told = (await remote.set_scope(ScopeRequest(ns, OTHER_LINK, (folder,)))).scope
        assert told == scope_mark([folder])
        for link, names, mark in ((OTHER_LINK, ["out"], told), (LINK, ["out", "inside"], b"")):
            page, _ = await remote.changes(ChangesRequest(Position(ns, 0, Tag(b"")), link))
            assert ([entry.name for entry in page.entries], page.last_seq, page.scope) == (names, 2, mark)
            rows = await remote.snapshot(SnapshotRequest(ns, ROOT_NODE, NodeId(b""), link=link))
            assert ([entry.name for entry in rows.entries], rows.scope) == (names, mark)
        assert (await remote.set_scope(ScopeRequest(ns, OTHER_LINK, ()))).scope == b""

    run(work)


def test_a_scope_tells_the_number_of_a_start_and_an_older_start_stores_none(run: Run) -> None:
    async def work(remote: Remote) -> None:
        ns, node = await own_ns(remote), NodeId(b"n" * 16)
        first, second = 7 << 32 | 1, 8 << 32 | 2
        assert await remote.set_scope(ScopeRequest(ns, OTHER_LINK, (node,), second)) == ScopeReply(scope_mark([node]))
        assert (await remote.set_scope(ScopeRequest(ns, OTHER_LINK, (), first))).newest_start == 8
        page, _ = await remote.changes(ChangesRequest(Position(ns, 0, Tag(b"")), OTHER_LINK))
        assert page.scope == scope_mark([node])
        assert not (await remote.set_scope(ScopeRequest(ns, OTHER_LINK, (), second + (1 << 32)))).newest_start

    run(work)


def test_a_namespace_of_nobody_is_not_found(run: Run) -> None:
    async def work(remote: Remote) -> None:
        nobody = NamespaceId(b"n" * 16)
        for call in (
            remote.commit(CommitRequest(nobody, LINK, (create(1, "a", b""),)), []),
            remote.changes(ChangesRequest(Position(nobody, 0, Tag(b"")), LINK)),
            remote.snapshot(SnapshotRequest(nobody, ROOT_NODE, NodeId(b""))),
            remote.manifests(nobody, [ContentHash(bytes(32))]),
            remote.set_scope(ScopeRequest(nobody, LINK, ())),
        ):
            with pytest.raises(NotFound):
                await call

    run(work)


def test_commits_answer_op_by_op_and_name_the_blocks_they_need(run: Run) -> None:
    async def work(remote: Remote) -> None:
        ns = await own_ns(remote)
        ops = (create(1, "empty", b""), create(2, "absent", b"absent"))
        reply = await remote.commit(CommitRequest(ns, LINK, ops), [])
        assert isinstance(reply.outcomes[0], Stored)
        assert reply.outcomes[1] == NeedBlocks((block_hash(b"absent"),))
        assert (await remote.namespaces()).namespaces[0].head_seq == reply.head_seq

    run(work)


def test_the_feed_carries_small_contents_to_the_other_links_alone(run: Run) -> None:
    files = {"small": b"tiny", "same": b"tiny", "large": noise(200_000), "empty": b""}

    async def work(remote: Remote) -> None:
        ns = await own_ns(remote)
        start = Position(ns, 0, Tag(b""))
        await commit_inline(remote, ns, files)
        page, contents = await remote.changes(ChangesRequest(start, OTHER_LINK))
        assert [entry.name for entry in page.entries] == list(files)
        assert contents == {block_hash(b"tiny"): b"tiny"}
        assert (page.prev_seq, page.last_seq) == (0, page.head_seq)
        own, none = await remote.changes(ChangesRequest(start, LINK))
        assert (len(own.entries), none) == (4, {})
        end = Position(ns, page.last_seq, page.last_tag)
        assert (await remote.changes(ChangesRequest(end, OTHER_LINK)))[0].entries == ()

    run(work)


def test_a_position_of_another_journal_asks_for_a_snapshot(run: Run) -> None:
    async def work(remote: Remote) -> None:
        ns = await own_ns(remote)
        await commit_inline(remote, ns, {"a": b"1"})
        page, _ = await remote.changes(ChangesRequest(Position(ns, 1, Tag(b"elsewhen")), LINK))
        assert page.is_reset
        snapshot = await remote.snapshot(SnapshotRequest(ns, ROOT_NODE, NodeId(b"")))
        assert [entry.name for entry in snapshot.entries] == ["a"]
        assert not snapshot.has_more

    run(work)


def test_a_long_snapshot_comes_in_pages(run: Run) -> None:
    names = {f"n{index:03}": b"" for index in range(25)}

    async def work(remote: Remote) -> None:
        ns = await own_ns(remote)
        await commit_inline(remote, ns, names)
        found, after, seq = [], NodeId(b""), -1
        while True:
            page = await remote.snapshot(SnapshotRequest(ns, ROOT_NODE, after, seq, 10))
            found += [entry.name for entry in page.entries]
            if not page.has_more:
                break
            after, seq = page.entries[-1].node_id, page.seq
        assert sorted(found) == sorted(names)

    run(work)


def test_blocklists_are_told_by_content_hash(run: Run) -> None:
    data = noise(3_000_000)

    async def work(remote: Remote) -> None:
        ns = await own_ns(remote)
        op = create(1, "long", data)
        content, packed = content_of(data)
        at, blocks = 0, []
        for length in [int.from_bytes(packed[index + 32 : index + 36], "big") for index in range(0, len(packed), 36)]:
            blocks.append(data[at : at + length])
            at += length
        await remote.put_blocks(ns, shut_all(*blocks))
        reply = await remote.commit(CommitRequest(ns, LINK, (op,)), [])
        assert isinstance(reply.outcomes[0], Stored)
        assert await remote.manifests(ns, [content, ContentHash(bytes(32))]) == {content: packed}

    run(work)


def test_bytes_that_are_not_their_name_are_refused(run: Run) -> None:
    async def work(remote: Remote) -> None:
        ns = await own_ns(remote)
        wrong = OutgoingBlock(block_hash(b"right"), 5, 0, b"wrong")
        with pytest.raises(Fault) as refused:
            await remote.put_blocks(ns, [wrong])
        assert refused.value.code == "block_mismatch"
        assert await remote.get_blocks(ns, [block_hash(b"right")]) == {}

    run(work)
