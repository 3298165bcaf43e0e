"""Fetching: what is staged is the content that was asked for, whatever the sources hold meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from satchel.core.errors import BlockDamaged, BlockMismatch, Fault, StorageFailed, StorageFull, Unavailable
from satchel.core.hashing import EMPTY_CONTENT, Block, block_hash, pack_blocks
from satchel.core.ids import BlockHash, ContentHash, NamespaceId, Nid
from satchel.device.building import GETS_IN_FLIGHT_MAX
from satchel.device.disk import LocalDisk
from satchel.device.disk_files import LocalOpenFile, LocalStagedFile
from satchel.device.drive import drive
from satchel.device.fetching import Fetcher
from satchel.device.ports import DiskPath, OpenFile, Stat
from satchel.device.tasks import Fetched, FetchItem, FetchTask, LocalSource
from satchel.device.thread_lanes import ThreadLanes
from satchel.device.transfer import Lanes
from satchel.device.wire_blocks import shut
from satchel.simulation.core_remote import CoreRemote, CoreService
from tests.support.files import blocks_of, content_of, new_disk, noise, overwrite, words
from tests.support.lanes import Run, run

__all__ = ["run"]

MTIME_NS = 1_700_000_000_123_456_789
LARGE_BYTES = 45 * 1024 * 1024


class Watched(CoreRemote):
    """The service in this process, which counts what is asked of it and can be away."""

    def __init__(self, service: CoreService) -> None:
        super().__init__(service, service.remote()._principal)
        self.asked: list[Sequence[BlockHash]] = []
        self.at_once = self.at_once_max = 0
        self.is_away = False
        self.known: dict[ContentHash, bytes] = {}

    async def get_blocks(self, ns: NamespaceId, hashes: Sequence[BlockHash]) -> dict[BlockHash, bytes]:
        self.asked.append(hashes)
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        try:
            if self.is_away:
                raise Unavailable("gone")
            return await super().get_blocks(ns, hashes)
        finally:
            self.at_once -= 1

    async def manifests(self, ns: NamespaceId, ids: Sequence[ContentHash]) -> dict[ContentHash, bytes]:
        return {name: self.known[name] for name in ids if name in self.known}

    async def hold(self, data: bytes) -> None:
        """Make the service hold the content's blocks."""
        at = 0
        for block in blocks_of(data):
            await self.put_blocks(self._service.ns, [shut(block.hash, data[at : at + block.size])])
            at += block.size

    @property
    def ns(self) -> NamespaceId:
        return self._service.ns


async def start() -> Watched:
    return Watched(await CoreService.start())


def item_of(nid: int, data: bytes, *, is_executable: bool = False) -> FetchItem:
    content, packed = content_of(data)
    return FetchItem(Nid(nid), content, len(data), packed, MTIME_NS, is_executable)


def with_source(item: FetchItem, disk: LocalDisk, name: str, data: bytes) -> FetchItem:
    """Say that the local file `name`, which holds `data`, has these blocks."""
    stat = drive(disk.stat(DiskPath(name.encode())))
    assert stat is not None
    at, sources = 0, {}
    for block in blocks_of(data):
        sources[block.hash] = (LocalSource(DiskPath(name.encode()), stat, at),)
        at += block.size
    return FetchItem(item.nid, item.content, item.size, item.blocks, item.mtime_ns, item.is_executable, sources)


def staged_bytes(folder: Path, fetched: Fetched) -> list[bytes]:
    staging = folder / ".satchel" / "staging"
    return [(staging / item.staged).read_bytes() if item.staged else b"" for item in fetched.items]


def staged_names(folder: Path) -> set[str]:
    return set(os.listdir(folder / ".satchel" / "staging"))


def faults(fetched: Fetched) -> list[type[Fault] | None]:
    return [type(item.fault) if item.fault else None for item in fetched.items]


def test_many_small_files_come_in_one_request_with_time_and_bit(run: Run, tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    files = [noise(3_000, seed=index) for index in range(200)] + [b""]

    async def work(lanes: Lanes) -> None:
        remote = await start()
        for data in files:
            await remote.hold(data)
        items = tuple(item_of(index, data, is_executable=index == 3) for index, data in enumerate(files))
        told: list[int] = []
        fetched = await Fetcher(disk, remote, lanes, lambda nid, size: told.append(size)).fetch(
            FetchTask(1, remote.ns, items)
        )
        assert faults(fetched) == [None] * len(files)
        assert staged_bytes(tmp_path, fetched) == files
        assert len(remote.asked) == 1
        assert sum(told) == sum(len(data) for data in files)
        stats = [os.stat(tmp_path / ".satchel" / "staging" / item.staged) for item in fetched.items]
        assert {stat.st_mtime_ns for stat in stats} == {MTIME_NS}
        assert [index for index, stat in enumerate(stats) if stat.st_mode & 0o100] == [3]
        assert items[-1].content == EMPTY_CONTENT

    run(work)


def test_a_large_file_streams_with_few_requests_at_once(run: Run, tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    data = noise(LARGE_BYTES) + words(1_000_000)

    async def work(lanes: Lanes) -> None:
        remote = await start()
        await remote.hold(data)
        fetched = await Fetcher(disk, remote, lanes).fetch(FetchTask(1, remote.ns, (item_of(1, data),)))
        assert faults(fetched) == [None]
        assert staged_bytes(tmp_path, fetched) == [data]
        assert remote.at_once_max <= GETS_IN_FLIGHT_MAX

    run(work)


def test_only_what_no_local_file_has_is_asked_for(run: Run, tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    old = noise(LARGE_BYTES)
    new = old[:20_000_000] + b"inserted" * 1000 + old[20_000_000:]
    (tmp_path / "old").write_bytes(old)

    async def work(lanes: Lanes) -> None:
        remote = await start()
        await remote.hold(new)
        item = with_source(item_of(1, new), disk, "old", old)
        fetched = await Fetcher(disk, remote, lanes).fetch(FetchTask(1, remote.ns, (item,)))
        assert faults(fetched) == [None]
        assert staged_bytes(tmp_path, fetched) == [new]
        fresh = {block.hash for block in blocks_of(new)} - {block.hash for block in blocks_of(old)}
        assert {name for asked in remote.asked for name in asked} == fresh

    run(work)


def test_a_source_that_lies_about_its_content_is_replaced_by_the_service(run: Run, tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    data, small = noise(LARGE_BYTES), noise(5_000, seed=9)
    (tmp_path / "large").write_bytes(data)
    (tmp_path / "small").write_bytes(small)

    async def work(lanes: Lanes) -> None:
        remote = await start()
        await remote.hold(data)
        await remote.hold(small)
        items = (
            with_source(item_of(1, data), disk, "large", data),
            with_source(item_of(2, small), disk, "small", small),
        )
        for name in ("large", "small"):
            stat = os.stat(tmp_path / name)
            overwrite(tmp_path / name, 3_000, b"another byte")
            os.utime(tmp_path / name, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
        fetched = await Fetcher(disk, remote, lanes).fetch(FetchTask(1, remote.ns, items))
        assert faults(fetched) == [None, None]
        assert staged_bytes(tmp_path, fetched) == [data, small]
        assert staged_names(tmp_path) == {item.staged for item in fetched.items}

    run(work)


def test_a_source_that_changes_between_two_copies_never_shows(run: Run, tmp_path: Path) -> None:
    data = noise(LARGE_BYTES)
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "large").write_bytes(data)

    class Busy(LocalDisk):
        """A disk on which someone writes into the source right after it was opened and found unchanged."""

        async def open_file(self, path: DiskPath) -> LocalOpenFile:
            found = await super().open_file(path)
            return _Written(found, tmp_path / "disk" / "large")  # type: ignore[return-value]

    LocalDisk.initialise(os.fsencode(tmp_path / "disk"))
    disk = Busy(os.fsencode(tmp_path / "disk"), free_bytes_min=0)

    async def work(lanes: Lanes) -> None:
        (tmp_path / "disk" / "large").write_bytes(data)
        remote = await start()
        await remote.hold(data)
        item = with_source(item_of(1, data), disk, "large", data)
        fetched = await Fetcher(disk, remote, lanes).fetch(FetchTask(1, remote.ns, (item,)))
        assert faults(fetched) == [None]
        assert staged_bytes(tmp_path / "disk", fetched) == [data]

    run(work)


class _Written:
    """An open file whose content is changed in place by somebody after its first stat."""

    def __init__(self, file: OpenFile, path: Path) -> None:
        self._file = file
        self._path = path

    async def stat(self) -> Stat:
        found = await self._file.stat()
        overwrite(self._path, 25_000_000, b"written meanwhile")
        return found

    async def read(self, offset: int, length: int) -> bytes:
        return await self._file.read(offset, length)

    async def close(self) -> None:
        await self._file.close()


def test_a_source_that_cannot_be_read_is_replaced_by_the_service(run: Run, tmp_path: Path) -> None:
    data, small = noise(LARGE_BYTES), noise(4_000, seed=4)
    new_disk(tmp_path)
    (tmp_path / "large").write_bytes(data)
    (tmp_path / "small").write_bytes(small)

    class Scratched(LocalDisk):
        """A disk whose sectors fail once a file is opened."""

        async def open_file(self, path: DiskPath) -> LocalOpenFile:
            return _Unreadable(await super().open_file(path))  # type: ignore[return-value]

    disk = Scratched(os.fsencode(tmp_path), free_bytes_min=0)

    async def work(lanes: Lanes) -> None:
        remote = await start()
        await remote.hold(data)
        await remote.hold(small)
        items = (
            with_source(item_of(1, data), disk, "large", data),
            with_source(item_of(2, small), disk, "small", small),
        )
        fetched = await Fetcher(disk, remote, lanes).fetch(FetchTask(1, remote.ns, items))
        assert faults(fetched) == [None, None]
        assert staged_bytes(tmp_path, fetched) == [data, small]

    run(work)


class _Unreadable:
    """An open file that fails to read."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file

    async def stat(self) -> Stat:
        return await self._file.stat()

    async def read(self, offset: int, length: int) -> bytes:
        raise StorageFailed(where="disk", reason="EIO")

    async def close(self) -> None:
        await self._file.close()


def test_content_that_came_with_the_feed_is_checked_and_asks_nothing(run: Run, tmp_path: Path) -> None:
    disk = new_disk(tmp_path)

    async def work(lanes: Lanes) -> None:
        remote = await start()
        content, _ = content_of(b"hello")
        right = FetchItem(Nid(1), content, 5, b"", MTIME_NS, False, {}, b"hello")
        wrong = FetchItem(Nid(2), content, 5, b"", MTIME_NS, False, {}, b"jello")
        liar = FetchItem(Nid(3), content, 5, pack_blocks([Block(block_hash(b"hello"), 5)]), 0, False, {}, b"jello")
        fetched = await Fetcher(disk, remote, lanes).fetch(FetchTask(1, remote.ns, (right, wrong, liar)))
        assert faults(fetched) == [None, BlockMismatch, BlockMismatch]
        assert staged_bytes(tmp_path, fetched)[0] == b"hello"
        assert remote.asked == []
        assert staged_names(tmp_path) == {fetched.items[0].staged}

    run(work)


def test_an_unknown_blocklist_is_asked_for_and_must_be_the_contents_own(run: Run, tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    data = noise(3_000_000)

    async def work(lanes: Lanes) -> None:
        remote = await start()
        await remote.hold(data)
        content, packed = content_of(data)
        other = content_of(b"other")[0]
        lost = content_of(b"lost")[0]
        remote.known = {content: packed, other: packed}
        items = tuple(
            FetchItem(Nid(index), name, len(data), b"", MTIME_NS, False)
            for index, name in enumerate((content, other, lost))
        )
        fetched = await Fetcher(disk, remote, lanes).fetch(FetchTask(1, remote.ns, items))
        assert faults(fetched) == [None, BlockMismatch, BlockDamaged]
        assert fetched.items[0].blocks == packed
        assert staged_bytes(tmp_path, fetched)[0] == data

    run(work)


def test_a_block_that_the_service_lacks_is_a_fault_of_that_file_alone(run: Run, tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    there, gone, large_gone = noise(4_000, seed=1), noise(4_000, seed=2), noise(LARGE_BYTES, seed=3)

    async def work(lanes: Lanes) -> None:
        remote = await start()
        await remote.hold(there)
        items = (item_of(1, gone), item_of(2, there), item_of(3, large_gone))
        fetched = await Fetcher(disk, remote, lanes).fetch(FetchTask(1, remote.ns, items))
        assert faults(fetched) == [BlockDamaged, None, BlockDamaged]
        assert staged_bytes(tmp_path, fetched)[1] == there
        assert staged_names(tmp_path) == {fetched.items[1].staged}

    run(work)


def test_a_damaged_block_fails_its_own_file_and_no_other_of_the_group(run: Run, tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    files = [noise(4_000, seed=index) for index in range(40)]
    damaged = block_hash(files[17])

    class Rotten(Watched):
        """A service that refuses a whole request when it meets the damaged block."""

        async def get_blocks(self, ns: NamespaceId, hashes: Sequence[BlockHash]) -> dict[BlockHash, bytes]:
            self.asked.append(hashes)
            if damaged in hashes:
                raise BlockDamaged("rotten", hash=damaged.hex())
            return await CoreRemote.get_blocks(self, ns, hashes)

    async def work(lanes: Lanes) -> None:
        remote = Rotten(await CoreService.start())
        for data in files:
            await remote.hold(data)
        items = tuple(item_of(index, data) for index, data in enumerate(files))
        fetched = await Fetcher(disk, remote, lanes).fetch(FetchTask(1, remote.ns, items))
        assert [index for index, fault in enumerate(faults(fetched)) if fault] == [17]
        assert faults(fetched)[17] is BlockDamaged
        assert len(remote.asked) <= 13

    run(work)


def test_without_the_service_what_the_disk_has_is_built_all_the_same(run: Run, tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    here, away, large = noise(4_000, seed=1), noise(4_000, seed=2), noise(LARGE_BYTES, seed=3)
    (tmp_path / "here").write_bytes(here)
    (tmp_path / "large").write_bytes(large)

    async def work(lanes: Lanes) -> None:
        remote = await start()
        remote.is_away = True
        items = (
            with_source(item_of(1, here), disk, "here", here),
            item_of(2, away),
            with_source(item_of(3, large), disk, "large", large),
        )
        fetched = await Fetcher(disk, remote, lanes).fetch(FetchTask(1, remote.ns, items))
        assert faults(fetched) == [None, Unavailable, None]
        assert staged_bytes(tmp_path, fetched)[::2] == [here, large]

    run(work)


def test_a_full_disk_is_the_files_fault_and_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    new_disk(tmp_path)
    disk = LocalDisk(os.fsencode(tmp_path), free_bytes_min=1 << 60)

    async def work(lanes: Lanes) -> None:
        remote = await start()
        await remote.hold(b"small")
        items = (item_of(1, b"small"), item_of(2, noise(LARGE_BYTES)))
        fetched = await Fetcher(disk, remote, lanes).fetch(FetchTask(1, remote.ns, items))
        assert faults(fetched) == [StorageFull, StorageFull]
        assert staged_names(tmp_path) == set()

    run(work)


def test_a_cancelled_fetch_leaves_nothing_in_staging(tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    small, large = noise(4_000), noise(LARGE_BYTES, seed=3)

    async def main() -> None:
        lanes = ThreadLanes(4)
        remote = await start()
        await remote.hold(small)
        await remote.hold(large)
        reached = asyncio.Event()
        asked = remote.get_blocks

        async def stuck(ns: NamespaceId, hashes: Sequence[BlockHash]) -> dict[BlockHash, bytes]:
            if len(remote.asked) > 5:
                reached.set()
                await asyncio.Event().wait()
            return await asked(ns, hashes)

        remote.get_blocks = stuck  # type: ignore[method-assign]
        items = (item_of(1, small), item_of(2, large))
        async with asyncio.TaskGroup() as group:
            fetching = group.create_task(Fetcher(disk, remote, lanes).fetch(FetchTask(1, remote.ns, items)))
            await asyncio.wait_for(reached.wait(), 20)
            assert staged_names(tmp_path)
            fetching.cancel()
        assert staged_names(tmp_path) == set()
        lanes.close()

    asyncio.run(main())


def test_a_staged_file_is_read_back_from_the_disk_it_was_copied_on(tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    (tmp_path / "a").write_bytes(b"0123456789")

    async def copy() -> bytes:
        staged: LocalStagedFile = await disk.stage()
        source = await disk.open_file(DiskPath(b"a"))
        await staged.copy_from(source, 2, 5)
        await source.close()
        return await staged.read(0, 100)

    assert drive(copy()) == b"23456"
