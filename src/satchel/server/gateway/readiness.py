"""Whether requests should be sent to this process. Invariant: asking costs the stores next to nothing, however often it
is done, and what is only faster with it never makes a process unready.

The database is asked at most once a second; the block store, whose probe writes, every ten seconds while it is well.
Source: docs/design/060 (7, 11), docs/operate/restart.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from satchel.core.errors import Fault
from satchel.server.db.engine import Database
from satchel.server.db.schema import migrations, store_facts
from satchel.server.ports import BlockStore, EphemeralState

KEPT_S = 1.0
BLOCKS_KEPT_S = 10.0
LOOK_TIMEOUT_S = 3.0

Away = Mapping[str, Callable[[], bool]]
"""Stores that make things faster, by name, and whether each was gone when it was last asked."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What a look found. not_ready: what keeps requests from being answered; degraded: what is only slower now.

    Both by names that say nothing of where it is: `database`, `schema`, `blocks`, `draining`; `state`, `bus`, `events`.
    """

    not_ready: tuple[str, ...]
    degraded: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether requests should come here."""
        return not self.not_ready

    @property
    def status(self) -> str:
        """Return `ready`, `degraded` or `not_ready`."""
        return "not_ready" if self.not_ready else "degraded" if self.degraded else "ready"


class Readiness:
    """The last look at the stores. is_draining: the process is about to stop, and new work should go elsewhere."""

    def __init__(
        self, db: Database, blocks: BlockStore, state: EphemeralState | None = None, away: Away | None = None
    ) -> None:
        self.is_draining = False
        self._db, self._blocks, self._state = db, blocks, state
        self._away = away or {}
        self._last = Ready(())
        self._until = self._blocks_until = 0.0
        self._blocks_are_well = False
        self._line = asyncio.Lock()

    @property
    def last(self) -> Ready:
        """What the last look found, without another one."""
        return Ready(("draining",)) if self.is_draining else self._last

    def away(self) -> dict[str, bool]:
        """Return for each store that makes things faster whether it was gone when it was last asked."""
        return {name: is_gone() for name, is_gone in self._away.items()}

    async def look(self) -> Ready:
        """Return what is so now, or was within the last second. Never raises; at most one look is under way."""
        if self.is_draining:
            return self.last
        async with self._line:
            now = asyncio.get_running_loop().time()
            if now >= self._until:
                self._last = await self._look(now)
                self._until = now + KEPT_S
        return self.last

    async def _look(self, now: float) -> Ready:
        async with asyncio.TaskGroup() as group:
            lacking = group.create_task(self._database_lacks())
            if self._state is not None and self._away:
                # Whoever asks finds out; it never raises, and what it returns does not matter.
                group.create_task(self._holds(self._state.members("ready")))
            if now >= self._blocks_until or not self._blocks_are_well:
                self._blocks_are_well = await self._holds(self._blocks.probe())
                self._blocks_until = now + BLOCKS_KEPT_S
        not_ready = (*lacking.result(), *(() if self._blocks_are_well else ("blocks",)))
        return Ready(not_ready, tuple(name for name, is_gone in self.away().items() if is_gone))

    async def _database_lacks(self) -> tuple[str, ...]:
        """Return what is wrong with it: nothing, that it does not answer, or that its schema is an older one."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                facts = await store_facts(self._db)
        except (Fault, TimeoutError):
            return ("database",)
        # A newer one is that of the next release, which this program works with too.
        return () if facts.schema_version >= migrations()[-1].number else ("schema",)

    async def _holds(self, asked: Awaitable[object]) -> bool:
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                await asked
        except (Fault, TimeoutError):
            return False
        return True
