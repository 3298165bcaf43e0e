"""Some interleavings of collection and commits in every test run; `make collisions` runs a million."""

from __future__ import annotations

import pytest

from tests.simulation.catalogue import Bug
from tests.simulation.planting import check
from tests.store.interleaving import Stage
from tests.store.planted import BUGS
from tests.store.stage import quiet


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage()


@pytest.mark.parametrize("first", [1, 2_001])
def test_no_reference_dangles_however_collection_meets_commits(stage: Stage, first: int) -> None:
    removed = asked = 0
    with quiet():
        for seed in range(first, first + 120):
            result = stage.run(seed)
            assert not result.finding, f"repeat: make collisions SEED={seed}\n{result.finding}"
            removed += result.told.removed
            asked += result.told.asked
    assert removed > 0 and asked > 0, "nothing met: the runs show nothing"


def test_a_lease_is_measured_from_the_earliest_that_the_clock_was_at(stage: Stage) -> None:
    """While a block was put the clock went back by 30 hours and forth by 49: the lease began in between."""
    with quiet():
        assert not stage.run(79_311).finding


def test_a_seed_gives_the_same_steps_after_any_other(stage: Stage) -> None:
    with quiet():
        first = stage.run(4711, is_traced=True)
        stage.run(12)
        again = Stage().run(4711, is_traced=True)
        later = stage.run(4711, is_traced=True)

    assert first.played == again.played == later.played


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_every_bug_can_still_be_planted(bug: Bug) -> None:
    check(bug)
