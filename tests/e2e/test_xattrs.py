"""Extended attributes (hard case I5) with real processes: two devices that sync them, one that does not.

The folder of the tests has to hold `user.` attributes (ext4, btrfs, xfs; tmpfs since Linux 6.6); else these fail.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.core.limits import XATTRS_BYTES_MAX
from tests.support.devices import Device, wait_for
from tests.support.server import User, running_server


@contextlib.contextmanager
def linked(folder: Path, name: str, user: User, *arguments: str) -> Iterator[Device]:
    """A device of its own whose folder is linked with these arguments."""
    made = Device(folder / f"{name}-home", folder / name, name, user)
    made.sign_in()
    made.start()
    try:
        ran = made.link(*arguments)
        assert ran.code in (0, 10, 12), ran
        yield made
    finally:
        made.stop()


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[tuple[Device, Device, Device]]:
    with running_server(tmp_path) as server:
        user = server.add_user("ann")
        with (
            linked(tmp_path, "laptop", user, "--xattrs") as laptop,
            linked(tmp_path, "desk", user, "--xattrs") as desk,
            linked(tmp_path, "plain", user) as plain,
        ):
            yield laptop, desk, plain


def attributes(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith("user.")}


def test_i5_attributes_arrive_and_come_back(devices: tuple[Device, Device, Device]) -> None:
    laptop, desk, plain = devices
    here, there = laptop.folder / "a.txt", desk.folder / "a.txt"
    here.write_text("hello")
    os.setxattr(here, "user.colour", b"red")
    (laptop.folder / "folder").mkdir()
    os.setxattr(laptop.folder / "folder", "user.tag", b"work")
    wait_for(lambda: there.exists() and attributes(there) == {"user.colour": b"red"}, "a new file has none")
    wait_for((plain.folder / "a.txt").exists, "the file does not arrive where they are not synced")
    wait_for(lambda: _of(desk.folder / "folder") == {"user.tag": b"work"}, "a new folder has none")

    os.setxattr(there, "user.rating", b"5")
    os.removexattr(desk.folder / "folder", "user.tag")
    wait_for(lambda: attributes(here) == {"user.colour": b"red", "user.rating": b"5"}, "a change does not arrive")
    wait_for(lambda: _of(laptop.folder / "folder") == {}, "a removal does not arrive")

    (plain.folder / "a.txt").write_text("edited where they are not known")
    wait_for(lambda: here.read_text().startswith("edited"), "the edit does not arrive")
    assert attributes(here) == {"user.colour": b"red", "user.rating": b"5"}
    assert attributes(plain.folder / "a.txt") == {}


def test_i5_too_many_are_told_and_the_content_arrives(devices: tuple[Device, Device, Device]) -> None:
    laptop, desk, _ = devices
    here = laptop.folder / "a.txt"
    here.write_text("hello")
    os.setxattr(here, "user.long", bytes(XATTRS_BYTES_MAX // 2))
    wait_for((desk.folder / "a.txt").exists, "the content does not arrive")
    status = laptop.wait_in_sync()
    assert (status.state, status.held) == ("in_sync", 0)
    assert any(note.startswith("a.txt: more extended attributes") for note in status.notes)
    assert attributes(desk.folder / "a.txt") == {}
    assert attributes(here) == {"user.long": bytes(XATTRS_BYTES_MAX // 2)}


def _of(path: Path) -> dict[str, bytes] | None:
    return attributes(path) if path.exists() else None
