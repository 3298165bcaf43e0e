"""The person at the keyboard: changes a linked folder behind Satchel's back, on the fake disk or on a real one.

Invariant: times move as a kernel moves them, and what a user did is durable at once (the kernel's own write-back),
unless the user is made otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from satchel.core.xattrs import unpack_xattrs


class LateWriter(Protocol):
    """A program that holds a file open for writing."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class User(Protocol):
    """What a user can do. Paths are relative to the linked folder; faults of the world are OSError or KeyError."""

    def write_file(self, path: bytes, data: bytes) -> None:
        """Create, or write anew into the same inode."""
        ...

    def save_file(self, path: bytes, data: bytes) -> None:
        """Write another file and rename it over, as editors do: a new inode."""
        ...

    def open_late(self, path: bytes) -> LateWriter: ...

    def rename(self, source: bytes, target: bytes) -> None: ...

    def delete(self, path: bytes) -> None: ...

    def make_folder(self, path: bytes) -> None: ...

    def make_symlink(self, path: bytes, target: bytes) -> None: ...

    def set_executable(self, path: bytes, is_executable: bool) -> None: ...

    def set_xattrs(self, path: bytes, xattrs: bytes) -> None:
        """Give a file or folder these packed extended attributes, and take all others away."""
        ...

    def tree(self) -> dict[bytes, bytes | None]:
        """Return path -> bytes of a file, target of a symlink, None for a folder; without the state folder."""
        ...

    def everything(self) -> set[bytes]:
        """Return the contents of all files, in the linked folder, in staging and in the trash."""
        ...


class RealUser:
    """A user of a folder on a real disk."""

    def __init__(self, root: bytes) -> None:
        self.root = root

    def at(self, path: bytes) -> bytes:
        return self.root + b"/" + path

    def write_file(self, path: bytes, data: bytes) -> None:
        with open(self.at(path), "wb") as file:
            file.write(data)

    def save_file(self, path: bytes, data: bytes) -> None:
        draft = self.at(path) + b"~draft"
        with open(draft, "wb") as file:
            file.write(data)
        os.rename(draft, self.at(path))

    def open_late(self, path: bytes) -> LateWriter:
        return _RealLateWriter(os.open(self.at(path), os.O_WRONLY))

    def rename(self, source: bytes, target: bytes) -> None:
        os.rename(self.at(source), self.at(target))

    def delete(self, path: bytes) -> None:
        at = self.at(path)
        if os.path.isdir(at) and not os.path.islink(at):
            for name in os.listdir(at):
                self.delete(path + b"/" + name)
            os.rmdir(at)
        else:
            os.unlink(at)

    def make_folder(self, path: bytes) -> None:
        os.mkdir(self.at(path))

    def make_symlink(self, path: bytes, target: bytes) -> None:
        os.symlink(target, self.at(path))

    def set_executable(self, path: bytes, is_executable: bool) -> None:
        os.chmod(self.at(path), 0o755 if is_executable else 0o644)

    def set_xattrs(self, path: bytes, xattrs: bytes) -> None:
        at = self.at(path)
        for name in os.listxattr(at):
            if name.startswith("user."):
                os.removexattr(at, name)
        for short, value in unpack_xattrs(xattrs).items():
            os.setxattr(at, b"user." + short, value)

    def tree(self) -> dict[bytes, bytes | None]:
        found = _read_tree(self.root, b"")
        return {path: data for path, data in sorted(found) if path != b".satchel" and not path.startswith(b".satchel/")}

    def everything(self) -> set[bytes]:
        return {
            data
            for path, data in _read_tree(self.root, b"")
            if data is not None and not os.path.islink(self.at(path)) and path != b".satchel/marker"
        }


def _read_tree(root: bytes, path: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    for name in os.listdir(root + b"/" + path if path else root):
        at = path + b"/" + name if path else name
        full = root + b"/" + at
        if os.path.islink(full):
            yield at, os.readlink(full)
        elif os.path.isdir(full):
            yield at, None
            yield from _read_tree(root, at)
        else:
            yield at, Path(os.fsdecode(full)).read_bytes()


class _RealLateWriter:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    def write(self, data: bytes) -> None:
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, data, 0)

    def close(self) -> None:
        os.close(self._handle)
