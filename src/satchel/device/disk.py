"""The linked folder on a Linux disk: the real adapter of the `FileSystem` port.

Invariant: every path is resolved beneath the root's handle without following a symlink, and every rename either finds
its target free or swaps it; nothing is ever replaced. The methods never suspend and may be called by several threads.
Layout of the state folder: `marker`, `staging/`, `trash/` (entries `<unix ns>-<random>`). A note `n-<name>` beside
something set aside or trashed is a symlink whose text is the path where it stood: a name and its text reach the disk
together, and in the order of the renames. Source: docs/design/040, rules 2, 3, 6 and 10.
"""

from __future__ import annotations

import errno
import os

from msgspec.structs import replace

from satchel.core.entries import Kind
from satchel.core.errors import Fault, FileChanging
from satchel.core.xattrs import UNHELD
from satchel.device import disk_calls, disk_xattrs
from satchel.device.disk_calls import fault_of, stat_at, translating
from satchel.device.disk_files import LocalOpenFile, LocalStagedFile, read_whole, require_room
from satchel.device.disk_root import (
    FOLDER,
    NOTE_PREFIX,
    PLACE,
    Handles,
    as_regular,
    compare_handle,
    drop_note,
    list_handle,
    plain_name,
    read_note,
    stat_or_none,
    write_note,
)
from satchel.device.disk_trash import LocalTrash
from satchel.device.ports import Compared, DiskPath, Listed, RowsOf, Stat, split

DOWNLOAD_PREFIX = "d-"

_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS)

_At = tuple[int, bytes]
"""A handle of a folder and a name in it."""


class LocalDisk(LocalTrash):
    """A linked folder. root: absolute path. free_bytes_min: floor below which `stage` answers StorageFull.

    is_openat2_used: False forces the walk by names that stands in where the kernel lacks the call. has_xattrs: extended
    attributes are read and set; else it is as if there were none.
    """

    # -- looking ------------------------------------------------------------------------------------------------------

    async def list_folder(self, path: DiskPath) -> list[Listed]:
        handles = self._open()
        with translating(path, is_reading=True):
            folder = self._beneath(handles, path, FOLDER)
            try:
                found = list_handle(folder, handles.device)
            finally:
                os.close(folder)
        return found if path else [one for one in found if one.name != self._state_name]

    async def compare_folder(self, path: DiskPath, rows_of: RowsOf) -> Compared:
        handles = self._open()
        with translating(path, is_reading=True):
            folder = self._beneath(handles, path, FOLDER)
            try:
                found = compare_handle(folder, handles.device, rows_of)
            finally:
                os.close(folder)
        if path:
            return found
        others = [one for one in found.others if one.name != self._state_name]
        return Compared(others, found.folders, found.same)

    async def stat(self, path: DiskPath) -> Stat | None:
        handles = self._open()
        if not path:
            return stat_at(handles.root, b"", handles.device)
        try:
            folder, name = self._parent(handles, path)
            try:
                return self._stat_at(handles, folder, name)
            finally:
                os.close(folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise fault_of(error, path, is_reading=True) from error

    async def open_file(self, path: DiskPath) -> LocalOpenFile:
        handles = self._open()
        with translating(path, is_reading=True):
            # Without O_NONBLOCK a pipe that took the file's place would hold this thread for ever.
            handle = self._beneath(handles, path, os.O_RDONLY | os.O_NONBLOCK)
        return as_regular(handle, path, handles.device, has_xattrs=self._has_xattrs)

    async def read_short(self, path: DiskPath, bytes_max: int) -> tuple[Stat, bytes] | None:
        # A first scan reads every file: this is `open_file`, `stat`, `read`, `stat` and `close` without their layers.
        handles = self._open()
        with translating(path, is_reading=True):
            handle = self._beneath(handles, path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                return read_whole(handle, path, handles.device, bytes_max, has_xattrs=self._has_xattrs)
            finally:
                os.close(handle)

    async def read_link(self, path: DiskPath) -> bytes:
        handles = self._open()
        with translating(path, is_reading=True):
            folder, name = self._parent(handles, path)
            try:
                return os.readlink(name, dir_fd=folder)
            finally:
                os.close(folder)

    async def free_bytes(self) -> int:
        handles = self._open()
        with translating(b"", is_reading=True):
            volume = os.fstatvfs(handles.root)
        return volume.f_bavail * volume.f_frsize

    # -- staging ------------------------------------------------------------------------------------------------------

    async def stage(self) -> LocalStagedFile:
        handles = self._open()
        name = self._download_name()
        with translating(b"staging"):
            require_room(handles.staging, self._free_bytes_min)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(name, flags, 0o644, dir_fd=handles.staging)
        return self._staged(name, handle, handles, 0)

    async def stage_symlink(self, target: bytes) -> str:
        handles = self._open()
        name = self._download_name()
        with translating(b"staging"):
            os.symlink(target, name, dir_fd=handles.staging)
        return name

    async def open_staged(self, name: str) -> LocalStagedFile:
        handles = self._open()
        with translating(os.fsencode(name)):
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(plain_name(name), flags, dir_fd=handles.staging)
            size = os.fstat(handle).st_size
        return self._staged(name, handle, handles, size)

    def _staged(self, name: str, handle: int, handles: Handles, position: int) -> LocalStagedFile:
        return LocalStagedFile(
            name,
            handle,
            staging=handles.staging,
            owner=handles,
            device=handles.device,
            position=position,
            free_bytes_min=self._free_bytes_min,
            has_xattrs=self._has_xattrs,
        )

    def _download_name(self) -> str:
        return f"{DOWNLOAD_PREFIX}{self._run}{next(self._numbers):x}"

    async def stat_staged(self, name: str) -> Stat | None:
        handles = self._open()
        staged = plain_name(name)
        stat = stat_or_none(handles.staging, staged, handles.device)
        return disk_xattrs.seen_with(stat, handles.staging, staged) if stat is not None and self._has_xattrs else stat

    async def rename_staged(self, name: str, new_name: str) -> None:
        handles = self._open()
        with translating(os.fsencode(name)):
            disk_calls.rename_to_free(handles.staging, plain_name(name), handles.staging, plain_name(new_name))

    async def discard_staged(self, name: str) -> None:
        assert name.startswith(DOWNLOAD_PREFIX), "only a download may be thrown away"
        handles = self._open()
        try:
            os.unlink(plain_name(name), dir_fd=handles.staging)
        except FileNotFoundError:
            return
        except OSError as error:
            raise fault_of(error, b"staging") from error

    async def list_staged(self, name: str = "", below: bytes = b"") -> list[Listed]:
        handles = self._open()
        path = plain_name(name) + (b"/" + below if below else b"") if name else b""
        with translating(path, is_reading=True):
            folder = disk_calls.open_beneath(handles.staging, path, FOLDER, is_openat2_tried=self._is_openat2_used)
            try:
                found = list_handle(folder, handles.device)
            finally:
                os.close(folder)
        return found if name else [one for one in found if not one.name.startswith(NOTE_PREFIX)]

    async def origin_of_staged(self, name: str) -> DiskPath | None:
        handles = self._open()
        path = read_note(handles.staging, plain_name(name))
        return None if path is None else DiskPath(path)

    # -- changing -----------------------------------------------------------------------------------------------------

    async def place_staged(self, name: str, path: DiskPath, home: Stat | None = None) -> Stat:
        handles = self._open()
        return self._from_own(handles, handles.staging, plain_name(name), path, home)

    async def restore_staged(self, name: str, path: DiskPath, below: bytes = b"", home: Stat | None = None) -> Stat:
        handles = self._open()
        staged = plain_name(name)
        if not below:
            found = self._from_own(handles, handles.staging, staged, path, home)
            drop_note(handles.staging, staged)
            return found
        folder, last = split(DiskPath(staged + b"/" + below))
        with translating(path):
            opened = disk_calls.open_beneath(handles.staging, folder, PLACE, is_openat2_tried=self._is_openat2_used)
        try:
            return self._from_own(handles, opened, last, path, home)
        finally:
            os.close(opened)

    async def exchange_staged(
        self, name: str, path: DiskPath, expected: Stat | None = None
    ) -> tuple[Stat, Stat | None]:
        assert not name.startswith(DOWNLOAD_PREFIX), "a crash now would take the user's file for a download"
        handles = self._open()
        staged = plain_name(name)
        with translating(path):
            folder, target = self._parent(handles, path)
            try:
                _keep_permissions(handles.staging, staged, folder, target)
                self._require_as_planned(handles, (folder, target), expected, path)
                self._swap(handles, (handles.staging, staged), (folder, target), other_path=path)
                return stat_at(handles.staging, staged, handles.device), self._placed(handles, folder, target)
            finally:
                os.close(folder)

    def _placed(self, handles: Handles, folder: int, name: bytes) -> Stat | None:
        try:
            return self._stat_at(handles, folder, name)
        except OSError:
            # The exchange is done, whatever a user made of the place since.
            return None

    def _swap(self, handles: Handles, one: _At, other: _At, *, other_path: bytes) -> None:
        """Exchange two names; `other` is the user's. Raises: OSError."""
        try:
            disk_calls.rename(*one, *other, disk_calls.RENAME_EXCHANGE)
        except OSError as error:
            if error.errno not in _NO_EXCHANGE:
                raise
            self._swap_aside(handles, one, other, other_path)

    def _swap_aside(self, handles: Handles, one: _At, other: _At, other_path: bytes) -> None:
        """Exchange where the volume has no such call: the old one aside, the new one in, each to a free name.

        A crash in between leaves the old one aside with its note, so that the next start returns it.
        """
        aside = f"a-{self._run}{next(self._numbers):x}.".encode() + other[1][:200]
        write_note(handles.staging, aside, other_path)
        disk_calls.rename_to_free(*other, handles.staging, aside)
        try:
            disk_calls.rename_to_free(*one, *other)
        except OSError:
            # Taken again already? Then it stays aside, where the next start finds and keeps it.
            disk_calls.rename_to_free(handles.staging, aside, *other)
            drop_note(handles.staging, aside)
            raise
        disk_calls.rename_to_free(handles.staging, aside, *one)
        drop_note(handles.staging, aside)

    async def set_aside(self, path: DiskPath, name: str, expected: Stat | None = None) -> Stat:
        assert not name.startswith(DOWNLOAD_PREFIX), "what is set aside is the user's"
        handles = self._open()
        staged = plain_name(name)
        self._require_path(path)
        with translating(path):
            write_note(handles.staging, staged, path)
        try:
            return self._into_own(handles, handles.staging, staged, path, expected)
        except Fault:
            if stat_or_none(handles.staging, staged, handles.device) is None:
                drop_note(handles.staging, staged)
            raise

    async def move(
        self, source: DiskPath, target: DiskPath, expected: Stat | None = None, home: Stat | None = None
    ) -> Stat:
        handles = self._open()
        with translating(target):
            old_folder, old_name = self._parent(handles, source)
            try:
                new_folder, new_name = self._parent(handles, target)
                try:
                    self._require_home(handles, new_folder, home, target)
                    self._require_as_planned(handles, (old_folder, old_name), expected, source)
                    disk_calls.rename_to_free(old_folder, old_name, new_folder, new_name)
                    return self._stat_at(handles, new_folder, new_name)
                finally:
                    os.close(new_folder)
            finally:
                os.close(old_folder)

    async def exchange(
        self, one: DiskPath, other: DiskPath, expected: tuple[Stat, Stat] | None = None
    ) -> tuple[Stat | None, Stat | None]:
        handles = self._open()
        with translating(one):
            folder, name = self._parent(handles, one)
            try:
                other_folder, other_name = self._parent(handles, other)
                first, second = (folder, name), (other_folder, other_name)
                try:
                    if expected is not None:
                        self._require_as_planned(handles, first, expected[0], one)
                        self._require_as_planned(handles, second, expected[1], other)
                    self._swap(handles, first, second, other_path=other)
                    return self._placed(handles, *first), self._placed(handles, *second)
                finally:
                    os.close(other_folder)
            finally:
                os.close(folder)

    async def make_folder(self, path: DiskPath, home: Stat | None = None) -> Stat:
        handles = self._open()
        with translating(path):
            folder, name = self._parent(handles, path)
            try:
                self._require_home(handles, folder, home, path)
                os.mkdir(name, 0o755, dir_fd=folder)
                return self._stat_at(handles, folder, name)
            finally:
                os.close(folder)

    async def make_symlink(self, path: DiskPath, target: bytes) -> Stat:
        handles = self._open()
        with translating(path):
            folder, name = self._parent(handles, path)
            try:
                os.symlink(target, name, dir_fd=folder)
                return stat_at(folder, name, handles.device)
            finally:
                os.close(folder)

    async def set_executable(self, path: DiskPath, is_executable: bool, expected: Stat | None = None) -> Stat:
        handles = self._open()
        with translating(path):
            handle = self._beneath(handles, path, os.O_RDONLY | os.O_NONBLOCK)
        opened = as_regular(handle, path, handles.device)
        try:
            with translating(path):
                self._require_as_planned(handles, (handle, b""), expected, path)
                os.fchmod(handle, disk_calls.executable_mode(os.fstat(handle).st_mode, is_executable))
                # Lost in a power cut, the old bit would look like a change that the user made.
                os.fsync(handle)
                return self._stat_at(handles, handle, b"")
        finally:
            await opened.close()

    async def set_xattrs(self, path: DiskPath, xattrs: bytes, expected: bytes) -> Stat:
        handles = self._open()
        with translating(path):
            handle = self._beneath(handles, path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                if self._stat_at(handles, handle, b"").xattrs != expected:
                    raise FileChanging("It has other extended attributes by now.", path=path)
                is_held = disk_xattrs.give(handle, xattrs, instead_of=expected)
                # Lost in a power cut, the old ones would look like a change that the user made.
                os.fsync(handle)
                stat = self._stat_at(handles, handle, b"")
                return stat if is_held else replace(stat, xattrs=UNHELD)
            finally:
                os.close(handle)

    async def sync_folder(self, path: DiskPath) -> None:
        handles = self._open()
        try:
            folder = self._beneath(handles, path, FOLDER)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise fault_of(error, path) from error
        try:
            with translating(path):
                os.fsync(folder)
        finally:
            os.close(folder)


def _keep_permissions(staging: int, staged: bytes, folder: int, target: bytes) -> None:
    """Give the new file the permissions of the one it replaces: a private file must not become readable by others."""
    old = os.stat(target, dir_fd=folder, follow_symlinks=False)
    new = os.stat(staged, dir_fd=staging, follow_symlinks=False)
    if disk_calls.kind_of(old.st_mode) != Kind.FILE or disk_calls.kind_of(new.st_mode) != Kind.FILE:
        return
    wanted = disk_calls.executable_mode(old.st_mode, bool(new.st_mode & 0o100))
    if wanted != new.st_mode & 0o777:
        os.chmod(staged, wanted, dir_fd=staging)
