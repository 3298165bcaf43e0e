"""How long the database takes, waiting included. Invariant: it changes nothing of what the store does.

One measure a transaction, not a statement: that is what a request waits for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from satchel.core.errors import Fault
from satchel.server.db.engine import READ_WAIT_S, Database, Dialect, Work
from satchel.server.metrics import Histogram
from satchel.server.spans import span

T = TypeVar("T")


class MeasuredDatabase:
    """`inner`, with the time of each transaction. seconds, faults: by `read` and `write`; faults by code too."""

    def __init__(self, inner: Database) -> None:
        self.dialect: Dialect = inner.dialect
        self.reads, self.writes = Histogram(), Histogram()
        self.faults: Counter[tuple[str, ...]] = Counter()
        self.waiting = 0
        self._inner = inner

    async def write(self, key: bytes, work: Work[T]) -> T:
        """See `Database.write`."""
        now = asyncio.get_running_loop().time
        began = now()
        self.waiting += 1
        try:
            with span("database write"):
                return await self._inner.write(key, work)
        except Fault as fault:
            self._failed("write", fault)
            raise
        finally:
            self.waiting -= 1
            self.writes.observe(now() - began)

    async def read(self, work: Work[T], *, wait_s: float = READ_WAIT_S) -> T:
        """See `Database.read`."""
        with self._reading():
            return await self._inner.read(work, wait_s=wait_s)

    async def glance(self, work: Work[T]) -> T:
        """See `Database.glance`. Counted as a read."""
        with self._reading():
            return await self._inner.glance(work)

    async def close(self) -> None:
        """See `Database.close`."""
        await self._inner.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        now = asyncio.get_running_loop().time
        began = now()
        self.waiting += 1
        try:
            yield
        except Fault as fault:
            self._failed("read", fault)
            raise
        finally:
            self.waiting -= 1
            self.reads.observe(now() - began)

    def _failed(self, call: str, fault: Fault) -> None:
        # What the work itself raises is an answer to a person, and no failure of the store.
        if fault.status >= 500:
            self.faults[call, fault.code] += 1
