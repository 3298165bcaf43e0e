"""Open files of the real disk: one being read, one being written in staging.

Invariant: a failed fsync is never retried; the staged file is dropped and its bytes are fetched again. What is zero for
long is not written but left out, so that a sparse file has its holes here too.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator

from satchel.core.entries import Kind
from satchel.core.errors import FileChanging, FileUnreadable, StorageFailed, StorageFull
from satchel.core.limits import KIB, MIB
from satchel.device.disk_calls import executable_mode, fault_of, stat_at, stat_of, statx_at, translating
from satchel.device.disk_xattrs import give, seen_with
from satchel.device.ports import OpenFile, Stat

FREE_CHECK_BYTES = 32 * MIB
"""After so many bytes written the free space is looked at again."""
COPY_BYTES = 1 * MIB
HOLE_BYTES = 64 * KIB
"""Zeros of this length, at a multiple of it, become a hole: smaller ones would only scatter the file."""
_ZEROS = bytes(HOLE_BYTES)
_NO_SHARED_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)


class LocalOpenFile:
    """A regular file opened for reading (see the port `OpenFile`)."""

    __slots__ = ("_device", "_has_xattrs", "_path", "handle")

    def __init__(self, handle: int, path: bytes, device: int, *, has_xattrs: bool = False) -> None:
        self.handle = handle
        self._path = path
        self._device = device
        self._has_xattrs = has_xattrs

    async def stat(self) -> Stat:
        with translating(self._path, is_reading=True):
            stat = stat_at(self.handle, b"", self._device)
            return seen_with(stat, self.handle, b"") if self._has_xattrs else stat

    async def read(self, offset: int, length: int) -> bytes:
        with translating(self._path, is_reading=True):
            data = os.pread(self.handle, length, offset)
            if len(data) == length or not data:
                return data
            pieces = [data]
            read = len(data)
            while read < length and (data := os.pread(self.handle, length - read, offset + read)):
                pieces.append(data)
                read += len(data)
            return b"".join(pieces)

    async def close(self) -> None:
        handle, self.handle = self.handle, -1
        if handle >= 0:
            os.close(handle)


def read_whole(
    handle: int, path: bytes, device: int, bytes_max: int, *, has_xattrs: bool = False
) -> tuple[Stat, bytes] | None:
    """Read an open regular file whole, None when it is longer than `bytes_max`.

    Raises: OSError, FileUnreadable, FileChanging.
    """
    begun = statx_at(handle, b"")
    before = stat_of(begun, device, is_named=False)
    if before.kind is not Kind.FILE:
        raise FileUnreadable("This is no regular file.", path=os.fsdecode(path), reason="kind")
    if before.size > bytes_max:
        return None
    data = os.pread(handle, before.size + 1, 0) if before.size else b""
    while 0 < len(data) < before.size and (piece := os.pread(handle, before.size - len(data), len(data))):
        data += piece
    if has_xattrs:
        before = seen_with(before, handle, b"")
    if len(data) != before.size or statx_at(handle, b"") != begun:
        raise FileChanging("A file changed while it was being read.", path=path)
    return before, data


class LocalStagedFile:
    """A file in staging (see the port `StagedFile`). staging: handle of its folder, kept open by `owner`."""

    __slots__ = (
        "_device",
        "_free_bytes_min",
        "_handle",
        "_has_xattrs",
        "_owner",
        "_position",
        "_staging",
        "_unchecked",
        "name",
    )

    def __init__(
        self,
        name: str,
        handle: int,
        *,
        staging: int,
        owner: object,
        device: int,
        position: int,
        free_bytes_min: int,
        has_xattrs: bool = False,
    ) -> None:
        self.name = name
        self._handle = handle
        self._staging = staging
        self._owner = owner
        self._device = device
        self._position = position
        self._free_bytes_min = free_bytes_min
        self._has_xattrs = has_xattrs
        self._unchecked = 0

    async def write(self, data: bytes | memoryview) -> None:
        with translating(b"staging"):
            self._write_all(memoryview(data))

    def _write_all(self, data: memoryview) -> None:
        self._require_room(len(data))
        begin = self._position
        for start, end, is_hole in _runs(data, begin):
            if is_hole:
                self._leave_out(end - start)
                continue
            written = start
            while written < end:
                written += os.pwrite(self._handle, data[written:end], begin + written)
            self._position = begin + end

    def _leave_out(self, length: int) -> None:
        """Go on behind a hole. Staged files only grow, so there is nothing behind the position that would show."""
        self._position += length
        os.ftruncate(self._handle, self._position)

    def _require_room(self, coming: int) -> None:
        self._unchecked += coming
        if self._unchecked < FREE_CHECK_BYTES:
            return
        self._unchecked = 0
        require_room(self._handle, self._free_bytes_min)

    async def copy_from(self, source: OpenFile, offset: int, length: int) -> None:
        done = 0
        if isinstance(source, LocalOpenFile):
            with translating(b"staging"):
                done = self._share(source.handle, offset, length)
        while done < length:
            data = await source.read(offset + done, min(COPY_BYTES, length - done))
            if not data:
                raise FileChanging("A file became shorter while it was copied.", path=self.name)
            await self.write(data)
            done += len(data)

    def _share(self, source: int, offset: int, length: int) -> int:
        """Let the kernel copy, or share blocks where the volume can. Result: bytes done; the rest must be read."""
        self._require_room(length)
        done = 0
        while done < length:
            hole, content = _next_content(source, offset + done, length - done)
            if hole:
                self._leave_out(hole)
                done += hole
                continue
            try:
                copied = os.copy_file_range(source, self._handle, content, offset + done, self._position)
            except OSError as error:
                if error.errno in _NO_SHARED_COPY:
                    break
                raise
            if copied == 0:
                break
            done += copied
            self._position += copied
        return done

    async def read(self, offset: int, length: int) -> bytes:
        with translating(b"staging", is_reading=True):
            return os.pread(self._handle, length, offset)

    async def finish(self, *, mtime_ns: int, is_executable: bool, xattrs: bytes = b"") -> Stat:
        handle = self._handle
        try:
            if self._has_xattrs and xattrs:
                give(handle, xattrs)
            os.utime(handle, ns=(time.time_ns(), mtime_ns))
            mode = os.fstat(handle).st_mode & 0o777
            wanted = executable_mode(mode, is_executable)
            if mode != wanted:
                os.fchmod(handle, wanted)
            os.fsync(handle)
            finished = stat_at(handle, b"", self._device)
            if self._has_xattrs:
                finished = seen_with(finished, handle, b"")
        except OSError as error:
            await self.discard()
            raise fault_of(error, b"staging") from error
        self._handle = -1
        os.close(handle)
        return finished

    async def close(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    async def discard(self) -> None:
        handle, self._handle = self._handle, -1
        if handle < 0:
            return
        os.close(handle)
        try:
            os.unlink(self.name, dir_fd=self._staging)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StorageFailed("Staging could not be cleaned.", where=self.name, reason=str(error.errno)) from error


def _runs(data: memoryview, begin: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (start, end, is hole) of what lies in `data` one after the other. begin: where it comes to in the file."""
    start = 0
    at = -begin % HOLE_BYTES
    while at + HOLE_BYTES <= len(data):
        end = at
        # Nearly all that is no hole is told by its first or last byte.
        while (
            end + HOLE_BYTES <= len(data)
            and not (data[end] or data[end + HOLE_BYTES - 1])
            and data[end : end + HOLE_BYTES].tobytes() == _ZEROS
        ):
            end += HOLE_BYTES
        if end > at:
            if at > start:
                yield start, at, False
            yield at, end, True
            start = end
        at = end if end > at else at + HOLE_BYTES
    if start < len(data):
        yield start, len(data), False


def _next_content(source: int, offset: int, length: int) -> tuple[int, int]:
    """Return (bytes of a hole at `offset`, bytes of content after it) of an open file, together at most `length`."""
    try:
        content = os.lseek(source, offset, os.SEEK_DATA)
        if content > offset:
            return min(content - offset, length), 0
        return 0, min(os.lseek(source, offset, os.SEEK_HOLE) - offset, length)
    except OSError as error:
        if error.errno == errno.ENXIO and os.fstat(source).st_size >= offset + length:
            # No content comes any more, and the file has not ended either.
            return length, 0
        return 0, length


def require_room(handle: int, free_bytes_min: int) -> None:
    """Check the free space of the handle's volume. Raises: StorageFull below the floor, OSError."""
    volume = os.fstatvfs(handle)
    free = volume.f_bavail * volume.f_frsize
    if free < free_bytes_min:
        raise StorageFull("The disk is nearly full.", where="staging", free_bytes=free, floor_bytes=free_bytes_min)
