"""Which versions of a file may go, and what time it is for that. Invariant: a version goes only when a later one of
the same day, week or four weeks stands for it, and time that leapt counts for little.

Days lie within weeks and weeks within four weeks, all counted from one moment. So whether a version goes depends on its
age and its neighbours alone: tidying daily, or once after a year, ends alike. Source: docs/operate/upkeep.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

KEEP_ALL_DAYS = 30
TRASH_DAYS = 30
DAILY_DAYS = 90
WEEKLY_DAYS = 365
NEWEST_MIN = 10

DAY_MS = 24 * 60 * 60 * 1_000
WEEK_MS = 7 * DAY_MS
FOUR_WEEKS_MS = 4 * WEEK_MS

LEAP_MS = 7 * DAY_MS
STRIDE_MS = 2 * DAY_MS


class Stamp(NamedTuple):
    """A version by its rev, and when it was made in Unix ms."""

    rev: int
    created_ms: int


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """What is kept of a file's versions: all that are younger than keep_all_days, then the last of each day up to
    daily_days, of each week up to weekly_days, of each four weeks for ever; and always the newest_min newest ones."""

    keep_all_days: int = KEEP_ALL_DAYS
    daily_days: int = DAILY_DAYS
    weekly_days: int = WEEKLY_DAYS
    newest_min: int = NEWEST_MIN

    def __post_init__(self) -> None:
        assert self.newest_min >= 1 and self.keep_all_days >= 0

    def span_ms(self, age_ms: int) -> int | None:
        """Return the length of the spans of time of which one version is enough at this age; None where none is."""
        if age_ms < self.keep_all_days * DAY_MS:
            return None
        if age_ms < self.daily_days * DAY_MS:
            return DAY_MS
        return WEEK_MS if age_ms < self.weekly_days * DAY_MS else FOUR_WEEKS_MS


def choose_removable(versions: Iterable[Stamp], policy: VersionPolicy, *, now_ms: int) -> list[int]:
    """Return the revs of a file's versions that may go, the oldest first. The newest one is never among them.

    versions: in any order. Also right for a part of a file's versions that ends with its newest, and cautious for one
    that ends before: its last `newest_min` are then taken for the newest.
    """
    ordered = sorted(versions)
    removable = []
    for version, later in itertools.islice(itertools.pairwise(ordered), max(0, len(ordered) - policy.newest_min)):
        span_ms = policy.span_ms(now_ms - version.created_ms)
        if span_ms is not None and version.created_ms // span_ms == later.created_ms // span_ms:
            removable.append(version.rev)
    return removable


class SteadyTime(NamedTuple):
    """now_ms: the time that ages are judged by, Unix ms; seen_ms: what the clock said when that was found."""

    now_ms: int
    seen_ms: int


def steady_time(clock_ms: int, before: SteadyTime | None) -> SteadyTime:
    """Return the time to judge ages by, given what it was before (None: never asked).

    It is the clock's, unless that is more than LEAP_MS ahead: the clock leapt, or nobody asked for long. Then it goes
    on by a quarter more than the clock did since, by STRIDE_MS at most, until it has caught up.
    """
    if before is None or clock_ms - before.now_ms <= LEAP_MS:
        return SteadyTime(clock_ms, clock_ms)
    passed_ms = max(0, clock_ms - before.seen_ms)
    return SteadyTime(before.now_ms + min(passed_ms + passed_ms // 4, STRIDE_MS), clock_ms)
