"""From the log of events to the gateways whose devices follow a namespace. Invariant: an event counts as handled only
after every gateway that is known to hold such a device was told; being told twice costs one look.

What nobody could be told of is found all the same: a device polls. Source: docs/design/010 (notification service),
docs/adr/2026-11-29-one-process-in-many.md.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from satchel.core.ids import AccountId, NamespaceId
from satchel.server.event_log import ChangeEvent, EventLog
from satchel.server.notify.newest import Newest
from satchel.server.notify.presence import presence_key, unpack_connected
from satchel.server.ports import EphemeralState, Post
from satchel.server.spans import span

GROUP = "notifier"
ACCOUNTS_TOGETHER = 500
"""Accounts whose connections are looked up in one journey, and held in memory at a time."""

Readers = Callable[[Sequence[NamespaceId]], Awaitable[dict[NamespaceId, tuple[AccountId, ...]]]]
"""Gives the accounts that follow each namespace."""


class Notifier:
    """One of any number of equal consumers: each namespace is in the hands of one at a time."""

    def __init__(self, log: EventLog, state: EphemeralState, post: Post, readers: Readers) -> None:
        self._log = log
        self._state = state
        self._post = post
        self._readers = readers
        self._newest = Newest()
        self.told = 0
        """Positions that were passed on, counted once a gateway."""

    async def run(self, stop: asyncio.Event) -> None:
        """Pass events on until `stop`."""
        await self._log.consume(GROUP, self.handle, stop=stop)

    async def handle(self, events: Sequence[ChangeEvent]) -> None:
        """Tell the gateways of what is new. Raises: Unavailable; the events come again then."""
        heads: dict[NamespaceId, int] = {}
        for event in events:
            heads[event.ns] = max(heads.get(event.ns, 0), event.seq)
        news = {ns: seq for ns, seq in heads.items() if self._newest.is_news(ns, seq)}
        if not news:
            return
        with span("notify") as step:
            step.note(namespaces=len(news))
            for server_id, positions in (await self._by_gateway(news)).items():
                await self._post.tell(server_id, positions)
                self.told += len(positions)
        for ns, seq in news.items():
            self._newest.dealt_with(ns, seq)

    async def _by_gateway(self, news: dict[NamespaceId, int]) -> dict[str, list[tuple[NamespaceId, int]]]:
        readers = await self._readers(list(news))
        follows: dict[AccountId, list[NamespaceId]] = defaultdict(list)
        for ns, accounts in readers.items():
            for account in accounts:
                follows[account].append(ns)
        wanted: dict[str, set[NamespaceId]] = defaultdict(set)
        followers = list(follows)
        for at in range(0, len(followers), ACCOUNTS_TOGETHER):
            page = followers[at : at + ACCOUNTS_TOGETHER]
            found = await self._state.members_of([presence_key(account) for account in page])
            for account, members in zip(page, found, strict=True):
                for value in members.values():
                    if (where := unpack_connected(value)) is not None:
                        wanted[where.server_id].update(follows[account])
        return {server_id: [(ns, news[ns]) for ns in sorted(found)] for server_id, found in sorted(wanted.items())}
