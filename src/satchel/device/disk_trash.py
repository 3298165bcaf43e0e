"""The local trash: what was taken away from the user's sight and can be brought back.

Invariant: things come in and go out by rename only, and nothing leaves for good but by `purge_trash`. An entry is
`<unix ns>-<random>`, with a note `n-<entry>` that tells people where it stood; one of another name is never too old.
Source: docs/design/040, rule 2.
"""

from __future__ import annotations

import os
import time

from satchel.core.entries import Kind
from satchel.core.errors import Fault
from satchel.device import disk_calls
from satchel.device.disk_calls import fault_of, translating
from satchel.device.disk_files import LocalOpenFile
from satchel.device.disk_root import (
    FOLDER,
    NOTE_PREFIX,
    PLACE,
    Handles,
    LinkedRoot,
    as_regular,
    list_handle,
    plain_name,
    read_note,
    stat_or_none,
    write_note,
)
from satchel.device.ports import DiskPath, Listed, Stat, split

_NOTE = NOTE_PREFIX.decode()


class LocalTrash(LinkedRoot):
    """The trash methods of `LocalDisk`."""

    # -- the local trash ----------------------------------------------------------------------------------------------

    async def trash(self, path: DiskPath) -> str:
        name = _trash_name()
        handles = self._open()
        self._into_own(handles, handles.trash, name.encode(), path)
        try:
            write_note(handles.trash, name.encode(), path)
        except OSError:
            # The note is for people who look into the trash; what is there stays there without it.
            pass
        return name

    async def trash_staged(self, name: str, trashed: str = "") -> str:
        handles = self._open()
        staged, place = plain_name(name), plain_name(trashed or _trash_name())
        with translating(staged):
            disk_calls.rename_to_free(handles.staging, staged, handles.trash, place)
        try:
            disk_calls.rename_to_free(handles.staging, NOTE_PREFIX + staged, handles.trash, NOTE_PREFIX + place)
        except OSError:
            # A swapped-out file has no note.
            pass
        return os.fsdecode(place)

    def _trashed(self, handles: Handles, name: str, below: bytes, flags: int) -> int:
        path = plain_name(name) + (b"/" + below if below else b"")
        return disk_calls.open_beneath(handles.trash, path, flags, is_openat2_tried=self._is_openat2_used)

    def _trashed_parent(self, handles: Handles, name: str, below: bytes) -> tuple[int, bytes]:
        """Open the folder that holds something in the trash. Result: (handle, name)."""
        if not below:
            return os.dup(handles.trash), plain_name(name)
        folder, last = split(DiskPath(below))
        return self._trashed(handles, name, folder, PLACE), last

    async def open_trashed(self, name: str) -> LocalOpenFile:
        handles = self._open()
        top, _, below = name.partition("/")
        with translating(os.fsencode(name), is_reading=True):
            handle = self._trashed(handles, top, os.fsencode(below), os.O_RDONLY | os.O_NONBLOCK)
        return as_regular(handle, os.fsencode(name), handles.device, has_xattrs=self._has_xattrs)

    async def list_trashed(self, name: str, below: bytes = b"") -> list[Listed]:
        handles = self._open()
        with translating(os.fsencode(name), is_reading=True):
            folder = self._trashed(handles, name, below, FOLDER)
            try:
                return list_handle(folder, handles.device)
            finally:
                os.close(folder)

    async def stat_trashed(self, name: str, below: bytes = b"") -> Stat | None:
        handles = self._open()
        try:
            folder, last = self._trashed_parent(handles, name, below)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise fault_of(error, os.fsencode(name), is_reading=True) from error
        try:
            return stat_or_none(folder, last, handles.device)
        finally:
            os.close(folder)

    async def restore_trashed(self, name: str, below: bytes, path: DiskPath) -> Stat:
        handles = self._open()
        with translating(path):
            folder, last = self._trashed_parent(handles, name, below)
        try:
            return self._from_own(handles, folder, last, path)
        finally:
            os.close(folder)

    async def sync_trash(self) -> None:
        handles = self._open()
        with translating(b"trash"):
            os.fsync(handles.trash)

    async def sync_volume(self) -> None:
        handles = self._open()
        with translating(b""):
            disk_calls.sync_volume(handles.root)

    async def kept_in_trash(self) -> list[tuple[str, DiskPath | None]]:
        handles = self._open()
        with translating(b"trash"):
            names = sorted(os.listdir(handles.trash))
        found: list[tuple[str, DiskPath | None]] = []
        for name in names:
            if not name.startswith(_NOTE) and _trashed_at(name) is None:
                path = read_note(handles.trash, os.fsencode(name))
                found.append((name, None if path is None else DiskPath(path)))
        return found

    async def purge_trash(self, before_ns: int) -> int:
        handles = self._open()
        with translating(b"trash"):
            names = sorted(os.listdir(handles.trash))
        due = [name for name in names if (born := _trashed_at(name)) is not None and born < before_ns]
        fault: Fault | None = None
        purged = 0
        for name in due:
            try:
                _remove_tree(handles.trash, name.encode())
                purged += not name.startswith(_NOTE)
            except OSError as error:
                fault = fault_of(error, name.encode())
        if fault is not None:
            raise fault
        return purged


def _trash_name() -> str:
    return f"{time.time_ns()}-{os.urandom(4).hex()}"


def _trashed_at(name: str) -> int | None:
    head, dash, _ = name.removeprefix(_NOTE).partition("-")
    return int(head) if dash and head.isdigit() else None


def _remove_tree(folder: int, name: bytes) -> None:
    """Delete for good, never through a symlink and never in another file system mounted inside. Raises: OSError."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if disk_calls.kind_of(found.st_mode) != Kind.FOLDER:
        os.unlink(name, dir_fd=folder)
        return
    opened = disk_calls.open_beneath(folder, name, FOLDER)
    try:
        for inside in os.listdir(opened):
            _remove_tree(opened, os.fsencode(inside))
    finally:
        os.close(opened)
    os.rmdir(name, dir_fd=folder)
