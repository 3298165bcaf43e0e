"""A linked folder's handles: its identity, and how a path is resolved beneath it.

Invariant: every path is resolved from the root's handle without following a symlink, and never into the state folder.
Handles are opened anew when the root was mounted again, and let go when it is missing, so that it can be unmounted.
"""

from __future__ import annotations

import errno
import itertools
import os
import sys
from typing import Final

from satchel.core.entries import Kind
from satchel.core.errors import FileChanging, FileUnreadable, NameInvalid, NotFound, RootMissing
from satchel.core.limits import MIB
from satchel.device import disk_calls, disk_xattrs
from satchel.device.disk_calls import MODE_KIND_SHIFT, MODE_KINDS, fault_of, stat_at, translating
from satchel.device.disk_files import LocalOpenFile
from satchel.device.marker import read_marker, write_marker
from satchel.device.ports import (
    LISTED_AT_ONCE_MAX,
    Brief,
    Compared,
    DiskPath,
    Listed,
    RowsOf,
    Stat,
    Volume,
    split,
)

STATE_NAME = b".satchel"
NOTE_PREFIX = b"n-"
NOTE_BYTES_MAX = 8192
FREE_BYTES_MIN: Final = 64 * MIB
"""Below so much free space nothing is staged: a full disk harms more programs than this one."""

FOLDER = os.O_RDONLY | os.O_DIRECTORY
PLACE = os.O_PATH | os.O_DIRECTORY
FOLDER_KIND: Final = int(Kind.FOLDER)

_IS_UTF8 = sys.getfilesystemencoding().lower() in ("utf-8", "utf8")
"""Names are the texts that the index holds. Elsewhere no name is compared before it was made bytes."""


class Handles:
    """Open handles of one linked folder; closed when the last call that uses them is over. Raises: OSError.

    state: the state folder, seen from the linked one. trash: seen from the state folder.
    """

    __slots__ = ("_opened", "device", "inode", "root", "staging", "state", "trash")

    def __init__(self, root: bytes, state: bytes, trash: bytes = b"trash") -> None:
        self._opened: list[int] = []
        flags = FOLDER | os.O_CLOEXEC
        # The linked folder itself may be reached through symlinks: the user named it. What is ours may not.
        self.root = self._kept(os.open(root, flags))
        flags |= os.O_NOFOLLOW
        self.state = self._kept(os.open(state, flags, dir_fd=self.root))
        self.staging = self._kept(os.open(b"staging", flags, dir_fd=self.state))
        self.trash = self._kept(os.open(trash, flags, dir_fd=self.state))
        found = os.fstat(self.root)
        self.device, self.inode = found.st_dev, found.st_ino

    def _kept(self, handle: int) -> int:
        self._opened.append(handle)
        return handle

    def __del__(self) -> None:
        for handle in self._opened:
            os.close(handle)


class LinkedRoot:
    """The part of `LocalDisk` that the rest stands on."""

    def __init__(
        self,
        root: bytes,
        *,
        state_name: bytes = STATE_NAME,
        free_bytes_min: int = FREE_BYTES_MIN,
        is_openat2_used: bool = True,
        has_xattrs: bool = False,
    ) -> None:
        self._root = root
        self._has_xattrs = has_xattrs
        self._state_name = state_name
        self._free_bytes_min = free_bytes_min
        self._is_openat2_used = is_openat2_used
        self._handles: Handles | None = None
        self._numbers = itertools.count()
        self._run = os.urandom(6).hex()

    # -- the root -----------------------------------------------------------------------------------------------------

    @classmethod
    def initialise(cls, root: bytes, *, state_name: bytes = STATE_NAME) -> None:
        """Make the state folder and the marker in an existing folder (the first link). Idempotent; durable on return.

        Raises: RootMissing when `root` is no folder, StorageFull, StorageFailed, FileUnreadable.
        """
        flags = FOLDER | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = os.open(root, FOLDER | os.O_CLOEXEC)
        except OSError as error:
            raise RootMissing("The folder is not there.", path=os.fsdecode(root), reason=word_of(error)) from error
        try:
            with translating(state_name):
                _make_own_folder(handle, state_name)
                state = os.open(state_name, flags, dir_fd=handle)
                try:
                    _make_own_folder(state, b"staging")
                    _make_own_folder(state, b"trash")
                    write_marker(state)
                    os.fsync(state)
                finally:
                    os.close(state)
                os.fsync(handle)
        finally:
            os.close(handle)

    async def check_root(self) -> Volume:
        where = os.fsdecode(self._root)
        try:
            handles = self._new_handles()
            marker = self._identity(handles)
            volume = disk_calls.filesystem_id(handles.root)
        except OSError as error:
            self._handles = None
            reason = f"folder or state folder cannot be opened: {word_of(error)}"
            raise RootMissing("The linked folder is not there.", path=where, reason=reason) from error
        if marker is None:
            self._handles = None
            raise RootMissing("The linked folder has lost its marker.", path=where, reason="no marker")
        held = self._handles
        if held is None or (held.device, held.inode) != (handles.device, handles.inode) or not _is_reachable(held):
            self._handles = handles
        return Volume(marker, volume)

    def _new_handles(self) -> Handles:
        """Raises: OSError."""
        return Handles(self._root, self._state_name)

    def _identity(self, handles: Handles) -> bytes | None:
        """Return what tells this folder from any other, None where that is lost. Raises: OSError."""
        return read_marker(handles.state)

    def _open(self) -> Handles:
        """Return the handles. Raises: RootMissing."""
        handles = self._handles
        if handles is not None:
            return handles
        try:
            handles = self._new_handles()
        except OSError as error:
            where = os.fsdecode(self._root)
            raise RootMissing("The linked folder is not there.", path=where, reason=word_of(error)) from error
        self._handles = handles
        return handles

    # -- resolving ----------------------------------------------------------------------------------------------------

    def _require_path(self, path: DiskPath) -> None:
        """Refuse what is no path below the root. The state folder is not to be seen. Raises: NameInvalid."""
        if not path:
            return
        names: list[bytes] = path.split(b"/")
        is_plain = path.find(b"\0") < 0 and b"" not in names and b"." not in names and b".." not in names
        if not is_plain or names[0] == self._state_name:
            raise NameInvalid("This is no path in the linked folder.", name=os.fsdecode(path), reason="path")

    def _beneath(self, handles: Handles, path: DiskPath, flags: int) -> int:
        self._require_path(path)
        return disk_calls.open_beneath(handles.root, path, flags, is_openat2_tried=self._is_openat2_used)

    def _parent(self, handles: Handles, path: DiskPath) -> tuple[int, bytes]:
        """Open the folder that holds `path`. Result: (handle, name). The root itself has none."""
        if not path:
            raise NameInvalid("The linked folder itself stays where it is.", name="", reason="root")
        self._require_path(path)
        folder, name = split(path)
        return self._beneath(handles, folder, PLACE), name

    def _stat_at(self, handles: Handles, folder: int, name: bytes) -> Stat:
        """As `stat_at`, with the extended attributes where they are synced. Raises: OSError."""
        stat = stat_at(folder, name, handles.device)
        return disk_xattrs.seen_with(stat, folder, name) if self._has_xattrs else stat

    def _require_home(self, handles: Handles, folder: int, home: Stat | None, path: DiskPath) -> None:
        """Raises: NotFound when another folder has taken the name; OSError."""
        if home is not None and not stat_at(folder, b"", handles.device).same_thing(home):
            raise NotFound("The folder is gone; another has its name.", path=path)

    def _from_own(self, handles: Handles, own: int, name: bytes, path: DiskPath, home: Stat | None = None) -> Stat:
        """Move something out of a folder of ours to a free name. handles: held by the caller, so that `own` stays."""
        with translating(path):
            folder, target = self._parent(handles, path)
            try:
                self._require_home(handles, folder, home, path)
                disk_calls.rename_to_free(own, name, folder, target)
                return self._stat_at(handles, folder, target)
            finally:
                os.close(folder)

    def _require_as_planned(
        self, handles: Handles, at: tuple[int, bytes], expected: Stat | None, path: DiskPath
    ) -> None:
        """Raises: FileChanging, OSError."""
        if expected is not None and not self._stat_at(handles, *at).is_as_planned(expected):
            raise FileChanging("It is not as it was planned on.", path=path)

    def _into_own(self, handles: Handles, own: int, name: bytes, path: DiskPath, expected: Stat | None = None) -> Stat:
        """Move something from the linked folder to a free name in a folder of ours. expected: as for `move`."""
        with translating(path):
            folder, source = self._parent(handles, path)
            try:
                self._require_as_planned(handles, (folder, source), expected, path)
                disk_calls.rename_to_free(folder, source, own, name)
                return stat_at(own, name, handles.device)
            finally:
                os.close(folder)


def _make_own_folder(parent: int, name: bytes) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        pass


def write_note(folder: int, name: bytes, path: bytes) -> None:
    """Note where something stood, durably before what follows. A second note replaces nothing. Raises: OSError."""
    try:
        os.symlink(path, NOTE_PREFIX + name, dir_fd=folder)
    except PermissionError:
        # A volume without symlinks, as FAT: then a file has to be fsynced.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(NOTE_PREFIX + name, flags, 0o600, dir_fd=folder)
        try:
            os.write(handle, path)
            os.fsync(handle)
        finally:
            os.close(handle)


def read_note(folder: int, name: bytes) -> bytes | None:
    """Return the path that was noted, None when there is no note."""
    try:
        return os.readlink(NOTE_PREFIX + name, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError:
        pass
    try:
        handle = os.open(NOTE_PREFIX + name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        # A lost note costs only the old place, never the bytes.
        return None
    try:
        return os.read(handle, NOTE_BYTES_MAX) or None
    finally:
        os.close(handle)


def drop_note(folder: int, name: bytes) -> None:
    """Remove a note; one that stays behind is harmless."""
    try:
        os.unlink(NOTE_PREFIX + name, dir_fd=folder)
    except OSError:
        pass


def word_of(error: OSError) -> str:
    """Return the error's name, as ENOENT."""
    return errno.errorcode.get(error.errno or 0, "unknown")


def _is_reachable(handles: Handles) -> bool:
    """False when the state folder or a folder in it was removed: an open handle would go on working, in the void."""
    return all(os.fstat(one).st_nlink > 0 for one in (handles.state, handles.staging, handles.trash))


def plain_name(name: str) -> bytes:
    """Return the bytes of one name in a folder of ours. Raises: NotFound for what can be none."""
    raw = os.fsencode(name)
    if not raw or b"/" in raw or b"\0" in raw or raw in (b".", b".."):
        raise NotFound("This is no name in the state folder.", path=name)
    return raw


def as_regular(handle: int, path: bytes, device: int, *, has_xattrs: bool = False) -> LocalOpenFile:
    """Wrap an opened regular file; what is anything else is closed. Raises: FileUnreadable."""
    if disk_calls.kind_of(os.fstat(handle).st_mode) != Kind.FILE:
        os.close(handle)
        raise FileUnreadable("This is no regular file.", path=os.fsdecode(path), reason="kind")
    return LocalOpenFile(handle, path, device, has_xattrs=has_xattrs)


def list_handle(folder: int, device: int) -> list[Listed]:
    """List an open folder, sorted by name, without birth times. Raises: OSError; then nothing may be derived."""
    found: list[Listed] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                stat = disk_calls.listed_stat(entry.stat(follow_symlinks=False), device)
            except FileNotFoundError:
                # Deleted since its name was read.
                continue
            found.append(Listed(os.fsencode(entry.name), stat))
    found.sort(key=lambda one: one.name)
    return found


def compare_handle(folder: int, device: int, rows_of: RowsOf) -> Compared:
    """As `FileSystem.compare_folder`, of an open folder. Raises: OSError; then nothing may be derived."""
    found = Compared([], [], 0)
    with os.scandir(folder) as entries:
        is_over = False
        while not is_over:
            portion = list(itertools.islice(entries, LISTED_AT_ONCE_MAX))
            is_over = len(portion) < LISTED_AT_ONCE_MAX
            rows = rows_of([entry.name for entry in portion])
            found.same += _compare(portion, device, rows if _IS_UTF8 else {}, found)
    found.others.sort(key=lambda one: one.name)
    return found


def _compare(entries: list[os.DirEntry[str]], device: int, rows: dict[str, Brief], found: Compared) -> int:
    """Compare names with their rows. Result: how many are as these say; what else there is is added to `found`.

    This loop runs over every name of a full scan, so it makes no value for what is as its row says.
    """
    same = 0
    for entry in entries:
        try:
            stat = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            # Deleted since its name was read.
            continue
        name = entry.name
        row = rows.get(name)
        # By number, which is faster than by name: a stat begins with mode, inode, device, and [6] is the size.
        if (
            row is not None
            and stat.st_ctime_ns == row[1]
            and stat.st_mtime_ns == row[2]
            and stat[1] == row[4]
            and stat[2] == device
            and stat[0] >> MODE_KIND_SHIFT == MODE_KINDS[row[6]]
            and (stat[6] == row[3] or row[6] == FOLDER_KIND)
        ):
            if row[6] == FOLDER_KIND:
                found.folders.append(row)
            del rows[name]
            same += 1
            continue
        found.others.append(Listed(os.fsencode(name), disk_calls.listed_stat(stat, device)))
    return same


def stat_or_none(folder: int, name: bytes, device: int) -> Stat | None:
    """Stat a name in an open folder, None when it is not there. Raises: FileUnreadable."""
    try:
        return stat_at(folder, name, device)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise fault_of(error, name, is_reading=True) from error
