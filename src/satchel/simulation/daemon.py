"""The daemon of one linked folder in which shared folders may stand: its links begin and end as the real one's do.

Invariant: which links run, what they know of each other and what changes hands is decided by `Board`, `settle` and
`SharedSteps` of the device; here are only the starts, the waits and the memory that stands for folders of indexes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from satchel.core.errors import Fault
from satchel.core.ids import LinkId, NamespaceId
from satchel.device.drive import drive
from satchel.device.engine import Engine
from satchel.device.index.mounts import MountStage
from satchel.device.index.store import Index
from satchel.device.links import Link
from satchel.device.mounted import NO_UNIT, Board, Mounted, mounted_of, released, settle
from satchel.device.ports import ROOT_PATH, DiskPath
from satchel.device.unsynced import carry_orphans, carry_rest
from satchel.simulation.fake_disk import FakeDisk
from satchel.simulation.fake_mount import FakeMountedDisk
from satchel.simulation.running import Around, Machine, Run, Shared
from satchel.simulation.scheduler import Scheduler, Signal

ANEW_S = 0.1
RETRY_S_MIN = 1.0
RETRY_S_MAX = 60.0
LOOK_S = 30.0
SETTLE_S_MAX = 60.0
_TOLD = (
    *(
        "busy",
        "fresh",
        "waiting",
        "stalled",
        "deleting",
        "retry_at",
        "held_back",
        "hints",
        "later_hints",
        "halted",
        "phase",
    ),
    "is_view_only",
)


class Device(Machine, Protocol):
    """The machine's link that this is the daemon of."""

    disk: FakeDisk
    link: LinkId
    ns: NamespaceId
    named: dict[LinkId, Link]
    """Whom the daemon wrote down as shared folders of this machine; durable."""


class SimFlag:
    """A `Flag` of the scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_set = False
        self.signal = Signal()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._scheduler.set(self.signal)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> None:
        while not self._is_set:
            await self._scheduler.wait(self.signal, SETTLE_S_MAX)

    async def wait_at_most(self, seconds: float) -> None:
        """Return when it is set, or when the time is over."""
        if not self._is_set:
            await self._scheduler.wait(self.signal, seconds)


class _Keeper:
    """One link that is kept running. run: None between two starts."""

    def __init__(self, link: Link, flag: SimFlag) -> None:
        self.link = link
        self.left = flag
        self.fault: Fault | None = None
        self.run: Run | None = None
        self.is_stopped = False


class _InMemory:
    """A `Target` that is one of the daemon's images."""

    def __init__(
        self, images: dict[LinkId, bytes], link: LinkId, *, is_kept: bool, written: Callable[[], None]
    ) -> None:
        self._images = images
        self._link = link
        self._is_kept = is_kept
        self._written = written

    @property
    def is_there(self) -> bool:
        return self._is_kept or self._link in self._images

    def write(self, fill: Callable[[Index], None]) -> None:
        made = Index(":memory:")
        fill(made)
        self._images[self._link] = made.image()
        made.close()
        self._written()

    def drop(self) -> None:
        self._images.pop(self._link, None)


class SimDaemon:
    """One life of a daemon. images: the index of each link, as it is on the disk."""

    def __init__(self, world: Around, device: Device, images: dict[LinkId, bytes]) -> None:
        self.number = device.number
        self._world = world
        self._device = device
        self._images = images
        name = f"D{device.who}"
        has_xattrs = device.disk.has_xattrs
        link = Link(device.link, f"/{name}", "/", device.ns.hex(), NO_UNIT, name, has_xattrs)
        self.board = Board(link, device.clock.monotonic_s, self._flag)
        self._outer = _Keeper(link, self._flag())
        self._inner: dict[LinkId, _Keeper] = {}
        self._late = dict(device.named)
        self._has_swept = False
        world.scheduler.spawn(self._keep(self._outer), self)
        world.scheduler.spawn(self._keep_mounts(), self)

    def _flag(self) -> SimFlag:
        return SimFlag(self._world.scheduler)

    @property
    def outer(self) -> Run | None:
        return self._outer.run

    @property
    def inner(self) -> dict[LinkId, Run]:
        """The links of shared folders that run."""
        return {link: keeper.run for link, keeper in self._inner.items() if keeper.run is not None}

    def held(self) -> list[Mounted]:
        """Return the shared folders that stand here and are synced."""
        return [one for one in self.board.mounted if one.stage is MountStage.HELD]

    def engines(self) -> list[Engine]:
        """Return the engines that run, of the link around and of the shared folders."""
        runs = [keeper.run for keeper in (self._outer, *self._inner.values())]
        return [run.engine for run in runs if run is not None]

    def end(self) -> dict[LinkId, bytes]:
        """End all at once, as a killed process does. Result: the indexes that are left."""
        self._world.scheduler.abandon(self)
        for keeper in (*self._inner.values(), self._outer):
            self._end_run(keeper)
        return self._images

    def taken(self) -> dict[LinkId, bytes]:
        """Return the indexes as they are in the middle of all."""
        runs = {**self.inner, **({self._device.link: self.outer} if self.outer is not None else {})}
        return {**self._images, **{link: run.index.image() for link, run in runs.items()}}

    # -- one link -----------------------------------------------------------------------------------------------------

    async def _keep(self, keeper: _Keeper) -> None:
        """Start a link again and again, until it is stopped."""
        wait_s = RETRY_S_MIN
        is_outer = keeper is self._outer
        while not keeper.is_stopped:
            began_s = self._world.scheduler.now_s
            keeper.left.clear()
            keeper.fault = None
            if is_outer:
                await self._settled()
                if not await self._settle(keeper):
                    await self._world.scheduler.sleep_s(RETRY_S_MIN)
                    continue
            self._begin_run(keeper)
            await keeper.left.wait()
            self._end_run(keeper)
            if keeper.is_stopped:
                return
            is_anew = keeper.fault is None and is_outer
            if is_anew or self._world.scheduler.now_s - began_s > RETRY_S_MAX:
                wait_s = RETRY_S_MIN
            await self._world.scheduler.sleep_s(ANEW_S if is_anew else wait_s)
            wait_s = wait_s if is_anew else min(2 * wait_s, RETRY_S_MAX)

    def _begin_run(self, keeper: _Keeper) -> None:
        device, link = self._device, keeper.link
        ns = NamespaceId(bytes.fromhex(link.ns))

        def left(fault: Fault | None) -> None:
            keeper.fault = fault
            keeper.left.set()

        try:
            disk = FakeMountedDisk(device.disk, self._path(link), ns) if link.outer else device.disk
        except Fault as fault:
            left(fault)
            return
        shared = Shared(link, self.board, (lambda: device.disk) if link.outer else None, left)
        self._world.trace(f"D{device.who} link {link.local} {link.link_id.hex()[:4]} {link.is_ending}")
        keeper.run = Run(self._world, device, link.link_id, ns, disk, self._images.get(link.link_id), shared)

    @staticmethod
    def _path(link: Link) -> DiskPath:
        return DiskPath(link.local[len(link.outer) + 1 :].encode(errors="surrogateescape"))

    def _end_run(self, keeper: _Keeper) -> None:
        run, keeper.run = keeper.run, None
        if run is None:
            return
        self._images[keeper.link.link_id] = run.index.image()
        run.end()
        self.board.leave(keeper.link.link_id)
        if keeper is self._outer:
            self.board.outer = None

    def _stop(self, keeper: _Keeper) -> None:
        keeper.is_stopped = True
        keeper.left.set()
        self._end_run(keeper)

    # -- as `mount_keepers` -------------------------------------------------------------------------------------------

    async def _settled(self) -> None:
        if self.board.mounted or self._inner:
            assert isinstance(self.board.settled, SimFlag)
            await self.board.settled.wait_at_most(SETTLE_S_MAX)

    async def _settle(self, keeper: _Keeper) -> bool:
        """Result: False when it is to be tried again."""
        image = self._images.get(self._device.link)
        if image is None:
            return True
        index = Index(":memory:", image=image)

        def target_of(link: LinkId) -> _InMemory:
            return _InMemory(self._images, link, is_kept=link in self._inner, written=self._device.may_die)

        try:
            shared = frozenset(one.path for one in mounted_of(index, keeper.link))
            for inner, (ns, name) in released(index, keeper.link).items():
                if not await self._carry_rest(inner, ns, name, shared):
                    return False
            if settle(index, self._outer.link, target_of, lambda: self._device.clock.random(16)):
                self._world.trace(f"D{self._device.who} turned")
            self._images[self._device.link] = index.image()
        finally:
            index.close()
        return True

    async def _carry_rest(self, link: LinkId, ns: NamespaceId, name: str, shared: frozenset[DiskPath]) -> bool:
        """Bring over what is left of a link that does not run. Result: whether all of it was."""
        image, outer = self._images.get(link), self._device.disk
        index = Index(":memory:", image=image) if image is not None else None
        try:
            is_alone = all(keeper.link.ns != ns.hex() for keeper in self._inner.values())
            disks = outer, FakeMountedDisk(outer, ROOT_PATH, ns) if is_alone else None
            if await carry_rest(index, disks, ns, name, shared, self._device.clock):
                self._world.trace(f"D{self._device.who} carried the rest of {link.hex()[:4]}")
            if index is not None:
                self._images[link] = index.image()
        except Fault:
            return False
        finally:
            if index is not None:
                index.close()
        return True

    async def _keep_mounts(self) -> None:
        while True:
            await self._once()
            assert isinstance(self.board.changed, SimFlag)
            await self.board.changed.wait_at_most(LOOK_S)

    async def _once(self) -> None:
        board = self.board
        board.changed.clear()
        gone = [self._inner[link.link_id] for link in board.gone([each.link for each in self._inner.values()])]
        for keeper in gone:
            self._stop(keeper)
            del self._inner[keeper.link.link_id]
            self._late[keeper.link.link_id] = keeper.link
        await self._forget()
        for link in board.due([each.link for each in self._inner.values()]):
            self._late.pop(link.link_id, None)
            keeper = self._inner[link.link_id] = _Keeper(link, self._flag())
            self._world.scheduler.spawn(self._keep(keeper), self)
        self._device.named = {link: keeper.link for link, keeper in self._inner.items()} | self._late
        board.note_settled([keeper.link for keeper in self._inner.values()])
        for nid in list(board.done) if board.outer is not None else ():
            assert board.outer is not None
            board.done.discard(nid)
            for link in board.links_of(nid):
                if link.link_id in self._inner:
                    self._stop(self._inner[link.link_id])
            board.outer.end_mount(nid)

    async def _forget(self) -> None:
        board = self.board
        for link in list(self._late.values()):
            shared = frozenset(one.path for one in board.mounted)
            ns, name = NamespaceId(bytes.fromhex(link.ns)), os.path.basename(link.local)
            if board.is_forgotten(link) and await self._carry_rest(link.link_id, ns, name, shared):
                del self._late[link.link_id]
                self._images.pop(link.link_id, None)
                board.inboxes.pop(link.link_id, None)
                board.look_outside()
                self._has_swept = False
        if board.is_whole and not (self._late or self._has_swept):
            await self._sweep()

    async def _sweep(self) -> None:
        known = {NamespaceId(bytes.fromhex(one.link.ns)) for one in self.board.mounted}
        try:
            found = await carry_orphans(self._device.disk, known, frozenset(one.path for one in self.board.mounted))
        except Fault:
            return
        self._has_swept = True
        if found:
            self._world.trace(f"D{self._device.who} carried {found} of nobody")
            self.board.look_outside()

    # -- at rest ------------------------------------------------------------------------------------------------------

    def is_settled(self, heads: dict[NamespaceId, int]) -> bool:
        """True when every shared folder is in sync with the newest of it, and none comes or goes."""
        board = self.board
        is_coming = board.changed.is_set() or not board.settled.is_set() or not self._has_swept
        if is_coming or self._late or board.done or len(self.held()) < len(board.mounted):
            return False
        for keeper in self._inner.values():
            run = keeper.run
            if run is None or run.steps is None or run.steps.is_carrying or not run.engine.is_settled:
                return False
            position = run.engine.state.position
            if position is None or position.seq < heads.get(run.ns, 0):
                return False
        rights = drive(self._device.core.rights()) if self._inner else {}
        return all(
            rights.get(run.ns) == (not run.engine.state.is_view_only) and not run.steps.due()
            for run in self.inner.values()
            if run.steps is not None
        )

    def why(self) -> list[object]:
        """Return what may keep it from rest, for whoever reads a failure."""
        told: list[object] = [(one.stage.name, one.path) for one in self.board.mounted]
        for keeper in self._inner.values():
            run = keeper.run
            if run is None:
                told.append((keeper.link.local, "does not run", str(keeper.fault)))
                continue
            state = run.engine.state
            found = {name: getattr(state, name) for name in _TOLD if getattr(state, name)}
            told.append((keeper.link.local, found, state.index.held(5), run.steps.due() if run.steps else ()))
        return told
