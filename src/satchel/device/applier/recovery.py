"""What is looked at again: staging after a crash, and files that a late writer may still hold.

Invariant: staging is empty afterwards, and only downloads were thrown away: what was set aside goes back, and bytes
that are not provably elsewhere stay in the linked folder as copies. Source: docs/design/040, rule 2.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Protocol

from satchel.core.cutting import StreamCutter
from satchel.core.entries import Kind
from satchel.core.errors import Fault, NameTaken
from satchel.core.hashing import block_hash, content_hash
from satchel.core.ids import ContentHash
from satchel.core.limits import MIB
from satchel.device.applier.hands import Hands
from satchel.device.applier.names import DOWNLOAD_PREFIX, origin_name
from satchel.device.applier.unit import join_staged
from satchel.device.ports import DiskPath, Listed, Stat

READ_BYTES = 8 * MIB

IsKnown = Callable[[ContentHash], bool]
"""Tells whether a content is provably elsewhere: committed to the service, or recorded as what the service holds."""


class _Readable(Protocol):
    async def read(self, offset: int, length: int) -> bytes: ...


async def content_of(file: _Readable) -> ContentHash:
    """Read a file to its end and return its content hash. Raises: FileUnreadable."""
    cutter = StreamCutter()
    hashes: list[bytes] = []
    offset = 0
    while True:
        data = await file.read(offset, READ_BYTES)
        offset += len(data)
        hashes += [block_hash(block) for block in cutter.feed_blocks(data, is_last=not data)]
        if not data:
            return content_hash(hashes)


async def empty_staging(
    hands: Hands, is_known: IsKnown, *, is_start: bool = True
) -> tuple[list[DiskPath], Fault | None]:
    """Decide on everything that a crash left in staging; is_start: on downloads too, which nobody waits for then.

    Each is decided on alone. Result: where things were put back, to be looked at; and the first fault, after the rest
    is done: what it was about is still in staging. Raises: the disk's faults when nothing was done.
    """
    found: list[DiskPath] = []
    fault: Fault | None = None
    for one in await hands.fs.list_staged():
        if not is_start and one.name.startswith(DOWNLOAD_PREFIX.encode()):
            continue
        try:
            path = await _settle(hands, os.fsdecode(one.name), one, is_known)
        except Fault as error:
            fault = fault or error
            continue
        if path is not None:
            found.append(path)
    try:
        await hands.touched.sync(hands.fs)
    except Fault as error:
        fault = fault or error
    return found, fault


async def _settle(hands: Hands, name: str, one: Listed, is_known: IsKnown) -> DiskPath | None:
    if name.startswith(DOWNLOAD_PREFIX):
        await hands.fs.discard_staged(name)
        return None
    origin = await hands.fs.origin_of_staged(name)
    if origin is None and one.stat.kind == Kind.FILE and await _is_known_file(hands, name, is_known):
        # Not deleted even so: the trash costs nothing for thirty days.
        await hands.fs.trash_staged(name)
        hands.touched.trashed()
        return None
    if origin is not None and one.stat.kind == Kind.FOLDER:
        there = await hands.fs.stat(origin)
        if there is not None and there.kind == Kind.FOLDER:
            # Part of it was put back before the crash, or its folder was made anew.
            await join_staged(hands, name, origin)
            await hands.touched.sync(hands.fs)
            await hands.fs.trash_staged(name)
            hands.touched.trashed()
            return origin
    path, _ = await hands.restore_staged(name, _places(hands, name, origin))
    return path


async def _is_known_file(hands: Hands, name: str, is_known: IsKnown) -> bool:
    file = await hands.fs.open_staged(name)
    try:
        return is_known(await content_of(file))
    finally:
        await file.close()


def _places(hands: Hands, name: str, origin: DiskPath | None) -> Iterable[DiskPath]:
    """Yield where it stood, if that is known, then names that say what happened."""
    if origin is not None:
        yield origin
    yield from hands.beside(origin or DiskPath(origin_name(name)), b"recovered")


async def changed_since_trashed(hands: Hands, name: str, stat: Stat) -> bool:
    """True when the trashed file is no longer as it was when it was swapped out: a late writer still held it."""
    seen = await hands.fs.stat_trashed(name)
    return seen is not None and not seen.same_file(stat)


async def hash_trashed(hands: Hands, name: str) -> ContentHash:
    """Return the content hash of a file in the trash. Raises: NotFound, FileUnreadable."""
    file = await hands.fs.open_trashed(name)
    try:
        return await content_of(file)
    finally:
        await file.close()


async def rescue(hands: Hands, name: str, path: DiskPath) -> tuple[DiskPath, Stat]:
    """Bring a trashed file back as a conflicted copy beside `path`. Durable. Result: where, and its stat there.

    Raises: NotFound when it is not in the trash, or the folder is gone.
    """
    for place in hands.beside(path, b"conflicted copy"):
        try:
            stat = await hands.fs.restore_trashed(name, b"", place)
        except NameTaken:
            continue
        hands.touched.arrived(place)
        await hands.touched.sync(hands.fs)
        return place, stat
    raise NameTaken("No free name is left for a copy.", path=path)
