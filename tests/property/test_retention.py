"""Which versions may go: whatever was saved when, and however often upkeep looks."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.core.retention import (
    DAY_MS,
    FOUR_WEEKS_MS,
    LEAP_MS,
    STRIDE_MS,
    WEEK_MS,
    Stamp,
    SteadyTime,
    VersionPolicy,
    choose_removable,
    steady_time,
)

HOUR_MS = DAY_MS // 24
START_MS = 1_795_000_000_000

gaps = st.one_of(
    st.integers(0, 3 * HOUR_MS),
    st.integers(0, 3 * DAY_MS),
    st.integers(0, 60 * DAY_MS),
    st.sampled_from([0, 1, DAY_MS]),
)
histories = st.lists(gaps, min_size=1, max_size=80).map(
    lambda found: [Stamp(3 * at + 1, START_MS + ms) for at, ms in enumerate(itertools.accumulate(found))]
)
policies = st.builds(
    VersionPolicy,
    keep_all_days=st.sampled_from([0, 1, 7, 30, 200, 1_000]),
    newest_min=st.sampled_from([1, 2, 5, 10]),
)


def kept(versions: list[Stamp], policy: VersionPolicy, now_ms: int) -> list[Stamp]:
    gone = set(choose_removable(versions, policy, now_ms=now_ms))
    return [version for version in versions if version.rev not in gone]


def tidied(versions: list[Stamp], policy: VersionPolicy, looks: list[int]) -> list[Stamp]:
    """Save the versions as time goes by, and tidy at each of the moments."""
    there: list[Stamp] = []
    waiting = list(versions)
    for now_ms in looks:
        there += [version for version in waiting if version.created_ms <= now_ms]
        waiting = [version for version in waiting if version.created_ms > now_ms]
        there = kept(there, policy, now_ms)
    return there + waiting


looks_later = st.lists(st.integers(0, 900 * DAY_MS), min_size=1, max_size=12).map(
    lambda found: sorted(START_MS + ms for ms in found)
)


@given(histories, policies, looks_later)
def test_the_newest_and_all_that_are_young_stay(versions: list[Stamp], policy: VersionPolicy, looks: list[int]) -> None:
    there = tidied(versions, policy, looks)
    for version in versions[-policy.newest_min :]:
        assert version in there
    young_ms = looks[-1] - policy.keep_all_days * DAY_MS
    assert {version for version in versions if version.created_ms > young_ms} <= set(there)


@given(histories, policies, looks_later)
def test_for_each_that_went_a_later_one_of_its_day_week_or_four_weeks_stays(
    versions: list[Stamp], policy: VersionPolicy, looks: list[int]
) -> None:
    there = tidied(versions, policy, looks)
    for gone in set(versions).difference(there):
        age_ms = looks[-1] - gone.created_ms
        span_ms = (
            DAY_MS
            if age_ms < policy.daily_days * DAY_MS
            else WEEK_MS
            if age_ms < policy.weekly_days * DAY_MS
            else FOUR_WEEKS_MS
        )
        assert any(one > gone and gone.created_ms <= one.created_ms < gone.created_ms + span_ms for one in there), gone


@given(histories, policies, looks_later)
def test_tidying_often_keeps_what_tidying_once_keeps_and_perhaps_more(
    versions: list[Stamp], policy: VersionPolicy, looks: list[int]
) -> None:
    looks = [max(look, versions[0].created_ms) for look in looks]
    last_ms = max(looks[-1], versions[-1].created_ms)
    often, once = tidied(versions, policy, [*looks, last_ms]), tidied(versions, policy, [last_ms])
    assert set(once) <= set(often)
    if policy.newest_min == 1:
        assert often == once


@given(histories, policies, st.integers(0, 900), st.randoms(use_true_random=False))
def test_it_is_idempotent_and_asks_for_no_order(
    versions: list[Stamp], policy: VersionPolicy, days: int, chance: random.Random
) -> None:
    now_ms = START_MS + days * DAY_MS
    there = kept(versions, policy, now_ms)
    assert choose_removable(there, policy, now_ms=now_ms) == []
    mixed = list(versions)
    chance.shuffle(mixed)
    assert choose_removable(mixed, policy, now_ms=now_ms) == choose_removable(versions, policy, now_ms=now_ms)


@given(histories, policies, st.integers(0, 900), st.integers(0, 80), st.integers(1, 80))
def test_a_part_of_the_versions_lets_none_go_that_all_would_keep(
    versions: list[Stamp], policy: VersionPolicy, days: int, first: int, length: int
) -> None:
    now_ms = START_MS + days * DAY_MS
    of_all = choose_removable(versions, policy, now_ms=now_ms)
    part = versions[first : first + length]
    of_part = choose_removable(part, policy, now_ms=now_ms)
    assert set(of_part) <= set(of_all)
    considered = {version.rev for version in part[: -policy.newest_min]}
    assert set(of_part) == set(of_all) & considered


def test_a_year_of_hourly_saves_comes_down_to_days_weeks_and_four_weeks() -> None:
    versions = [Stamp(at, START_MS + at * HOUR_MS) for at in range(2 * 365 * 24)]
    now_ms = versions[-1].created_ms
    there = kept(versions, VersionPolicy(), now_ms)
    ages = [(now_ms - version.created_ms) / DAY_MS for version in there]
    young, daily = sum(age < 30 for age in ages), sum(30 <= age < 90 for age in ages)
    weekly, rest = sum(90 <= age < 365 for age in ages), sum(age >= 365 for age in ages)
    assert (young, daily) == (30 * 24, 60)
    assert 39 <= weekly <= 41 and 13 <= rest <= 14


# -- the time that ages are judged by ---------------------------------------------------------------------------------


@given(st.lists(st.integers(0, LEAP_MS), max_size=30))
def test_a_clock_that_is_asked_every_week_is_believed(steps: list[int]) -> None:
    steady, clock_ms = None, START_MS
    for step in steps:
        clock_ms += step
        steady = steady_time(clock_ms, steady)
        assert steady == SteadyTime(clock_ms, clock_ms)


@given(st.lists(st.sampled_from([0, 5_000, DAY_MS, 40 * DAY_MS, 3_650 * DAY_MS, -DAY_MS, -90 * DAY_MS]), max_size=40))
def test_no_look_makes_anything_older_than_a_week_and_none_is_ahead_of_the_clock(steps: list[int]) -> None:
    clock_ms, steady = START_MS, steady_time(START_MS, None)
    for step in steps:
        clock_ms += step
        before, steady = steady, steady_time(clock_ms, steady)
        assert steady.now_ms <= clock_ms
        assert steady.now_ms - before.now_ms <= LEAP_MS


def test_after_a_leap_of_ten_years_a_month_of_days_is_little_more_than_a_month() -> None:
    steady = steady_time(START_MS, None)
    clock_ms = START_MS + 3_650 * DAY_MS
    for _ in range(30):
        steady = steady_time(clock_ms, steady)
        clock_ms += DAY_MS
    assert steady.now_ms - START_MS <= STRIDE_MS + 29 * DAY_MS * 5 // 4


def test_a_service_that_was_off_for_two_months_catches_up_within_the_year() -> None:
    steady = steady_time(START_MS, None)
    clock_ms = START_MS + 60 * DAY_MS
    days = 0
    while steady.now_ms < clock_ms:
        steady = steady_time(clock_ms, steady)
        clock_ms += DAY_MS if steady.now_ms < clock_ms else 0
        days += 1
    assert 60 < days < 250


@pytest.mark.parametrize("newest_min", [0, -1])
def test_a_policy_that_would_take_the_newest_is_refused(newest_min: int) -> None:
    with pytest.raises(AssertionError):
        VersionPolicy(newest_min=newest_min)
