"""`python -m tests.simulation.mutants`: plants the bugs one by one and looks for each until a claim breaks.

Invariant: each bug has a process of its own; one that is not found within the operations shows a hole in the claims.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from satchel.simulation.minimise import finding
from satchel.simulation.script import script
from tests.simulation.catalogue import BUGS, MOUNT_BUGS, Bug
from tests.simulation.planting import NotPlanted, check, plant
from tests.support.planning import Broken as PlannerBroken
from tests.support.planning_properties import check as check_case

OPERATIONS_MAX = 100_000
SEED_OPERATIONS = 60
CASES_PER_SEED = 2


@dataclass(frozen=True, slots=True)
class Search:
    """How the search for one bug ended. claim: empty when nothing found it. seed: where."""

    bug: str
    rule: str
    claim: str
    seed: int
    operations: int
    seconds: float


def search(bug: Bug, *, operations_max: int = OPERATIONS_MAX) -> Search:
    """Plant the bug here, for good, and run seeds, each with some planner's cases, until one fails.

    Bugs of `MOUNT_BUGS` are looked for in worlds with shared folders.
    """
    begun_s = time.perf_counter()
    plant(bug)
    operations = 0
    for seed, claim in _looks(has_mounts=bug in MOUNT_BUGS):
        operations += SEED_OPERATIONS
        if claim or operations >= operations_max:
            return Search(bug.name, bug.rule, claim, seed, operations, time.perf_counter() - begun_s)
    raise AssertionError("seeds never end")


def _looks(*, has_mounts: bool) -> Iterator[tuple[int, str]]:
    seed = 0
    while True:
        seed += 1
        found = finding(script(seed, operations=SEED_OPERATIONS, has_mounts=has_mounts))
        yield seed, found.claim if found is not None else "" if has_mounts else _planner_claim(seed)


def _planner_claim(seed: int) -> str:
    for case in range(seed * CASES_PER_SEED, (seed + 1) * CASES_PER_SEED):
        try:
            check_case(case)
        except (PlannerBroken, AssertionError, KeyError) as broken:
            return f"planner case {case}: {broken}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--operations", type=int, default=OPERATIONS_MAX)
    parser.add_argument("--mounts", action="store_true", help="those of shared folders")
    parser.add_argument("--bug", help="only those whose name holds this")
    asked = parser.parse_args()
    bugs = [bug for bug in (MOUNT_BUGS if asked.mounts else BUGS) if (asked.bug or "") in bug.name]
    for bug in bugs:
        try:
            check(bug)
        except NotPlanted as fault:
            print(f"{bug.name}: cannot be planted: {fault}")
            return 1
    print(f"{'bug':28} {'seed':>6} {'ops':>8} {'seconds':>8}  found by")
    missed = 0
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for found in pool.map(_search, bugs, [asked.operations] * len(bugs)):
            missed += not found.claim
            told = found.claim[:70] or f"NOT FOUND (rule: {found.rule})"
            print(f"{found.bug:28} {found.seed:>6} {found.operations:>8,} {found.seconds:>8.1f}  {told}", flush=True)
    print(f"mutants: {len(bugs) - missed} of {len(bugs)} found within {asked.operations:,} operations")
    return 1 if missed else 0


def _search(bug: Bug, operations_max: int) -> Search:
    return search(bug, operations_max=operations_max)


if __name__ == "__main__":
    sys.exit(main())
