"""The number of this start of the link, by which the service knows an index that went back in time, or is there twice.

Invariant: before anything leaves the disk that no commit tells of, the service has a number that only an index has that
knows of the leaving. Source: docs/design/030 (run), 040 (rule 1).
"""

from __future__ import annotations

from collections.abc import Iterable

from satchel.core.ids import Nid
from satchel.device.engine.state import State

RUN_NAME_BITS = 32
RUN_LEAP = 1 << 16
RUN_LEAP_NS = 4 * 10**9
"""A guess goes this far past the own number, or by the clock, so that an image that is put back again leaps further.
Both stay below 31 bits."""


def run_of(state: State) -> int:
    """Return the run as the service takes it: number << RUN_NAME_BITS | random name of the start."""
    return _number(state) << RUN_NAME_BITS | state.sent.run_name


def leap(state: State, newest: int) -> None:
    """This index went back, or is there twice: go past the newest start. newest: its number; 0: an older service, which
    does not tell it, and that is tried until it is far enough."""
    guess = max(_number(state) + RUN_LEAP, state.now.wall_ns // RUN_LEAP_NS)
    state.index.put("run", max(newest + 1 if newest else guess, _number(state)))


def raise_run(state: State, nids: Iterable[Nid]) -> None:
    """These are to leave the disk, and are noted: the service is told a new number first."""
    number = _number(state) + 1
    state.index.put("run", number)
    state.leaves_at.update(dict.fromkeys(nids, number))


def may_leave(state: State, nid: Nid) -> bool:
    """Tell whether the service knows a number that only an index has which knows that the row leaves."""
    return state.leaves_at.get(nid, state.run_told + 1) <= state.run_told


def is_run_due(state: State) -> bool:
    """Tell whether something waits for the service to be told."""
    waits = any(number > state.run_told for number in state.leaves_at.values())
    return waits and _number(state) > state.run_told


def run_told(state: State, run: int) -> None:
    """The service knows this run."""
    state.run_told = max(state.run_told, run >> RUN_NAME_BITS)


def _number(state: State) -> int:
    run = state.index.get("run")
    return run if isinstance(run, int) else 0
