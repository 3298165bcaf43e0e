"""The shortest run of the races in every test run; `make races` runs a hundred thousand."""

from __future__ import annotations

from pathlib import Path

from tests.races.race import ALL_WAYS, Track


def test_no_edit_of_another_program_is_lost_while_its_file_is_replaced(tmp_path: Path) -> None:
    with Track(tmp_path, seed=1) as track:
        for _ in range(400):
            track.race()
    assert {way for way, _ in track.counts} == set(ALL_WAYS)
    assert {told for _, told in track.counts} >= {"replaced", "the file is not as it was planned on"}
