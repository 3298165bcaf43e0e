"""A linked folder on the real disk with its scanner and a small index, for the scanner's tests."""

from __future__ import annotations

import os
import time
from pathlib import Path

from satchel.core.entries import Kind
from satchel.core.hashing import Block, block_hash, content_hash
from satchel.device.disk import LocalDisk
from satchel.device.drive import drive
from satchel.device.ports import ROOT_PATH, DiskPath, Hint
from satchel.device.scanner import Scanner
from satchel.device.tasks import LocalFact, Scanned, ScanTask
from tests.support.known import KnownModel

FULL = Hint(ROOT_PATH, None, True)
SECOND_NS = 1_000_000_000


class ScanClock:
    """Wall clock with an offset, so that a test says whether files look fresh.

    ahead_ns: how far it runs ahead; stands_at_ns: what it says each time, once it is set.
    """

    def __init__(self, ahead_ns: int = SECOND_NS) -> None:
        self.ahead_ns = ahead_ns
        self.stands_at_ns: int | None = None

    def now_ns(self) -> int:
        return time.time_ns() + self.ahead_ns if self.stands_at_ns is None else self.stands_at_ns

    def monotonic_s(self) -> float:
        return time.monotonic()

    def random(self, count: int) -> bytes:
        return os.urandom(count)

    async def sleep_s(self, seconds: float) -> None:
        raise AssertionError("a scan never sleeps")


class ScannedRoot:
    """root: the linked folder. scan() returns the facts and records them."""

    def __init__(self, root: Path, disk: LocalDisk | None = None) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        LocalDisk.initialise(os.fsencode(root))
        self.disk = disk or LocalDisk(os.fsencode(root))
        self.known = KnownModel()
        self.clock = ScanClock()
        self.scanner = Scanner(self.disk, self.known, self.clock)
        self.parts: list[Scanned] = []

    def scan(self, *hints: Hint) -> list[LocalFact]:
        """Scan the hints (all without one), record the facts and return them."""
        self.parts = []
        drive(self.scanner.scan(ScanTask(hints or (FULL,)), self.parts.append))
        assert [part.is_last for part in self.parts] == [False] * (len(self.parts) - 1) + [True]
        facts = [fact for part in self.parts for fact in part.facts]
        if self.parts[-1].fault is None:
            self.known.take(facts)
        return facts

    def look(self, folder: str, *names: str) -> list[LocalFact]:
        """Scan names in one folder."""
        return self.scan(Hint(DiskPath(folder.encode()), frozenset(name.encode() for name in names)))

    def write(self, path: str, data: bytes | str = b"x") -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data.encode() if isinstance(data, str) else data)
        return target

    def disk_tree(self) -> dict[DiskPath, tuple[Kind, bytes]]:
        """Return what stands on the disk, read in the plainest way; files of one block only."""
        found: dict[DiskPath, tuple[Kind, bytes]] = {}
        for folder, folders, files in os.walk(os.fsencode(self.root)):
            if folder == os.fsencode(self.root):
                folders.remove(b".satchel")
            for name in folders + files:
                path = os.path.join(folder, name)
                place = DiskPath(os.path.relpath(path, os.fsencode(self.root)))
                if os.path.islink(path):
                    found[place] = (Kind.SYMLINK, os.readlink(path))
                elif os.path.isdir(path):
                    found[place] = (Kind.FOLDER, b"")
                else:
                    with open(path, "rb") as file:
                        found[place] = (Kind.FILE, content_of(file.read()))
        return found


def content_of(data: bytes) -> bytes:
    """Return the content hash of a file of at most one block."""
    return content_hash((Block(block_hash(data), len(data)).hash,) if data else ())
