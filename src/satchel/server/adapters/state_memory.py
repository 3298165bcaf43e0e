"""Short-lived facts of one process. Invariant: a member that has ended is never returned."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from satchel.server.ports import Clock, Member

KEYS_MAX = 1_000_000
MEMBERS_MAX = 1_000
BUCKETS_MAX = 100_000
NEARLY_ONE = 1 - 1e-6
"""What counts as one in a bucket, so that who waited as long as was said does not wait again for a rounding."""


class _Held(NamedTuple):
    """A member's value and when it ends."""

    value: bytes
    ends_ms: int


class _Bucket(NamedTuple):
    """What was left in it at that time."""

    left: float
    at_ms: int


class Buckets:
    """Rates within this process. Past `count_max` buckets the one unused for longest is forgotten, which fills it."""

    def __init__(self, clock: Clock, *, count_max: int = BUCKETS_MAX) -> None:
        self._clock = clock
        self._count_max = count_max
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def spend(self, key: str, *, burst: int, per_s: float) -> float:
        """See EphemeralState.spend."""
        assert burst >= 1 and per_s > 0
        now_ms = self._clock.now_ms()
        had = self._buckets.get(key, _Bucket(burst, now_ms))
        left = min(burst, had.left + max(0, now_ms - had.at_ms) / 1_000 * per_s)
        if left < NEARLY_ONE:
            return (1 - left) / per_s
        self._buckets[key] = _Bucket(max(0.0, left - 1), now_ms)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._count_max:
            self._buckets.popitem(last=False)
        return 0.0


class MemoryState:
    """EphemeralState within one process; past a million keys the oldest is forgotten."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: OrderedDict[str, dict[str, _Held]] = OrderedDict()
        self._buckets = Buckets(clock)

    async def add_member(self, key: str, member: str, value: bytes, *, ttl_s: float) -> bool:
        """See EphemeralState."""
        held, now_ms = self._held.get(key, {}), self._clock.now_ms()
        if member not in held and len(held) >= MEMBERS_MAX:
            held = self._living(key)
            if len(held) >= MEMBERS_MAX:
                return False
        was_there = member in held and held[member].ends_ms > now_ms
        held[member] = _Held(value, now_ms + max(1, int(ttl_s * 1_000)))
        self._held[key] = held
        self._held.move_to_end(key)
        if len(self._held) > KEYS_MAX:
            self._held.popitem(last=False)
        return was_there

    async def add_members(self, members: Sequence[Member], *, ttl_s: float) -> list[bool]:
        """See EphemeralState."""
        return [await self.add_member(*each, ttl_s=ttl_s) for each in members]

    async def remove_member(self, key: str, member: str, *, value: bytes | None = None) -> None:
        """See EphemeralState."""
        held = self._held.get(key)
        if held is None or member not in held or value not in (None, held[member].value):
            return
        del held[member]
        if not held:
            del self._held[key]

    async def members(self, key: str) -> dict[str, bytes]:
        """See EphemeralState."""
        living = self._living(key)
        if living:
            self._held[key] = living
        else:
            self._held.pop(key, None)
        return {member: living[member].value for member in sorted(living)}

    async def members_of(self, keys: Sequence[str]) -> list[dict[str, bytes]]:
        """See EphemeralState."""
        return [await self.members(key) for key in keys]

    async def spend(self, key: str, *, burst: int, per_s: float) -> float:
        """See EphemeralState."""
        return self._buckets.spend(key, burst=burst, per_s=per_s)

    async def close(self) -> None:
        """See EphemeralState."""
        self._held.clear()

    def _living(self, key: str) -> dict[str, _Held]:
        now_ms = self._clock.now_ms()
        return {member: held for member, held in self._held.get(key, {}).items() if held.ends_ms > now_ms}
