"""Reads everything again and compares it with what is known: the files here, or the blocks on the server.

Invariant: nothing is changed and nothing is repaired; each finding names a file. Local: bytes that changed while size,
times and inode stayed are damage (or a write that showed in no stat). Remote: every block is fetched and hashed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from satchel.core.errors import BlockDamaged, BlockMismatch, Fault
from satchel.core.hashing import unpack_blocks
from satchel.core.ids import BlockHash, ContentHash, NamespaceId, Nid
from satchel.core.limits import MIB
from satchel.device.disk_mount import disk_of
from satchel.device.drive import drive
from satchel.device.hashing_files import read_file
from satchel.device.index.beside import RemoteFile, viewing
from satchel.device.index.rows import LocalRow
from satchel.device.links import Link
from satchel.device.ports import Clock, DiskPath, FileSystem, Remote

FILES_AT_ONCE = 500
BATCH_BYTES_MAX = 16 * MIB
BATCH_BLOCKS_MAX = 1_000

Verdict = Literal["damaged", "changed", "gone", "unreadable", "missing"]


class Finding(msgspec.Struct, frozen=True):
    """A file that is not as it is known. path: relative to the linked folder."""

    path: str
    verdict: Verdict
    why: str


class Verified(msgspec.Struct, frozen=True):
    """What a check found. files, bytes: that were read. findings: at most as many as were asked for; count: of all."""

    local: str
    files: int
    bytes: int
    findings: tuple[Finding, ...]
    count: int
    damaged: int


class Tally:
    """Counts what was read, and keeps the first findings."""

    def __init__(self, shown_max: int) -> None:
        self._shown_max = shown_max
        self._shown: list[Finding] = []
        self._count = self._damaged = 0
        self.files = self.bytes = 0

    def found(self, path: bytes | str, verdict: Verdict, why: str) -> None:
        """Note a file that is not as it is known."""
        text = path.decode(errors="backslashreplace") if isinstance(path, bytes) else path.lstrip("/")
        self._count += 1
        self._damaged += verdict in ("damaged", "missing")
        if len(self._shown) < self._shown_max:
            self._shown.append(Finding(text, verdict, why))

    def verified(self, local: str) -> Verified:
        """Return the result."""
        return Verified(local, self.files, self.bytes, tuple(self._shown), self._count, self._damaged)


def verify_local(
    link: Link, state_folder: Path, clock: Clock, *, shown_max: int, progress: Callable[[int], None]
) -> Verified:
    """Read every file of the linked folder and compare it with the index. Raises: NotFound, RootMissing."""
    fs = disk_of(link)
    drive(fs.check_root())
    tally = Tally(shown_max)
    for row, path in _local_files(state_folder):
        drive(_verify_one(fs, row, path, clock, tally))
        progress(row.stat.size)
    return tally.verified(link.local)


def _local_files(state_folder: Path) -> Iterator[tuple[LocalRow, DiskPath]]:
    """Yield the files, page by page, so that no reading transaction is held while files are read."""
    after = Nid(0)
    while True:
        with viewing(state_folder) as view:
            rows = view.reader.files_after(after, FILES_AT_ONCE)
            paths = [view.reader.path_of(row.nid) for row in rows]
        yield from ((row, path) for row, path in zip(rows, paths, strict=True) if path is not None)
        if len(rows) < FILES_AT_ONCE:
            return
        after = rows[-1].nid


async def _verify_one(fs: FileSystem, row: LocalRow, path: DiskPath, clock: Clock, tally: Tally) -> None:
    try:
        stat = await fs.stat(path)
        if stat is None:
            return tally.found(path, "gone", "it is not there; the next look at the disk takes it in")
        # An index that was not sure of the file has ctime 0: then the next look reads it again anyway.
        is_known = stat.same_file(row.stat) and row.stat.ctime_ns in (0, stat.ctime_ns)
        if not is_known:
            return tally.found(path, "changed", "it was changed; the next look at the disk takes it in")
        read = await read_file(fs, path, clock)
    except Fault as fault:
        return tally.found(path, "unreadable", fault.message)
    tally.files += 1
    tally.bytes += read.stat.size
    if read.content != row.content and not row.stat.ctime_ns:
        # Nobody can tell whether it was changed since: the next look reads it again.
        tally.found(path, "changed", "it was changed; the next look at the disk takes it in")
    elif read.content != row.content:
        tally.found(path, "damaged", "its bytes are not those that were synced, though its times say so")
    return None


async def verify_remote(
    link: Link, state_folder: Path, remote: Remote, *, shown_max: int, progress: Callable[[int], None]
) -> Verified:
    """Fetch every block of the remote tree once and check its hash. Raises: NotFound, Unavailable."""
    ns, tally = NamespaceId(bytes.fromhex(link.ns)), Tally(shown_max)
    good: set[BlockHash] = set()
    bad: set[BlockHash] = set()
    async for file, blocks in _remote_files(state_folder, remote, ns, tally):
        wanted = [(block.hash, block.size) for block in unpack_blocks(blocks) if block.hash not in good | bad]
        for batch in _batches(dict(wanted)):
            given = await _fetched(remote, ns, batch)
            good |= given
            bad |= set(batch) - given
        tally.files += 1
        tally.bytes += file.size
        progress(file.size)
        missing = sum(block.hash in bad for block in unpack_blocks(blocks))
        if missing:
            tally.found(file.path, "missing", f"{missing} of its blocks cannot be had from the server")
    return tally.verified(link.local)


async def _fetched(remote: Remote, ns: NamespaceId, batch: list[BlockHash]) -> set[BlockHash]:
    """Return which of the blocks come whole; the remote checks every hash."""
    try:
        return set(await remote.get_blocks(ns, batch))
    except Fault as fault:
        is_damage = isinstance(fault, BlockDamaged | BlockMismatch)
        if fault.retryable and not is_damage:
            raise
        if len(batch) == 1:
            return set()
    # One that is damaged spoils its reply: ask one by one.
    return {block for one in batch for block in await _fetched(remote, ns, [one])}


def _batches(sizes: dict[BlockHash, int]) -> Iterator[list[BlockHash]]:
    batch: list[BlockHash] = []
    size = 0
    for block, size_bytes in sizes.items():
        if batch and (size + size_bytes > BATCH_BYTES_MAX or len(batch) == BATCH_BLOCKS_MAX):
            yield batch
            batch, size = [], 0
        batch.append(block)
        size += size_bytes
    if batch:
        yield batch


async def _remote_files(
    state_folder: Path, remote: Remote, ns: NamespaceId, tally: Tally
) -> AsyncIterator[tuple[RemoteFile, bytes]]:
    """Yield the files of the remote tree with their blocklists."""
    after = Nid(0)
    while True:
        with viewing(state_folder) as view:
            files = view.remote_files_after(after, FILES_AT_ONCE)
        unknown = list(dict.fromkeys(ContentHash(each.content) for each in files if each.blocks is None))
        lists = await remote.manifests(ns, unknown) if unknown else {}
        for each in files:
            blocks = each.blocks if each.blocks is not None else lists.get(ContentHash(each.content))
            if blocks is None:
                tally.found(each.path, "missing", "the server has no list of its blocks")
            else:
                yield each, blocks
        if len(files) < FILES_AT_ONCE:
            return
        after = files[-1].nid
