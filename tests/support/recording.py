"""A store that notes every statement that runs on it, as the rooms wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from satchel.server.db.engine import Connection, Database, Dialect, Row, Value, Work

T = TypeVar("T")


class RecordingDatabase:
    """`Database` over another one. statements: in the order they ran, once for each time."""

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self.dialect: Dialect = inner.dialect
        self.statements: list[str] = []

    async def read(self, work: Work[T]) -> T:
        return await self._inner.read(lambda conn: work(_Recording(conn, self.statements)))

    async def glance(self, work: Work[T]) -> T:
        return await self._inner.glance(lambda conn: work(_Recording(conn, self.statements)))

    async def write(self, key: bytes, work: Work[T]) -> T:
        return await self._inner.write(key, lambda conn: work(_Recording(conn, self.statements)))

    async def close(self) -> None:
        await self._inner.close()


class _Recording:
    def __init__(self, conn: Connection, statements: list[str]) -> None:
        self._conn = conn
        self._statements = statements
        self.dialect: Dialect = conn.dialect

    async def fetch(self, sql: str, *args: Value) -> list[Row]:
        self._statements.append(sql)
        return await self._conn.fetch(sql, *args)

    async def execute(self, sql: str, *args: Value) -> int:
        self._statements.append(sql)
        return await self._conn.execute(sql, *args)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        if rows:
            self._statements.append(sql)
        await self._conn.execute_many(sql, rows)
