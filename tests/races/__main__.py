"""`python -m tests.races`: very many races of another program against the replace of a file, on a real disk.

Invariant: it ends with an error at the first edit that is lost, and says which race of which seed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.races.race import EditLost, Track

REPORT_EVERY = 10_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--work", type=Path, help="a folder on the disk to race on")
    asked = parser.parse_args()
    begun_s = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=asked.work) as folder, Track(Path(folder), asked.seed) as track:
        for number in range(1, asked.races + 1):
            try:
                track.race()
            except EditLost as lost:
                print(f"LOST, seed {asked.seed}: {lost}")
                return 1
            if number % REPORT_EVERY == 0:
                print(f"{number:>9,} races, {time.perf_counter() - begun_s:.0f} s", flush=True)
    print(table(track.counts))
    print(f"races: {asked.races:,}, no edit lost; seed {asked.seed}, {time.perf_counter() - begun_s:.0f} s")
    return 0


def table(counts: Counter[tuple[str, str]]) -> str:
    """Return how the races ended, one line for each way and result."""
    return "\n".join(f"  {way:10}{count:>9,}  {told}" for (way, told), count in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main())
