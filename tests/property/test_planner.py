"""The planner's properties on random trees. A failure prints its seed; `planner_run --cases 1 --seed N` repeats it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.planning_properties import PROPERTIES, check

CASES = 20_000
PARTS = 8
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("part", range(PARTS))
def test_every_property_holds_on_random_trees(part: int) -> None:
    for seed in range(part * CASES // PARTS, (part + 1) * CASES // PARTS):
        check(seed)


@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda holds: holds.__name__)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(rng=st.randoms(use_true_random=False))
def test_a_property_holds_on_trees_that_can_be_shrunk(
    holds: Callable[[random.Random], str], rng: random.Random
) -> None:
    holds(rng)


def test_the_result_does_not_depend_on_the_process() -> None:
    command = [sys.executable, "-m", "tests.simulation.planner_run", "--cases", "600", "--seed", "7"]
    digests = {
        subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True, timeout=120
        ).stdout.split()[-1]
        for seed in ("1", "2")
    }
    assert len(digests) == 1
