"""What the deletions of one link are weighed with at its neighbours. Invariant: any thread may ask, and nobody waits.

Source: docs/design/085-shared-folders.md, the second section, 5.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from satchel.core.errors import Fault
from satchel.device.engine import Engine
from satchel.device.links import Link
from satchel.device.mounted import Board
from satchel.device.ports import Volume


class RunningNeighbour:
    """A link that runs. holds, waits: as `Neighbour.holds_uncommitted` and `waits_at_edge`. look: asks it to look at
    everything, and does not wait."""

    def __init__(
        self,
        engine: Engine,
        holds: Callable[[Collection[tuple[int, int]]], bool],
        waits: Callable[[], bool],
        look: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._holds = holds
        self._waits = waits
        self._look = look

    @property
    def has_looked(self) -> bool:
        return self._engine.has_looked

    @property
    def looked_s(self) -> float | None:
        state = self._engine.state
        return state.full_look_s if state.is_degraded else None

    def holds_uncommitted(self, files: Collection[tuple[int, int]]) -> bool:
        """As `Neighbour.holds_uncommitted`: what its last step has written counts."""
        return self._holds(files)

    def waits_at_edge(self) -> bool:
        """As `Neighbour.waits_at_edge`: what its last step has written counts."""
        return self._waits()

    def hint_all(self) -> None:
        """Look at everything, soon."""
        self._look()


class EdgeOf:
    """The `Edge` of one link. root: its folder as it is now, or RootMissing; volume: as it is known, set when it
    begins."""

    def __init__(self, board: Board, link: Link, root: Callable[[], Volume]) -> None:
        self._board = board
        self._link = link
        self._root = root
        self.volume: Volume | None = None

    def may_delete(self, files: Collection[tuple[int, int]], *, is_wanted: bool) -> bool:
        """As `Edge.may_delete`: a folder that went as a whole was not emptied."""
        try:
            if self._root() != self.volume:
                return False
        except Fault:
            return False
        return self._board.may_delete(self._link.link_id, files, is_wanted=is_wanted)
