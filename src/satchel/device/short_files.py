"""Contents of short files between the scan that read them and the commit that sends them, so that none is read twice.

Invariant: what is held under a hash has that hash, and all of it is at most `bytes_max`; what is not held any more is
read again. Safe for several threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

from satchel.core.ids import BlockHash
from satchel.core.limits import MIB

HELD_BYTES_MAX = 24 * MIB

PATIENCE_S = 0.25
"""While nobody takes anything for so long, nothing is waited for: they may not be going to be sent."""


class TakesShort(Protocol):
    """Whoever wants the contents of short files that are read."""

    def put(self, name: BlockHash, data: bytes) -> None:
        """Take the bytes, whose hash is `name`."""
        ...


class ShortFiles:
    """Holds the newest; each is handed out once."""

    def __init__(self, bytes_max: int = HELD_BYTES_MAX, *, patience_s: float = PATIENCE_S) -> None:
        self._bytes_max = bytes_max
        self._patience_s = patience_s
        self._held: OrderedDict[BlockHash, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._waiting = 0
        self._taken = 0
        self._is_wanted = False

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
                self._taken += 1
                self._is_wanted = True
                # Not at each one taken: the waiting thread would wake up for every file.
                if self._waiting and self._bytes + self._waiting <= self._bytes_max * 3 // 4:
                    self._room.notify_all()
            return data

    def wait_for_room(self, coming_bytes: int) -> None:
        """Wait until so much more would make nothing give way, as long as what is held is being taken.

        Where all is in sync already, nothing is ever taken.
        """
        with self._lock:
            while self._is_wanted and self._bytes and self._bytes + coming_bytes > self._bytes_max:
                taken, self._waiting = self._taken, coming_bytes
                self._room.wait(self._patience_s)
                self._waiting = 0
                self._is_wanted = taken != self._taken

    def clear(self) -> None:
        """Let go of all: nothing is going to be sent."""
        with self._lock:
            self._held.clear()
            self._bytes = 0
            self._room.notify_all()
