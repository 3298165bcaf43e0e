"""How often links are opened, counted without a row that all wait for. Invariant: a link with a download limit is not
counted here; what is, may lose the last seconds when a process is killed.

Each process gathers, and writes one row a link every few seconds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from satchel.core.errors import Fault
from satchel.server.db.engine import Connection, Database
from satchel.server.event_log import pause
from satchel.server.ports import Clock
from satchel.server.sharing.shares import Share

_log = structlog.get_logger("links")

WRITE_S = 5.0
LINKS_MAX = 10_000
"""Past so many in one round the rest is not counted."""
HITS_KEY = b"link hits"


@dataclass(slots=True)
class _Count:
    hits: int = 0
    downloads: int = 0


class Hits:
    """What this process has yet to write."""

    def __init__(self) -> None:
        self._counts: dict[tuple[bytes, bytes], _Count] = {}

    def opened(self, share: Share) -> None:
        """Count one look at a link."""
        if (count := self._count(share)) is not None:
            count.hits += 1

    def downloaded(self, share: Share) -> None:
        """Count one download of a link without a limit."""
        assert share.downloads_max is None
        if (count := self._count(share)) is not None:
            count.downloads += 1

    async def keep(self, db: Database, clock: Clock, ending: asyncio.Event) -> None:
        """Write what was counted every few seconds, and once more when `ending` is set."""
        while not ending.is_set():
            await pause(ending, WRITE_S)
            try:
                await self.write(db, clock)
            except Fault as fault:
                # It is kept and written with the next.
                _log.warning("links.uncounted", code=fault.code, links=len(self._counts))

    async def write(self, db: Database, clock: Clock) -> None:
        """Write what was counted so far. Raises: as `Database.write`; nothing is lost then."""
        if not self._counts:
            return
        counts, self._counts = self._counts, {}
        now = clock.now_ms()
        # In the order of the key, as all processes do: no two wait for each other.
        rows = [(*key, count.hits, count.downloads, now) for key, count in sorted(counts.items())]

        async def write_txn(conn: Connection) -> None:
            await conn.execute_many(
                "UPDATE shares SET hits = hits + $3, downloads = downloads + $4, seen_at = $5"
                " WHERE ns = $1 AND share_id = $2",
                rows,
            )

        try:
            await db.write(HITS_KEY, write_txn)
        except BaseException:
            for key, count in counts.items():
                kept = self._counts.setdefault(key, _Count())
                kept.hits += count.hits
                kept.downloads += count.downloads
            raise

    def _count(self, share: Share) -> _Count | None:
        key = (share.ns, share.share_id)
        if key not in self._counts and len(self._counts) >= LINKS_MAX:
            return None
        return self._counts.setdefault(key, _Count())
