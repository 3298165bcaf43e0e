"""What a link that does not run, or not yet, says of itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from satchel.core.errors import RootMissing
from satchel.core.ids import LinkId
from satchel.device.clock import MachineClock
from satchel.device.keeper import LinkKeeper, Runner
from satchel.device.links import Link
from satchel.device.mounted import NO_UNIT
from satchel.device.status import LinkStatus

LINK = Link(LinkId(b"L" * 16), "/home/ann", "/", "00" * 16, NO_UNIT, "laptop")


class Begun:
    """A runner that looks at its folder when it is told to. is_there: what it finds."""

    def __init__(self, *, is_there: bool) -> None:
        self._is_there = is_there
        self.has_begun = False
        self.opened, self.looks, self.looked = (asyncio.Event() for _ in range(3))

    def status(self) -> LinkStatus:
        return LinkStatus(LINK.local, LINK.remote, "offline")

    async def run(self, stop: asyncio.Event) -> None:
        self.opened.set()
        await self.looks.wait()
        if not self._is_there:
            raise RootMissing("It is not there.", path=LINK.local, reason="gone")
        self.has_begun = True
        self.looked.set()
        await stop.wait()


def test_what_halted_a_link_is_told_until_a_start_got_past_it() -> None:
    async def work() -> None:
        runners = [Begun(is_there=False), Begun(is_there=False), Begun(is_there=True)]
        waiting = iter(runners)

        @asynccontextmanager
        async def open_runner(link: Link) -> AsyncIterator[Runner]:
            yield cast("Runner", next(waiting))

        keeper = LinkKeeper(LINK, open_runner, MachineClock())
        running = asyncio.create_task(keeper.run())
        async with asyncio.timeout(30):
            await runners[0].opened.wait()
            assert keeper.status().state == "offline"
            for before, after in itertools.pairwise(runners):
                before.looks.set()
                await after.opened.wait()
                assert keeper.status().state == "halted"
                assert "not there" in keeper.status().message
            runners[-1].looks.set()
            await runners[-1].looked.wait()
            assert keeper.status().state == "offline"
            keeper.stop()
            await running

    asyncio.run(work())
