"""The store on PostgreSQL. Invariant: waiting callers of one key share a transaction, and a lock conflict is ours to
repeat, never the caller's.

There is no task behind this: the first caller of a key leads, runs all that wait with it, tells them, and hands the
lead to the next. A leader that is cancelled gives the others back to the line. Every statement is a journey to another
machine: most callers hold, so they run without savepoints; when one raises, all begin again, each in one of its own.

Nothing here changes a session (no SET, no LISTEN, no lock past a transaction), so a connection goes back to the pool as
it is, once the driver sees no transaction on it. Source: docs/design (architecture).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import asyncpg

from satchel.core.errors import Fault, SettingInvalid, StorageFailed, StorageFull, Unavailable
from satchel.server.db.engine import READ_WAIT_S, Dialect, Row, Value, Work
from satchel.server.ports import Clock

T = TypeVar("T")

GROUP_MAX = 64
LINE_MAX = 4_096
POOL_MIN = 1
POOL_MAX = 10
TRIES_MAX = 12
ACQUIRE_S = 60
STATEMENT_S = 60

_REPEATABLE = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    # The session was ended: by an administrator, by a planned restart, or because another one crashed.
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    # What the driver raises for a connection that heard of such an end and not yet that it was closed.
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class PostgresConnection:
    """The connection port over one asyncpg connection."""

    dialect: Dialect = "postgres"

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    async def fetch(self, sql: str, *args: Value) -> list[Row]:
        """See `Connection.fetch`."""
        return [tuple(record) for record in await self._raw.fetch(sql, *args)]

    async def execute(self, sql: str, *args: Value) -> int:
        """See `Connection.execute`."""
        status: str = await self._raw.execute(sql, *args)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """See `Connection.execute_many`."""
        if rows:
            await self._raw.executemany(sql, rows)


class _Another(Exception):
    """A glance asked for a second statement."""


class _OneStatement(PostgresConnection):
    """Answers one statement. is_past: whether another was asked for, whatever became of it."""

    def __init__(self, raw: Any) -> None:
        super().__init__(raw)
        self._has_asked = False
        self.is_past = False

    async def fetch(self, sql: str, *args: Value) -> list[Row]:
        """See `Connection.fetch`."""
        if self._has_asked:
            self.is_past = True
            raise _Another
        self._has_asked = True
        return await super().fetch(sql, *args)

    async def execute(self, sql: str, *args: Value) -> int:
        """Nothing is changed by looking."""
        raise StorageFailed("A glance changes nothing.", where="database", reason=sql[:80])

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """As `execute`."""
        await self.execute(sql)


class _Raised(Exception):
    """One of several callers raised: all begin again."""


@dataclass(slots=True, eq=False)
class _Turn:
    """One caller in the line of its key. signal: True when it leads now, False when its outcome stands here."""

    work: Work[Any]
    signal: asyncio.Future[bool]
    result: object = None
    fault: BaseException | None = None

    def outcome(self) -> object:
        if self.fault is not None:
            raise self.fault
        return self.result


@dataclass(slots=True, eq=False)
class _Line:
    waiting: deque[_Turn] = field(default_factory=deque)


class PostgresDatabase:
    """PostgreSQL behind the `Database` port."""

    dialect: Dialect = "postgres"

    def __init__(self, pool: Any, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._lines: dict[bytes, _Line] = {}

    async def write(self, key: bytes, work: Work[T]) -> T:
        """See `Database.write`."""
        turn = _Turn(work, asyncio.get_running_loop().create_future())
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = line = _Line(deque([turn]))
            leads = True
        else:
            if len(line.waiting) >= LINE_MAX:
                raise Unavailable("Too many callers wait for the store.", where="database", reason="overload")
            line.waiting.append(turn)
            leads = await self._wait(key, line, turn)
        if leads:
            await self._lead(key, line, turn)
        return cast("T", turn.outcome())

    async def read(self, work: Work[T], *, wait_s: float = READ_WAIT_S) -> T:
        """See `Database.read`. Each statement has its own bound; the whole is as long as the caller waits."""
        async with _translating(), self._pool.acquire(timeout=ACQUIRE_S) as raw:
            return await _on_one_view(raw, work)

    async def glance(self, work: Work[T]) -> T:
        """See `Database.glance`."""
        async with _translating(), self._pool.acquire(timeout=ACQUIRE_S) as raw:
            conn = _OneStatement(raw)
            try:
                result = await work(conn)
            except _Another:
                pass
            else:
                if not conn.is_past:
                    return result
            return await _on_one_view(raw, work)

    async def close(self) -> None:
        """See `Database.close`."""
        async with asyncio.timeout(ACQUIRE_S):
            await self._pool.close()

    async def _wait(self, key: bytes, line: _Line, turn: _Turn) -> bool:
        try:
            return await turn.signal
        except asyncio.CancelledError:
            if turn in line.waiting:
                line.waiting.remove(turn)
            if turn.signal.done() and not turn.signal.cancelled() and turn.signal.result():
                self._hand_on(key, line)
            raise

    async def _lead(self, key: bytes, line: _Line, own: _Turn) -> None:
        """Run the turns that wait, the own one among them, and tell the others."""
        if own not in line.waiting:
            line.waiting.appendleft(own)
        group = [line.waiting.popleft() for _ in range(min(GROUP_MAX, len(line.waiting)))]
        others = [turn for turn in group if turn is not own]
        try:
            async with _translating():
                await self._run(group)
        except Fault as fault:
            for turn in group:
                turn.fault = fault
        except BaseException:
            # This caller was cancelled; the work of the others was rolled back with it and is done again.
            line.waiting.extendleft(reversed([turn for turn in others if not turn.signal.done()]))
            self._hand_on(key, line)
            raise
        for turn in others:
            if not turn.signal.done():
                turn.signal.set_result(False)
        self._hand_on(key, line)

    def _hand_on(self, key: bytes, line: _Line) -> None:
        """Give the lead to the first that waits; without one the line ends."""
        for turn in line.waiting:
            if not turn.signal.done():
                turn.signal.set_result(True)
                return
        self._lines.pop(key, None)

    async def _run(self, group: list[_Turn]) -> None:
        """Run the turns in one transaction, again after a lock conflict."""
        is_parted = False
        for attempt in range(TRIES_MAX):
            try:
                async with self._pool.acquire(timeout=ACQUIRE_S) as raw:
                    try:
                        await _run_turns(raw, group, is_parted=is_parted)
                    except _Raised:
                        is_parted = True
                        await _run_turns(raw, group, is_parted=True)
                return
            except _REPEATABLE as error:
                if attempt == TRIES_MAX - 1:
                    raise Unavailable("The store is contended.", where="database", reason=str(error)) from error
            jitter = int.from_bytes(self._clock.random(2), "big") / 65_536
            await self._clock.sleep_s(min(0.5, 0.005 * 2**attempt) * (0.5 + jitter))


async def open_postgres(url: str, clock: Clock, *, pool_max: int = POOL_MAX) -> PostgresDatabase:
    """Connect, and refuse a server that would forget what it has confirmed. Raises: SettingInvalid, Unavailable."""
    async with _translating():
        pool = await asyncpg.create_pool(
            url,
            min_size=POOL_MIN,
            max_size=pool_max,
            command_timeout=STATEMENT_S,
            statement_cache_size=400,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=128 * 1024,
            reset=_require_clean,
        )
    try:
        async with _translating(), pool.acquire(timeout=ACQUIRE_S) as raw:
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                value = await raw.fetchval(f"SHOW {setting}")
                if value == "off":
                    reason = f"PostgreSQL runs with {setting} = off"
                    raise SettingInvalid("The database may lose data.", setting="database_url", reason=reason)
    except BaseException:
        pool.terminate()
        raise
    return PostgresDatabase(pool, clock)


async def _require_clean(raw: Any) -> None:
    """Let a connection go back to the pool. By now the driver has rolled back what was open; a raise ends it."""
    if raw.is_in_transaction():
        raise asyncpg.InternalClientError("a connection came back with an open transaction")


async def _on_one_view(raw: Any, work: Work[T]) -> T:
    async with raw.transaction(isolation="repeatable_read", readonly=True):
        return await work(PostgresConnection(raw))


async def _run_turns(raw: Any, group: Sequence[_Turn], *, is_parted: bool) -> None:
    """Run the callers in one transaction; parted: each in a savepoint, so that what one raises is its own alone.

    Raises: _Raised when one of several raised and they are not parted; what concerns the whole transaction.
    """
    async with raw.transaction():
        for turn in group:
            turn.fault = None
            if is_parted:
                await _run_parted(raw, turn)
                continue
            try:
                turn.result = await turn.work(PostgresConnection(raw))
            except (*_REPEATABLE, *_GONE, asyncio.CancelledError):
                raise
            except BaseException as error:
                if len(group) == 1:
                    raise
                raise _Raised from error


async def _run_parted(raw: Any, turn: _Turn) -> None:
    try:
        async with raw.transaction():
            turn.result = await turn.work(PostgresConnection(raw))
    except (*_REPEATABLE, *_GONE, asyncio.CancelledError):
        raise
    except BaseException as error:
        # It undid its own savepoint; the others go on.
        turn.fault = error if not isinstance(error, asyncpg.PostgresError) else _translated(error)


@asynccontextmanager
async def _translating() -> AsyncIterator[None]:
    try:
        yield
    except (asyncpg.PostgresError, *_GONE) as error:
        raise _translated(error) from error


def _translated(error: BaseException) -> Fault:
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, asyncpg.DiskFullError):
        return StorageFull("The disk of the store is full.", where="database")
    if isinstance(error, _GONE):
        return Unavailable("The store cannot be reached.", where="database", reason=reason)
    return StorageFailed("The store failed.", where="database", reason=reason)
