"""A whole Satchel in one process: the real service core, and devices with the real engine on fake disks.

Invariant: everything happens on the list scheduler, in virtual time, from one seed split into separate streams for
workload, faults and order; the same seed gives the same trace under any PYTHONHASHSEED. Source: docs/design/040.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Coroutine, Sequence

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
from tests.simulation.scheduler import Scheduler, Signal, pause
from tests.support.core_remote import CoreRemote, CoreService
from tests.support.disk_users import FakeUser
from tests.support.fake_disk import FakeDisk

START_NS = 1_800_000_000 * 10**9
FAULT_KINDS = ("refused", "lost_request", "lost_reply", "slow", "disk_fault", "crash", "power_cut", "clock_jump")


class SimClock:
    """The device's and the disk's clock: virtual time; randomness from the seed."""

    def __init__(self, scheduler: Scheduler, seed: str) -> None:
        self._scheduler = scheduler
        self._rng = random.Random(seed)
        self.jump_ns = 0

    def now_ns(self) -> int:
        return START_NS + self.jump_ns + int(self._scheduler.now_s * 1e9)

    def monotonic_s(self) -> float:
        return self._scheduler.now_s

    def random(self, count: int) -> bytes:
        return self._rng.randbytes(count)

    async def sleep_s(self, seconds: float) -> None:
        await self._scheduler.sleep_s(seconds)


class Faults:
    """Decides what goes wrong, from its own stream, and counts what did. rate 0: nothing does."""

    def __init__(self, seed: str) -> None:
        self._rng = random.Random(seed)
        self.rate = 0.0
        self.fired: dict[str, int] = dict.fromkeys(FAULT_KINDS, 0)

    def happens(self, kind: str, share: float = 1.0) -> bool:
        """Draw; True counts as fired."""
        if self.rate and self._rng.random() < self.rate * share:
            self.fired[kind] += 1
            return True
        return False

    def below(self, limit: float) -> float:
        return self._rng.random() * limit


class SimRemote:
    """The `Remote` port over the service core, with a network that refuses, loses and delays, and a stream."""

    def __init__(self, world: World, core: CoreRemote) -> None:
        self._world = world
        self._core = core
        self._position: Position | None = None
        self._link = LinkId(b"")
        self._frames: list[StreamFrame] = []
        self.news = Signal()

    async def _network(self, call: Callable[[], Coroutine[object, None, object]]) -> object:
        faults = self._world.faults
        await pause()
        if self._world.is_down or faults.happens("refused"):
            raise Unavailable("refused", where="sim")
        if faults.happens("slow"):
            await self._world.scheduler.sleep_s(faults.below(20.0))
        if faults.happens("lost_request"):
            raise Unavailable("lost before", where="sim")
        result = await call()
        await pause()
        if faults.happens("lost_reply"):
            raise Unavailable("lost after", where="sim")
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
        self._link = hello.link
        self._frames = [Welcome(hello.epoch, False, DeviceId(bytes(16)))]

    async def next_frame(self, timeout_s: float) -> tuple[StreamFrame, dict[BlockHash, bytes]] | None:
        if self._frames:
            return self._frames.pop(0), {}
        end_s = self._world.scheduler.now_s + timeout_s
        while True:
            await self._world.scheduler.wait(self.news, 25.0)
            if self._world.is_down or self._world.faults.happens("refused", 0.1):
                raise Unavailable("stream lost", where="sim")
            assert self._position is not None
            page, contents = await self._core.changes(ChangesRequest(self._position, self._link, 50))
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
    """One device: a fake disk, an index in memory, the engine and its hands on the scheduler."""

    def __init__(self, world: World, number: int, core: CoreRemote) -> None:
        self.world = world
        self.number = number
        self.core = core
        self.clock = SimClock(world.scheduler, f"{world.seed}:device:{number}")
        self.disk = FakeDisk(self.clock, before_call=self._before_call, pause=pause)
        self.user = FakeUser(self.disk)
        self._image: bytes | None = None
        self._run: _Run | None = None
        self.start()

    def _before_call(self, name: str, args: tuple[object, ...]) -> Fault | None:
        from satchel.core.errors import StorageFailed

        if name in ("stage", "staged_write", "make_folder", "move") and self.world.faults.happens("disk_fault", 0.3):
            return StorageFailed("simulated", where=name)
        return None

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
        self.disk = self.disk.crash("strict") if power_cut else self.disk.restart()
        self.user = FakeUser(self.disk)

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
        world.streams[device.number] = remote
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
            self._world.trace(
                f"{self.engine.state.identity.device_name} {len(facts)} {[type(t).__name__ for t in tasks]}"
            )
            for task in tasks:
                self._world.scheduler.spawn(self._hands.do(task), self)


class World:
    """One seed's world."""

    def __init__(self, seed: int, devices: int) -> None:
        self.seed = seed
        self.scheduler = Scheduler(random.Random(f"{seed}:order"))
        self.faults = Faults(f"{seed}:faults")
        self.is_down = False
        self.streams: dict[int, SimRemote] = {}
        self._digest = hashlib.sha256()
        self.service = _finish(CoreService.start())
        self.devices = [SimDevice(self, number, self.service.remote()) for number in range(1, devices + 1)]

    def tell_streams(self) -> None:
        """Something was committed: all streams look."""
        for number in sorted(self.streams):
            self.scheduler.set(self.streams[number].news)

    def trace(self, line: str) -> None:
        """Add a line to the trace, whose hash names the run."""
        self._digest.update(f"{self.scheduler.now_s:.6f} {line}\n".encode())

    @property
    def trace_hash(self) -> str:
        return self._digest.hexdigest()

    def is_settled(self) -> bool:
        """True when every running device is in sync."""
        return all(device.is_running and device.engine.is_settled for device in self.devices)


def _finish(coroutine: Coroutine[object, None, CoreService]) -> CoreService:
    """Run a coroutine that never suspends to its end."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        service: CoreService = done.value
        return service
    raise AssertionError("the service core suspended")
