"""A seed run once more, and told: whether all claims hold, what it did, and the shortest script that fails alike.

Invariant: the same seed and operations tell the same, in any process, of a checkout or of an installed Satchel.
"""

from __future__ import annotations

from dataclasses import dataclass

from satchel.simulation.minimise import Finding, finding, minimise, tried
from satchel.simulation.script import Script, script

TRACE_LINES = 60
LINE_CHARS = 150


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a seed went. claim, detail: what does not hold, empty when all does. shortest: lines, when asked for."""

    seed: int
    holds: bool
    claim: str
    detail: str
    operations: int
    steps: int
    trace: str
    shortest: tuple[str, ...] = ()


def replay(seed: int, *, operations: int, is_minimised: bool = False, has_mounts: bool = False) -> Replayed:
    """Run a seed of at least so many operations. is_minimised: one that fails is shrunk too, for some minutes.

    has_mounts: with two people who share folders.
    """
    case = script(seed, operations=operations, has_mounts=has_mounts)
    found = tried(case)
    if not isinstance(found, Finding):
        return Replayed(seed, True, "", "", found.operations, found.steps, found.trace)
    shortest = tuple(told(minimise(case, found.claim))) if is_minimised else ()
    return Replayed(seed, False, found.claim, found.text, case.operations, found.steps, found.trace, shortest)


def told(case: Script) -> list[str]:
    """Return a script that fails as lines: its steps, the end of its trace, and what it says."""
    lines: list[str] = []
    found = finding(case, lines)
    return [
        f"{len(case.steps)} steps, {case.machines} machines, {case.namespaces} namespaces, fault rate {case.rate},"
        f" kinds {sorted(case.kinds)}",
        *(f"  {step}" for step in case.steps),
        f"its trace, the last {TRACE_LINES} lines:",
        *(f"  {line[:LINE_CHARS]}" for line in lines[-TRACE_LINES:]),
        found.text if found is not None else "it holds",
    ]
