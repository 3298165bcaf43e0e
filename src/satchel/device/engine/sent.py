"""Which operations this index sent: only their entries may settle what stands on this disk.

Invariant: an operation is known here before it leaves, and none is known that this very index did not send. A device
that was restored from an image, or copied to another machine, meets entries of its own link that say nothing of the
disk it has now: taken for its own, they would read as deletions. Forgetting costs a comparison, never a byte.
"""

from __future__ import annotations

from collections.abc import Callable

from satchel.core.ids import OpId
from satchel.device.index.store import Index

RUNS_KEPT = 16
RUN_BYTES = 4
DRAWN_BYTES = 256
_COUNT_BYTES = 4
_KEY = "sent"
_AT = 7
"""An op id: flags (1 byte), moment in ms (6), run (4), count in the run (4), random (1)."""


class Sent:
    """Names operations and knows its own again. A run is one start of the engine, named by random bytes."""

    def __init__(self, index: Index, random: Callable[[int], bytes]) -> None:
        self._index = index
        self._random = random
        self._run = random(RUN_BYTES)
        self._count = self._saved = 0
        self._drawn = b""
        self._open: set[OpId] = set()
        stored = index.get(_KEY)
        self._earlier = _unpack(stored) if isinstance(stored, bytes) else {}

    @property
    def run_name(self) -> int:
        """The random name of this start as a number."""
        return int.from_bytes(self._run, "big")

    def new_id(self, flags: int, moment_ms: int) -> OpId:
        """Return an id that is nobody else's; ids of one moment are neighbours, which the service's tables like."""
        self._count += 1
        end = self._count % DRAWN_BYTES
        if end == 0 or not self._drawn:
            self._drawn = self._random(DRAWN_BYTES)
        begin = bytes([flags]) + (moment_ms & 0xFFFF_FFFF_FFFF).to_bytes(6, "big") + self._run
        made = OpId(begin + self._count.to_bytes(_COUNT_BYTES, "big") + self._drawn[end : end + 1])
        self._open.add(made)
        return made

    def remember(self) -> None:
        """Write down how far the count is. Comes in the transaction after which the operations leave."""
        if self._count == self._saved:
            return
        self._saved = self._count
        runs = {**self._earlier, self._run: self._count}
        self._index.put(_KEY, _pack(runs))

    def is_own(self, op_id: OpId) -> bool:
        """Return whether this index sent the operation. In the run itself each id is known one by one."""
        run, count = _parts(op_id)
        if run == self._run:
            return op_id in self._open
        return 0 < count <= self._earlier.get(run, 0)

    def was_lost(self, op_id: OpId) -> bool:
        """Return whether an earlier start sent the operation after all that this index knows of that start.

        So the index is from the middle of it: a power cut took back what came after, or somebody put it back.
        """
        run, count = _parts(op_id)
        return run != self._run and run in self._earlier and count > self._earlier[run]

    def forget(self, op_id: OpId) -> None:
        """Its entry was folded."""
        self._open.discard(op_id)


def _parts(op_id: OpId) -> tuple[bytes, int]:
    run_end = _AT + RUN_BYTES
    return op_id[_AT:run_end], int.from_bytes(op_id[run_end : run_end + _COUNT_BYTES], "big")


def _pack(runs: dict[bytes, int]) -> bytes:
    newest = list(runs.items())[-RUNS_KEPT:]
    return b"".join(run + count.to_bytes(_COUNT_BYTES, "big") for run, count in newest)


def _unpack(stored: bytes) -> dict[bytes, int]:
    step = RUN_BYTES + _COUNT_BYTES
    return {
        stored[at : at + RUN_BYTES]: int.from_bytes(stored[at + RUN_BYTES : at + step], "big")
        for at in range(0, len(stored), step)
    }
