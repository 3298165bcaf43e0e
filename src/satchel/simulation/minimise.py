"""Reduces a failing script: drops steps, then kinds of fault, machines and namespaces, as long as it fails alike.

Invariant: what it returns fails with the same claim as what it was given. Source: Zeller and Hildebrandt, "Simplifying
and isolating failure-inducing input" (ddmin).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from satchel.device.bounds import BOUNDS
from satchel.simulation.broken import Broken
from satchel.simulation.run import Outcome, outcome, play
from satchel.simulation.script import Script, Step
from satchel.simulation.world import World

BUDGET_S = 120.0
CPU_S_MIN = 15.0
CPU_S_EACH = 0.15
"""Many times what a run takes, at least, and for each operation: one that needs more turns in a circle."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How a script fails: the claim's name, or the kind of the exception; what it said; and how far it had come."""

    claim: str
    text: str
    steps: int = 0
    trace: str = ""


def finding(case: Script, lines: list[str] | None = None) -> Finding | None:
    """Run it; None when all claims hold. lines: gets the trace."""
    found = tried(case, lines)
    return found if isinstance(found, Finding) else None


def tried(case: Script, lines: list[str] | None = None) -> Outcome | Finding:
    """Run it; how it fails, if it does. lines: gets the trace. Only in the main thread: it sets a timer of CPU time."""
    signal.signal(signal.SIGVTALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_VIRTUAL, max(CPU_S_MIN, CPU_S_EACH * case.operations))
    world: World | None = None
    try:
        world = World(case, lines)
        play(world, case)
        return outcome(world, case)
    except Broken as broken:
        return _finding(broken.claim, str(broken), world)
    except Exception as error:  # any end but a clean one is a finding, and the seed repeats it
        text = f"{type(error).__name__}: {error}"
        return _finding(text[:60], text, world)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _finding(claim: str, text: str, world: World | None) -> Finding:
    steps, trace = (world.scheduler.steps, world.trace_hash) if world is not None else (0, "")
    return Finding(claim, text[:1_000], steps, trace)


def _out_of_time(signal_number: int, frame: object) -> None:
    raise Broken("every step ends", "a run took many times what its operations take")


def minimise(case: Script, claim: str, *, budget_s: float = BUDGET_S) -> Script:
    """Return the smallest script found that fails with `claim`. budget_s: stop then with what is found."""
    end_s = time.monotonic() + budget_s

    def fails(steps: tuple[Step, ...]) -> bool:
        found = finding(replace(case, steps=steps))
        return found is not None and found.claim == claim

    case = replace(case, steps=ddmin(case.steps, fails, lambda: time.monotonic() < end_s))
    for kind in sorted(case.kinds):
        case = _if_fails(case, replace(case, kinds=case.kinds - {kind}), claim)
    for smaller in (
        replace(case, rate=0.0),
        replace(case, disk_s=0.0),
        replace(case, bounds=BOUNDS),
        replace(case, namespaces=1),
        replace(case, machines=2),
    ):
        case = _if_fails(case, smaller, claim)
    return replace(case, steps=ddmin(case.steps, fails, lambda: time.monotonic() < end_s))


def _if_fails(case: Script, smaller: Script, claim: str) -> Script:
    found = finding(smaller) if smaller != case else None
    return smaller if found is not None and found.claim == claim else case


def ddmin(
    steps: tuple[Step, ...], fails: Callable[[tuple[Step, ...]], bool], may_go_on: Callable[[], bool]
) -> tuple[Step, ...]:
    """Return a part of `steps`, in order, that still fails and of which no single step can be dropped."""
    parts = 2
    while len(steps) >= 2 and may_go_on():
        size = -(-len(steps) // parts)
        for at in range(0, len(steps), size):
            rest = steps[:at] + steps[at + size :]
            if fails(rest):
                steps, parts = rest, max(parts - 1, 2)
                break
            if not may_go_on():
                break
        else:
            if size == 1:
                break
            parts = min(len(steps), 2 * parts)
    return steps
