"""A folder becomes a shared one while a device has work of its own in it, and a service that forgets that it did."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.test_shared_folders import done, fill, quiet, share, stats, tree
from tests.support.devices import Device, device, wait_for, wait_until_equal
from tests.support.server import RunningServer, running_server


def test_unsynced_work_in_a_folder_that_is_shared_meanwhile_goes_there(
    server: RunningServer, laptop: Device, tmp_path: Path
) -> None:
    fill(laptop)
    (laptop.folder / "into.txt").write_text("into")
    (laptop.folder / "team/out.txt").write_text("out")
    (laptop.folder / "team/gone.txt").write_text("gone")
    quiet(laptop)
    bob = server.add_user(f"bob{abs(hash(str(tmp_path))) % 10**9}")
    with device(tmp_path, "desktop", laptop.user) as desktop, device(tmp_path, "phone", bob) as phone:
        quiet(desktop)
        laptop.stop()
        team = laptop.folder / "team"
        (team / "a.txt").write_text("edited, unsynced")
        (team / "new").mkdir()
        (team / "new/n.txt").write_text("new, unsynced")
        (team / "gone.txt").unlink()
        os.rename(team / "deep/long.bin", team / "long.bin")
        os.rename(team / "out.txt", laptop.folder / "out.txt")
        os.rename(laptop.folder / "into.txt", team / "into.txt")
        wanted, before = tree(laptop.folder), stats(laptop.folder)
        share(desktop, phone)
        laptop.start()
        quiet(laptop, desktop, phone)
        wait_until_equal([laptop, desktop])
        assert (tree(laptop.folder), stats(laptop.folder)) == (wanted, before)
        wait_for(lambda: tree(phone.folder / "team") == tree(team), phone.told())


def test_a_service_put_back_to_before_it_was_shared_gets_all_of_it_again(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        server.arguments = ("--listen", f"127.0.0.1:{server.port}")
        ann, bob = server.add_user("ann"), server.add_user("bob")
        with device(tmp_path, "laptop", ann) as laptop, device(tmp_path, "phone", bob) as phone:
            fill(laptop)
            quiet(phone)
            server.stop()
            shutil.copytree(server.data, tmp_path / "image")
            server.start()
            share(laptop, phone)
            wait_for(lambda: tree(phone.folder / "team") == tree(laptop.folder / "team"), phone.told())
            (phone.folder / "team/later.txt").write_text("of the last hour")
            wait_for(lambda: (laptop.folder / "team/later.txt").exists(), laptop.told())
            quiet(laptop, phone)
            wanted, theirs = tree(laptop.folder), tree(phone.folder)
            server.stop()
            shutil.rmtree(server.data)
            shutil.copytree(tmp_path / "image", server.data)
            server.start()
            for one in (laptop, phone):
                wait_for(lambda one=one: one.cli("sync", "--quiet").code == 0, one.told())  # type: ignore[misc]
            quiet(laptop, phone)
            assert tree(laptop.folder) == wanted
            assert tree(phone.folder) == theirs, "now it is bob's own, since nobody knows that it was shared"
            assert "later.txt" in done(laptop.cli("ls", "satchel:/team")).out
            assert "later.txt" in done(phone.cli("ls", "satchel:/team")).out


def test_a_device_put_back_to_an_older_image_loses_nothing_of_a_shared_folder(
    laptop: Device, tmp_path: Path, server: RunningServer
) -> None:
    fill(laptop)
    bob = server.add_user(f"bob{abs(hash(str(tmp_path))) % 10**9}")
    with device(tmp_path, "phone", bob) as phone:
        share(laptop, phone)
        wait_for(lambda: tree(phone.folder / "team") == tree(laptop.folder / "team"), phone.told())
        quiet(phone)
        phone.stop()
        image = tmp_path / "image"
        shutil.copytree(phone.home, image / "home", symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
        shutil.copytree(phone.folder, image / "folder", symlinks=True)
        phone.start()
        (phone.folder / "team/later.txt").write_text("of the last hour")
        (laptop.folder / "team/a.txt").write_text("edited in the last hour")
        wait_for(lambda: (laptop.folder / "team/later.txt").exists(), laptop.told())
        quiet(laptop, phone)
        wanted = tree(laptop.folder / "team")
        phone.stop()
        shutil.rmtree(phone.folder)
        shutil.rmtree(phone.home)
        shutil.copytree(image / "folder", phone.folder, symlinks=True)
        shutil.copytree(image / "home", phone.home, symlinks=True)
        phone.start()
        # Copied files are other files than those of before, so the older content of one may stand beside the newer.
        wait_for(lambda: wanted.items() <= tree(phone.folder / "team").items(), "the newer state is back")
        quiet(phone, laptop)
        now = tree(laptop.folder / "team")
        assert wanted.items() <= now.items() and now == tree(phone.folder / "team")
        assert set(now.values()) - set(wanted.values()) <= {hashlib.sha256(b"a").hexdigest()}


@contextlib.contextmanager
def linked_to_team(laptop: Device, tmp_path: Path) -> Iterator[Device]:
    """Start another device of the owner's, linked to the very folder that is going to be shared."""
    fill(laptop)
    desktop = Device(tmp_path / "desktop-home", tmp_path / "desktop", "desktop", laptop.user)
    desktop.sign_in()
    desktop.start()
    try:
        done(desktop.link("/team"))
        quiet(desktop)
        yield desktop
    finally:
        desktop.stop()


def test_a_link_of_the_very_folder_that_is_made_shared_goes_on_as_its_link(
    laptop: Device, phone: Device, tmp_path: Path
) -> None:
    with linked_to_team(laptop, tmp_path) as desktop:
        before = stats(desktop.folder)
        assert tree(desktop.folder) == tree(laptop.folder / "team")
        done(desktop.cli("pause"))
        (desktop.folder / "deep/unsent.txt").write_text("written before it was shared")
        share(laptop, phone)
        done(desktop.cli("resume"))
        wait_for(lambda: (phone.folder / "team/deep/unsent.txt").exists(), desktop.told())
        (phone.folder / "team/new.txt").write_text("by a member")
        (phone.folder / "team/a.txt").unlink()
        wait_for(lambda: (desktop.folder / "new.txt").exists(), desktop.told())
        wait_for(lambda: not (desktop.folder / "a.txt").exists(), desktop.told())
        quiet(laptop, phone, desktop)
        assert tree(desktop.folder) == tree(phone.folder / "team") == tree(laptop.folder / "team")
        # Nothing that stood there was touched, and nothing came twice.
        after = stats(desktop.folder)
        assert {path: seen for path, seen in before.items() if not path.endswith("a.txt")}.items() <= after.items()
        assert set(tree(desktop.folder)) == {"deep", "deep/long.bin", "deep/unsent.txt", "new.txt"}
        # What a person says while it does not run, it knows at the next start.
        desktop.stop()
        (laptop.folder / "team/later.txt").write_text("later")
        quiet(laptop)
        desktop.start()
        wait_for(lambda: (desktop.folder / "later.txt").exists(), desktop.told())
        wait_for(lambda: desktop.cli("status").code == 0, desktop.told())
        # Who may only look is told so, and nothing is moved or sent.
        done(laptop.cli("share", "transfer", "satchel:/team", phone.user.name))
        done(phone.cli("share", "role", "satchel:/team", laptop.user.name, "view"))
        wait_for(lambda: desktop.status().state == "halted", desktop.told())
        assert "only look" in desktop.status().message
        (desktop.folder / "later.txt").write_text("mine")
        assert desktop.wait_in_sync(5.0).state == "halted"
        assert (desktop.folder / "later.txt").read_text() == "mine"


def test_a_link_that_was_away_when_its_folder_was_made_shared_follows_it_from_a_snapshot(
    laptop: Device, phone: Device, tmp_path: Path
) -> None:
    with linked_to_team(laptop, tmp_path) as desktop:
        desktop.stop()
        share(laptop, phone)
        wanted = tree(laptop.folder / "team")
        # It knows no place in the journal any more: all of the folder is asked for.
        for index in (desktop.home / "links").glob("*/index.db*"):
            index.unlink()
        desktop.start()
        wait_for(lambda: desktop.status().state == "in_sync", desktop.told())
        assert tree(desktop.folder) == wanted
        (desktop.folder / "mine.txt").write_text("mine")
        wait_for(lambda: (phone.folder / "team/mine.txt").exists(), desktop.told())
        quiet(laptop, phone, desktop)
        assert tree(desktop.folder) == tree(laptop.folder / "team")
