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

from satchel.core.entries import Kind
from satchel.core.errors import Fault, FileUnreadable, StorageFailed, StorageFull
from satchel.core.ids import LinkId, NamespaceId
from satchel.core.messages import PROTOCOL_VERSION
from satchel.core.operations import Place
from satchel.device.drive import drive
from satchel.device.engine import Engine
from satchel.device.links import Link
from satchel.device.mounted import Mounted, inner_link
from satchel.device.ports import ROOT_PATH, DiskPath, Hint, split
from satchel.device.tasks import Fact, Hinted
from satchel.simulation.core_remote import CoreRemote, path_of, snapshot_of
from satchel.simulation.daemon import SimDaemon
from satchel.simulation.fake_disk import GAP, DeadGeneration, FakeDisk
from satchel.simulation.fake_user import FakeUser
from satchel.simulation.fake_volume import FakeVolume
from satchel.simulation.faults import Faults
from satchel.simulation.network import SimRemote
from satchel.simulation.running import Run
from satchel.simulation.scheduler import Scheduler, pause
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
PEOPLE = 2
"""Accounts in a world with shared folders; each machine has one of them."""


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
    images: dict[LinkId, bytes]
    """Of all links, where shared folders stand in the linked one."""
    named: dict[LinkId, Link]


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
        self._glimpsed: tuple[bytes, int] | None = None
        self._glimpsed_all: dict[LinkId, bytes] | None = None
        self._run: Run | None = None
        self.daemon: SimDaemon | None = None
        """Where shared folders may stand in the linked one; then it has the runs and the images."""
        self.images: dict[LinkId, bytes] = {}
        self._old_images: dict[LinkId, bytes] = {}
        self.named: dict[LinkId, Link] = {}
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
    def engines(self) -> list[Engine]:
        """Return those that run: of the link, and of the shared folders in it."""
        if self.daemon is not None:
            return self.daemon.engines()
        return [self._run.engine] if self._run is not None else []

    @property
    def engine(self) -> Engine:
        assert self.run is not None
        return self.run.engine

    @property
    def run(self) -> Run | None:
        """The link that runs; None between two starts of it."""
        return self._run if self.daemon is None else self.daemon.outer

    @property
    def is_running(self) -> bool:
        """True while the process lives."""
        return self._run is not None or self.daemon is not None

    def start(self) -> None:
        """Start the daemon on what is durable."""
        if self.world.has_mounts:
            self.daemon = SimDaemon(self.world, self, self.images)
        else:
            self._run = Run(self.world, self, self.link, self.ns, self.disk, self._image)

    def kill(self, kind: str, value: float = 1.0) -> None:
        """End the process in the middle; with a power cut the disk forgets what was not synced."""
        if not self.is_running:
            return
        self._fuse, self._is_snared = None, False
        if self.daemon is not None:
            self._end_daemon(kind, value)
        if self._run is not None:
            self._image, old = self._run.index.image(), self._image
            within = self._within(kind, value)
            self._run.end()
            self._run = None
            if within is not None:
                self._image = within
                self.world.faults.fired["index_went_back"] += 1
            elif kind == "index_lost":
                self._image = None if value < 0.4 else self._old_image
            elif value < 0.5:
                self._old_image = old
        if kind in ("power_cut", "torn_writes"):
            self.disk = self.disk.crash("strict" if kind == "power_cut" else "reordered", int(value * 1e9))
        else:
            self.disk = self.disk.restart()
        self.user = FakeUser(self.disk)

    def glimpse(self) -> None:
        """Keep what the index is now: it may be that again after a stop."""
        if self._run is not None:
            self._glimpsed = self._run.index.image(), self._run.index.durables
        if self.daemon is not None:
            self._glimpsed_all = self.daemon.taken()

    def _within(self, kind: str, value: float) -> bytes | None:
        """The index as it was in the middle of this run, if that is what is left of it; None as a rule.

        A power cut undoes only what was not made durable; somebody may put back any.
        """
        glimpsed, self._glimpsed = self._glimpsed, None
        if glimpsed is None or self._run is None:
            return None
        image, durables = glimpsed
        is_undone = kind in ("power_cut", "torn_writes") and durables == self._run.index.durables
        return image if is_undone or (kind == "index_lost" and value >= 0.7) else None

    def _end_daemon(self, kind: str, value: float) -> None:
        """As for one link: an index that is lost is that of the link around, or all of them."""
        assert self.daemon is not None
        old = dict(self.images)
        self.images = self.daemon.end()
        self.daemon = None
        within, self._glimpsed_all = self._glimpsed_all, None
        if kind == "index_lost" and value >= 0.7 and within is not None:
            self.images = within
            self.world.faults.fired["index_went_back"] += 1
        elif kind == "index_lost" and value < 0.2:
            self.images.pop(self.link, None)
        elif kind == "index_lost":
            self.images = {} if value < 0.4 else dict(self._old_images)
        elif value < 0.5:
            self._old_images = old

    def image(self) -> Image:
        """Take an image of the index and the disk, as they are in the middle of all."""
        index = self._run.index.image() if self._run is not None else self._image
        images = self.daemon.taken() if self.daemon is not None else dict(self.images)
        return Image(index, copy.deepcopy(self.disk.volume, {id(self.clock): self.clock}), images, dict(self.named))

    def put_back(self, image: Image) -> None:
        """End the device where it is, and start it from the image."""
        self.kill("crash", 1.0)
        self._image = self._old_image = image.index
        self.images, self._old_images = dict(image.images), dict(image.images)
        self.named = dict(image.named)
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
        elif self.is_running and paths:
            whole: dict[DiskPath, frozenset[bytes]] = {}
            for folder, name in (split(DiskPath(path)) for path in paths):
                whole[folder] = whole.get(folder, frozenset()) | {name}
            hints = [Hint(folder, names) for folder, names in sorted(whole.items())]
            if self.daemon is not None:
                hints = self.daemon.board.sort_out(hints)
            if self.run is not None and hints:
                self.run.put(Hinted(tuple(hints)))

    def look_into(self, *folders: bytes) -> None:
        """The watcher tells of something in these folders."""
        if self.run is not None:
            self.run.put(Hinted(tuple(Hint(DiskPath(folder), None, True) for folder in folders)))

    def look_at(self, name: bytes) -> None:
        """The watcher tells of this name in the linked folder."""
        if self.run is not None:
            self.run.put(Hinted((Hint(ROOT_PATH, frozenset((name,))),)))

    def is_placing(self, folder: bytes) -> bool:
        """Tell whether the device is about to make this folder."""
        running = self.run.engine.state.running if self.run is not None else {}
        places = [job.op for jobs in running.values() for job in jobs if isinstance(job.op, Place)]
        return any(op.item.name == folder.decode() for op in places)

    def mounts(self) -> list[bytes]:
        """Return where shared folders stand, of those that stand where the daemon saw them last."""
        return [bytes(one.path) for one in self.daemon.held() if self._stands(one)] if self.daemon is not None else []

    def becoming(self) -> list[bytes]:
        """Return the folders that are shared ones to the service, whether the daemon knows of it or not: by their
        names, where they stand there."""
        entries = {entry.node_id: entry for entry in snapshot_of(self.core, self.ns)}
        return sorted(path_of(entries, entry) for entry in entries.values() if entry.kind == Kind.MOUNT)

    def _stands(self, mounted: Mounted) -> bool:
        try:
            found = self.disk.volume.folder(self.disk.root, mounted.path)
        except Fault:
            return False
        ns = NamespaceId(bytes.fromhex(mounted.link.ns))
        return mounted.link.link_id == inner_link(self.link, ns, found.number, found.birth_ns)

    def served(self, mount: bytes) -> dict[bytes, bytes]:
        """Return the contents that the service has in a shared folder that stands here, by path in it."""
        held = self.daemon.held() if self.daemon is not None else []
        ns = next(NamespaceId(bytes.fromhex(one.link.ns)) for one in held if one.path == mount)
        try:
            entries = {entry.node_id: entry for entry in snapshot_of(self.core, ns)}
        except Fault:
            return {}
        return {path_of(entries, entry): bytes(entry.content) for entry in entries.values()}

    def hint_all(self) -> None:
        """As a full scan that comes by itself."""
        hints = [Hint(ROOT_PATH, None, True)]
        if self.daemon is not None:
            hints = self.daemon.board.sort_out(hints)
        if self.run is not None:
            self.run.put(Hinted(tuple(hints)))

    def put(self, fact: Fact) -> None:
        """Hand the engine a fact, as a hand of its own would."""
        assert self.run is not None
        self.run.put(fact)

    def end_troubles(self) -> None:
        """All is well with the disk again."""
        self._fuse = None
        self._troubles.clear()
        self._closed.clear()


class World:
    """One seed's world: the service, and for each namespace a device on each machine. lines: gets the trace."""

    def __init__(self, script: Script, lines: list[str] | None = None) -> None:
        seed = self.seed = script.seed
        self.disk_s = script.disk_s
        self.has_mounts = script.has_mounts
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
        self.accounts: list[CoreRemote] = []
        """Of each account a device that only asks."""
        for share in range(PEOPLE if script.has_mounts else script.namespaces):
            if share:
                drive(self.service.add_account(f"account {share}"))
            if script.has_mounts:
                self.accounts.append(self.service.remote())
            for number, clock in enumerate(clocks):
                if script.has_mounts and number % PEOPLE != share:
                    continue
                device = SimDevice(self, number + 1, self.service.ns, self.service.remote(), clock)
                device.start()
                self.devices.append(device)

    def _on_death(self, owner: object) -> None:
        assert isinstance(owner, Run | SimDaemon), "only devices die at a call"
        self.kill(owner.number, self.dying, self.faults.stream(self.dying).random())

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
            for run in device.daemon.inner.values() if device.daemon is not None else ():
                if run.ns == ns:
                    self.scheduler.set(run.remote.news)

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
            if device.run is None or not device.engine.is_settled:
                return False
            if device.daemon is not None and not device.daemon.is_settled(self.heads):
                return False
            position = device.engine.state.position
            if position is None or position.seq < self.heads.get(device.ns, 0):
                return False
        return True


def _nothing(device: SimDevice, path: bytes) -> None:
    """Nobody meddles."""
