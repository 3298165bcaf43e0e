"""Rounds of work: who does what where, what disturbs it, and what must hold when all are at rest again."""

from __future__ import annotations

import contextlib
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.soak.disturbing import DISTURBANCES
from tests.soak.programs import PROGRAMS
from tests.soak.scene import OWN, TEAM, Found, Scene, Tree, contents_below
from tests.support.devices import Device
from tests.support.trees import tree_of

AT_ONCE = ("documents", "kinds", "mail", "names", "packages", "photos", "trees")
"""Programs that two may run in one folder at the same time. A repository or a database has one user, by its rules."""

BREAKS_S = (0.0, 0.0, 0.5, 2.0, 12.0)


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
    disturbance = chance.choice(DISTURBANCES)
    before = scene.copies()
    with disturbance(scene, chance), ThreadPoolExecutor(len(jobs)) as pool:
        trees = list(pool.map(lambda job: run(job, is_alone=True), jobs))
    rest_s = scene.rest()
    scene.require_left({(job.top, job.name): tree for job, tree in zip(jobs, trees, strict=True)})
    if copies := scene.copies() - before:
        raise Found(f"conflicted copies, and nobody wrote where another did: {sorted(copies)[:5]}")
    return _told(jobs, disturbance.__name__, rest_s)


def together(scene: Scene, chance: random.Random) -> str:
    """Two or three work in one folder at the same time: all end equal, and what they left stands or is a version."""
    top, program = chance.choice((OWN, TEAM)), chance.choice(AT_ONCE)
    holders = scene.holders(top)
    jobs = [Job(one, top, f"{program} together", program, chance.getrandbits(32)) for one in holders]
    disturbance = chance.choice(DISTURBANCES)
    with disturbance(scene, chance):
        with ThreadPoolExecutor(len(jobs)) as pool:
            list(pool.map(lambda job: run(job, is_alone=False), jobs))
        contents = {content for job in jobs for content in contents_below(job.place)}
    rest_s = scene.rest()
    scene.require_kept(contents)
    _clear(scene, chance.choice(jobs), chance)
    return _told(jobs, disturbance.__name__, rest_s)


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
    return f"{rest_s:6.1f} s to rest; {disturbance.replace('_', ' ')}; {', '.join(map(str, jobs))}"


def one_round(scene: Scene, number: int, seed: int) -> str:
    """Play round `number` of a seed and return its line. Raises: Found, Unsound."""
    chance = random.Random(f"{seed}/{number}")
    line = (together if chance.random() < 0.25 else alone)(scene, chance)
    if chance.random() < 0.1:
        scene.require_whole_index()
    time.sleep(chance.choice(BREAKS_S))
    return line
