"""What runs in the process that scans: one order, one scan, the end.

Invariant: it opens the folder and the index for reading only, and it ends when the daemon's side of its line does.
Started with few imports, because the scan waits for them.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import PurePath

from satchel.core.errors import Fault
from satchel.core.ids import BlockHash
from satchel.core.limits import MIB
from satchel.device.disk import LocalDisk
from satchel.device.disk_files import LocalOpenFile
from satchel.device.drive import drive
from satchel.device.ignore import IgnoreRules
from satchel.device.index.reader import open_reader
from satchel.device.memory import collect_rarely
from satchel.device.ports import Brief, Compared, DiskPath, Listed, RowsOf, Stat
from satchel.device.scan_process.frames import (
    LENGTH_BYTES,
    Beat,
    Failed,
    Frame,
    Learnt,
    Order,
    ShortRead,
    framed,
    length_of,
    order_of,
    part_of,
    told,
)
from satchel.device.scan_process.second import SecondProcess, can_help
from satchel.device.scanner import Scanner
from satchel.device.tasks import Scanned, ScanTask

LINE = 0
"""The line to the daemon is where others have their standard input."""

SHORT_BYTES_MAX = MIB
"""So much of short files leaves at once."""

BEAT_S = 1.0
PIECE_BYTES = 65_536


class Line:
    """The child's side. One thread writes."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._last_s = 0.0

    def take_order(self) -> Order:
        """Wait for the order. Raises: EOFError when the daemon is gone."""
        return order_of(self._take(length_of(self._take(LENGTH_BYTES))))

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = os.read(self._handle, min(size - len(data), PIECE_BYTES))
            if not piece:
                raise EOFError
            data += piece
        return data

    def send(self, frame: Frame) -> None:
        """Send a frame; waits while the daemon has no room for it."""
        data = memoryview(framed(frame))
        while data:
            data = data[os.write(self._handle, data) :]
        self._last_s = time.monotonic()

    def live(self) -> None:
        """Give a sign of life when there was none for a while."""
        if time.monotonic() - self._last_s >= BEAT_S:
            self.send(Beat())

    def end_with_daemon(self) -> None:
        """End this process when the daemon ends or hangs up; nothing more is ever sent to it. Never returns."""
        try:
            os.read(self._handle, 1)
        finally:
            os._exit(1)


class ShortOnTheWay:
    """Gathers the contents of short files; they leave before the part that names them."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._names: list[BlockHash] = []
        self._contents: list[bytes] = []
        self._bytes = 0

    def put(self, name: BlockHash, data: bytes) -> None:
        """Take the bytes, whose hash is `name`."""
        self._names.append(name)
        self._contents.append(data)
        self._bytes += len(data)
        if self._bytes >= SHORT_BYTES_MAX:
            self.send()

    def send(self) -> None:
        """Send what was gathered."""
        if self._names:
            self._line.send(ShortRead(self._names, self._contents))
            self._names, self._contents, self._bytes = [], [], 0


class _LivingFile(LocalOpenFile):
    __slots__ = ("_line",)

    def __init__(self, opened: LocalOpenFile, line: Line) -> None:
        super().__init__(opened.handle, opened._path, opened._device, has_xattrs=opened._has_xattrs)
        self._line = line

    async def read(self, offset: int, length: int) -> bytes:
        self._line.live()
        return await super().read(offset, length)


class LivingDisk(LocalDisk):
    """The linked folder; whoever reads it gives signs of life."""

    def __init__(self, root: bytes, line: Line, *, has_xattrs: bool) -> None:
        super().__init__(root, has_xattrs=has_xattrs)
        self._line = line

    async def list_folder(self, path: DiskPath) -> list[Listed]:
        self._line.live()
        return await super().list_folder(path)

    async def compare_folder(self, path: DiskPath, rows_of: RowsOf) -> Compared:
        def living(names: list[str]) -> dict[str, Brief]:
            self._line.live()
            return rows_of(names)

        return await super().compare_folder(path, living)

    async def stat(self, path: DiskPath) -> Stat | None:
        self._line.live()
        return await super().stat(path)

    async def open_file(self, path: DiskPath) -> LocalOpenFile:
        return _LivingFile(await super().open_file(path), self._line)


class MachineTimes:
    """The `Times` port: the machine's clock without the event loop that nobody runs here."""

    def now_ns(self) -> int:
        """Wall clock, Unix ns."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """A clock that never goes back, in seconds."""
        return time.monotonic()


def scan(order: Order, line: Line, looker: SecondProcess | None = None) -> None:
    """Do the scan and report it. Raises: OSError when nobody listens any more."""
    ignore, short = IgnoreRules(), ShortOnTheWay(line)
    ignore.learn(order.rules)
    reader = open_reader(order.index)
    scanner = Scanner(
        LivingDisk(order.root, line, has_xattrs=order.has_xattrs),
        reader,
        MachineTimes(),
        ignore=ignore,
        volume=order.volume,
        short=short,
        looker=looker,
    )

    def report(part: Scanned) -> None:
        short.send()
        if part.is_last:
            if looker is not None:
                # The daemon ends this process as soon as it has the last part.
                looker.close()
            line.send(Learnt(scanner.volume, ignore.learnt()))
        line.send(part_of(part))

    try:
        drive(scanner.scan(ScanTask(order.hints), report))
    except Fault as fault:
        line.send(Failed(told(fault)))
    except Exception as error:
        # The daemon writes the log; a path must not stand in it.
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = "" if trace is None else f" at {PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        line.send(Failed(None, f"{type(error).__name__}{place}"))
        raise


def _second(order: Order, line: Line) -> SecondProcess | None:
    if not can_help():
        return None
    try:
        return SecondProcess(order, other_lines=(LINE,), live=line.live)
    except OSError:
        return None


def main() -> None:
    """Entry point of the process."""
    line = Line(LINE)
    order = line.take_order()
    collect_rarely()
    # Before there is any thread: what is forked then is whole.
    second = _second(order, line)
    threading.Thread(target=line.end_with_daemon, name="satchel-end", daemon=True).start()
    try:
        scan(order, line, second)
    finally:
        if second is not None:
            second.close()
    # Without the interpreter's tidying: nothing here has to be tidied, and the daemon waits.
    os._exit(0)
