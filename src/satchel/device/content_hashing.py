"""The content hash of bytes that come piece by piece. Invariant: it is the one that a scan of the whole file finds."""

from __future__ import annotations

from typing import BinaryIO

from satchel.core.cutting import CDC1, StreamCutter
from satchel.core.hashing import block_hash, content_hash
from satchel.core.ids import BlockHash, ContentHash
from satchel.core.limits import MIB

FED_BYTES = 8 * MIB


class ContentHasher:
    """Feed all pieces in order, then ask once."""

    def __init__(self, cutter: str = CDC1) -> None:
        self._cutter = StreamCutter(cutter)
        self._hashes: list[BlockHash] = []
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes >= FED_BYTES:
            self._cut(is_last=False)

    def finished(self) -> ContentHash:
        """Return the content hash of all that was fed."""
        self._cut(is_last=True)
        return content_hash(self._hashes)

    def _cut(self, *, is_last: bool) -> None:
        blocks = self._cutter.feed_blocks(b"".join(self._waiting), is_last=is_last)
        self._hashes += [block_hash(block) for block in blocks]
        self._waiting, self._waiting_bytes = [], 0


def content_of(file: BinaryIO, cutter: str = CDC1) -> ContentHash:
    """Return the content hash of the rest of an open file."""
    hasher = ContentHasher(cutter)
    while piece := file.read(MIB):
        hasher.feed(piece)
    return hasher.finished()
