"""Blocks in a repository: many in a file, each a part of its own, each file with a list of what it holds.

Invariant: a file of blocks stands before its list does, and neither is ever changed. A list that is missing or damaged
costs a look into the file, never a block. One part that is damaged takes no other with it.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

import msgspec

from satchel.core.errors import BlockMismatch, LimitExceeded
from satchel.core.ids import HASH_BYTES, BlockHash
from satchel.core.limits import MIB
from satchel.core.messages import WireBlock
from satchel.server.blocks.codec import verify_block
from satchel.server.blocks.refs import PlacedBlock
from satchel.server.db.engine import Row
from satchel.server.upkeep.backup.repository import BLOCKS, NAMES_SUFFIX, Repository
from satchel.server.upkeep.backup.sealing import Sealer
from satchel.server.upkeep.backup.tables import BY_NAME

FILE_BYTES = 64 * MIB
"""A file is closed at this length: few files for a large store, little that a cut run has to copy again."""

_HEAD = struct.Struct(f">{HASH_BYTES}sIB")


class _Names(msgspec.Struct, frozen=True):
    """Which blocks a file holds. size: its length in bytes; hashes: one after another."""

    size: int
    hashes: bytes


class Stored(NamedTuple):
    """One block out of a repository or a store, verified."""

    wire: WireBlock
    body: bytes

    @classmethod
    def of(cls, block: PlacedBlock, body: bytes) -> Stored:
        """Return a block that was read out of a store."""
        return cls(WireBlock(block.hash, block.size, block.codec, block.stored_size), body)


_BLOCK_COLUMNS = ("block_hash", "size", "stored_size", "codec", "pack_id", "pack_offset")
_BLOCK_PLACES = tuple([BY_NAME["blocks"].columns.index(name) for name in _BLOCK_COLUMNS])


def placed_blocks(rows: Sequence[Row]) -> list[PlacedBlock]:
    """Return the blocks of rows of their table."""
    return [PlacedBlock(*(row[place] for place in _BLOCK_PLACES)) for row in rows]


class BlockWriter:
    """Puts blocks into files of about FILE_BYTES. Used on threads, one call at a time.

    Raises: StorageFull, StorageFailed. After a fault nothing more is to be written; whole files count.
    """

    def __init__(self, repository: Repository, file_bytes: int = FILE_BYTES) -> None:
        self._repository = repository
        self._file_bytes = file_bytes
        self._open = contextlib.ExitStack()
        self._sealer: Sealer | None = None
        self._name = ""
        self._hashes: list[BlockHash] = []
        self._size = 0

    def add(self, blocks: Sequence[Stored]) -> None:
        """Add blocks, each verified by the caller."""
        for wire, body in blocks:
            if self._sealer is None:
                file_id = self._repository.new_id().hex()
                self._name = f"{BLOCKS}/{file_id[-2:]}/{file_id}"
                self._sealer = self._open.enter_context(self._repository.writing(self._name))
            self._sealer.write(_HEAD.pack(wire.hash, wire.size, wire.codec) + body)
            self._hashes.append(wire.hash)
            self._size += len(body)
            if self._size >= self._file_bytes:
                self.flush()

    def flush(self) -> None:
        """Make what was added durable; it counts from here on."""
        if self._sealer is None:
            return
        self._open.close()
        hashes, self._hashes, self._sealer, self._size = self._hashes, [], None, 0
        write_names(self._repository, self._name, hashes)

    def __enter__(self) -> BlockWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up a file that was not flushed."""
        self._open.__exit__(kind or _GivenUp, error or _GivenUp(), trace)


class _GivenUp(Exception):
    """A file is not to be kept."""


def write_names(repository: Repository, name: str, hashes: Sequence[BlockHash]) -> None:
    """Write the list of a file of blocks."""
    listed = _Names(repository.size(name), b"".join(hashes))
    repository.write_whole(name + NAMES_SUFFIX, msgspec.msgpack.encode(listed))


def block_files(repository: Repository) -> list[str]:
    """Return the names of all files of blocks, oldest first within each folder."""
    return [
        name
        for folder in repository.block_folders()
        for name in repository.listed(folder)
        if not name.endswith(NAMES_SUFFIX)
    ]


def named_in(repository: Repository, name: str) -> list[BlockHash] | None:
    """Return which blocks a file holds by its list; None when that says nothing, or the file is not as it was."""
    raw = repository.read_whole(name + NAMES_SUFFIX)
    try:
        listed = msgspec.msgpack.decode(raw or b"", type=_Names)
    except msgspec.DecodeError:
        return None
    if listed.size != repository.size(name):
        return None
    return [BlockHash(listed.hashes[at : at + HASH_BYTES]) for at in range(0, len(listed.hashes), HASH_BYTES)]


def blocks_in(repository: Repository, name: str) -> Iterator[Stored | None]:
    """Yield the blocks of a file, each verified by its hash, None for a part that is not one."""
    for part in repository.parts(name):
        yield None if part is None else _verified(part)


def _verified(part: bytes) -> Stored | None:
    if len(part) < _HEAD.size:
        return None
    hash_, size, codec = _HEAD.unpack_from(part)
    body = part[_HEAD.size :]
    wire = WireBlock(BlockHash(hash_), size, codec, len(body))
    try:
        verify_block(wire, body)
    except (BlockMismatch, LimitExceeded):
        return None
    return Stored(wire, body)
