"""Brings what only this disk has out of a shared folder into the person's own files: "Unsynced from NAME".

Invariant: it goes by rename from the trash that both share to a free name, and is forgotten after it has arrived; so a
stop anywhere leaves it in one of the two, and it is brought over at the next start. Nothing is ever replaced.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence

from satchel.core.errors import Fault, FileUnreadable, NameTaken
from satchel.core.limits import NAME_BYTES_MAX
from satchel.device.index.mounts import Carried
from satchel.device.ports import ROOT_PATH, DiskPath, FileSystem, joined, split

FOLDER_NAME = "Unsynced from {name}"
TRIES_MAX = 1_000


async def carry(outer: FileSystem, name: str, carried: Sequence[Carried], shared: Collection[DiskPath]) -> list[str]:
    """Bring these over. outer: the linked folder around the shared one, whose name is `name`. shared: all such folders
    in it, into which nothing is brought: what is there is no person's own.

    Result: the names in the trash of what arrived, and of what is not there (it never left, or arrived before).
    Raises: StorageFull, StorageFailed, RootMissing; what is not in the result is in the trash still.
    """
    over: list[str] = []
    touched: set[DiskPath] = set()
    for one in carried:
        if await outer.stat_trashed(one.trashed) is not None:
            touched |= await _bring(outer, DiskPath(_top(name)), one, shared)
        over.append(one.trashed)
    for folder in sorted(touched):
        await outer.sync_folder(folder)
    return over


def _top(name: str) -> bytes:
    wanted = FOLDER_NAME.format(name=name).encode()
    return wanted[:NAME_BYTES_MAX].decode(errors="ignore").encode()


async def _bring(outer: FileSystem, top: DiskPath, one: Carried, shared: Collection[DiskPath]) -> set[DiskPath]:
    """Result: the folders that have to be made durable."""
    folder, name = split(one.path)
    touched = {ROOT_PATH}
    at = top
    for step in (b"", *folder.split(b"/")) if folder else (b"",):
        at = await _folder(outer, joined(at, step) if step else at, shared)
        touched.add(at)
    for tried in _names(name):
        try:
            await outer.restore_trashed(one.trashed, b"", joined(at, tried))
        except NameTaken:
            continue
        return touched
    raise FileUnreadable("No free name was found.", path=os.fsdecode(one.path), reason="names")


async def _folder(outer: FileSystem, path: DiskPath, shared: Collection[DiskPath]) -> DiskPath:
    """Return a folder of this path, made if need be; with a number where something else has the name."""
    above, name = split(path)
    for tried in _names(name):
        wanted = joined(above, tried)
        if wanted in shared:
            continue
        try:
            await outer.make_folder(wanted)
        except NameTaken:
            if not await _is_folder(outer, wanted):
                continue
        return wanted
    raise FileUnreadable("No free name was found.", path=os.fsdecode(path), reason="names")


async def _is_folder(outer: FileSystem, path: DiskPath) -> bool:
    try:
        await outer.list_folder(path)
    except Fault:
        return False
    return True


def _names(name: bytes) -> Iterator[bytes]:
    yield name
    stem, dot, ending = name.rpartition(b".")
    for number in range(2, TRIES_MAX):
        mark = f" ({number})".encode()
        yield stem + mark + dot + ending if stem else name + mark
