"""Has webhooks told what happened, by one process at a time. Source: feed/webhooks.py, which does it."""

from __future__ import annotations

from satchel.server.db.engine import Database
from satchel.server.feed.webhooks import tell_webhooks
from satchel.server.ports import Clock, Poster
from satchel.server.upkeep.schedule import Counts, Task

WEBHOOKS = "webhooks"
EVERY_S = 5.0


def tasks(db: Database, clock: Clock, poster: Poster) -> list[Task]:
    """Return the task of this part of upkeep."""

    async def tell() -> Counts:
        return Counts({"taken": await tell_webhooks(db, clock, poster)})

    return [Task(WEBHOOKS, EVERY_S, tell)]
