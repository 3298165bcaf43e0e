"""`satchel limit` with real processes. A file that the limit would let through in an hour tells what the limit does."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.devices import Device, device, wait_for, wait_until_equal
from tests.support.server import User

LARGE_BYTES = 48 * 1024 * 1024


def test_a_limit_is_shown_stays_over_restarts_and_can_be_set_without_the_daemon(laptop: Device) -> None:
    assert laptop.cli("limit").out == "up off, down off\n"
    assert laptop.cli("limit", "up=500K", "down=1.5M").out == "up 500 KiB/s, down 1.5 MiB/s\n"
    assert laptop.cli("limit", "--json").json() == {"up": 500 * 1024, "down": 1536 * 1024}
    assert "limited to 500 KiB/s up" in laptop.cli("status").out
    laptop.stop()
    assert laptop.cli("limit", "down=off", "--json").json() == {"up": 500 * 1024, "down": None}
    laptop.start()
    assert laptop.cli("limit", "--json").json() == {"up": 500 * 1024, "down": None}
    assert laptop.cli("config", "get", "limit_up").out == "500K\n"
    assert laptop.cli("limit", "up=off", "--quiet").out == ""
    assert "limited" not in laptop.cli("status").out


def test_what_is_no_limit_is_refused_and_changes_nothing(laptop: Device) -> None:
    for words in (["up=fast"], ["up=15K"], ["up=500"], ["up"], ["sideways=1M"], ["up=1M", "up=2M"]):
        refused = laptop.cli("limit", "down=1M", *words)
        assert refused.code == 27
        assert words[-1] in refused.err and "up=500K" in refused.err
    assert laptop.cli("limit").out == "up off, down off\n"


def test_a_limit_upwards_holds_a_large_file_and_not_a_small_one_and_ends_at_once(laptop: Device) -> None:
    assert laptop.cli("limit", "up=16K").code == 0
    (laptop.folder / "large").write_bytes(os.urandom(LARGE_BYTES))
    wait_for(lambda: laptop.status().transfers != (), "the large file is not sent")
    (laptop.folder / "small.txt").write_text("small")
    wait_for(lambda: laptop.cli("cat", "/small.txt").out == "small", "the small file waits for the large one")
    assert laptop.cli("ls").out == "small.txt\n"
    assert laptop.cli("limit", "up=off").code == 0
    assert laptop.wait_in_sync().state == "in_sync"
    assert laptop.cli("ls").out == "large\nsmall.txt\n"


def test_a_limit_downwards_holds_a_large_file_and_not_a_small_one_and_ends_at_once(
    laptop: Device, tmp_path: Path, user: User
) -> None:
    with device(tmp_path, "desk", user) as desk:
        assert desk.cli("limit", "down=16K").code == 0
        (laptop.folder / "large").write_bytes(os.urandom(LARGE_BYTES))
        assert laptop.wait_in_sync().state == "in_sync"
        wait_for(lambda: desk.status().transfers != (), "the large file is not fetched")
        (laptop.folder / "small.txt").write_text("small")
        wait_for(lambda: (desk.folder / "small.txt").exists(), "the small file waits for the large one")
        assert not (desk.folder / "large").exists()
        assert desk.cli("limit", "down=off").code == 0
        wait_until_equal([laptop, desk])
