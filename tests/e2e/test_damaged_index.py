"""Real processes: a damaged index is set aside, both sides are merged, and nothing is lost or deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.devices import Device, device, wait_until_equal
from tests.support.server import User
from tests.unit.device.test_index_damage import header, middle, truncated

FILES = 400


def index_of(laptop: Device) -> Path:
    (folder,) = (laptop.home / "links").iterdir()
    return folder / "index.db"


@pytest.mark.parametrize("how", [header, middle, truncated])
def test_a_damaged_index_is_merged_anew_and_loses_nothing(
    laptop: Device, tmp_path: Path, user: User, how: Callable[[bytearray], None]
) -> None:
    with device(tmp_path, "desk", user) as desk:
        (laptop.folder / "folder").mkdir()
        for number in range(FILES):
            (laptop.folder / "folder" / f"{number}.txt").write_text(f"file {number}")
        wait_until_equal([laptop, desk])
        laptop.stop()
        raw = bytearray(index_of(laptop).read_bytes())
        how(raw)
        index_of(laptop).write_bytes(raw)
        (laptop.folder / "new.txt").write_text("new")
        (laptop.folder / "folder" / "1.txt").write_text("edited while the daemon was stopped")
        (laptop.folder / "folder" / "2.txt").unlink()
        (desk.folder / "folder" / "3.txt").write_text("edited elsewhere")
        (desk.folder / "folder" / "4.txt").unlink()
        assert desk.wait_in_sync().state == "in_sync"
        laptop.start()
        wait_until_equal([laptop, desk])
        told = laptop.cli("status")
        assert told.code == 0
        assert told.out.count("The index of this folder was damaged") == 1
        assert laptop.status().notice in told.out
        assert index_of(laptop).with_name("index.damaged.db").exists()
        contents = {path.read_text() for path in desk.folder.rglob("*.txt")}
        every = {f"file {number}" for number in range(FILES)}
        assert contents == every | {"new", "edited while the daemon was stopped", "edited elsewhere"}
