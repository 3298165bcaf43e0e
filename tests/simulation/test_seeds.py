"""The smallest tier of the simulation: some seeds in every test run, and that a seed is the same run everywhere."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.run import run_seed

SEEDS_PER_TEST = 20


@pytest.mark.parametrize("first", range(1, 201, SEEDS_PER_TEST))
def test_devices_come_to_rest_equal_and_nothing_is_lost(first: int) -> None:
    for seed in range(first, first + SEEDS_PER_TEST):
        assert run_seed(seed, operations=40).operations >= 40


def trace_of(seed: int, hash_seed: str) -> str:
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.rsplit("trace ", 1)[1].strip()


@pytest.mark.parametrize("seed", [7, 29])
def test_a_seed_gives_the_same_trace_under_any_hash_seed(seed: int) -> None:
    assert trace_of(seed, "1") == trace_of(seed, "4711")
