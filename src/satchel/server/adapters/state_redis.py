"""Short-lived facts in Valkey or Redis. Invariant: a member that has ended is never returned, whoever added it, and no
caller waits longer than a moment or gets a fault because the server is gone.

A key is a hash: member -> 'END_MS:VALUE', with the server's own time, so that clocks of processes do not matter and old
servers do too (an expiry per field is new in both). The key itself expires with its last member.
Source: docs/design/020, 060 (11).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from satchel.server.adapters.redis_server import TIMEOUT_S, Outage, server_of
from satchel.server.adapters.state_memory import MEMBERS_MAX, NEARLY_ONE, Buckets
from satchel.server.ports import Clock, Member

CONNECTIONS = 16
TURN_TIMEOUT_S = 5.0
"""So long a call waits for a connection; past that this process is overloaded, and the server is not blamed."""
PAGE_MAX = 500
"""So many calls go in one journey: what waits for their answers is bounded, here and there."""
BUCKET_PREFIX = "bucket:"

_Call = tuple[str, tuple[str | bytes | int, ...]]
"""The key and the arguments of a script."""

_LIVING = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local function living(key)
  local found, flat = {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    local colon = string.find(flat[i + 1], ':', 1, true)
    local ends_ms = colon and tonumber(string.sub(flat[i + 1], 1, colon - 1))
    if ends_ms and ends_ms > now_ms then
      found[#found + 1] = flat[i]
      found[#found + 1] = string.sub(flat[i + 1], colon + 1)
    else
      redis.call('HDEL', key, flat[i])
    end
  end
  return found
end
"""
_MEMBERS = _LIVING + "return living(KEYS[1])"
_ADD = (
    _LIVING
    + """
local member, value, ttl_ms, members_max = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local held = redis.call('HGET', KEYS[1], member)
local ends_ms = held and tonumber(string.match(held, '^(%d+):'))
if not held and redis.call('HLEN', KEYS[1]) >= members_max then
  if #living(KEYS[1]) >= members_max * 2 then return 0 end
end
redis.call('HSET', KEYS[1], member, string.format('%.0f:', now_ms + ttl_ms) .. value)
if redis.call('PTTL', KEYS[1]) < ttl_ms then redis.call('PEXPIRE', KEYS[1], ttl_ms) end
return ends_ms and ends_ms > now_ms and 1 or 0
"""
)
_REMOVE = """
if ARGV[2] then
  local held = redis.call('HGET', KEYS[1], ARGV[1])
  local colon = held and string.find(held, ':', 1, true)
  if not colon or string.sub(held, colon + 1) ~= ARGV[2] then return 0 end
end
return redis.call('HDEL', KEYS[1], ARGV[1])
"""
_SPEND = """
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local burst, per_s, nearly_one = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local had = redis.call('HMGET', KEYS[1], 'left', 'at_us')
local left, at_us = tonumber(had[1] or burst), tonumber(had[2] or now_us)
left = math.min(burst, left + math.max(0, now_us - at_us) / 1000000 * per_s)
if left < nearly_one then return string.format('%.9f', (1 - left) / per_s) end
left = math.max(0, left - 1)
redis.call('HSET', KEYS[1], 'left', string.format('%.9f', left), 'at_us', string.format('%.0f', now_us))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(1e11, math.ceil((burst - left) / per_s * 1000) + 1)))
return '0'
"""


class RedisState:
    """EphemeralState that all processes share. Without the server: no members, and rates within this process."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        setting: str = "state_url",
        timeout_s: float = TIMEOUT_S,
        turn_timeout_s: float = TURN_TIMEOUT_S,
    ) -> None:
        """url: as `server_of` reads it; nothing is connected yet. timeout_s: past that the server is taken for gone;
        turn_timeout_s: so long a call waits for a connection.

        Raises: SettingInvalid, naming `setting`.
        """
        server = server_of(url, setting=setting)
        self._client = Redis.from_pool(server.pool(connections=CONNECTIONS, timeout_s=timeout_s))
        self._timeout_s = timeout_s
        self._turn_timeout_s = turn_timeout_s
        self._outage = Outage("state", server.where, clock)
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._buckets = Buckets(clock)
        self._add, self._remove, self._members, self._spend = map(
            self._client.register_script, (_ADD, _REMOVE, _MEMBERS, _SPEND)
        )

    @property
    def is_away(self) -> bool:
        """Whether the server was gone when it was last asked."""
        return self._outage.is_on

    async def add_member(self, key: str, member: str, value: bytes, *, ttl_s: float) -> bool:
        """See EphemeralState."""
        return (await self.add_members([Member(key, member, value)], ttl_s=ttl_s))[0]

    async def add_members(self, members: Sequence[Member], *, ttl_s: float) -> list[bool]:
        """See EphemeralState."""
        ttl_ms = max(1, int(ttl_s * 1_000))
        calls: list[_Call] = [(each.key, (each.member, each.value, ttl_ms, MEMBERS_MAX)) for each in members]
        return [answer in (None, 1) for answer in await self._ask_all(self._add, calls)]

    async def remove_member(self, key: str, member: str, *, value: bytes | None = None) -> None:
        """See EphemeralState."""
        await self._ask(self._remove, key, member, *(() if value is None else (value,)))

    async def members(self, key: str) -> dict[str, bytes]:
        """See EphemeralState."""
        return (await self.members_of([key]))[0]

    async def members_of(self, keys: Sequence[str]) -> list[dict[str, bytes]]:
        """See EphemeralState."""
        return [_members(flat) for flat in await self._ask_all(self._members, [(key, ()) for key in keys])]

    async def spend(self, key: str, *, burst: int, per_s: float) -> float:
        """See EphemeralState."""
        assert burst >= 1 and per_s > 0
        wait_s = await self._ask(self._spend, BUCKET_PREFIX + key, burst, repr(per_s), repr(NEARLY_ONE))
        if not isinstance(wait_s, bytes):
            return self._buckets.spend(key, burst=burst, per_s=per_s)
        return float(wait_s)

    async def close(self) -> None:
        """See EphemeralState."""
        try:
            await self._client.aclose()
        except (RedisError, OSError):
            # The connections are gone either way.
            return

    async def _ask(self, script: AsyncScript, key: str, *args: str | bytes | int) -> object:
        """Return what the script returns; None when the server is gone."""
        return (await self._ask_all(script, [(key, args)]))[0]

    async def _ask_all(self, script: AsyncScript, calls: Sequence[_Call]) -> list[object]:
        """Return what the script returns for each call, in pages of one journey; None where the server is gone."""
        answers: list[object] = []
        for at in range(0, len(calls), PAGE_MAX):
            page = calls[at : at + PAGE_MAX]
            answers += await self._ask_page(script, page) or [None] * len(page)
        return answers

    async def _ask_page(self, script: AsyncScript, calls: Sequence[_Call]) -> list[object] | None:
        try:
            async with asyncio.timeout(self._turn_timeout_s):
                await self._turns.acquire()
        except TimeoutError:
            return None
        try:
            if not self._outage.may_ask():
                return None
            async with asyncio.timeout(self._timeout_s):
                if len(calls) == 1:
                    [(key, args)] = calls
                    answers: list[object] = [await script(keys=[key], args=args)]
                else:
                    answers = await self._ask_in_line(script, calls)
        except (RedisError, OSError) as error:
            self._outage.failed(error)
            return None
        finally:
            self._turns.release()
        self._outage.worked()
        return answers

    async def _ask_in_line(self, script: AsyncScript, calls: Sequence[_Call]) -> list[object]:
        # No transaction: between the calls the server serves others.
        async with self._client.pipeline(transaction=False) as line:
            for key, args in calls:
                await script(keys=[key], args=args, client=line)
            answers: list[object] = await line.execute()
        return answers


def _members(flat: object) -> dict[str, bytes]:
    """Return the members by name, of the server's list of names and values."""
    if not isinstance(flat, list):
        return {}
    held = {member.decode(errors="replace"): value for member, value in zip(flat[::2], flat[1::2], strict=True)}
    return {member: held[member] for member in sorted(held)}
