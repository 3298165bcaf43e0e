"""What goes over the edge of a shared folder on a disk, whatever dies on the way, and what a device that begins anew
finds there. Real processes."""

from __future__ import annotations

import os
import shutil

from tests.e2e.test_shared_folders import done, fill, quiet, share, stats, tree
from tests.support.devices import Device, wait_for


def test_moves_over_the_edge_lose_nothing_when_the_daemon_dies_between(laptop: Device, phone: Device) -> None:
    fill(laptop)
    (laptop.folder / "album").mkdir()
    for number in range(20):
        (laptop.folder / f"album/{number}.txt").write_text(f"photo {number}")
    share(laptop, phone)
    wait_for(lambda: (phone.folder / "team/a.txt").exists(), phone.told())
    # Both ways at once, and the daemon dies several times while it sees to it.
    os.rename(laptop.folder / "album", laptop.folder / "team/album")
    os.rename(laptop.folder / "team/deep", laptop.folder / "deep")
    wanted = tree(laptop.folder)
    for _ in range(3):
        laptop.kill()
        laptop.start()
    quiet(laptop, phone)
    assert tree(laptop.folder) == wanted
    expected = {name[len("team/") :]: digest for name, digest in wanted.items() if name.startswith("team/")}
    wait_for(lambda: tree(phone.folder / "team") == expected, phone.told())
    listed = laptop.cli("ls", "satchel:/").out
    assert "deep" in listed and "album" not in listed
    assert "album" in laptop.cli("ls", "satchel:/team").out


def test_a_device_that_forgot_all_it_knew_loses_and_sends_nothing(laptop: Device, phone: Device) -> None:
    fill(laptop)
    share(laptop, phone)
    wait_for(lambda: tree(phone.folder / "team") == tree(laptop.folder / "team"), phone.told())
    phone.stop()
    (phone.folder / "team/while away.txt").write_text("made while nobody looked")
    (phone.folder / "team/a.txt").write_text("edited while nobody looked")
    for index in (phone.home / "links").glob("*/index.db*"):
        index.unlink()
    before = {path: seen for path, seen in stats(phone.folder).items() if not path.endswith("a.txt")}
    phone.start()
    quiet(phone, laptop)
    assert before.items() <= stats(phone.folder).items(), "what stood there stands there"
    assert (laptop.folder / "team/while away.txt").read_text() == "made while nobody looked"
    texts = {path.read_text() for path in (laptop.folder / "team").glob("a*.txt")}
    assert texts == {"a", "edited while nobody looked"}
    # And one that is linked anew, somewhere else, gets all of it.
    done(phone.cli("unlink", str(phone.folder)))
    other = phone.folder.with_name("other")
    shutil.copytree(phone.folder, other, ignore=shutil.ignore_patterns(".satchel"))
    done(phone.cli("link", str(other), "--yes", "--quiet"))
    quiet(phone, laptop)
    assert tree(other) == tree(phone.folder)


def test_commands_work_for_what_is_in_a_shared_folder(laptop: Device, phone: Device) -> None:
    fill(laptop)
    share(laptop, phone)
    wait_for(lambda: tree(phone.folder / "team") == tree(laptop.folder / "team"), phone.told())
    quiet(phone)
    team = phone.folder / "team"
    assert phone.cli("status", str(team / "deep")).code == 0
    assert "a.txt" in phone.cli("explain", str(team / "a.txt")).out
    assert "a.txt" in phone.cli("activity", str(team)).out
    verified = phone.cli("verify", "--json").json()
    assert [(one["local"], one["damaged"]) for one in verified] == [(str(phone.folder), 0), (str(team), 0)]  # type: ignore[attr-defined]
    done(phone.cli("exclude", "add", str(team / "deep")))
    done(phone.cli("sync", "--quiet"))
    assert not (team / "deep").exists() and (laptop.folder / "team/deep/long.bin").exists()
    refused = phone.cli("exclude", "add", str(team))
    assert refused.code != 0 and "shared folder" in refused.err
    done(phone.cli("exclude", "remove", "satchel:/team/deep"))
    done(phone.cli("sync", "--quiet"))
    assert (team / "deep/long.bin").exists()


def test_an_emptied_shared_folder_waits_for_a_word(laptop: Device, phone: Device) -> None:
    fill(laptop)
    for number in range(230):
        (laptop.folder / f"team/{number}.txt").write_text(f"{number}")
    share(laptop, phone)
    wait_for(lambda: tree(phone.folder / "team") == tree(laptop.folder / "team"), phone.told())
    quiet(phone)
    wanted = tree(laptop.folder / "team")
    for path in (phone.folder / "team").glob("*.txt"):
        path.unlink()
    assert phone.cli("sync", "--quiet").code == 11
    assert "held" in phone.cli("status").out
    assert tree(laptop.folder / "team") == wanted
    done(phone.cli("held", "undo"))
    wait_for(lambda: tree(phone.folder / "team") == wanted, phone.told())


def test_a_daemon_that_dies_while_a_part_begins_and_ends_goes_on_with_it(laptop: Device, phone: Device) -> None:
    fill(laptop)
    for number in range(100):
        (laptop.folder / f"team/{number}.txt").write_text(f"{number}")
    quiet(laptop)
    before = stats(laptop.folder)
    done(laptop.cli("share", "add", "satchel:/team", "--with", f"{phone.user.name}:edit"))
    for _ in range(3):
        laptop.kill()
        laptop.start()
    done(phone.cli("share", "accept", "team"))
    wait_for(lambda: tree(phone.folder / "team") == tree(laptop.folder / "team"), "it fills")
    quiet(laptop, phone)
    assert stats(laptop.folder) == before
    wanted = tree(laptop.folder / "team")
    phone.stop()
    for number in range(30):
        (phone.folder / f"team/{number}.txt").write_text(f"mine {number}")
    done(laptop.cli("share", "remove", "satchel:/team", phone.user.name))
    for _ in range(4):
        phone.start()
        phone.kill()
    phone.start()
    wait_for(lambda: not (phone.folder / "team").exists(), "it leaves")
    quiet(phone)
    mine = sorted(path.read_text() for path in (phone.folder / "Unsynced from team").rglob("*.txt"))
    assert mine == sorted(f"mine {number}" for number in range(30))
    assert tree(laptop.folder / "team") == wanted
