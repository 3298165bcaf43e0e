"""The cutter `cdc1` in plain Python. Invariant: it cuts exactly as `cutting` does; it exists to be read and to check.

FastCDC-2020 (Xia et al., IEEE TPDS 31/9): a gear hash rolls over the bytes; where it has zeros under a mask, a block
ends before that byte. Before the average size the mask is stricter, after it laxer ("normalisation"), so sizes gather
around the average. The paper's bytes go in pairs; byte by byte is the same, but an odd last byte is never looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

BYTES_MIN = 256 * 1024
BYTES_AVERAGE = 1024 * 1024
BYTES_MAX = 4 * 1024 * 1024
SINGLE_BYTES_MAX = 512 * 1024

MASK_STRICT = 0x0000_D937_6753_7000
"""22 bits set among the upper ones: average 2**20, normalisation 2. Used up to the average size."""
MASK_LAX = 0x0000_D907_0753_7000
"""18 bits. Used from the average size on."""

_WORD = (1 << 64) - 1

GEAR = tuple(
    int.from_bytes(hashlib.md5(bytes([value]) * 64, usedforsecurity=False).digest()[:8], "big") for value in range(256)
)
"""One random word per byte value: the first 8 bytes of the MD5 of 64 such bytes."""


def reference_cut(data: bytes) -> list[int]:
    """Return the lengths of the blocks of a whole file, in order. Slow: about 10 MB a second."""
    if len(data) <= SINGLE_BYTES_MAX:
        return [len(data)] if data else []
    return list(_cdc_lengths(data))


def _cdc_lengths(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        length = _first_length(data, at)
        yield length
        at += length


def _first_length(data: bytes, start: int) -> int:
    """Return the length of the block that begins at `start`."""
    room = min(len(data) - start, BYTES_MAX)
    if room <= BYTES_MIN:
        return room
    even = room & ~1
    turn = min(BYTES_AVERAGE, even)
    gear, word, rolled = GEAR, _WORD, 0
    for mask, first, end in ((MASK_STRICT, BYTES_MIN, turn), (MASK_LAX, turn, even)):
        for at in range(start + first, start + end):
            rolled = ((rolled << 1) + gear[data[at]]) & word
            if not rolled & mask:
                return at - start
    return room
