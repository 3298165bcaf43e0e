"""Processes under load: each on a core that it is given, and what it used of it. Invariant: the server has a core of
its own; the generator and the stores share the other one.

Linux only: affinity, and figures from /proc.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import RunningServer

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core serves and which asks; the same one where a machine has only one."""

    server: int
    generator: int

    @staticmethod
    def of_machine() -> Cores:
        """Take the first two that this process may use."""
        allowed = sorted(os.sched_getaffinity(0))
        return Cores(allowed[0], allowed[-1])


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Start processes on this core while the block runs: a child inherits it, with all its threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class LoadedServer(RunningServer):
    """A service that is run by `bench.load.service`."""

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = ["--data", str(self.data), "--listen", "127.0.0.1:0", "--log-level", "error", *self.arguments]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SATCHEL_")}
        log = self.data.parent / f"{self.data.name}.log"
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bench.load.service", *flags],
                env=clean | dict(self.environment),
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        line = self._first_line()
        if not line:
            self.kill()
            raise RuntimeError(f"the server did not start: {log.read_text()[-2_000:]}")
        told = json.loads(line)
        self.url, self.port = told["url"], told["port"]

    @property
    def pid(self) -> int:
        """Return the id of its process, which runs."""
        assert self.process is not None
        return self.process.pid


@contextlib.contextmanager
def bare_server() -> Iterator[tuple[str, int]]:
    """Run the server that does nothing; yield its URL and its process's id."""
    process = subprocess.Popen([sys.executable, "-m", "bench.load.bare"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"], process.pid
    finally:
        process.kill()
        process.communicate()


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process used so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and of its children that live."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found, at = [pid], 0
    while at < len(found):
        found += children.get(found[at], [])
        at += 1
    return sum(cpu_s(one) for one in found)


def resident_kib(pid: int) -> int:
    """Return how much memory of its own a process holds, in KiB (the kernel's socket buffers are not in it)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def descriptors(pid: int) -> int:
    """Return how many file descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def file_system(folder: str) -> str:
    """Return the kind of file system that a folder is on, as the kernel names it."""
    best, kind = "", "unknown"
    path = os.path.realpath(folder)
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, name, *_ = line.split()
        if len(place) > len(best) and (path == place or path.startswith(place.rstrip("/") + "/")):
            best, kind = place, name
    return kind
