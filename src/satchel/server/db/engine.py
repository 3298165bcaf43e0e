"""One database text for SQLite and PostgreSQL. Invariant: what differs between the dialects stands in `db` and nowhere
else.

Rooms write SQL with `$1..$n` and the types BYTEA, BIGINT, SMALLINT (booleans are 0 or 1) and TEXT. A function that runs
inside a transaction ends in `_txn`, takes the connection first, and awaits nothing but the connection and other `_txn`
functions: SQLite's writer drives it to its end on a thread of its own. Source: docs/design (architecture).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeVar, cast

from satchel.core.errors import StorageFailed

T = TypeVar("T")
Dialect = Literal["sqlite", "postgres"]
Value = bytes | int | str | None
Row = tuple[Any, ...]

IN_LIST_MAX = 1_024
READ_WAIT_S = 120.0
PAIR_LIST_MAX = 256


class Connection(Protocol):
    """One transaction's view of the database."""

    @property
    def dialect(self) -> Dialect:
        """Which database this is; only `db` looks at it."""
        ...

    async def fetch(self, sql: str, *args: Value) -> list[Row]:
        """Return all rows as tuples, in the statement's order."""
        ...

    async def execute(self, sql: str, *args: Value) -> int:
        """Run one statement; return how many rows it changed."""
        ...

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Run one statement once per row of arguments, in order; no rows are no work."""
        ...


Work = Callable[[Connection], Awaitable[T]]


class Database(Protocol):
    """A store of rows. A caller never sees an error that comes from our own locks."""

    @property
    def dialect(self) -> Dialect:
        """Which database this is. `sqlite` is embedded: the store has no other writer than this process."""
        ...

    async def write(self, key: bytes, work: Work[T]) -> T:
        """Run `work` in a transaction and return its result once that is durable.

        Callers that wait at the same time with one key (a namespace or account id) share a transaction;
        one that raises undoes its own changes only. `work` may be called again, after a lock conflict or when a
        neighbour raised. Raises: what `work` raises, StorageFull, StorageFailed, Unavailable.
        """
        ...

    async def read(self, work: Work[T], *, wait_s: float = READ_WAIT_S) -> T:
        """Run `work` on one moment's view of the database and return its result. Raises: as `write`.

        wait_s: how long the caller waits. When it waits no longer, `work` may go on all the same (SQLite's readers are
        threads): one that takes long looks whether anybody still wants it.
        """
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of everything. Later calls raise Unavailable."""
        ...


def row_lock(conn: Connection) -> str:
    """Return the clause that locks the selected rows; SQLite has one writer and needs none."""
    return " FOR UPDATE" if conn.dialect == "postgres" else ""


async def fetch_in(conn: Connection, sql: str, keys: Iterable[Value], *args: Value) -> list[Row]:
    """Run `sql`, in which `column IN {keys}` stands for a list of keys, for all keys, in as few statements as possible.

    args: the statement's own `$1..$n`; the keys follow them. Rows come in no particular order, each once.
    """
    rows: list[Row] = []
    if conn.dialect == "sqlite":
        for part in _padded(keys, IN_LIST_MAX):
            rows += await conn.fetch(_in_list(sql, len(args) + 1, len(part)), *args, *part)
    elif wanted := list(dict.fromkeys(keys)):
        text = _looked_up(sql, len(args) + 1, _ARRAYS[type(wanted[0])])
        # The driver takes a list as an array where the port speaks of single values.
        rows = await conn.fetch(text, *args, cast("Value", wanted))
    return rows


async def execute_in(conn: Connection, sql: str, keys: Iterable[Value], *args: Value) -> int:
    """As `fetch_in`, for a statement that changes rows; return how many it changed."""
    count = 0
    for part in _padded(keys, IN_LIST_MAX):
        count += await conn.execute(_in_list(sql, len(args) + 1, len(part)), *args, *part)
    return count


async def fetch_in_pairs(conn: Connection, sql: str, pairs: Iterable[tuple[Value, Value]], *args: Value) -> list[Row]:
    """Run `SELECT t.… FROM {wanted} CROSS JOIN table t WHERE …`, where `w.k0` and `w.k1` are each of the pairs in turn.

    Otherwise as `fetch_in`. The pairs always lead: a look-up by index for each.
    """
    rows: list[Row] = []
    if conn.dialect == "sqlite":
        for part in _padded(dict.fromkeys(pairs), PAIR_LIST_MAX):
            values = [value for pair in part for value in pair]
            rows += await conn.fetch(_pair_list(sql, len(args) + 1, len(part)), *args, *values)
    elif wanted := list(dict.fromkeys(pairs)):
        text = _looked_up_pairs(sql, len(args) + 1, *(_ARRAYS[type(value)] for value in wanted[0]))
        # As above: one array a column.
        columns = [cast("Value", [pair[at] for pair in wanted]) for at in (0, 1)]
        rows = await conn.fetch(text, *args, *columns)
    return rows


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never really suspends to its end. A suspension is our own mistake. Raises: StorageFailed."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    work.close()
    raise StorageFailed("A transaction waited for something else than the database.", where="database", reason="await")


_PLACEHOLDER = re.compile(r"\$(\d+)")


@functools.lru_cache(maxsize=2_048)
def numbered(sql: str) -> str:
    """Return the statement with SQLite's `?1` for `$1`."""
    return _PLACEHOLDER.sub(r"?\1", sql)


K = TypeVar("K")


def _padded(keys: Iterable[K], limit: int) -> Iterator[list[K]]:
    """Yield parts filled up to a power of two by their last key: few statement texts, so prepared ones are reused."""
    wanted = list(keys)
    for at in range(0, len(wanted), limit):
        part = wanted[at : at + limit]
        part += [part[-1]] * ((1 << (len(part) - 1).bit_length()) - len(part))
        yield part


_ARRAYS: dict[type, str] = {bytes: "bytea[]", str: "text[]", int: "bigint[]"}
_LISTED = re.compile(r"([\w.]+) IN \{keys\}")


@functools.lru_cache(maxsize=512)
def _looked_up(sql: str, first: int, array: str) -> str:
    """Return PostgreSQL's text: the keys as one array, the statement once for each as a look-up by index.

    OFFSET 0 keeps it so. Left to choose, the planner reads a whole namespace as long as its statistics are old.
    """
    inner = _LISTED.sub(r"\1 = w.k0", sql)
    return f"SELECT x.* FROM unnest(${first}::{array}) AS w (k0) CROSS JOIN LATERAL ({inner} OFFSET 0) AS x"


@functools.lru_cache(maxsize=512)
def _looked_up_pairs(sql: str, first: int, *arrays: str) -> str:
    select, _, inner = sql.partition(" FROM {wanted} CROSS JOIN ")
    wanted = f"unnest(${first}::{arrays[0]}, ${first + 1}::{arrays[1]}) AS w (k0, k1)"
    return f"SELECT x.* FROM {wanted} CROSS JOIN LATERAL ({select} FROM {inner} OFFSET 0) AS x"


@functools.lru_cache(maxsize=512)
def _in_list(sql: str, first: int, count: int) -> str:
    return sql.replace("{keys}", "(" + ", ".join(f"${number}" for number in range(first, first + count)) + ")")


@functools.lru_cache(maxsize=512)
def _pair_list(sql: str, first: int, count: int) -> str:
    marks = ", ".join(f"(${first + 2 * at}, ${first + 2 * at + 1})" for at in range(count))
    # In SQLite a CROSS JOIN is done in the order it is written.
    return sql.replace("{wanted}", f"(SELECT column1 AS k0, column2 AS k1 FROM (VALUES {marks})) AS w")
