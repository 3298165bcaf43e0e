"""The soak's own parts: programs go on with what they left, and a scene of three devices comes to rest."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.soak.programs import PROGRAMS, Unsound, repository
from tests.soak.rounds import one_round
from tests.soak.scene import TEAM, Found, scene
from tests.support.trees import tree_of

SEED = 3


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_goes_on_with_what_it_left(program: str, tmp_path: Path) -> None:
    left = []
    for seed in range(2):
        PROGRAMS[program](tmp_path, random.Random(seed))
        left += tmp_path.iterdir()
    assert left


def test_a_repository_that_is_not_whole_is_told(tmp_path: Path) -> None:
    repository(tmp_path, random.Random(1))
    (tmp_path / "README").write_text("lost")
    with pytest.raises(Unsound, match="README"):
        repository(tmp_path, random.Random(2))


def test_a_round_comes_to_rest_and_what_is_wrong_is_found(tmp_path: Path) -> None:
    with scene(tmp_path) as played:
        assert "s to rest" in one_round(played, 1, SEED)
        place = played.laptop.folder / TEAM / "by hand"
        place.mkdir()
        (place / "one").write_text("left")
        played.rest()
        left = {(TEAM, place.name): tree_of(place, with_times=False)}
        played.require_left(left)
        (played.phone.folder / TEAM / place.name / "extra").write_text("not left")
        with pytest.raises(Found, match="extra"):
            played.require_left(left)
        with pytest.raises(Found, match="stand nowhere"):
            played.require_kept({b"\0" * 32})
