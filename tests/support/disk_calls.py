"""What the contract suites of the file system share: short ways to a disk's calls."""

from __future__ import annotations

from satchel.device.drive import drive
from satchel.device.ports import DiskPath, Stat
from tests.support.disk_worlds import World

MTIME_NS = 1_600_000_000_123_456_789


def path(text: str | bytes) -> DiskPath:
    return DiskPath(text.encode() if isinstance(text, str) else text)


def staged(world: World, data: bytes, *, is_executable: bool = False) -> tuple[str, Stat]:
    file = drive(world.disk.stage())
    drive(file.write(data))
    return file.name, drive(file.finish(mtime_ns=MTIME_NS, is_executable=is_executable))


def stat_of(world: World, at: str | bytes) -> Stat:
    found = drive(world.disk.stat(path(at)))
    assert found is not None
    return found
