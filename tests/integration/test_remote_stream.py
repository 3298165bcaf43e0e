"""The stream of the device protocol, from the device's side, on a real service."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from satchel.core.entries import Kind
from satchel.core.errors import Unauthenticated, Unavailable
from satchel.core.hashing import block_hash
from satchel.core.ids import ROOT_NODE, LinkId, NamespaceId, NodeId, OpId
from satchel.core.messages import (
    PROTOCOL_VERSION,
    CommitRequest,
    Content,
    CreateOp,
    Hello,
    Position,
    Pushed,
    Stored,
    Welcome,
)
from satchel.device.api import Api
from satchel.device.remote import HttpRemote
from satchel.device.wire_blocks import shut, wire
from tests.contract.test_remote import MachineClock
from tests.support.files import content_of
from tests.support.server import RunningServer, Session, running_server

LINK, OTHER_LINK = LinkId(b"L" * 16), LinkId(b"M" * 16)
FRAME_TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("service")) as running:
        yield running


def remote_of(server: RunningServer, session: Session) -> HttpRemote:
    return HttpRemote(server.url, session.token, clock=MachineClock())


async def hello_of(remote: HttpRemote, link: LinkId, run: int) -> Hello:
    known = await remote.namespaces()
    positions = tuple(Position(head.ns, head.head_seq, head.head_tag) for head in known.namespaces)
    return Hello(1, known.epoch, link, run, positions)


def device_requests(server: RunningServer, admin: Session) -> Counter[str]:
    """Return how often each call of the device protocol was made."""
    told = server.counters(admin)["satchel_requests_total"]
    return Counter({route: count for route, count in told.items() if "/sync/v1/" in route})


async def commit_file(remote: HttpRemote, ns: NamespaceId, name: str, data: bytes) -> None:
    content, packed = content_of(data)
    ids = block_hash(name.encode())[:16]
    op = CreateOp(OpId(ids), NodeId(ids), ROOT_NODE, name, int(Kind.FILE), Content(content, packed, len(data)))
    block = shut(block_hash(data), data)
    reply = await remote.commit(CommitRequest(ns, LINK, (op,), (wire(block),)), [block.body])
    assert isinstance(reply.outcomes[0], Stored)


def test_a_small_file_costs_one_request_up_and_none_down(server: RunningServer) -> None:
    user = server.add_user("ann", is_admin=True)
    one, other = user.sign_in("one"), user.sign_in("other")

    async def main() -> None:
        writer, reader = remote_of(server, one), remote_of(server, other)
        await reader.open_stream(await hello_of(reader, OTHER_LINK, 1))
        welcome = await reader.next_frame(FRAME_TIMEOUT_S)
        assert welcome is not None
        assert isinstance(welcome[0], Welcome)
        assert not welcome[0].recover and welcome[0].version == PROTOCOL_VERSION
        ns = (await writer.namespaces()).namespaces[0].ns
        before = device_requests(server, one)
        await commit_file(writer, ns, "news.txt", b"hello there")
        pushed = await reader.next_frame(FRAME_TIMEOUT_S)
        assert pushed is not None
        frame, contents = pushed
        assert isinstance(frame, Pushed)
        assert [entry.name for entry in frame.changes.entries] == ["news.txt"]
        assert list(contents.values()) == [b"hello there"]
        new = device_requests(server, one) - before
        assert new == {"POST /sync/v1/commit": 1}
        await writer.close()
        await reader.close()

    asyncio.run(main())


def test_a_revoked_device_hears_that_it_is_out(server: RunningServer) -> None:
    user = server.add_user("ben")
    one, other = user.sign_in("one"), user.sign_in("other")

    async def main() -> None:
        gone = remote_of(server, other)
        hello = await hello_of(gone, LINK, 1)
        async with Api(server.url, one.token) as api:
            await api.revoke_device(other.device_id.hex())
        with pytest.raises(Unauthenticated):
            await gone.open_stream(hello)
        with pytest.raises(Unauthenticated):
            await gone.namespaces()
        await gone.close()

    asyncio.run(main())


def test_a_device_that_went_back_in_time_is_told_to_recover(server: RunningServer) -> None:
    session = server.add_user("cleo").sign_in("one")

    async def main() -> None:
        remote = remote_of(server, session)
        for run, recover in ((5, False), (6, False), (6, False), (5, True)):
            await remote.open_stream(await hello_of(remote, LINK, run))
            found = await remote.next_frame(FRAME_TIMEOUT_S)
            assert found is not None
            assert isinstance(found[0], Welcome)
            assert found[0].recover is recover
        await remote.close()

    asyncio.run(main())


def test_a_server_that_stops_ends_the_stream_and_comes_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_server(tmp_path_factory.mktemp("service")) as server:
        session = server.add_user("dora").sign_in("one")

        async def until_gone() -> None:
            remote = remote_of(server, session)
            await remote.open_stream(await hello_of(remote, LINK, 1))
            await remote.next_frame(FRAME_TIMEOUT_S)
            server.stop()
            with pytest.raises(Unavailable):
                while await remote.next_frame(FRAME_TIMEOUT_S):
                    pass
            with pytest.raises(Unavailable):
                await remote.namespaces()
            await remote.close()

        asyncio.run(until_gone())
        server.start()

        async def again() -> None:
            remote = remote_of(server, session)
            assert (await remote.namespaces()).account == "dora"
            await remote.close()

        asyncio.run(again())
