"""A whole Satchel in one process: the real service core, and devices with the real engine on fake disks.

Invariant: everything happens on the list scheduler, in virtual time, from one seed split into separate streams for
workload, faults and order; the same seed gives the same trace under any PYTHONHASHSEED. Source: docs/design/040.
"""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from satchel.core.errors import Fault, FileUnreadable, StorageFailed, StorageFull
from satchel.core.ids import DeviceId, LinkId, NamespaceId
from satchel.core.messages import PROTOCOL_VERSION
from satchel.device.applier import Applier
from satchel.device.drive import drive
from satchel.device.engine import Engine, Now, excluding
from satchel.device.engine.state import LinkIdentity
from satchel.device.fetching import Fetcher
from satchel.device.hands import Hands
from satchel.device.index.store import Index
from satchel.device.ports import ROOT_PATH, DiskPath, Hint, split
from satchel.device.scanner import Scanner
from satchel.device.sending import Sender
from satchel.device.short_files import ShortFiles
from satchel.device.tasks import Fact, Hinted, Scanned
from satchel.device.transfer import SequentialLanes
from satchel.simulation.core_remote import CoreRemote
from satchel.simulation.fake_disk import GAP, DeadGeneration, FakeDisk
from satchel.simulation.fake_user import FakeUser
from satchel.simulation.fake_volume import FakeVolume
from satchel.simulation.faults import Faults
from satchel.simulation.network import SimRemote
from satchel.simulation.scheduler import Scheduler, Signal, pause
from satchel.simulation.script import Script
from satchel.simulation.service import ServiceImage, SimService

START_NS = 1_800_000_000 * 10**9
WRITES = frozenset(
    [
        "stage",
        "staged_write",
        "staged_finish",
        "make_folder",
        "move",
        "exchange",
        "exchange_staged",
        "place_staged",
        "rename_staged",
        "set_aside",
        "set_executable",
        "set_xattrs",
        "trash",
        "trash_staged",
        "restore_staged",
        "restore_trashed",
        "sync_folder",
        "sync_trash",
        "sync_volume",
        "stage_symlink",
    ]
)
ROOM = frozenset({"stage", "staged_write", "make_folder", "stage_symlink"})
READS = frozenset({"open_file", "list_folder", "stat"})
DEATHS = ("crash", "power_cut", "torn_writes")
STEPS_MIN = 60_000
STEPS_EACH = 1_200
"""Eight times as many turns as an operation takes, or more."""


class SimClock:
    """A machine's clock: virtual time; randomness from the seed."""

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


@dataclass(frozen=True, slots=True)
class Image:
    """A link as it was at one moment."""

    index: bytes | None
    volume: FakeVolume


class History:
    """What was as it was: images of machines and of the service, to be put back."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._machines: dict[int, list[Image]] = {}
        self._service: ServiceImage | None = None

    def take(self, what: str, number: int) -> None:
        """what: device (all links of the machine) or service."""
        self._world.trace(f"image of {what} {number}")
        if what == "service":
            self._service = self._world.service.image()
        else:
            self._machines[number] = [device.image() for device in self._world.machine(number)]

    def holds(self, what: str) -> bool:
        """Tell whether such an image was taken."""
        return bool(self._machines) if what == "device" else self._service is not None

    def put_back(self, what: str, number: int, *, is_told: bool) -> None:
        """is_told: of the service, with a new epoch; of a machine, with a new start of its kernel."""
        self._world.trace(f"restore {what} {number} {is_told}")
        if what == "service" and self._service is not None:
            drive(self._world.service.put_back(self._service, is_told=is_told))
            self._world.heads.clear()
            return
        machine = self._world.machine(number)
        machine[0].clock.boots += is_told
        for device, image in zip(machine, self._machines.get(number, ()), strict=False):
            device.put_back(image)


class SimDevice:
    """One link of one machine: a fake disk, an index in memory, the engine and its hands on the scheduler.

    number: of the machine; the links of a machine share its clock and die together. who: as whom it signs; a copied
    device is one of these on two machines.
    """

    def __init__(
        self, world: World, number: int, ns: NamespaceId, core: CoreRemote, clock: SimClock, *, who: int = 0
    ) -> None:
        self.world = world
        self.number = number
        self.who = who or number
        self.ns = ns
        self.core = core
        self.clock = clock
        self.link = LinkId(bytes([self.who]) * 8 + ns[-8:])
        has_xattrs = bool(world.marking >> (number - 1) & 1)
        self.disk = FakeDisk(clock, before_call=self._before_call, pause=self._pause, has_xattrs=has_xattrs)
        self.user = FakeUser(self.disk)
        self._pace = random.Random(f"{world.seed}:{number}:{ns.hex()}:pace")
        self._image: bytes | None = None
        self._old_image: bytes | None = None
        self._run: _Run | None = None
        self._troubles: dict[str, float] = {}
        self._closed: dict[bytes, float] = {}
        self._news: list[bytes] = []
        self._fuse: tuple[int, str] | None = None
        self._snare = ""
        self._is_snared = False

    # -- what goes wrong at a call ------------------------------------------------------------------------------------

    def _before_call(self, name: str, args: tuple[object, ...]) -> Fault | None:
        faults = self.world.faults
        if not faults.rate:
            return None
        self.may_die()
        if name.endswith(GAP):
            if faults.happens("changed_while_read"):
                assert isinstance(args[0], bytes)
                self.world.meddle(self, args[0])
            return None
        if name in WRITES:
            self._walk_into_snare(name)
            self._burn()
            return self._write_fault(name)
        if name in READS and isinstance(args[0], bytes):
            path = bytes(args[0])
            if faults.happens("eacces"):
                self._closed[path] = self.world.scheduler.now_s + 20.0 * faults.stream("eacces").random()
            if self._closed.get(path, 0.0) > self.world.scheduler.now_s and path and name != "stat":
                return FileUnreadable("simulated", path=repr(path), reason="EACCES")
            if name == "open_file" and faults.happens("changed_while_read"):
                self.world.scheduler.spawn(self._meddle(path), self.world)
        return None

    async def _pause(self) -> None:
        longest_s = self.world.disk_s
        if longest_s:
            await self.world.scheduler.sleep_s(longest_s * self._pace.random())
        else:
            await pause()

    def may_die(self) -> None:
        """Die here and now, if the faults say so."""
        for kind in DEATHS:
            if self.world.faults.happens(kind):
                self._die(kind)

    def _die(self, kind: str) -> NoReturn:
        # At once: what a `finally` still calls must neither work nor take time.
        self.disk.die()
        self.world.dying = kind
        raise DeadGeneration

    def arm(self, kind: str, calls: int) -> None:
        """Die at the writing call that comes after so many others."""
        self._fuse = (calls, kind)

    def snare(self, call: str) -> None:
        """Die at the writing call that follows the next call of this name."""
        self._snare = call

    def _walk_into_snare(self, name: str) -> None:
        if self._is_snared:
            self._snare, self._is_snared = "", False
            self.world.faults.fired["crash"] += 1
            self._die("crash")
        self._is_snared = bool(self._snare) and name == self._snare

    def _burn(self) -> None:
        if self._fuse is None:
            return
        left, kind = self._fuse
        self._fuse = (left - 1, kind) if left else None
        if not left:
            self.world.faults.fired[kind] += 1
            self._die(kind)

    def _write_fault(self, name: str) -> Fault | None:
        faults, now_s = self.world.faults, self.world.scheduler.now_s
        for kind in ("eio_sticky", "enospc"):
            if faults.happens(kind):
                self._troubles[kind] = now_s + 60.0 * faults.stream(kind).random()
        if self._troubles.get("eio_sticky", 0.0) > now_s or faults.happens("eio_once"):
            return StorageFailed("simulated", where=name)
        if name in ROOM and self._troubles.get("enospc", 0.0) > now_s:
            return StorageFull("simulated", where=name)
        return None

    async def _meddle(self, path: bytes) -> None:
        stream = self.world.faults.stream("changed_while_read")
        for _ in range(stream.randrange(6)):
            await pause()
        self.world.meddle(self, path)

    # -- life and death -----------------------------------------------------------------------------------------------

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

    def kill(self, kind: str, value: float = 1.0) -> None:
        """End the process in the middle; with a power cut the disk forgets what was not synced."""
        if self._run is None:
            return
        self._fuse, self._is_snared = None, False
        self._image, old = self._run.index.image(), self._image
        self._run.end()
        self._run = None
        if kind == "index_lost":
            self._image = None if value < 0.4 else self._old_image
        elif value < 0.5:
            self._old_image = old
        if kind in ("power_cut", "torn_writes"):
            self.disk = self.disk.crash("strict" if kind == "power_cut" else "reordered", int(value * 1e9))
        else:
            self.disk = self.disk.restart()
        self.user = FakeUser(self.disk)

    def image(self) -> Image:
        """Take an image of the index and the disk, as they are in the middle of all."""
        index = self._run.index.image() if self._run is not None else self._image
        return Image(index, copy.deepcopy(self.disk.volume, {id(self.clock): self.clock}))

    def put_back(self, image: Image) -> None:
        """End the device where it is, and start it from the image."""
        self.kill("crash", 1.0)
        self._image = self._old_image = image.index
        self.disk = self.disk.restart()
        self.disk.volume = copy.deepcopy(image.volume, {id(image.volume.clock): self.clock})
        self.user = FakeUser(self.disk)
        self._news = []
        self.start()

    # -- the watcher --------------------------------------------------------------------------------------------------

    def changed(self, path: bytes) -> None:
        """A user changed something here."""
        self._news.append(path)

    def tell(self, *, is_heard: bool, is_full: bool) -> None:
        """The watcher tells what users changed; or it lost that, or it overflowed and asks for a look at all."""
        paths, self._news = self._news, []
        if not is_heard:
            self.world.faults.fired["watcher_lost"] += bool(paths)
        elif is_full:
            self.hint_all()
        elif self._run is not None and paths:
            whole: dict[DiskPath, frozenset[bytes]] = {}
            for folder, name in (split(DiskPath(path)) for path in paths):
                whole[folder] = whole.get(folder, frozenset()) | {name}
            self._run.put(Hinted(tuple(Hint(folder, names) for folder, names in sorted(whole.items()))))

    def hint_all(self) -> None:
        """As a full scan that comes by itself."""
        if self._run is not None:
            self._run.put(Hinted((Hint(ROOT_PATH, None, True),)))

    def put(self, fact: Fact) -> None:
        """Hand the engine a fact, as a hand of its own would."""
        assert self._run is not None
        self._run.put(fact)

    def end_troubles(self) -> None:
        """All is well with the disk again."""
        self._fuse = None
        self._troubles.clear()
        self._closed.clear()


class _Run:
    """One life of a link's daemon."""

    def __init__(self, device: SimDevice, image: bytes | None) -> None:
        world = device.world
        self.device = device
        self._world = world
        self.index = Index(":memory:", image=image)
        device_id = DeviceId(bytes([device.who]) * 16)
        self._name = f"D{device.who}"
        self._clock = device.clock
        identity = LinkIdentity(device.link, device_id, self._name, device.ns, has_xattrs=device.disk.has_xattrs)
        self.engine = Engine(self.index, identity, device.clock, world.bounds)
        lanes, disk, short = SequentialLanes(), device.disk, ShortFiles()
        version = world.versions.get(device.number, PROTOCOL_VERSION)
        remote = SimRemote(world, device.core, device.may_die, version=version)
        self._applier = Applier(disk, device.clock)
        self._hands = Hands(
            remote=remote,
            clock=device.clock,
            lanes=lanes,
            scanner=Scanner(disk, self.index.reader, device.clock, short=short, bounds=world.bounds),
            applier=self._applier,
            sender=Sender(disk, remote, lanes, short=short),
            fetcher=Fetcher(disk, remote, lanes),
            report=self,
            is_known=self.index.reader.is_synced_content,
        )
        self._inbox: list[Fact] = []
        self._news = Signal()
        world.streams[device.number, device.link] = remote
        world.scheduler.spawn(self._steps(), self)

    def end(self) -> None:
        self._world.scheduler.abandon(self)
        self.index.close()

    def put(self, fact: Fact) -> None:
        self._inbox.append(fact)
        self._world.scheduler.set(self._news)

    def part(self, fact: Scanned) -> None:
        self.put(fact)

    async def _steps(self) -> None:
        while True:
            try:
                excluding.stands_again(
                    self.engine.state, await self._applier.recover(self.index.reader.is_synced_content)
                )
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
            self._world.trace(f"{self._name} {len(facts)} {[type(task).__name__ for task in tasks]}")
            for task in tasks:
                self._world.scheduler.spawn(self._hands.do(task), self)


class World:
    """One seed's world: the service, and for each namespace a device on each machine. lines: gets the trace."""

    def __init__(self, script: Script, lines: list[str] | None = None) -> None:
        seed = self.seed = script.seed
        self.disk_s = script.disk_s
        self.bounds = script.bounds
        self.scheduler = Scheduler(
            random.Random(f"{seed}:order"), steps_max=max(STEPS_MIN, STEPS_EACH * script.operations)
        )
        self.scheduler.on_death = self._on_death
        self.faults = Faults(seed, script.rate, script.kinds)
        self._lines = lines
        self.dying = ""
        self.marking = script.marking
        self.heads: dict[NamespaceId, int] = {}
        self.versions: dict[int, int] = {}
        """The protocol that a machine's daemon speaks, where it is not ours."""
        self.streams: dict[tuple[int, LinkId], SimRemote] = {}
        self._digest = hashlib.sha256()
        self.service = SimService(self.faults, self.scheduler)
        self.history = History(self)
        self.devices: list[SimDevice] = []
        self.meddle: Callable[[SimDevice, bytes], None] = _nothing
        """Called when a user writes to a file that is being read."""
        clocks = [SimClock(self.scheduler, f"{seed}:machine:{number}") for number in range(script.machines)]
        drive(self.service.begin())
        for share in range(script.namespaces):
            if share:
                drive(self.service.add_account(f"account {share}"))
            for number, clock in enumerate(clocks):
                device = SimDevice(self, number + 1, self.service.ns, self.service.remote(), clock)
                device.start()
                self.devices.append(device)

    def _on_death(self, owner: object) -> None:
        assert isinstance(owner, _Run), "only devices die at a call"
        self.kill(owner.device.number, self.dying, self.faults.stream(self.dying).random())

    def machine(self, number: int) -> list[SimDevice]:
        """Return the devices of a machine."""
        return [device for device in self.devices if device.number == number]

    def kill(self, number: int, kind: str, value: float = 1.0) -> None:
        """End a machine's daemon, with all its links. value: a share that decides what else is lost; 1.0: nothing."""
        self.trace(f"machine {number} {kind}")
        self.machine(number)[0].clock.boots += kind in ("power_cut", "torn_writes")
        for device in self.machine(number):
            device.kill(kind, value)

    def roll(self, what: str, number: int, version: int) -> None:
        """Replace the service or a machine's daemon by one that speaks another version; the same one is left alone."""
        known = self.service.version if what == "service" else self.versions.get(number, PROTOCOL_VERSION)
        if known == version:
            return
        self.trace(f"roll {what} {number} to {version}")
        self.faults.fired["rolling_version"] += 1
        if what == "service":
            self.service.version = version
            self.service.kill()
            return
        self.versions[number] = version
        if self.machine(number)[0].is_running:
            self.kill(number, "crash")
            for device in self.machine(number):
                device.start()

    def tell_streams(self, ns: NamespaceId) -> None:
        """Something was committed: all streams of the namespace look, if the bus says so."""
        if self.faults.happens("wakeups_gone"):
            return
        if self.faults.happens("bus_trouble"):
            delay_s = (0.0, 5.0, 60.0)[int(3 * self.faults.stream("bus_trouble").random())]
            if not delay_s:
                self._wake(ns)
            self.scheduler.spawn(self._wake_later(ns, delay_s or 1.0), self)
            return
        self._wake(ns)

    async def _wake_later(self, ns: NamespaceId, delay_s: float) -> None:
        await self.scheduler.sleep_s(delay_s)
        self._wake(ns)

    def _wake(self, ns: NamespaceId) -> None:
        for device in self.devices:
            if device.ns == ns and (stream := self.streams.get((device.number, device.link))) is not None:
                self.scheduler.set(stream.news)

    def trace(self, line: str) -> None:
        """Add a line to the trace, whose hash names the run."""
        line = f"{self.scheduler.now_s:.6f} {line}"
        self._digest.update(line.encode())
        if self._lines is not None:
            self._lines.append(line)

    @property
    def trace_hash(self) -> str:
        return self._digest.hexdigest()

    def is_settled(self) -> bool:
        """True when every device is in sync with the newest that the service told anybody."""
        for device in self.devices:
            if not (device.is_running and device.engine.is_settled):
                return False
            position = device.engine.state.position
            if position is None or position.seq < self.heads.get(device.ns, 0):
                return False
        return True


def _nothing(device: SimDevice, path: bytes) -> None:
    """Nobody meddles."""
