"""Shared folders on disks, with real processes: two devices of their owner and one of somebody else."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from satchel.device.control import Request
from satchel.device.status import LinkStatus
from tests.support.devices import Device, Ran, device, wait_for, wait_until_equal


def done(ran: Ran) -> Ran:
    assert ran.code == 0, ran
    return ran


def tree(folder: Path) -> dict[str, str]:
    """Return what stands below, with a digest of files; nothing of ours."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(".satchel"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return found


def stats(folder: Path) -> dict[str, tuple[int, int]]:
    """Return inode and mtime of all files below."""
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def quiet(*devices: Device) -> None:
    """Wait until nothing more happens at any of them."""
    for _ in range(2):
        for one in devices:
            links = one.control().ask(Request("wait", timeout_s=60), list[LinkStatus])
            assert {link.state for link in links} <= {"in_sync", "attention"}, (links, one.told())


def share(laptop: Device, phone: Device, right: str = "edit") -> None:
    """Share the laptop's folder `team` with the phone's account, which accepts."""
    done(laptop.cli("share", "add", "satchel:/team", "--with", f"{phone.user.name}:{right}"))
    done(phone.cli("share", "accept", "team"))
    wait_for(lambda: (phone.folder / "team").is_dir(), phone.told())
    quiet(laptop, phone)


def fill(laptop: Device) -> None:
    (laptop.folder / "team/deep").mkdir(parents=True)
    (laptop.folder / "team/a.txt").write_text("a")
    (laptop.folder / "team/deep/long.bin").write_bytes(os.urandom(3_000_000))
    (laptop.folder / "own.txt").write_text("mine")
    quiet(laptop)


def test_a_folder_is_shared_where_it_stands_and_fills_another_disk(
    laptop: Device, phone: Device, tmp_path: Path
) -> None:
    fill(laptop)
    before = stats(laptop.folder)
    up = laptop.status().bytes_up_done
    share(laptop, phone)
    assert stats(laptop.folder) == before and laptop.status().bytes_up_done <= up
    wait_for(lambda: tree(phone.folder / "team") == tree(laptop.folder / "team"), phone.told())
    assert not (phone.folder / "own.txt").exists()
    # Edits both ways.
    (phone.folder / "team/b.txt").write_text("from bob")
    (laptop.folder / "team/a.txt").write_text("a, edited")
    wait_for(lambda: (laptop.folder / "team/b.txt").exists(), laptop.told())
    wait_for(lambda: (phone.folder / "team/a.txt").read_text() == "a, edited", phone.told())
    quiet(laptop, phone)
    with device(tmp_path, "desktop", laptop.user) as desktop:
        quiet(desktop)
        wait_until_equal([laptop, desktop])
    assert tree(phone.folder / "team") == tree(laptop.folder / "team")
    # Its name and place are each member's own, and nothing below is sent again.
    here = stats(phone.folder / "team")
    (phone.folder / "projects").mkdir()
    os.rename(phone.folder / "team", phone.folder / "projects/ours")
    quiet(phone)
    (laptop.folder / "team/c.txt").write_text("c")
    wait_for(lambda: (phone.folder / "projects/ours/c.txt").exists(), phone.told())
    after = {
        path.replace("/projects/ours/", "/team/"): seen for path, seen in stats(phone.folder / "projects/ours").items()
    }
    assert here.items() <= after.items()
    assert (laptop.folder / "team").is_dir()


def test_a_deleted_shared_folder_comes_back_and_only_leaving_ends_it(laptop: Device, phone: Device) -> None:
    fill(laptop)
    share(laptop, phone)
    wanted = tree(laptop.folder / "team")
    wait_for(lambda: tree(phone.folder / "team") == wanted, phone.told())
    shutil.rmtree(phone.folder / "team")
    wait_for(lambda: (phone.folder / "team").is_dir() and tree(phone.folder / "team") == wanted, phone.told())
    assert "share leave" in phone.cli("status").out
    quiet(laptop, phone)
    assert tree(laptop.folder / "team") == wanted
    # What is not synced when the part ends is the person's own; the rest leaves the disk.
    done(phone.cli("pause"))
    (phone.folder / "team/deep/mine.txt").write_text("unsynced")
    (phone.folder / "team/a.txt").write_text("my edit")
    done(laptop.cli("share", "remove", "satchel:/team", phone.user.name))
    done(phone.cli("resume"))
    wait_for(lambda: not (phone.folder / "team").exists(), phone.told())
    quiet(phone)
    assert tree(phone.folder / "Unsynced from team") == {
        "a.txt": hashlib.sha256(b"my edit").hexdigest(),
        "deep": "",
        "deep/mine.txt": hashlib.sha256(b"unsynced").hexdigest(),
    }
    assert tree(laptop.folder / "team") == wanted
    assert "a.txt" in phone.cli("ls", "satchel:/Unsynced from team").out


def test_who_may_only_look_keeps_edits_as_copies_of_their_own(laptop: Device, phone: Device) -> None:
    fill(laptop)
    share(laptop, phone, "view")
    wanted = tree(laptop.folder / "team")
    wait_for(lambda: tree(phone.folder / "team") == wanted, phone.told())
    (phone.folder / "team/a.txt").write_text("my edit")
    (phone.folder / "team/new.txt").write_text("new")
    (phone.folder / "team/deep/long.bin").unlink()
    copies = phone.folder / "Unsynced from team"
    wait_for(lambda: copies.is_dir() and set(tree(copies)) == {"a.txt", "new.txt"}, phone.told())
    wait_for(lambda: tree(phone.folder / "team") == wanted, phone.told())
    quiet(laptop, phone)
    assert tree(laptop.folder / "team") == wanted
    assert "Unsynced from" in phone.cli("status").out
