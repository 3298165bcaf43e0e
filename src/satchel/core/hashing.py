"""Names of bytes. A block is named by SHA-256 of its bytes; a content hash is SHA-256 over the block hashes in order.

The content hash names the blocklist (it is the manifest's id). An empty file has an empty blocklist.
A packed blocklist is `hash, 32 bytes | length, 4 bytes big-endian` per block. Source: docs/design/030.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from satchel.core.errors import MessageInvalid
from satchel.core.ids import HASH_BYTES, BlockHash, ContentHash
from satchel.core.limits import BLOCK_BYTES_MAX

PACKED_BYTES = HASH_BYTES + 4
_PACKED = struct.Struct(">32sI")


class Block(NamedTuple):
    """One block of a file: its name and its length in bytes."""

    hash: BlockHash
    size: int


def block_hash(data: bytes | memoryview) -> BlockHash:
    """Return the block's name."""
    return BlockHash(hashlib.sha256(data).digest())


def content_hash(hashes: Iterable[bytes]) -> ContentHash:
    """Return the content hash of the blocks in file order."""
    return ContentHash(hashlib.sha256(b"".join(hashes)).digest())


EMPTY_CONTENT = content_hash(())
"""Content hash of an empty file."""


def pack_blocks(blocks: Iterable[Block]) -> bytes:
    """Return the packed blocklist."""
    return b"".join(block.hash + block.size.to_bytes(4, "big") for block in blocks)


def unpack_blocks(packed: bytes) -> list[Block]:
    """Return the blocks of a packed blocklist. Raises: MessageInvalid for a wrong length or a block out of bounds."""
    if len(packed) % PACKED_BYTES:
        raise MessageInvalid("A blocklist has a broken length.", reason="blocklist")
    blocks = [Block(BlockHash(name), size) for name, size in _PACKED.iter_unpack(packed)]
    if any(not 0 < block.size <= BLOCK_BYTES_MAX for block in blocks):
        raise MessageInvalid("A blocklist names a block of an impossible length.", reason="blocklist")
    return blocks


def packed_hashes(packed: bytes) -> Iterator[BlockHash]:
    """Yield the hashes of a packed blocklist, in file order."""
    for at in range(0, len(packed), PACKED_BYTES):
        yield BlockHash(packed[at : at + HASH_BYTES])


def packed_content_hash(packed: bytes) -> ContentHash:
    """Return the content hash of a packed blocklist."""
    return content_hash(packed_hashes(packed))
