"""A zip archive that is written while it is sent. Invariant: nothing is known of it before; what is kept is one small,
packed line for each entry, so a million files take about 20 MB.

Entries are stored, not compressed: what compresses was compressed for the disk and is opened as it passes. Names are
UTF-8 and cannot lead out of the folder that the archive is opened in. Source: PKWARE APPNOTE 6.3.
"""

from __future__ import annotations

import datetime
import re
import struct
import zlib
from collections.abc import Iterator

_LOCAL, _DESCRIPTOR, _CENTRAL = 0x04034B50, 0x08074B50, 0x02014B50
_END, _END_64, _LOCATOR_64 = 0x06054B50, 0x06064B50, 0x07064B50
_FLAGS = 0x0008 | 0x0800
"""Length and checksum follow the bytes; the name is UTF-8."""
_FULL_32, _FULL_16 = 0xFFFFFFFF, 0xFFFF
_VERSION, _VERSION_64 = 20, 45
_UNIX = 3 << 8
_ATTRIBUTES = {"file": 0o100644, "program": 0o100755, "folder": 0o040755}
_UNSAFE = re.compile("[\\\\\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]|^[A-Za-z](?=:)")
READ_BYTES = 64 * 1024


def safe_name(name: str, node_id: bytes) -> str:
    """Return a name for inside the archive. One that had to change holds a part of the id, so that no two are equal."""
    changed = _UNSAFE.sub("_", name)
    return name if changed == name else f"{changed}~{node_id[-4:].hex()}"


class ZipWriter:
    """Returns the bytes of an archive piece by piece; the caller sends each before it asks for the next."""

    def __init__(self) -> None:
        self._at = 0
        self._packing = zlib.compressobj(1)
        self._packed: list[bytes] = []
        self._central_size = self.count = 0
        self._name, self._start, self._left, self._sum = b"", 0, 0, 0
        self._size, self._stamp, self._kind = 0, (0, 0), ""

    def begin(self, name: str, *, size: int, mtime_ns: int, is_executable: bool = False) -> bytes:
        """Return what stands before a file's bytes. size: how many `take` will be given."""
        return self._begin(name.encode(), "program" if is_executable else "file", size, mtime_ns)

    def take(self, piece: bytes) -> bytes:
        """Return the next bytes of the file that was begun."""
        self._left -= len(piece)
        assert self._left >= 0, "more bytes than were said"
        self._sum = zlib.crc32(piece, self._sum)
        self._at += len(piece)
        return piece

    def end(self) -> bytes:
        """Return what stands after a file's bytes, which must be all there."""
        assert self._left == 0, "fewer bytes than were said"
        form = "<LLQQ" if self._size >= _FULL_32 else "<LLLL"
        told = struct.pack(form, _DESCRIPTOR, self._sum, self._size, self._size)
        self._at += len(told)
        self._note()
        return told

    def folder(self, name: str, *, mtime_ns: int) -> bytes:
        """Return the entry of a folder."""
        return self._begin(f"{name}/".encode(), "folder", 0, mtime_ns) + self.end()

    def finish(self) -> Iterator[bytes]:
        """Yield the archive's table of contents and its end."""
        start = self._at
        self._packed.append(self._packing.flush())
        opening = zlib.decompressobj()
        for packed in self._packed:
            while packed:
                yield opening.decompress(packed, READ_BYTES)
                packed = opening.unconsumed_tail
        yield opening.flush()
        yield self._last(start, self._central_size)

    def _begin(self, name: bytes, kind: str, size: int, mtime_ns: int) -> bytes:
        assert not self._left and len(name) <= _FULL_16
        self._name, self._start, self._left, self._sum = name, self._at, size, 0
        self._size, self._stamp, self._kind = size, _stamp(mtime_ns), kind
        is_long = size >= _FULL_32
        extra = struct.pack("<HHQQ", 1, 16, 0, 0) if is_long else b""
        length, version = (_FULL_32, _VERSION_64) if is_long else (0, _VERSION)
        head = struct.pack(
            "<LHHHHHLLLHH", _LOCAL, version, _FLAGS, 0, *self._stamp, 0, length, length, len(name), len(extra)
        )
        self._at += len(head) + len(name) + len(extra)
        return head + name + extra

    def _note(self) -> None:
        """Keep the entry's line of the table of contents."""
        longer = [value for value in (self._size, self._size, self._start) if value >= _FULL_32]
        extra = struct.pack(f"<HH{len(longer)}Q", 1, 8 * len(longer), *longer) if longer else b""
        size, start = min(self._size, _FULL_32), min(self._start, _FULL_32)
        version = _VERSION_64 if longer else _VERSION
        attributes = _ATTRIBUTES[self._kind] << 16 | (0x10 if self._kind == "folder" else 0)
        head = struct.pack(
            "<LHHHHHHLLLHHHHHLL",
            *(_CENTRAL, _UNIX | version, version, _FLAGS, 0, *self._stamp, self._sum, size, size),
            *(len(self._name), len(extra), 0, 0, 0, attributes, start),
        )
        self._central_size += len(head) + len(self._name) + len(extra)
        self._packed.append(self._packing.compress(head + self._name + extra))
        if not self._packed[-1]:
            self._packed.pop()
        self.count += 1

    def _last(self, start: int, size: int) -> bytes:
        told = b""
        if self.count >= _FULL_16 or start >= _FULL_32 or size >= _FULL_32:
            at = start + size
            told = struct.pack(
                "<LQHHLLQQQQ",
                *(_END_64, 44, _UNIX | _VERSION_64, _VERSION_64, 0, 0, self.count, self.count, size, start),
            )
            told += struct.pack("<LLQL", _LOCATOR_64, 0, at, 1)
        count = min(self.count, _FULL_16)
        return told + struct.pack("<LHHHHLLH", _END, 0, 0, count, count, min(size, _FULL_32), min(start, _FULL_32), 0)


def _stamp(mtime_ns: int) -> tuple[int, int]:
    """Return time and date as an archive holds them, in UTC: two-second steps from 1980 to 2107."""
    seconds = min(max(mtime_ns // 1_000_000_000, 315_532_800), 4_354_819_198)
    when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    time = when.hour << 11 | when.minute << 5 | when.second // 2
    return time, (when.year - 1980) << 9 | when.month << 5 | when.day
