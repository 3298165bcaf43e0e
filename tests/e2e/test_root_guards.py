"""Real processes: whatever becomes of the linked folder as a whole, the service is sent no deletion.

Unmounted, emptied, replaced, unreadable, or a third of its files deleted at once: halted or held with one clear line,
not one entry in the journal, and once the cause is gone it goes on without a repair.
"""

from __future__ import annotations

import os
import shutil

import pytest

from satchel.device.disk import LocalDisk
from tests.support.devices import Device, wait_for
from tests.support.server import Session, User

FILES = 900
GONE = 270
QUIET_S = 5.0
"""Longer than a deletion waits for quiet."""


@pytest.fixture
def laptop(laptop: Device) -> Device:
    for number in range(FILES):
        (laptop.folder / f"{number % 9}").mkdir(exist_ok=True)
        (laptop.folder / f"{number % 9}" / f"{number}.txt").write_text(f"file {number}")
    assert laptop.wait_in_sync().state == "in_sync"
    return laptop


class Journal:
    """What was written in the account's journal since `mark`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._cursor = ""
        self.since()

    def since(self) -> list[str]:
        """Return the actions of the entries since the last call."""
        found = []
        while True:
            asked = {"cursor": self._cursor} if self._cursor else {}
            page = self._session.ask("GET", "/api/v1/sync", limit=1000, **asked).json()
            found += [entry["action"] for entry in page["entries"]]
            self._cursor = page["cursor"]
            if not page["has_more"]:
                return found


def halted(laptop: Device) -> str:
    """Wait until the link halts; result: the line that status shows."""
    wait_for(lambda: laptop.wait_in_sync(1.0).state == "halted", "the link does not halt")
    told = laptop.cli("status")
    assert told.code == 13
    message = laptop.status().message
    assert message and "\n" not in message and message in told.out
    return message


def goes_on(laptop: Device, journal: Journal) -> None:
    """Nothing was sent meanwhile, nothing is left to repair, and a new file goes up."""
    assert journal.since() == []
    assert laptop.cli("resume").code == 0
    (laptop.folder / "after.txt").write_text("after")
    wait_for(lambda: laptop.wait_in_sync(5.0).state == "in_sync", "it does not go on")
    assert journal.since() == ["create"] or journal.since() == []
    assert len(list(laptop.folder.glob("*/*.txt"))) == FILES


def test_an_unmounted_root_sends_no_deletion_and_goes_on_when_it_is_back(laptop: Device, user: User) -> None:
    journal = Journal(user.sign_in("browser"))
    aside = laptop.folder.rename(laptop.folder.with_name("unmounted"))
    assert halted(laptop)
    aside.rename(laptop.folder)
    goes_on(laptop, journal)


def test_an_empty_mount_point_sends_no_deletion_and_goes_on_when_it_is_mounted(laptop: Device, user: User) -> None:
    journal = Journal(user.sign_in("browser"))
    aside = laptop.folder.rename(laptop.folder.with_name("unmounted"))
    laptop.folder.mkdir()
    assert halted(laptop)
    laptop.folder.rmdir()
    aside.rename(laptop.folder)
    goes_on(laptop, journal)


def test_a_root_that_was_emptied_marker_and_all_sends_no_deletion(laptop: Device, user: User) -> None:
    journal = Journal(user.sign_in("browser"))
    aside = laptop.folder.with_name("emptied")
    aside.mkdir()
    for one in list(laptop.folder.iterdir()):
        one.rename(aside / one.name)
    assert halted(laptop)
    for one in sorted(aside.iterdir(), reverse=True):
        one.rename(laptop.folder / one.name)
    goes_on(laptop, journal)


def test_another_linked_folder_in_the_place_of_the_root_sends_no_deletion(laptop: Device, user: User) -> None:
    journal = Journal(user.sign_in("browser"))
    aside = laptop.folder.rename(laptop.folder.with_name("original"))
    laptop.folder.mkdir()
    LocalDisk.initialise(os.fsencode(laptop.folder))
    (laptop.folder / "foreign.txt").write_text("of another root")
    assert halted(laptop)
    shutil.rmtree(laptop.folder)
    aside.rename(laptop.folder)
    goes_on(laptop, journal)


def test_a_root_replaced_while_the_daemon_was_stopped_sends_no_deletion(laptop: Device, user: User) -> None:
    journal = Journal(user.sign_in("browser"))
    laptop.stop()
    aside = laptop.folder.rename(laptop.folder.with_name("original"))
    laptop.folder.mkdir()
    LocalDisk.initialise(os.fsencode(laptop.folder))
    laptop.start()
    assert halted(laptop)
    shutil.rmtree(laptop.folder)
    aside.rename(laptop.folder)
    goes_on(laptop, journal)


def test_a_root_renamed_during_a_pause_sends_no_deletion(laptop: Device, user: User) -> None:
    journal = Journal(user.sign_in("browser"))
    assert laptop.cli("pause").code == 0
    aside = laptop.folder.rename(laptop.folder.with_name("renamed"))
    assert laptop.cli("resume").code == 0
    assert halted(laptop)
    aside.rename(laptop.folder)
    goes_on(laptop, journal)


def test_a_third_of_the_files_deleted_at_once_is_held_and_sends_no_deletion(laptop: Device, user: User) -> None:
    journal = Journal(user.sign_in("browser"))
    aside = laptop.folder.with_name("aside")
    aside.mkdir()
    for folder in ("0", "1", "2"):
        (laptop.folder / folder).rename(aside / folder)
    wait_for(lambda: laptop.wait_in_sync(QUIET_S).state == "attention", "the deletions are not held")
    told = laptop.cli("status")
    assert told.code == 11 and "held allow" in told.out and "held undo" in told.out
    assert journal.since() == []
    for folder in ("0", "1", "2"):
        (aside / folder).rename(laptop.folder / folder)
    goes_on(laptop, journal)
