"""A linked folder with the engine's own index in a file, scanned by the thread and by a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from satchel.core.errors import Unavailable
from satchel.device.disk import LocalDisk
from satchel.device.drive import drive
from satchel.device.engine import Engine
from satchel.device.engine.state import LinkIdentity
from satchel.device.index.reader import open_reader
from satchel.device.index.store import Index
from satchel.device.ports import ROOT_PATH, DiskPath, Hint, joined
from satchel.device.scan_process.process import PROGRAM, SILENCE_S_MAX
from satchel.device.scan_process.scanner import RoomyScanner
from satchel.device.scanner import Scanner
from satchel.device.short_files import ShortFiles
from satchel.device.tasks import LocalFact, Scanned, ScanTask
from satchel.device.turns import Turns
from tests.support.engine_rig import DEVICE, LINK, NS, Rig
from tests.support.scanned_root import ScanClock

FULL = ScanTask((Hint(ROOT_PATH, None, True),))


class ScanRig(Rig):
    """The engine over an index in a file, and the folder that it is linked to."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.root = folder / "root"
        self.root.mkdir()
        LocalDisk.initialise(os.fsencode(self.root))
        self.path = str(folder / "index.db")
        self.index.close()
        self.index = Index(self.path)
        self.engine = Engine(self.index, LinkIdentity(LINK, DEVICE, "laptop", NS), self.clock)
        self.short = ShortFiles()
        self.step()
        self.connect()

    def thread(self) -> Scanner:
        """Return a scanner that works where it is called. Files are old for it, as they are when a process starts."""
        return Scanner(LocalDisk(os.fsencode(self.root)), open_reader(self.path), ScanClock(), short=self.short)

    def apart(self, *, program: str = PROGRAM, silence_s: float = SILENCE_S_MAX) -> RoomyScanner:
        """Return a scanner that takes any folder with a name in it for a large one."""
        return RoomyScanner(
            self.thread(),
            LocalDisk(os.fsencode(self.root)),
            open_reader(self.path),
            root=os.fsencode(self.root),
            index=self.path,
            short=self.short,
            turns=Turns(),
            names_min=1,
            silence_s=silence_s,
            program=program,
        )

    def scan_and_fold(self, scanner: RoomyScanner, after: Callable[[Scanned], None] = lambda part: None) -> None:
        """Let the scanner do the scan that the engine asks for, and fold each part at once. after: called with each."""

        def report(part: Scanned) -> None:
            self.step(part)
            after(part)

        task = self.take(ScanTask)
        try:
            drive(scanner.scan(task, report))
        except Unavailable as fault:
            self.step(Scanned(task, (), True, 0, fault=fault))

    def local_paths(self) -> set[DiskPath]:
        """Return what the local tree holds."""
        found: set[DiskPath] = set()
        waiting = [(0, ROOT_PATH)]
        while waiting:
            nid, path = waiting.pop()
            for row in self.index.reader.children(nid):  # type: ignore[arg-type]  # a nid is an int
                found.add(joined(path, row.name))
                waiting.append((row.nid, joined(path, row.name)))
        return found

    def disk_paths(self) -> set[DiskPath]:
        """Return what stands in the folder."""
        found = {DiskPath(os.fsencode(path.relative_to(self.root))) for path in self.root.rglob("*")}
        return {path for path in found if path.split(b"/")[0] != b".satchel"}


def parts_of(scanner: Scanner | RoomyScanner) -> list[Scanned]:
    """Scan all and return the parts."""
    parts: list[Scanned] = []
    drive(scanner.scan(FULL, parts.append))
    assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]
    return parts


def facts_of(scanner: Scanner | RoomyScanner) -> list[LocalFact]:
    """Scan all and return the facts."""
    return [fact for part in parts_of(scanner) for fact in part.facts]
