"""Looks once more at what went to the trash, and brings back what a late writer changed there.

Invariant: what changed is out of the trash and in the linked folder, durably, before the look counts as done.
Source: docs/design/040, rule 2.
"""

from __future__ import annotations

from satchel.core.entries import Kind
from satchel.core.errors import Fault, FileUnreadable, NotFound
from satchel.core.ids import Nid
from satchel.device.applier import recovery, unit
from satchel.device.applier.hands import Hands
from satchel.device.ports import ROOT_PATH, DiskPath, Stat, split
from satchel.device.tasks import Failed, LateItem, LateResult, LateSeen, TrashUnit

NO_FOLDER = ("ELOOP", "ENOTDIR")
"""Where the folder stood is a symlink or a file now."""
NO_NID = Nid(0)
"""The walk needs paths and stats alone; the row is gone by now."""


async def look(hands: Hands, item: LateItem) -> LateResult:
    """Look at one thing in the trash. Faults are results; then it is looked at again later."""
    try:
        if item.members[b""].kind == Kind.FOLDER:
            return await _look_into(hands, item)
        return await _look_at(hands, item)
    except Fault as fault:
        return Failed(fault)


async def _look_into(hands: Hands, item: LateItem) -> LateSeen:
    if await hands.fs.stat_trashed(item.trashed) is None:
        return LateSeen(is_gone=True)
    put_back = await unit.look_again(hands, TrashUnit(NO_NID, item.path, item.members), item.trashed)
    await hands.touched.sync(hands.fs)
    return LateSeen(put_back)


async def _look_at(hands: Hands, item: LateItem) -> LateSeen:
    if await hands.fs.stat_trashed(item.trashed) is None:
        return LateSeen(is_gone=True)
    if not await _is_changed(hands, item):
        return LateSeen()
    path, _ = await _rescue(hands, item)
    return LateSeen((path,))


async def _is_changed(hands: Hands, item: LateItem) -> bool:
    if await recovery.changed_since_trashed(hands, item.trashed, item.members[b""]):
        return True
    return bool(item.content) and await recovery.hash_trashed(hands, item.trashed) != item.content


async def _rescue(hands: Hands, item: LateItem) -> tuple[DiskPath, Stat]:
    """Bring it back beside where it stood; in the linked folder itself when that folder is gone or is none any more."""
    folder, name = split(item.path)
    try:
        return await recovery.rescue(hands, item.trashed, item.path)
    except (NotFound, FileUnreadable) as error:
        if isinstance(error, FileUnreadable) and error.fields.get("reason") not in NO_FOLDER:
            raise
        if folder == ROOT_PATH or await hands.fs.stat_trashed(item.trashed) is None:
            raise
        return await recovery.rescue(hands, item.trashed, DiskPath(name))
