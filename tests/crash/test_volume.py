"""What a power cut leaves: nothing that was fsynced is missing, and what was not may be."""

from __future__ import annotations

import stat as modes
from pathlib import Path

from tests.crash.ledger import Ledger
from tests.crash.volume import Event, Image, Kept, Made, Named, Synced, Wrote, image_after, written

TOP, OTHER, FILE = 1, 2, 3
FOLDER = Kept(1, modes.S_IFDIR | 0o755, 0, 0, b"", b"", ())
BASE: Image = {TOP: FOLDER, OTHER: FOLDER}
MADE: list[Event] = [
    Made(FILE, FILE, modes.S_IFREG | 0o644, b"", 0),
    Named(((TOP, b"new", FILE),)),
    Wrote(FILE, 0, b"data", 1),
]


def test_strictly_nothing_is_left_of_what_was_not_fsynced() -> None:
    assert image_after(BASE, MADE)[TOP].entries == ()


def test_a_name_that_was_fsynced_may_stand_over_an_empty_file() -> None:
    left = image_after(BASE, [*MADE, Synced(TOP, "")])
    assert left[TOP].entries == ((b"new", FILE),)
    assert left[FILE].data == b""


def test_what_was_fsynced_is_in_every_image() -> None:
    journal = [*MADE, Synced(FILE, ""), Synced(TOP, "")]
    for seed in (None, *range(50)):
        left = image_after(BASE, journal, seed)
        assert (left[TOP].entries, left[FILE].data) == (((b"new", FILE),), b"data")


def test_a_rename_between_folders_is_one_step() -> None:
    journal = [*MADE, Synced(FILE, ""), Synced(TOP, ""), Named(((TOP, b"new", 0), (OTHER, b"new", FILE)))]
    places = {
        (len(image_after(BASE, journal, seed)[TOP].entries), len(image_after(BASE, journal, seed)[OTHER].entries))
        for seed in range(50)
    }
    assert places == {(1, 0), (0, 1)}
    assert image_after(BASE, [*journal, Synced(OTHER, "")])[TOP].entries == ()


def test_random_images_hold_torn_writes() -> None:
    journal = [*MADE, Synced(TOP, ""), Wrote(FILE, 0, b"x" * 2048, 2)]
    found = {image_after(BASE, journal, seed)[FILE].data for seed in range(1, 100, 2)}
    assert any(b"\0" * 512 in data and b"x" * 512 in data for data in found)


def test_a_write_beyond_the_end_leaves_a_hole_and_a_cut_shortens() -> None:
    assert written(b"ab", Wrote(FILE, 4, b"z", 0)) == b"ab\0\0z"
    assert written(b"abcdef", Wrote(FILE, 2, None, 0)) == b"ab"


def test_a_ledger_goes_on_after_a_line_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    ledger.add("a|1", "held", [])
    ledger.add("a|2", "failed", ["lost"])
    ledger.complete("a", 2)
    path.write_text(path.read_text() + '{"point": "a|3", "ho')
    again = Ledger(path)
    assert again.has("a|2") and not again.has("a|3")
    assert again.is_complete("a") and again.failed() == ["a|2"]
