"""`satchel exclude` with real processes: two devices of one account, one of which leaves things out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.devices import Device, device, wait_for
from tests.support.server import User


@pytest.fixture
def desktop(tmp_path: Path, user: User, laptop: Device) -> Iterator[Device]:
    with device(tmp_path, "desktop", user) as made:
        yield made


def fill(laptop: Device, desktop: Device) -> None:
    (laptop.folder / "films/old").mkdir(parents=True)
    (laptop.folder / "films/old/one.mkv").write_bytes(b"one" * 100_000)
    (laptop.folder / "films/two.mkv").write_bytes(b"two" * 100_000)
    (laptop.folder / "notes.txt").write_text("notes")
    laptop.wait_in_sync()
    wait_for(lambda: names(desktop) == ALL, "the desktop has it all")
    assert desktop.wait_in_sync().state == "in_sync"


ALL = {"films", "films/old", "films/old/one.mkv", "films/two.mkv", "notes.txt"}


def names(one: Device) -> set[str]:
    found = {path.relative_to(one.folder).as_posix() for path in one.folder.rglob("*")}
    return {name for name in found if not name.startswith(".satchel")}


def test_a_folder_leaves_one_device_and_comes_back(laptop: Device, desktop: Device) -> None:
    fill(laptop, desktop)
    added = laptop.cli("exclude", "add", str(laptop.folder / "films"), "--json")
    assert added.code == 0, added
    assert [(item["local"], item["remote"], item["kind"]) for item in json.loads(added.out)] == [
        (str(laptop.folder / "films"), "/films", "folder")
    ]
    assert laptop.cli("sync", "--quiet").code == 0
    assert names(laptop) == {"notes.txt"}
    listed = laptop.cli("exclude", "list", "--json").json()
    assert [item["state"] for item in listed] == ["out"]  # type: ignore[attr-defined]
    assert "left out" in laptop.cli("exclude").out
    assert "1 left out on this device" in laptop.cli("status").out
    (desktop.folder / "films/three.mkv").write_bytes(b"three")
    (laptop.folder / "notes.txt").write_text("more notes")
    assert (desktop.wait_in_sync().state, laptop.wait_in_sync().state) == ("in_sync", "in_sync")
    assert names(laptop) == {"notes.txt"}
    # By its path on the server, too: nothing stands on the disk any more.
    assert laptop.cli("exclude", "remove", "satchel:/films", "--quiet").code == 0
    assert laptop.cli("sync", "--quiet").code == 0
    assert names(laptop) == ALL | {"films/three.mkv"} == names(desktop)
    assert laptop.cli("exclude", "list").out == "Nothing is left out.\n"
    assert laptop.cli("trash", "--json").json() == [], "nothing was deleted on the server"


def test_a_daemon_that_is_killed_on_the_way_goes_on(laptop: Device, desktop: Device) -> None:
    fill(laptop, desktop)
    (laptop.folder / "films/new.mkv").write_bytes(b"new" * 400_000)
    assert laptop.cli("exclude", "add", str(laptop.folder / "films")).code == 0
    laptop.kill()
    laptop.start()
    assert laptop.wait_in_sync().state == "in_sync"
    assert names(laptop) == {"notes.txt"}
    assert laptop.cli("exclude", "remove", str(laptop.folder / "films")).code == 0
    laptop.kill()
    laptop.start()
    assert laptop.wait_in_sync().state == "in_sync"
    wait_for(lambda: names(desktop) == ALL | {"films/new.mkv"}, "the desktop has the new one")
    assert names(laptop) == ALL | {"films/new.mkv"}
    assert (laptop.folder / "films/new.mkv").read_bytes() == b"new" * 400_000


def test_what_is_made_at_the_name_is_kept_and_told(laptop: Device, desktop: Device) -> None:
    fill(laptop, desktop)
    laptop.cli("exclude", "add", str(laptop.folder / "films"))
    assert laptop.cli("sync", "--quiet").code == 0
    (laptop.folder / "films").mkdir()
    (laptop.folder / "films/two.mkv").write_bytes(b"another two")
    laptop.wait_in_sync()
    beside = {"films (selective sync conflict)", "films (selective sync conflict)/two.mkv"}
    wait_for(lambda: names(desktop) == ALL | beside, "the desktop has both")
    assert names(laptop) == {"notes.txt"} | beside
    told = laptop.cli("status")
    assert (told.code, "films (selective sync conflict) was made at the name of" in told.out) == (0, True)
    explained = laptop.cli("explain", str(laptop.folder / "films (selective sync conflict)")).out
    assert "this device leaves out" in explained


def test_what_cannot_be_left_out_says_why(laptop: Device) -> None:
    laptop.wait_in_sync()
    nowhere = laptop.cli("exclude", "add", str(laptop.folder / "nowhere"), "--json")
    assert (nowhere.code, json.loads(nowhere.err)["error"]["code"]) == (21, "not_found")
    assert laptop.cli("exclude", "add", str(laptop.folder)).code == 1
    assert laptop.cli("exclude", "remove", "satchel:/nowhere").code == 21
    assert laptop.cli("exclude", "add").code == 2
