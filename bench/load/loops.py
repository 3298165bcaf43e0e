"""Closed and open load. Invariant of the open one: when each request is due is fixed before the first is sent, and its
time counts from then, so an answer that is late makes those behind it late too, as it does for people (no coordinated
omission).

The closed loop finds what the service can do at most; the open one then offers a share of that.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.load.http_line import Cut, Line, Reply

Make = Callable[[int], bytes]
ANSWER_TIMEOUT_S = 120.0
OVERLOADED = (429, 503)


@dataclass(slots=True)
class Sample:
    """What came of one run. times_s: of admitted requests, from when each was due; statuses: of all."""

    offered_per_s: float
    took_s: float = 0.0
    times_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    without_retry_after: int = 0

    @property
    def done_per_s(self) -> float:
        """Return admitted requests a second."""
        return len(self.times_s) / self.took_s if self.took_s else 0.0

    @property
    def refused(self) -> int:
        """Return how many were answered with 429 or 503."""
        return sum(self.statuses[status] for status in OVERLOADED)

    @property
    def failed(self) -> int:
        """Return how many had no answer or a wrong one. 0 stands for a connection that was cut."""
        return sum(self.statuses.values()) - len(self.times_s) - self.refused

    def percentile_ms(self, percent: float) -> float:
        """Return the time that so many per cent of the admitted did not pass, in ms."""
        return percentile(self.times_s, percent) * 1_000

    def note(self, reply: Reply, due_s: float, now_s: float) -> None:
        """Count one answer."""
        self.statuses[reply.status] += 1
        if 200 <= reply.status < 300:
            self.times_s.append(now_s - due_s)
        elif reply.status in OVERLOADED and not reply.retry_after:
            self.without_retry_after += 1


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def schedule(rate: float, count: int, *, seed: int) -> list[float]:
    """Return when each request is due, in seconds from the start: as if each came from someone else (Poisson)."""
    chance, at = random.Random(seed), 0.0
    due = []
    for _ in range(count):
        at += chance.expovariate(rate)
        due.append(at)
    return due


async def closed_loop(lines: Sequence[Line], requests: Sequence[bytes]) -> Sample:
    """Ask as fast as the answers come, on all lines, until the requests are used up."""
    sample, loop = Sample(0.0), asyncio.get_running_loop()
    left = iter(requests)

    async def keep_asking(line: Line) -> None:
        for raw in left:
            due_s = loop.time()
            await _ask(line, raw, sample, due_s)

    began_s = loop.time()
    async with asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(keep_asking(line))
    sample.took_s = loop.time() - began_s
    return sample


async def open_loop(lines: Sequence[Line], requests: Sequence[bytes], rate: float, *, seed: int) -> Sample:
    """Send each request when it is due, or as soon as a line is free after that; times count from when it was due."""
    sample, loop = Sample(rate), asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue(len(requests) + len(lines))

    async def serve(line: Line) -> None:
        while (item := await waiting.get()) is not None:
            due_s, raw = item
            await _ask(line, raw, sample, due_s)

    due = schedule(rate, len(requests), seed=seed)
    began_s = loop.time() + 0.05
    async with asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(serve(line))
        for at_s, raw in zip(due, requests, strict=True):
            early_s = began_s + at_s - loop.time()
            if early_s > 0:
                await asyncio.sleep(early_s)
            waiting.put_nowait((began_s + at_s, raw))
        for _ in lines:
            waiting.put_nowait(None)
    sample.took_s = loop.time() - began_s
    return sample


async def _ask(line: Line, raw: bytes, sample: Sample, due_s: float) -> None:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reply = await line.ask(raw)
    except (Cut, TimeoutError):
        sample.statuses[0] += 1
        return
    sample.note(reply, due_s, asyncio.get_running_loop().time())
