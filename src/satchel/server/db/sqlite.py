"""The embedded store. Invariant: one thread writes; a result is told only after the commit that holds it is durable.

The writer takes all that wait into one transaction and commits once: one fsync for many callers. Most of them hold, so
they run without savepoints, which would copy each page once more; when one raises, those before it begin again, each
in a savepoint of its own. It drives each caller's coroutine itself, so a statement costs no switch of threads. Readers
have connections and threads of their own. Source: docs/design (architecture: one database text).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import itertools
import os
import queue
import re
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import apsw

from satchel.core.errors import Fault, StorageFailed, StorageFull, Unavailable
from satchel.server.db.checkpoints import Checkpoints
from satchel.server.db.engine import READ_WAIT_S, Connection, Dialect, Row, Value, Work, drive, numbered
from satchel.server.ports import Clock

T = TypeVar("T")

GROUP_MAX = 256
GROUP_MS = 20
GROUP_MS_MAX = 100
COMMITS_A_GROUP = 5
"""About how long a transaction goes on taking callers: nobody waits for 256 large commits of others. Where the disk is
slow, longer: so many times what it took to commit the last one."""
WAITING_MAX = 8_192
READERS = 3
BUSY_MS = 30_000
WAIT_S = 120
CACHE_KIB = 64 * 1024
ROWS_TOGETHER = 32
"""So many rows go into one INSERT: a statement a row hands the interpreter to and fro each time."""


class SqliteConnection:
    """The connection port over one apsw connection; it never suspends."""

    dialect: Dialect = "sqlite"

    def __init__(self, raw: apsw.Connection) -> None:
        self.raw = raw

    async def fetch(self, sql: str, *args: Value) -> list[Row]:
        """See `Connection.fetch`."""
        return cast("list[Row]", self.raw.execute(numbered(sql), args).fetchall())

    async def execute(self, sql: str, *args: Value) -> int:
        """See `Connection.execute`."""
        self.raw.execute(numbered(sql), args)
        return self.raw.changes()

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """See `Connection.execute_many`."""
        at = 0
        if len(rows) >= ROWS_TOGETHER and (together := _inserting(sql, len(rows[0]), ROWS_TOGETHER)):
            for at in range(ROWS_TOGETHER, len(rows) + 1, ROWS_TOGETHER):
                self.raw.execute(together, tuple(itertools.chain.from_iterable(rows[at - ROWS_TOGETHER : at])))
        if at < len(rows):
            self.raw.executemany(numbered(sql), rows[at:])


@dataclass(slots=True, eq=False)
class _Job:
    """One caller's work, and where its result goes."""

    work: Work[Any]
    context: contextvars.Context
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: object = None
    fault: BaseException | None = None

    def run(self, conn: Connection) -> None:
        """Drive the work in the caller's context and keep what it returns; a second time it begins anew."""
        self.fault = None
        self.result = self.context.run(drive, cast("Coroutine[Any, Any, object]", self.work(conn)))

    def tell(self) -> None:
        """Hand the result to the waiting caller; runs on its loop."""
        if self.future.done():
            return
        if self.fault is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.fault)


class SqliteDatabase:
    """SQLite in WAL mode with synchronous=FULL behind the `Database` port."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: str, clock: Clock, *, readers: int = READERS) -> None:
        """Open or make the file at `path` (its folder exists). Raises: StorageFailed."""
        self._clock = clock
        _create(path)
        self._writes: queue.Queue[_Job | None] = queue.Queue(WAITING_MAX)
        self._reads: queue.Queue[_Job | None] = queue.Queue(WAITING_MAX)
        self._closed = False
        self._failed: Fault | None = None
        self._group_ms = GROUP_MS
        writer = _connect(path)
        self._checkpoints = Checkpoints(writer, _connect(path), self._judge)
        pool = [_connect(path) for _ in range(readers)]
        self._threads = [threading.Thread(target=self._write_all, args=(writer,), name="satchel-writer", daemon=True)]
        self._threads += [
            threading.Thread(target=self._read_all, args=(raw,), name=f"satchel-reader-{number}", daemon=True)
            for number, raw in enumerate(pool)
        ]
        for thread in self._threads:
            thread.start()

    async def write(self, key: bytes, work: Work[T]) -> T:
        """See `Database.write`. All keys share one transaction here."""
        return await self._submit(self._writes, work, WAIT_S)

    async def read(self, work: Work[T], *, wait_s: float = READ_WAIT_S) -> T:
        """See `Database.read`."""
        return await self._submit(self._reads, work, wait_s)

    async def glance(self, work: Work[T]) -> T:
        """See `Database.glance`. A statement more costs no journey here."""
        return await self.read(work)

    async def close(self) -> None:
        """See `Database.close`."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._stop)

    async def _submit(self, waiting: queue.Queue[_Job | None], work: Work[T], wait_s: float) -> T:
        if self._closed:
            raise Unavailable("The store is closed.", where="database", reason="closed")
        loop = asyncio.get_running_loop()
        job = _Job(work, contextvars.copy_context(), loop, loop.create_future())
        try:
            waiting.put_nowait(job)
        except queue.Full as error:
            raise Unavailable("Too many callers wait for the store.", where="database", reason="overload") from error
        try:
            async with asyncio.timeout(wait_s):
                return cast("T", await job.future)
        except TimeoutError as error:
            # It may still be done: callers repeat by op id.
            raise Unavailable("The store does not answer.", where="database", reason="timeout") from error

    def _stop(self) -> None:
        self._writes.put(None)
        for _ in self._threads[1:]:
            self._reads.put(None)
        for thread in self._threads:
            thread.join()
        self._checkpoints.close()

    def _write_all(self, raw: apsw.Connection) -> None:
        """The writer thread: one transaction per turn for all that wait."""
        conn, more = SqliteConnection(raw), True
        while more:
            jobs, more = _take(self._writes)
            while jobs:
                count = self._write_group(raw, conn, jobs)
                _tell(jobs[:count])
                jobs = jobs[count:]
                self._checkpoints.after_commit()
        raw.close()

    def _write_group(self, raw: apsw.Connection, conn: SqliteConnection, jobs: list[_Job]) -> int:
        """Do the first of the jobs in one transaction, for about a group's time; return how many, at least one."""
        count, until_ms = 0, self._clock.now_ms() + self._group_ms
        try:
            if self._failed is not None:
                raise self._failed
            raw.execute("BEGIN IMMEDIATE")
            while count < len(jobs) and (count == 0 or self._clock.now_ms() < until_ms):
                holds = _is_written(raw, conn, jobs[count])
                count += 1
                if not holds:
                    _write_again(raw, conn, jobs[:count])
                    break
                if count == len(jobs):
                    # Who came meanwhile shares the fsync, and the pages that each of us would write.
                    jobs += self._came(GROUP_MAX - count)
            begun_ms = self._clock.now_ms()
            raw.execute("COMMIT")
            took_ms = self._clock.now_ms() - begun_ms
            self._group_ms = min(max(GROUP_MS, COMMITS_A_GROUP * took_ms), GROUP_MS_MAX)
        except BaseException as error:
            # The writer thread must outlive whatever happens, and every caller must be told.
            fault = self._judge(error)
            count = min(count + 1, len(jobs))
            for job in jobs[:count]:
                job.fault = fault
            if not raw.getautocommit():
                raw.execute("ROLLBACK")
        return count

    def _came(self, count: int) -> list[_Job]:
        """Return at most `count` jobs that wait by now."""
        jobs: list[_Job] = []
        while len(jobs) < count and not self._closed:
            try:
                job = self._writes.get_nowait()
            except queue.Empty:
                break
            if job is None:
                # The store closes: that is for the loop of the thread to see.
                self._writes.put_nowait(None)
                break
            jobs.append(job)
        return jobs

    def _judge(self, error: BaseException) -> Fault:
        fault = _translated(error)
        if isinstance(error, apsw.IOError):
            # After a failed fsync nobody knows what the disk holds: the store stops instead of trying once more.
            self._failed = fault
        return fault

    def _read_all(self, raw: apsw.Connection) -> None:
        """A reader thread: each caller sees one moment's view."""
        conn = SqliteConnection(raw)
        raw.execute("PRAGMA query_only = ON")
        while (job := self._reads.get()) is not None:
            try:
                raw.execute("BEGIN")
                job.run(conn)
            except apsw.Error as error:
                job.fault = _translated(error)
            except BaseException as error:
                # Whatever it was belongs to the caller; a reader thread must outlive it.
                job.fault = error
            if not raw.getautocommit():
                raw.execute("ROLLBACK")
            _tell([job])
        raw.close()


class InlineSqliteDatabase:
    """The same SQL without threads: it never suspends, so a plain `send(None)` drives a caller to its end.

    For the deterministic simulation and for tests. Nothing is durable in `:memory:` but what `snapshot` took.
    """

    dialect: Dialect = "sqlite"

    def __init__(self, path: str = ":memory:") -> None:
        self._raw = _connect(path)
        self._conn = SqliteConnection(self._raw)

    async def write(self, key: bytes, work: Work[T]) -> T:
        """See `Database.write`."""
        return await self._run("BEGIN IMMEDIATE", work)

    async def read(self, work: Work[T], *, wait_s: float = READ_WAIT_S) -> T:
        """See `Database.read`."""
        return await self._run("BEGIN", work)

    async def glance(self, work: Work[T]) -> T:
        """See `Database.glance`."""
        return await self.read(work)

    async def close(self) -> None:
        """See `Database.close`."""
        self._raw.close()

    def snapshot(self) -> bytes:
        """Return the whole store as bytes: what a crash now would leave behind."""
        return self._raw.serialize("main")

    def restore(self, image: bytes) -> None:
        """Become the store that `snapshot` took."""
        self._raw.deserialize("main", image)

    async def _run(self, begin: str, work: Work[T]) -> T:
        self._raw.execute(begin)
        try:
            result = drive(cast("Coroutine[Any, Any, T]", work(self._conn)))
        except BaseException as error:
            if not self._raw.getautocommit():
                self._raw.execute("ROLLBACK")
            if isinstance(error, apsw.Error):
                raise _translated(error) from error
            raise
        self._raw.execute("COMMIT")
        return result


def _is_written(raw: apsw.Connection, conn: SqliteConnection, job: _Job) -> bool:
    """Run one caller; False when it raised. Raises only when the whole transaction is lost."""
    try:
        job.run(conn)
    except BaseException as error:
        # SQLite ends the whole transaction by itself when the disk is full or fails; then nobody's work counts.
        if raw.getautocommit():
            raise _translated(error) from error
        job.fault = _translated(error) if isinstance(error, apsw.Error) else error
    return job.fault is None


def _write_again(raw: apsw.Connection, conn: SqliteConnection, jobs: list[_Job]) -> None:
    """Undo the transaction and run its callers once more, each in a savepoint; the last of them had raised.

    Raises only when the whole transaction is lost.
    """
    raw.execute("ROLLBACK")
    raw.execute("BEGIN IMMEDIATE")
    # Without neighbours, what it raised the first time is what it is told.
    for job in jobs if len(jobs) > 1 else ():
        raw.execute("SAVEPOINT caller")
        if not _is_written(raw, conn, job):
            raw.execute("ROLLBACK TO caller")
        raw.execute("RELEASE caller")


def _take(waiting: queue.Queue[_Job | None]) -> tuple[list[_Job], bool]:
    """Wait for a job, then take all that wait with it. The second value is False when the store closes."""
    jobs: list[_Job] = []
    job = waiting.get()
    while job is not None:
        jobs.append(job)
        if len(jobs) == GROUP_MAX:
            return jobs, True
        try:
            job = waiting.get_nowait()
        except queue.Empty:
            return jobs, True
    return jobs, False


def _tell(jobs: list[_Job]) -> None:
    """Wake the callers, each loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, told in by_loop.items():
        try:
            loop.call_soon_threadsafe(_tell_each, told)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            continue


def _tell_each(jobs: list[_Job]) -> None:
    for job in jobs:
        job.tell()


def _create(path: str) -> None:
    """Make the file for its owner alone before SQLite would make it for everyone."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StorageFailed("The store cannot be opened.", where=path, reason=str(error)) from error


_ROW = re.compile(r"(INSERT INTO [^$]* VALUES )(\([^()]*\))([^$]*)", re.DOTALL)


@functools.lru_cache(maxsize=256)
def _inserting(sql: str, width: int, count: int) -> str:
    """Return the INSERT of one row (of `width` values) as one of `count` rows; empty when `sql` is anything else."""
    found = _ROW.fullmatch(sql)
    if found is None:
        return ""
    before, row, after = found.groups()
    rows = [_PLACEHOLDER.sub(functools.partial(_shifted, by=at * width), row) for at in range(count)]
    return before + ", ".join(rows) + after


_PLACEHOLDER = re.compile(r"\$(\d+)")


def _shifted(placeholder: re.Match[str], *, by: int) -> str:
    return f"?{int(placeholder[1]) + by}"


def _connect(path: str) -> apsw.Connection:
    try:
        raw = apsw.Connection(path, statementcachesize=400)
        raw.set_busy_timeout(BUSY_MS)
        raw.execute("PRAGMA journal_mode = WAL").fetchall()
        for pragma in ("synchronous = FULL", f"cache_size = -{CACHE_KIB}", "temp_store = MEMORY"):
            raw.execute(f"PRAGMA {pragma}")
    except apsw.Error as error:
        raise StorageFailed("The store cannot be opened.", where=path, reason=str(error)) from error
    return raw


_FAULTS: tuple[tuple[type[apsw.Error], Callable[[str], Fault]], ...] = (
    (apsw.FullError, lambda reason: StorageFull("The disk of the store is full.", where="database")),
    (apsw.BusyError, lambda reason: Unavailable("The store is busy.", where="database", reason=reason)),
)


def _translated(error: BaseException) -> Fault:
    if isinstance(error, Fault):
        return error
    for kind, fault in _FAULTS:
        if isinstance(error, kind):
            return fault(str(error))
    return StorageFailed("The store failed.", where="database", reason=f"{type(error).__name__}: {error}")
