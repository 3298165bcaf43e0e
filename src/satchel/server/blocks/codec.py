"""Bytes of a block as they travel and rest. Invariant: what opens has the declared length and hashes to its name.

zstd level 3 where that saves at least 3 %, else raw; the declared length bounds the output before anything is
decompressed. Source: docs/design/030 (blocks and packs).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import zstandard

from satchel.core.errors import BlockMismatch, LimitExceeded
from satchel.core.hashing import block_hash
from satchel.core.limits import BLOCK_BYTES_MAX
from satchel.core.messages import CODEC_RAW, CODEC_ZSTD, WireBlock

LEVEL = 3
SAVING_MIN = 0.03
PROBE_BYTES_MIN = 64
"""Shorter blocks stay raw: the frame costs what it saves."""

FRAME_BYTES_MAX = 512
"""What a zstd frame may add; without a bound, empty parts could fill the disk in the name of one byte."""

_local = threading.local()


def shut_block(data: bytes | memoryview) -> tuple[WireBlock, bytes | memoryview]:
    """Return the block of `data` (at most 4 MiB) as it is stored."""
    name = block_hash(data)
    if len(data) >= PROBE_BYTES_MIN:
        squeezed = _compressor().compress(data)
        if len(squeezed) <= len(data) * (1 - SAVING_MIN):
            return WireBlock(name, len(data), CODEC_ZSTD, len(squeezed)), squeezed
    return WireBlock(name, len(data), CODEC_RAW, len(data)), data


def open_block(wire: WireBlock, body: bytes | memoryview) -> bytes | memoryview:
    """Return the block's own bytes, of the declared length but not yet hashed.

    Raises: LimitExceeded, BlockMismatch (a frame that does not decompress to the declared length).
    """
    if not 0 < wire.size <= BLOCK_BYTES_MAX:
        raise LimitExceeded("A block is too long.", limit="BLOCK_BYTES_MAX", maximum=BLOCK_BYTES_MAX, actual=wire.size)
    if wire.codec == CODEC_RAW:
        data: bytes | memoryview = body
    elif wire.codec == CODEC_ZSTD:
        data = _decompressed(wire, body)
    else:
        raise BlockMismatch("A block has an unknown codec.", expected=wire.hash.hex(), actual=f"codec {wire.codec}")
    if len(data) != wire.size:
        raise BlockMismatch("A block has another length than declared.", expected=wire.size, actual=len(data))
    return data


def verify_block(wire: WireBlock, body: bytes | memoryview) -> None:
    """Return if the body is the block it says. Raises: LimitExceeded, BlockMismatch."""
    if len(body) > wire.size + wire.size // 128 + FRAME_BYTES_MAX:
        raise BlockMismatch("A block is padded past what zstd adds.", expected=wire.size, actual=len(body))
    if len(body) != wire.stored_size:
        raise BlockMismatch("A block's body has another length.", expected=wire.stored_size, actual=len(body))
    actual = block_hash(open_block(wire, body))
    if actual != wire.hash:
        raise BlockMismatch("A block does not have its hash.", expected=wire.hash.hex(), actual=actual.hex())


def verify_blocks(blocks: Sequence[tuple[WireBlock, bytes | memoryview]]) -> None:
    """As `verify_block`, for each; the first that is wrong raises."""
    for wire, body in blocks:
        verify_block(wire, body)


def _decompressed(wire: WireBlock, body: bytes | memoryview) -> bytes:
    try:
        # The library trusts a length named in the frame over our bound, so that length is compared first.
        named = zstandard.get_frame_parameters(body).content_size
        if named not in (wire.size, zstandard.CONTENTSIZE_UNKNOWN):
            raise BlockMismatch("A block's frame names another length.", expected=wire.size, actual=named)
        return _decompressor().decompress(body, max_output_size=wire.size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BlockMismatch("A block does not decompress.", expected=wire.hash.hex(), actual=str(error)) from error


def _compressor() -> zstandard.ZstdCompressor:
    # A compressor serves one thread at a time; making one costs more than compressing a small block.
    made = getattr(_local, "compressor", None)
    if made is None:
        made = _local.compressor = zstandard.ZstdCompressor(level=LEVEL)
    return made


def _decompressor() -> zstandard.ZstdDecompressor:
    made = getattr(_local, "decompressor", None)
    if made is None:
        made = _local.decompressor = zstandard.ZstdDecompressor()
    return made
