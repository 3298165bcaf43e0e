"""Has staging settled after a task failed in the middle and could not take back what it had moved there.

Invariant: until that is done nothing is placed or taken, and no look at the disk begins: what stands in staging is not
gone. Source: docs/design/040, rule 2.
"""

from __future__ import annotations

from satchel.device.engine.excluding import stands_again
from satchel.device.engine.state import State
from satchel.device.tasks import SettleTask, StagingSettled

RETRY_S_MIN = 1.0
RETRY_S_MAX = 60.0


def note_failure(state: State) -> None:
    """A task failed: something may be left of it."""
    state.has_leftovers = True


def next_settling(state: State) -> None:
    """Have it settled once no batch is under way; what fails is tried again, less and less often."""
    is_due = state.has_leftovers and state.now.monotonic_s >= state.next_settling_s
    if is_due and not (state.is_settling or state.counts["disk"]):
        state.is_settling = True
        state.tasks.append(SettleTask())


def fold_settled(state: State, fact: StagingSettled) -> None:
    """What was put back is looked at."""
    state.is_settling = False
    state.has_leftovers = fact.fault is not None
    state.settle_wait_s = min(RETRY_S_MAX, 2 * state.settle_wait_s) if fact.fault is not None else RETRY_S_MIN
    state.next_settling_s = state.now.monotonic_s + (state.settle_wait_s if fact.fault is not None else 0.0)
    stands_again(state, fact.paths)
    state.look_again(*fact.paths)
