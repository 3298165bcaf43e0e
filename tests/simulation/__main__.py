"""`python -m tests.simulation`: many seeds, and how fast. `--seed N` repeats one and prints its trace hash."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.run import Outcome, run_seed

REPEATED = 20


def _one(seed: int, operations: int) -> tuple[int, Outcome | str]:
    try:
        return seed, run_seed(seed, operations=operations)
    except Exception as error:  # any end but a clean one is a finding, and the seed repeats it
        return seed, f"{type(error).__name__}: {error}"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int)
    parser.add_argument("--from", type=int, default=1, dest="first")
    parser.add_argument("--seeds", type=int, default=2_000)
    parser.add_argument("--operations", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    if asked.seed is not None:
        outcome = run_seed(asked.seed, operations=asked.operations)
        print(f"seed {asked.seed}: {outcome.operations} operations, {outcome.steps} steps, trace {outcome.trace}")
        return 0
    return _many(asked)


def _many(asked: argparse.Namespace) -> int:
    begun_s = time.perf_counter()
    failed: list[tuple[int, str]] = []
    fired: Counter[str] = Counter()
    operations = 0
    seeds = range(asked.first, asked.first + asked.seeds)
    with ProcessPoolExecutor(asked.jobs) as pool:
        for seed, result in pool.map(_one, seeds, [asked.operations] * len(seeds), chunksize=10):
            if isinstance(result, str):
                failed.append((seed, result))
                print(f"FAILED seed {seed}: {result[:600]}\n  repeat: make sim SEED={seed}", flush=True)
            else:
                operations += result.operations
                fired.update(result.fired)
    took_s = time.perf_counter() - begun_s
    failed += _repeated(seeds[:: max(1, len(seeds) // REPEATED)], asked.operations)
    print(f"engine: {len(seeds) - len(failed)} of {len(seeds)} seeds clean, {operations} operations in {took_s:.1f} s")
    print(f"rate: {len(seeds) / took_s:.1f} seeds/s, {operations / took_s:.0f} operations/s; faults: {dict(fired)}")
    return 1 if failed else 0


def _repeated(seeds: range, operations: int) -> list[tuple[int, str]]:
    """Run some seeds again in processes of their own, under two hash seeds: their traces must be equal."""
    differing: list[tuple[int, str]] = []
    for seed in seeds:
        traces = {_trace(seed, operations, hash_seed) for hash_seed in ("1", "4711")}
        if len(traces) != 1:
            differing.append((seed, "traces differ"))
            print(f"FAILED seed {seed}: its trace depends on the process", flush=True)
    print(f"repeated: {len(seeds) - len(differing)} of {len(seeds)} seeds have equal traces under two PYTHONHASHSEEDs")
    return differing


def _trace(seed: int, operations: int, hash_seed: str) -> str:
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--operations", str(operations)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False).stdout


if __name__ == "__main__":
    sys.exit(main())
