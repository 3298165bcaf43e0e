"""The typed REST client against a real service."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count

import pytest

from satchel.core.errors import (
    AlreadyExists,
    Fault,
    FileChanging,
    NotFound,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
)
from satchel.device.api import Api
from tests.support.files import content_of, noise
from tests.support.server import PASSWORD, RunningServer, running_server

Run = Callable[[Callable[[Api], Awaitable[None]]], None]
_numbers = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One real service; each test has its own account."""
    with running_server(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def run(server: RunningServer) -> Run:
    """Runs work with a session of a fresh account."""
    session = server.add_user(f"user{next(_numbers)}").sign_in("laptop")

    def runs(work: Callable[[Api], Awaitable[None]]) -> None:
        async def main() -> None:
            async with Api(server.url, session.token) as api:
                await work(api)

        asyncio.run(main())

    return runs


async def put(api: Api, path: str, data: bytes) -> int:
    return (await api.upload(path, io.BytesIO(data), size=len(data))).rev


async def got(api: Api, path: str, *, rev: int = 0) -> bytes:
    into = io.BytesIO()
    await api.download(path, into, rev=rev)
    return into.getvalue()


def test_a_device_signs_in_is_renamed_and_signs_out(server: RunningServer) -> None:
    server.add_user("eve")

    async def main() -> None:
        async with Api(server.url) as door:
            with pytest.raises(Unauthenticated):
                await door.login("eve", "wrong password", "laptop")
            signed = await door.login("eve", PASSWORD, "laptop")
        async with Api(server.url, signed.token) as api:
            account = await api.account()
            assert (account.name, account.root_ns, account.used_bytes) == ("eve", signed.root_ns, 0)
            await api.rename_device(signed.device_id, "desk")
            (device,) = await api.devices()
            assert (device.name, device.is_this, device.id) == ("desk", True, signed.device_id)
            await api.logout()
            with pytest.raises(Unauthenticated):
                await api.account()

    asyncio.run(main())


def test_a_revoked_device_is_out(server: RunningServer) -> None:
    user = server.add_user("ida")
    one, other = user.sign_in("one"), user.sign_in("other")

    async def main() -> None:
        async with Api(server.url, one.token) as api, Api(server.url, other.token) as gone:
            await api.revoke_device(other.device_id.hex())
            with pytest.raises(Unauthenticated):
                await gone.account()

    asyncio.run(main())


def test_folders_are_made_listed_moved_and_deleted(run: Run) -> None:
    async def work(api: Api) -> None:
        await api.make_folder("/Documents & more")
        await put(api, "/Documents & more/ä+ö?.txt", b"hello")
        with pytest.raises(AlreadyExists):
            await api.make_folder("/Documents & more")
        with pytest.raises(NotFound):
            await api.make_folder("/none/below")
        assert [item.name async for item in api.list_folder("/Documents & more")] == ["ä+ö?.txt"]
        moved = await api.move("/Documents & more", "/Letters")
        assert (moved.name, moved.is_folder) == ("Letters", True)
        item = await api.entry("/Letters/ä+ö?.txt")
        assert (item.size, item.content_hash) == (5, content_of(b"hello")[0].hex())
        await api.delete("/Letters")
        with pytest.raises(NotFound):
            await api.entry("/Letters")
        (trashed,) = [item async for item in api.list_trash()]
        assert (trashed.path, trashed.kind) == ("/Letters", "folder")
        await api.restore_trashed(trashed.id)
        assert await got(api, "/Letters/ä+ö?.txt") == b"hello"

    run(work)


def test_a_long_folder_is_listed_page_by_page(run: Run) -> None:
    async def work(api: Api) -> None:
        names = [f"f{index}" for index in range(7)]
        for name in names:
            await api.make_folder(f"/{name}")
        first = await api.list_page("/", limit=3)
        rest = await api.list_page("/", first.after)
        assert [item.name for item in first.items + rest.items] == names
        assert rest.after == ""

    run(work)


def test_versions_are_kept_and_come_back(run: Run) -> None:
    async def work(api: Api) -> None:
        first = await put(api, "/a", b"one")
        second = await put(api, "/a", b"two")
        told = await api.versions("/a")
        assert [version.rev for version in told.versions] == [second, first]
        assert await got(api, "/a", rev=first) == b"one"
        await api.restore(first, "/a")
        assert await got(api, "/a") == b"one"
        with pytest.raises(NotFound):
            await api.restore(999_999, "/a")

    run(work)


@pytest.mark.parametrize("size", [0, 1, 524_288, 524_289, 9_000_000])
def test_content_goes_up_and_comes_down_as_it_was(run: Run, size: int) -> None:
    data = noise(size)

    async def work(api: Api) -> None:
        told: list[int] = []
        item = await api.upload("/big", io.BytesIO(data), size=size, mtime_ns=123, progress=told.append)
        assert (item.size, item.mtime_ns, sum(told)) == (size, 123, size)
        told.clear()
        into = io.BytesIO()
        done = await api.download("/big", into, progress=told.append)
        assert (into.getvalue() == data, done.size, sum(told)) == (True, size, size)
        assert done.content_hash == item.content_hash

    run(work)


def test_content_of_unknown_length_is_stored_to_its_end(run: Run) -> None:
    async def work(api: Api) -> None:
        await api.upload("/pipe", io.BytesIO(b"x" * 3_000_000), size=None)
        assert await got(api, "/pipe") == b"x" * 3_000_000

    run(work)


def test_content_without_a_time_of_its_own_was_changed_now(run: Run) -> None:
    async def work(api: Api) -> None:
        before = time.time_ns()
        for data in (b"new", b"edited"):
            item = await api.upload("/undated", io.BytesIO(data), size=len(data))
            assert before - 10**6 <= item.mtime_ns <= time.time_ns()

    run(work)


def test_a_download_goes_on_from_what_is_there(run: Run) -> None:
    data = noise(6_000_000)

    async def work(api: Api) -> None:
        await put(api, "/big", data)
        for held in (0, 1, 4_000_000, len(data)):
            into, told = io.BytesIO(data[:held]), list[int]()
            await api.download("/big", into, resume=True, progress=told.append)
            assert into.getvalue() == data
            assert sum(told) == len(data)

    run(work)


def test_a_beginning_of_another_file_is_never_taken_for_this_one(run: Run) -> None:
    data = noise(3_000_000)

    async def work(api: Api) -> None:
        await put(api, "/big", data)
        with pytest.raises(Fault) as refused:
            await api.download("/big", io.BytesIO(b"other"), resume=True)
        assert refused.value.code == "block_mismatch"
        longer = io.BytesIO(data + b"more")
        await api.download("/big", longer, resume=True)
        assert longer.getvalue() == data

    run(work)


def test_an_upload_on_a_stale_rev_or_an_existing_file_is_refused(run: Run) -> None:
    async def work(api: Api) -> None:
        first = await put(api, "/a", b"one")
        await put(api, "/a", b"two")
        with pytest.raises(PreconditionFailed):
            await api.upload("/a", io.BytesIO(b"three"), size=5, base_rev=first)
        with pytest.raises(PreconditionFailed):
            await api.upload("/a", io.BytesIO(b"three"), size=5, is_new=True)
        assert await got(api, "/a") == b"two"

    run(work)


def test_a_file_that_got_shorter_while_it_was_read_is_not_stored(run: Run) -> None:
    async def work(api: Api) -> None:
        with pytest.raises(FileChanging):
            await api.upload("/short", io.BytesIO(b"x" * 2_000_000), size=5_000_000)
        with pytest.raises(NotFound):
            await api.entry("/short")

    run(work)


def test_a_server_that_is_away_is_unavailable() -> None:
    async def main() -> None:
        async with Api("http://127.0.0.1:9", "token") as api:
            with pytest.raises(Unavailable):
                await api.account()

    asyncio.run(main())
