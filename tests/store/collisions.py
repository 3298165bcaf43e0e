"""`python -m tests.store.collisions`: garbage without any grace against commits that use the same blocks again.

Invariant: a seed that fails is printed with the command that repeats it and tells its steps. What is shown is the order
of whole transactions and calls of the block store, as SQLite gives it. That two transactions of PostgreSQL lock first
and look in a second statement is not: `tests/integration/test_upkeep_races.py` holds real ones at chosen statements.
"""

from __future__ import annotations

import argparse
import base64
import gc
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field

from tests.store import planted
from tests.store.interleaving import Stage
from tests.store.ledger import Ledger, arguments, parts
from tests.store.stage import quiet

PART = 1_000


@dataclass(slots=True)
class Part:
    """What some neighbouring seeds gave. schedules: 8 bytes each."""

    first: int
    count: int
    seconds: float = 0.0
    told: Counter[str] = field(default_factory=Counter)
    schedules: set[bytes] = field(default_factory=set)
    failed: list[tuple[int, str]] = field(default_factory=list)


_stage: list[Stage] = []


def run_part(first: int, count: int) -> Part:
    """Run interleavings in this process, on its one stage."""
    part = Part(first, count)
    if not _stage:
        _stage.append(Stage())
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
    stage = _stage[0]
    begun_s = time.perf_counter()
    with quiet():
        for seed in range(first, first + count):
            result = stage.run(seed)
            part.schedules.add(result.played.schedule)
            part.told.update(asdict(result.told))
            part.told.update(steps=result.played.steps, jumps=result.played.jumps, crashed=bool(result.played.crashed))
            if result.finding:
                part.failed.append((seed, result.finding))
    part.told["stale_figures"] = stage.stale_figures
    stage.stale_figures = 0
    part.seconds = time.perf_counter() - begun_s
    return part


def main() -> int:
    parser = arguments(argparse.ArgumentParser(description=__doc__), total=1_000_000)
    parser.add_argument("--mutants", action="store_true", help="plant bugs, each of which must be found")
    parser.add_argument("--within", type=int, default=planted.SEEDS_MAX, help="interleavings for each planted bug")
    asked = parser.parse_args()
    if asked.mutants:
        return 1 if planted.table(asked.jobs, asked.within) else 0
    return _one(asked.seed) if asked.seed is not None else _many(asked)


def _one(seed: int) -> int:
    with quiet():
        result = Stage().run(seed, is_traced=True)
    print("\n".join(result.played.trace))
    print(result.finding or f"seed {seed}: all holds")
    return 1 if result.finding else 0


def _many(asked: argparse.Namespace) -> int:
    begun_s = time.perf_counter()
    ledger = Ledger(asked.ledger)
    failed = 0
    within = range(asked.first, asked.first + asked.total)
    for part in parts(run_part, first=asked.first, total=asked.total, size=PART, jobs=asked.jobs, done=ledger.done):
        failed += len(part.failed)
        for seed, text in part.failed:
            print(f"FAILED seed {seed}: {text[:600]}\n  repeat: make collisions SEED={seed}", flush=True)
        packed = base64.b85encode(b"".join(sorted(part.schedules))).decode()
        row: dict[str, object] = {"first": part.first, "count": part.count, "seconds": round(part.seconds, 1)}
        ledger.add(row | {"failed": len(part.failed), "told": part.told, "schedules": packed})
    done = [row for first, row in ledger.done.items() if first in within]
    told: Counter[str] = Counter()
    schedules: set[bytes] = set()
    for row in done:
        told.update(row["told"])  # type: ignore[call-overload]
        packed_schedules = base64.b85decode(str(row["schedules"]))
        schedules.update(packed_schedules[at : at + 8] for at in range(0, len(packed_schedules), 8))
    count = sum(int(str(row["count"])) for row in done)
    seconds = sum(float(str(row["seconds"])) for row in done)
    print(
        f"{count:,} interleavings, {len(schedules):,} distinct schedules, {told['steps']:,} steps, {told['jumps']:,}"
        f" jumps of the clock, {told['crashed']:,} crashes; {failed} findings"
    )
    print(
        f"blocks removed {told['removed']:,}, asked for again {told['asked']:,}; tried again {told['repeats']:,}; reads"
        f" refused {told['faults']:,}; runs of garbage held back {told['alarms']:,}; stale figures"
        f" {told['stale_figures']:,}"
    )
    rate = count / seconds if seconds else 0.0
    took_s = time.perf_counter() - begun_s
    print(f"{rate:.0f} a second on one core: a million take {1e6 / max(rate, 1) / 3600:.1f} h; {took_s:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
