"""The rows of a store as one stream of pages that says nothing of a dialect. Invariant: a page is read by its columns'
names, and the last page tells how many rows of each table came before it.

A page is msgpack, compressed: (table, rows), each row's values in the order of `tables`. Values are bytes, integers,
texts and nulls, which both databases hold alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import NoneType
from typing import Any

import msgspec
import zstandard

from satchel.core.errors import StorageFailed
from satchel.core.limits import MIB
from satchel.server.db.engine import Connection, Row, Value
from satchel.server.upkeep.backup.marks import MARKS
from satchel.server.upkeep.backup.tables import BY_NAME, COPIED, Table

LEVEL = 3
PAGE_BYTES_MAX = 1_024 * MIB
"""Of one page, decompressed: a bound against a page that was made to fill the memory."""

_Page = tuple[str, list[tuple[Any, ...]]]
_VALUES = (bytes, int, str, NoneType)
_TOTALS = ""
"""Table of the last page, whose rows are (table, number of its rows)."""


async def page_txn(conn: Connection, table: Table, after: Row | None, columns: tuple[str, ...] = ()) -> list[Row]:
    """Return the next page of a table along its order, all columns by default. after: the last row's place there."""
    along = ", ".join(table.along)
    text, args = f"SELECT {', '.join(columns or table.columns)} FROM {table.name}", list[Value]()
    if after is not None:
        marks = ", ".join(f"${number}" for number in range(1, len(table.along) + 1))
        text += f" WHERE ({along}) > ({marks})"
        args += after
    rows = await conn.fetch(f"{text} ORDER BY {along} LIMIT ${len(args) + 1}", *args, table.page)
    if table.name == "store_meta":
        # Marks speak of this very store, not of its copies.
        rows = [row for row in rows if row[0] not in MARKS]
    return rows


def place_of(table: Table, row: Row) -> Row:
    """Return where a row (of all columns) is along the table's order."""
    columns = table.columns
    return tuple(row[columns.index(name)] for name in table.along)


async def stream_txn(conn: Connection, write: Callable[[str, list[Row]], None]) -> dict[str, int]:
    """Hand every page of every table to `write`, in order; return how many rows each had."""
    counts: dict[str, int] = {}
    for table in COPIED:
        counts[table.name] = 0
        after: Row | None = None
        while True:
            rows = await page_txn(conn, table, after)
            if not rows:
                break
            write(table.name, rows)
            counts[table.name] += len(rows)
            after = place_of(table, rows[-1])
    return counts


def pack_page(table: str, rows: list[Row]) -> bytes:
    """Return a page as bytes."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(msgspec.msgpack.encode((table, rows)))


def pack_totals(counts: dict[str, int]) -> bytes:
    """Return the page that ends the stream."""
    return pack_page(_TOTALS, sorted(counts.items()))


def unpacked(parts: Iterator[bytes | None], where: str) -> Iterator[tuple[Table, list[Row]]]:
    """Yield the pages of a stream. Raises: StorageFailed where it is damaged, ends early or holds something unknown."""
    counts: dict[str, int] = {table.name: 0 for table in COPIED}
    totals: dict[object, object] | None = None
    for part in parts:
        if part is None or totals is not None:
            raise _damaged(where, "a part does not open")
        name, rows = _unpacked_page(part, where)
        if name == _TOTALS:
            totals = dict(rows)
            continue
        table = BY_NAME.get(name)
        if table is None or any(len(row) != len(table.columns) for row in rows):
            raise _damaged(where, f"an unknown table: {name[:40]}")
        counts[name] += len(rows)
        yield table, rows
    if totals != counts:
        raise _damaged(where, "rows are missing")


def _unpacked_page(part: bytes, where: str) -> tuple[str, list[Row]]:
    try:
        if not 0 < zstandard.get_frame_parameters(part).content_size <= PAGE_BYTES_MAX:
            raise _damaged(where, "a page is too long")
        name, rows = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(part), type=_Page)
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise _damaged(where, str(error)) from error
    if not all(isinstance(value, _VALUES) for row in rows for value in row):
        raise _damaged(where, "a value of an unknown kind")
    return name, rows


def _damaged(where: str, reason: str) -> StorageFailed:
    return StorageFailed("A file of the backup is damaged.", where=where, reason=reason)
