"""The data folder and its lock, and folders that a power cut leaves. Invariant: one process at a time writes below a
data folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from satchel.core.errors import AlreadyRunning, SettingInvalid

SOCKET_PATH_BYTES_MAX = 100


@contextlib.contextmanager
def data_lock(folder: str) -> Iterator[None]:
    """Hold the data folder (made 0700 when missing) for this process. Raises: AlreadyRunning, SettingInvalid."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        fd = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingInvalid("The data folder cannot be used.", setting="data", reason=str(error)) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            raise AlreadyRunning("Another server uses this data folder.", path=folder, pid=holder) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def socket_path(path: str) -> Iterator[str]:
    """Yield a name for the socket at `path` that the system takes: it refuses names of more than 107 bytes."""
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        yield path
        return
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{os.path.basename(path)}"
    finally:
        os.close(fd)


def make_folder(path: str) -> None:
    """Make a folder and those above it, 0700, each one's entry durable before it is used. Raises: OSError."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    make_folder(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    sync_folder(parent)


def sync_folder(path: str) -> None:
    """Make the entries of a folder durable. Raises: OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
