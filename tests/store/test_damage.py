"""Each kind of damage in every test run; `make damage` runs a thousand trials."""

from __future__ import annotations

import pytest

from tests.store.damage import run_trial
from tests.store.damages import DAMAGES


@pytest.mark.parametrize("number", range(len(DAMAGES)), ids=[damage.name for damage in DAMAGES])
def test_damage_is_told_never_served_and_heals(number: int) -> None:
    outcome = run_trial(4 * len(DAMAGES) + number)

    assert not outcome.failed, f"repeat: make damage SEED={outcome.seed}"
    assert outcome.right > 0
