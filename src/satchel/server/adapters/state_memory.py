"""Short-lived facts of one process. Invariant: a member that has ended is never returned."""

from __future__ import annotations

from collections import OrderedDict

from satchel.server.ports import Clock

KEYS_MAX = 1_000_000


class MemoryState:
    """EphemeralState within one process; past a million keys the oldest is forgotten."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends_ms: OrderedDict[str, dict[str, int]] = OrderedDict()

    async def add_member(self, key: str, member: str, *, ttl_s: float) -> None:
        """See EphemeralState."""
        members = self._ends_ms.setdefault(key, {})
        members[member] = self._clock.now_ms() + int(ttl_s * 1_000)
        self._ends_ms.move_to_end(key)
        if len(self._ends_ms) > KEYS_MAX:
            self._ends_ms.popitem(last=False)

    async def remove_member(self, key: str, member: str) -> None:
        """See EphemeralState."""
        members = self._ends_ms.get(key)
        if members is None:
            return
        members.pop(member, None)
        if not members:
            del self._ends_ms[key]

    async def members(self, key: str) -> list[str]:
        """See EphemeralState."""
        now_ms = self._clock.now_ms()
        living = {member: end for member, end in self._ends_ms.get(key, {}).items() if end > now_ms}
        if living:
            self._ends_ms[key] = living
        else:
            self._ends_ms.pop(key, None)
        return sorted(living)

    async def close(self) -> None:
        """See EphemeralState."""
        self._ends_ms.clear()
