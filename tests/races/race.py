"""One race on a real disk: Satchel replaces a file, and another program saves it at the same moment.

Invariant: what the other program left as the file's content is in the linked folder afterwards, under some name: at its
place, kept beside it, or brought back from the trash by the looks that come later. Source: docs/design/040, rule 2.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from satchel.core.hashing import block_hash, content_hash
from satchel.core.ids import Nid
from satchel.device.applier import Applier
from satchel.device.clock import MachineClock
from satchel.device.disk import LocalDisk
from satchel.device.drive import drive
from satchel.device.ports import DiskPath, Stat
from satchel.device.tasks import Applied, ApplyTask, Changed, DiskResult, LateItem, LateTask, PlaceFile
from tests.races.writer import LATE, WAYS, wait_until
from tests.support.disk_users import RealUser

NAME = DiskPath(b"file")
MTIME_NS = 1_700_000_000 * 10**9
ALL_WAYS = (*WAYS, LATE)
HEAD_START_NS = 300_000
"""Until both have begun to wait for the moment."""
GAP_NS = 60_000
LEARNING = 0.02
WIDTH = 1.3
"""The save begins within so many times the length of a replace."""


class EditLost(Exception):
    """What the other program wrote is not in the linked folder."""


class TimedDisk(LocalDisk):
    """Tells when it last looked at the file before the exchange, for the races to aim at the gap."""

    looked_ns = 0

    async def rename_staged(self, name: str, new_name: str) -> None:
        await super().rename_staged(name, new_name)
        self.looked_ns = time.monotonic_ns()


class Track:
    """Runs races on one linked folder. counts: how they ended, by way and result. Use as a context manager."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._rng = random.Random(seed)
        self._root = os.fsencode(folder / "linked")
        os.mkdir(self._root)
        LocalDisk.initialise(self._root)
        self._disk = TimedDisk(self._root, free_bytes_min=0)
        self._applier = Applier(self._disk, MachineClock())
        self._user = RealUser(self._root)
        self._length_ns = self._gap_ns = 300_000.0
        self._number = 0
        self.counts: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.races.writer", os.fsdecode(self._root + b"/" + NAME)]
        self._writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._writer.stdin is not None
        self._writer.stdin.close()
        self._writer.wait(timeout=30)

    def race(self) -> None:
        """Run one. Raises: EditLost."""
        way = self._rng.choice(ALL_WAYS)
        base, expected = self._begin()
        begin_ns = time.monotonic_ns() + HEAD_START_NS
        self._say(f"{way} edit-{self._number} {begin_ns + self._aimed_ns()}")
        wait_until(begin_ns)
        result = self._replace(expected)
        self._length_ns += LEARNING * (time.monotonic_ns() - begin_ns - self._length_ns)
        self._gap_ns += LEARNING * (self._disk.looked_ns - begin_ns - self._gap_ns)
        self._end(way, base, expected, result, self._hear().encode())

    def race_in_order(self, way: str, *, is_saved_first: bool) -> str:
        """Run one that is decided beforehand, since one begins when the other is over. Result: how it ended.

        The save has another length than the file had, so that it shows whatever the disk's clock does.
        Raises: EditLost.
        """
        base, expected = self._begin()
        result = None if is_saved_first else self._replace(expected)
        self._say(f"{way} edit-of-another-length-{self._number} 0")
        left = self._hear().encode()
        return self._end(way, base, expected, result or self._replace(expected), left)

    def _begin(self) -> tuple[bytes, Stat]:
        """Write the file that is to be replaced. Result: its content and its stat."""
        self._number += 1
        base = b"base %d" % self._number
        self._user.write_file(NAME, base)
        expected = drive(self._disk.stat(NAME))
        assert expected is not None
        return base, expected

    def _replace(self, expected: Stat) -> DiskResult:
        task = PlaceFile(Nid(1), NAME, "", b"remote %d" % self._number, MTIME_NS, False, expected)
        (result,) = drive(self._applier.apply(ApplyTask(1, (task,)))).results
        return result

    def _end(self, way: str, base: bytes, expected: Stat, result: DiskResult, left: bytes) -> str:
        """Look for what the other program left; result: how the race ended. Raises: EditLost."""
        told = _told(result)
        if isinstance(result, Applied) and result.trashed:
            item = LateItem(result.trashed, NAME, {b"": expected}, content_hash((block_hash(base),)), 2)
            (late,) = drive(self._applier.look_late(LateTask((item,)))).results
            told += ", brought back later" if getattr(late, "paths", ()) else ""
        tree = self._user.tree()
        if left not in (b"-", b"?") and left not in tree.values():
            raise EditLost(f"race {self._number} ({way}): {left!r} is not in {tree}; the result was {result}")
        if staged := drive(self._disk.list_staged()):
            raise EditLost(f"race {self._number} ({way}): left in staging: {staged}")
        self.counts[way, told] += 1
        self._clear(tree)
        return told

    def _aimed_ns(self) -> int:
        """Half of the races at any time of the replace, half around the gap between the last look and the exchange."""
        if self._rng.random() < 0.5:
            return int(self._rng.random() * WIDTH * self._length_ns)
        return max(0, int(self._gap_ns + self._rng.uniform(-GAP_NS, GAP_NS)))

    def _clear(self, tree: dict[bytes, bytes | None]) -> None:
        for name in tree:
            self._user.delete(name)
        if self._number % 200 == 0:
            drive(self._disk.purge_trash(time.time_ns()))

    def _say(self, line: str) -> None:
        assert self._writer.stdin is not None
        self._writer.stdin.write(line + "\n")
        self._writer.stdin.flush()

    def _hear(self) -> str:
        assert self._writer.stdout is not None
        line = self._writer.stdout.readline()
        if not line:
            raise RuntimeError("the other program ended")
        return line.strip()


def _told(result: object) -> str:
    match result:
        case Applied():
            return "replaced"
        case Changed(reason=reason):
            return reason
        case _:
            return str(result)
