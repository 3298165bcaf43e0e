"""What upkeep tells administrators through the gateway, which does not know its rooms. Invariant: it only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from satchel.server.db.engine import Database
from satchel.server.ports import TaskSeen
from satchel.server.upkeep.figures import figures
from satchel.server.upkeep.schedule import task_states


class StoreOverseer:
    """`Overseer` over the database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def figures(self) -> Mapping[str, object]:
        """See `Overseer.figures`."""
        return await figures(self._db)

    async def tasks(self) -> Sequence[TaskSeen]:
        """See `Overseer.tasks`."""
        return [
            TaskSeen(one.name, one.last_at, one.last_ms, one.next_at, one.failures, one.last_fault)
            for one in await task_states(self._db)
        ]
