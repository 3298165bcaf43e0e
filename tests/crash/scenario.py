"""One small piece of work that can be stopped anywhere, and the claim about what is left.

Invariant: `begin` does all that is not under test and returns the work; `check` starts again from the folder alone, as
the next start of the program would, and says in words what is wrong. Nothing passes between the two but the folder and
what the work told: its acknowledgements, which a stop may not take back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Tell = Callable[[str], None]
"""Says something that is out of the process at once; what was told before the stop is known after it."""

Work = Callable[[Tell], None]

DONE = "done"
"""Told by a work that ended as it should: from then on only the state after it is right."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """name: unique. begin(folder): prepare in an empty folder, return the work. check(folder, told): what is wrong.

    is_threaded: the work begins threads of its own, so that all are followed together.
    """

    name: str
    begin: Callable[[Path], Work]
    check: Callable[[Path, Sequence[str]], list[str]]
    is_threaded: bool = False
