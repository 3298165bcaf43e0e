"""Contents of short files between the scan that read them and the commit that sends them, so that none is read twice.

Invariant: what is held under a hash has that hash, and all of it is at most `bytes_max`; what is not held any more is
read again. Safe for several threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from satchel.core.ids import BlockHash
from satchel.core.limits import MIB

HELD_BYTES_MAX = 24 * MIB


class ShortFiles:
    """Holds the newest; each is handed out once."""

    def __init__(self, bytes_max: int = HELD_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._held: OrderedDict[BlockHash, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def put(self, name: BlockHash, data: bytes) -> None:
        """Hold the bytes, whose hash is `name`; the oldest give way."""
        with self._lock:
            if name in self._held:
                return
            self._held[name] = data
            self._bytes += len(data)
            while self._bytes > self._bytes_max:
                _, dropped = self._held.popitem(last=False)
                self._bytes -= len(dropped)

    def take(self, name: BlockHash) -> bytes | None:
        """Return the bytes and hold them no more; None when they are not held."""
        with self._lock:
            data = self._held.pop(name, None)
            if data is not None:
                self._bytes -= len(data)
            return data

    def clear(self) -> None:
        """Let go of all: nothing is going to be sent."""
        with self._lock:
            self._held.clear()
            self._bytes = 0
