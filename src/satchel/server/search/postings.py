"""Sets of docs, packed by parts of 4,096. Invariant: a set is a whole number inside, one bit a doc, so that sets are
intersected as fast as memory is read, whatever database they came from.

Packed, a set of few docs is two bytes for each, and any other a bitmap.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce

PART_DOCS = 4_096
LIST_DOCS_MAX = 16
_BITMAP, _LIST = b"\x00", b"\x01"

Parts = Mapping[int, int]
"""By the number of the part, a bit for each of its docs."""


def pack(bits: int) -> bytes:
    """Return one part's docs, packed: at most 513 bytes."""
    if bits.bit_count() <= LIST_DOCS_MAX:
        return _LIST + b"".join([at.to_bytes(2, "little") for at in ones(bits)])
    return _BITMAP + bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def unpack(packed: bytes) -> int:
    """Return what `pack` packed."""
    if packed[:1] == _BITMAP:
        return int.from_bytes(packed[1:], "little")
    listed = array("H", packed[1:])
    if sys.byteorder == "big":
        listed.byteswap()
    return sum([1 << at for at in listed])


def ones(bits: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, the highest first."""
    while bits:
        at = bits.bit_length() - 1
        yield at
        bits ^= 1 << at


def in_all(sets: Iterable[Parts]) -> Parts:
    """Return the docs that are in each of the sets; there is at least one."""
    return reduce(lambda a, b: {part: both for part, bits in a.items() if (both := bits & b.get(part, 0))}, sets)


def in_any(sets: Iterable[Parts]) -> Parts:
    """Return the docs that are in one of the sets."""
    made: dict[int, int] = {}
    for one in sets:
        for part, bits in one.items():
            made[part] = made.get(part, 0) | bits
    return made


def docs_of(parts: Parts) -> Iterator[int]:
    """Yield the docs, the highest first."""
    for part in sorted(parts, reverse=True):
        for at in ones(parts[part]):
            yield part * PART_DOCS + at
