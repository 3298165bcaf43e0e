"""Runs a scenario of upkeep over both databases and over blocks on a disk and in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from satchel.server.adapters.blocks_local import LocalBlocks
from satchel.server.db.engine import READ_WAIT_S, Database, Work
from satchel.server.ports import BlockStore, Place, Span
from satchel.simulation.stores import MemoryBlocks
from tests.support.databases import Run
from tests.support.upkeep_world import World

T = TypeVar("T")
Scene = Callable[[World], Awaitable[None]]
Play = Callable[[Scene], None]


@pytest.fixture(params=["local", "memory"])
def play(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> Play:
    """Plays a scene in a world of its own, then reads every version back."""

    def play_one(scene: Scene) -> None:
        async def scenario(db: Database) -> None:
            is_local = request.param == "local"
            # Small logs, so that most are closed and the last one is open.
            folder = str(tmp_path / "blocks")
            store: BlockStore = LocalBlocks(folder, log_bytes_max=20_000) if is_local else MemoryBlocks()
            try:
                world = World(db, store)
                await scene(world)
                await world.check()
            finally:
                await store.close()

        run(scenario)

    return play_one


class StoppingDatabase:
    """A database whose n-th transaction raises, before it or after it was durable."""

    def __init__(
        self,
        db: Database,
        number: int,
        error: BaseException,
        *,
        kinds: tuple[str, ...] = ("read", "write"),
        is_after: bool = False,
    ) -> None:
        self._db, self._left, self._error = db, number, error
        self._kinds, self._is_after = kinds, is_after
        self.dialect = db.dialect

    @property
    def has_stopped(self) -> bool:
        return self._left <= 0

    async def read(self, work: Work[T], *, wait_s: float = READ_WAIT_S) -> T:
        self._count("read", is_after=False)
        result = await self._db.read(work, wait_s=wait_s)
        self._raise("read", is_after=True)
        return result

    async def glance(self, work: Work[T]) -> T:
        return await self.read(work)

    async def write(self, key: bytes, work: Work[T]) -> T:
        self._count("write", is_after=False)
        result = await self._db.write(key, work)
        self._raise("write", is_after=True)
        return result

    async def close(self) -> None:
        await self._db.close()

    def _count(self, kind: str, *, is_after: bool) -> None:
        if kind in self._kinds:
            self._left -= 1
            self._raise(kind, is_after=is_after)

    def _raise(self, kind: str, *, is_after: bool) -> None:
        if kind in self._kinds and self._left == 0 and self._is_after == is_after:
            self._left = -1
            raise self._error


class MeetingDatabase:
    """A database at which something else happens once, between what was read and the first transaction that writes."""

    def __init__(self, db: Database, act: Callable[[], Awaitable[object]]) -> None:
        self._db, self._act = db, act
        self.has_met = False
        self.dialect = db.dialect

    async def read(self, work: Work[T]) -> T:
        return await self._db.read(work)

    async def glance(self, work: Work[T]) -> T:
        return await self._db.glance(work)

    async def write(self, key: bytes, work: Work[T]) -> T:
        if not self.has_met:
            self.has_met = True
            await self._act()
        return await self._db.write(key, work)

    async def close(self) -> None:
        await self._db.close()


class StoppingStore:
    """A block store whose n-th put or delete is stopped, before it or after it was done."""

    def __init__(self, store: BlockStore, number: int, *, is_after: bool) -> None:
        self._store, self._left, self._is_after = store, number, is_after

    async def put(self, name: str, pieces: Sequence[bytes | memoryview]) -> Place:
        self._stop(is_after=False)
        place = await self._store.put(name, pieces)
        self._stop(is_after=True)
        return place

    async def delete(self, name: str) -> None:
        self._stop(is_after=False)
        await self._store.delete(name)
        self._stop(is_after=True)

    async def get(self, spans: Sequence[Span]) -> list[bytes | None]:
        return await self._store.get(spans)

    async def names(self, prefix: str) -> list[str]:
        return await self._store.names(prefix)

    async def open_names(self) -> frozenset[str]:
        return await self._store.open_names()

    async def probe(self) -> None:
        await self._store.probe()

    async def close(self) -> None:
        await self._store.close()

    def _stop(self, *, is_after: bool) -> None:
        if not is_after:
            self._left -= 1
        if self._left == 0 and self._is_after == is_after:
            self._left = -1
            raise asyncio.CancelledError
