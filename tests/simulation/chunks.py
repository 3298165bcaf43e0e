"""What the processes of `python -m tests.simulation` do. Invariant: a chunk gives the same in any process."""

from __future__ import annotations

import gc
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

from satchel.simulation.minimise import Finding, tried
from satchel.simulation.script import script

CHUNK = 20
"""Seeds that one process takes at a time; the first of each chunk is the one that is repeated."""


@dataclass(slots=True)
class Chunk:
    """What some neighbouring seeds gave. length: how many operations each has, at least; first_trace: of the first one,
    empty when it failed."""

    first: int
    length: int = 0
    operations: int = 0
    first_trace: str = ""
    fired: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)


def run_chunk(first: int, operations: int, has_mounts: bool) -> Chunk:
    """Run the seeds of one chunk."""
    done = Chunk(first, operations)
    # What is imported stays for ever, and a world dies as a whole: looking through both at each turn costs for nothing.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    for seed in range(first, first + CHUNK):
        case = script(seed, operations=operations, has_mounts=has_mounts)
        done.operations += case.operations
        found = tried(case)
        if isinstance(found, Finding):
            done.failed.append((seed, found.text))
            continue
        done.fired.update(found.fired)
        if seed == first:
            done.first_trace = found.trace
    return done


def another_process(seed: str) -> ProcessPoolExecutor:
    """Return a process of its own that starts under another PYTHONHASHSEED, and stays for many seeds."""
    known, os.environ["PYTHONHASHSEED"] = os.environ.get("PYTHONHASHSEED"), seed
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    assert pool.submit(hash_seed).result() == seed
    if known is None:
        del os.environ["PYTHONHASHSEED"]
    else:
        os.environ["PYTHONHASHSEED"] = known
    return pool


def hash_seed() -> str:
    """Return what this process was started under."""
    return os.environ["PYTHONHASHSEED"]


def trace_of(seed: int, operations: int, has_mounts: bool) -> str:
    """Return the trace's hash of one seed, run here."""
    return tried(script(seed, operations=operations, has_mounts=has_mounts)).trace
