"""Keeps the links of shared folders running that stand in one linked folder.

Invariant: there runs one for each that the link around told of, and none for any other; one begins after the link
around has begun, and what was known of one that is gone is forgotten. A fault of one touches no other.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from satchel.core.errors import Fault
from satchel.core.ids import LinkId, short
from satchel.device.index.beside import FILE_NAME
from satchel.device.index.store import Index
from satchel.device.index.turning import FolderTarget
from satchel.device.keeper import LinkKeeper, OpenRunner
from satchel.device.links import Link, index_folder
from satchel.device.logs import EventLog
from satchel.device.mounted import Board, settle
from satchel.device.ports import Clock

log = EventLog(__name__)

LOOK_S = 30.0
SETTLE_S_MAX = 60.0


class MountKeepers:
    """The links of the shared folders in one linked folder. told: called when they are others than before."""

    def __init__(
        self,
        home: Path,
        outer: LinkKeeper,
        board: Board,
        open_runner: OpenRunner,
        clock: Clock,
        told: Callable[[], Awaitable[None]],
    ) -> None:
        self._home = home
        self._outer = outer
        self.board = self._board = board
        self._open_runner = open_runner
        self._clock = clock
        self._told = told
        self._keepers: dict[LinkId, LinkKeeper] = {}
        self._stop = asyncio.Event()
        self.is_over = asyncio.Event()

    @property
    def keepers(self) -> list[LinkKeeper]:
        """Return those that run, by where their folders stand."""
        return sorted(self._keepers.values(), key=lambda keeper: keeper.link.local)

    @property
    def links(self) -> list[Link]:
        """Return the links of all that run."""
        return [keeper.link for keeper in self.keepers]

    def stop(self) -> None:
        """Ask all of them to end; `is_over` tells when they have."""
        self._stop.set()
        self._board.changed.set()
        for keeper in self._keepers.values():
            keeper.stop()

    async def settled(self, timeout_s: float) -> None:
        """Wait until those that run are those that shall, at most so long."""
        if not self._board.mounted and not self._keepers:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._board.settled.wait()
        except TimeoutError:
            pass

    async def run(self) -> None:
        """Keep them until `stop`."""
        try:
            async with asyncio.TaskGroup() as group:
                while not self._stop.is_set():
                    await self._once(group)
                for keeper in self._keepers.values():
                    keeper.stop()
        finally:
            self.is_over.set()

    async def _once(self, group: asyncio.TaskGroup) -> None:
        board = self._board
        board.changed.clear()
        gone = [self._keepers[link.link_id] for link in board.gone([each.link for each in self._keepers.values()])]
        for keeper in gone:
            keeper.stop()
        for keeper in gone:
            await keeper.is_over.wait()
            del self._keepers[keeper.link.link_id]
        for link in board.due([each.link for each in self._keepers.values()]):
            if not self._stop.is_set():
                self._begin(group, link)
        self._forget([keeper.link for keeper in gone])
        if gone or board.mounted:
            try:
                await self._told()
            except Fault as fault:
                # Only the command line misses it.
                log.warning("mount.not_told", code=fault.code)
        board.note_settled([keeper.link for keeper in self._keepers.values()])
        await self._end(board)
        try:
            async with asyncio.timeout(LOOK_S):
                await board.changed.wait()
        except TimeoutError:
            pass

    def _begin(self, group: asyncio.TaskGroup, link: Link) -> None:
        keeper = self._keepers[link.link_id] = LinkKeeper(link, self._open_runner, self._clock)
        if self._outer.is_paused:
            keeper.pause()
        log.info("mount.running", link=short(link.link_id), is_ending=link.is_ending)
        group.create_task(keeper.run(), name=f"link-{link.link_id.hex()}")

    def _forget(self, links: list[Link]) -> None:
        for link in links:
            # One of a link that is just being stopped goes on with what it knows.
            if self._board.is_forgotten(link) and not self._stop.is_set():
                shutil.rmtree(index_folder(self._home, link.link_id), ignore_errors=True)
                self._board.inboxes.pop(link.link_id, None)

    async def _end(self, board: Board) -> None:
        """Tell the link around of those whose part is over and that have brought all away."""
        outer = board.outer
        for nid in list(board.done) if outer is not None else ():
            assert outer is not None
            board.done.discard(nid)
            for link in board.links_of(nid):
                keeper = self._keepers.get(link.link_id)
                if keeper is not None:
                    keeper.stop()
                    await keeper.is_over.wait()
            try:
                outer.end_mount(nid)
            except Fault as fault:
                log.warning("mount.not_ended", code=fault.code)
                board.done.add(nid)


def settle_mounts(home: Path, link: Link, clock: Clock) -> None:
    """Before a link begins: what is another's changes hands. Nothing of the link runs. Raises: the index's faults."""
    folder = index_folder(home, link.link_id)
    if not (folder / FILE_NAME).exists():
        return
    index = Index(str(folder / FILE_NAME))
    try:
        turned = settle(index, link, lambda inner: FolderTarget(index_folder(home, inner)), lambda: clock.random(16))
    finally:
        index.close()
    if turned:
        log.info("mount.turned", link=short(link.link_id), count=turned)
