"""Applies a batch of disk tasks, each on its own: one that fails does not stop the others.

Invariant: a task reported as `Applied` is durable: its data was fsynced before its rename, and its folders after.
"""

from __future__ import annotations

from typing import assert_never

from satchel.core.entries import Kind
from satchel.core.errors import Fault, FileChanging, NameTaken, NotFound
from satchel.core.ids import ContentHash
from satchel.core.xattrs import is_packed
from satchel.device.applier import late, recovery, unit
from satchel.device.applier.hands import Hands
from satchel.device.applier.moving import move_paths
from satchel.device.applier.recovery import IsKnown
from satchel.device.applier.replacing import place_file, place_symlink
from satchel.device.ports import Clock, DiskPath, FileSystem, Stat, split
from satchel.device.tasks import (
    Applied,
    ApplyResult,
    ApplyTask,
    BringBackTask,
    BroughtBack,
    Changed,
    DiscardTask,
    DiskResult,
    DiskTask,
    Failed,
    LateLooked,
    LateTask,
    MovePaths,
    PlaceFile,
    PlaceFolder,
    PlaceSymlink,
    Purged,
    PurgeTask,
    SetAttrs,
    StagingSettled,
    SyncVolumeTask,
    TrashUnit,
    VolumeSynced,
)


class Applier:
    """Changes one linked folder. Holds no state, so several threads may drive it, each with tasks of its own.

    No two tasks under way at once may name the same path; the engine sees to that by its busy nodes.
    """

    def __init__(self, fs: FileSystem, clock: Clock) -> None:
        self._fs = fs
        self._clock = clock

    def _hands(self) -> Hands:
        return Hands(self._fs, self._clock)

    async def apply(self, task: ApplyTask) -> ApplyResult:
        """Do the batch's tasks in order. Raises nothing of the disk: faults are results.

        A staged file that a task names is used up, whatever the result.
        """
        hands = self._hands()
        results: list[DiskResult] = []
        for one in task.tasks:
            try:
                results.append(await _apply_one(hands, one))
            except Fault as fault:
                results.append(Failed(fault))
        try:
            await hands.touched.sync(self._fs)
        except Fault as fault:
            # It may be on disk and it may not: nothing of it counts, and the next scan tells.
            results = [Failed(fault) if isinstance(result, Applied) else result for result in results]
        return ApplyResult(task, tuple(results))

    async def recover(self, is_known: IsKnown) -> list[DiskPath]:
        """Empty staging after a start, before any absence counts. Result: paths to look at.

        is_known(content hash): True when these bytes are provably elsewhere (the service holds them). Raises: a fault
        when something could not be decided; it is then still in staging and the link must not start.
        """
        paths, fault = await recovery.empty_staging(self._hands(), is_known)
        if fault is not None:
            raise fault
        return paths

    async def settle_staging(self, is_known: IsKnown) -> StagingSettled:
        """Decide alike on what failed tasks left; nobody may be placing or taking. Raises nothing of the disk."""
        try:
            paths, fault = await recovery.empty_staging(self._hands(), is_known, is_start=False)
        except Fault as error:
            return StagingSettled((), error)
        return StagingSettled(tuple(paths), fault)

    async def changed_since_trashed(self, name: str, stat: Stat) -> bool:
        """For the looks after 2 s, 30 s and 10 min: was a swapped-out file written to? stat: as it was expected."""
        return await recovery.changed_since_trashed(self._hands(), name, stat)

    async def hash_trashed(self, name: str) -> ContentHash:
        """For the last look: the content hash of a trashed file. Raises: NotFound, FileUnreadable."""
        return await recovery.hash_trashed(self._hands(), name)

    async def rescue(self, name: str, path: DiskPath) -> tuple[DiskPath, Stat]:
        """Bring a trashed file back as a conflicted copy beside `path`. Durable. Result: where, and its stat there."""
        return await recovery.rescue(self._hands(), name, path)

    async def look_again(self, task: TrashUnit, trashed: str) -> tuple[DiskPath, ...]:
        """Put back what a late writer added to a trashed folder. Durable. Result: the paths to look at."""
        hands = self._hands()
        put_back = await unit.look_again(hands, task, trashed)
        await hands.touched.sync(self._fs)
        return put_back

    async def look_late(self, task: LateTask) -> LateLooked:
        """Look once more at what went to the trash. Raises nothing of the disk: faults are results."""
        return LateLooked(task, tuple([await late.look(self._hands(), item) for item in task.items]))

    async def bring_back(self, task: BringBackTask) -> BroughtBack:
        """Move something out of the trash to where it stood. Raises nothing of the disk."""
        hands = self._hands()
        try:
            paths = await unit.bring_back(hands, task.trashed, task.path)
            await hands.touched.sync(self._fs)
        except Fault as fault:
            return BroughtBack(task, (), fault)
        return BroughtBack(task, paths)

    async def discard(self, task: DiscardTask) -> None:
        """Delete downloads that nobody wants. Raises nothing of the disk: the next start empties staging."""
        for name in task.staged:
            try:
                await self._fs.discard_staged(name)
            except Fault:
                continue

    async def purge(self, task: PurgeTask) -> Purged:
        """Delete for good what is too old in the trash."""
        try:
            return Purged(task, await self._fs.purge_trash(task.before_ns))
        except Fault as fault:
            return Purged(task, 0, fault)

    async def sync_volume(self, task: SyncVolumeTask) -> VolumeSynced:
        """Make durable what anybody did on the volume."""
        try:
            await self._fs.sync_volume()
        except Fault as fault:
            return VolumeSynced(task, fault)
        return VolumeSynced(task)


async def _apply_one(hands: Hands, task: DiskTask) -> DiskResult:
    match task:
        case PlaceFile():
            return await place_file(hands, task)
        case PlaceFolder():
            return await _place_folder(hands, task)
        case PlaceSymlink():
            return await place_symlink(hands, task)
        case MovePaths():
            return await move_paths(hands, task)
        case TrashUnit():
            return await unit.trash_unit(hands, task)
        case SetAttrs():
            return await _set_attrs(hands, task)
        case _:
            assert_never(task)


async def _place_folder(hands: Hands, task: PlaceFolder) -> DiskResult:
    hands.homes[task.path] = None
    try:
        stat = await hands.fs.make_folder(task.path, hands.home(task.path, task.home))
    except NameTaken:
        return Changed((task.path,), "the name is taken")
    except NotFound:
        return Changed((split(task.path)[0],), "the folder is gone")
    hands.homes[task.path] = stat
    hands.touched.arrived(task.path)
    if task.xattrs:
        try:
            stat = await hands.fs.set_xattrs(task.path, task.xattrs, b"")
        except (FileChanging, NotFound):
            # A user was quicker: what is there now is looked at as any other change.
            return Applied((stat,), put_back=(task.path,))
    return Applied((stat,))


async def _set_attrs(hands: Hands, task: SetAttrs) -> DiskResult:
    seen = await hands.fs.stat(task.path)
    if seen is None or not seen.is_as_planned(task.expected):
        return Changed((task.path,), "the file is not as it was planned on")
    stat, known = seen, task.expected.xattrs
    is_wanted = task.xattrs is not None and is_packed(seen.xattrs) and seen.xattrs != task.xattrs
    if is_wanted and known is not None and seen.xattrs != known:
        return Changed((task.path,), "the attributes are not as they were planned on")
    try:
        if seen.kind is Kind.FILE and seen.is_executable != task.is_executable:
            stat = await hands.fs.set_executable(task.path, task.is_executable, task.expected)
        if is_wanted and stat.same_file(seen) and task.xattrs is not None and is_packed(seen.xattrs):
            stat = await hands.fs.set_xattrs(task.path, task.xattrs, seen.xattrs)
    except NotFound:
        return Changed((task.path,), "the file is gone")
    except FileChanging:
        return Changed((task.path,), "it was changed just before its attributes were set")
    if task.expected.kind is Kind.FOLDER:
        is_same = stat.same_thing(task.expected)
        return Applied((stat,)) if is_same else Changed((task.path,), "another folder took the name")
    if not stat.same_file(task.expected):
        # Another file took the name in the gap. Its bytes are untouched, and the scan sees its bit.
        return Changed((task.path,), "another file took the name")
    return Applied((stat,))
