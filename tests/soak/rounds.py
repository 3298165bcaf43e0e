"""Rounds of work: who does what where, what disturbs it, and what must hold when all are at rest again."""

from __future__ import annotations

import contextlib
import datetime
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from satchel.cli.exit_codes import CHANGED, OK
from tests.soak.crossing import carried
from tests.soak.disturbing import AT_DEVICES, DISTURBANCES, LATER_S_MAX, Disturbance
from tests.soak.from_afar import commanded
from tests.soak.programs import PROGRAMS
from tests.soak.scene import OWN, TEAM, Found, Scene, Tree, contents_below, told
from tests.support.devices import Device, wait_for
from tests.support.trees import tree_of

AT_ONCE = ("documents", "kinds", "mail", "names", "packages", "photos", "trees")
"""Programs that two may run in one folder at the same time. A repository or a database has one user, by its rules."""

AT_ONCE_FOLDERS = (1, 1, 3, 5)
"""In so many folders they do so, which makes for more that meets."""

BREAKS_S = (0.0, 0.0, 0.5, 2.0, 12.0)
WHOLE = "."
"""The name of a folder in itself."""


Kind = Callable[[Scene, random.Random], str]


@dataclass(frozen=True, slots=True)
class Job:
    """A program on a device, in a folder: `top`/`name`. seed: of its chance."""

    one: Device
    top: str
    name: str
    program: str
    seed: int

    @property
    def place(self) -> Path:
        return self.one.folder / self.top / self.name

    def __str__(self) -> str:
        return f"{self.program} on {self.one.name} in {self.top}/{self.name}"


def run(job: Job, *, is_alone: bool) -> Tree:
    """Run a program to its end and return what it left. With another in its folder, names may go under its hands."""
    job.place.mkdir(exist_ok=True)
    try:
        PROGRAMS[job.program](job.place, random.Random(job.seed))
    except OSError:
        if is_alone:
            raise
    return tree_of(job.place, with_times=False) if is_alone else {}


def alone(scene: Scene, chance: random.Random) -> str:
    """Each program has its folder for itself: what it leaves must stand everywhere, and there is no conflict."""
    places = [(top, program) for top in (OWN, TEAM) for program in PROGRAMS]
    jobs = [
        Job(chance.choice(scene.holders(top)), top, program, program, chance.getrandbits(32))
        for top, program in chance.sample(places, chance.choice((1, 1, 2, 3, 4)))
    ]
    before = scene.copies()
    at_work = {job.one.name for job in jobs}
    with _work(scene, at_work, chance, DISTURBANCES) as disturbance, ThreadPoolExecutor(len(jobs)) as pool:
        trees = list(pool.map(lambda job: run(job, is_alone=True), jobs))
    rest_s = scene.rest()
    scene.require_left({(job.top, job.name): tree for job, tree in zip(jobs, trees, strict=True)})
    _no_copies(scene, before)
    return _told(jobs, disturbance, rest_s)


def together(scene: Scene, chance: random.Random) -> str:
    """Two or three work in one folder, or some, at the same time: all end equal, and what they left stands or is a
    version."""
    top, program = chance.choice((OWN, TEAM)), chance.choice(AT_ONCE)
    holders = scene.holders(top)
    names = [f"{program} together {number}" for number in range(chance.choice(AT_ONCE_FOLDERS))]
    jobs = [Job(one, top, name, program, chance.getrandbits(32)) for name in names for one in holders]
    with _work(scene, {one.name for one in holders}, chance, DISTURBANCES) as disturbance:
        with ThreadPoolExecutor(len(jobs)) as pool:
            list(pool.map(lambda job: run(job, is_alone=False), jobs))
        contents = {content for job in jobs for content in contents_below(job.place)}
    rest_s = scene.rest()
    scene.require_kept(contents)
    _clear(scene, chance.choice(jobs), chance)
    return _told(jobs, disturbance, rest_s)


def across(scene: Scene, chance: random.Random) -> str:
    """Somebody carries things between an own and the shared folder: both are left so everywhere, without a conflict."""
    one = chance.choice(scene.holders(OWN))
    before = scene.copies()
    with _work(scene, {one.name}, chance, DISTURBANCES) as disturbance:
        own, team = (one.folder / top / "across" for top in (OWN, TEAM))
        carried(own, team, random.Random(chance.getrandbits(32)))
        left = {(top, "across"): tree_of(one.folder / top / "across", with_times=False) for top in (OWN, TEAM)}
    rest_s = scene.rest()
    scene.require_left(left)
    _no_copies(scene, before)
    return f"{rest_s:6.1f} s to rest; {disturbance}; carried across on {one.name}"


def from_afar(scene: Scene, chance: random.Random) -> str:
    """Somebody works on the server: what is there comes to every device."""
    one, top = chance.choice(scene.holders(OWN)), chance.choice((OWN, TEAM))
    mirror = one.home.parent / f"mirror {top}"
    before = scene.copies()
    with _work(scene, set(), chance, AT_DEVICES) as disturbance:
        commanded(one, mirror, f"satchel:/{top}/from afar", random.Random(chance.getrandbits(32)))
    rest_s = scene.rest()
    scene.require_left({(top, "from afar"): tree_of(mirror, with_times=False)})
    _no_copies(scene, before)
    return f"{rest_s:6.1f} s to rest; {disturbance}; from afar by {one.name} in {top}"


def taken_back(scene: Scene, chance: random.Random) -> str:
    """Somebody takes back what the last run did to their folder, and then takes that back: all is as it was."""
    one = chance.choice(scene.devices)
    left = {
        (top, place.name): tree_of(place, with_times=False)
        for top in (OWN, TEAM)
        if one in scene.holders(top)
        for place in sorted((one.folder / top).glob("*/"))
    }
    rest_s = 0.0
    for _ in range(2):
        ran = one.cli("undo", str(one.folder), "--yes")
        if ran.code not in (OK, CHANGED):
            raise Found(f"undo on {one.name}: {ran}")
        rest_s += scene.rest()
    scene.require_left(left)
    return f"{rest_s:6.1f} s to rest; nothing; undone twice on {one.name}"


def rewound(scene: Scene, chance: random.Random) -> str:
    """Programs work, and then somebody leads all back to before it, on the server; and takes that back, or not."""
    one, top = chance.choice(scene.holders(OWN)), chance.choice((OWN, TEAM))
    before = _whole(one, top)
    stamp = datetime.datetime.now().astimezone().isoformat()
    jobs = [
        Job(chance.choice(scene.holders(top)), top, program, program, chance.getrandbits(32))
        for program in chance.sample(sorted(PROGRAMS), chance.choice((1, 2)))
    ]
    for job in jobs:
        run(job, is_alone=True)
    rest_s = scene.rest()
    after, copies = _whole(one, top), scene.copies()
    with _work(scene, set(), chance, AT_DEVICES) as disturbance:
        done = told(one, "rewind", f"satchel:/{top}", "--to", stamp, "--yes")
    rest_s += scene.rest()
    scene.require_left({(top, WHOLE): before})
    if chance.random() < 0.5:
        told(one, "rewind", "--undo", done.rsplit(maxsplit=1)[-1].strip("."), "--yes")
        rest_s += scene.rest()
        scene.require_left({(top, WHOLE): after})
    _no_copies(scene, copies)
    return f"{rest_s:6.1f} s to rest; {disturbance}; rewound by {one.name}: {', '.join(map(str, jobs))}"


def left_and_accepted(scene: Scene, chance: random.Random) -> str:
    """The other leaves the shared folder, and is asked again: it goes from his disk, and comes with all in it."""
    place = scene.phone.folder / TEAM
    told(scene.phone, "share", "leave", TEAM)
    wait_for(lambda: not place.exists(), "what is shared no more stays on the disk")
    programs = chance.sample(sorted(PROGRAMS), chance.choice((1, 2)))
    jobs = [Job(chance.choice(scene.devices[:2]), TEAM, name, name, chance.getrandbits(32)) for name in programs]
    trees = [run(job, is_alone=True) for job in jobs]
    told(scene.laptop, "share", "add", f"satchel:/{TEAM}", "--with", "ben:edit")
    told(scene.phone, "share", "accept", TEAM)
    with _work(scene, set(), chance, AT_DEVICES) as disturbance:
        time.sleep(chance.random() * LATER_S_MAX)
    wait_for(place.is_dir, "the shared folder does not come back")
    rest_s = scene.rest()
    scene.require_left({(job.top, job.name): tree for job, tree in zip(jobs, trees, strict=True)})
    return f"{rest_s:6.1f} s to rest; {disturbance}; left and accepted: {', '.join(map(str, jobs))}"


def _whole(one: Device, top: str) -> Tree:
    return tree_of(one.folder / top, with_times=False)


@contextlib.contextmanager
def _work(scene: Scene, at_work: set[str], chance: random.Random, disturbances: Sequence[Disturbance]) -> Iterator[str]:
    """People are at work on these devices until the block ends, and something happens; yield what."""
    disturbance = chance.choice(disturbances)
    scene.working = at_work
    with disturbance(scene, chance):
        yield disturbance.__name__.replace("_", " ")
    scene.working = set()


def _no_copies(scene: Scene, before: set[bytes]) -> None:
    if copies := scene.copies() - before:
        raise Found(f"conflicted copies, and nobody wrote where another did: {sorted(copies)[:5]}")


def _clear(scene: Scene, job: Job, chance: random.Random) -> None:
    """Now and then somebody deletes the folder: it grows, with copies of copies."""
    if chance.random() < 0.5:
        with contextlib.suppress(FileNotFoundError):
            before = sum(1 for _ in job.place.rglob("*"))
            _delete(job.place)
            rest_s = scene.rest()
            if any((one.folder / job.top / job.name).exists() for one in scene.holders(job.top)):
                raise Found(f"{job.top}/{job.name}, with {before} names, was deleted and is back after {rest_s:.0f} s")


def _delete(place: Path) -> None:
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    place.rmdir()


def _told(jobs: list[Job], disturbance: str, rest_s: float) -> str:
    return f"{rest_s:6.1f} s to rest; {disturbance}; {', '.join(map(str, jobs))}"


KINDS: tuple[tuple[Kind, int], ...] = (
    (alone, 11),
    (together, 5),
    (across, 3),
    (from_afar, 2),
    (taken_back, 1),
    (rewound, 2),
    (left_and_accepted, 1),
)
"""What a round may be, and how often it is."""


def one_round(scene: Scene, number: int, seed: int) -> str:
    """Play round `number` of a seed and return its line. Raises: Found, Unsound."""
    chance = random.Random(f"{seed}/{number}")
    (kind,) = chance.choices([kind for kind, _ in KINDS], [share for _, share in KINDS])
    line = kind(scene, chance)
    if chance.random() < 0.1:
        scene.require_whole_index()
    time.sleep(chance.choice(BREAKS_S))
    return line
