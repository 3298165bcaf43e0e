"""The command line with real processes: first run, daemon, links, signing out."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.devices import Device, device, wait_for, wait_until_equal
from tests.support.server import PASSWORD, RunningServer, User

UP_S_MAX = 60.0


# -- first run --------------------------------------------------------------------------------------------------------


class Up:
    """A running `satchel up`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.device = Device(folder / "home", folder / "Satchel", "here", User("", "", ""))
        self.data = folder / "data"
        where = ("--data", str(self.data), "--folder", str(self.device.folder), "--listen", "127.0.0.1:0")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "satchel.cli.main", "--json", "up", *where, *arguments],
            env=self.device.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # As from a terminal: Ctrl-C would reach the whole group.
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.told = json.loads(self.process.stdout.readline() or b"{}")

    def interrupt(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.communicate(timeout=UP_S_MAX)
        return self.process.returncode

    def is_over(self) -> bool:
        """No part of it is left: the locks of the data folder and of the home are free."""
        return not self.device.control().is_running() and not (self.data / "admin.sock").exists()


def test_the_first_run_makes_everything_and_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    up = Up(tmp_path)
    assert up.told["is_first"] is True
    (up.device.folder / "hello.txt").write_text("hello")
    assert up.device.wait_in_sync().state == "in_sync"
    assert up.device.cli("cat", "/hello.txt").out == "hello"
    assert (up.data / "first-account.json").stat().st_mode & 0o077 == 0
    assert (up.interrupt(), up.is_over()) == (0, True)


def test_a_later_run_goes_on_with_what_is_there(tmp_path: Path) -> None:
    first = Up(tmp_path)
    first.interrupt()
    (first.device.folder / "meanwhile.txt").write_text("meanwhile")
    again = Up(tmp_path)
    assert again.told["is_first"] is False
    assert again.told["account"] == first.told["account"]
    assert again.device.wait_in_sync().state == "in_sync"
    assert again.device.cli("cat", "/meanwhile.txt").out == "meanwhile"
    assert again.interrupt() == 0


def test_nothing_outlives_an_up_that_is_killed(tmp_path: Path) -> None:
    up = Up(tmp_path)
    up.process.kill()
    up.process.communicate(timeout=UP_S_MAX)
    wait_for(up.is_over, "server or daemon go on without `up`")


# -- the daemon -------------------------------------------------------------------------------------------------------


def test_a_second_daemon_on_one_home_is_refused(laptop: Device) -> None:
    second = laptop.cli("daemon", "run")
    assert second.code == 29
    assert laptop.control().is_running()


def test_start_detaches_a_daemon_and_stop_ends_it(laptop: Device) -> None:
    laptop.stop()
    assert laptop.cli("status").code == 14
    started = laptop.cli("daemon", "start", "--json").json()
    assert started == laptop.cli("daemon", "start", "--json").json()
    (laptop.folder / "a.txt").write_text("a")
    assert laptop.cli("sync").code == 0
    assert laptop.cli("cat", "/a.txt").out == "a"
    assert laptop.cli("daemon", "stop").code == 0
    assert laptop.cli("status").code == 14


def test_a_daemon_that_is_told_to_end_ends_with_zero(laptop: Device) -> None:
    assert laptop.stop() == 0


def test_a_daemon_whose_home_is_gone_ends_and_leaves_the_files(laptop: Device) -> None:
    (laptop.folder / "a.txt").write_text("a")
    assert laptop.wait_in_sync().state == "in_sync"
    shutil.rmtree(laptop.home)
    assert laptop.process is not None
    assert laptop.process.wait(60) == 0
    assert (laptop.folder / "a.txt").read_text() == "a"


def test_the_log_names_no_file_of_the_user(laptop: Device) -> None:
    (laptop.folder / "very private name.txt").write_text("x")
    assert laptop.wait_in_sync().state == "in_sync"
    lines = [json.loads(line) for line in (laptop.home / "daemon.log").read_text().splitlines()]
    assert lines
    assert "private" not in "".join(json.dumps(line) for line in lines if line["level"] != "debug")


# -- links ------------------------------------------------------------------------------------------------------------


def test_unlinking_keeps_every_file_on_both_sides(laptop: Device) -> None:
    (laptop.folder / "a.txt").write_text("a")
    assert laptop.wait_in_sync().state == "in_sync"
    assert laptop.cli("unlink", str(laptop.folder)).code == 0
    assert list((laptop.home / "links").iterdir()) == []
    (laptop.folder / "b.txt").write_text("b")
    assert laptop.cli("ls").out == "a.txt\n"
    assert (laptop.folder / "a.txt").read_text() == "a"


def test_a_folder_inside_a_linked_one_is_not_linked_again(laptop: Device) -> None:
    (laptop.folder / "inner").mkdir()
    refused = laptop.cli("link", str(laptop.folder / "inner"), "/elsewhere", "--yes")
    assert refused.code == 22
    assert "overlaps" in refused.err


def test_a_remote_folder_is_linked_alone(laptop: Device, tmp_path: Path, user: User) -> None:
    with device(tmp_path, "desk", user) as desk:
        (laptop.folder / "work").mkdir()
        (laptop.folder / "work" / "plan.txt").write_text("plan")
        (laptop.folder / "private.txt").write_text("private")
        wait_until_equal([laptop, desk])
        assert desk.cli("unlink", str(desk.folder)).code == 0
        part = tmp_path / "part"
        assert desk.cli("link", str(part), "/work", "--yes").code == 0
        wait_for(lambda: (part / "plan.txt").exists(), "the linked part does not arrive")
        (part / "answer.txt").write_text("answer")
        wait_for(lambda: (laptop.folder / "work" / "answer.txt").exists(), "what is saved in the part does not arrive")
        assert sorted(path.name for path in part.iterdir()) == [".satchel", "answer.txt", "plan.txt"]


def test_a_restored_folder_is_merged_and_loses_nothing(laptop: Device, tmp_path: Path, user: User) -> None:
    with device(tmp_path, "desk", user) as desk:
        (laptop.folder / "kept.txt").write_text("kept")
        (laptop.folder / "lost.txt").write_text("lost by the restore")
        wait_until_equal([laptop, desk])
        laptop.folder.rename(tmp_path / "broken disk")
        laptop.folder.mkdir()
        (laptop.folder / "kept.txt").write_text("kept")
        (laptop.folder / "from backup.txt").write_text("old")
        relinked = laptop.cli("link", str(laptop.folder), "--moved", "--yes")
        assert relinked.code == 0, relinked
        wait_for(lambda: (desk.folder / "from backup.txt").exists(), "the restored folder is not merged")
        wait_for(lambda: (laptop.folder / "lost.txt").exists(), "what the restore lost does not come back")
        assert (desk.folder / "lost.txt").read_text() == "lost by the restore"


# -- signing out ------------------------------------------------------------------------------------------------------


def test_a_revoked_device_halts_says_so_and_keeps_its_files(laptop: Device, server: RunningServer) -> None:
    (laptop.folder / "a.txt").write_text("a")
    assert laptop.wait_in_sync().state == "in_sync"
    session = User(server.url, laptop.user.name, PASSWORD).sign_in("other")
    (mine,) = (one for one in session.ask("GET", "/api/v1/devices").json() if one["name"] == "laptop")
    assert session.ask("DELETE", f"/api/v1/devices/{mine['id']}").status == 204
    (laptop.folder / "b.txt").write_text("b")
    wait_for(lambda: laptop.status().state == "halted", "a revoked device goes on")
    told = laptop.cli("status")
    assert told.code == 13
    assert "satchel login" in told.out
    assert sorted(path.name for path in laptop.folder.iterdir()) == [".satchel", "a.txt", "b.txt"]


def test_signing_in_again_goes_on_where_it_was(laptop: Device, server: RunningServer) -> None:
    session = User(server.url, laptop.user.name, PASSWORD).sign_in("other")
    (mine,) = (one for one in session.ask("GET", "/api/v1/devices").json() if one["name"] == "laptop")
    session.ask("DELETE", f"/api/v1/devices/{mine['id']}")
    (laptop.folder / "b.txt").write_text("b")
    wait_for(lambda: laptop.status().state == "halted", "a revoked device goes on")
    laptop.stop()
    laptop.sign_in()
    laptop.start()
    assert laptop.wait_in_sync().state == "in_sync"
    assert laptop.cli("ls").out == "b.txt\n"
