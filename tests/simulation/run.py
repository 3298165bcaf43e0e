"""One seed: random users on 2-3 devices, faults, then rest; and the claims that must hold.

Claims: all devices and the service come to equal trees; every content that stood on a disk and was not deleted or
overwritten by its own user is still somewhere; no conflicted copy without two edits of one file; nobody has a file that
no user wrote.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.simulation.world import World
from tests.support.disk_users import FakeUser
from tests.support.fake_volume import Inode

NAMES = (b"a", b"b", b"A", b"c.txt", b"d")
REST_S = 4_000.0
HANDLE_S_MAX = 500.0
"""How long a program holds a file open: the last look at a swapped-out file comes after 600 s."""


class Broken(Exception):
    """A claim does not hold."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gives: its trace's hash, operations, scheduler steps, and which faults fired."""

    trace: str
    operations: int
    steps: int
    fired: dict[str, int]


class _LateWriters:
    """Programs that hold files open and write to them later, whatever became of their names.

    Its stream is its own. Only in runs without faults: a crash between a swap and its record forgets the looks.
    """

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._open: list[tuple[FakeUser, Inode, float]] = []
        self.is_on = rng.random() < 0.25
        self.written = 0

    def act(self, users: _Users) -> None:
        """Open a file here and there, write to one opened before."""
        if not self.is_on:
            return
        user = self._rng.choice(self._world.devices).user
        files = [path for path, data in user.tree().items() if data is not None]
        if files and self._rng.random() < 0.4:
            inode = user.inode_at(self._rng.choice(files))
            self._open.append((user, inode, self._world.scheduler.now_s))
        if self._open and self._rng.random() < 0.4:
            self._write(users, *self._open.pop(self._rng.randrange(len(self._open))))

    def _write(self, users: _Users, user: FakeUser, inode: Inode, opened_s: float) -> None:
        is_old = self._world.scheduler.now_s > opened_s + HANDLE_S_MAX
        if is_old or not any(one is inode for one in user.disk.volume.everything()):
            return
        users.given_up.add(bytes(inode.data))
        user.write_inode(inode, users.content())
        self.written += 1
        self._world.trace(f"late write on {inode.number}")


class _Users:
    """The users of all devices: act at random, and remember what must survive."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._count = 0
        self.operations = 0
        self.written: set[bytes] = set()
        self.given_up: set[bytes] = set()

    def act(self) -> None:
        """One user action on one device."""
        device = self._rng.choice(self._world.devices)
        user, tree = device.user, device.user.tree()
        folders = [b"", *(path for path, data in tree.items() if data is None)]
        files = [path for path, data in tree.items() if data is not None]
        self.operations += 1
        action = self._rng.choices(
            ("create", "edit", "save", "rename", "delete", "folder", "bit"), (30, 18, 10, 16, 10, 12, 4)
        )[0]
        parent = self._rng.choice(folders)
        target = parent + b"/" + self._rng.choice(NAMES) if parent else self._rng.choice(NAMES)
        self._world.trace(f"user {device.number} {action} {target!r}")
        match action:
            case "create" if target not in tree:
                user.write_file(target, self.content())
            case "edit" if files:
                self._overwrite(user, tree, self._rng.choice(files), save=False)
            case "save" if files:
                self._overwrite(user, tree, self._rng.choice(files), save=True)
            case "folder" if target not in tree:
                user.make_folder(target)
            case "bit" if files:
                user.set_executable(self._rng.choice(files), self._rng.random() < 0.5)
            case "delete" if tree:
                self._delete(user, tree, self._rng.choice(sorted(tree)))
            case "rename" if tree:
                source = self._rng.choice(sorted(tree))
                if target not in tree and not (target + b"/").startswith(source + b"/"):
                    user.rename(source, target)
            case _:
                pass

    def content(self) -> bytes:
        """Return bytes that nobody wrote before, and remember that they must survive."""
        self._count += 1
        size = self._rng.choice((1, 20, 300, 40_000, 600_000)) if self._rng.random() < 0.3 else 12
        data = (b"content %d " % self._count).ljust(size, b".")
        self.written.add(data)
        return data

    def _overwrite(self, user: FakeUser, tree: dict[bytes, bytes | None], path: bytes, *, save: bool) -> None:
        old = tree[path]
        assert old is not None
        self.given_up.add(old)
        (user.save_file if save else user.write_file)(path, self.content())

    def _delete(self, user: FakeUser, tree: dict[bytes, bytes | None], path: bytes) -> None:
        for below, data in tree.items():
            if data is not None and (below == path or below.startswith(path + b"/")):
                self.given_up.add(data)
        user.delete(path)


def run_seed(seed: int, *, operations: int = 40, devices: int = 0, fault_rate: float | None = None) -> Outcome:
    """Run one seed. Raises: Broken with the claim that failed."""
    rng = random.Random(f"{seed}:workload")
    world = World(seed, devices or rng.choice((2, 2, 3)))
    users = _Users(world, rng)
    late = _LateWriters(world, random.Random(f"{seed}:late"))
    rate = rng.choice((0.0, 0.0, 0.02, 0.1)) if fault_rate is None else fault_rate
    world.scheduler.run_until(world.is_settled, limit_s=60.0)
    world.faults.rate = rate
    while users.operations < operations:
        for _ in range(rng.choice((1, 1, 2, 5, 10))):
            users.act()
        if not rate:
            late.act(users)
        _mishap(world, rng, rate)
        for device in world.devices:
            if rng.random() < 0.7:
                device.hint_all()
        world.scheduler.run_for(rng.choice((0.0, 0.02, 0.3, 3.0, 40.0)))
    if late.written:
        world.faults.fired["late_write"] = late.written
        world.scheduler.run_for(700.0)
    _rest(world)
    _check(world, users)
    return Outcome(world.trace_hash, users.operations, world.scheduler.steps, dict(world.faults.fired))


def _mishap(world: World, rng: random.Random, rate: float) -> None:
    """Kill and start daemons, cut the power, take the service away, let the clock jump."""
    if not rate:
        return
    for device in world.devices:
        if device.is_running and rng.random() < 0.15:
            cut = rng.random() < 0.3
            world.faults.fired["power_cut" if cut else "crash"] += 1
            device.kill(power_cut=cut)
        elif not device.is_running and rng.random() < 0.6:
            device.start()
        if rng.random() < 0.02:
            world.faults.fired["clock_jump"] += 1
            device.clock.jump_ns += rng.choice((-3_600, 3_600, 86_400)) * 10**9
    world.is_down = rng.random() < 0.2


def _rest(world: World) -> None:
    """End all faults and let everything settle."""
    world.faults.rate = 0.0
    world.is_down = False
    for device in world.devices:
        if not device.is_running:
            device.start()
    # What was slow when the faults ended is over by then, a stream being opened too.
    world.scheduler.run_for(30.0)
    for _ in range(4):
        for device in world.devices:
            device.hint_all()
        world.scheduler.run_for(1.0)
        if not world.scheduler.run_until(world.is_settled, limit_s=REST_S):
            raise Broken(f"no rest: {[_why(device.engine) for device in world.devices]}")


def _why(engine: object) -> str:
    state = engine.state  # type: ignore[attr-defined]
    names = ("busy", "fresh", "waiting", "deleting", "after_scan", "retry_at", "held_back", "hints", "later_hints")
    told = {name: getattr(state, name) for name in names if getattr(state, name)}
    return f"{state.identity.device_name} {state.phase} {state.halted} {told} held={state.index.held(5)}"


def _check(world: World, users: _Users) -> None:
    trees = [device.user.tree() for device in world.devices]
    for tree in trees[1:]:
        if tree != trees[0]:
            raise Broken(f"trees differ: {sorted(trees[0].items() ^ tree.items(), key=str)[:6]}")
    alive = {data for data in trees[0].values() if data is not None}
    if lost := users.written - users.given_up - alive:
        raise Broken(f"lost: {sorted(lost)[:4]}")
    if strange := {data for data in alive if data not in users.written}:
        raise Broken(f"written by nobody: {sorted(strange)[:4]}")
