"""`python -m tests.simulation`: many seeds, what struck, and how fast. `--seed N` repeats one; `--minimise` shrinks it.

Invariant: a seed that fails is printed with the command that repeats it, and its shortest script; each 20th seed is run
again in another process, under another PYTHONHASHSEED, and must leave the same trace.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.faults import table
from tests.simulation.minimise import BUDGET_S, Finding, finding, minimise, tried
from tests.simulation.script import Script, script

CHUNK = 20
"""Seeds that one process takes at a time; the first of each chunk is the one that is repeated."""
TRACE_LINES = 60


@dataclass(slots=True)
class Chunk:
    """What some neighbouring seeds gave. first_trace: of the first one, empty when it failed."""

    first: int
    operations: int = 0
    first_trace: str = ""
    fired: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)


def _chunk(first: int, operations: int) -> Chunk:
    done = Chunk(first)
    for seed in range(first, first + CHUNK):
        case = script(seed, operations=operations)
        done.operations += case.operations
        found = tried(case)
        if isinstance(found, Finding):
            done.failed.append((seed, found.text))
            continue
        done.fired.update(found.fired)
        if seed == first:
            done.first_trace = found.trace
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one alone, and print its trace's hash")
    parser.add_argument("--minimise", action="store_true", help="with --seed: the shortest script that fails alike")
    parser.add_argument("--from", type=int, default=1, dest="first")
    parser.add_argument("--total", type=int, default=1_000_000, help="operations to reach")
    parser.add_argument("--operations", type=int, default=50, help="operations a seed, at least")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--ledger", type=Path, help="file of what is done; what stands there is not done again")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _one(asked.seed, asked.operations, shrink=asked.minimise)
    return _many(asked)


# -- one seed ---------------------------------------------------------------------------------------------------------


def _one(seed: int, operations: int, *, shrink: bool) -> int:
    case = script(seed, operations=operations)
    found = tried(case)
    if not isinstance(found, Finding):
        print(f"seed {seed}: {found.operations} operations, {found.steps} steps, trace {found.trace}")
        return 0
    print(f"FAILED seed {seed}: {found.text}\n  repeat: {_command(seed, operations)}")
    if shrink:
        _print_shortest(minimise(case, found.claim))
    return 1


def _command(seed: int, operations: int) -> str:
    return f"python -m tests.simulation --operations {operations} --minimise --seed {seed}"


def _print_shortest(case: Script) -> None:
    print(
        f"shortest: {len(case.steps)} steps, {case.machines} machines, {case.namespaces} namespaces,"
        f" fault rate {case.rate}, kinds {sorted(case.kinds)}"
    )
    for step in case.steps:
        print(f"  {step}")
    lines: list[str] = []
    found = finding(case, lines)
    print(f"its trace, the last {TRACE_LINES} lines:")
    for line in lines[-TRACE_LINES:]:
        print(f"  {line[:150]}")
    print(found.text if found is not None else "it holds")


# -- many seeds -------------------------------------------------------------------------------------------------------


def _many(asked: argparse.Namespace) -> int:
    begun_s = time.perf_counter()
    total = Chunk(asked.first)
    done = _read_ledger(asked.ledger)
    total.operations = sum(done.values())
    earlier = total.operations
    repeated = differing = seeds = 0
    with ProcessPoolExecutor(asked.jobs) as pool:
        for chunk in _until(pool, asked, done, total):
            seeds += CHUNK
            total.operations += chunk.operations
            total.fired.update(chunk.fired)
            total.failed += chunk.failed
            for seed, text in chunk.failed:
                print(f"FAILED seed {seed}: {text[:400]}\n  repeat: {_command(seed, asked.operations)}", flush=True)
            if chunk.first_trace:
                repeated += 1
                if _trace(chunk.first, asked.operations) != chunk.first_trace:
                    differing += 1
                    print(f"FAILED seed {chunk.first}: its trace depends on the process", flush=True)
            _write_ledger(asked.ledger, chunk)
    took_s = time.perf_counter() - begun_s
    print(table(total.fired))
    print(f"repeated: {repeated - differing} of {repeated} seeds left equal traces under another PYTHONHASHSEED")
    print(f"engine: {seeds - len(total.failed)} of {seeds} seeds clean; {total.operations:,} operations in all")
    print(
        f"rate: {(total.operations - earlier) / took_s:.0f} operations/s, {seeds / took_s:.1f} seeds/s, {took_s:.0f} s"
    )
    if total.failed:
        _shrink_first(total.failed[0][0], asked.operations)
    return 1 if total.failed or differing else 0


def _until(pool: ProcessPoolExecutor, asked: argparse.Namespace, done: dict[int, int], total: Chunk) -> Iterator[Chunk]:
    """Yield chunks, in order, until the operations are reached. A few wait in the pool, never all."""
    first = asked.first
    waiting: list[Future[Chunk]] = []
    while waiting or total.operations < asked.total:
        while len(waiting) < 3 * asked.jobs and total.operations < asked.total:
            if first not in done:
                waiting.append(pool.submit(_chunk, first, asked.operations))
            first += CHUNK
        if waiting:
            yield waiting.pop(0).result()


def _shrink_first(seed: int, operations: int) -> None:
    case = script(seed, operations=operations)
    found = finding(case)
    if found is not None:
        print(f"the first that failed, in at most {BUDGET_S:.0f} s:")
        _print_shortest(minimise(case, found.claim))


def _trace(seed: int, operations: int) -> str:
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--operations", str(operations)]
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False).stdout
    return told.rsplit("trace ", 1)[-1].strip()


def _read_ledger(ledger: Path | None) -> dict[int, int]:
    """Return the operations of each chunk that is done, by its first seed. A chunk that failed is done again."""
    if ledger is None or not ledger.exists():
        return {}
    rows = [line.split() for line in ledger.read_text().splitlines()]
    return {int(first): int(operations) for first, operations, failed in rows if failed == "0"}


def _write_ledger(ledger: Path | None, chunk: Chunk) -> None:
    if ledger is None:
        return
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("a") as file:
        file.write(f"{chunk.first} {chunk.operations} {len(chunk.failed)}\n")


if __name__ == "__main__":
    sys.exit(main())
