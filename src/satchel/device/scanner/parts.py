"""Gathers facts and hands them out in parts. Invariant: facts leave in the order they came, and the last part says so.

A part is small, so that the first files travel while the rest is still being hashed.
"""

from __future__ import annotations

from collections.abc import Callable

from satchel.core.entries import Kind
from satchel.core.errors import Fault
from satchel.core.limits import MIB
from satchel.device.index.rows import LocalRow
from satchel.device.ports import Times
from satchel.device.tasks import LocalFact, Scanned, ScanTask, SeenMoved, SeenNew

HASHED_PER_PART_BYTES_MAX = 32 * MIB
PART_S_MAX = 0.25


class Parts:
    """The facts of one scan on their way out."""

    def __init__(
        self, task: ScanTask, clock: Times, send: Callable[[Scanned], None], *, is_full: bool, facts_max: int
    ) -> None:
        self._task = task
        self._clock = clock
        self._send = send
        self._is_full = is_full
        self._facts_max = facts_max
        self._facts: list[LocalFact] = []
        self._hashed_bytes = 0
        self._files_seen = 0
        self.is_holding = False
        """True: nothing is sent by itself. Sending may wait, and whoever works in a turn must not."""
        self._order = 0
        self._scan_begun_s = self._begun_s = clock.monotonic_s()

    def next_order(self) -> int:
        """Return the number of the next SeenNew."""
        self._order += 1
        return self._order

    def saw(self, names: int) -> None:
        """Count names that were compared since the last part, for progress."""
        self._files_seen += names

    def will_hash(self, size: int) -> None:
        """Count bytes about to be hashed; what waits leaves first when that will take long."""
        self._hashed_bytes += size
        if self._facts and not self.is_holding and self._hashed_bytes >= HASHED_PER_PART_BYTES_MAX:
            self._flush()
            self._hashed_bytes = size

    def add(self, *facts: LocalFact) -> None:
        """Add facts that belong together: they leave in one part."""
        self._facts += facts
        if not self.is_holding:
            self.send_due()

    def send_due(self) -> None:
        """Send what waits when it is enough."""
        if self._facts and (
            len(self._facts) >= self._facts_max
            or self._hashed_bytes >= HASHED_PER_PART_BYTES_MAX
            or self._clock.monotonic_s() - self._begun_s >= PART_S_MAX
        ):
            self._flush()

    def adopt_new(self, row: LocalRow) -> bool:
        """Turn the one waiting new file with the row's content into a move of that row; False when there is not one.

        From docs/design/040 (moves): equal content, size above 0, exactly one candidate in the same scan.
        """
        places = [at for at, fact in enumerate(self._facts) if _is_same_content(fact, row)]
        if len(places) != 1:
            return False
        fact = self._facts[places[0]]
        assert isinstance(fact, SeenNew)
        self._facts[places[0]] = SeenMoved(row.nid, row.version, fact.parent, fact.name, fact.stat, fact.content, b"")
        return True

    def end(self, fault: Fault | None = None) -> None:
        """Send the last part. With a fault, nothing may be derived from what was still waiting."""
        if fault is not None:
            self._facts = []
        self._flush(fault, is_last=True)

    def _flush(self, fault: Fault | None = None, *, is_last: bool = False) -> None:
        facts, self._facts = tuple(self._facts), []
        self._hashed_bytes = 0
        self._begun_s = self._clock.monotonic_s()
        seen, self._files_seen = self._files_seen, 0
        self._send(Scanned(self._task, facts, is_last, seen, self._is_full, fault, self._scan_begun_s))


def _is_same_content(fact: LocalFact, row: LocalRow) -> bool:
    return (
        isinstance(fact, SeenNew)
        and fact.stat.kind is Kind.FILE
        and fact.stat.size == row.stat.size > 0
        and fact.content == row.content
    )
