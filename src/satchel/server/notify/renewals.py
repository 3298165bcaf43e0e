"""Says again who is connected, for all streams of a process that are due. Invariant: each is told whether it was still
known; what is late or lost costs a display and latency, never data.

A stream renews every 25 s. One by one that would be most of what an idle stream costs. Those that were looked after
together (`accounts.standing`) go on in the same moment, so they renew together without waiting for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from satchel.server.db.gathering import Gathering
from satchel.server.ports import EphemeralState, Member

GROUP_MAX = 500
GATHERING_TURNS = 3
"""Turns of the loop that the first waits for those who were woken with it."""
PRESENCE_TTL_S = 90.0


class Renewals:
    """Renews members of the short-lived state together."""

    def __init__(self, state: EphemeralState) -> None:
        self._state = state
        self._due: Gathering[None, Member, bool] = Gathering(self._renew, _pause, count_max=GROUP_MAX)

    async def renew(self, member: Member) -> bool:
        """Have the member last for 90 s more; return whether it was there, as `EphemeralState.add_member`."""
        return await self._due.ask(None, member)

    async def _renew(self, _: None, members: Sequence[Member]) -> list[bool]:
        return await self._state.add_members(members, ttl_s=PRESENCE_TTL_S)


async def _pause() -> None:
    for _ in range(GATHERING_TURNS):
        await asyncio.sleep(0)
