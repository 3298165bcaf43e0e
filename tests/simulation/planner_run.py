"""Checks the planner's properties on many random cases: `python -m tests.simulation.planner_run --cases N --seed S`.

Prints the rate and a digest of all results, which must not depend on the process (PYTHONHASHSEED). A failure prints the
seed; `--cases 1 --seed SEED` repeats it.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import traceback

from tests.support.planning import Broken
from tests.support.planning_properties import check


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    digest = hashlib.sha256()
    started = time.perf_counter()
    for seed in range(options.seed, options.seed + options.cases):
        try:
            digest.update(check(seed).encode())
        except Broken:
            traceback.print_exc()
            print(f"repeat with: python -m tests.simulation.planner_run --cases 1 --seed {seed}", file=sys.stderr)
            return 1
    rate = options.cases / (time.perf_counter() - started)
    print(f"{options.cases} cases held, {rate:.0f} a second, digest {digest.hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
