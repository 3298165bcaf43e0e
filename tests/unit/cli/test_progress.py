"""What a wait for sync shows and sums up."""

import pytest

from satchel.cli.output import duration_text
from satchel.cli.progress import RATE_OVER_S, Round
from satchel.device.status import LinkStatus, State, Transfer

MIB = 1024 * 1024


def link(
    state: State = "syncing", *, local: str = "/home/a", up: tuple[int, int] = (0, 0), down: tuple[int, int] = (0, 0),
    counts: tuple[int, int] = (0, 0), moving: tuple[Transfer, ...] = (),
) -> LinkStatus:  # fmt: skip
    """Make a status. up, down: bytes (done, to do); counts: nodes to go up and down."""
    return LinkStatus(
        local, "/", state, local, counts[0], counts[1], up[1], up[0], down[1], down[0], transfers=moving
    )  # fmt: skip


def test_bytes_of_before_the_wait_are_in_no_count() -> None:
    waiting = Round([link(up=(100 * MIB, 0))], "", 0.0)
    seen = waiting.glimpse([link(up=(130 * MIB, 90 * MIB), counts=(3, 0))], 1.0)
    assert (seen.what, seen.part, seen.told) == ("Syncing", 0.25, "30 MiB of 120 MiB  30 MiB/s  3 to go")
    assert waiting.summary([link("in_sync", up=(220 * MIB, 0))], 12.0) == "120 MiB up in 12 s"


def test_a_file_on_its_way_counts_as_far_as_it_is_and_is_named() -> None:
    moving = (Transfer("big.mkv", "up", 30 * MIB, 40 * MIB),)
    seen = Round([], "", 0.0).glimpse([link(up=(0, 40 * MIB), counts=(1, 0), moving=moving)], 1.0)
    assert (seen.part, seen.told) == (0.75, "30 MiB of 40 MiB  30 MiB/s  1 to go  big.mkv")


def test_what_a_file_on_its_way_had_done_before_the_wait_is_not_of_it() -> None:
    before = link(up=(0, 40 * MIB), counts=(1, 0), moving=(Transfer("big.mkv", "up", 30 * MIB, 40 * MIB),))
    assert Round([before], "", 0.0).summary([link("in_sync", up=(40 * MIB, 0))], 0.5) == "10 MiB up in 0.5 s"


def test_both_directions_are_summed_and_told_apart_at_the_end() -> None:
    waiting = Round([], "", 0.0)
    seen = waiting.glimpse([link(up=(MIB, MIB), down=(MIB, MIB), counts=(1, 1))], 1.0)
    assert (seen.part, seen.told) == (0.5, "2.0 MiB of 4.0 MiB  2.0 MiB/s  2 to go")
    assert (
        waiting.summary([link("in_sync", up=(2 * MIB, 0), down=(2 * MIB, 0))], 3.0)
        == "2.0 MiB up, 2.0 MiB down in 3.0 s"
    )


def test_the_rate_is_that_of_the_last_seconds() -> None:
    waiting = Round([], "", 0.0)
    told = ""
    for second in range(20):
        # Fast at first, a MiB a second then.
        told = waiting.glimpse([link(up=((1000 if second > 3 else 0) * MIB + second * MIB, MIB))], float(second)).told
    assert RATE_OVER_S < 15
    assert "1.0 MiB/s" in told


def test_while_nothing_is_known_to_do_it_looks() -> None:
    seen = Round([], "", 0.0).glimpse([link()], 1.0)
    assert (seen.what, seen.part, seen.told) == ("Looking", None, "")


def test_another_link_is_not_shown() -> None:
    others = [link(local="/home/b", up=(5 * MIB, 5 * MIB), counts=(7, 0)), link("in_sync")]
    assert Round([], "/home/a", 0.0).glimpse(others, 1.0).told == ""


def test_a_link_that_is_offline_says_so() -> None:
    assert Round([], "", 0.0).glimpse([link("offline", counts=(2, 0))], 1.0).what == "Offline"


def test_a_daemon_that_began_anew_gives_no_count_below_zero() -> None:
    waiting = Round([link(up=(100 * MIB, 0))], "", 0.0)
    assert waiting.glimpse([link(up=(MIB, MIB))], 1.0).part == 0.0
    assert waiting.summary([link("in_sync", up=(2 * MIB, 0))], 2.0) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3_599.7, "1 h 0 min"),
        (7_500, "2 h 5 min"),
    ],
)
def test_a_duration_is_told_for_people(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
