"""A real disk on which something happens in between: a file changes while it is read, a folder cannot be read."""

from __future__ import annotations

from collections.abc import Callable

from satchel.core.errors import FileChanging, FileUnreadable
from satchel.device.disk import LocalDisk
from satchel.device.disk_files import LocalOpenFile
from satchel.device.ports import Compared, DiskPath, Listed, OpenFile, RowsOf, Stat


class MeddlingDisk(LocalDisk):
    """on_read, on_list, on_stat: called with the path after each. closed: paths that cannot be read."""

    on_read: Callable[[DiskPath], None] = staticmethod(lambda path: None)
    on_list: Callable[[DiskPath], None] = staticmethod(lambda path: None)
    on_stat: Callable[[DiskPath], None] = staticmethod(lambda path: None)
    closed: frozenset[bytes] = frozenset()

    async def stat(self, path: DiskPath) -> Stat | None:
        found = await super().stat(path)
        self.on_stat(path)
        return found

    async def list_folder(self, path: DiskPath) -> list[Listed]:
        self._require(path)
        listed = await super().list_folder(path)
        self.on_list(path)
        return listed

    async def compare_folder(self, path: DiskPath, rows_of: RowsOf) -> Compared:
        self._require(path)
        found = await super().compare_folder(path, rows_of)
        self.on_list(path)
        return found

    async def open_file(self, path: DiskPath) -> LocalOpenFile:
        self._require(path)
        return _MeddledFile(await super().open_file(path), path, self)  # type: ignore[return-value]  # same methods

    async def read_short(self, path: DiskPath, bytes_max: int) -> tuple[Stat, bytes] | None:
        file = await self.open_file(path)
        try:
            before = await file.stat()
            if before.size > bytes_max:
                return None
            data = await file.read(0, before.size)
            if len(data) != before.size or await file.stat() != before:
                raise FileChanging("A file changed while it was being read.", path=path)
            return before, data
        finally:
            await file.close()

    def _require(self, path: DiskPath) -> None:
        if path in self.closed:
            raise FileUnreadable("It cannot be read.", path=path, reason="EACCES")


class _MeddledFile:
    def __init__(self, file: OpenFile, path: DiskPath, disk: MeddlingDisk) -> None:
        self._file = file
        self._path = path
        self._disk = disk

    async def stat(self) -> Stat:
        return await self._file.stat()

    async def read(self, offset: int, length: int) -> bytes:
        data = await self._file.read(offset, length)
        self._disk.on_read(self._path)
        return data

    async def close(self) -> None:
        await self._file.close()
