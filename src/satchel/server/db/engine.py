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
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, cast

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

    async def glance(self, work: Work[T]) -> T:
        """As `read`, for work that makes one statement nearly always: one is a moment's view without a transaction.

        Work that makes another begins again, and all of it has one view then.
        """
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of everything. Later calls raise Unavailable."""
        ...


class Question(NamedTuple):
    """A SELECT for `fetch_together`. args: its own `$1..$n`; keys, pairs: as of `fetch_in` and `fetch_in_pairs`."""

    sql: str
    args: tuple[Value, ...] = ()
    keys: Sequence[Value] | None = None
    pairs: Sequence[tuple[Value, Value]] | None = None


class Change(NamedTuple):
    """A statement for `change_together`, once per row of arguments: an INSERT of `VALUES`, or anything of one row.

    same: its first arguments, which are the same for all rows; those of `rows` follow them.
    """

    sql: str
    rows: Sequence[tuple[Value, ...]]
    same: tuple[Value, ...] = ()


def row_lock(conn: Connection) -> str:
    """Return the clause that locks the selected rows; SQLite has one writer and needs none."""
    return " FOR UPDATE" if conn.dialect == "postgres" else ""


async def fetch_together(conn: Connection, questions: Sequence[Question]) -> list[list[Row]]:
    """Return the rows of each question, in no particular order; one journey for all where the database is far away."""
    if conn.dialect == "sqlite":
        answers: list[list[Row]] = []
        for sql, args, keys, pairs in questions:
            if keys is not None:
                answers.append(await fetch_in(conn, sql, keys, *args) if keys else [])
            elif pairs is not None:
                answers.append(await fetch_in_pairs(conn, sql, pairs, *args) if pairs else [])
            else:
                answers.append(await conn.fetch(sql, *args))
        return answers
    found: list[list[Row]] = [[] for _ in questions]
    forms = [(at, *_looked_up_form(question)) for at, question in enumerate(questions)]
    asked = [(at, text, args) for at, text, args in forms if text]
    if len(asked) == 1:
        [(at, text, args)] = asked
        found[at] = await conn.fetch(text, *args)
    elif asked:
        text = _united(tuple([(at, text, len(args)) for at, text, args in asked]))
        for at, row in await conn.fetch(text, *[value for _, _, args in asked for value in args]):
            found[at].append(row)
    return found


async def change_together(conn: Connection, changes: Sequence[Change]) -> None:
    """Make the changes: no two of them of the same row, and none that reads what another writes; in any order.

    PostgreSQL makes them all with one statement, which sees none of its own parts.
    """
    if conn.dialect == "sqlite":
        for change in changes:
            await conn.execute_many(change.sql, [(*change.same, *row) for row in change.rows])
        return
    forms = [_changing_form(change) for change in changes if change.rows]
    if forms:
        text = _joined(tuple([(text, len(args)) for text, args in forms]))
        await conn.execute(text, *[value for _, args in forms for value in args])


async def fetch_in(conn: Connection, sql: str, keys: Iterable[Value], *args: Value) -> list[Row]:
    """Run `sql`, in which `column IN {keys}` stands for a list of keys, for all keys, in as few statements as possible.

    args: the statement's own `$1..$n`; the keys follow them. Rows come in no particular order, each once.
    """
    rows: list[Row] = []
    if conn.dialect == "sqlite":
        for part in _padded(keys, IN_LIST_MAX):
            rows += await conn.fetch(_in_list(sql, len(args) + 1, len(part)), *args, *part)
        return rows
    text, told = _looked_up_form(Question(sql, args, keys=list(keys)))
    return await conn.fetch(text, *told) if text else rows


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
        return rows
    text, told = _looked_up_form(Question(sql, args, pairs=list(pairs)))
    return await conn.fetch(text, *told) if text else rows


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


def _looked_up_form(question: Question) -> tuple[str, tuple[Value, ...]]:
    """Return PostgreSQL's text of a question and its arguments; no text when it asks for nothing."""
    args, first = question.args, len(question.args) + 1
    # The driver takes a list as an array where the port speaks of single values.
    if question.keys is not None:
        if not (wanted := list(dict.fromkeys(question.keys))):
            return "", ()
        return _looked_up(question.sql, first, _array_of(wanted)), (*args, cast("Value", wanted))
    if question.pairs is not None:
        if not (pairs := list(dict.fromkeys(question.pairs))):
            return "", ()
        columns = [[pair[at] for pair in pairs] for at in (0, 1)]
        text = _looked_up_pairs(question.sql, first, *[_array_of(column) for column in columns])
        return text, (*args, *[cast("Value", column) for column in columns])
    return question.sql, args


def _changing_form(change: Change) -> tuple[str, Sequence[Value]]:
    """Return PostgreSQL's text of a change and its arguments: those of one row, or an array for each column.

    What all rows share goes as one value: an array costs for each of its elements.
    """
    if len(change.rows) == 1:
        return change.sql, (*change.same, *change.rows[0])
    columns = list(zip(*change.rows, strict=True))
    arrays = tuple([_array_of(column) for column in columns])
    told = [cast("Value", column) for column, array in zip(columns, arrays, strict=True) if array]
    return _inserting_arrays(change.sql, len(change.same), arrays), (*change.same, *told)


def _array_of(values: Sequence[Value]) -> str:
    """Return PostgreSQL's type for a column's values; empty when all are NULL."""
    for value in values:
        if value is not None:
            return "text[]" if isinstance(value, str) else "bigint[]" if isinstance(value, int) else "bytea[]"
    return ""


_INSERTED_ROW = re.compile(r"(INSERT INTO [^$]* )VALUES (\([^()]*\))([^$]*)", re.DOTALL)
"""An INSERT of one row of placeholders: what is before it, the row, and what follows, which has none."""


@functools.lru_cache(maxsize=512)
def _inserting_arrays(sql: str, same: int, arrays: tuple[str, ...]) -> str:
    """Return PostgreSQL's INSERT of many rows: `same` arguments for all, then an array a column.

    arrays: their types, empty for a column of NULLs. Raises: StorageFailed for anything but an INSERT of placeholders.
    """
    found = _INSERTED_ROW.fullmatch(sql)
    if found is None:
        raise StorageFailed("Many rows change with an INSERT alone.", where="database", reason=sql[:80])
    before, row, after = found.groups()
    held = [at for at, array in enumerate(arrays) if array]
    lists = ", ".join(f"${number}::{arrays[at]}" for number, at in enumerate(held, start=same + 1))
    names = ", ".join(f"c{at}" for at in held)

    def value(mark: re.Match[str]) -> str:
        at = int(mark[1]) - same - 1
        return mark[0] if at < 0 else f"r.c{at}" if arrays[at] else "NULL"

    return f"{before}SELECT {_PLACEHOLDER.sub(value, row)[1:-1]} FROM unnest({lists}) AS r ({names}){after}"


@functools.lru_cache(maxsize=1_024)
def _joined(parts: tuple[tuple[str, int], ...]) -> str:
    """Return one statement that makes all changes. parts: each one's text and how many arguments it has."""
    texts, first = [], 0
    for text, count in parts:
        texts.append(_moved(text, first))
        first += count
    steps = ", ".join(f"step{at} AS ({text})" for at, text in enumerate(texts[:-1]))
    return f"WITH {steps} {texts[-1]}" if steps else texts[-1]


@functools.lru_cache(maxsize=1_024)
def _united(parts: tuple[tuple[int, str, int], ...]) -> str:
    """Return one SELECT of all answers: whose it is, and the row. parts: number, text and count of arguments."""
    texts, first = [], 0
    for number, text, count in parts:
        texts.append(f"SELECT {number} AS part, x AS found FROM ({_moved(text, first)}) AS x")
        first += count
    return " UNION ALL ".join(texts)


def _moved(text: str, by: int) -> str:
    """Return the text with each `$n` as `$(n + by)`."""
    return _PLACEHOLDER.sub(lambda mark: f"${int(mark[1]) + by}", text) if by else text


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
