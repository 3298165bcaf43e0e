"""The notifier's look-ups and the renewals of streams go in pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from satchel.core.ids import AccountId, NamespaceId
from satchel.server.adapters.machine import MachineClock
from satchel.server.adapters.state_memory import MemoryState
from satchel.server.event_log import ChangeEvent, EventLog
from satchel.server.notify.notifier import ACCOUNTS_TOGETHER, Notifier
from satchel.server.notify.presence import Connected, pack_connected, presence_key
from satchel.server.notify.renewals import GROUP_MAX, Renewals
from satchel.server.ports import Member

NS = NamespaceId(b"n" * 16)


class CountingState(MemoryState):
    """Counts journeys and how much each carries."""

    def __init__(self) -> None:
        super().__init__(MachineClock())
        self.asked: list[int] = []
        self.added: list[int] = []

    async def members_of(self, keys: Sequence[str]) -> list[dict[str, bytes]]:
        self.asked.append(len(keys))
        return await super().members_of(keys)

    async def add_members(self, members: Sequence[Member], *, ttl_s: float) -> list[bool]:
        self.added.append(len(members))
        return await super().add_members(members, ttl_s=ttl_s)


class Letters:
    """Keeps what each gateway is told."""

    def __init__(self) -> None:
        self.told: dict[str, list[tuple[NamespaceId, int]]] = {}

    async def tell(self, server_id: str, positions: Sequence[tuple[NamespaceId, int]]) -> None:
        self.told.setdefault(server_id, []).extend(positions)

    def listen(self, server_id: str, listener: Callable[[NamespaceId, int], None]) -> Callable[[], None]:
        raise NotImplementedError

    def on_gap(self, listener: Callable[[], None]) -> Callable[[], None]:
        raise NotImplementedError


def test_a_change_with_many_followers_asks_for_pages_of_them_and_tells_every_gateway_once() -> None:
    async def main() -> None:
        state, letters = CountingState(), Letters()
        accounts = tuple(AccountId(b"%016d" % at) for at in range(2 * ACCOUNTS_TOGETHER + 1))
        for at, account in enumerate(accounts):
            connected = pack_connected(Connected(f"gateway-{at % 3}", 0))
            await state.add_member(presence_key(account), "phone:link", connected, ttl_s=60)

        async def readers(namespaces: Sequence[NamespaceId]) -> dict[NamespaceId, tuple[AccountId, ...]]:
            return dict.fromkeys(namespaces, accounts)

        notifier = Notifier(cast("EventLog", None), state, letters, readers)  # it is handed its events here
        await notifier.handle([ChangeEvent(NS, 7, 0)])
        assert state.asked == [ACCOUNTS_TOGETHER, ACCOUNTS_TOGETHER, 1]
        assert letters.told == {f"gateway-{at}": [(NS, 7)] for at in range(3)}

    asyncio.run(main())


def test_streams_that_are_due_together_renew_in_one_call_and_each_hears_of_its_own() -> None:
    async def main() -> None:
        state = CountingState()
        renewals = Renewals(state)
        members = [Member(f"key-{at}", "phone", b"v") for at in range(GROUP_MAX + 10)]
        assert await asyncio.gather(*map(renewals.renew, members)) == [False] * len(members)
        assert state.added == [GROUP_MAX, 10]
        await state.remove_member("key-3", "phone")
        told = await asyncio.gather(*map(renewals.renew, members[:5]))
        assert told == [True, True, True, False, True]

    asyncio.run(main())
