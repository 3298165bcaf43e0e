"""Puts a file or a symlink in its place, new or instead of the one that was planned on.

Invariant: what is swapped out is looked at before it is given up; what is not the planned file is a user's unseen edit
and goes back, or stays under a name of its own. Source: docs/design/040, rule 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec

from satchel.core.entries import Kind
from satchel.core.errors import Fault, FileChanging, NameTaken, NotFound
from satchel.core.xattrs import UNHELD
from satchel.device.applier.hands import Hands, settled
from satchel.device.applier.names import numbered_names, precious_name
from satchel.device.ports import DiskPath, Stat, joined, split
from satchel.device.tasks import Applied, Changed, DiskResult, Failed, PlaceFile, PlaceSymlink


async def place_file(hands: Hands, task: PlaceFile) -> DiskResult:
    """Place a downloaded file, or write the task's data first. Raises: the disk's faults; nothing changed then.

    The staged file is used up, whatever comes of it: a plan that no longer holds is made anew, with a new download.
    """
    if task.data is None:
        finished = await hands.fs.stat_staged(task.staged)
        if finished is None:
            return Failed(NotFound("The downloaded file is gone from staging.", path=task.staged))
        return await _place_or_discard(hands, task.staged, finished, task)
    file = await hands.fs.stage()
    try:
        await file.write(task.data)
        finished = await file.finish(mtime_ns=task.mtime_ns, is_executable=task.is_executable, xattrs=task.xattrs)
    except Fault:
        await file.discard()
        raise
    return await _place_or_discard(hands, file.name, finished, task)


async def place_symlink(hands: Hands, task: PlaceSymlink) -> DiskResult:
    """Place a symlink. Raises: the disk's faults; nothing changed then."""
    staged = await hands.fs.stage_symlink(task.target)
    finished = await hands.fs.stat_staged(staged)
    if finished is None:
        return Failed(NotFound("The new symlink is gone from staging.", path=staged))
    return await _place_or_discard(hands, staged, finished, task)


async def _place_or_discard(hands: Hands, staged: str, finished: Stat, task: PlaceFile | PlaceSymlink) -> DiskResult:
    """Place what is staged, and throw it away when it is not wanted any more."""
    try:
        result = await _place(hands, staged, finished, task)
    except Fault:
        await hands.fs.discard_staged(staged)
        raise
    if not isinstance(result, Applied):
        await hands.fs.discard_staged(staged)
    elif isinstance(task, PlaceFile) and finished.xattrs not in (None, task.xattrs):
        # The disk did not take them all, which must not pass for a user's removal.
        return replace(result, stats=(msgspec.structs.replace(result.stats[0], xattrs=UNHELD),))
    return result


async def _place(hands: Hands, staged: str, finished: Stat, task: PlaceFile | PlaceSymlink) -> DiskResult:
    if task.expected is None:
        return await _place_new(hands, staged, finished, task.path, task.home)
    return await _swap(hands, staged, finished, task, task.expected)


async def _place_new(hands: Hands, staged: str, finished: Stat, path: DiskPath, home: Stat | None) -> DiskResult:
    try:
        seen = await hands.fs.place_staged(staged, path, hands.home(path, home))
    except NameTaken:
        return Changed((path,), "the name is taken")
    except NotFound:
        return Changed((split(path)[0],), "the folder is gone")
    hands.touched.arrived(path)
    stat, is_settled = settled(seen, finished)
    return Applied((stat,), put_back=() if is_settled else (path,))


async def _swap(
    hands: Hands, staged: str, finished: Stat, task: PlaceFile | PlaceSymlink, expected: Stat
) -> DiskResult:
    assert expected.kind != Kind.FOLDER, "a folder is never swapped out, since nobody looks into it"
    path = task.path
    # Renamed first: once exchanged, a user's file stands under the staged name, and a restart must keep it.
    own = precious_name("x", hands.random(), split(path)[1])
    await hands.fs.rename_staged(staged, own)
    try:
        seen = await hands.fs.stat(path)
        if seen is None or not seen.is_as_planned(expected):
            await _give_back(hands, own, finished, staged)
            return Changed((path,), "the file is not as it was planned on")
        old, placed = await hands.fs.exchange_staged(own, path, expected)
    except FileChanging:
        await _give_back(hands, own, finished, staged)
        return Changed((path,), "the file was changed just before it was replaced")
    except NotFound:
        await _give_back(hands, own, finished, staged)
        return Changed((path,), "the file is gone")
    except Fault:
        await _give_back(hands, own, finished, staged)
        raise
    hands.touched.left(path)
    if not old.same_file(expected):
        return await _undo(hands, own, finished, path, staged)
    kept: Stat | None = None
    kept_name = b""
    trashed = ""
    if task.keep_as is None:
        try:
            trashed = await hands.fs.trash_staged(own)
        except Fault:
            # Left in staging it would come back as a copy, when the disk had long been seen to hold the new one.
            await _undo(hands, own, finished, path, staged)
            raise
        hands.touched.trashed()
    else:
        kept_path, kept = await hands.restore_staged(own, _numbered(path, task.keep_as))
        kept_name = split(kept_path)[1]
    stat, is_settled = settled(placed, finished)
    return Applied((stat,), kept, kept_name, trashed, () if is_settled else (path,))


def _numbered(path: DiskPath, keep_as: bytes) -> Iterator[DiskPath]:
    folder = split(path)[0]
    return (joined(folder, name) for name in numbered_names(keep_as))


async def _give_back(hands: Hands, own: str, finished: Stat, staged: str) -> bool:
    """Give the download its name back, so that it can be used again or thrown away. False: it is not the download."""
    seen = await hands.fs.stat_staged(own)
    if seen is None or not seen.same_file(finished):
        return False
    await hands.fs.rename_staged(own, staged)
    return True


async def _undo(hands: Hands, own: str, finished: Stat, path: DiskPath, staged: str) -> DiskResult:
    """Take back an exchange that swapped out a user's unseen edit, now under `own`."""
    reason = "the file was changed just before it was replaced"
    placed = await hands.fs.stat(path)
    if placed is not None and placed.same_file(finished):
        try:
            await hands.fs.exchange_staged(own, path)
        except NotFound:
            # The user deleted the new file meanwhile; the edit still stands under `own`.
            pass
        if await _give_back(hands, own, finished, staged):
            return Changed((path,), reason)
    # Written to again in the moment between: both are the user's, so both keep a name.
    kept, _ = await hands.restore_staged(own, hands.beside(path, b"conflicted copy"))
    return Changed((path, kept), reason)
