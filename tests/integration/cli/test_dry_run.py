"""`sync --dry-run` sees what both sides hold now, and does nothing about it."""

import json
from pathlib import Path
from typing import Any

from tests.support.devices import Device, Ran, device, wait_until_equal
from tests.support.server import running_server
from tests.support.trees import differences


def planned(ran: Ran) -> dict[str, dict[str, Any]]:
    assert ran.code == 0, ran
    (plan,) = json.loads(ran.out)
    return {change["path"]: change for change in plan["changes"]}


def both_synced(laptop: Device, desktop: Device) -> None:
    for name in ("mine.txt", "both.txt", "gone.txt", "theirs.txt"):
        (laptop.folder / name).write_text(name)
    wait_until_equal((laptop, desktop))


def test_a_dry_run_tells_each_change_once_and_changes_nothing(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        user = server.add_user("ann")
        with device(tmp_path, "laptop", user) as laptop, device(tmp_path, "desktop", user) as desktop:
            both_synced(laptop, desktop)
            assert planned(laptop.cli("sync", "--dry-run", "--json")) == {}
            laptop.stop()
            (desktop.folder / "both.txt").write_text("theirs")
            (desktop.folder / "gone.txt").unlink()
            (desktop.folder / "theirs.txt").rename(desktop.folder / "renamed.txt")
            desktop.wait_in_sync()
            (laptop.folder / "both.txt").write_text("mine, longer")
            (laptop.folder / "mine.txt").write_text("edited")
            (laptop.folder / "new").mkdir()

            found = planned(laptop.cli("sync", "--dry-run", "--json"))
            again = planned(laptop.cli("sync", "--dry-run", "--json"))

            told = {path: (change["direction"], change["what"]) for path, change in found.items()}
            assert told.pop("both.txt") == ("down", "edit") and found["both.txt"]["rule"] == "edit/edit"
            (copy,) = [path for path in told if "conflicted copy" in path]
            assert told.pop(copy) == ("up", "conflicted copy")
            assert found["theirs.txt" if "theirs.txt" in told else "renamed.txt"]["target"] == "renamed.txt"
            assert told.pop("theirs.txt", told.pop("renamed.txt", None)) == ("down", "move")
            assert told == {"mine.txt": ("up", "edit"), "gone.txt": ("down", "delete"), "new": ("up", "create")}
            assert found.keys() == again.keys(), "looking changes nothing"
            assert (laptop.folder / "gone.txt").exists() and not (desktop.folder / "new").exists()
            assert differences(laptop.folder, desktop.folder)
            laptop.start()
            wait_until_equal((laptop, desktop))
