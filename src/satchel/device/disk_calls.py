"""The few Linux calls that Python does not offer, and the one translation of the disk's errors into faults.

Invariant: nothing here follows a symlink or leaves the folder it was given. openat2 resolves a whole path beneath a
handle in one call; where the kernel refuses it, the path is walked one name at a time. Source: man 2 openat2,
renameat2, statx; the numbers are those of the kernel's uapi headers.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat as modes
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from satchel.core.entries import Kind
from satchel.core.errors import Fault, FileUnreadable, NameInvalid, NameTaken, NotFound, StorageFailed, StorageFull
from satchel.device.ports import Stat

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

_SYS_OPENAT2 = 437  # The same on every architecture but Alpha.
_RESOLVE = 0x01 | 0x02 | 0x04 | 0x08  # NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_EMPTY_PATH = 0x1000
_STATX_WANTED = 0x7FF | 0x800  # basic stats and birth time
_STATX_BTIME = 0x800
_STATX_ATTR_MOUNT_ROOT = 0x2000
_STATX = struct.Struct("=I4xQ12xH2xQQ8x8x16xqI4xqI4xqI4x8xII")
_STATX_BYTES = 256
_OPEN_HOW = struct.Struct("=QQQ")
_FS_IOC_GETFSUUID = 0x80111500

_OUT_OF_REACH = (
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.EXDEV,
    errno.ETXTBSY,
    errno.EBUSY,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_libc.statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
_libc.syscall.restype = ctypes.c_long
_openat2_args = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
_libc.syscall.argtypes = _openat2_args


class _Buffer(threading.local):
    """One statx answer a thread, since the call releases the interpreter."""

    def __init__(self) -> None:
        self.answer = ctypes.create_string_buffer(_STATX_BYTES)


_buffer = _Buffer()


def open_beneath(folder: int, path: bytes, flags: int, *, is_openat2_tried: bool = True) -> int:
    """Open `path` below the handle `folder` without following any symlink or crossing a mount. b"" is the folder.

    Result: a handle that the caller closes. Raises: OSError; ELOOP for a symlink on the way or at its end.
    """
    if is_openat2_tried:
        # Without O_NOFOLLOW: with it a symlink at the end would be called "not a directory", which means an absence.
        how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, 0, _RESOLVE)
        for _ in range(8):
            handle: int = _libc.syscall(_SYS_OPENAT2, folder, path or b".", how, len(how))
            if handle >= 0:
                return handle
            number = ctypes.get_errno()
            # EAGAIN: something on the way was renamed meanwhile, so the kernel cannot vouch for the answer.
            if number not in (errno.EAGAIN, errno.EINTR):
                break
        # EPERM is how some sandboxes answer a call they do not know; a true one comes again below.
        if number not in (errno.ENOSYS, errno.EPERM, errno.EAGAIN):
            raise OSError(number, os.strerror(number), path)
    return _walk_beneath(folder, path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)


def _walk_beneath(folder: int, path: bytes, flags: int) -> int:
    """Open one name after the other, so that each can be seen not to be a symlink."""
    names = path.split(b"/") if path else [b"."]
    device = os.fstat(folder).st_dev
    at = os.dup(folder)
    try:
        for name in names[:-1]:
            below = _open_name(at, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            os.close(at)
            at = below
        found = _open_name(at, names[-1], flags)
    finally:
        os.close(at)
    if os.fstat(found).st_dev != device:
        os.close(found)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    return found


def _open_name(folder: int, name: bytes, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except NotADirectoryError:
        # With O_DIRECTORY the kernel calls a symlink "not a directory"; a symlink must not look like an absence.
        if modes.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise


def rename(source_folder: int, source: bytes, target_folder: int, target: bytes, flags: int) -> None:
    """renameat2. Raises: OSError; EINVAL where the volume does not know the flag (or for a folder into itself)."""
    if _libc.renameat2(source_folder, source, target_folder, target, flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), source, None, target)


def rename_to_free(source_folder: int, source: bytes, target_folder: int, target: bytes) -> None:
    """Rename to a name that must be free, also where the volume has no RENAME_NOREPLACE. Raises: OSError (EEXIST)."""
    try:
        rename(source_folder, source, target_folder, target, RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        _rename_by_link(source_folder, source, target_folder, target)


def _rename_by_link(source_folder: int, source: bytes, target_folder: int, target: bytes) -> None:
    """A hard link fails when its name is taken, which makes it a no-replace; a folder is only ever put over nothing."""
    if modes.S_ISDIR(os.stat(source, dir_fd=source_folder, follow_symlinks=False).st_mode):
        try:
            os.stat(target, dir_fd=target_folder, follow_symlinks=False)
        except FileNotFoundError:
            # In the gap only an empty folder could appear and be replaced: the kernel refuses all else.
            os.rename(source, target, src_dir_fd=source_folder, dst_dir_fd=target_folder)
            return
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.link(source, target, src_dir_fd=source_folder, dst_dir_fd=target_folder, follow_symlinks=False)
    os.unlink(source, dir_fd=source_folder)


Statx = tuple[int, ...]
"""What statx says, but for the time of the last access."""


def statx_at(folder: int, name: bytes) -> Statx:
    """statx of a name in a folder; b"" is the handle itself. Two are equal when nothing changed. Raises: OSError."""
    flags = _AT_SYMLINK_NOFOLLOW if name else _AT_EMPTY_PATH
    answer = _buffer.answer
    if _libc.statx(folder, name, flags, _STATX_WANTED, answer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return _STATX.unpack_from(answer)


def stat_at(folder: int, name: bytes, device: int) -> Stat:
    """Stat a name in a folder, birth time included; b"" is the handle itself. device: the linked folder's own.

    Raises: OSError.
    """
    return stat_of(statx_at(folder, name), device, is_named=bool(name))


def stat_of(found: Statx, device: int, *, is_named: bool) -> Stat:
    """Return the Stat of what statx says. is_named: of a name in a folder, which may be a mount."""
    mask, attributes, mode, inode, size, born_s, born_ns, changed_s, changed_ns, written_s, written_ns, major, minor = (
        found
    )
    its_device = os.makedev(major, minor)
    is_foreign = its_device != device or bool(is_named and attributes & _STATX_ATTR_MOUNT_ROOT)
    kind = None if is_foreign else kind_of(mode)
    return Stat(
        kind,
        0 if kind == Kind.FOLDER else size,
        written_s * 1_000_000_000 + written_ns,
        changed_s * 1_000_000_000 + changed_ns,
        inode,
        born_s * 1_000_000_000 + born_ns if mask & _STATX_BTIME else 0,
        kind == Kind.FILE and bool(mode & 0o100),
        its_device,
    )


def listed_stat(found: os.stat_result, device: int) -> Stat:
    """Return the Stat of what os.stat says, without birth time."""
    kind = None if found.st_dev != device else kind_of(found.st_mode)
    return Stat(
        kind,
        0 if kind == Kind.FOLDER else found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_ino,
        0,
        kind == Kind.FILE and bool(found.st_mode & 0o100),
        found.st_dev,
    )


MODE_KIND_SHIFT: Final = 12
MODE_KINDS: Final = (0, modes.S_IFREG >> 12, modes.S_IFDIR >> 12, modes.S_IFLNK >> 12, 0)
"""What a mode says above its lowest 12 bits, by kind; a mount is none of the disk's."""


def kind_of(mode: int) -> Kind | None:
    """Return the kind of a mode; None for what is not synced."""
    if modes.S_ISREG(mode):
        return Kind.FILE
    if modes.S_ISDIR(mode):
        return Kind.FOLDER
    return Kind.SYMLINK if modes.S_ISLNK(mode) else None


def executable_mode(mode: int, is_executable: bool) -> int:
    """Return the permission bits with execution given to those who may read, or taken from all."""
    bare = mode & 0o777 & ~0o111
    return bare | (bare & 0o444) >> 2 if is_executable else bare


def sync_volume(folder: int) -> None:
    """Write out everything of the volume that the folder is on. Raises: OSError, also for a write that failed before.

    Source: syncfs(2).
    """
    if _libc.syncfs(folder):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def filesystem_id(folder: int) -> bytes:
    """Return what tells this file system from another, also after a restart of the machine; b"" when nothing does.

    Some file systems (XFS, FAT) answer with the device number, which may change between starts: there the volume's
    UUID is taken if the kernel tells it.
    """
    found = os.fstat(folder).st_dev
    major, minor = os.major(found), os.minor(found)
    encoded = (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
    number = os.fstatvfs(folder).f_fsid
    if number not in (0, encoded):
        return number.to_bytes(8, "big")
    return _volume_uuid(folder)


def _volume_uuid(folder: int) -> bytes:
    # Imported here: a platform without it has no such call either.
    import fcntl

    answer = bytearray(17)
    try:
        fcntl.ioctl(folder, _FS_IOC_GETFSUUID, answer)
    except OSError:
        return b""
    return bytes(answer[1 : 1 + answer[0]])


@contextmanager
def translating(path: bytes, *, is_reading: bool = False) -> Iterator[None]:
    """Turn the OSErrors of the body into faults about `path`."""
    try:
        yield
    except OSError as error:
        raise fault_of(error, path, is_reading=is_reading) from error


def fault_of(error: OSError, path: bytes, *, is_reading: bool = False) -> Fault:
    """Return the fault for an error of the disk. is_reading: a read error is the one file's, not the store's."""
    number = error.errno or 0
    where = os.fsdecode(path)
    reason = errno.errorcode.get(number, str(number))
    if number in (errno.ENOENT, errno.ENOTDIR):
        return NotFound("Nothing is there.", path=where)
    if number in (errno.EEXIST, errno.ENOTEMPTY):
        return NameTaken("The name is taken.", path=where)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("The disk is full.", where=where)
    if number in _OUT_OF_REACH:
        return FileUnreadable("The file or folder is out of reach.", path=where, reason=reason)
    if number in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL) and not is_reading:
        return NameInvalid("This disk cannot hold the name.", name=where, reason=reason)
    if is_reading:
        return FileUnreadable("The file or folder could not be read.", path=where, reason=reason)
    return StorageFailed("The disk failed.", where=where, reason=reason)
