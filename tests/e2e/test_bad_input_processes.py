"""Real processes: over quota, signed out, a root folder that is gone. A clear line, the rest goes on, nothing is lost.

The table of all cases stands in tests/integration/test_bad_input.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.devices import Device, device, wait_for
from tests.support.server import RunningServer, Session, User, running_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path) as running:
        yield running


@pytest.fixture
def user(server: RunningServer) -> User:
    return server.add_user("ann")


def content(session: Session, path: str) -> bytes:
    return session.ask("GET", "/api/v1/content", path=path).body


def held(laptop: Device) -> dict[str, str]:
    return {item.path: item.code for item in laptop.status().held_items}


def test_over_quota_a_file_waits_with_its_code_and_the_rest_goes_on(
    tmp_path: Path, server: RunningServer, user: User
) -> None:
    session = user.sign_in("browser")
    server.admin("user.quota", name="ann", quota_bytes=200_000)
    with device(tmp_path, "laptop", user) as laptop:
        (laptop.folder / "big").write_bytes(os.urandom(600_000))
        (laptop.folder / "small").write_bytes(b"small")
        wait_for(lambda: held(laptop) == {"big": "quota_exceeded"}, "the big file is held")
        wait_for(lambda: content(session, "/small") == b"small", "the small file is there")
        wait_for(lambda: laptop.status().state == "attention", "it says that something waits")
        (laptop.folder / "big").write_bytes(b"no longer big")
        wait_for(lambda: content(session, "/big") == b"no longer big", "it fits now")
        assert laptop.wait_in_sync().state == "in_sync"


def test_a_signed_out_device_says_so_and_keeps_its_files(tmp_path: Path, server: RunningServer, user: User) -> None:
    with device(tmp_path, "laptop", user) as laptop:
        (laptop.folder / "file").write_bytes(b"data")
        assert laptop.wait_in_sync().state == "in_sync"
        server.admin("user.passwd", name="ann", password="another horse battery")
        (laptop.folder / "later").write_bytes(b"later")
        wait_for(lambda: laptop.status().state == "halted", "the device is signed out")
        assert "satchel login" in laptop.status().message
        assert {one.name: one.read_bytes() for one in laptop.folder.iterdir() if one.is_file()} == {
            "file": b"data",
            "later": b"later",
        }


def test_a_root_folder_that_is_gone_halts_and_deletes_nothing(tmp_path: Path, user: User) -> None:
    session = user.sign_in("browser")
    with device(tmp_path, "laptop", user) as laptop:
        (laptop.folder / "file").write_bytes(b"data")
        assert laptop.wait_in_sync().state == "in_sync"
        away = laptop.folder.rename(laptop.folder.with_name("away"))
        laptop.wait_in_sync(5.0)
        wait_for(lambda: laptop.status().state == "halted", "the folder is not there")
        assert laptop.status().message
        assert content(session, "/file") == b"data"
        away.rename(laptop.folder)
        laptop.stop()
        laptop.start()
        (laptop.folder / "more").write_bytes(b"more")
        wait_for(lambda: content(session, "/more") == b"more", "it goes on")
        assert content(session, "/file") == b"data"
