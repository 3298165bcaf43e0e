"""Sends local content: commits with small files inside, and the blocks of large ones. Invariant: what is sent under a
hash has that hash, and comes from a file whose stat was the same before and after it was read.

Nothing is remembered here: after a fault the engine asks the service again what is missing, so an interrupted upload
goes on by itself. Source: docs/design/040 rule 4, 050.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from satchel.core.errors import BlockMismatch, Fault, FileChanging, FileUnreadable, NotFound
from satchel.core.hashing import block_hash
from satchel.core.ids import BlockHash
from satchel.core.limits import MIB
from satchel.core.messages import CommitReply
from satchel.device.ports import FileSystem, OpenFile, OutgoingBlock, Remote, Stat
from satchel.device.short_files import ShortFiles
from satchel.device.tasks import CommitTask, Committed, InlineSource, LocalSource, Uploaded, UploadTask
from satchel.device.transfer import Lanes, Progress, no_progress, on_disk, open_source
from satchel.device.wire_blocks import shut, wire

PUT_BYTES_MAX = 8 * MIB
"""Of blocks in one put, uncompressed; below the service's bound with room for the header."""
PUTS_IN_FLIGHT_MAX = 3
INLINE_FILES_PER_HOP = 256
INLINE_HOPS_MAX = 2


class Sender:
    """Sends for one link. Safe for several tasks at once."""

    def __init__(
        self,
        fs: FileSystem,
        remote: Remote,
        lanes: Lanes,
        progress: Progress = no_progress,
        short: ShortFiles | None = None,
    ) -> None:
        self._fs = fs
        self._remote = remote
        self._lanes = lanes
        self._progress = progress
        self._short = short or ShortFiles()

    async def commit(self, task: CommitTask) -> Committed:
        """Read the inline files and commit in one request. Faults are in the result; see `Committed`.

        With every op unread nothing is sent, and the reply is empty with head_seq 0.
        """
        try:
            found = await self._read_inline(task)
        except Fault as fault:
            return Committed(task, None, fault=fault)
        unread = tuple(
            index for index, inline in enumerate(task.inline) if inline is not None and found.get(index) is None
        )
        left_out = set(unread)
        ops = tuple(op for index, op in enumerate(task.request.ops) if index not in left_out)
        if not ops:
            return Committed(task, CommitReply((), 0), unread)
        # Two files of one content carry one body.
        blocks = list({block.hash: block for block in found.values() if block is not None}.values())
        request = msgspec.structs.replace(task.request, ops=ops, inline=tuple(wire(block) for block in blocks))
        try:
            reply = await self._remote.commit(request, [block.body for block in blocks])
        except Fault as fault:
            return Committed(task, None, unread, fault)
        for index, inline in enumerate(task.inline):
            if inline is not None and task.nids[index] and found.get(index) is not None:
                self._progress(task.nids[index][0], inline.size)
        return Committed(task, reply, unread)

    async def upload(self, task: UploadTask) -> Uploaded:
        """Send the blocks of one file, in order. Faults are in the result; see `Uploaded`."""
        opened: list[OpenFile] = []
        try:
            opened.append(await self._lanes.disk(_open_as_planned(self._fs, task.source)))
            await self._lanes.each(
                [partial(self._put, task, opened[0], batch) for batch in _batches(task.blocks)], PUTS_IN_FLIGHT_MAX
            )
            await self._lanes.disk(_check_stat(opened[0], task.source))
        except (NotFound, FileUnreadable, FileChanging) as gone:
            return Uploaded(task, _changing(gone))
        except Fault as fault:
            return Uploaded(task, fault)
        finally:
            for file in opened:
                await self._lanes.disk(_close(file))
        return Uploaded(task)

    async def _put(self, task: UploadTask, file: OpenFile, batch: Sequence[tuple[BlockHash, int, int]]) -> None:
        blocks = await self._lanes.disk(_read_batch(file, task.source, batch))
        stored = set(await self._remote.put_blocks(task.ns, blocks))
        for block in blocks:
            if block.hash not in stored:
                raise BlockMismatch("The server did not store a block.", expected=block.hash.hex(), actual="nothing")
        self._progress(task.nid, sum(size for _, size, _ in batch))

    async def _read_inline(self, task: CommitTask) -> dict[int, OutgoingBlock | None]:
        wanted = [(index, inline) for index, inline in enumerate(task.inline) if inline is not None]
        works = [
            partial(self._read_small_files, [inline for _, inline in wanted[at : at + INLINE_FILES_PER_HOP]])
            for at in range(0, len(wanted), INLINE_FILES_PER_HOP)
        ]
        parts = await self._lanes.each([partial(on_disk, self._lanes, work) for work in works], INLINE_HOPS_MAX)
        blocks = [block for part in parts for block in part]
        return {index: block for (index, _), block in zip(wanted, blocks, strict=True)}

    async def _read_small_files(self, sources: Sequence[InlineSource]) -> list[OutgoingBlock | None]:
        blocks: list[OutgoingBlock | None] = []
        for inline in sources:
            # The scan that found the hash has read the file at one moment: its bytes are as good as another look's.
            data = self._short.take(inline.hash)
            if data is not None and len(data) == inline.size:
                blocks.append(shut(inline.hash, data))
            else:
                blocks.append(await _read_small_file(self._fs, inline))
        return blocks


def _batches(blocks: Sequence[tuple[BlockHash, int, int]]) -> Iterator[list[tuple[BlockHash, int, int]]]:
    """Yield the blocks in order, each content once, in requests of bounded size."""
    batch: list[tuple[BlockHash, int, int]] = []
    total = 0
    seen: set[BlockHash] = set()
    for block in blocks:
        if block[0] in seen:
            continue
        seen.add(block[0])
        if batch and total + block[1] > PUT_BYTES_MAX:
            yield batch
            batch, total = [], 0
        batch.append(block)
        total += block[1]
    if batch:
        yield batch


async def _read_small_file(fs: FileSystem, inline: InlineSource) -> OutgoingBlock | None:
    """Return the file as a block, None when it is no longer what the task says."""
    try:
        file = await open_source(fs, inline.source)
        try:
            before = await file.stat()
            data = await file.read(inline.source.offset, inline.size)
            after = await file.stat()
        finally:
            await file.close()
    except Fault:
        # One bad file must not stop the others of its request; the scan that follows tells its reason.
        return None
    is_whole = inline.source.stat.same_file(before) and before.same_file(after)
    if not is_whole or len(data) != inline.size or block_hash(data) != inline.hash:
        return None
    return shut(inline.hash, data)


async def _open_as_planned(fs: FileSystem, source: LocalSource) -> OpenFile:
    file = await open_source(fs, source)
    try:
        await _check_stat(file, source)
    except Fault:
        await file.close()
        raise
    return file


async def _check_stat(file: OpenFile, source: LocalSource) -> Stat:
    stat = await file.stat()
    if not source.stat.same_file(stat):
        raise FileChanging("The file changed while it was being sent.", path=source.path)
    return stat


async def _read_batch(
    file: OpenFile, source: LocalSource, batch: Sequence[tuple[BlockHash, int, int]]
) -> list[OutgoingBlock]:
    await _check_stat(file, source)
    blocks = []
    for name, size, offset in batch:
        data = await file.read(offset, size)
        if len(data) != size or block_hash(data) != name:
            raise FileChanging("The file changed while it was being sent.", path=source.path)
        blocks.append(shut(name, data))
    await _check_stat(file, source)
    return blocks


async def _close(file: OpenFile) -> None:
    await file.close()


def _changing(fault: Fault) -> Fault:
    # A file that is gone is looked at again like one that changed; an unreadable one keeps its own reason.
    return FileChanging("The file is gone.", **fault.fields) if isinstance(fault, NotFound) else fault
