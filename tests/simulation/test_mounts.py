"""The smallest tier of the simulation with shared folders: two people, each with devices of their own."""

from __future__ import annotations

import pytest

from satchel.simulation.broken import Broken
from satchel.simulation.run import run, run_seed
from satchel.simulation.script import Act, Backup, Hints, Mishap, Over, Restore, Script, Sharing, Wait, script

SEEDS_PER_TEST = 6
OPERATIONS = 25


@pytest.mark.parametrize("first", range(1, 19, SEEDS_PER_TEST))
def test_who_shares_folders_comes_to_rest_equal_and_nothing_is_lost(first: int) -> None:
    for seed in range(first, first + SEEDS_PER_TEST):
        try:
            assert run_seed(seed, operations=OPERATIONS, has_mounts=True).operations >= OPERATIONS
        except Broken as broken:
            raise AssertionError(f"repeat: satchel sim replay {seed} --operations {OPERATIONS} --mounts") from broken


def test_a_seed_with_shared_folders_is_that_seed_with_more_steps() -> None:
    plain, mounted = script(12, operations=40), script(12, operations=40, has_mounts=True)

    both = (Act, Mishap)
    assert [s for s in plain.steps if isinstance(s, both)] == [s for s in mounted.steps if isinstance(s, both)]
    assert not any(isinstance(step, Sharing | Over) for step in plain.steps)
    assert not plain.has_mounts and mounted.has_mounts


def test_a_seed_with_shared_folders_is_the_same_run_again() -> None:
    case = script(5, operations=OPERATIONS, has_mounts=True)

    assert run(case).trace == run(case).trace


def test_what_a_person_deleted_does_not_come_back_from_a_service_that_never_had_it() -> None:
    """A shared folder that somebody deletes comes back from the service; from one that is put back, as it was then."""
    steps = (
        Over(-1, 0.0, "make", 0.0, 0.0, b"team"),
        Hints(32767),
        Wait(20.0),
        Act(7, 0.45, "edit", 0.75, 0.65, b"b", 12),
        Sharing("share", 0.33, 0.23),
        Backup("service", 0.75),
        Wait(40.0),
        Over(30, 0.59, "delete", 0.42, 0.25, b"a"),
        Restore("service", 0.75, is_told=True),
    )

    fired = run(Script(1, 2, 1, 0.0, frozenset(), steps, has_mounts=True)).fired

    assert fired["over_delete"] and fired["service_restored"]
