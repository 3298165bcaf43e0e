"""One life of a link in the simulation: the real engine and hands, stepped on the scheduler.

Invariant: where shared folders stand in the linked one, what follows from a step for them is decided by the daemon's
own `SharedSteps`; here it is only carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from satchel.core.errors import Fault
from satchel.core.ids import DeviceId, LinkId, NamespaceId, Nid
from satchel.core.messages import PROTOCOL_VERSION
from satchel.device.applier import Applier
from satchel.device.bounds import Bounds
from satchel.device.engine import Engine, Now, excluding
from satchel.device.engine.state import LinkIdentity
from satchel.device.fetching import Fetcher
from satchel.device.hands import Hands
from satchel.device.index.mounts import Carried
from satchel.device.index.store import Index
from satchel.device.links import Link
from satchel.device.mounted import Board
from satchel.device.neighbours import EdgeOf, RunningNeighbour
from satchel.device.ports import EVERYTHING, Clock
from satchel.device.scanner import Scanner
from satchel.device.sending import Sender
from satchel.device.shared_steps import SharedSteps
from satchel.device.short_files import ShortFiles
from satchel.device.tasks import Fact, Hinted, Scanned
from satchel.device.transfer import SequentialLanes
from satchel.simulation.core_remote import CoreRemote
from satchel.simulation.fake_disk import FakeDisk
from satchel.simulation.network import Outside, SimRemote
from satchel.simulation.scheduler import Signal

RECOVER_AGAIN_S = 1.0
CARRY_AGAIN_S = 5.0


class Machine(Protocol):
    """The device that a link runs on."""

    number: int
    who: int
    core: CoreRemote

    @property
    def clock(self) -> Clock: ...

    def may_die(self) -> None:
        """Die here and now, if the faults say so."""
        ...


class Around(Outside, Protocol):
    """The world that a link runs in."""

    bounds: Bounds
    versions: dict[int, int]
    streams: dict[tuple[int, LinkId], SimRemote]
    has_mounts: bool

    def trace(self, line: str) -> None:
        """Add a line to the trace."""
        ...


class Shared:
    """What a run has where there are shared folders. outer: the disk of the link around, None for that link itself.

    left: called when the link ends by itself, with the fault if there is one.
    """

    def __init__(
        self, link: Link, board: Board, outer: Callable[[], FakeDisk] | None, left: Callable[[Fault | None], None]
    ) -> None:
        self.link = link
        self.board = board
        self.outer = outer
        self.left = left


class _Index(Index):
    """Counts how often it was made durable: what came since, a power cut may undo, in one piece."""

    durables = 0

    @contextmanager
    def durable(self) -> Iterator[None]:
        with super().durable():
            yield
        self.durables += 1


class Run:
    """One life of a link's daemon."""

    def __init__(
        self,
        world: Around,
        device: Machine,
        link: LinkId,
        ns: NamespaceId,
        disk: FakeDisk,
        image: bytes | None,
        shared: Shared | None = None,
    ) -> None:
        self.number = device.number
        self.ns = ns
        self._world = world
        self.disk = disk
        self.index = _Index(":memory:", image=image)
        device_id = DeviceId(bytes([device.who]) * 16)
        self._name = f"D{device.who}" if shared is None or shared.outer is None else f"D{device.who}/{ns[-2:].hex()}"
        self._clock = device.clock
        is_ending = shared is not None and shared.link.is_ending
        identity = LinkIdentity(link, device_id, f"D{device.who}", ns, has_xattrs=disk.has_xattrs, is_ending=is_ending)
        self.engine = Engine(self.index, identity, device.clock, world.bounds)
        lanes, short = SequentialLanes(), ShortFiles()
        version = world.versions.get(device.number, PROTOCOL_VERSION)
        self.remote = SimRemote(world, device.core, device.may_die, version=version)
        self._applier = Applier(disk, device.clock)
        self._scanner = Scanner(disk, self.index.reader, device.clock, short=short, bounds=world.bounds)
        self._hands = Hands(
            remote=self.remote,
            clock=device.clock,
            lanes=lanes,
            scanner=self._scanner,
            applier=self._applier,
            sender=Sender(disk, self.remote, lanes, short=short),
            fetcher=Fetcher(disk, self.remote, lanes),
            report=self,
            is_known=self.index.reader.is_synced_content,
        )
        self._inbox: list[Fact] = []
        self._news = Signal()
        self._shared = shared
        self.steps: SharedSteps | None = None
        if shared is not None:
            edge = EdgeOf(shared.board, shared.link, disk.volume_now)
            self.steps = SharedSteps(self.engine, self.index, shared.link, shared.board, edge)
        world.streams[device.number, link] = self.remote
        world.scheduler.spawn(self._steps(), self)

    def neighbour(self) -> RunningNeighbour:
        """As whom the other links of the linked folder know it."""
        return RunningNeighbour(
            self.engine,
            self.index.reader.holds_uncommitted,
            self.index.reader.waits_at_edge,
            lambda: self.put(Hinted((EVERYTHING,))),
        )

    def end(self) -> None:
        self._world.scheduler.abandon(self)
        self.index.close()

    def put(self, fact: Fact) -> None:
        self._inbox.append(fact)
        self._world.scheduler.set(self._news)

    def part(self, fact: Scanned) -> None:
        self.put(fact)

    async def _watch(self, shared: Shared) -> None:
        inbox = shared.board.inbox(shared.link.link_id)
        while True:
            await inbox.came.wait()
            hints = inbox.take()
            if hints:
                self.put(Hinted(tuple(hints)))

    async def _steps(self) -> None:
        while True:
            try:
                if self._shared is not None and self.steps is not None:
                    self._scanner.volume = await self.steps.begin(self.disk)
                excluding.stands_again(
                    self.engine.state, await self._applier.recover(self.index.reader.is_synced_content)
                )
                break
            except Fault as fault:
                if self._shared is not None:
                    self._shared.left(fault)
                    return
                await self._world.scheduler.sleep_s(RECOVER_AGAIN_S)
        if self._shared is not None:
            self._enter(self._shared)
        wake_s = 0.0
        while True:
            if not self._inbox:
                await self._world.scheduler.wait(self._news, wake_s - self._world.scheduler.now_s)
            facts, self._inbox = self._inbox, []
            if self.steps is not None:
                self.steps.before()
            tasks = self.engine.step(facts, Now(self._clock.monotonic_s(), self._clock.now_ns()))
            wake_s = self.engine.next_wake_s()
            self._world.trace(f"{self._name} {len(facts)} {[type(task).__name__ for task in tasks]}")
            if self._shared is not None and self._is_over_after(self._shared):
                return
            for task in tasks:
                self._world.scheduler.spawn(self._hands.do(task), self)

    def _enter(self, shared: Shared) -> None:
        shared.board.enter(shared.link.link_id, self.neighbour())
        if shared.outer is not None:
            self._world.scheduler.spawn(self._watch(shared), self)
            return
        shared.board.outer = self
        shared.board.watches_anew()
        shared.board.changed.set()

    def _is_over_after(self, shared: Shared) -> bool:
        assert self.steps is not None
        mounted = self.steps.news()
        if mounted is not None:
            shared.board.tell(mounted)
        if not shared.board.is_whole and self.steps.is_whole:
            shared.board.note_whole()
        seen = self.steps.after()
        if seen.is_leaving:
            shared.left(seen.fault)
            return True
        if seen.carried:
            self.steps.is_carrying = True
            self._world.scheduler.spawn(self._carry(shared, seen.carried), self)
        for nid in seen.ended:
            shared.board.is_done(nid)
        return False

    async def _carry(self, shared: Shared, carried: tuple[Carried, ...]) -> None:
        assert shared.outer is not None and self.steps is not None
        try:
            over = await self.steps.carry(shared.outer(), carried)
            self.steps.arrived(over, self._clock.now_ns() // 1_000_000)
            self._world.trace(f"{self._name} carried {len(over)}")
            shared.board.look_outside()
        except Fault:
            await self._world.scheduler.sleep_s(CARRY_AGAIN_S)
        self.steps.is_carrying = False
        self._world.scheduler.set(self._news)

    def end_mount(self, nid: Nid) -> None:
        """All is brought away from a shared folder whose part is over."""
        self.engine.end_mount(nid)
        self.put(Hinted(()))
