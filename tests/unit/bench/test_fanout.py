"""The model of the fan-out: the same for a seed, and never more told than there are gateways or devices."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from bench.fanout import Sizes, hot_outcome, outcome_of, rows_of, storm

SMALL = Sizes(gateways=50, partitions=8, sample=600, hot_followers=2_000)


def test_a_seed_repeats_its_table() -> None:
    assert rows_of(SMALL, seed=1) == rows_of(SMALL, seed=1)
    assert rows_of(SMALL, seed=1) != rows_of(SMALL, seed=2)


def test_a_gateway_is_told_at_most_once_for_all_its_devices() -> None:
    lookups, told, devices = asyncio.run(hot_outcome(SMALL, seed=1))
    assert lookups == 2_000
    assert told == SMALL.gateways < devices
    each = asyncio.run(outcome_of(SMALL, seed=1))
    assert each.told <= each.connected <= each.followers * SMALL.devices_of_account
    assert each.lookups == each.followers


def test_nobody_is_told_when_nobody_is_connected() -> None:
    assert asyncio.run(outcome_of(replace(SMALL, connected_share=1e-9), seed=1)).told == 0


def test_a_lost_gateways_streams_are_spread_over_the_others_and_the_time() -> None:
    held, each = storm(SMALL)
    assert held == SMALL.connected / SMALL.gateways
    assert round(each * SMALL.jitter_s * (SMALL.gateways - 1)) == round(held)
