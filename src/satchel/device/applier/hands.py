"""What every act of the applier shares: the disk, the clock, the folders that are to be fsynced, and the comparisons.

Invariant: a folder that something arrived in is fsynced before the one that it left, so that a power cut shows it in
both places rather than in none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from satchel.core.entries import Kind
from satchel.core.errors import FileUnreadable, NameInvalid, NameTaken, NotFound
from satchel.device.applier.names import RANDOM_BYTES, day, labelled_names
from satchel.device.ports import ROOT_PATH, Clock, DiskPath, FileSystem, Stat, joined, split


class Touched:
    """The folders of one batch whose entries changed, each fsynced once."""

    __slots__ = ("_arrived", "_is_trash_used", "_left")

    def __init__(self) -> None:
        # Dicts, since they keep an order that does not depend on hashes.
        self._arrived: dict[DiskPath, None] = {}
        self._left: dict[DiskPath, None] = {}
        self._is_trash_used = False

    def arrived(self, path: DiskPath) -> None:
        """Something has a new name at `path`."""
        self._arrived[split(path)[0]] = None

    def left(self, path: DiskPath) -> None:
        """The name at `path` is gone."""
        self._left[split(path)[0]] = None

    def trashed(self) -> None:
        """Something came into the trash."""
        self._is_trash_used = True

    async def sync(self, fs: FileSystem) -> None:
        """fsync them all. Raises: StorageFailed; what was done in this batch then does not count."""
        if self._is_trash_used:
            await fs.sync_trash()
        for folder in self._arrived | self._left:
            await fs.sync_folder(folder)
        self._arrived, self._left, self._is_trash_used = {}, {}, False


@dataclass(frozen=True, slots=True)
class Hands:
    """The disk, the clock and the touched folders of one batch."""

    fs: FileSystem
    clock: Clock
    touched: Touched = field(default_factory=Touched)
    homes: dict[DiskPath, Stat | None] = field(default_factory=dict)
    """Folders that this batch makes; None: one that could not be made."""

    def home(self, path: DiskPath, known: Stat | None) -> Stat | None:
        """Return the folder that the path is to lead to. known: as the task has it. Raises: NotFound when it was to be
        made by this batch and was not: another that has its name is somebody else's."""
        folder = split(path)[0]
        if folder not in self.homes:
            return known
        made = self.homes[folder]
        if made is None:
            raise NotFound("The folder could not be made.", path=folder)
        return made

    def random(self) -> bytes:
        """Return the random part of a staged name."""
        return self.clock.random(RANDOM_BYTES)

    def beside(self, path: DiskPath, label: bytes) -> Iterable[DiskPath]:
        """Yield paths for a copy of the file at `path`: the same folder, the label and today's date in the name."""
        folder, name = split(path)
        return (joined(folder, kept) for kept in labelled_names(name, label + b" " + day(self.clock.now_ns())))

    async def restore_staged(self, staged: str, places: Iterable[DiskPath]) -> tuple[DiskPath, Stat]:
        """Move a user's file out of staging to the first free of `places`; the root stands in for a lost folder.

        Raises: the disk's faults; the file then is still in staging, where the next start finds it.
        """
        last = ROOT_PATH
        for path in places:
            last = path
            try:
                stat = await self.fs.restore_staged(staged, path)
            except NameTaken:
                continue
            except (NotFound, NameInvalid, FileUnreadable):
                # The folder is gone, or out of reach behind a symlink or a lost right.
                if not split(path)[0] or await self.fs.stat_staged(staged) is None:
                    raise
                return await self.restore_staged(staged, self.beside(DiskPath(split(path)[1]), b"recovered"))
            self.touched.arrived(path)
            return path, stat
        raise NameTaken("No free name is left for a copy.", path=last)


def is_same_moved(seen: Stat, expected: Stat) -> bool:
    """As `Stat.is_as_planned` after a rename, which changes the ctime."""
    if expected.kind == Kind.FOLDER:
        return seen.same_thing(expected)
    return seen.same_file(expected) and seen.is_executable == expected.is_executable


def settled(seen: Stat | None, known: Stat) -> tuple[Stat, bool]:
    """Return what may be recorded of something just put in place, and whether it is still so.

    seen: what stat says at the place now. known: what was put there. When a user was quicker, the record is what
    was put there, with a ctime that nothing equals: so the next look finds the change instead of taking it for ours.
    """
    if seen is not None and is_same_moved(seen, known):
        return seen, True
    return replace(known, ctime_ns=0), False
