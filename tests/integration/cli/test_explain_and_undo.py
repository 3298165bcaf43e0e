"""A conflict found, understood, ended, and that taken back: by commands, over two daemons and a server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.devices import Device, Ran, device, wait_for, wait_until_equal
from tests.support.server import running_server


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Device, Device]]:
    folder = tmp_path_factory.mktemp("undo")
    with running_server(folder) as server:
        user = server.add_user("ann")
        with device(folder, "laptop", user) as laptop, device(folder, "desktop", user) as desktop:
            yield laptop, desktop


def said(ran: Ran, code: int = 0) -> Any:
    assert ran.code == code, ran
    return json.loads(ran.out)


def both_edit(laptop: Device, desktop: Device, name: str) -> tuple[Path, Path]:
    """Let both edit one file before they hear of each other; the desktop is first. Result: file and copy on laptop."""
    (laptop.folder / name).write_text("base\n")
    wait_until_equal((laptop, desktop))
    laptop.stop()
    (laptop.folder / name).write_text("from the laptop\n")
    (desktop.folder / name).write_text("from the desktop, longer\n")
    desktop.wait_in_sync()
    laptop.start()
    wait_until_equal((laptop, desktop))
    stem = name.rpartition(".")[0]
    (copy,) = laptop.folder.glob(f"{stem} (laptop's conflicted copy *")
    return laptop.folder / name, copy


def test_a_conflict_is_found_explained_resolved_and_that_taken_back(both: tuple[Device, Device]) -> None:
    laptop, desktop = both
    file, copy = both_edit(laptop, desktop, "report.txt")
    (found,) = said(laptop.cli("conflicts", "--json"))
    assert found["conflict"]["copy"] == copy.name and found["conflict"]["is_mine"]
    assert not said(desktop.cli("conflicts", "list", "--json"))[0]["conflict"]["is_mine"]
    assert "1 conflicted copy: satchel conflicts" in laptop.cli("status").out

    told = said(laptop.cli("explain", str(file), "--json"))
    decided = next(event for event in told["explained"]["events"] if event["what"] == "decided")
    assert decided["rule"] == "edit/edit" and decided["beside"] == copy.name
    assert told["explained"]["events"][0]["rule"] == "kept both"
    stored = {one["content_hash"]: one["device"] for one in told["versions"]}
    assert stored[decided["remote"]["content"]] == "desktop" and stored[decided["base"]["content"]] == "laptop"
    assert said(laptop.cli("explain", str(copy), "--json"))["explained"]["copy_of"] == "report.txt"
    assert "edit/edit" in laptop.cli("explain", str(file)).out

    assert laptop.cli("conflicts", "resolve", str(file), "--keep", "mine").code == 0
    wait_until_equal((laptop, desktop))
    assert (desktop.folder / "report.txt").read_text() == "from the laptop\n"
    assert sorted(each.name for each in desktop.folder.iterdir() if each.suffix) == ["report.txt"]
    assert said(laptop.cli("conflicts", "--json")) == []
    assert "conflicted" not in laptop.cli("status").out

    assert laptop.cli("undo", "--yes").code == 0
    wait_until_equal((laptop, desktop))
    assert (desktop.folder / "report.txt").read_text() == "from the desktop, longer\n"
    assert (desktop.folder / copy.name).read_text() == "from the laptop\n"
    assert laptop.cli("conflicts", "resolve", "--all", "--keep", "theirs").code == 0
    wait_until_equal((laptop, desktop))
    assert not (desktop.folder / copy.name).exists()


def test_what_another_device_did_is_undone_from_the_local_trash(both: tuple[Device, Device]) -> None:
    laptop, desktop = both
    laptop_folder = laptop.folder / "papers"
    laptop_folder.mkdir()
    for name in ("gone", "edited", "moved"):
        (laptop_folder / f"{name}.txt").write_text(f"{name} as it was\n")
    wait_until_equal((laptop, desktop))
    laptop.stop()
    there = desktop.folder / "papers"
    (there / "gone.txt").unlink()
    (there / "edited.txt").write_text("edited there\n")
    (there / "moved.txt").rename(there / "elsewhere.txt")
    (there / "new.txt").write_text("new\n")
    desktop.wait_in_sync()
    laptop.start()
    wait_until_equal((laptop, desktop))

    done = said(laptop.cli("undo", "--dry-run", "--json"))
    # What came less than five seconds before belongs to the same run: the test before this one may have brought it.
    mine = [event for event in done if event["path"].startswith("papers/")]
    assert {event["what"] for event in mine} == {"removed", "replaced", "moved", "created"}
    assert not (laptop_folder / "gone.txt").exists()
    undone = said(laptop.cli("undo", "--yes", "--json"), code=23)
    left = [item["path"] for item in undone[0]["items"] if not item["is_done"] and item["path"].startswith("papers/")]
    assert left == ["papers/new.txt"], "what came new stays unless --new"
    wait_until_equal((laptop, desktop))
    for name in ("gone", "edited", "moved"):
        assert (there / f"{name}.txt").read_text() == f"{name} as it was\n"
    assert not (there / "elsewhere.txt").exists()


def test_activity_is_paged_from_the_newest_on(both: tuple[Device, Device]) -> None:
    laptop, desktop = both
    for number in range(3):
        (desktop.folder / f"page{number}").write_text(str(number))
    pages = {f"page{number}" for number in range(3)}
    # A file stands on the disk a moment before the activity tells of it.
    wait_for(lambda: pages <= {one["path"] for one in said(laptop.cli("activity", "--json"))}, laptop.told())
    every = said(laptop.cli("activity", "--json"))
    first = said(laptop.cli("activity", "--limit", "2", "--json"))
    second = said(laptop.cli("activity", "--limit", "2", "--before", str(first[-1]["number"]), "--json"))
    assert first + second == every[:4]


def test_what_is_in_no_conflict_or_no_link_is_refused(both: tuple[Device, Device], tmp_path: Path) -> None:
    laptop, _ = both
    (laptop.folder / "plain.txt").write_text("plain")
    assert laptop.cli("conflicts", "resolve", str(laptop.folder / "plain.txt"), "--keep", "mine").code == 21
    assert laptop.cli("explain", str(tmp_path / "elsewhere")).code == 21
    assert laptop.cli("conflicts", "resolve", "--keep", "mine").code == 1
    assert laptop.cli("conflicts", "resolve", "x", "--keep", "nonsense").code == 2
