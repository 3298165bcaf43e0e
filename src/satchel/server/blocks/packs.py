"""The format of a pack: records one after another. Invariant: every whole record can be found by walking from byte 0.

A record is `SBK1 | hash, 32 bytes | size, 4 | stored size, 4 | codec, 1 | CRC-32 of these, 4 | bytes as stored`, all
numbers big-endian. Rows in `blocks` point at the bytes; the headers are for fsck alone. A torn tail ends the walk.
Source: docs/design/030.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from satchel.core.errors import StorageFailed
from satchel.core.ids import ID_BYTES, BlockHash, PackId
from satchel.core.limits import BLOCK_BYTES_MAX
from satchel.core.messages import CODEC_ZSTD, WireBlock

MAGIC = b"SBK1"
PREFIX = "packs/"
_FIELDS = struct.Struct(">4s32sIIB")
_CHECK = struct.Struct(">I")
HEADER_BYTES = _FIELDS.size + _CHECK.size

Bytes = bytes | memoryview


class Record(NamedTuple):
    """One block in a pack. offset: of its bytes as stored, from the pack's beginning."""

    hash: BlockHash
    size: int
    stored_size: int
    codec: int
    offset: int


def pack_name(pack_id: PackId) -> str:
    """Return the object's name of a pack."""
    text = pack_id.hex()
    return f"{PREFIX}{text[-2:]}/{text}"


def pack_id_of(name: str) -> PackId:
    """Return the id in a pack's name. Raises: StorageFailed for a name that no pack has."""
    text = name.rpartition("/")[2]
    try:
        pack_id = PackId(bytes.fromhex(text))
    except ValueError:
        pack_id = PackId(b"")
    if len(pack_id) != ID_BYTES or pack_name(pack_id) != name:
        raise StorageFailed("A stored object has a name that no pack has.", where=name, reason="name")
    return pack_id


def build(blocks: Sequence[tuple[WireBlock, Bytes]]) -> tuple[list[Bytes], list[int]]:
    """Return the pieces to store and, for each block, the offset of its bytes from the first piece's first byte."""
    pieces: list[Bytes] = []
    offsets: list[int] = []
    at = 0
    for wire, body in blocks:
        fields = _FIELDS.pack(MAGIC, wire.hash, wire.size, len(body), wire.codec)
        pieces.append(fields + _CHECK.pack(zlib.crc32(fields)))
        pieces.append(body)
        offsets.append(at + HEADER_BYTES)
        at += HEADER_BYTES + len(body)
    return pieces, offsets


def records(data: Bytes) -> Iterator[Record]:
    """Yield the whole records of a pack's bytes, in order. Stops at the first that is torn or is no record."""
    at = 0
    while at + HEADER_BYTES <= len(data):
        header = bytes(data[at : at + HEADER_BYTES])
        magic, hash_, size, stored_size, codec = _FIELDS.unpack_from(header)
        (check,) = _CHECK.unpack_from(header, _FIELDS.size)
        if magic != MAGIC or check != zlib.crc32(header[: _FIELDS.size]):
            return
        at += HEADER_BYTES
        if size > BLOCK_BYTES_MAX or codec > CODEC_ZSTD or at + stored_size > len(data):
            return
        yield Record(BlockHash(hash_), size, stored_size, codec, at)
        at += stored_size
