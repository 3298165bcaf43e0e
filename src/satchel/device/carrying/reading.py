"""Reads files of this machine for an import, cut and hashed, and once more by blocks. Invariant: what is sent under a
hash has that hash, and a file that changes while it is read is a fault.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterator
from pathlib import Path

from satchel.core.cutting import CDC1, FIXED4M, StreamCutter
from satchel.core.errors import BlockMismatch, FileChanging, FileUnreadable, LimitExceeded
from satchel.core.hashing import Block, block_hash, content_hash, pack_blocks, unpack_blocks
from satchel.core.ids import BlockHash
from satchel.core.limits import BLOCKS_PER_COMMIT_MAX, MIB
from satchel.core.messages import Content
from satchel.device.carrying.sources import State
from satchel.device.ports import OutgoingBlock
from satchel.device.wire_blocks import shut

PIECE_BYTES = 8 * MIB
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_content(path: Path, state: State) -> Content:
    """Return the content of a file, by reading all of it.

    Raises: FileChanging, FileUnreadable, LimitExceeded, BlockMismatch (it is not what `state.content` says).
    """
    content = _content(path, CDC1)
    if state.content and content.content_hash.hex() != state.content:
        other = _content(path, FIXED4M)
        if other.content_hash.hex() != state.content:
            raise BlockMismatch(
                "The file is not the one that was written here.",
                expected=state.content,
                actual=content.content_hash.hex(),
            )
    return content


def read_blocks(path: Path, content: Content, wanted: Container[BlockHash]) -> Iterator[OutgoingBlock]:
    """Yield those of a file's blocks that are wanted, each once, as they are sent.

    Raises: FileChanging, FileUnreadable.
    """
    seen: set[BlockHash] = set()
    handle = _opened(path)
    try:
        at = 0
        for block in unpack_blocks(content.blocks):
            if block.hash in wanted and block.hash not in seen:
                seen.add(block.hash)
                data = os.pread(handle, block.size, at)
                if len(data) != block.size or block_hash(data) != block.hash:
                    raise FileChanging("The file changed while it was being sent.", path=str(path))
                yield shut(block.hash, data)
            at += block.size
    finally:
        os.close(handle)


def _content(path: Path, cutter_name: str) -> Content:
    handle = _opened(path)
    try:
        before = os.fstat(handle)
        cutter, blocks, at = StreamCutter(cutter_name), list[Block](), 0
        while at < before.st_size:
            piece = os.pread(handle, PIECE_BYTES, at)
            if not piece:
                raise FileChanging("The file became shorter while it was read.", path=str(path))
            at += len(piece)
            views = cutter.feed_blocks(piece, is_last=at >= before.st_size)
            blocks += [Block(block_hash(view), len(view)) for view in views]
            _require_few(blocks, path)
        after = os.fstat(handle)
    finally:
        os.close(handle)
    if at != after.st_size or (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size):
        raise FileChanging("The file changed while it was read.", path=str(path))
    return Content(content_hash(block.hash for block in blocks), pack_blocks(blocks), at, cutter_name)


def _require_few(blocks: list[Block], path: Path) -> None:
    if len(blocks) > BLOCKS_PER_COMMIT_MAX:
        raise LimitExceeded(
            f"{path} has too many blocks for one commit.",
            limit="BLOCKS_PER_COMMIT_MAX",
            maximum=BLOCKS_PER_COMMIT_MAX,
            actual=len(blocks),
        )


def _opened(path: Path) -> int:
    try:
        handle = os.open(path, _FLAGS)
    except OSError as error:
        raise FileUnreadable(f"{path}: {error.strerror}.", path=str(path), reason=error.strerror or "") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FileUnreadable(f"{path} is no file any more.", path=str(path), reason="kind")
    return handle
