"""A whole Satchel in one process for scripted cases: the real service core, and devices with the real engine.

Invariant: nothing happens by chance but the order of what runs at once, which one seed fixes. The test says who does
what and when: kills, outages, images put back. Random users and faults are the simulation's (tests/simulation).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass

from satchel.core.errors import Fault, Unavailable
from satchel.core.ids import BlockHash, ContentHash, DeviceId, LinkId, NamespaceId
from satchel.core.messages import (
    Changes,
    ChangesRequest,
    CommitReply,
    CommitRequest,
    Hello,
    NamespacesReply,
    Ping,
    Position,
    Pushed,
    SnapshotPage,
    SnapshotRequest,
    StreamFrame,
    Welcome,
)
from satchel.device.applier import Applier
from satchel.device.engine import Engine, Now
from satchel.device.engine.state import LinkIdentity
from satchel.device.fetching import Fetcher
from satchel.device.hands import Hands
from satchel.device.index.store import Index
from satchel.device.ports import OutgoingBlock
from satchel.device.scanner import Scanner
from satchel.device.sending import Sender
from satchel.device.short_files import ShortFiles
from satchel.device.tasks import Fact, Scanned
from satchel.device.transfer import SequentialLanes
from satchel.server.accounts.link_runs import begin_link_run, holds_link
from satchel.simulation.core_remote import CoreRemote, CoreService
from satchel.simulation.fake_disk import FakeDisk
from satchel.simulation.fake_user import FakeUser
from satchel.simulation.fake_volume import FakeVolume
from satchel.simulation.scheduler import Scheduler, Signal, pause

START_NS = 1_800_000_000 * 10**9


@dataclass(frozen=True, slots=True)
class Image:
    """A device as it was at one moment."""

    index: bytes
    volume: FakeVolume


class SimClock:
    """The device's and the disk's clock: virtual time; randomness from the seed."""

    def __init__(self, scheduler: Scheduler, seed: str) -> None:
        self._scheduler = scheduler
        self._rng = random.Random(seed)
        self.jump_ns = 0
        self.boots = 1

    def boot(self) -> bytes:
        return b"start %d" % self.boots

    def now_ns(self) -> int:
        return START_NS + self.jump_ns + int(self._scheduler.now_s * 1e9)

    def monotonic_s(self) -> float:
        return self._scheduler.now_s

    def random(self, count: int) -> bytes:
        return self._rng.randbytes(count)

    async def sleep_s(self, seconds: float) -> None:
        await self._scheduler.sleep_s(seconds)


class SimRemote:
    """The `Remote` port over the service core, with a stream; out of reach while the world is down."""

    def __init__(self, world: World, core: CoreRemote) -> None:
        self._world = world
        self._core = core
        self._position: Position | None = None
        self._hello: Hello | None = None
        self._frames: list[StreamFrame] = []
        self.news = Signal()

    async def _network(self, call: Callable[[], Coroutine[object, None, object]]) -> object:
        await pause()
        if self._world.is_down:
            raise Unavailable("The service is out of reach.", where="world")
        result = await call()
        await pause()
        return result

    async def commit(self, request: CommitRequest, bodies: Sequence[bytes]) -> CommitReply:
        return await self._network(lambda: self._commit(request, bodies))  # type: ignore[return-value]

    async def _commit(self, request: CommitRequest, bodies: Sequence[bytes]) -> CommitReply:
        reply = await self._core.commit(request, bodies)
        self._world.tell_streams()
        return reply

    async def put_blocks(self, ns: NamespaceId, blocks: Sequence[OutgoingBlock]) -> tuple[BlockHash, ...]:
        return await self._network(lambda: self._core.put_blocks(ns, blocks))  # type: ignore[return-value]

    async def get_blocks(self, ns: NamespaceId, hashes: Sequence[BlockHash]) -> dict[BlockHash, bytes]:
        return await self._network(lambda: self._core.get_blocks(ns, hashes))  # type: ignore[return-value]

    async def changes(self, request: ChangesRequest) -> tuple[Changes, dict[BlockHash, bytes]]:
        return await self._network(lambda: self._core.changes(request))  # type: ignore[return-value]

    async def snapshot(self, request: SnapshotRequest) -> SnapshotPage:
        return await self._network(lambda: self._core.snapshot(request))  # type: ignore[return-value]

    async def manifests(self, ns: NamespaceId, ids: Sequence[ContentHash]) -> dict[ContentHash, bytes]:
        return await self._network(lambda: self._core.manifests(ns, ids))  # type: ignore[return-value]

    async def namespaces(self) -> NamespacesReply:
        return await self._network(self._core.namespaces)  # type: ignore[return-value]

    async def open_stream(self, hello: Hello) -> None:
        await self._network(self._core.namespaces)
        (self._position,) = hello.positions
        self._hello = hello
        principal = self._core._principal
        recover = not await begin_link_run(self._world.service.db, principal, hello.link, hello.run)
        self._frames = [Welcome(hello.epoch, recover, principal.device_id)]

    async def next_frame(self, timeout_s: float) -> tuple[StreamFrame, dict[BlockHash, bytes]] | None:
        if self._frames:
            return self._frames.pop(0), {}
        end_s = self._world.scheduler.now_s + timeout_s
        while True:
            await self._world.scheduler.wait(self.news, 25.0)
            if self._world.is_down:
                raise Unavailable("The stream is lost.", where="world")
            hello = self._hello
            assert self._position is not None and hello is not None
            if not await holds_link(self._world.service.db, self._core._principal, hello.link, hello.run):
                raise Unavailable("Another start has the link.", where="world")
            page, contents = await self._core.changes(ChangesRequest(self._position, hello.link, 50))
            if page.is_reset:
                self._position = Position(page.ns, page.last_seq, page.last_tag)
                return Pushed(page), {}
            if page.last_seq > self._position.seq:
                self._position = Position(page.ns, page.last_seq, page.last_tag)
                return Pushed(page), contents
            if self._world.scheduler.now_s >= end_s - 30.0:
                return Ping(), {}

    async def close_stream(self) -> None:
        self._frames = []

    async def close(self) -> None:
        return None


class SimDevice:
    """One device: a fake disk, an index in memory, the engine and its hands on the scheduler.

    number: who it says it is. machine: what it runs on; a copied device is one number on two machines.
    """

    def __init__(
        self, world: World, number: int, core: CoreRemote, *, machine: int = 0, is_started: bool = True
    ) -> None:
        self.world = world
        self.number = number
        self.core = core
        self.machine = machine or number
        self.clock = SimClock(world.scheduler, f"{world.seed}:device:{self.machine}")
        self.disk = FakeDisk(self.clock, pause=pause)
        self.user = FakeUser(self.disk)
        self._image: bytes | None = None
        self._run: _Run | None = None
        if is_started:
            self.start()

    @property
    def engine(self) -> Engine:
        assert self._run is not None
        return self._run.engine

    @property
    def is_running(self) -> bool:
        return self._run is not None

    def start(self) -> None:
        """Start the daemon on what is durable."""
        self._run = _Run(self, self._image)

    def kill(self, *, power_cut: bool) -> None:
        """End the process in the middle; with a power cut the disk forgets what was not synced."""
        assert self._run is not None
        self._image = self._run.index.image()
        self._run.end()
        self._run = None
        self.clock.boots += power_cut
        self.disk = self.disk.crash("strict") if power_cut else self.disk.restart()
        self.user = FakeUser(self.disk)

    def image(self) -> Image:
        """Take an image of the index and the disk while the device runs."""
        return Image(self.engine.state.index.image(), copy.deepcopy(self.disk.volume, {id(self.clock): self.clock}))

    def put_back(self, image: Image) -> None:
        """End the device where it is, and start it from the image."""
        if self.is_running:
            self.kill(power_cut=False)
        self._image = image.index
        self.disk = self.disk.restart()
        self.disk.volume = copy.deepcopy(image.volume, {id(image.volume.clock): self.clock})
        self.user = FakeUser(self.disk)
        self.start()

    def put(self, fact: Fact) -> None:
        """Hand the engine a fact, as a hand of its own would."""
        assert self._run is not None
        self._run.put(fact)

    def hint_all(self) -> None:
        """As a full scan that comes by itself."""
        if self._run is not None:
            self._run.hint_all()


class _Run:
    """One life of a device's daemon."""

    def __init__(self, device: SimDevice, image: bytes | None) -> None:
        world = device.world
        self._world = world
        self.index = Index(":memory:", image=image)
        identity = LinkIdentity(
            LinkId(bytes([device.number]) * 16),
            DeviceId(bytes([device.number]) * 16),
            f"D{device.number}",
            world.service.ns,
        )
        self._clock = device.clock
        self.engine = Engine(self.index, identity, device.clock)
        lanes, disk, short = SequentialLanes(), device.disk, ShortFiles()
        remote = SimRemote(world, device.core)
        self._applier = Applier(disk, device.clock)
        self._hands = Hands(
            remote=remote,
            clock=device.clock,
            lanes=lanes,
            scanner=Scanner(disk, self.index.reader, device.clock, short=short),
            applier=self._applier,
            sender=Sender(disk, remote, lanes, short=short),
            fetcher=Fetcher(disk, remote, lanes),
            report=self,
        )
        self._inbox: list[Fact] = []
        self._news = Signal()
        world.streams[device.machine] = remote
        world.scheduler.spawn(self._steps(), self)

    def end(self) -> None:
        self._world.scheduler.abandon(self)
        self.index.close()

    def put(self, fact: Fact) -> None:
        self._inbox.append(fact)
        self._world.scheduler.set(self._news)

    def part(self, fact: Scanned) -> None:
        self.put(fact)

    def hint_all(self) -> None:
        from satchel.device.ports import ROOT_PATH, Hint
        from satchel.device.tasks import Hinted

        self.put(Hinted((Hint(ROOT_PATH, None, True),)))

    async def _steps(self) -> None:
        while True:
            try:
                await self._applier.recover(self.index.reader.is_synced_content)
                break
            except Fault:
                await self._world.scheduler.sleep_s(1.0)
        wake_s = 0.0
        while True:
            if not self._inbox:
                await self._world.scheduler.wait(self._news, wake_s - self._world.scheduler.now_s)
            facts, self._inbox = self._inbox, []
            tasks = self.engine.step(facts, Now(self._clock.monotonic_s(), self._clock.now_ns()))
            wake_s = self.engine.next_wake_s()
            for task in tasks:
                self._world.scheduler.spawn(self._hands.do(task), self)


class World:
    """One service and some devices of one account, each with the whole tree linked."""

    def __init__(self, seed: int, devices: int) -> None:
        self.seed = seed
        self.scheduler = Scheduler(random.Random(f"{seed}:order"))
        self.is_down = False
        self.streams: dict[int, SimRemote] = {}
        self.service = _finish(CoreService.start())
        self.devices: list[SimDevice] = []
        for number in range(1, devices + 1):
            self.devices.append(SimDevice(self, number, self.service.remote()))

    def tell_streams(self) -> None:
        """Something was committed: all streams look."""
        for number in sorted(self.streams):
            self.scheduler.set(self.streams[number].news)

    def clone(self, device: SimDevice) -> SimDevice:
        """Copy a running device, disk, index and credentials, to another machine, and start it there."""
        twin = SimDevice(self, device.number, device.core, machine=len(self.devices) + 1, is_started=False)
        twin.put_back(device.image())
        self.devices.append(twin)
        return twin

    def is_settled(self) -> bool:
        """True when every running device is in sync."""
        return all(device.is_running and device.engine.is_settled for device in self.devices)

    def settle(self, *, limit_s: float = 4_000.0) -> None:
        """Let everybody look at everything, and rest."""
        for _ in range(2):
            self.look(1.0)
            told = [(one.number, one.engine.state.halted, held(one)) for one in self.devices if one.is_running]
            assert self.scheduler.run_until(self.is_settled, limit_s=limit_s), told

    def look(self, seconds: float) -> None:
        """Let everybody look at everything, and so much virtual time pass."""
        for device in self.devices:
            device.hint_all()
        self.scheduler.run_for(seconds)

    def trees(self) -> list[dict[bytes, bytes | None]]:
        return [device.user.tree() for device in self.devices]

    def tree(self) -> dict[bytes, bytes | None]:
        """Return the tree that all devices have."""
        tree, *others = self.trees()
        assert others == [tree] * len(others), sorted(tree.items() ^ others[0].items(), key=str)[:8]
        return tree


def held(device: SimDevice) -> dict[str, str]:
    """Return path -> code of everything that waits."""
    index = device.engine.state.index
    told = {index.reader.remote_path_of(nid): code for nid, code, _, _ in index.held()}
    return told | {"/" + path.decode(errors="replace"): code for path, code, _, _ in index.unread()}


def _finish(coroutine: Coroutine[object, None, CoreService]) -> CoreService:
    """Run a coroutine that never suspends to its end."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        service: CoreService = done.value
        return service
    raise AssertionError("the service core suspended")
