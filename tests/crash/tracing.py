"""Runs a scenario's work in a child whose calls are counted, and one of them made to fail, by strace.

Invariant: only the work is traced. The child prepares first, then waits until the tracer holds it. Each thread is a
*lane* with counters of its own, so that a point (lane, call, number) is the same call in each run. A fork of this
process serves as the child: it has everything imported, and so a run costs milliseconds.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from satchel.core.errors import Fault
from tests.crash.scenario import Scenario

CALLS = (
    "write", "pwrite64", "pwritev", "pwritev2", "fsync", "fdatasync", "rename", "renameat", "renameat2", "unlink",
    "unlinkat", "rmdir", "truncate", "ftruncate", "mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat",
    "copy_file_range", "fallocate", "fchmod", "fchmodat", "utimensat",
)  # fmt: skip
RUN_S_MAX = 60.0
_CALL = re.compile(r"^(?:(\d+)\s+)?(\d+\.\d+) (\w+)\(")
_RAISED = "raised "


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the work. lane: which thread. number: the how-manieth of this name in its lane, from 1."""

    lane: int
    name: str
    number: int
    at_s: float
    line: str


@dataclass(frozen=True, slots=True)
class Ran:
    """calls: by time. told: what the work said. raised: what came out of it. is_hit: something was injected."""

    calls: list[Call]
    told: list[str]
    raised: str
    is_hit: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """Injected into calls of one name in one lane. when: strace's own word, as `3` or `3+`. what: as `error=EIO`."""

    lane: int
    name: str
    what: str
    when: str


class TracerFailed(Exception):
    """The tracer did not do its part: nothing is known of the point."""


def require_strace() -> None:
    """End the program with one line when there is no strace."""
    if shutil.which("strace") is None:
        sys.exit("This needs strace (on Debian: apt-get install strace).")


def run(scenario: Scenario, folder: Path, rules: Sequence[Rule] = ()) -> Ran:
    """Run the scenario's work in an empty `folder`. Raises: TracerFailed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        ours.close()
        _be_child(scenario, folder, theirs)
    theirs.close()
    with ours:
        ours.settimeout(RUN_S_MAX)
        try:
            said = ours.recv(4096)
            if said != b"ready":
                raise TracerFailed(f"{scenario.name} could not be prepared: {said.decode(errors='replace')}")
            lanes = [child] if scenario.is_threaded else _threads(child)
            with _traced(lanes, folder, rules, is_all=scenario.is_threaded) as logs:
                ours.send(b"go")
                told = _listen(ours)
                is_killed = os.WIFSIGNALED(_reap(child))
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
            raise
    text = [log.read_text(errors="replace") for log in logs]
    raised = "; ".join(one.removeprefix(_RAISED) for one in told if one.startswith(_RAISED))
    is_hit = is_killed or any("(INJECTED)" in one for one in text)
    return Ran(_calls(text), [one for one in told if not one.startswith(_RAISED)], raised, is_hit)


def _threads(child: int) -> list[int]:
    """Return the child's threads in the order in which they were made; their numbers may have begun anew meanwhile."""
    top = int(Path("/proc/sys/kernel/pid_max").read_text())
    return sorted((int(one) for one in os.listdir(f"/proc/{child}/task")), key=lambda one: (one - child) % top)


def apart(work: Callable[[], list[str]]) -> list[str]:
    """Do `work` in a process of its own, as the next start of the program. Result: what it returns, or how it died."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            said = "\n".join(work())
        except BaseException as error:
            said = f"{_RAISED}{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):
            os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        if not select.select([pipe], [], [], RUN_S_MAX)[0]:
            os.kill(child, signal.SIGKILL)
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if status:
        return [f"the next start died: status {status}"]
    return said.split("\n") if said else []


def _be_child(scenario: Scenario, folder: Path, line: socket.socket) -> None:
    """Prepare, wait, work, say how it ended; never return."""
    gc.disable()

    def tell(what: str) -> None:
        line.send(what.encode())

    try:
        try:
            work = scenario.begin(folder)
        except BaseException as error:
            tell(f"{type(error).__name__}: {error}")
            raise
        tell("ready")
        line.recv(16)
        try:
            work(tell)
        except Fault as fault:
            tell(f"fault {fault.code}")
        except BaseException as error:
            tell(f"{_RAISED}{type(error).__name__}: {error}")
    finally:
        os._exit(0)


def _listen(line: socket.socket) -> list[str]:
    told: list[str] = []
    while True:
        try:
            said = line.recv(65_536)
        except TimeoutError as error:
            raise TracerFailed("the work did not end") from error
        except ConnectionResetError:
            return told
        if not said:
            return told
        told.append(said.decode())


def _reap(child: int) -> int:
    until = time.monotonic() + RUN_S_MAX
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() > until:
            raise TracerFailed("the child did not end")
        time.sleep(0.0005)


@contextlib.contextmanager
def _traced(lanes: Sequence[int], folder: Path, rules: Sequence[Rule], *, is_all: bool) -> Iterator[list[Path]]:
    """Hold each lane by a tracer of its own until the block ends; is_all: one tracer, which follows new threads."""
    logs = [folder.parent / f"{folder.name}.{at}.trace" for at in range(len(lanes))]
    tracers = []
    try:
        for at, (lane, log) in enumerate(zip(lanes, logs, strict=True)):
            injected = [f"--inject={r.name}:{r.what}:when={r.when}" for r in rules if is_all or r.lane == at]
            command = ["strace", "-ttt", "-s", "40", "-e", "trace=" + ",".join("?" + name for name in CALLS)]
            command += ["-e", "signal=none", "-o", str(log), *injected, *(["-f"] if is_all else []), "-p", str(lane)]
            tracers.append(subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL))
        for tracer in tracers:
            assert tracer.stderr is not None
            head = tracer.stderr.readline()
            if b"attached" not in head:
                raise TracerFailed(head.decode(errors="replace").strip())
        yield logs
        for tracer in tracers:
            tracer.wait(RUN_S_MAX)
    finally:
        for tracer in tracers:
            if tracer.poll() is None:
                tracer.kill()
                tracer.wait()
            if tracer.stderr is not None:
                tracer.stderr.close()


def _calls(logs: Sequence[str]) -> list[Call]:
    found: list[Call] = []
    threads: dict[tuple[int, str], int] = {}
    for at, log in enumerate(logs):
        counts: dict[tuple[int, str], int] = {}
        for line in log.splitlines():
            matched = _CALL.match(line)
            if matched is None or "<unfinished ...>)" in line:
                continue
            thread, time_s, name = matched[1] or "", float(matched[2]), matched[3]
            lane = threads.setdefault((at, thread), len(threads)) if thread else at
            counts[lane, name] = counts.get((lane, name), 0) + 1
            found.append(Call(lane, name, counts[lane, name], time_s, line))
    return sorted(found, key=lambda call: call.at_s)


def counts_before(calls: Sequence[Call], place: int) -> Mapping[tuple[int, str], int]:
    """Return how often each (lane, name) had been called before the call at `place`."""
    counts: dict[tuple[int, str], int] = {}
    for call in calls[:place]:
        counts[call.lane, call.name] = call.number
    return counts
