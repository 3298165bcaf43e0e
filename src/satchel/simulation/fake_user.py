"""The person at the keyboard of a `FakeDisk`: changes the linked folder behind Satchel's back.

Invariant: times move as a kernel moves them, and what a user did is durable at once (the kernel's own write-back),
unless the user is made otherwise.
"""

from __future__ import annotations

from satchel.core.entries import Kind
from satchel.device.ports import DiskPath, split
from satchel.simulation.fake_disk import FakeDisk
from satchel.simulation.fake_volume import Inode


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
        inode.data = data
        inode.mtime_ns = inode.ctime_ns = self.disk.volume.tick()
        if self.is_durable:
            inode.save()
            self.disk.volume.sync_names_of(inode)

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

    def open_late(self, path: bytes) -> FakeLateWriter:
        folder, name = self._at(path)
        return FakeLateWriter(self, folder.entries[name])

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

    def set_xattrs(self, path: bytes, xattrs: bytes) -> None:
        folder, name = self._at(path)
        inode = folder.entries[name]
        inode.xattrs = xattrs
        inode.ctime_ns = self.disk.volume.tick()
        inode.save()

    def xattrs(self, path: bytes) -> bytes:
        return self.inode_at(path).xattrs

    def tree(self) -> dict[bytes, bytes | None]:
        return {path: shown(one) for path, one in self.found()}

    def has(self, name: bytes) -> bool:
        """Tell whether something stands in the linked folder itself under this name."""
        return name in self.disk.volume.root.entries

    def found(self) -> list[tuple[bytes, Inode]]:
        """Return all that stands in the linked folder, with its path, in the order of the paths."""
        return sorted(_walk(self.disk.volume.root), key=_path_of)

    def files(self) -> list[bytes]:
        """Return the paths of all files, in order."""
        return [path for path, one in self.found() if one.kind is Kind.FILE]

    def trashed(self) -> set[bytes]:
        """Return the contents in the local trash."""
        return {data for data in (shown(one) for _, one in _walk(self.disk.volume.trash)) if data is not None}

    def everything(self) -> set[bytes]:
        return {one.data for one in self.disk.volume.everything() if one.kind == Kind.FILE}


def _require_file(inode: Inode, path: bytes) -> None:
    if inode.kind != Kind.FILE:
        raise IsADirectoryError(path)


def _walk(top: Inode) -> list[tuple[bytes, Inode]]:
    found: list[tuple[bytes, Inode]] = []
    folders = [(b"", top)]
    for path, folder in folders:
        for name, one in folder.entries.items():
            at = path + name
            found.append((at, one))
            if one.kind is Kind.FOLDER:
                folders.append((at + b"/", one))
    return found


def _path_of(one: tuple[bytes, Inode]) -> bytes:
    return one[0]


def shown(one: Inode) -> bytes | None:
    """Return what a tree says of it: a file's bytes, a symlink's target, None for a folder."""
    if one.kind is Kind.FILE:
        return one.data
    return one.target if one.kind is Kind.SYMLINK else None


class FakeLateWriter:
    """A program that holds a file of the fake disk open."""

    def __init__(self, user: FakeUser, inode: Inode) -> None:
        self._user = user
        self._inode = inode

    def write(self, data: bytes) -> None:
        self._user._write(self._inode, data)

    def close(self) -> None:
        pass
