"""What happens in one seed, as data: users' actions, waits, mishaps. Invariant: dropping a step shifts no other one.

Each kind of step is drawn from a stream of its own before the run begins; an action names what it acts on by a share
of what is there (`pick`), so that it means something whatever was dropped before it. Source: docs/design/040.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace

from satchel.device.bounds import BOUNDS, Bounds
from satchel.simulation.faults import IN_CALLS

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
SHARINGS = (
    ("share", 4),
    ("accept", 6),
    ("leave", 2),
    ("remove", 2),
    ("view", 3),
    ("edit", 3),
    ("stop", 1),
    ("again", 3),
)
AFAR = (
    ("move", 8),
    ("rename", 5),
    ("swap", 2),
    ("folder", 2),
    ("delete", 3),
    ("back", 3),
    ("version", 3),
    ("rewind", 1),
)
OVERS = (("in", 5), ("out", 5), ("rename", 2), ("nest", 1), ("delete", 1), ("swap", 4))
EAGER = 0.3
"""In this share of seeds people change who takes part all the time; in as many they move much over the edge."""
CUT = 0.4
CUTS = ("set_aside", "set_aside", "restore_trashed", "stage", "place_staged")
"""In this share of seeds with faults a device dies with something of a shared folder on its way, and its part ends
before it comes again. At these calls."""
GENTLE = frozenset({"create", "edit", "folder", "bit", "copy", "keep_time"})
NAMES = (b"a", b"b", b"A", b"c.txt", b"d", b"a", b"b", b"c.txt", b"d", "é".encode(), "é".encode())
"""With case twins and the two ways to write one letter; the last two are NFC and NFD."""
SIZES = (0, 1, 20, 300, 40_000, 512 * 1024, 512 * 1024 + 1, 600_000)
WAITS_S = (0.0, 0.002, 0.02, 0.3, 3.0, 40.0)
BURSTS = (25, 60, 120)
"""So many actions at once: what an archive that is unpacked, or a program that tidies up, does in a moment."""
DISK_S = (0.0, 0.0, 0.000_2, 0.002, 0.02)
"""A look at a whole folder takes as long as a request, or longer, so that much else happens meanwhile."""
RATES = (0.0, 0.0, 0.02, 0.1)
SMALL = (0, 0, 0, 1, 2, 5, 20)
"""Bounds; 0: as it is."""


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


@dataclass(frozen=True, slots=True)
class Cross:
    """On two machines at once: one user moves a folder into another, the other user that one into the first."""

    place: float
    pick: float
    into: float
    name: bytes


@dataclass(frozen=True, slots=True)
class Snare:
    """A machine dies at the writing call after the next of this name: between two halves of one change."""

    machine: float
    call: str = "set_aside"


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What a machine's index is now, it may be again after this run: power was cut, or somebody put it back."""

    machine: float


@dataclass(frozen=True, slots=True)
class Backup:
    """An image is taken. what: device (a machine's disks and indexes), service (database and blocks)."""

    what: str
    machine: float


@dataclass(frozen=True, slots=True)
class Restore:
    """The image is put back. is_told: the service as its own command does it, with a new epoch; else a raw copy."""

    what: str
    machine: float
    is_told: bool


@dataclass(frozen=True, slots=True)
class Roll:
    """The service, or a machine's daemon, is replaced by one of another version, in the middle of all.

    what: device or service. is_old: by one of the protocol version before ours, else by ours.
    """

    what: str
    machine: float
    is_old: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """A user leaves something out on one device, or takes that back. All is taken back at the end."""

    place: float
    pick: float
    is_out: bool


@dataclass(frozen=True, slots=True)
class Afar:
    """Somebody does something on the service itself, as in a browser."""

    place: float
    kind: str
    pick: float
    into: float
    name: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """A user sets extended attributes on one device: value "" takes them away."""

    place: float
    pick: float
    value: str


@dataclass(frozen=True, slots=True)
class Sharing:
    """Somebody asks the service: share, accept, leave, remove, view, edit, stop; again: a part ends and begins anew at
    once. pick, into: of what is there."""

    kind: str
    pick: float
    into: float


@dataclass(frozen=True, slots=True)
class Over:
    """A user moves something over the edge of a shared folder (in, out, or two things at once: swap), or renames, moves
    (nest) or deletes that folder, or makes one that is to be shared."""

    number: int
    place: float
    kind: str
    pick: float
    into: float
    name: bytes


Step = (
    Sharing
    | Over
    | Afar
    | Act
    | Late
    | Mishap
    | Hints
    | Wait
    | Cross
    | Snare
    | Glimpse
    | Backup
    | Restore
    | Roll
    | Choice
    | Mark
)


@dataclass(frozen=True, slots=True)
class Script:
    """One whole case: who there is, what happens, how often faults strike, and which kinds may.

    disk_s: so long a call of a disk takes at most, in virtual time; 0: none takes any.
    marking: on which machines extended attributes are synced, as a bit each. bounds: how much a device does at once.
    """

    seed: int
    machines: int
    namespaces: int
    rate: float
    kinds: frozenset[str]
    steps: tuple[Step, ...]
    disk_s: float = 0.0
    marking: int = 0
    bounds: Bounds = BOUNDS
    has_mounts: bool = False

    @property
    def is_gentle(self) -> bool:
        """True when users only make and write: nothing may ever be deleted then."""
        is_moved = any(isinstance(step, Over) and step.kind != "make" for step in self.steps)
        return not is_moved and all(step.kind in GENTLE for step in self.steps if isinstance(step, Act))

    @property
    def operations(self) -> int:
        """How much users do in it."""
        return sum(isinstance(step, Act | Late | Cross | Choice | Mark | Sharing | Over | Afar) for step in self.steps)


def script(seed: int, *, operations: int = 40, has_mounts: bool = False) -> Script:
    """Draw a seed's script; the same one for ever. A swarm: each seed has its own few kinds of fault, or all, or none.

    A longer run of a seed begins as a shorter one does. has_mounts: two people share folders with each other; what they
    do to them is drawn from streams of its own, and nothing else is drawn otherwise.
    """
    mounting = _Mounting(seed) if has_mounts else None
    world, acts = random.Random(f"{seed}:world"), random.Random(f"{seed}:workload")
    faults, times = random.Random(f"{seed}:mishaps"), random.Random(f"{seed}:times")
    late, crossings = random.Random(f"{seed}:late"), random.Random(f"{seed}:crossings")
    snares, choices = random.Random(f"{seed}:snares"), random.Random(f"{seed}:choices")
    glimpses = random.Random(f"{seed}:glimpses")
    has_choices = choices.random() < 0.2
    rate = world.choice(RATES)
    kinds = frozenset(IN_CALLS if world.random() < 0.4 else world.sample(sorted(IN_CALLS), 5)) if rate else frozenset()
    machines = world.choice((2, 2, 2, 2, 3, 3, 3, 4, 5))
    kept = GENTLE if world.random() < 0.2 else frozenset(name for name, _ in ACTIONS)
    browsing = _Browsing(seed, is_wanted=kept != GENTLE and not has_mounts)
    has_late = not rate and late.random() < 0.5
    history = _History(seed, machines, is_wanted=not has_late)
    versions = random.Random(f"{seed}:versions")
    has_versions = versions.random() < 0.2 and bool(rate)
    bursts = random.Random(f"{seed}:bursts")
    has_bursts = bursts.random() < 0.4
    marks = random.Random(f"{seed}:xattrs")
    marking = marks.choice((0, 0, 0, 31, 31, 30))
    steps: list[Step] = []
    number = 0
    while number < operations:
        count = times.choice((1, 1, 2, 5, 10))
        if has_bursts and bursts.random() < 0.25:
            count = bursts.choice(BURSTS)
        if mounting is not None and rate:
            steps += mounting.cut(number, is_gentle=kept == GENTLE)
        for _ in range(count):
            steps.append(_act(acts, number, kept))
            number += 1
            if times.random() < 0.2:
                steps.append(Wait(times.choice((0.000_3, 0.001, 0.005))))
        if has_late:
            steps += [Late(number, late.random(), late.random(), late.random() < 0.5)]
        steps += _mishaps(faults, machines) if rate else ()
        if rate and snares.random() < 0.1:
            steps.append(Snare(snares.random()))
        if rate and glimpses.random() < 0.2:
            steps.append(Glimpse(glimpses.random()))
        if crossings.random() < 0.1 and kept != GENTLE:
            steps.append(Cross(crossings.random(), crossings.random(), crossings.random(), crossings.choice(NAMES)))
        steps += browsing.next()
        if has_choices and choices.random() < 0.5:
            steps.append(Choice(choices.random(), choices.random(), choices.random() < 0.6))
        if marking and marks.random() < 0.6:
            steps.append(Mark(marks.random(), marks.random(), marks.choice(("", "red", "red", "blue", "green"))))
        if mounting is not None:
            steps += mounting.next(number, is_gentle=kept == GENTLE)
        steps += history.next()
        if has_versions and versions.random() < 0.3:
            steps.append(Roll(versions.choice(("device", "service")), versions.random(), versions.random() < 0.6))
        steps = [step for step in steps if not (has_mounts and isinstance(step, Choice))]
        steps += [Hints(times.getrandbits(15) | times.getrandbits(15)), Wait(times.choice(WAITS_S))]
    disk_s = random.Random(f"{seed}:disk").choice(DISK_S)
    namespaces = world.choice((1, 1, 1, 2, 3))
    return Script(
        seed, machines, namespaces, rate, kinds, tuple(steps), disk_s, marking, _bounds(seed), has_mounts=has_mounts
    )


class _Browsing:
    """What people do on the service itself, in each turn."""

    def __init__(self, seed: int, *, is_wanted: bool) -> None:
        self._rng = random.Random(f"{seed}:afar")
        self._has_any = self._rng.random() < 0.3 and is_wanted

    def next(self) -> list[Step]:
        rng = self._rng
        if not self._has_any or rng.random() >= 0.5:
            return []
        (kind,) = rng.choices([name for name, _ in AFAR], [share for _, share in AFAR])
        return [Afar(rng.random(), kind, rng.random(), rng.random(), rng.choice(NAMES))]


class _Mounting:
    """What people do with shared folders, in each turn."""

    def __init__(self, seed: int) -> None:
        self._sharing = random.Random(f"{seed}:sharing")
        self._over = random.Random(f"{seed}:over")
        moods = random.Random(f"{seed}:moods")
        self._askings, self._moves = (3 if moods.random() < EAGER else 1 for _ in range(2))
        self._turns = 0
        self._cuts = random.Random(f"{seed}:cuts")
        self._has_cuts = self._cuts.random() < CUT
        self._is_cut = False

    def cut(self, number: int, *, is_gentle: bool) -> list[Step]:
        """What a turn begins with."""
        rng = self._cuts
        if not self._has_cuts or rng.random() < 0.6:
            return []
        self._is_cut = not self._is_cut
        kinds = ("in", "in", "out") if self._is_cut else ("delete", "delete", "rename")
        moved = [Over(number, rng.random(), kind, rng.random(), rng.random(), rng.choice(NAMES)) for kind in kinds]
        moved = [] if is_gentle else [one for one in moved if rng.random() < 0.5]
        if not self._is_cut:
            return [*moved, Sharing(rng.choice(("remove", "remove", "leave", "stop")), rng.random(), 0.0)]
        asked = [Sharing("view", rng.random(), 0.0)] if rng.random() < 0.7 else []
        return [*asked, Hints(2**15 - 1), Wait(1.0), Snare(rng.random(), rng.choice(CUTS)), *moved]

    def next(self, number: int, *, is_gentle: bool) -> list[Step]:
        sharing, over = self._sharing, self._over
        steps: list[Step] = []
        self._turns += 1
        if self._turns == 1:
            # Without it there is nothing to do.
            steps += [Over(-1, 0.0, "make", 0.0, 0.0, b"team"), Hints(2**15 - 1), Wait(3.0), Sharing("share", 0.0, 0.0)]
            steps += [Sharing("accept", 0.0, 0.0)] if sharing.random() < 0.8 else []
        for _ in range(self._askings):
            kind = sharing.choices([name for name, _ in SHARINGS], [share for _, share in SHARINGS])[0]
            asked = Sharing(kind, sharing.random(), sharing.random())
            steps += [asked] if sharing.random() < 0.6 else []
        for _ in range(self._moves):
            kind = over.choices([name for name, _ in OVERS], [share for _, share in OVERS])[0]
            moved = Over(number, over.random(), kind, over.random(), over.random(), over.choice(NAMES))
            steps += [moved] if over.random() < 0.7 and not is_gentle else []
        return steps


def _bounds(seed: int) -> Bounds:
    """In half of the seeds some bounds are so small that few files are more than a page, a part or a batch."""
    rng = random.Random(f"{seed}:bounds")
    if rng.random() < 0.5:
        return BOUNDS
    drawn = {field.name: rng.choice(SMALL) for field in fields(Bounds)}
    return replace(BOUNDS, **{name: bound for name, bound in drawn.items() if bound})


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


class _History:
    """In some seeds an image is taken, and put back some time later: of one machine, or of the service."""

    def __init__(self, seed: int, machines: int, *, is_wanted: bool) -> None:
        self._rng = random.Random(f"{seed}:restores")
        is_wanted = self._rng.random() < 0.08 and is_wanted
        self._what = self._rng.choice(("device", "service")) if is_wanted else ""
        self._machine = (self._rng.randrange(machines) + 0.5) / machines
        self._is_taken = False

    def next(self) -> list[Step]:
        drawn, is_told = self._rng.random(), self._rng.random() < 0.5
        if not self._what or drawn > 0.4:
            return []
        if not self._is_taken:
            self._is_taken = True
            return [Backup(self._what, self._machine)]
        what, self._what = self._what, ""
        return [Restore(what, self._machine, is_told)]
