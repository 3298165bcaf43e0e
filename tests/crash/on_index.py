"""Scenarios of a device's index file. Invariant checked: the next start has a whole, new index that says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from satchel.core.errors import Fault
from satchel.core.ids import NodeId
from satchel.device.index.beside import FILE_NAME
from satchel.device.index.damage import SUSPECT_NAME, notice, ready
from satchel.device.index.store import Index
from tests.crash.scenario import DONE, Scenario, Tell, Work
from tests.support.still_clock import StillClock

ROWS = 2_000


def _damaged(folder: Path) -> Path:
    """Make a link's state folder with a damaged index, and return it."""
    state = folder / "state"
    state.mkdir()
    index = Index(str(state / FILE_NAME))
    with index.transaction():
        for number in range(ROWS):
            index.add(NodeId(number.to_bytes(16, "big")))
    index.close()
    raw = (state / FILE_NAME).read_bytes()
    (state / FILE_NAME).write_bytes(raw[: len(raw) // 2])
    return state


def _begin(folder: Path) -> Work:
    state = _damaged(folder)

    def work(tell: Tell) -> None:
        try:
            if not ready(state, StillClock()):
                tell(DONE)
        except Fault:
            return

    return work


def _check(folder: Path, told: Sequence[str]) -> list[str]:
    state = folder / "state"
    clock = StillClock()
    was_ready = ready(state, clock)
    wrong = ["it is set aside once more"] if DONE in told and not was_ready else []
    if (state / SUSPECT_NAME).exists():
        wrong.append("the mark is still there")
    index = Index(str(state / FILE_NAME))
    if (rows := index.connection.execute("SELECT COUNT(*) FROM nodes").fetchone()) != (0,):
        wrong.append(f"the index has rows of the damaged one: {rows}")
    if not notice(index, clock.now_ns() // 1_000_000):
        wrong.append("nobody is told")
    index.close()
    if not ready(state, clock):
        wrong.append("the new index is damaged")
    return wrong


SCENARIOS = (Scenario("index: set a damaged one aside", _begin, _check),)
