"""The child processes of `satchel up`. Invariant: none outlives `up`, and each is ended by its own id and waited for.

A child is in a session of its own, so that Ctrl-C does not reach it, and asks the kernel for SIGTERM when `up` dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from satchel.core.errors import Fault
from satchel.device.control import FaultTold, fault_of

if TYPE_CHECKING:
    from satchel.server.settings import Settings

START_S = 30.0
END_S = 15.0
SERVER_LOG = "server.log"
LOG_BYTES_MAX = 5 * 1024 * 1024
_LOOK_S = 0.02
_PR_SET_PDEATHSIG = 1


class _Serving(msgspec.Struct, frozen=True):
    url: str


class _Complaint(msgspec.Struct, frozen=True):
    error: FaultTold


class EndAsked(BaseException):
    """Ctrl-C or SIGTERM; a BaseException, so that nothing on the way takes it for a fault."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running child. name: for messages. log: where it writes what went wrong."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into a clean end of the block."""

    def ask(_number: int, _frame: object) -> None:
        # One is enough: a second Ctrl-C must not cut the clean end short.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise EndAsked

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except EndAsked:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def server(settings: Settings) -> Iterator[tuple[Child, str]]:
    """Run the server until left; give it and its address. Raises: what the server says when it does not start."""
    os.makedirs(settings.data, mode=0o700, exist_ok=True)
    log = Path(settings.data) / SERVER_LOG
    command = ["-m", "satchel.cli.main", "--json", "serve", "--data", settings.data]
    command += ["--listen", f"{settings.host}:{settings.port}", "--log-level", "warning"]
    with started("server", command, log) as child:
        assert child.process.stdout is not None
        ready, _, _ = select.select([child.process.stdout], [], [], START_S)
        line = child.process.stdout.readline() if ready else b""
        if not line:
            raise _why(child)
        yield child, msgspec.json.decode(line, type=_Serving).url


@contextlib.contextmanager
def started(name: str, command: Sequence[str], log: Path) -> Iterator[Child]:
    """Run `python COMMAND` until left; then end it (SIGTERM, and SIGKILL after END_S) and wait for it."""
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))
    with open(log, "ab") as errors:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        yield Child(name, process, log)
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_S)
        if process.stdout is not None:
            process.stdout.close()


def wait_until(child: Child, is_there: Callable[[], bool]) -> None:
    """Wait until `is_there()`. Raises: Fault when the child ends before, or takes longer than START_S."""
    until = time.monotonic() + START_S
    while not is_there():
        if child.process.poll() is not None or time.monotonic() > until:
            raise _why(child)
        time.sleep(_LOOK_S)


def wait_for_end(children: Sequence[Child]) -> None:
    """Wait until one of the children ends by itself, and raise why; only EndAsked leads out of here else."""
    handles = {os.pidfd_open(child.process.pid): child for child in children}
    try:
        ended, _, _ = select.select(list(handles), [], [])
        raise _why(handles[ended[0]])
    finally:
        for handle in handles:
            os.close(handle)


def _why(child: Child) -> Fault:
    """Return the fault that a child gave as its last words, else one that names its log."""
    child.process.terminate()
    child.process.wait(END_S)
    with open(child.log, "rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
        last = log.read().strip().rpartition(b"\n")[2]
    try:
        told = msgspec.json.decode(last, type=_Complaint).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Fault(f"The {child.name} ended by itself; its log tells why: {child.log}", log=str(child.log))
    return fault_of(told.code, told.message, told.fields)


def _end_with_parent() -> None:
    # From prctl(2): the child gets this signal when the thread that made it ends, however that ends.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
