"""What a folder of very many files costs a device: `make bench-tree FILES=1000000 WORK=folder`, real processes.

Three trees, of a hundredth, a tenth and all of the files, are linked one after the other to one server and indexed;
then the daemon of each is started anew on what it knows. Figures, one line each: the first index, the start until
everything was looked at and is in sync, memory of the daemon and of the process that scans for it, processor time at
rest, and what one changed file costs the engine. The limit of the machine, `os.scandir` and a stat of each name, is
taken in the same run. With KEEP=folder what was made stays there, and the next run begins with the second start.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.devices import Device
from tests.support.server import PASSWORD, RunningServer, User

from bench.changed_file import changed_file_s
from satchel.device.control import Request
from satchel.device.index.beside import FILE_NAME
from satchel.device.links import LinkStore, index_folder
from satchel.device.status import DaemonStatus

FILES_PER_FOLDER = 40
FOLDERS_PER_FOLDER = 100
PARTS = (100, 10, 1)
STARTS = 3
SYNC_S_MAX = 7_200.0
LOOK_S = 0.05
FIRST_LOOK_S = 0.5
CALM_S = 10.0
IDLE_S = 60.0
MB = 1e6
NAME = "laptop"
MADE = "made.json"


@dataclass(frozen=True, slots=True)
class Made:
    """A tree that was indexed. peak_*: resident bytes of the daemon and of its scan process while that was done."""

    files: int
    first_index_s: float
    peak_bytes: int
    peak_scan_bytes: int


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds by the clock, and of a processor: the second tell more where others work beside."""

    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} s, {self.cpu_s:.2f} s of a core"


class Memory:
    """Looks at a daemon's resident memory, and at that of the processes that it starts, until the block ends."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._is_over = threading.Event()
        self.daemon_peak = self.scan_peak = self.together_peak = 0

    @contextlib.contextmanager
    def watched(self) -> Iterator[Memory]:
        """Look each few milliseconds."""
        thread = threading.Thread(target=self._look_on)
        thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            thread.join()

    def _look_on(self) -> None:
        while not self._is_over.wait(LOOK_S):
            own = resident(self._pid)
            scans = sum(resident(pid) for pid in children(self._pid))
            self.daemon_peak = max(self.daemon_peak, own)
            self.scan_peak = max(self.scan_peak, scans)
            self.together_peak = max(self.together_peak, own + scans)


def resident(pid: int) -> int:
    """Return the resident bytes of a process, 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 0


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they did, without one that is just being made."""
    own = command_of(pid)
    found = [child for child in started_by(pid) if command_of(child) != own]
    return found + [second for child in found for second in started_by(child)]


def started_by(pid: int) -> list[int]:
    """Return the processes that the threads of a process have forked."""
    found: list[int] = []
    for told in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, told.read_text().split())
    return found


def command_of(pid: int) -> bytes:
    """Return the command line of a process, b"" when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def cpu_s(pid: int) -> float:
    """Return the processor seconds that a process and its ended children have taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def write_tree(root: Path, files: int) -> None:
    """Write so many small files, no two of them equal."""
    for first in range(0, files, FILES_PER_FOLDER):
        number = first // FILES_PER_FOLDER
        folder = root / f"{number // FOLDERS_PER_FOLDER:04}" / f"folder {number % FOLDERS_PER_FOLDER:02}"
        folder.mkdir(parents=True)
        for at in range(first, min(first + FILES_PER_FOLDER, files)):
            with open(f"{folder}/Agenda {at:07}.txt", "wb", buffering=0) as file:
                file.write(b"%d\n" % at)


def limit(root: Path) -> Took:
    """Return what it takes to list the tree and stat each name, and nothing else; the better of two."""
    taken = []
    for _ in range(2):
        began, cpu = time.perf_counter(), time.process_time()
        waiting = [os.fsencode(root)]
        while waiting:
            with os.scandir(waiting.pop()) as listed:
                for item in listed:
                    item.stat(follow_symlinks=False)
                    if item.is_dir(follow_symlinks=False):
                        waiting.append(item.path)
        taken.append(Took(time.perf_counter() - began, time.process_time() - cpu))
    return min(taken, key=lambda took: took.cpu_s)


def wait_in_sync(one: Device, look_s: float = LOOK_S) -> None:
    """Ask until the device says that it is in sync, which it does not before it has looked at everything."""
    until = time.monotonic() + SYNC_S_MAX
    while (state := state_of(one)) != "in_sync":
        if time.monotonic() > until or state in ("halted", "attention"):
            raise RuntimeError(f"{state}: {one.told()}")
        time.sleep(look_s)


def state_of(one: Device) -> str:
    """Return the state of the device's only link, "" while it has none."""
    links = one.control().ask(Request("status"), DaemonStatus).links
    return links[0].state if links else ""


def pid_of(one: Device) -> int:
    """Return the daemon's number."""
    assert one.process is not None
    return one.process.pid


def make(server: RunningServer, one: Device, files: int) -> Made:
    """Write a tree, link it, and wait for the first index."""
    write_tree(one.folder, files)
    server.add_user(one.user.name)
    one.sign_in()
    one.start()
    with Memory(pid_of(one)).watched() as memory:
        began = time.perf_counter()
        linked = one.link()
        if linked.code not in (0, 10, 12):
            raise RuntimeError(f"{linked} {one.told()}")
        wait_in_sync(one, FIRST_LOOK_S)
        taken = time.perf_counter() - began
    one.stop()
    made = Made(files, taken, memory.daemon_peak, memory.scan_peak)
    (one.home / MADE).write_text(json.dumps(asdict(made)))
    return made


def start_anew(one: Device) -> tuple[Took, Memory]:
    """Start the daemon on what it knows. Result: until all was looked at and is in sync, and the memory meanwhile."""
    began = time.perf_counter()
    one.start()
    with Memory(pid_of(one)).watched() as memory:
        wait_in_sync(one)
        return Took(time.perf_counter() - began, cpu_s(pid_of(one))), memory


def measure(one: Device, made: Made, *, is_all: bool) -> float:
    """Print the figures of one tree. is_all: also those of a device at rest.

    Result: what one changed file costs the engine, in seconds of a core.
    """
    files = made.files
    least = limit(one.folder)
    tell(files, "scandir and stat, the machine's limit", str(least))
    tell(files, "first index", f"{made.first_index_s:.1f} s")
    tell(files, "  memory at its peak: daemon, scan", f"{_mb(made.peak_bytes)}, {_mb(made.peak_scan_bytes)}")
    for number in range(STARTS):
        took, memory = start_anew(one)
        times = f"{took.wall_s / least.wall_s:.1f} and {took.cpu_s / least.cpu_s:.1f} x the limit"
        tell(files, "start until all is looked at", f"{took}: {times}")
        peaks = ", ".join(map(_mb, (memory.daemon_peak, memory.scan_peak, memory.together_peak)))
        tell(files, "  memory at its peak: daemon, scan, both", peaks)
        if number == STARTS - 1 and is_all:
            rest(one, files)
        one.stop()
    (link,) = LinkStore(one.home).links()
    look_s, step_s = changed_file_s(one.folder, index_folder(one.home, link.link_id) / FILE_NAME, files)
    tell(files, "one changed file: look, engine", f"{look_s * 1e3:.2f} ms, {step_s * 1e3:.2f} ms")
    return step_s


def rest(one: Device, files: int) -> None:
    """Print what a device in sync takes while nothing happens."""
    pid = pid_of(one)
    time.sleep(CALM_S)
    before = cpu_s(pid)
    time.sleep(IDLE_S)
    tell(files, "processor at rest", f"{(cpu_s(pid) - before) / IDLE_S * 100:.2f} % of a core")
    tell(files, "memory at rest", _mb(resident(pid)))


def tell(files: int, what: str, figure: str) -> None:
    """Print one figure."""
    print(f"{files:9,} files  {what:42} {figure}", flush=True)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / MB:.0f} MB"


def run(work: Path, files: int) -> None:
    """Make what is not there yet, and measure it."""
    server = RunningServer(work / "data", environment={})
    port = work / "port"
    if port.exists():
        # The devices know the server by this port.
        server.arguments = ("--listen", f"127.0.0.1:{port.read_text()}")
    server.start()
    try:
        port.write_text(str(server.port))
        costs: dict[int, float] = {}
        for part in PARTS:
            count = max(1, files // part)
            name = f"ann-{count}"
            one = Device(work / name / "home", work / name / "tree", NAME, User(server.url, name, PASSWORD))
            known = one.home / MADE
            try:
                made = Made(**json.loads(known.read_text())) if known.exists() else make(server, one, count)
                costs[count] = measure(one, made, is_all=part == PARTS[-1])
            finally:
                one.stop()
        least = min(costs)
        for count, cost in costs.items():
            tell(count, "one changed file, engine", f"{cost / costs[least]:.2f} x that of {least:,} files")
    finally:
        server.stop()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--work", help="folder to work in; a million files take 8 GB there, on tmpfs of memory")
    parser.add_argument("--keep", help="folder to work in that is kept, for another run on the same trees")
    given = parser.parse_args()
    if given.keep:
        work = Path(given.keep)
        work.mkdir(parents=True, exist_ok=True)
        run(work, given.files)
        return
    work = Path(tempfile.mkdtemp(prefix="satchel-tree-", dir=given.work))
    try:
        run(work, given.files)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
