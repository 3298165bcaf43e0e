"""Keeps packs in the store while a backup copies them. Invariant: while a pin stands, no pack is deleted; a pin ends by
itself when nobody renews it.

A run of garbage that began before the pin deletes only packs that were empty before it, and the snapshot, taken after
it, names none of those.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from satchel.core.errors import Fault
from satchel.server.db.engine import Connection, Database
from satchel.server.ports import Clock
from satchel.server.upkeep.marking import UPKEEP_KEY

PIN_MS = 12 * 3_600_000
"""What a dead backup costs: empty packs stay for so long. Longer than a snapshot may take."""
RENEW_MS = 600_000


class Pin:
    """A pin that is held. Call `renew` now and then."""

    def __init__(self, db: Database, clock: Clock, pin_id: bytes, reason: str) -> None:
        self._db = db
        self._clock = clock
        self._pin_id = pin_id
        self._reason = reason
        self._renewed_ms = 0

    async def renew(self) -> None:
        """Let the pin last PIN_MS from now, when it was not renewed of late. Raises: Unavailable, StorageFailed."""
        now_ms = self._clock.now_ms()
        if now_ms - self._renewed_ms < RENEW_MS:
            return

        async def renew_txn(conn: Connection) -> None:
            await conn.execute("DELETE FROM pins WHERE until <= $1", now_ms)
            await conn.execute(
                "INSERT INTO pins (pin_id, reason, created_at, until) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT (pin_id) DO UPDATE SET until = excluded.until",
                *(self._pin_id, self._reason, now_ms, now_ms + PIN_MS),
            )

        await self._db.write(UPKEEP_KEY, renew_txn)
        self._renewed_ms = now_ms

    async def end(self) -> None:
        """Remove the pin."""
        await self._db.write(UPKEEP_KEY, lambda conn: conn.execute("DELETE FROM pins WHERE pin_id = $1", self._pin_id))


@contextlib.asynccontextmanager
async def pinned(db: Database, clock: Clock, reason: str) -> AsyncIterator[Pin]:
    """Hold a pin while the block runs."""
    pin = Pin(db, clock, clock.random(16), reason)
    await pin.renew()
    try:
        yield pin
    finally:
        # It ends by its time when the database cannot be asked any more.
        with contextlib.suppress(Fault):
            await pin.end()
