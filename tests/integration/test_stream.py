"""The stream against a real server: what one device commits the other is told, with its content, unasked."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from satchel.core.entries import Kind
from satchel.core.ids import LinkId, NamespaceId, NodeId, Tag
from satchel.core.limits import INLINE_DOWN_BYTES_MAX
from satchel.core.messages import (
    PROTOCOL_VERSION,
    Behind,
    Changes,
    ChangesRequest,
    CommitReply,
    Hello,
    Position,
    Pushed,
    ScopeReply,
    ScopeRequest,
    Stored,
    Welcome,
)
from tests.support.server import RunningServer, Session, User, running_server
from tests.support.wire import Stream, Wire, open_stream

_numbers = itertools.count()
LAPTOP, PHONE = LinkId(b"laptop"), LinkId(b"phone")


@pytest.fixture
def user(server: RunningServer) -> User:
    return server.add_user(f"user {next(_numbers)}")


@pytest.fixture
def laptop(user: User) -> Iterator[Wire]:
    with Wire(user.sign_in("laptop"), LAPTOP) as wire:
        yield wire


def hello(session: Session, *, seq: int = 0, tag: bytes = b"", epoch: bytes = b"", link: LinkId = PHONE, run: int = 1):  # type: ignore[no-untyped-def]
    return Hello(1, epoch, link, run, (Position(NamespaceId(session.root_ns), seq, Tag(tag)),))


def with_stream(session: Session, said: Hello, work: Callable[[Stream], Awaitable[None]]) -> None:
    async def main() -> None:
        stream = await open_stream(session, said)
        try:
            await work(stream)
        finally:
            await stream.connection.close()

    asyncio.run(main())


async def welcomed(stream: Stream) -> Welcome:
    frame, _ = await stream.next()
    assert isinstance(frame, Welcome)
    return frame


async def pushed(stream: Stream) -> tuple[Changes, list[bytes]]:
    frame, bodies = await stream.next()
    assert isinstance(frame, Pushed), frame
    return frame.changes, [bytes(body) for body in bodies]


def commit(wire: Wire, name: str, data: bytes) -> int:
    reply: CommitReply = wire.commit(wire.create(name, data), inline=[data])
    assert isinstance(reply.outcomes[0], Stored)
    return reply.outcomes[0].seq


def test_a_small_file_is_pushed_with_its_content_and_needs_no_further_request(user: User, laptop: Wire) -> None:
    phone = user.sign_in("phone")

    async def work(stream: Stream) -> None:
        await welcomed(stream)
        await asyncio.to_thread(commit, laptop, "a.txt", b"hello")
        page, bodies = await pushed(stream)
        assert (page.prev_seq, page.last_seq) == (0, 1)
        assert [(entry.name, entry.inline, entry.link) for entry in page.entries] == [("a.txt", 0, LAPTOP)]
        assert bodies == [b"hello"]

    with_stream(phone, hello(phone), work)


def test_pushed_pages_chain_without_a_gap(user: User, laptop: Wire) -> None:
    phone = user.sign_in("phone")

    async def work(stream: Stream) -> None:
        await welcomed(stream)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(lambda: [commit(laptop, f"{n}", b"%d" % n) for n in range(50)]))
            seq = 0
            while seq < 50:
                page, _ = await pushed(stream)
                assert page.prev_seq == seq
                assert [entry.seq for entry in page.entries] == list(range(seq + 1, page.last_seq + 1))
                seq = page.last_seq

    with_stream(phone, hello(phone), work)


def test_what_a_link_leaves_out_is_not_pushed_and_makes_no_gap(user: User, laptop: Wire) -> None:
    phone = user.sign_in("phone")

    async def work(stream: Stream) -> None:
        await welcomed(stream)
        out = laptop.create("out", kind=Kind.FOLDER)
        await asyncio.to_thread(laptop.commit, out)
        assert (await pushed(stream))[0].last_seq == 1
        told = await asyncio.to_thread(leave_out, phone, out.node_id)
        await asyncio.to_thread(laptop.commit, laptop.create("hidden", b"x", parent=out.node_id), inline=[b"x"])
        await asyncio.to_thread(commit, laptop, "seen", b"seen")
        page, bodies = await pushed(stream)
        assert [entry.name for entry in page.entries] == ["seen"]
        assert (page.prev_seq, page.last_seq, page.scope, bodies) == (1, 3, told, [b"seen"])

    with_stream(phone, hello(phone), work)


def leave_out(session: Session, *nodes: bytes) -> bytes:
    """Name what the stream's link leaves out; the mark of it."""
    with Wire(session) as wire:
        request = ScopeRequest(wire.ns, PHONE, tuple(NodeId(node) for node in nodes))
        return wire.call("scope", request, ScopeReply)[0].scope


def test_own_entries_come_back_without_their_content(laptop: Wire) -> None:
    async def work(stream: Stream) -> None:
        await welcomed(stream)
        await asyncio.to_thread(commit, laptop, "own", b"own")
        page, bodies = await pushed(stream)
        assert [(entry.name, entry.inline) for entry in page.entries] == [("own", -1)]
        assert bodies == []

    with_stream(laptop.session, hello(laptop.session, link=LAPTOP), work)


def test_a_content_past_the_inline_limit_is_pushed_by_name_only(user: User, laptop: Wire) -> None:
    phone = user.sign_in("phone")

    async def work(stream: Stream) -> None:
        await welcomed(stream)
        await asyncio.to_thread(commit, laptop, "big", os.urandom(INLINE_DOWN_BYTES_MAX + 1))
        page, bodies = await pushed(stream)
        assert (page.entries[0].inline, bodies) == (-1, [])
        assert page.entries[0].blocks

    with_stream(phone, hello(phone), work)


def test_what_happened_before_the_hello_is_pushed_after_it(user: User, laptop: Wire) -> None:
    phone = user.sign_in("phone")
    commit(laptop, "a", b"a")
    commit(laptop, "b", b"b")
    page, _ = laptop.call("changes", ChangesRequest(Position(laptop.ns, 0, Tag(b"")), LAPTOP, 1), Changes)

    async def work(stream: Stream) -> None:
        await welcomed(stream)
        rest, _ = await pushed(stream)
        assert [entry.name for entry in rest.entries] == ["b"]

    with_stream(phone, hello(phone, seq=page.last_seq, tag=page.last_tag), work)


def test_too_much_to_push_is_told_as_a_position_that_changes_accepts(user: User, laptop: Wire) -> None:
    phone = user.sign_in("phone")
    for number in range(10):
        commit(laptop, f"{number}", os.urandom(INLINE_DOWN_BYTES_MAX))

    async def work(stream: Stream) -> None:
        await welcomed(stream)
        frame, _ = await stream.next()
        assert isinstance(frame, Behind)
        assert frame.position.seq == 10
        await asyncio.to_thread(commit, laptop, "after", b"after")
        page, _ = await pushed(stream)
        assert page.prev_seq == 10

    with_stream(phone, hello(phone), work)


def test_a_position_that_the_journal_does_not_know_is_pushed_as_a_reset(user: User, laptop: Wire) -> None:
    phone = user.sign_in("phone")
    commit(laptop, "a", b"a")

    async def work(stream: Stream) -> None:
        await welcomed(stream)
        page, _ = await pushed(stream)
        assert page.is_reset

    with_stream(phone, hello(phone, seq=77, tag=b"nonsense"), work)


def test_another_epoch_or_a_run_that_went_back_asks_to_recover(user: User) -> None:
    phone = user.sign_in("phone")

    async def recovers(said: Hello) -> bool:
        stream = await open_stream(phone, said)
        found = (await welcomed(stream)).recover
        await stream.connection.close()
        return found

    async def main() -> None:
        assert not await recovers(hello(phone, run=5))
        assert await recovers(hello(phone, run=4))
        assert await recovers(hello(phone, run=6, epoch=b"x" * 16))

    asyncio.run(main())


def test_a_connected_device_is_shown_online(user: User) -> None:
    phone, laptop = user.sign_in("phone"), user.sign_in("laptop")

    def online() -> dict[str, bool]:
        return {device["name"]: device["is_online"] for device in laptop.ask("GET", "/api/v1/devices").json()}

    async def work(stream: Stream) -> None:
        await welcomed(stream)
        assert await asyncio.to_thread(online) == {"phone": True, "laptop": False}

    with_stream(phone, hello(phone), work)


def closed_after(session: Session, act: Callable[[], object]) -> int:
    """Return the code with which the stream ends once `act` was done."""

    async def main() -> int:
        stream = await open_stream(session, hello(session))
        await welcomed(stream)
        await asyncio.to_thread(act)
        with pytest.raises(ConnectionClosed) as closed:
            await stream.next()
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code

    return asyncio.run(main())


def test_a_revoked_device_loses_its_stream(user: User) -> None:
    phone, laptop = user.sign_in("phone"), user.sign_in("laptop")
    path = f"/api/v1/devices/{phone.device_id.hex()}"
    assert closed_after(phone, lambda: laptop.ask("DELETE", path)) == 4401


def test_a_disabled_account_loses_its_streams(server: RunningServer, user: User) -> None:
    phone = user.sign_in("phone")
    assert closed_after(phone, lambda: server.admin("user.disable", name=user.name)) == 4401


def test_no_token_opens_no_stream(server: RunningServer) -> None:
    nobody = Session(server.url, "nonsense", b"", b"", b"n" * 16)

    async def main() -> None:
        with pytest.raises(InvalidStatus) as refused:
            await open_stream(nobody, hello(nobody))
        assert refused.value.response.status_code == 401

    asyncio.run(main())


@pytest.mark.parametrize("version", [PROTOCOL_VERSION, PROTOCOL_VERSION - 1])
def test_a_device_of_this_version_or_the_one_before_is_welcome(user: User, version: int) -> None:
    phone = user.sign_in("phone")

    async def main() -> None:
        stream = await open_stream(phone, Hello(version, b"", PHONE, 1, ()))
        frame, _ = await stream.next()
        assert isinstance(frame, Welcome)

    asyncio.run(main())


@pytest.mark.parametrize("version", [0, PROTOCOL_VERSION + 1, 99])
def test_a_hello_of_an_unknown_version_ends_the_stream(user: User, version: int) -> None:
    phone = user.sign_in("phone")

    async def main() -> None:
        stream = await open_stream(phone, Hello(version, b"", PHONE, 1, ()))
        with pytest.raises(ConnectionClosed) as closed:
            await stream.next()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4400

    asyncio.run(main())


def test_a_stop_ends_streams_as_going_away_and_the_server_exits_in_order(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        phone = server.add_user().sign_in()

        async def work(stream: Stream) -> None:
            await welcomed(stream)
            assert await asyncio.to_thread(server.stop) == 0
            with pytest.raises(ConnectionClosed) as closed:
                await stream.next()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001

        with_stream(phone, hello(phone), work)
