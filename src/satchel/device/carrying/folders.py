"""Folders of an export, opened one by one beneath its top. Invariant: no link on the disk is ever followed, so nothing
is read or written outside, whatever the service names; what stands in the way is set aside and never removed.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from typing import BinaryIO

from satchel.core.errors import FileChanging
from satchel.device.content_hashing import content_of

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SHOWN_CHARS = 60


def open_beneath(top: int, names: Sequence[str]) -> int:
    """Return a handle of a folder beneath `top`. Raises: OSError (a link on the way is none)."""
    handle = os.dup(top)
    for name in names:
        try:
            below = os.open(name, FOLDER_FLAGS, dir_fd=handle)
        finally:
            os.close(handle)
        handle = below
    return handle


def open_file(folder: int, name: str) -> BinaryIO | None:
    """Return a regular file, open for reading; None when something else or nothing has the name. Raises: OSError."""
    if not _is_file(folder, name):
        return None
    handle = os.open(name, FILE_FLAGS, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    return open(handle, "rb")


def holds(folder: int, name: str, *, size: int, content: str) -> bool:
    """Tell whether a regular file of that name holds just this content, by reading it. content: hex."""
    file = open_file(folder, name)
    if file is None:
        return False
    with file:
        if os.fstat(file.fileno()).st_size != size:
            return False
        if content_of(file).hex() == content:
            return True
        file.seek(0)
        return content_of(file, "fixed4m").hex() == content


def ensure_folder(folder: int, name: str, aside: int) -> bool:
    """Make a folder where none is; tell whether something was set aside for it. Raises: OSError."""
    found = _mode(folder, name)
    if found is not None and stat.S_ISDIR(found):
        return False
    is_aside = set_aside(folder, name, aside)
    os.mkdir(name, 0o777, dir_fd=folder)
    return is_aside


def set_aside(folder: int, name: str, aside: int) -> bool:
    """Move what has the name into the folder `aside` under a new one; False when nothing has it. Raises: OSError."""
    if _mode(folder, name) is None:
        return False
    os.rename(name, f"{secrets.token_hex(6)} {name[:_SHOWN_CHARS]}", src_dir_fd=folder, dst_dir_fd=aside)
    return True


def give_name(parts: int, part: str, folder: int, name: str, aside: int) -> bool:
    """Give a finished file its name; tell whether something was set aside for it. Raises: OSError, FileChanging."""
    is_aside = set_aside(folder, name, aside)
    try:
        # A link is refused where the name is taken, which a rename is not; a disk without links is renamed on.
        os.link(part, name, src_dir_fd=parts, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise FileChanging("Something took the name meanwhile.", path=name) from None
    except OSError:
        os.rename(part, name, src_dir_fd=parts, dst_dir_fd=folder)
        return is_aside
    os.unlink(part, dir_fd=parts)
    return is_aside


def dress(file: BinaryIO, *, mtime_ns: int, is_executable: bool) -> None:
    """Give an open file its time and its executable bit, and make it durable. Raises: OSError."""
    file.flush()
    mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    wanted = mode | 0o111 if is_executable else mode & ~0o111
    if wanted != mode:
        os.fchmod(file.fileno(), wanted)
    os.utime(file.fileno(), ns=(mtime_ns, mtime_ns))
    os.fsync(file.fileno())


def read_link(folder: int, name: str) -> str | None:
    """Return where a symlink leads, None when nothing or something else has the name. Raises: OSError."""
    found = _mode(folder, name)
    if found is None or not stat.S_ISLNK(found):
        return None
    return os.readlink(name, dir_fd=folder)


def _mode(folder: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _is_file(folder: int, name: str) -> bool:
    found = _mode(folder, name)
    return found is not None and stat.S_ISREG(found)
