"""The service of the simulation: the real rooms, on a database and a block store that fail as the faults decide.

Invariant: what a failed call leaves behind is what a real store may leave: a transaction whole or not at all, an object
stored or not; the answer may lie about neither, only be missing. Source: docs/design/040 (Simulation).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from satchel.core.errors import StorageFailed, Unavailable
from satchel.core.messages import PROTOCOL_VERSION
from satchel.server.blocks.service import BlockService
from satchel.server.db.engine import Connection
from satchel.server.db.schema import new_epoch
from satchel.server.db.sqlite import InlineSqliteDatabase
from satchel.server.ports import Place, Span
from satchel.simulation.core_remote import CoreService
from satchel.simulation.faults import Faults
from satchel.simulation.scheduler import Scheduler, pause
from satchel.simulation.stores import InlineWorkers, MemoryBlocks

T = TypeVar("T")


class _Lost(Exception):
    """Ends a transaction from within."""


class FaultyDatabase(InlineSqliteDatabase):
    """The database in memory, whose transactions get lost, are cut, or are aborted and run again."""

    def __init__(self, faults: Faults, kill: Callable[[], None]) -> None:
        super().__init__()
        self._faults = faults
        self._kill = kill

    async def write(self, key: bytes, work: Callable[[Connection], Awaitable[T]]) -> T:
        faults = self._faults
        if faults.happens("serialization"):
            await self._lose(work)
        elif faults.happens("restart_in_commit"):
            await self._lose(work)
            raise Unavailable("The database was started anew.", where="sim", reason="restart")
        elif faults.happens("out_of_memory"):
            await self._lose(work)
            self._kill()
            raise Unavailable("The service is gone.", where="sim", reason="memory")
        elif faults.happens("cut_in_transaction"):
            if faults.stream("cut_in_transaction").random() < 0.5:
                await super().write(key, work)
            else:
                await self._lose(work)
            raise Unavailable("The database's line broke.", where="sim", reason="cut")
        return await super().write(key, work)

    async def _lose(self, work: Callable[[Connection], Awaitable[T]]) -> None:
        async def work_and_fail(conn: Connection) -> None:
            await work(conn)
            raise _Lost

        try:
            await super().write(b"", work_and_fail)
        except _Lost:
            return


class FaultyBlocks(MemoryBlocks):
    """The block store in memory, slow, failing, unsure, and now and then with a wrong byte in what it gives."""

    def __init__(self, faults: Faults, scheduler: Scheduler) -> None:
        super().__init__()
        self._faults = faults
        self._scheduler = scheduler

    async def put(self, name: str, pieces: Sequence[bytes | memoryview]) -> Place:
        await self._enter()
        if self._faults.happens("out_of_descriptors"):
            raise StorageFailed("A pack cannot be opened.", where="sim", reason="EMFILE")
        place = await super().put(name, pieces)
        await pause()
        if self._faults.happens("store_unsure"):
            raise Unavailable("The store gave no answer.", where="sim", reason="timeout")
        return place

    async def get(self, spans: Sequence[Span]) -> list[bytes | None]:
        await self._enter()
        parts = await super().get(spans)
        if parts and self._faults.happens("store_bad"):
            stream = self._faults.stream("store_bad")
            at = stream.randrange(len(parts))
            part = parts[at]
            parts[at] = None if part is None or stream.random() < 0.5 else flipped(part, stream.random())
        return parts

    async def _enter(self) -> None:
        if self._faults.happens("store_slow"):
            await self._scheduler.sleep_s(5.0 + 25.0 * self._faults.stream("store_slow").random())
        if self._faults.happens("store_error"):
            raise Unavailable("The store answers 503.", where="sim", reason="503")


def flipped(data: bytes, share: float) -> bytes:
    """Return the data with one bit of one byte turned."""
    if not data:
        return data
    at = int(share * len(data))
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@dataclass(frozen=True, slots=True)
class ServiceImage:
    """A service as it was at one moment."""

    database: bytes
    objects: dict[str, bytes]


class SimService(CoreService):
    """The service core over the faulty stores. generation: counts its processes; a request of an old one ends.

    version: the protocol that this process speaks, ours or the one before.
    """

    def __init__(self, faults: Faults, scheduler: Scheduler) -> None:
        super().__init__()
        self._faults = faults
        self._scheduler = scheduler
        self.db = FaultyDatabase(faults, self.kill)
        self.store = FaultyBlocks(faults, scheduler)
        self.generation = 0
        self.version = PROTOCOL_VERSION
        self.down_until_s = 0.0
        self.is_down = False
        self._begin()

    def _begin(self) -> None:
        self.blocks = BlockService(self.store, self.db, self.clock, InlineWorkers())

    def kill(self) -> None:
        """End the process, with all requests in flight and all that it held in memory; it starts again in 4 s."""
        self.generation += 1
        self.down_until_s = self._scheduler.now_s + 4.0
        self._begin()

    def image(self) -> ServiceImage:
        """Take an image of the database and of the blocks."""
        return ServiceImage(self.db.snapshot(), dict(self.store.objects))

    async def put_back(self, image: ServiceImage, *, is_told: bool) -> None:
        """Be what it was, after a stop. is_told: by the restore command, which gives the store another epoch."""
        self.kill()
        self.db.restore(image.database)
        self.store.objects.clear()
        self.store.objects.update(image.objects)
        if is_told:
            # An administrator runs the command until it has worked.
            rate, self._faults.rate = self._faults.rate, 0.0
            await new_epoch(self.db, self.clock)
            self._faults.rate = rate

    @property
    def answers(self) -> bool:
        """True when something listens."""
        return not self.is_down and self._scheduler.now_s >= self.down_until_s
