"""The measures, one function each, against a service that runs. Invariant: what one of them offers is a share of what
the same service was found to do just before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.load import held, work
from bench.load.http_line import Line, request
from bench.load.loops import Sample, closed_loop, open_loop, percentile
from bench.load.processes import cpu_s, descriptors, resident_kib, tree_cpu_s
from bench.load.report import Figure, Report, times_of
from bench.load.work import Place

SHARE = 0.7
OVERLOAD = 1.5
FINDING_S = 0.5
SEED = 4711
NEWS_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Target:
    """A service under load. url: where it answers; pid: its process; stores: none, or those of the
    database and of the object store; report: where figures go; seconds: how long each open load lasts."""

    stack: str
    url: str
    pid: int
    stores: tuple[int, ...]
    report: Report
    seconds: float

    def cpu_s(self) -> tuple[float, float, float]:
        """Return the CPU seconds of the service, of its database and of its object store so far."""
        database, objects = (tree_cpu_s(pid) for pid in self.stores) if self.stores else (0.0, 0.0)
        return cpu_s(self.pid), database, objects


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request. per_request: how many of `unit`'s things one holds; lines: connections that ask at most."""

    name: str
    unit: str
    per_request: float
    make: Callable[[int], list[bytes]]
    lines: int
    limit: float = 0.0
    limit_of: str = ""
    target: str = ""
    requests_max: int = 200_000


async def at_share_of_capacity(target: Target, kind: Kind, *, share: float = SHARE) -> float:
    """Find what the service does at most, then offer 70 % of it for some seconds; return the most, in requests/s."""
    lines = [await Line.open(target.url) for _ in range(kind.lines)]
    try:
        most = await _capacity(kind, lines, target.seconds * FINDING_S)
        rate = most * share
        count = max(20, min(kind.requests_max, int(rate * target.seconds)))
        requests = kind.make(count)
        before = target.cpu_s()
        sample = await open_loop(lines, requests, rate, seed=SEED)
        after = target.cpu_s()
    finally:
        for line in lines:
            line.close()
    things = max(1.0, len(sample.times_s) * kind.per_request)
    target.report.add(
        Figure(
            target.stack,
            kind.name,
            most * kind.per_request,
            kind.unit,
            offered=rate * kind.per_request,
            limit=kind.limit,
            limit_of=kind.limit_of,
            target=kind.target,
            cpu_us=(after[0] - before[0]) / things * 1e6,
            database_cpu_us=max(0.0, after[1] - before[1]) / things * 1e6,
            object_cpu_us=(after[2] - before[2]) / things * 1e6,
            note=_faults(sample),
            **times_of(sample),
        )
    )
    return most


async def _capacity(kind: Kind, lines: Sequence[Line], seconds: float) -> float:
    """Return requests a second with all lines busy: a first few say how many are worth the time."""
    first = await closed_loop(lines, kind.make(len(lines) * 2))
    wanted = int(max(first.done_per_s, 1) * seconds)
    sample = await closed_loop(lines, kind.make(max(len(lines), min(kind.requests_max, wanted))))
    if sample.failed or not sample.times_s:
        raise RuntimeError(f"{kind.name}: {dict(sample.statuses)}")
    return sample.done_per_s


async def overloaded(target: Target, kind: Kind, most: float, *, lines: int) -> None:
    """Offer half as much again as the service can do; what it admits is to stay quick, the rest is told to wait."""
    opened = [await Line.open(target.url, source=held.source(number)) for number in range(lines)]
    try:
        count = max(20, min(kind.requests_max, int(most * OVERLOAD * target.seconds)))
        sample = await open_loop(opened, kind.make(count), most * OVERLOAD, seed=SEED)
    finally:
        for line in opened:
            line.close()
    figure = Figure(
        target.stack,
        f"overload, {kind.name}",
        sample.done_per_s * kind.per_request,
        kind.unit,
        offered=most * OVERLOAD * kind.per_request,
        target="admitted p99 <= 2x",
        note=f"{sample.refused} of {count} refused, {sample.without_retry_after} without Retry-After{_faults(sample)}",
        **times_of(sample),
    )
    target.report.add(figure)


async def held_streams(target: Target, places: Sequence[Place], count: int, *, idle_s: float, path: str) -> None:
    """Hold so many streams, and tell what one takes of memory and, while nothing happens, of the CPU."""
    before, loop = resident_kib(target.pid), asyncio.get_running_loop()
    used_s, began_s = target.cpu_s()[0], loop.time()
    streams = await held.open_streams(target.url, followers(places, count, b"held"), path=path)
    took_s = loop.time() - began_s
    opening_us = (target.cpu_s()[0] - used_s) / count * 1e6
    await asyncio.sleep(min(2.0, idle_s))
    each = (resident_kib(target.pid) - before) / count
    used_s, began_s = target.cpu_s()[0], loop.time()
    await asyncio.sleep(idle_s)
    idle = (target.cpu_s()[0] - used_s) / (loop.time() - began_s)
    open_files = descriptors(target.pid)
    for stream in streams:
        stream.close()
    note = f"{count:,} held, {open_files:,} descriptors; idle they take {idle:.1%} of a core"
    report, stack = target.report, target.stack
    report.add(Figure(stack, "streams held, memory", each, "KiB each", target="<= 50 KiB, >= 15,000 held", note=note))
    report.add(Figure(stack, "streams opened", count / took_s, "streams/s", cpu_us=opening_us))
    report.add(Figure(stack, "streams held, idle", idle / count * 1e6, "µs CPU/s each"))
    await asyncio.sleep(min(2.0, idle_s))


async def held_longpolls(target: Target, requests: Sequence[bytes], *, settle_s: float) -> None:
    """Hold so many long-polls, and tell what one takes of memory."""
    before = resident_kib(target.pid)
    lines = await held.open_longpolls(target.url, requests, timeout_s=NEWS_TIMEOUT_S)
    await asyncio.sleep(settle_s)
    each = (resident_kib(target.pid) - before) / len(requests)
    note = f"{len(requests):,} held, {descriptors(target.pid):,} descriptors"
    for line in lines:
        line.close()
    target.report.add(Figure(target.stack, "long-polls held, memory", each, "KiB each", target="<= 50 KiB", note=note))
    await asyncio.sleep(min(2.0, settle_s))


async def woken(target: Target, place: Place, count: int, rounds: int, *, wake: Sequence[bytes], path: str) -> None:
    """Have so many streams follow one namespace, change it, and tell when each of them had heard of it.

    wake: one request a round. Times count from when the change was sent; rounds do not overlap.
    """
    streams = await held.open_streams(target.url, followers([place], count, b"woke"), path=path)
    line, loop = await Line.open(target.url), asyncio.get_running_loop()
    times: list[float] = []
    used_s = target.cpu_s()[0]
    try:
        for number in range(rounds):
            sent_s = loop.time()
            await line.ask(wake[number])
            await held.news_of(streams, number + 1, timeout_s=NEWS_TIMEOUT_S)
            times += [stream.heard[number] - sent_s for stream in streams]
    finally:
        line.close()
        for stream in streams:
            stream.close()
    spent_us = (target.cpu_s()[0] - used_s) / max(1, len(times)) * 1e6
    note = f"{count:,} followers of one namespace, {rounds} changes"
    median, most = (percentile(times, percent) * 1_000 for percent in (50, 99))
    target.report.add(
        Figure(
            target.stack,
            "followers woken",
            most,
            "ms at p99",
            p50_ms=median,
            p99_ms=most,
            p999_ms=percentile(times, 99.9) * 1_000,
            target="p99 <= 500 ms",
            cpu_us=spent_us,
            each="follower",
            note=note,
        )
    )


def followers(places: Sequence[Place], count: int, label: bytes) -> list[held.Follower]:
    """Return so many links of the accounts' devices, each with where its namespace stands now."""
    return [
        held.Follower(
            place.session.token,
            label + number.to_bytes(12, "big"),
            place.session.root_ns,
            place.head_seq,
            place.head_tag,
        )
        for number in range(count)
        for place in [places[number % len(places)]]
    ]


def wake_requests(place: Place, rounds: int) -> list[bytes]:
    """Return commits of one small file each."""
    return work.commit_requests([place], rounds, files=1)


def bare_wake_requests(rounds: int) -> list[bytes]:
    """Return what wakes those that wait at the server that does nothing."""
    return [request("POST", "/wake", body=b"{}")] * rounds


def _faults(sample: Sample) -> str:
    return f"; FAILED {sample.failed}: {dict(sample.statuses)}" if sample.failed else ""
