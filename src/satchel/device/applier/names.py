"""Names that the applier makes. Invariant: a staged name tells what a crash leaves behind, none passes 255 bytes.

In staging: `d-…` a download, `x-…` a download about to be exchanged with a user's file (or that file), `t-…` something
on its way to the trash, `m-…` something between two places. All but the first may be a user's and are kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

from satchel.core.limits import NAME_BYTES_MAX

RANDOM_BYTES = 8
DOWNLOAD_PREFIX = "d-"
KEPT_NAMES_MAX = 10_000
_ORIGIN_BYTES_MAX = 200
_EXTENSION_BYTES_MAX = 16


def precious_name(use: Literal["x", "t", "m"], random: bytes, origin: bytes) -> str:
    """Return a staged name for what may be a user's; it carries the name it stood under, shortened."""
    return os.fsdecode(f"{use}-{random.hex()}.".encode() + origin[:_ORIGIN_BYTES_MAX])


def origin_name(staged: str) -> bytes:
    """Return the name that a precious staged name carries; the staged name itself when it carries none."""
    raw = os.fsencode(staged)
    _, _, origin = raw.partition(b".")
    return origin or raw


def day(now_ns: int) -> bytes:
    """Return the ISO date (UTC) of a Unix time, for names."""
    return datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).date().isoformat().encode()


def labelled_names(name: bytes, label: bytes) -> Iterator[bytes]:
    """Yield `stem (label).ext`, then `stem (label 1).ext` and on; at most 255 bytes each."""
    stem, extension = _split_extension(name)
    for number in range(KEPT_NAMES_MAX):
        counted = b" (" + label + (b" %d" % number if number else b"") + b")"
        yield _shortened(stem, NAME_BYTES_MAX - len(counted) - len(extension)) + counted + extension


def numbered_names(name: bytes) -> Iterator[bytes]:
    """Yield `name` itself, then with a number: before a bracket that closes the stem, else in brackets of its own."""
    yield name
    stem, extension = _split_extension(name)
    bare, closing = (stem[:-1], b")") if stem.endswith(b")") else (stem, b"")
    for number in range(1, KEPT_NAMES_MAX):
        counted = b" %d)" % number if closing else b" (%d)" % number
        yield _shortened(bare, NAME_BYTES_MAX - len(counted) - len(extension)) + counted + extension


def _split_extension(name: bytes) -> tuple[bytes, bytes]:
    """Split off the last extension with its dot; a leading dot hides a file and starts none."""
    stem, dot, extension = name.rpartition(b".")
    is_extension = dot and stem.strip(b".") and 0 < len(extension) <= _EXTENSION_BYTES_MAX and b" " not in extension
    return (stem, dot + extension) if is_extension else (name, b"")


def _shortened(raw: bytes, bytes_max: int) -> bytes:
    """Cut to the length; where the whole is UTF-8, between two characters."""
    if len(raw) <= bytes_max:
        return raw
    try:
        raw.decode()
    except UnicodeDecodeError:
        return raw[:bytes_max]
    return raw[:bytes_max].decode(errors="ignore").encode()
