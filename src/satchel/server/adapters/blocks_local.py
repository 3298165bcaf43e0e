"""Packs on a local disk. Invariant: a put is acknowledged only after its bytes and its folder entry are on the disk.

One thread appends to one open log and syncs once for all puts that wait. A log whose sync failed is closed and never
written again: the kernel may have dropped the pages, so a second sync could lie. A log is never continued after a
restart; its tail may be torn. What was appended to a log that is no longer at its place (removed, or another disk is
mounted there) goes into a new one before it is acknowledged. Source: docs/design/030, 060 (10).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from satchel.core.errors import Fault, StorageFailed, StorageFull, Unavailable
from satchel.core.limits import KIB, MIB
from satchel.server.folder import make_folder, sync_folder
from satchel.server.ports import Place, Span

LOG_BYTES_MAX = 64 * MIB
WAITING_MAX = 1_024
GROUP_BYTES_MAX = 64 * MIB
READERS = 4
READS_WAITING_MAX = 256
READ_TIMEOUT_S = 120.0
PUT_TIMEOUT_S = 300.0
_PIECES_PER_CALL = 512
RUN_GAP_BYTES_MAX = 4 * KIB
RUN_BYTES_MAX = MIB
"""Blocks this near to each other are read together, up to so much with one call; a longer block is read alone."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Put:
    """A waiting put; `done` belongs to `loop`."""

    name: str
    pieces: Sequence[bytes | memoryview]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Place]
    size: int
    place: Place | None = None
    fault: Fault | None = None
    is_answered: bool = False
    was_lost: bool = False
    """It stood in a log that went from its place, once."""

    def answer(self) -> None:
        """Hand the result to the waiting loop, unless that has ended."""
        self.is_answered = True
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if self.done.done():
            return
        if self.fault is not None:
            self.done.set_exception(self.fault)
        elif self.place is not None:
            self.done.set_result(self.place)


@dataclass(slots=True)
class _Log:
    """The open log: its name, file descriptor and length so far."""

    name: str
    fd: int
    size: int = 0
    waiting: list[_Put] = field(default_factory=list)


class LocalBlocks:
    """BlockStore on a folder. Objects are files below it; folders 0700, files 0600."""

    def __init__(
        self,
        root: str,
        *,
        log_bytes_max: int = LOG_BYTES_MAX,
        write: Callable[[int, Sequence[bytes | memoryview], int], int] = os.pwritev,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        """root: an absolute folder, made if missing. log_bytes_max: at this length a new log is begun.

        write, sync: the two calls of the system that make bytes durable; tests hand in failing ones.
        """
        self._root = root
        self._log_bytes_max = log_bytes_max
        self._write = write
        self._sync = sync
        self._log: _Log | None = None
        self._puts: queue.Queue[_Put | None] = queue.Queue(WAITING_MAX)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="blocks-read")
        self._reads = asyncio.Semaphore(READS_WAITING_MAX)
        self._is_closed = False
        with _translating(root):
            make_folder(root)
        self._writer = threading.Thread(target=self._write_forever, name="blocks-write", daemon=True)
        self._writer.start()

    async def put(self, name: str, pieces: Sequence[bytes | memoryview]) -> Place:
        """See BlockStore."""
        if self._is_closed:
            raise Unavailable("The block store is closed.", where=self._root, reason="closed")
        loop = asyncio.get_running_loop()
        job = _Put(name, pieces, loop, loop.create_future(), sum(len(piece) for piece in pieces))
        try:
            self._puts.put_nowait(job)
        except queue.Full:
            raise Unavailable("Too many writes wait for the disk.", where=self._root, reason="queue") from None
        try:
            async with asyncio.timeout(PUT_TIMEOUT_S):
                return await job.done
        except TimeoutError:
            raise Unavailable("The disk does not answer.", where=self._root, reason="timeout") from None

    async def get(self, spans: Sequence[Span]) -> list[bytes | None]:
        """See BlockStore."""
        return await self._in_reader(lambda: self._read(spans))

    async def delete(self, name: str) -> None:
        """See BlockStore."""
        await self._in_reader(lambda: self._unlink(name))

    async def names(self, prefix: str) -> list[str]:
        """See BlockStore."""
        return await self._in_reader(lambda: self._names(prefix))

    async def open_names(self) -> frozenset[str]:
        """See BlockStore: the log that is appended to."""
        log = self._log
        return frozenset() if log is None else frozenset((log.name,))

    async def probe(self) -> None:
        """See BlockStore: writes and syncs a small file, then removes it."""
        await self._in_reader(self._probe)

    async def close(self) -> None:
        """See BlockStore."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._stop)

    # -- reading, in the readers' threads ---

    async def _in_reader(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S), self._reads:
                with _translating(self._root):
                    return await asyncio.get_running_loop().run_in_executor(self._readers, work)
        except TimeoutError:
            raise Unavailable("The disk does not answer.", where=self._root, reason="timeout") from None

    def _read(self, spans: Sequence[Span]) -> list[bytes | None]:
        found: list[bytes | None] = [None] * len(spans)
        open_name, fd = "", -1
        try:
            # In the order of the disk: each log is opened once and read forwards, neighbours with one call.
            for run in _runs(spans):
                first, last = spans[run[0]], spans[run[-1]]
                if first.name != open_name:
                    if fd >= 0:
                        os.close(fd)
                    open_name, fd = first.name, self._open_to_read(first.name)
                if fd < 0:
                    continue
                data = _read_up_to(fd, last.offset + last.length - first.offset, first.offset)
                for place in run:
                    at = spans[place].offset - first.offset
                    part = data[at : at + spans[place].length]
                    found[place] = part if len(part) == spans[place].length else None
        finally:
            if fd >= 0:
                os.close(fd)
        return found

    def _open_to_read(self, name: str) -> int:
        try:
            return os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1

    def _unlink(self, name: str) -> None:
        path = self._path(name)
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        sync_folder(os.path.dirname(path))

    def _names(self, prefix: str) -> list[str]:
        names = []
        for folder, _, files in os.walk(self._root):
            for file in files:
                name = os.path.relpath(os.path.join(folder, file), self._root)
                if name.startswith(prefix):
                    names.append(name)
        return sorted(names)

    def _probe(self) -> None:
        # Readers are threads, and two of them may probe at once.
        path = self._path(f".probe-{os.getpid()}-{threading.get_ident()}")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._write(fd, [b"satchel"], 0)
            self._sync(fd)
        finally:
            os.close(fd)
            os.unlink(path)

    def _path(self, name: str) -> str:
        return os.path.join(self._root, name)

    # -- writing, in the one writer's thread ---

    def _write_forever(self) -> None:
        is_last = False
        try:
            while not is_last:
                group, is_last = self._next_group()
                try:
                    self._write_group(group)
                finally:
                    for job in group:
                        if not job.is_answered:
                            job.fault = StorageFailed("The write was given up.", where=self._root, reason="writer")
                            job.answer()
        finally:
            self._is_closed = True

    def _next_group(self) -> tuple[list[_Put], bool]:
        """Return all puts that wait (at least one, at most 64 MiB), and whether they are the last."""
        first = self._puts.get()
        if first is None:
            return [], True
        group, size = [first], first.size
        while size < GROUP_BYTES_MAX:
            try:
                job = self._puts.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return group, True
            group.append(job)
            size += job.size
        return group, False

    def _write_group(self, group: Sequence[_Put]) -> None:
        for job in group:
            if self._log is not None and self._log.size >= self._log_bytes_max:
                self._finish(self._log)
                self._abandon()
            if self._log is None:
                try:
                    with _translating(self._root):
                        self._log = self._begin(job.name)
                except Fault as fault:
                    job.fault = fault
                    job.answer()
                    continue
            self._append(self._log, job)
        if self._log is not None:
            self._finish(self._log)

    def _begin(self, name: str) -> _Log:
        path = self._path(name)
        make_folder(os.path.dirname(path))
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            sync_folder(os.path.dirname(path))
        except OSError:
            os.close(fd)
            raise
        return _Log(name, fd)

    def _append(self, log: _Log, job: _Put) -> None:
        try:
            self._write_all(log, job.pieces)
        except OSError as error:
            job.fault = _fault_of(error, log.name)
            job.answer()
            try:
                os.ftruncate(log.fd, log.size)
            except OSError:
                self._finish(log)
                self._abandon()
            return
        job.place = Place(log.name, log.size)
        log.size += job.size
        log.waiting.append(job)

    def _write_all(self, log: _Log, pieces: Sequence[bytes | memoryview]) -> None:
        at = log.size
        if len(pieces) > _PIECES_PER_CALL:
            # Many small pieces: one copy costs less than a view and a place in the system's list for each.
            pieces = _joined(pieces)
        rest = [memoryview(piece) for piece in pieces if len(piece)]
        rest.reverse()
        while rest:
            written = self._write(log.fd, rest[-1 : -_PIECES_PER_CALL - 1 : -1], at)
            if written <= 0:
                raise OSError(errno.EIO, "a write wrote nothing")
            at += written
            while rest and written >= len(rest[-1]):
                written -= len(rest.pop())
            if written:
                rest[-1] = rest[-1][written:]

    def _finish(self, log: _Log) -> None:
        """Make all that waits on the log durable and answer it. A log that cannot is closed for good."""
        if not log.waiting:
            return
        lost: list[_Put] = []
        try:
            self._sync(log.fd)
            if not self._stands(log):
                lost = [job for job in log.waiting if not job.was_lost]
                raise OSError(errno.ENOENT, "the log is no longer at its place")
        except OSError as error:
            for job in log.waiting:
                job.fault = _fault_of(error, log.name)
            self._abandon()
        for job in log.waiting:
            if job not in lost:
                job.answer()
        log.waiting.clear()
        for job in lost:
            job.fault, job.place, job.was_lost = None, None, True
        if lost:
            self._write_group(lost)

    def _stands(self, log: _Log) -> bool:
        """Tell whether who opens the log by its name gets what is written here."""
        try:
            there, here = os.stat(self._path(log.name)), os.fstat(log.fd)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, here)

    def _abandon(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            with contextlib.suppress(OSError):
                os.close(log.fd)

    def _stop(self) -> None:
        self._puts.put(None, timeout=PUT_TIMEOUT_S)
        self._writer.join(PUT_TIMEOUT_S)
        self._abandon()
        self._readers.shutdown(wait=True, cancel_futures=True)


def _joined(pieces: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return the same bytes in pieces of about a MiB."""
    joined: list[bytes | memoryview] = []
    part: list[bytes | memoryview] = []
    size = 0
    for piece in pieces:
        part.append(piece)
        size += len(piece)
        if size >= MIB:
            joined.append(b"".join(part))
            part, size = [], 0
    return [*joined, b"".join(part)]


def _runs(spans: Sequence[Span]) -> Iterator[list[int]]:
    """Yield the places of the spans in the order of the disk, neighbours of one object together."""
    run: list[int] = []
    name, start, end = "", 0, 0
    for place in sorted(range(len(spans)), key=spans.__getitem__):
        span = spans[place]
        is_near = span.name == name and end <= span.offset <= end + RUN_GAP_BYTES_MAX
        if run and not (is_near and span.offset + span.length - start <= RUN_BYTES_MAX):
            yield run
            run = []
        if not run:
            name, start = span.name, span.offset
        run.append(place)
        end = span.offset + span.length
    if run:
        yield run


def _read_up_to(fd: int, length: int, offset: int) -> bytes:
    """Return `length` bytes from `offset`, fewer where the file ends."""
    data = os.pread(fd, length, offset)
    while len(data) < length:
        more = os.pread(fd, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _fault_of(error: OSError, where: str) -> Fault:
    if error.errno in _FULL:
        return StorageFull("The disk that holds the blocks is full.", where=where)
    return StorageFailed("The disk that holds the blocks failed.", where=where, reason=str(error))


@contextlib.contextmanager
def _translating(where: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise
        raise _fault_of(error, where) from error
