"""Local files and remote content for the tests of the device's transfer."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from satchel.core.cutting import cut
from satchel.core.hashing import Block, block_hash, content_hash, pack_blocks
from satchel.core.ids import ContentHash
from satchel.device.disk import LocalDisk


@functools.lru_cache(maxsize=4)
def noise(size: int, seed: int = 1) -> bytes:
    """Return `size` bytes that do not compress and follow from the seed alone."""
    return hashlib.shake_256(b"%d" % seed).digest(size)


def words(size: int) -> bytes:
    """Return `size` bytes that compress well."""
    return (b"the quick brown fox jumps over the lazy dog\n" * (size // 44 + 1))[:size]


def blocks_of(data: bytes) -> list[Block]:
    """Return the blocks of a file's content."""
    blocks, at = [], 0
    for length in cut(data):
        blocks.append(Block(block_hash(data[at : at + length]), length))
        at += length
    return blocks


def content_of(data: bytes) -> tuple[ContentHash, bytes]:
    """Return (content hash, packed blocklist) of a file's content."""
    blocks = blocks_of(data)
    return content_hash(block.hash for block in blocks), pack_blocks(blocks)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Change a file in place, as a program with an open file does."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def new_disk(folder: Path) -> LocalDisk:
    """Return a linked folder, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    LocalDisk.initialise(os.fsencode(folder))
    return LocalDisk(os.fsencode(folder), free_bytes_min=0)
