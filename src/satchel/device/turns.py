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
    """`urgent` is for the engine's step; the scanner takes `patient` anew for each file."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._calm = threading.Event()
        self._calm.set()
        self._waiting = 0
        self.patient = Patient(self._turn, self._calm)

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Hold the turn, before every patient one that does not hold it yet."""
        with self._count:
            self._waiting += 1
            self._calm.clear()
        self._turn.acquire()
        with self._count:
            self._waiting -= 1
            if not self._waiting:
                self._calm.set()
        try:
            yield
        finally:
            self._turn.release()


class Patient:
    """A context in which the turn is held; it waits until nobody urgent wants it. For one thread at a time or many."""

    def __init__(self, turn: threading.Lock, calm: threading.Event) -> None:
        self._turn = turn
        self._calm = calm

    def __enter__(self) -> None:
        while not self._calm.is_set():
            self._calm.wait(CALM_WAIT_S)
        self._turn.acquire()

    def __exit__(self, *_: object) -> None:
        self._turn.release()
