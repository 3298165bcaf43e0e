"""Each crash scenario holds when nothing stops it; what stops it is the matter of `make crashpoints`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.catalogue import SCENARIOS
from tests.crash.scenario import DONE, Scenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_an_undisturbed_run_ends_as_it_should(scenario: Scenario, tmp_path: Path) -> None:
    told: list[str] = []
    scenario.begin(tmp_path)(told.append)
    assert DONE in told
    assert scenario.check(tmp_path, told) == []


def test_scenarios_have_names_of_their_own() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert sorted(names) == sorted(set(names))
