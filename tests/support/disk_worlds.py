"""A linked folder with its disk and its user, on each disk that passes the contract."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from satchel.device.disk import LocalDisk
from satchel.device.ports import FileSystem
from satchel.simulation.fake_disk import FakeDisk
from satchel.simulation.fake_user import FakeUser
from tests.support.disk_users import RealUser, User
from tests.support.still_clock import StillClock

WORLD_NAMES = ("fake", "disk", "memory", "names")
"""disk: where pytest keeps its folders. memory: tmpfs. names: without openat2, each path walked name by name."""


@dataclass(frozen=True, slots=True)
class World:
    """disk: the port. user: the person behind it. root: b"" for the fake."""

    disk: FileSystem
    user: User
    root: bytes = b""


def make_world(name: str, folder: Callable[[str], bytes], *, has_xattrs: bool = False) -> World:
    """Return a fresh linked folder. folder("disk" | "memory"): makes an empty folder there."""
    if name == "fake":
        fake = FakeDisk(StillClock(), has_xattrs=has_xattrs)
        return World(fake, FakeUser(fake))
    root = os.path.join(folder("disk" if name == "disk" else "memory"), b"root")
    os.mkdir(root)
    LocalDisk.initialise(root)
    disk = LocalDisk(root, free_bytes_min=0, is_openat2_used=name != "names", has_xattrs=has_xattrs)
    return World(disk, RealUser(root), root)


def world_at(name: str, folder: Path, *, has_xattrs: bool = False) -> Iterator[World]:
    """Yield one of WORLD_NAMES for a fixture; its folder in memory goes afterwards. folder: a test's own, on disk."""
    made: list[str] = []

    def fresh(where: str) -> bytes:
        if where == "disk":
            return str(folder).encode()
        made.append(tempfile.mkdtemp(prefix="satchel-", dir="/dev/shm"))
        return made[-1].encode()

    yield make_world(name, fresh, has_xattrs=has_xattrs)
    for one in made:
        shutil.rmtree(one)
