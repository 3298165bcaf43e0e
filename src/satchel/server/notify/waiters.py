"""Many that wait for news of namespaces. Invariant: no waiter misses a position that is told after it joined.

Waiting costs no query: a waiter joins first, then reads the feed, then waits; positions told in between are kept.
Source: docs/design/050 (the bus carries only positions), 060 (7).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from satchel.core.errors import TooManyRequests
from satchel.core.ids import AccountId, NamespaceId
from satchel.core.limits import STREAMS_PER_ACCOUNT_MAX
from satchel.server.ports import Bus

WAITERS_MAX = 100_000
RETRY_AFTER_S = 30.0
DRAIN_STEP_S = 0.1


class Waiter:
    """One stream or long-poll. heads: the newest position told of each of its namespaces, 0 for none yet.

    is_doubted: its token or rights may be gone; is_gapped: positions may have been missed, so all its namespaces are to
    be looked at. Whoever waits does that and puts the mark away.
    """

    def __init__(self, namespaces: Iterable[NamespaceId]) -> None:
        self.heads: dict[NamespaceId, int] = dict.fromkeys(namespaces, 0)
        self.is_stopped = False
        self.is_doubted = False
        self.is_gapped = False
        self._news = asyncio.Event()

    async def wait(self, seen: Mapping[NamespaceId, int], *, timeout_s: float) -> bool:
        """Return True once a namespace is beyond `seen`, the service stops, or a right or a position may be gone.

        False after `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not (self.is_stopped or self.is_doubted or self.is_gapped or self._is_ahead(seen)):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def wake(self) -> None:
        """Look again; called for each position told and at the stop."""
        self._news.set()

    def _is_ahead(self, seen: Mapping[NamespaceId, int]) -> bool:
        return any(head > seen.get(ns, 0) for ns, head in self.heads.items())


@dataclass(slots=True)
class WaiterCounts:
    """Since the start. told: positions that came; woken: waiters that one of them woke; gaps: times positions may have
    been missed; refused: waiters that there was no room for."""

    told: int = 0
    woken: int = 0
    gaps: int = 0
    refused: int = 0


class Waiters:
    """All that wait in this process."""

    def __init__(self, bus: Bus) -> None:
        self.counts = WaiterCounts()
        self._of_ns: dict[NamespaceId, set[Waiter]] = defaultdict(set)
        self._of_account: dict[AccountId, set[Waiter]] = defaultdict(set)
        self._count = 0
        self._ends = (bus.subscribe(self._told), bus.on_gap(self._missed))
        self._is_stopped = False

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def joined(self, account: AccountId, namespaces: Iterable[NamespaceId]) -> Iterator[Waiter]:
        """Yield a waiter for these namespaces. Raises: TooManyRequests past 200 for the account or 100,000 in all."""
        if len(self._of_account.get(account, ())) >= STREAMS_PER_ACCOUNT_MAX or len(self) >= WAITERS_MAX:
            self.counts.refused += 1
            raise TooManyRequests("Too many connections wait for changes.", retry_after_s=RETRY_AFTER_S)
        waiter = Waiter(namespaces)
        waiter.is_stopped = self._is_stopped
        self._of_account[account].add(waiter)
        self._count += 1
        for ns in waiter.heads:
            self._of_ns[ns].add(waiter)
        try:
            yield waiter
        finally:
            self._count -= 1
            self._of_account[account].discard(waiter)
            if not self._of_account[account]:
                del self._of_account[account]
            for ns in waiter.heads:
                self._of_ns[ns].discard(waiter)
                if not self._of_ns[ns]:
                    del self._of_ns[ns]

    def doubt(self, account: AccountId | None = None) -> None:
        """Have all of the account (or all there are) check again what they may do; called where a right is taken."""
        for one in [account] if account is not None else list(self._of_account):
            for waiter in self._of_account.get(one, ()):
                waiter.is_doubted = True
                waiter.wake()

    async def drain(self, seconds: float, hurry: asyncio.Event) -> None:
        """End all that wait, a few at a time over so many seconds, so that they do not come to another process at once.

        Who comes meanwhile is ended too before it is over. `hurry` ends it early; `stop` has to follow.
        """
        steps = max(1, round(seconds / DRAIN_STEP_S))
        for left in range(steps, 0, -1):
            living = [each for group in self._of_account.values() for each in group if not each.is_stopped]
            for waiter in living[: -(-len(living) // left)]:
                waiter.is_stopped = True
                waiter.wake()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds / steps):
                    await hurry.wait()
                    return

    def stop(self) -> None:
        """Wake all for good; the service goes down."""
        for end in self._ends:
            end()
        self._is_stopped = True
        for waiters in self._of_account.values():
            for waiter in waiters:
                waiter.is_stopped = True
                waiter.wake()

    def _missed(self) -> None:
        self.counts.gaps += 1
        for waiters in self._of_account.values():
            for waiter in waiters:
                waiter.is_gapped = True
                waiter.wake()

    def _told(self, ns: NamespaceId, seq: int) -> None:
        self.counts.told += 1
        # Looked up without making an entry: most namespaces that change have nobody waiting.
        for waiter in self._of_ns.get(ns, ()):
            if seq > waiter.heads[ns]:
                waiter.heads[ns] = seq
                self.counts.woken += 1
                waiter.wake()
