"""The smallest tier of the simulation: some seeds in every test run, that a seed is the same run everywhere, and that
a failing script is shrunk to what it needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from satchel.simulation.broken import Broken
from satchel.simulation.faults import EXTRA, IN_CALLS, KINDS
from satchel.simulation.minimise import ddmin
from satchel.simulation.run import run, run_seed
from satchel.simulation.script import Act, Roll, script
from tests.simulation.catalogue import BUGS, MOUNT_BUGS, Bug
from tests.simulation.planting import check

SEEDS_PER_TEST = 20
OPERATIONS = 25


@pytest.mark.parametrize("first", range(1, 201, SEEDS_PER_TEST))
def test_devices_come_to_rest_equal_and_nothing_is_lost(first: int) -> None:
    for seed in range(first, first + SEEDS_PER_TEST):
        try:
            assert run_seed(seed, operations=OPERATIONS).operations >= OPERATIONS
        except Broken as broken:
            raise AssertionError(f"repeat: satchel sim replay {seed} --operations {OPERATIONS}") from broken


def trace_of(seed: int, hash_seed: str) -> str:
    command = [sys.executable, "-m", "satchel.cli.main", "--json", "sim", "replay", str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return str(json.loads(done.stdout)["trace"])


@pytest.mark.parametrize("seed", [7, 29])
def test_a_seed_gives_the_same_trace_under_any_hash_seed(seed: int) -> None:
    assert trace_of(seed, "1") == trace_of(seed, "4711")


def test_a_service_and_devices_of_the_version_before_come_and_go_and_all_holds() -> None:
    cases = map(script, range(200))
    rolled = [case for case in cases if any(isinstance(step, Roll) for step in case.steps)][:8]

    fired = sum(run(case).fired["rolling_version"] for case in rolled)

    assert len(rolled) == 8 and fired >= 8


def test_a_longer_script_of_a_seed_begins_as_a_shorter_one() -> None:
    short, long = script(4711, operations=20), script(4711, operations=60)

    assert long.steps[: len(short.steps)] == short.steps


def test_a_dropped_step_shifts_no_other() -> None:
    case = script(12, operations=20)
    acts = [step for step in case.steps if isinstance(step, Act)]

    without = run(replace(case, steps=tuple(step for step in case.steps if step is not acts[0])))

    assert without.operations == len(acts) - 1


def test_shrinking_leaves_only_what_the_failure_needs() -> None:
    steps = script(3, operations=40).steps
    needed = {steps[5], steps[20]}

    left = ddmin(steps, lambda some: needed <= set(some), lambda: True)

    assert set(left) == needed


def test_there_are_32_kinds_of_fault_and_each_has_a_name_of_its_own() -> None:
    names = [kind.name for kind in KINDS]

    assert len(set(names)) == 32
    assert set(IN_CALLS) <= set(names)
    assert not set(EXTRA) & set(names)


@pytest.mark.parametrize("bug", BUGS + MOUNT_BUGS, ids=[bug.name for bug in BUGS + MOUNT_BUGS])
def test_every_bug_of_the_catalogue_can_still_be_planted(bug: Bug) -> None:
    check(bug)
