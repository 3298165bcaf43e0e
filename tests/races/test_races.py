"""The shortest run of the races in every test run; `make races` runs a hundred thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.races.race import ALL_WAYS, Track
from tests.races.writer import WAYS


def test_no_edit_of_another_program_is_lost_while_its_file_is_replaced(tmp_path: Path) -> None:
    with Track(tmp_path, seed=1) as track:
        for _ in range(400):
            track.race()
    # The seed alone draws the ways; how each race ends is for the machine to say.
    assert {way for way, _ in track.counts} == set(ALL_WAYS)


@pytest.mark.parametrize("way", ["over", "in-place", "rename", "backup", "create"])
def test_a_save_before_the_replace_is_seen_and_nothing_replaced(tmp_path: Path, way: str) -> None:
    with Track(tmp_path, seed=1) as track:
        assert track.race_in_order(way, is_saved_first=True) == "the file is not as it was planned on"


@pytest.mark.parametrize("way", WAYS)
def test_a_save_after_the_replace_is_an_edit_of_the_new_file(tmp_path: Path, way: str) -> None:
    with Track(tmp_path, seed=1) as track:
        assert track.race_in_order(way, is_saved_first=False) == "replaced"
