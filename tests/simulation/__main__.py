"""`python -m tests.simulation`: many seeds, what struck, and how fast. `satchel sim replay` repeats one.

Invariant: a seed that fails is printed with the command that repeats it, and its shortest script; each 20th seed is run
again in another process, under another PYTHONHASHSEED, and must leave the same trace.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from satchel.cli.sim import OPERATIONS
from satchel.simulation.faults import table
from satchel.simulation.minimise import BUDGET_S, finding, minimise
from satchel.simulation.replaying import told
from satchel.simulation.script import script
from tests.simulation.chunks import CHUNK, Chunk, another_process, run_chunk, trace_of

LONG = 8
EACH_LONG = 8
CHUNKS_A_PROCESS = 25
"""Each eighth chunk has scripts that are eight times as long. A process takes so many chunks: the allocator never gives
back what the largest of its worlds took."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", type=int, default=1, dest="first")
    parser.add_argument("--total", type=int, default=1_000_000, help="operations to reach")
    parser.add_argument("--operations", type=int, default=OPERATIONS, help="operations a seed, at least")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--mounts", action="store_true", help="worlds in which two people share folders")
    parser.add_argument("--ledger", type=Path, help="file of what is done; what stands there is not done again")
    return _many(parser.parse_args())


def _command(seed: int, operations: int, *, has_mounts: bool) -> str:
    return f"satchel sim replay {seed} --operations {operations} --minimise{' --mounts' if has_mounts else ''}"


def _length(first: int, operations: int) -> int:
    """Return how many operations a seed of the chunk has, at least: what goes wrong late needs a long past."""
    return operations * (LONG if (first - 1) // CHUNK % EACH_LONG == EACH_LONG - 1 else 1)


def _many(asked: argparse.Namespace) -> int:
    begun_s = time.perf_counter()
    total = Chunk(asked.first)
    done = _read_ledger(asked.ledger)
    total.operations = sum(done.values())
    earlier = total.operations
    repeated = differing = seeds = 0
    workers = ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn"), max_tasks_per_child=CHUNKS_A_PROCESS)
    with workers as pool, another_process("4711") as other:
        for chunk in _until(pool, asked, done, total):
            seeds += CHUNK
            total.operations += chunk.operations
            total.fired.update(chunk.fired)
            total.length = total.length if total.failed else chunk.length
            total.failed += chunk.failed
            for seed, text in chunk.failed:
                again = _command(seed, chunk.length, has_mounts=asked.mounts)
                print(f"FAILED seed {seed}: {text[:400]}\n  repeat: {again}", flush=True)
            if chunk.first_trace:
                repeated += 1
                if other.submit(trace_of, chunk.first, chunk.length, asked.mounts).result() != chunk.first_trace:
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
        _shrink_first(total.failed[0][0], total.length, has_mounts=asked.mounts)
    return 1 if total.failed or differing else 0


def _until(pool: ProcessPoolExecutor, asked: argparse.Namespace, done: dict[int, int], total: Chunk) -> Iterator[Chunk]:
    """Yield chunks, as they come, until the operations are reached. A few wait in the pool, never all; a long one keeps
    nobody waiting."""
    first = asked.first
    waiting: set[Future[Chunk]] = set()
    while waiting or total.operations < asked.total:
        while len(waiting) < 3 * asked.jobs and total.operations < asked.total:
            if first not in done:
                waiting.add(pool.submit(run_chunk, first, _length(first, asked.operations), asked.mounts))
            first += CHUNK
        if waiting:
            come, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for chunk in come:
                yield chunk.result()


def _shrink_first(seed: int, operations: int, *, has_mounts: bool) -> None:
    case = script(seed, operations=operations, has_mounts=has_mounts)
    found = finding(case)
    if found is not None:
        print(f"the first that failed, in at most {BUDGET_S:.0f} s:")
        print("\n".join(told(minimise(case, found.claim))))


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
