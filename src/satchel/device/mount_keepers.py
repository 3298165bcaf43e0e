"""Keeps the links of shared folders running that stand in one linked folder.

Invariant: there runs one for each that the link around told of, and none for any other; one begins after the link
around has begun, and what was known of one that is gone is forgotten, after what it had noted as only here was brought
into the person's own files. A fault of one touches no other.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterable
from pathlib import Path

from satchel.core.errors import Fault
from satchel.core.ids import LinkId, NamespaceId, short
from satchel.device.disk import LocalDisk
from satchel.device.disk_mount import MountedDisk, prepare_state
from satchel.device.drive import drive
from satchel.device.index.beside import FILE_NAME
from satchel.device.index.damage import ready, suspecting
from satchel.device.index.store import Index
from satchel.device.index.turning import FolderTarget
from satchel.device.keeper import LinkKeeper, OpenRunner
from satchel.device.links import Link, index_folder
from satchel.device.logs import EventLog
from satchel.device.mounted import Board, mounted_of, released, settle
from satchel.device.ports import Clock, DiskPath
from satchel.device.unsynced import carry_orphans, carry_rest

log = EventLog(__name__)

LOOK_S = 30.0
SETTLE_S_MAX = 60.0


class MountKeepers:
    """The links of the shared folders in one linked folder. told: called when they are others than before.

    before: those of the last life; of them, what does not stand here any more is forgotten as what ends now is.
    """

    def __init__(
        self,
        home: Path,
        outer: LinkKeeper,
        board: Board,
        open_runner: OpenRunner,
        clock: Clock,
        told: Callable[[], Awaitable[None]],
        before: Iterable[Link] = (),
    ) -> None:
        self._home = home
        self._outer = outer
        self.board = self._board = board
        self._open_runner = open_runner
        self._clock = clock
        self._told = told
        self._keepers: dict[LinkId, LinkKeeper] = {}
        self._late: dict[LinkId, Link] = {link.link_id: link for link in before}
        """Those that do not run and were not forgotten: they may begin again, or have something to bring over."""
        self._has_swept = False
        self._stop = asyncio.Event()
        self.is_over = asyncio.Event()

    @property
    def keepers(self) -> list[LinkKeeper]:
        """Return those that run, by where their folders stand."""
        return sorted(self._keepers.values(), key=lambda keeper: keeper.link.local)

    @property
    def links(self) -> list[Link]:
        """Return the links of all of which something is known, by where their folders stand."""
        return sorted((*(keeper.link for keeper in self.keepers), *self._late.values()), key=lambda link: link.local)

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
            self._late[keeper.link.link_id] = keeper.link
        # First: another link of the same shared folder has the same staging.
        forgotten = await self._forget()
        for link in board.due([each.link for each in self._keepers.values()]):
            if not self._stop.is_set():
                self._begin(group, link)
        if gone or forgotten or board.mounted:
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
        self._late.pop(link.link_id, None)
        keeper = self._keepers[link.link_id] = LinkKeeper(link, self._open_runner, self._clock)
        if self._outer.is_paused:
            keeper.pause()
        log.info("mount.running", link=short(link.link_id), is_ending=link.is_ending)
        group.create_task(keeper.run(), name=f"link-{link.link_id.hex()}")

    async def _forget(self) -> bool:
        """Result: whether anything was forgotten."""
        is_any = False
        for link in list(self._late.values()):
            # One of a link that is just being stopped goes on with what it knows.
            if not self._board.is_forgotten(link) or self._stop.is_set():
                continue
            shared = frozenset(one.path for one in self._board.mounted)
            is_alone = all(keeper.link.ns != link.ns for keeper in self._keepers.values())
            if await asyncio.to_thread(forget_mount, self._home, link, shared, self._clock, is_alone=is_alone):
                del self._late[link.link_id]
                self._board.inboxes.pop(link.link_id, None)
                self._board.look_outside()
                is_any, self._has_swept = True, False
        if self._board.is_whole and not (self._late or self._has_swept or self._stop.is_set()):
            self._has_swept = await asyncio.to_thread(self._sweep)
        return is_any

    def _sweep(self) -> bool:
        """Bring over what is left of shared folders that nothing here knows of. Result: whether that is done."""
        board = self._board
        known = {NamespaceId(bytes.fromhex(one.link.ns)) for one in board.mounted}
        try:
            outer = LocalDisk(os.fsencode(board.link.local))
            count = drive(carry_orphans(outer, known, frozenset(one.path for one in board.mounted)))
        except Fault as fault:
            log.warning("mount.not_swept", code=fault.code)
            return False
        if count:
            log.info("mount.swept", count=count)
        return True

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


def forget_mount(home: Path, link: Link, shared: Collection[DiskPath], clock: Clock, *, is_alone: bool = True) -> bool:
    """Forget a shared folder's link that does not run, after all that is left of it was brought over. shared: as
    `carry`; is_alone: no other link of the same shared folder runs.

    Result: False when that failed; then it is all there still, for another time.
    """
    try:
        ns = NamespaceId(bytes.fromhex(link.ns))
        outer, name = os.fsencode(link.outer), os.path.basename(link.local)
        with suspecting(index_folder(home, link.link_id)):
            _carry_rest(home, link.link_id, outer, ns, name, shared, clock, is_alone=is_alone)
    except Fault as fault:
        log.warning("mount.not_forgotten", link=short(link.link_id), code=fault.code)
        return False
    shutil.rmtree(index_folder(home, link.link_id), ignore_errors=True)
    return True


def _carry_rest(
    home: Path,
    inner: LinkId,
    outer: bytes,
    ns: NamespaceId,
    name: str,
    shared: Collection[DiskPath],
    clock: Clock,
    *,
    is_alone: bool = True,
) -> None:
    folder = index_folder(home, inner)
    path = folder / FILE_NAME
    prepare_state(outer, ns)
    if path.exists():
        # One that is damaged is set aside: what is in the trash says by its name whose it is.
        ready(folder, clock)
    disks = LocalDisk(outer), MountedDisk(outer, outer, ns) if is_alone else None
    index = Index(str(path)) if path.exists() else None
    try:
        count = drive(carry_rest(index, disks, ns, name, shared, clock))
    finally:
        if index is not None:
            index.close()
    if count:
        log.info("mount.carried", link=short(inner), count=count)


def settle_mounts(home: Path, link: Link, clock: Clock) -> None:
    """Before a link begins: what is another's changes hands. Nothing of the link runs.

    Raises: the index's faults; StorageFull, StorageFailed, RootMissing while something is to be brought over.
    """
    folder = index_folder(home, link.link_id)
    if not (folder / FILE_NAME).exists():
        return
    index = Index(str(folder / FILE_NAME))
    try:
        shared = frozenset(one.path for one in mounted_of(index, link))
        for inner, (ns, name) in released(index, link).items():
            _carry_rest(home, inner, os.fsencode(link.local), ns, name, shared, clock)
        turned = settle(index, link, lambda inner: FolderTarget(index_folder(home, inner)), lambda: clock.random(16))
    finally:
        index.close()
    if turned:
        log.info("mount.turned", link=short(link.link_id), count=turned)
