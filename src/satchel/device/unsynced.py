"""Brings what only this disk has out of a shared folder into the person's own files: "Unsynced from NAME".

Invariant: it goes by rename from the trash that both share to a free name, and is forgotten after it has arrived; so a
stop anywhere leaves it in one of the two, and it is brought over at the next start. Nothing is ever replaced.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterator, Sequence

from satchel.core.entries import Kind
from satchel.core.errors import Fault, FileUnreadable, NameTaken
from satchel.core.ids import ROOT_NID, NamespaceId
from satchel.core.limits import NAME_BYTES_MAX
from satchel.device.applier.names import DOWNLOAD_PREFIX
from satchel.device.applier.recovery import content_of
from satchel.device.index.mounts import Carried, drop_carried, kept_name, load_carried, ns_of_kept
from satchel.device.index.store import Index
from satchel.device.ports import ROOT_PATH, Clock, DiskPath, FileSystem, Listed, joined, split

FOLDER_NAME = "Unsynced from {name}"
LOST_NAME = "a shared folder"
TRIES_MAX = 1_000
STANDING_MAX = 8
"""Of so many names that were tried one is looked for anew."""


async def carry(outer: FileSystem, name: str, carried: Sequence[Carried], shared: Collection[DiskPath]) -> list[str]:
    """Bring these over. outer: the linked folder around the shared one, whose name is `name`. shared: all such folders
    in it, into which nothing is brought: what is there is no person's own.

    Result: the names in the trash of what arrived, and of what is not there (it never left, or arrived before).
    Raises: StorageFull, StorageFailed, RootMissing; what is not in the result is in the trash still.
    """
    over: list[str] = []
    synced: set[DiskPath] = set()
    for one in carried:
        top = DiskPath(_top(name))
        if await outer.stat_trashed(one.trashed) is not None:
            way = await _bring(outer, top, one, shared)
        else:
            way = await _way_of(outer, top, one, shared)
        # At once: whatever makes the trash durable meanwhile makes it durable that this left it.
        for at in reversed(range(len(way))):
            if at == len(way) - 1 or way[at + 1] not in synced:
                await outer.sync_folder(way[at])
        synced.update(way)
        over.append(one.trashed)
    return over


async def carry_rest(
    index: Index | None,
    disks: tuple[FileSystem, FileSystem | None],
    ns: NamespaceId,
    name: str,
    shared: Collection[DiskPath],
    clock: Clock,
) -> int:
    """Bring over all that a link has left behind which does not run, before its index is forgotten. As `carry`.

    index: None when it is lost; what is its own says so by its name. disks: that of the folder around, and that which
    has the staging of the shared one, None while another link of it runs, which sees to that. Result: how many there
    were. Raises: as `carry`; then the rest is there still.
    """
    outer, staged = disks
    for one in await staged.list_staged() if staged is not None else ():
        assert staged is not None
        await _clear(staged, one, index, kept_name(ns, clock.now_ns(), clock.random(4)))
    noted = load_carried(index) if index is not None else []
    carried = [*noted, *await _unnoted(outer, {one.trashed for one in noted}, lambda found: found == ns)]
    for trashed in await carry(outer, name, carried, shared):
        if index is not None:
            with index.transaction():
                drop_carried(index, trashed)
    return len(carried)


async def carry_orphans(outer: FileSystem, known: Collection[NamespaceId], shared: Collection[DiskPath]) -> int:
    """Bring over what the trash keeps of shared folders that are none here any more. known: those that are.

    Result: how many there were. Raises: as `carry`.
    """
    carried = await _unnoted(outer, (), lambda found: found not in known)
    return len(await carry(outer, LOST_NAME, carried, shared))


async def unnoted(outer: FileSystem, ns: NamespaceId, noted: Collection[str]) -> list[Carried]:
    """Return what the trash keeps of a shared folder and no note says. Raises: RootMissing, StorageFailed."""
    return await _unnoted(outer, noted, lambda found: found == ns)


async def _unnoted(outer: FileSystem, noted: Collection[str], is_meant: Callable[[NamespaceId], bool]) -> list[Carried]:
    found: list[Carried] = []
    for name, path in await outer.kept_in_trash():
        ns = ns_of_kept(name)
        if ns is not None and is_meant(ns) and name not in noted:
            found.append(Carried(name, ROOT_NID, path or DiskPath(name.encode())))
    return found


async def _clear(staged: FileSystem, one: Listed, index: Index | None, kept: str) -> None:
    """See to what a stop left in staging: what may be the only copy is kept in the trash."""
    name = os.fsdecode(one.name)
    if name.startswith(DOWNLOAD_PREFIX):
        await staged.discard_staged(name)
        return
    is_elsewhere = False
    if index is not None and one.stat.kind is Kind.FILE:
        file = await staged.open_staged(name)
        try:
            is_elsewhere = index.reader.is_synced_content(await content_of(file))
        finally:
            await file.close()
    await staged.trash_staged(name, "" if is_elsewhere else kept)


def _top(name: str) -> bytes:
    wanted = FOLDER_NAME.format(name=name).encode()
    return wanted[:NAME_BYTES_MAX].decode(errors="ignore").encode()


async def _bring(outer: FileSystem, top: DiskPath, one: Carried, shared: Collection[DiskPath]) -> list[DiskPath]:
    """Result: the folders that have to be made durable, from the top down to the one that it is in."""
    folder, name = split(one.path)
    way = [ROOT_PATH]
    at = top
    for step in _steps(folder):
        at = await _folder(outer, joined(at, step) if step else at, shared)
        way.append(at)
    for tried in _names(name):
        try:
            await outer.restore_trashed(one.trashed, b"", joined(at, tried))
        except NameTaken:
            continue
        return way
    raise FileUnreadable("No free name was found.", path=os.fsdecode(one.path), reason="names")


async def _way_of(outer: FileSystem, top: DiskPath, one: Carried, shared: Collection[DiskPath]) -> list[DiskPath]:
    """As `_bring`, of what left the trash before: a stop may have come before that was durable where it arrived."""
    way = [ROOT_PATH]
    at = top
    for step in _steps(split(one.path)[0]):
        wanted = joined(at, step) if step else at
        above, name = split(wanted)
        for tried in itertools.islice(_names(name), STANDING_MAX):
            at = joined(above, tried)
            if at not in shared and await _is_folder(outer, at):
                way.append(at)
                break
        else:
            break
    return way


def _steps(folder: DiskPath) -> tuple[bytes, ...]:
    """Return the names of the folders below the top; the empty one is the top itself."""
    return (b"", *folder.split(b"/")) if folder else (b"",)


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
