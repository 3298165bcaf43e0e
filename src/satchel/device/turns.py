"""Turns of the threads that keep the interpreter busy. Invariant: whoever holds one waits for nothing but the disk's
next answer, and an urgent one waits for one short piece of work at most.

Two such threads at once hand the interpreter over at every call of the kernel, which costs several times the call: a
first scan beside the engine took twice the processor time of one after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

CALM_WAIT_S = 0.05
"""A patient one looks again after so long, whatever it was told."""


class Turns:
    """`urgent()` is for the engine's step; the scanner takes `patient()` anew for each file."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._calm = threading.Event()
        self._calm.set()
        self._urgent = 0

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Hold the turn, before every patient one that does not hold it yet."""
        with self._count:
            self._urgent += 1
            self._calm.clear()
        self._turn.acquire()
        with self._count:
            self._urgent -= 1
            if not self._urgent:
                self._calm.set()
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Hold the turn when nobody urgent wants it."""
        while not self._calm.is_set():
            self._calm.wait(CALM_WAIT_S)
        with self._turn:
            yield
