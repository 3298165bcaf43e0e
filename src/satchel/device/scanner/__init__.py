"""Looks at the disk and says what differs from the index. Invariant: it decides nothing and changes nothing.

`Scanner.scan` compares hinted folders with the known tree, reads what changed and reports facts in parts. It awaits
nothing but the FileSystem port. Source: docs/design/040 (watching and scanning).
"""

from __future__ import annotations

from collections.abc import Callable

from satchel.core.errors import RootMissing
from satchel.device.bounds import BOUNDS, Bounds
from satchel.device.ignore import IgnoreRules
from satchel.device.ports import ROOT_PATH, FileSystem, Times, Volume
from satchel.device.scanner.beside import Looker
from satchel.device.scanner.hints import Hints
from satchel.device.scanner.known import KnownTree
from satchel.device.scanner.parts import Parts
from satchel.device.scanner.walk import Reading, Walk
from satchel.device.short_files import ShortFiles, TakesShort
from satchel.device.tasks import Scanned, ScanTask
from satchel.device.turns import Turns

__all__ = ["KnownTree", "Scanner", "is_full"]


class Scanner:
    """Scans one linked folder. One scan at a time. volume: the root's identity as it was linked, when that is known.

    short: takes the bytes of short files, for the commit. turns: shared with the engine beside it, if there is one.
    looker: looks at folders beside the walk (`beside`).
    """

    def __init__(
        self,
        fs: FileSystem,
        known: KnownTree,
        clock: Times,
        ignore: IgnoreRules | None = None,
        volume: Volume | None = None,
        short: TakesShort | None = None,
        turns: Turns | None = None,
        bounds: Bounds = BOUNDS,
        looker: Looker | None = None,
    ) -> None:
        self._fs = fs
        self._known = known
        self._clock = clock
        self.ignore = ignore or IgnoreRules()
        self.volume = volume
        self._reading = Reading(short or ShortFiles(), turns, looker)
        self._facts_max = bounds.facts_per_part

    async def scan(self, task: ScanTask, report: Callable[[Scanned], None]) -> None:
        """Report what differs below the task's hints, in parts of at most about 500 facts, 32 MiB hashed or 250 ms.

        The last part says so. When the root is not what it was, the last part carries RootMissing and no fact.
        """
        is_whole = is_full(task)
        parts = Parts(task, self._clock, report, is_full=is_whole, facts_max=self._facts_max)
        walk = Walk(self._fs, self._known, self._clock, self.ignore, Hints(task.hints), parts, self._reading)
        try:
            if is_whole:
                await self._check_root()
            await walk.run()
            if is_whole or walk.has_missing:
                await self._check_root()
            await walk.report_gone()
        except RootMissing as fault:
            parts.end(fault)
            return
        parts.end()

    async def _check_root(self) -> None:
        found = await self._fs.check_root()
        self.volume = self.volume or found
        if found != self.volume:
            raise RootMissing("The linked folder is another volume now.", path=ROOT_PATH, reason="volume_changed")


def is_full(task: ScanTask) -> bool:
    """Return whether the task is a look at everything."""
    return any(hint.folder == ROOT_PATH and hint.names is None and hint.is_deep for hint in task.hints)
