"""Reads a file once, cut and hashed. Invariant: what is returned was the whole file at one moment, or it is a fault.

The open file's stat before and after the reading must be equal in everything, so nothing that changed meanwhile is ever
sent. Memory is bounded by a few pieces, whatever the file's size. Source: docs/design/040, rules 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from satchel.core.cutting import StreamCutter
from satchel.core.errors import FileChanging, LimitExceeded
from satchel.core.hashing import EMPTY_CONTENT, Block, block_hash, content_hash, pack_blocks
from satchel.core.ids import ContentHash
from satchel.core.limits import BLOCKS_PER_FILE_MAX, INLINE_UP_BYTES_MAX, MIB, SINGLE_BLOCK_BYTES_MAX
from satchel.device.ports import DiskPath, FileSystem, OpenFile, Stat, Times
from satchel.device.short_files import TakesShort

PIECE_BYTES = 8 * MIB
"""How much of a long file is read at once."""

CLOCK_GRAIN_NS = 10_000_000
"""Two writes closer than this may carry the same time, so a file this young is hashed again by the next scan."""


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file as it was read. stat: birth time included; its ctime_ns is 0 when the file was too young to be sure of.

    blocks: packed blocklist, empty for an empty file. size: bytes that were hashed.
    """

    stat: Stat
    content: ContentHash
    blocks: bytes


async def read_file(fs: FileSystem, path: DiskPath, clock: Times, short: TakesShort | None = None) -> FileRead:
    """Read, cut and hash a regular file. short: keeps the bytes of a file that travels inside a commit.

    Raises: FileChanging, FileUnreadable, NotFound, LimitExceeded.
    """
    begun_ns = clock.now_ns()
    found = await fs.read_short(path, SINGLE_BLOCK_BYTES_MAX)
    if found is not None:
        return _hash_short(*found, begun_ns, short)
    file = await fs.open_file(path)
    try:
        begun_ns = clock.now_ns()
        before = await file.stat()
        if before.size <= SINGLE_BLOCK_BYTES_MAX:
            raise FileChanging("A file became shorter while it was being read.", path=path)
        content, blocks = await _hash_long(file, path, before.size)
        after = await file.stat()
    finally:
        await file.close()
    if after != before:
        raise FileChanging("A file changed while it was being read.", path=path)
    return FileRead(_as_sure(after, begun_ns), content, blocks)


def _hash_short(stat: Stat, data: bytes, begun_ns: int, short: TakesShort | None) -> FileRead:
    if not data:
        return FileRead(_as_sure(stat, begun_ns), EMPTY_CONTENT, b"")
    block = Block(block_hash(data), len(data))
    if short is not None and len(data) <= INLINE_UP_BYTES_MAX:
        short.put(block.hash, data)
    return FileRead(_as_sure(stat, begun_ns), content_hash((block.hash,)), pack_blocks((block,)))


async def _hash_long(file: OpenFile, path: DiskPath, size: int) -> tuple[ContentHash, bytes]:
    cutter, blocks, at = StreamCutter(), list[Block](), 0
    while at < size:
        piece = await file.read(at, min(PIECE_BYTES, size - at))
        if not piece:
            raise FileChanging("A file became shorter while it was being read.", path=path)
        at += len(piece)
        blocks += [Block(block_hash(view), len(view)) for view in cutter.feed_blocks(piece, is_last=at >= size)]
        if len(blocks) > BLOCKS_PER_FILE_MAX:
            raise LimitExceeded(
                "A file has too many blocks.",
                limit="BLOCKS_PER_FILE_MAX",
                maximum=BLOCKS_PER_FILE_MAX,
                actual=len(blocks),
            )
    return content_hash(block.hash for block in blocks), pack_blocks(blocks)


def _as_sure(stat: Stat, begun_ns: int) -> Stat:
    return replace(stat, ctime_ns=0) if _is_racy(stat, begun_ns) else stat


def _is_racy(stat: Stat, begun_ns: int) -> bool:
    """Tell whether a write after ours could leave the times as they are.

    Only times near the present say that the file was just written: an mtime can be set to any day, and after a clock
    that went back a ctime lies in the future too; a later write would show in both.
    """
    return abs(stat.ctime_ns - begun_ns) <= CLOCK_GRAIN_NS or abs(stat.mtime_ns - begun_ns) <= CLOCK_GRAIN_NS
