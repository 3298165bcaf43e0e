"""How long the block store takes, and how often it fails. Invariant: it changes nothing of what the store does."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from satchel.core.errors import Fault
from satchel.server.metrics import Histogram
from satchel.server.ports import BlockStore, Place, Span
from satchel.server.spans import span


class MeasuredBlocks:
    """`inner`, with the time of each call. seconds: by call; faults: by call and code."""

    def __init__(self, inner: BlockStore) -> None:
        self.seconds: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.faults: Counter[tuple[str, ...]] = Counter()
        self._inner = inner

    @property
    def retries(self) -> int:
        """How many requests were sent again, where the store counts them."""
        found = getattr(self._inner, "retries", 0)
        return found if isinstance(found, int) else 0

    async def put(self, name: str, pieces: Sequence[bytes | memoryview]) -> Place:
        """See BlockStore."""
        with self._timed("put"):
            return await self._inner.put(name, pieces)

    async def get(self, spans: Sequence[Span]) -> list[bytes | None]:
        """See BlockStore."""
        with self._timed("get"):
            return await self._inner.get(spans)

    async def delete(self, name: str) -> None:
        """See BlockStore."""
        with self._timed("delete"):
            await self._inner.delete(name)

    async def names(self, prefix: str) -> list[str]:
        """See BlockStore."""
        with self._timed("names"):
            return await self._inner.names(prefix)

    async def open_names(self) -> frozenset[str]:
        """See BlockStore."""
        return await self._inner.open_names()

    async def probe(self) -> None:
        """See BlockStore."""
        with self._timed("probe"):
            await self._inner.probe()

    async def close(self) -> None:
        """See BlockStore."""
        await self._inner.close()

    @contextlib.contextmanager
    def _timed(self, call: str) -> Iterator[None]:
        now = asyncio.get_running_loop().time
        began = now()
        try:
            with span(f"block store {call}"):
                yield
        except Fault as fault:
            self.faults[call, fault.code] += 1
            raise
        finally:
            self.seconds[call].observe(now() - began)
