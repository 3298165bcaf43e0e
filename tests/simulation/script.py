"""What happens in one seed, as data: users' actions, waits, mishaps. Invariant: dropping a step shifts no other one.

Each kind of step is drawn from a stream of its own before the run begins; an action names what it acts on by a share
of what is there (`pick`), so that it means something whatever was dropped before it. Source: docs/design/040.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.simulation.faults import IN_CALLS

ACTIONS = (
    ("create", 30),
    ("edit", 16),
    ("save", 10),
    ("rename", 16),
    ("delete", 10),
    ("folder", 12),
    ("bit", 4),
    ("replace", 3),
    ("swap", 2),
    ("cycle", 2),
    ("nest", 4),
    ("copy", 3),
    ("keep_time", 3),
    ("link", 2),
)
GENTLE = frozenset({"create", "edit", "folder", "bit", "copy", "keep_time"})
NAMES = (b"a", b"b", b"A", b"c.txt", b"d", b"a", b"b", b"c.txt", b"d", "é".encode(), "é".encode())
"""With case twins and the two ways to write one letter; the last two are NFC and NFD."""
SIZES = (0, 1, 20, 300, 40_000, 512 * 1024, 512 * 1024 + 1, 600_000)
WAITS_S = (0.0, 0.002, 0.02, 0.3, 3.0, 40.0)
RATES = (0.0, 0.0, 0.02, 0.1)


@dataclass(frozen=True, slots=True)
class Act:
    """One user action. number: names its content. pick, into: shares of what is there. name: of what is made."""

    number: int
    place: float
    kind: str
    pick: float
    into: float
    name: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Late:
    """A program that holds a file open: begins to, or writes and closes."""

    number: int
    place: float
    pick: float
    is_opening: bool


@dataclass(frozen=True, slots=True)
class Mishap:
    """kind: crash, power_cut, torn_writes, index_lost (a machine dies), start, clock_jump, server_down, server_up."""

    kind: str
    machine: float
    value: float


@dataclass(frozen=True, slots=True)
class Hints:
    """Watchers notice; share: which devices, as a bit each."""

    bits: int


@dataclass(frozen=True, slots=True)
class Wait:
    """So much virtual time passes."""

    seconds: float


Step = Act | Late | Mishap | Hints | Wait


@dataclass(frozen=True, slots=True)
class Script:
    """One whole case: who there is, what happens, how often faults strike, and which kinds may."""

    seed: int
    machines: int
    namespaces: int
    rate: float
    kinds: frozenset[str]
    steps: tuple[Step, ...]

    @property
    def is_gentle(self) -> bool:
        """True when users only make and write: nothing may ever be deleted then."""
        return all(step.kind in GENTLE for step in self.steps if isinstance(step, Act))

    @property
    def operations(self) -> int:
        return sum(isinstance(step, Act) for step in self.steps)


def script(seed: int, *, operations: int = 40) -> Script:
    """Draw a seed's script; the same one for ever. A swarm: each seed has its own few kinds of fault, or all, or none.

    A longer run of a seed begins as a shorter one does.
    """
    world, acts = random.Random(f"{seed}:world"), random.Random(f"{seed}:workload")
    faults, times = random.Random(f"{seed}:mishaps"), random.Random(f"{seed}:times")
    late = random.Random(f"{seed}:late")
    rate = world.choice(RATES)
    kinds = frozenset(IN_CALLS if world.random() < 0.4 else world.sample(sorted(IN_CALLS), 5)) if rate else frozenset()
    machines = world.choice((2, 2, 2, 2, 3, 3, 3, 4, 5))
    kept = GENTLE if world.random() < 0.2 else frozenset(name for name, _ in ACTIONS)
    has_late = not rate and late.random() < 0.5
    steps: list[Step] = []
    number = 0
    while number < operations:
        for _ in range(times.choice((1, 1, 2, 5, 10))):
            steps.append(_act(acts, number, kept))
            number += 1
            if times.random() < 0.2:
                steps.append(Wait(times.choice((0.000_3, 0.001, 0.005))))
        if has_late:
            steps += [Late(number, late.random(), late.random(), late.random() < 0.5)]
        steps += _mishaps(faults, machines) if rate else ()
        steps += [Hints(times.getrandbits(15) | times.getrandbits(15)), Wait(times.choice(WAITS_S))]
    return Script(seed, machines, world.choice((1, 1, 1, 2, 3)), rate, kinds, tuple(steps))


def _act(rng: random.Random, number: int, kept: frozenset[str]) -> Act:
    kind = rng.choices([name for name, _ in ACTIONS], [share for _, share in ACTIONS])[0]
    kind = kind if kind in kept else "create"
    size = rng.choice(SIZES) if rng.random() < 0.15 else 12
    return Act(number, rng.random(), kind, rng.random(), rng.random(), rng.choice(NAMES), size)


def _mishaps(rng: random.Random, machines: int) -> list[Step]:
    found: list[Step] = []
    for machine in range(machines):
        drawn, value = rng.random(), rng.random()
        share = (machine + 0.5) / machines
        if drawn < 0.12:
            kind = rng.choice(("crash", "crash", "crash", "power_cut", "power_cut", "torn_writes", "index_lost"))
            found.append(Mishap(kind, share, value))
        elif drawn < 0.5:
            found.append(Mishap("start", share, value))
        elif drawn < 0.53:
            found.append(Mishap("clock_jump", share, value))
    found.append(Mishap("server_down" if rng.random() < 0.2 else "server_up", 0.0, 0.0))
    return found
