"""Builds one large file in staging, in windows. Invariant: bounded memory, and every byte of it verified by its hash.

Three steps overlap: the next window's blocks are fetched, this window is appended, the last one's copied ranges are
hashed. Ranges of local files are copied inside the disk first and hashed in the *new* file afterwards: hashing the
source instead would miss a write between the hash and the copy. Source: docs/design/040 rules 2 and 4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from satchel.core.errors import BlockDamaged, BlockMismatch, Fault, StorageFull
from satchel.core.hashing import Block, block_hash
from satchel.core.ids import BlockHash, NamespaceId
from satchel.core.limits import BLOCKS_GET_COUNT_MAX, MIB
from satchel.device.ports import FileSystem, OpenFile, Remote, StagedFile
from satchel.device.tasks import FetchItem, LocalSource
from satchel.device.transfer import Lanes, Progress, on_disk, open_source

WINDOW_BYTES_MAX = 16 * MIB
"""Two windows are in memory at once, and the bodies of the requests under way."""
GET_BYTES_MIN = 4 * MIB
"""A request takes blocks until it has this much, so at most 8 MiB less one byte."""
GETS_IN_FLIGHT_MAX = 4
VERIFIERS = 2
SOURCES_MAX = 16

_Job = Callable[[], Awaitable[None]]
_Place = tuple[bytes, str]
"""Which local file: (path, trashed name)."""


@dataclass(slots=True)
class _Run:
    """Consecutive blocks that come from one range of one local file, or (place None) from the server."""

    place: _Place | None
    offset: int
    start: int
    """Where the run begins in the new file."""
    blocks: list[Block] = field(default_factory=list)
    size: int = 0


class _SourceWrong(Exception):  # no fault: the file is built again without that source
    def __init__(self, place: _Place) -> None:
        super().__init__()
        self.place = place


@dataclass(frozen=True, slots=True)
class _Parts:
    """What one attempt at a file works with."""

    fs: FileSystem
    remote: Remote
    lanes: Lanes
    ns: NamespaceId
    item: FetchItem
    staged: StagedFile
    files: dict[_Place, OpenFile]
    progress: Progress


async def build_large(
    fs: FileSystem,
    remote: Remote,
    lanes: Lanes,
    ns: NamespaceId,
    item: FetchItem,
    blocks: Sequence[Block],
    made: list[StagedFile],
    progress: Progress,
) -> str:
    """Return the name of the finished staged file. blocks: its checked blocklist. made: gets what is staged.

    Raises: BlockDamaged, StorageFull, StorageFailed, and what the service raises; nothing is left staged then.
    """
    wrong: set[_Place] = set()
    while True:
        files = await lanes.disk(_open_sources(fs, item, wrong))
        try:
            staged = await lanes.disk(fs.stage())
            made.append(staged)
            parts = _Parts(fs, remote, lanes, ns, item, staged, files, progress)
            try:
                return await _attempt(parts, blocks)
            except _SourceWrong as failed:
                # Each turn bans one more source, so it ends; with none left all comes from the server.
                wrong.add(failed.place)
                await lanes.disk(_discard(staged))
            except Fault:
                await lanes.disk(_discard(staged))
                raise
        finally:
            await lanes.disk(_close(files))


async def _attempt(parts: _Parts, blocks: Sequence[Block]) -> str:
    windows = list(_windows(blocks, parts.item, parts.files))
    ahead: dict[BlockHash, bytes] = {}
    await parts.lanes.each(_fetches(parts, windows[0], ahead), GETS_IN_FLIGHT_MAX)
    for index, window in enumerate(windows):
        upcoming: dict[BlockHash, bytes] = {}
        jobs: list[_Job] = []
        if index + 1 < len(windows):
            jobs += _fetches(parts, windows[index + 1], upcoming)
        jobs.append(partial(on_disk, parts.lanes, partial(_append, parts, window, ahead)))
        if index:
            jobs.append(partial(_verify, parts, windows[index - 1]))
        await parts.lanes.each(jobs, GETS_IN_FLIGHT_MAX + 2)
        ahead = upcoming
        parts.progress(parts.item.nid, sum(run.size for run in window))
    await _verify(parts, windows[-1])
    await parts.lanes.disk(_finish(parts))
    return parts.staged.name


# -- planning ---------------------------------------------------------------------------------------------------------


async def _open_sources(fs: FileSystem, item: FetchItem, wrong: set[_Place]) -> dict[_Place, OpenFile]:
    """Open the local files that have blocks of this one and are as they were when they were indexed."""
    sources: dict[_Place, LocalSource] = {}
    for each in item.sources.values():
        for source in each:
            sources.setdefault((source.path, source.trashed), source)
    files: dict[_Place, OpenFile] = {}
    for place, source in sources.items():
        if place in wrong or len(files) == SOURCES_MAX:
            continue
        try:
            file = await open_source(fs, source)
            if source.stat.same_file(await file.stat()):
                files[place] = file
            else:
                await file.close()
        except Fault:
            continue
    return files


def _windows(blocks: Sequence[Block], item: FetchItem, files: dict[_Place, OpenFile]) -> Iterator[list[_Run]]:
    """Yield the file as windows of runs, in order."""
    window: list[_Run] = []
    size = at = 0
    last: _Run | None = None
    for block in blocks:
        if window and size + block.size > WINDOW_BYTES_MAX:
            yield window
            # The run goes on in the next window from where it stood.
            window, size = [], 0
        place, offset = _choose(block, item, files, last)
        follows = last is not None and last.place == place and (place is None or last.offset + last.size == offset)
        if not window or last is None or not follows:
            last = _Run(place, offset, at)
            window.append(last)
        last.blocks.append(block)
        last.size += block.size
        size += block.size
        at += block.size
    if window:
        yield window


def _choose(
    block: Block, item: FetchItem, files: dict[_Place, OpenFile], last: _Run | None
) -> tuple[_Place | None, int]:
    usable = [
        ((source.path, source.trashed), source.offset)
        for source in item.sources.get(block.hash, ())
        if (source.path, source.trashed) in files
    ]
    if not usable:
        return None, 0
    if last is not None and last.place is not None and (last.place, last.offset + last.size) in usable:
        return last.place, last.offset + last.size
    return usable[0]


# -- the three steps --------------------------------------------------------------------------------------------------


def _fetches(parts: _Parts, window: Sequence[_Run], into: dict[BlockHash, bytes]) -> list[_Job]:
    hashes = {block.hash: block.size for run in window if run.place is None for block in run.blocks}
    jobs: list[_Job] = []
    batch: list[BlockHash] = []
    size = 0
    for name, length in hashes.items():
        batch.append(name)
        size += length
        if size >= GET_BYTES_MIN or len(batch) == BLOCKS_GET_COUNT_MAX:
            jobs.append(partial(_fetch, parts, batch, into))
            batch, size = [], 0
    if batch:
        jobs.append(partial(_fetch, parts, batch, into))
    return jobs


async def _fetch(parts: _Parts, hashes: Sequence[BlockHash], into: dict[BlockHash, bytes]) -> None:
    found = await parts.remote.get_blocks(parts.ns, hashes)
    for name in hashes:
        if name not in found:
            raise BlockDamaged("The server lacks a block of this file.", hash=name.hex())
    into.update(found)


async def _append(parts: _Parts, window: Sequence[_Run], ahead: dict[BlockHash, bytes]) -> None:
    for run in window:
        if run.place is not None:
            try:
                await parts.staged.copy_from(parts.files[run.place], run.offset, run.size)
            except StorageFull:
                raise
            except Fault as failed:
                # A disk error may be the source's or the new file's; without this source the next attempt tells.
                raise _SourceWrong(run.place) from failed
            continue
        for block in run.blocks:
            data = ahead[block.hash]
            if len(data) != block.size:
                raise BlockMismatch("A block has another length.", expected=block.size, actual=len(data))
            await parts.staged.write(data)


async def _verify(parts: _Parts, window: Sequence[_Run]) -> None:
    """Hash what was copied from local files, in the new file. Raises: _SourceWrong of the first that is not right."""
    copied = [(run, block, start) for run in window if run.place is not None for block, start in _starts(run)]
    if not copied:
        return
    half = -(-len(copied) // VERIFIERS)
    halves = [copied[at : at + half] for at in range(0, len(copied), half)]
    jobs = [partial(on_disk, parts.lanes, partial(_first_wrong, parts.staged, part)) for part in halves]
    for place in await parts.lanes.each(jobs, VERIFIERS):
        if place is not None:
            raise _SourceWrong(place)


def _starts(run: _Run) -> Iterator[tuple[Block, int]]:
    at = run.start
    for block in run.blocks:
        yield block, at
        at += block.size


async def _first_wrong(staged: StagedFile, copied: Sequence[tuple[_Run, Block, int]]) -> _Place | None:
    for run, block, start in copied:
        if block_hash(await staged.read(start, block.size)) != block.hash:
            return run.place
    return None


async def _finish(parts: _Parts) -> None:
    item = parts.item
    await parts.staged.finish(mtime_ns=item.mtime_ns, is_executable=item.is_executable, xattrs=item.xattrs)


async def _discard(staged: StagedFile) -> None:
    await staged.discard()


async def _close(files: dict[_Place, OpenFile]) -> None:
    for file in files.values():
        await file.close()
