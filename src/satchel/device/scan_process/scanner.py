"""Where a scan is done: in the caller's thread, or for a large folder in a process of its own.

Invariant: either way the same facts come, in an order that can be folded. A process that is lost before its first part
is replaced by the thread at once; one that is lost later cuts the scan short with a fault, nothing is derived from what
is missing, and the engine's next look is done in the thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from satchel.core.entries import Kind
from satchel.core.errors import Fault, MessageInvalid, Unavailable
from satchel.device.logs import EventLog
from satchel.device.ports import ROOT_PATH, FileSystem, Volume, joined
from satchel.device.scan_process.frames import (
    Beat,
    Failed,
    FaultTold,
    Frame,
    Learnt,
    Order,
    Part,
    ShortRead,
    fault_of,
    frame_of,
)
from satchel.device.scan_process.process import PROGRAM, SILENCE_S_MAX, ProcessLost, ScanProcess
from satchel.device.scanner import KnownTree, Scanner, is_full
from satchel.device.short_files import ShortFiles
from satchel.device.tasks import Scanned, ScanTask
from satchel.device.turns import Turns

log = EventLog(__name__)

LARGE_NAMES_MIN = 20_000
"""From so many names on the start of a process costs less than what it spares."""

Report = Callable[[Scanned], None]


class RoomyScanner:
    """Scans one linked folder, like the `Scanner` that it is given, which has the same fs and known tree.

    root, index: where folder and database stand.
    """

    def __init__(
        self,
        scanner: Scanner,
        fs: FileSystem,
        known: KnownTree,
        *,
        root: bytes,
        index: str,
        short: ShortFiles,
        turns: Turns,
        has_xattrs: bool = False,
        names_min: int = LARGE_NAMES_MIN,
        silence_s: float = SILENCE_S_MAX,
        program: str = PROGRAM,
    ) -> None:
        self._scanner = scanner
        self._fs = fs
        self._known = known
        self._root = root
        self._index = index
        self._short = short
        self._turns = turns
        self._has_xattrs = has_xattrs
        self.names_min = names_min
        """So many names make a folder large."""
        self._silence_s = silence_s
        self._program = program
        self._lock = threading.Lock()
        self._process: ScanProcess | None = None
        self._is_held = False
        self._is_trusted = True
        self.is_calm = False
        """Nothing else wants the interpreter: then a process costs its start and spares nothing."""
        self.started = 0
        """How many processes there were."""

    async def scan(self, task: ScanTask, report: Report) -> None:
        """As `Scanner.scan`. Raises besides: Unavailable when the process was lost or held in the middle."""
        is_wanted = self._is_trusted and not self.is_calm and is_full(task)
        is_apart = is_wanted and (self._known.holds(self.names_min) or await is_large(self._fs, self.names_min))
        if not (is_apart and self._scan_apart(task, report)):
            await self._scanner.scan(task, report)

    def expect(self, volume: Volume) -> None:
        """Say which folder it is, before the first scan."""
        self._scanner.volume = volume

    def hold(self) -> None:
        """End the process under way and start none until `go_on`. For any thread."""
        with self._lock:
            self._is_held = True
            if self._process is not None:
                self._process.stop()

    def go_on(self) -> None:
        """Take back `hold`."""
        with self._lock:
            self._is_held = False

    @property
    def pid(self) -> int | None:
        """The process under way."""
        process = self._process
        return None if process is None else process.pid

    def _scan_apart(self, task: ScanTask, report: Report) -> bool:
        """Return True when the scan was done, False when none of it was. Raises: Unavailable, and the scan's Faults."""
        has_begun = False

        def count(part: Scanned) -> None:
            nonlocal has_begun
            has_begun = True
            report(part)

        try:
            with self._running(task) as process:
                try:
                    self._relay(process, task, count)
                except ProcessLost as lost:
                    if process.is_stopped:
                        raise Unavailable("The scan was stopped.", where="scan", reason="held") from lost
                    raise
        except ProcessLost as lost:
            self._is_trusted = False
            log.warning("scan.process_lost", reason=lost.fields.get("reason"), has_begun=has_begun)
            if has_begun:
                raise
            return False
        return True

    def _relay(self, process: ScanProcess, task: ScanTask, report: Report) -> None:
        process.send_order()
        while True:
            frame = self._next_frame(process)
            if not isinstance(frame, Part):
                self._take(frame)
                continue
            report(frame.of(task))
            if frame.is_last:
                return

    @contextmanager
    def _running(self, task: ScanTask) -> Iterator[ScanProcess]:
        scanner = self._scanner
        order = Order(
            self._root, self._index, task.hints, scanner.volume, scanner.ignore.learnt(), has_xattrs=self._has_xattrs
        )
        with self._lock:
            if self._is_held:
                raise Unavailable("The scan was stopped.", where="scan", reason="held")
            self._process = process = ScanProcess(order, silence_s=self._silence_s, program=self._program)
            self.started += 1
        try:
            with process:
                yield process
        finally:
            with self._lock:
                self._process = None

    def _next_frame(self, process: ScanProcess) -> Frame:
        body = process.next_body()
        with self._turns.patient:
            try:
                return frame_of(body)
            except MessageInvalid as fault:
                raise ProcessLost(fault.message, where="scan", reason=f"broken frame: {fault.fields}") from fault

    def _take(self, frame: Beat | ShortRead | Learnt | Failed) -> None:
        match frame:
            case ShortRead(names=names, contents=contents):
                # The process waits with us: it reads no further than the line is long.
                self._short.wait_for_room(sum(map(len, contents)))
                with self._turns.patient:
                    for name, data in zip(names, contents, strict=True):
                        self._short.put(name, data)
            case Learnt(volume=volume, rules=rules):
                self._scanner.volume = volume
                self._scanner.ignore.learn(rules)
            case Failed(fault=FaultTold() as fault):
                raise fault_of(fault)
            case Failed(reason=reason):
                raise ProcessLost("The process that scans failed.", where="scan", reason=reason)
            case Beat():
                pass


async def is_large(fs: FileSystem, names_min: int) -> bool:
    """Return whether the linked folder holds so many names; it looks at no more of them."""
    waiting, names = [ROOT_PATH], 0
    while waiting and names < names_min:
        folder = waiting.pop()
        try:
            listed = await fs.list_folder(folder)
        except Fault:
            # The scan itself says what is wrong with it.
            continue
        names += len(listed)
        waiting += [joined(folder, one.name) for one in listed if one.stat.kind is Kind.FOLDER]
    return names >= names_min
