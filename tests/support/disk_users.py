"""The person at the keyboard: changes a linked folder behind Satchel's back, on the fake disk or on a real one.

Invariant: times move as a kernel moves them, and what a user did is durable at once (the kernel's own write-back),
unless the user is made otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from satchel.core.entries import Kind
from satchel.device.ports import DiskPath, split
from tests.support.fake_disk import FakeDisk
from tests.support.fake_volume import Inode


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

    def tree(self) -> dict[bytes, bytes | None]:
        """Return path -> bytes of a file, target of a symlink, None for a folder; without the state folder."""
        ...

    def everything(self) -> set[bytes]:
        """Return the contents of all files, in the linked folder, in staging and in the trash."""
        ...


class FakeUser:
    """A user of a `FakeDisk`. After a crash: a new one, for the new disk.

    is_durable: False keeps what is done from the platter, as a kernel does for the first seconds.
    """

    def __init__(self, disk: FakeDisk, *, is_durable: bool = True) -> None:
        self.disk = disk
        self.is_durable = is_durable

    def _at(self, path: bytes) -> tuple[Inode, bytes]:
        folder, name = split(DiskPath(path))
        volume = self.disk.volume
        return volume.folder(volume.root, folder), name

    def _do(self, *changes: tuple[Inode, bytes, Inode | None]) -> None:
        self.disk.volume.do(*changes)
        if self.is_durable:
            for folder, _, _ in changes:
                self.disk.volume.sync_with_names(folder)

    def write_file(self, path: bytes, data: bytes) -> None:
        folder, name = self._at(path)
        inode = folder.entries.get(name)
        if inode is None:
            inode = self.disk.volume.inode(Kind.FILE)
            self._do((folder, name, inode))
        _require_file(inode, path)
        self._write(inode, data)

    def inode_at(self, path: bytes) -> Inode:
        """Return what stands at the path, as an open handle would name it."""
        folder, name = self._at(path)
        return folder.entries[name]

    def is_symlink(self, path: bytes) -> bool:
        """Tell whether a symlink stands at the path."""
        return self.inode_at(path).kind == Kind.SYMLINK

    def is_executable(self, path: bytes) -> bool:
        """Tell whether the bit is set."""
        return self.inode_at(path).is_executable

    def write_inode(self, inode: Inode, data: bytes) -> None:
        """Write through an open handle, wherever the file stands by now."""
        self._write(inode, data)

    def _write(self, inode: Inode, data: bytes) -> None:
        inode.data[:] = data
        inode.mtime_ns = inode.ctime_ns = self.disk.volume.tick()
        if self.is_durable:
            inode.save()

    def save_file(self, path: bytes, data: bytes) -> None:
        folder, name = self._at(path)
        old = folder.entries.get(name)
        if old is not None:
            _require_file(old, path)
        inode = self.disk.volume.inode(Kind.FILE)
        self._write(inode, data)
        self._do((folder, name, inode))
        if old is not None:
            self.disk.volume.free(old)

    def open_late(self, path: bytes) -> LateWriter:
        folder, name = self._at(path)
        return _FakeLateWriter(self, folder.entries[name])

    def rename(self, source: bytes, target: bytes) -> None:
        folder, name = self._at(source)
        inode = folder.entries[name]
        target_folder, target_name = self._at(target)
        old = target_folder.entries.get(target_name)
        self._do((folder, name, None), (target_folder, target_name, inode))
        if old is not None:
            self.disk.volume.free(old)

    def delete(self, path: bytes) -> None:
        folder, name = self._at(path)
        for below in list(folder.entries[name].entries):
            self.delete(path + b"/" + below)
        inode = folder.entries[name]
        self._do((folder, name, None))
        self.disk.volume.free(inode)

    def make_folder(self, path: bytes) -> None:
        self._make(path, Kind.FOLDER, b"")

    def make_symlink(self, path: bytes, target: bytes) -> None:
        self._make(path, Kind.SYMLINK, target)

    def _make(self, path: bytes, kind: Kind, target: bytes) -> None:
        folder, name = self._at(path)
        if name in folder.entries:
            raise FileExistsError(path)
        self._do((folder, name, self.disk.volume.inode(kind, target=target)))

    def set_executable(self, path: bytes, is_executable: bool) -> None:
        folder, name = self._at(path)
        inode = folder.entries[name]
        inode.is_executable = is_executable
        inode.ctime_ns = self.disk.volume.tick()
        inode.save()

    def tree(self) -> dict[bytes, bytes | None]:
        return dict(sorted(_walk(self.disk.volume.root, b"")))

    def everything(self) -> set[bytes]:
        return {bytes(one.data) for one in self.disk.volume.everything() if one.kind == Kind.FILE}


def _require_file(inode: Inode, path: bytes) -> None:
    if inode.kind != Kind.FILE:
        raise IsADirectoryError(path)


def _walk(folder: Inode, path: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    for name, one in folder.entries.items():
        at = path + b"/" + name if path else name
        if one.kind == Kind.FOLDER:
            yield at, None
            yield from _walk(one, at)
        else:
            yield at, one.target if one.kind == Kind.SYMLINK else bytes(one.data)


class _FakeLateWriter:
    def __init__(self, user: FakeUser, inode: Inode) -> None:
        self._user = user
        self._inode = inode

    def write(self, data: bytes) -> None:
        self._user._write(self._inode, data)

    def close(self) -> None:
        pass


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
