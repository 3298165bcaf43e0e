"""A list scheduler: coroutines run one at a time, the next one drawn from a seeded stream; no asyncio, no threads.

Invariant: the same seed gives the same order. Time is virtual and jumps to the next sleeper when all others wait.
Source: docs/design/040 (Simulation).
"""

from __future__ import annotations

import heapq
import random
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass

from satchel.simulation.fake_disk import DeadGeneration

STEP_S = 0.000_2
"""What a scheduling point takes: nothing is free of time, or a file just written would stay so for ever."""


class Signal:
    """Something that a coroutine waits for; set before anybody waits, it is remembered."""

    def __init__(self) -> None:
        self.is_set = False
        self.waiters: list[tuple[_Job, int]] = []


@dataclass(frozen=True, slots=True)
class _Sleep:
    seconds: float
    signal: Signal | None = None


@types.coroutine
def _yield(what: object) -> Generator[object, None, None]:
    yield what


@types.coroutine
def pause() -> Generator[object, None, None]:
    """A scheduling point: anybody may go next."""
    yield None


@dataclass(slots=True, eq=False)
class _Job:
    coroutine: Coroutine[object, None, None]
    owner: object
    turn: int = 0
    """Counts its wake-ups, so that a wait that already ended is not ended twice."""


def _nothing(owner: object) -> None:
    """Nobody cares."""


class Stuck(Exception):
    """The simulation did not come to rest within its bound."""


class Scheduler:
    """Runs coroutines in an order drawn from `order`. now_s: virtual seconds since the start."""

    def __init__(self, order: random.Random, *, steps_max: int) -> None:
        """steps_max: with more, the world turns in a circle."""
        self._order = order
        self._steps_max = steps_max
        self._ready: list[_Job] = []
        self._asleep: list[tuple[float, int, _Job, int]] = []
        self._count = 0
        self.on_death: Callable[[object], None] = _nothing
        """Called with the owner of a coroutine that ended with its machine."""
        self.now_s = 0.0
        self.steps = 0

    async def sleep_s(self, seconds: float) -> None:
        """Sleep in virtual time."""
        await _yield(_Sleep(max(seconds, 0.0)))

    async def wait(self, signal: Signal, seconds: float) -> None:
        """Return when the signal is set, at the latest after `seconds`; the signal is taken."""
        if not signal.is_set and seconds > 0:
            await _yield(_Sleep(seconds, signal))
        else:
            await _yield(None)
        signal.is_set = False

    def set(self, signal: Signal) -> None:
        """Wake whoever waits for it."""
        signal.is_set = True
        for job, turn in signal.waiters:
            if job.turn == turn:
                job.turn += 1
                self._ready.append(job)
        signal.waiters = []

    def spawn(self, coroutine: Coroutine[object, None, None], owner: object) -> None:
        """Add a coroutine; `owner` lets `abandon` find it."""
        self._ready.append(_Job(coroutine, owner))

    def abandon(self, owner: object) -> None:
        """Forget all coroutines of an owner, as a killed process does: no `finally` of theirs reaches a port."""
        dropped = [job for job in self._ready if job.owner is owner]
        dropped += [job for _, _, job, _ in self._asleep if job.owner is owner]
        self._ready = [job for job in self._ready if job.owner is not owner]
        self._asleep = [each for each in self._asleep if each[2].owner is not owner]
        heapq.heapify(self._asleep)
        for job in dropped:
            job.turn = -1
            job.coroutine.close()

    def run_until(self, is_over: Callable[[], bool], *, limit_s: float) -> bool:
        """Run until the claim holds. Result: False when `limit_s` of virtual time passed first, or nobody is left."""
        end_s = self.now_s + limit_s
        while not is_over():
            if self._ready:
                self._step()
            elif not self._wake(end_s):
                return False
        return True

    def run_to_end(self, coroutine: Coroutine[object, None, object], *, limit_s: float = 60.0) -> None:
        """Run until the coroutine has ended, and others meanwhile."""
        is_over = False

        async def watched() -> None:
            nonlocal is_over
            await coroutine
            is_over = True

        self.spawn(watched(), self)
        if not self.run_until(lambda: is_over, limit_s=limit_s):
            raise Stuck(f"no end within {limit_s} s")

    def run_for(self, seconds: float) -> None:
        """Run for so much virtual time."""
        self.run_until(lambda: False, limit_s=seconds)

    def _wake(self, end_s: float) -> bool:
        if not self._asleep or self._asleep[0][0] > end_s:
            self.now_s = max(self.now_s, end_s)
            return False
        self.now_s = max(self.now_s, self._asleep[0][0])
        while self._asleep and self._asleep[0][0] <= self.now_s:
            _, _, job, turn = heapq.heappop(self._asleep)
            if job.turn == turn:
                job.turn += 1
                self._ready.append(job)
        return True

    def _step(self) -> None:
        self.steps += 1
        self.now_s += STEP_S
        if self.steps > self._steps_max:
            raise Stuck(f"no rest after {self._steps_max} steps")
        ready = self._ready
        if len(ready) > 1:
            at = int(self._order.random() * len(ready))
            ready[at], ready[-1] = ready[-1], ready[at]
        job = ready.pop()
        try:
            asked = job.coroutine.send(None)
        except StopIteration:
            return
        except DeadGeneration:
            # The machine of this coroutine died at the call it made.
            self.on_death(job.owner)
            return
        if isinstance(asked, _Sleep):
            self._count += 1
            heapq.heappush(self._asleep, (self.now_s + asked.seconds, self._count, job, job.turn))
            if asked.signal is not None:
                asked.signal.waiters.append((job, job.turn))
        else:
            self._ready.append(job)
