"""Blocks as they travel, on the device's side. Invariant: what opens has the declared length and hashes to its name.

zstd level 3 where that saves at least 3 %, else raw; the declared length bounds the output before anything is
decompressed, and no reply of a server is believed. Source: docs/design/030 (blocks), 060 rule 8.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import zstandard

from satchel.core.errors import BlockMismatch, LimitExceeded, MessageInvalid
from satchel.core.hashing import block_hash
from satchel.core.ids import BlockHash
from satchel.core.limits import BLOCK_BYTES_MAX
from satchel.core.messages import CODEC_RAW, CODEC_ZSTD, WireBlock
from satchel.device.ports import OutgoingBlock

ZSTD_LEVEL = 3
SAVING_PERCENT_MIN = 3
COMPRESSED_BYTES_MIN = 64
"""Shorter blocks travel raw: the frame costs what it saves."""

_local = threading.local()


def shut(name: BlockHash, data: bytes) -> OutgoingBlock:
    """Return `data`, whose hash is `name`, as it is sent."""
    if len(data) >= COMPRESSED_BYTES_MIN:
        squeezed = _compressor().compress(data)
        if len(squeezed) * 100 <= len(data) * (100 - SAVING_PERCENT_MIN):
            return OutgoingBlock(name, len(data), CODEC_ZSTD, squeezed)
    return OutgoingBlock(name, len(data), CODEC_RAW, data)


def wire(block: OutgoingBlock) -> WireBlock:
    """Return what the frame's header says of the block."""
    return WireBlock(block.hash, block.size, block.codec, len(block.body))


def opened(block: WireBlock, body: memoryview) -> bytes:
    """Return the block's own bytes, verified. Raises: LimitExceeded, BlockMismatch."""
    if not 0 < block.size <= BLOCK_BYTES_MAX:
        raise LimitExceeded("A block is too long.", limit="block_bytes", maximum=BLOCK_BYTES_MAX, actual=block.size)
    if len(body) != block.stored_size:
        raise BlockMismatch("A block's body has another length.", expected=block.stored_size, actual=len(body))
    data = _decompressed(block, body) if block.codec == CODEC_ZSTD else bytes(body)
    if block.codec not in (CODEC_RAW, CODEC_ZSTD):
        raise BlockMismatch("A block has an unknown codec.", expected=block.hash.hex(), actual=f"codec {block.codec}")
    if len(data) != block.size:
        raise BlockMismatch("A block has another length than declared.", expected=block.size, actual=len(data))
    actual = block_hash(data)
    if actual != block.hash:
        raise BlockMismatch("A block does not have its hash.", expected=block.hash.hex(), actual=actual.hex())
    return data


def opened_all(blocks: Sequence[WireBlock], bodies: Sequence[memoryview]) -> dict[BlockHash, bytes]:
    """Return all blocks of a frame by name, verified. Raises: MessageInvalid, LimitExceeded, BlockMismatch."""
    if len(blocks) != len(bodies):
        raise MessageInvalid("A frame has other bodies than it names blocks.", reason="bodies")
    return {block.hash: opened(block, body) for block, body in zip(blocks, bodies, strict=True)}


def _decompressed(block: WireBlock, body: memoryview) -> bytes:
    try:
        # The library trusts a length named in the frame over our bound, so that length is compared first.
        named = zstandard.get_frame_parameters(body).content_size
        if named not in (block.size, zstandard.CONTENTSIZE_UNKNOWN):
            raise BlockMismatch("A block's frame names another length.", expected=block.size, actual=named)
        return _decompressor().decompress(body, max_output_size=block.size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BlockMismatch("A block does not decompress.", expected=block.hash.hex(), actual=str(error)) from error


def _compressor() -> zstandard.ZstdCompressor:
    # One serves a single thread at a time, and making one costs more than compressing a small block.
    made: zstandard.ZstdCompressor | None = getattr(_local, "compressor", None)
    if made is None:
        made = _local.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    return made


def _decompressor() -> zstandard.ZstdDecompressor:
    made: zstandard.ZstdDecompressor | None = getattr(_local, "decompressor", None)
    if made is None:
        made = _local.decompressor = zstandard.ZstdDecompressor()
    return made
