"""Builds remote content in staging. Invariant: a finished staged file is exactly the content it was asked for.

Each block is verified before it counts, wherever it came from; the blocklist is checked against the content hash before
the first byte. A fault of one file is in its own result and the others go on. Source: docs/design/040 rule 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from satchel.core.errors import BlockDamaged, BlockMismatch, Fault, NotFound
from satchel.core.hashing import Block, block_hash, pack_blocks, packed_content_hash, unpack_blocks
from satchel.core.ids import BlockHash, ContentHash, NamespaceId
from satchel.core.limits import BLOCKS_GET_COUNT_MAX, MANIFESTS_GET_COUNT_MAX, MIB
from satchel.device.building import build_large
from satchel.device.ports import FileSystem, OpenFile, Remote, StagedFile
from satchel.device.tasks import Fetched, FetchedItem, FetchItem, FetchTask, LocalSource
from satchel.device.transfer import Lanes, Progress, no_progress, on_disk, open_source

GROUP_BYTES_MAX = 6 * MIB
"""Small files are built in groups of this size, one request each; a file above it is built by itself, in windows."""
GROUPS_IN_FLIGHT_MAX = 4
WRITERS_PER_GROUP = 4
"""fsync waits; several files of a group are written at once."""
FILES_PER_WRITER_MIN = 4


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file to build, with its blocklist known and checked."""

    index: int
    item: FetchItem
    packed: bytes
    blocks: tuple[Block, ...]


class Fetcher:
    """Fetches for one link. Safe for several tasks at once."""

    def __init__(self, fs: FileSystem, remote: Remote, lanes: Lanes, progress: Progress = no_progress) -> None:
        self._fs = fs
        self._remote = remote
        self._lanes = lanes
        self._progress = progress

    async def fetch(self, task: FetchTask) -> Fetched:
        """Build all items of the task; results in their order, each with its own fault if any.

        Cancelled: nothing of the task stays in staging.
        """
        made: list[StagedFile] = []
        try:
            results = await self._fetch(task, made)
        except GeneratorExit:
            # An abandoned coroutine may await nothing more; what it staged is found at the next start.
            raise
        except BaseException:
            await self._lanes.disk(_discard(self._fs, made))
            raise
        return Fetched(task, tuple(results[index] for index in range(len(task.items))))

    async def _fetch(self, task: FetchTask, made: list[StagedFile]) -> dict[int, FetchedItem]:
        wanted, results = await self._with_blocklists(task)
        small = [each for each in wanted if each.item.size <= GROUP_BYTES_MAX]
        jobs = [partial(self._group, task.ns, group, made) for group in _groups(small)]
        for built in await self._lanes.each(jobs, GROUPS_IN_FLIGHT_MAX):
            results.update(built)
        for each in wanted:
            if each.item.size > GROUP_BYTES_MAX:
                results[each.index] = await self._large(task.ns, each, made)
        return results

    async def _with_blocklists(self, task: FetchTask) -> tuple[list[_Wanted], dict[int, FetchedItem]]:
        """Return the files whose blocklist is known and right, and the results of the others."""
        unknown = sorted({each.content for each in task.items if each.size and not each.blocks and each.data is None})
        pages = [unknown[at : at + MANIFESTS_GET_COUNT_MAX] for at in range(0, len(unknown), MANIFESTS_GET_COUNT_MAX)]
        known: dict[ContentHash, bytes] = {}
        fault: Fault | None = None
        try:
            for page in await self._lanes.each(
                [partial(self._remote.manifests, task.ns, ids) for ids in pages], GROUPS_IN_FLIGHT_MAX
            ):
                known.update(page)
        except Fault as failed:
            fault = failed
        wanted, results = [], {}
        for index, item in enumerate(task.items):
            try:
                packed = _packed(item, known, fault)
                wanted.append(_Wanted(index, item, packed, tuple(_checked(item, packed))))
            except Fault as failed:
                results[index] = FetchedItem(item.nid, "", b"", failed)
        return wanted, results

    # -- small files --------------------------------------------------------------------------------------------------

    async def _group(self, ns: NamespaceId, group: Sequence[_Wanted], made: list[StagedFile]) -> dict[int, FetchedItem]:
        found: dict[BlockHash, bytes] = {}
        if any(each.item.sources and each.item.data is None for each in group):
            found = await self._lanes.disk(_read_sources(self._fs, group))
        missing = [
            block.hash for each in group if each.item.data is None for block in each.blocks if block.hash not in found
        ]
        fault: Fault | None = None
        if missing:
            try:
                found.update(await _get_what_is_there(self._remote, ns, list(dict.fromkeys(missing))))
            except Fault as failed:
                fault = failed
        count = max(1, min(WRITERS_PER_GROUP, len(group) // FILES_PER_WRITER_MIN))
        works = [partial(self._write, group[at::count], found, fault, made) for at in range(count)]
        jobs = [partial(on_disk, self._lanes, work) for work in works]
        results: dict[int, FetchedItem] = {}
        for part in await self._lanes.each(jobs, WRITERS_PER_GROUP):
            results.update(part)
        for each in group:
            if results[each.index].fault is None:
                self._progress(each.item.nid, each.item.size)
        return results

    async def _write(
        self, group: Sequence[_Wanted], found: dict[BlockHash, bytes], fault: Fault | None, made: list[StagedFile]
    ) -> dict[int, FetchedItem]:
        results = {}
        for each in group:
            try:
                name = await _write_file(self._fs, each, found, fault, made)
                results[each.index] = FetchedItem(each.item.nid, name, each.packed)
            except Fault as failed:
                results[each.index] = FetchedItem(each.item.nid, "", each.packed, failed)
        return results

    # -- large files --------------------------------------------------------------------------------------------------

    async def _large(self, ns: NamespaceId, wanted: _Wanted, made: list[StagedFile]) -> FetchedItem:
        try:
            name = await build_large(
                self._fs, self._remote, self._lanes, ns, wanted.item, wanted.blocks, made, self._progress
            )
        except Fault as failed:
            return FetchedItem(wanted.item.nid, "", wanted.packed, failed)
        return FetchedItem(wanted.item.nid, name, wanted.packed)


async def _get_what_is_there(remote: Remote, ns: NamespaceId, hashes: Sequence[BlockHash]) -> dict[BlockHash, bytes]:
    """Return the blocks that the service can give. A damaged one fails its request, so that is halved around it."""
    try:
        return await remote.get_blocks(ns, hashes)
    except (BlockDamaged, BlockMismatch):
        if len(hashes) == 1:
            return {}
    half = len(hashes) // 2
    return {
        **await _get_what_is_there(remote, ns, hashes[:half]),
        **await _get_what_is_there(remote, ns, hashes[half:]),
    }


def _packed(item: FetchItem, known: dict[ContentHash, bytes], fault: Fault | None) -> bytes:
    if item.blocks or not item.size:
        return item.blocks
    if item.data is not None:
        return pack_blocks([Block(block_hash(item.data), len(item.data))])
    if item.content in known:
        return known[item.content]
    raise fault or BlockDamaged("The server holds no blocklist for this content.", hash=item.content.hex())


def _checked(item: FetchItem, packed: bytes) -> list[Block]:
    blocks = unpack_blocks(packed)
    actual = packed_content_hash(packed)
    if actual != item.content:
        raise BlockMismatch("A blocklist is not the content's.", expected=item.content.hex(), actual=actual.hex())
    size = sum(block.size for block in blocks)
    if size != item.size or (item.data is not None and len(item.data) != size):
        raise BlockMismatch("A blocklist has another length than its file.", expected=item.size, actual=size)
    return blocks


def _groups(wanted: Sequence[_Wanted]) -> Iterator[list[_Wanted]]:
    group: list[_Wanted] = []
    size = count = 0
    for each in wanted:
        if group and (size + each.item.size > GROUP_BYTES_MAX or count + len(each.blocks) > BLOCKS_GET_COUNT_MAX):
            yield group
            group, size, count = [], 0, 0
        group.append(each)
        size += each.item.size
        count += max(1, len(each.blocks))
    if group:
        yield group


async def _read_sources(fs: FileSystem, group: Sequence[_Wanted]) -> dict[BlockHash, bytes]:
    """Return the blocks of the group that this disk still has, verified; a source that does not verify is skipped."""
    found: dict[BlockHash, bytes] = {}
    for each in group:
        if each.item.data is not None:
            continue
        for block in each.blocks:
            for source in each.item.sources.get(block.hash, ()):
                data = None if block.hash in found else await _read_source(fs, source, block)
                if data is not None:
                    found[block.hash] = data
    return found


async def _read_source(fs: FileSystem, source: LocalSource, block: Block) -> bytes | None:
    file: OpenFile | None = None
    try:
        file = await open_source(fs, source)
        if not source.stat.same_file(await file.stat()):
            return None
        data = await file.read(source.offset, block.size)
    except Fault:
        return None
    finally:
        if file is not None:
            await file.close()
    return data if block_hash(data) == block.hash else None


def _pieces(wanted: _Wanted, found: dict[BlockHash, bytes], fault: Fault | None) -> list[bytes | memoryview]:
    """Return the file's blocks in order. Raises: `fault`, BlockDamaged for one that nobody has, BlockMismatch."""
    if wanted.item.data is not None:
        view, pieces, at = memoryview(wanted.item.data), list[bytes | memoryview](), 0
        for block in wanted.blocks:
            pieces.append(view[at : at + block.size])
            at += block.size
        if any(block_hash(piece) != block.hash for piece, block in zip(pieces, wanted.blocks, strict=True)):
            expected = wanted.item.content.hex()
            raise BlockMismatch("Content that came with an entry is not its own.", expected=expected, actual="other")
        return pieces
    pieces = []
    for block in wanted.blocks:
        if block.hash not in found:
            raise fault or BlockDamaged("The server lacks a block of this file.", hash=block.hash.hex())
        if len(found[block.hash]) != block.size:
            raise BlockMismatch("A block has another length.", expected=block.size, actual=len(found[block.hash]))
        pieces.append(found[block.hash])
    return pieces


async def _write_file(
    fs: FileSystem,
    wanted: _Wanted,
    found: dict[BlockHash, bytes],
    fault: Fault | None,
    made: list[StagedFile],
) -> str:
    pieces = _pieces(wanted, found, fault)
    staged = await fs.stage()
    made.append(staged)
    try:
        for piece in pieces:
            await staged.write(piece)
        item = wanted.item
        await staged.finish(mtime_ns=item.mtime_ns, is_executable=item.is_executable, xattrs=item.xattrs)
    except Fault:
        await staged.discard()
        raise
    return staged.name


async def _discard(fs: FileSystem, made: Sequence[StagedFile]) -> None:
    for staged in made:
        await staged.discard()
        try:
            # A finished file is closed; its name is all that is left of it.
            await (await fs.open_staged(staged.name)).discard()
        except NotFound:
            continue
