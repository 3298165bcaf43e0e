"""Programs of Satchel that need not import anything: forked from a process that did so once for each test worker.

Such a process is as real as another: it has its own identifier, environment, files and signals. Only what it imports
is there already, which is half of what most tests would wait for. In benchmarks, which measure starts and memory,
programs are started anew each time.

    with warm.run("satchel.cli.main", ["--version"]) ...
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

_PRELOADED = ["tests.support.warm_imports"]
_forks = multiprocessing.get_context("forkserver")
_state = {"is_warm": False}


class Program(Protocol):
    """A process that was started; what `subprocess.Popen` has of the same names."""

    @property
    def pid(self) -> int: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that ended, with all that it wrote."""

    code: int
    out: bytes
    err: bytes


def begin() -> None:
    """From now on fork instead of starting anew: said by pytest, and by the fuzzing, which tries many passwords."""
    _forks.set_forkserver_preload(_PRELOADED)
    _state["is_warm"] = True


def start(
    module: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdout: int,
    stderr: int,
    stdin: int | None = None,
    cwd: Path | None = None,
) -> Program:
    """Start `python -m module arguments`. stdout, stderr, stdin: descriptors; stdout may be PIPE: `Program.stdout`."""
    if not _state["is_warm"]:
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.Popen(command, env=environment, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd)
    return _Forked(module, arguments, environment, (stdin, stdout, stderr), cwd)


def run(
    module: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: bytes = b"",
    cwd: Path | None = None,
    timeout_s: float,
) -> Ended:
    """Run `python -m module arguments` to its end. Raises: subprocess.TimeoutExpired, after it was killed."""
    with _memory(stdin) as given, _memory() as out, _memory() as err:
        files = (given.fileno(), out.fileno(), err.fileno())
        with start(
            module, arguments, environment=environment, stdin=files[0], stdout=files[1], stderr=files[2], cwd=cwd
        ) as program:
            try:
                code = program.wait(timeout_s)
            except subprocess.TimeoutExpired:
                program.kill()
                raise
        return Ended(code, _all_of(out), _all_of(err))


def _memory(content: bytes = b"") -> IO[bytes]:
    file = os.fdopen(os.memfd_create("satchel-test"), "r+b", buffering=0)
    file.write(content)
    file.seek(0)
    return file


def _all_of(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


class _Forked:
    """A program that was forked. It ends with the test worker at the latest."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        files: tuple[int | None, int, int],
        cwd: Path | None,
    ) -> None:
        stdin, stdout, stderr = files
        self.stdout: IO[bytes] | None = None
        given = os.open(os.devnull, os.O_RDONLY) if stdin is None else os.dup(stdin)
        if stdout == subprocess.PIPE:
            reader, out = os.pipe()
            self.stdout = os.fdopen(reader, "rb", buffering=0)
        else:
            out = os.dup(stdout)
        taken = [Connection(given, writable=False), Connection(out, readable=False)]
        taken.append(Connection(os.dup(stderr), readable=False))
        where = str(cwd) if cwd else os.getcwd()
        self._process: ForkServerProcess = _forks.Process(
            target=_program, args=(module, list(arguments), dict(environment), where, *taken), daemon=True
        )
        try:
            self._process.start()
        finally:
            for one in taken:
                one.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return code

    def send_signal(self, sig: int) -> None:
        # It may end, and be taken away by the process that it was forked from, after it was looked at.
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stdout is not None:
            self.stdout.close()
        self.wait()


def _program(
    module: str,
    arguments: list[str],
    environment: dict[str, str],
    cwd: str,
    stdin: Connection,
    stdout: Connection,
    stderr: Connection,
) -> None:
    """Become `python -m module arguments`."""
    for number, file in enumerate((stdin, stdout, stderr)):
        os.dup2(file.fileno(), number)
        file.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(_raw(0, "r")), encoding="utf-8")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(io.BufferedWriter(_raw(1, "w")), encoding="utf-8")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = io.TextIOWrapper(  # type: ignore[misc]
        io.BufferedWriter(_raw(2, "w")), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _raw(number: int, mode: str) -> io.FileIO:
    return io.FileIO(number, mode, closefd=False)
