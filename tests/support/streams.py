"""Deterministic test bytes that any language can make: SHA-256 of a label and a counter, one digest after another."""

from __future__ import annotations

import hashlib


def counter_stream(label: str, size: int) -> bytes:
    """Return `size` bytes: SHA-256(label as UTF-8, then the counter as 8 bytes big-endian) for 0, 1, 2 and on."""
    told, digest = label.encode(), hashlib.sha256
    pieces = [digest(told + counter.to_bytes(8, "big")).digest() for counter in range(-(-size // 32))]
    return b"".join(pieces)[:size]


def low_entropy(label: str, size: int) -> bytes:
    """Return text-like bytes: the counter stream with every byte reduced to four values."""
    return counter_stream(label, size).translate(bytes(b"abc\n"[value & 3] for value in range(256)))
