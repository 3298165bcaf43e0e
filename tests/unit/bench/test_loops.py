"""The load generator leaves nothing out: who had to wait behind a slow answer is as late as that makes it."""

from __future__ import annotations

import asyncio

from bench.load.http_line import Cut, Line, Reply, request
from bench.load.loops import Sample, closed_loop, open_loop, percentile, schedule
from bench.load.report import Figure, Report, line_of

BUSY_S = 0.02


class SlowLine(Line):
    """A line whose other end takes a while for each answer. statuses: what it answers, in turn."""

    def __init__(self, *statuses: int) -> None:
        super().__init__()
        self._statuses = list(statuses)

    async def ask(self, raw: bytes, *, with_body: bool = False) -> Reply:
        await asyncio.sleep(BUSY_S)
        status = self._statuses.pop(0) if self._statuses else 200
        if status == 0:
            raise Cut
        return Reply(status, 0, b"", "1" if raw == b"told" else "")


def test_a_schedule_is_fixed_by_its_seed_and_keeps_its_rate() -> None:
    due = schedule(1_000, 20_000, seed=1)
    assert due == schedule(1_000, 20_000, seed=1) != schedule(1_000, 20_000, seed=2)
    assert due == sorted(due)
    assert 19 < due[-1] < 21


def test_who_waits_behind_a_slow_answer_is_counted_from_when_it_was_due() -> None:
    sample = asyncio.run(open_loop([SlowLine()], [b""] * 10, 100_000, seed=1))
    # All ten were due at once, and each was answered after those before it.
    assert [round(each // BUSY_S) >= number for number, each in enumerate(sorted(sample.times_s), 1)] == [True] * 10


def test_a_closed_loop_asks_again_after_each_answer_and_so_hides_that() -> None:
    sample = asyncio.run(closed_loop([SlowLine()], [b""] * 10))
    assert len(sample.times_s) == 10
    assert sample.took_s > 10 * BUSY_S > max(sample.times_s) / 10


def test_refused_and_failed_requests_are_counted_apart_from_those_that_were_admitted() -> None:
    lines = [SlowLine(429, 503, 500, 0)]
    sample = asyncio.run(open_loop(lines, [b"told", b"", b"", b"", b""], 1_000, seed=1))
    assert (len(sample.times_s), sample.refused, sample.failed) == (1, 2, 2)
    assert sample.without_retry_after == 1


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert [percentile(list(range(100)), at) for at in (0, 50, 99, 100)] == [0, 50, 99, 99]
    assert percentile([], 99) == 0
    assert Sample(1.0, times_s=[0.002]).percentile_ms(99.9) == 2


def test_a_figure_is_shown_beside_its_limit() -> None:
    figure = Figure("full", "commits", 50, "commits/s", limit=200, limit_of="INSERTs/s", target=">= 300/s", cpu_us=10)
    assert figure.ratio == 0.25
    assert "25%" in line_of(figure) and "200 INSERTs/s; target >= 300/s" in line_of(figure)
    costs = Report({}, [figure])._costs()
    assert costs["full.commits.cpu_us"] == (10, "µs of CPU a commit")


def test_a_request_says_how_long_it_is() -> None:
    raw = request("POST", "/x", token="t", body=b"abc")
    assert raw.endswith(b"\r\n\r\nabc")
    assert b"content-length: 3\r\n" in raw and b"authorization: Bearer t\r\n" in raw
