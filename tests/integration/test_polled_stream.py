"""A device behind a proxy that lets no WebSocket through asks instead, and nobody notices but by the time it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from satchel.core.errors import Unauthenticated, Unavailable
from satchel.core.messages import Ping, Pushed, StreamFrame, Welcome
from satchel.device import polled_stream
from satchel.device.api import Api
from satchel.device.remote import HttpRemote
from tests.contract.test_remote import MachineClock
from tests.integration.test_remote_stream import LINK, OTHER_LINK, commit_file, hello_of, remote_of
from tests.support.no_websockets import NoWebSockets, without_websockets
from tests.support.server import RunningServer, Session, running_server

TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def proxy(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[NoWebSockets]:
    monkeypatch.setattr(polled_stream, "POLL_S", 0.05)
    with without_websockets(server.port) as running:
        yield running


@asynccontextmanager
async def behind(proxy: NoWebSockets, session: Session) -> AsyncIterator[HttpRemote]:
    remote = HttpRemote(proxy.url, session.token, clock=MachineClock())
    try:
        yield remote
    finally:
        await remote.close()


async def next_of(remote: HttpRemote) -> StreamFrame:
    """Return the next frame that is no ping."""
    while True:
        found = await remote.next_frame(TIMEOUT_S)
        assert found is not None
        if not isinstance(found[0], Ping):
            return found[0]


def test_news_comes_by_asking(server: RunningServer, proxy: NoWebSockets) -> None:
    user = server.add_user("ann")
    one, other = user.sign_in("one"), user.sign_in("other")

    async def main() -> None:
        writer = remote_of(server, one)
        async with behind(proxy, other) as reader:
            await reader.open_stream(await hello_of(reader, OTHER_LINK, 1))
            assert proxy.refused == 1
            welcome = await next_of(reader)
            assert isinstance(welcome, Welcome) and not welcome.recover
            assert isinstance((await reader.next_frame(TIMEOUT_S) or (None,))[0], Ping)
            ns = (await writer.namespaces()).namespaces[0].ns
            for number in range(3):
                await commit_file(writer, ns, f"news {number}", b"hello")
                pushed = await next_of(reader)
                assert isinstance(pushed, Pushed)
                assert [entry.name for entry in pushed.changes.entries] == [f"news {number}"]
        await writer.close()

    asyncio.run(main())


def test_an_older_start_is_told_to_recover_and_one_that_is_overtaken_hears_of_it(
    server: RunningServer, proxy: NoWebSockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polled_stream, "HELLO_S", 0.0)
    session = server.add_user("ben").sign_in("one")

    async def main() -> None:
        async with behind(proxy, session) as remote, behind(proxy, session) as copied:
            await remote.open_stream(await hello_of(remote, LINK, 5))
            assert not (await next_of(remote)).recover  # type: ignore[union-attr]
            await copied.open_stream(await hello_of(copied, LINK, 4))
            assert (await next_of(copied)).recover  # type: ignore[union-attr]
            await copied.open_stream(await hello_of(copied, LINK, 6))
            assert not (await next_of(copied)).recover  # type: ignore[union-attr]
            assert (await next_of(remote)).recover, "another start is newer"  # type: ignore[union-attr]

    asyncio.run(main())


def test_it_ends_with_the_token_with_the_service_and_to_try_the_websocket_again(
    server: RunningServer, proxy: NoWebSockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = server.add_user("cleo")
    one, other = user.sign_in("one"), user.sign_in("other")

    async def main() -> None:
        async with behind(proxy, one) as remote:
            hello = await hello_of(remote, LINK, 1)
            monkeypatch.setattr(polled_stream, "TRY_AGAIN_S", -1.0)
            await remote.open_stream(hello)
            await next_of(remote)
            with pytest.raises(Unavailable):
                await next_of(remote)
            monkeypatch.undo()
            monkeypatch.setattr(polled_stream, "POLL_S", 0.05)
            await remote.open_stream(hello)
            assert proxy.refused == 2
            await next_of(remote)
            async with Api(server.url, other.token) as api:
                await api.revoke_device(one.device_id.hex())
            with pytest.raises(Unauthenticated):
                await next_of(remote)
            proxy.end()
            with pytest.raises(Unavailable):
                await remote.open_stream(hello)

    asyncio.run(main())
