"""A block store in memory, and workers without threads. Both pass the contract suites of the real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from satchel.server.ports import Place, Span

T = TypeVar("T")


class MemoryBlocks:
    """BlockStore in a dictionary; every put makes its own object. It never suspends."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def put(self, name: str, pieces: Sequence[bytes | memoryview]) -> Place:
        self.objects[name] = b"".join(pieces)
        return Place(name, 0)

    async def get(self, spans: Sequence[Span]) -> list[bytes | None]:
        return [self._part(span) for span in spans]

    async def delete(self, name: str) -> None:
        self.objects.pop(name, None)

    async def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self.objects if name.startswith(prefix))

    async def open_names(self) -> frozenset[str]:
        return frozenset()

    async def probe(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def _part(self, span: Span) -> bytes | None:
        data = self.objects.get(span.name)
        if data is None or span.offset + span.length > len(data):
            return None
        return data[span.offset : span.offset + span.length]


class InlineWorkers:
    """Workers that do the work in the caller's own thread; they never suspend."""

    async def run(self, work: Callable[[], T]) -> T:
        return work()
