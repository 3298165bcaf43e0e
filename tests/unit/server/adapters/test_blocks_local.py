"""What the local packs do when the disk fails."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from satchel.core.errors import StorageFailed, StorageFull, Unavailable
from satchel.server.adapters.blocks_local import RUN_BYTES_MAX, LocalBlocks
from satchel.server.ports import Span


class Disk:
    """The two calls that make bytes durable; each fails with the error that is set."""

    def __init__(self) -> None:
        self.write_error = 0
        self.sync_error = 0
        self.synced: list[int] = []

    def write(self, fd: int, pieces: Sequence[bytes | memoryview], offset: int) -> int:
        if self.write_error:
            os.pwritev(fd, [b"torn"], offset)
            raise OSError(self.write_error, os.strerror(self.write_error))
        return os.pwritev(fd, [bytes(pieces[0])[:7]], offset)

    def sync(self, fd: int) -> None:
        self.synced.append(fd)
        if self.sync_error:
            raise OSError(self.sync_error, os.strerror(self.sync_error))
        os.fdatasync(fd)


def test_a_failed_sync_fails_the_put_and_its_log_is_never_written_again(tmp_path: Path) -> None:
    async def main() -> None:
        disk = Disk()
        store = LocalBlocks(str(tmp_path), write=disk.write, sync=disk.sync)
        disk.sync_error = errno.EIO
        with pytest.raises(StorageFailed):
            await store.put("packs/01/01", [b"lost"])
        disk.sync_error = 0
        place = await store.put("packs/02/02", [b"kept"])
        assert place == ("packs/02/02", 0)
        assert len(disk.synced) == 2
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("how", ["removed", "replaced", "folder moved"])
def test_what_was_appended_to_a_log_that_went_from_its_place_stands_in_a_new_one(tmp_path: Path, how: str) -> None:
    async def main() -> None:
        root = tmp_path / "blocks"
        store = LocalBlocks(str(root))
        first = await store.put("packs/01/01", [b"gone"])
        if how == "folder moved":
            root.rename(tmp_path / "elsewhere")
        else:
            (root / first.name).unlink()
        if how == "replaced":
            (root / first.name).write_bytes(b"another")
        second = await store.put("packs/02/02", [b"kept"])
        assert second == ("packs/02/02", 0)
        assert await store.get([Span(*second, 4)]) == [b"kept"]
        third = await store.put("packs/03/03", [b"too"])
        assert third == ("packs/02/02", 4)
        await store.close()

    asyncio.run(main())


def test_a_disk_on_which_no_log_stays_fails_the_put(tmp_path: Path) -> None:
    class Forgetful(Disk):
        def sync(self, fd: int) -> None:
            for path in (tmp_path / "packs").rglob("*"):
                if path.is_file():
                    path.unlink()

    async def main() -> None:
        disk = Forgetful()
        store = LocalBlocks(str(tmp_path), write=disk.write, sync=disk.sync)
        with pytest.raises(StorageFailed):
            await store.put("packs/01/01", [b"lost"])
        await store.close()

    asyncio.run(main())


def test_a_full_disk_fails_that_put_and_the_next_one_follows_the_last_whole_one(tmp_path: Path) -> None:
    async def main() -> None:
        disk = Disk()
        store = LocalBlocks(str(tmp_path), write=disk.write, sync=disk.sync)
        first = await store.put("packs/01/01", [b"before"])
        disk.write_error = errno.ENOSPC
        with pytest.raises(StorageFull):
            await store.put("packs/02/02", [b"too much"])
        disk.write_error = 0
        second = await store.put("packs/03/03", [b"after, in more than one write"])
        assert second == (first.name, 6)
        assert await store.get([Span(first.name, 0, 35)]) == [b"beforeafter, in more than one write"]
        await store.close()

    asyncio.run(main())


def test_folders_and_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    async def main() -> None:
        store = LocalBlocks(str(tmp_path / "blocks"))
        await store.put("packs/01/01", [b"x"])
        await store.close()

    asyncio.run(main())
    folders = [tmp_path / "blocks", tmp_path / "blocks" / "packs", tmp_path / "blocks" / "packs" / "01"]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    assert stat.S_IMODE((tmp_path / "blocks" / "packs" / "01" / "01").stat().st_mode) == 0o600


def test_a_closed_store_refuses_puts(tmp_path: Path) -> None:
    async def main() -> None:
        store = LocalBlocks(str(tmp_path))
        await store.close()
        with pytest.raises(Unavailable):
            await store.put("packs/01/01", [b"x"])

    asyncio.run(main())


def test_neighbours_are_cut_apart_and_what_ends_too_early_is_missing(tmp_path: Path) -> None:
    async def main() -> None:
        store = LocalBlocks(str(tmp_path))
        data = os.urandom(3 * RUN_BYTES_MAX)
        name, _ = await store.put("packs/01/01", [data])
        near = [(0, 10), (10, 20), (4_000, 1), (4_000, 50), (100_000, 7), (RUN_BYTES_MAX - 5, 10), (200, 0)]
        far = [(RUN_BYTES_MAX + 100, RUN_BYTES_MAX + 1), (len(data) - 20, 10), (len(data) - 5, 5)]
        past = [(len(data) - 4, 5), (len(data) + 9, 1)]
        asked = [Span(name, *place) for place in [*past, *reversed(near), *far]] + [Span("packs/02/02", 0, 1)]
        got = await store.get(asked)
        assert got == [None, None, *[data[at : at + size] for at, size in [*reversed(near), *far]], None]
        await store.close()

    asyncio.run(main())


def test_thousands_of_pieces_are_stored_as_they_were_given(tmp_path: Path) -> None:
    async def main() -> None:
        store = LocalBlocks(str(tmp_path))
        pieces = [os.urandom(number % 2_000) for number in range(3_000)]
        whole = b"".join(pieces)
        await store.put("packs/01/01", [b"before"])
        place = await store.put("packs/02/02", pieces)
        assert place == ("packs/01/01", 6)
        assert await store.get([Span(place.name, place.offset, len(whole))]) == [whole]
        await store.close()

    asyncio.run(main())
