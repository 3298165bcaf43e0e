"""A real service in a process of its own, for integration tests: started, asked over HTTP, stopped or killed.

with running_server(tmp_path) as server:
    session = server.add_user("ann").sign_in("laptop")
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from satchel.server.admin import run_admin
from satchel.server.settings import load_settings
from tests.support import warm

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 60.0
PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. body: raw; headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in device."""

    url: str
    token: str
    account_id: bytes
    device_id: bytes
    root_ns: bytes

    def ask(self, method: str, route: str, /, body: object = None, **query: object) -> Answer:
        """Ask REST with the session's token; a body that is not bytes travels as JSON."""
        return ask(self.url, method, route, body, token=self.token, query=query)


@dataclass(frozen=True, slots=True)
class User:
    """An account of the server."""

    url: str
    name: str
    password: str

    def sign_in(self, device: str = "device") -> Session:
        login = {"user": self.name, "password": self.password, "device_name": device}
        told = ask(self.url, "POST", "/api/v1/login", login)
        assert told.status == 200, told.body
        found = told.json()
        return Session(
            self.url,
            found["token"],
            *(bytes.fromhex(found[name]) for name in ("account_id", "device_id", "root_ns")),
        )


@dataclass(slots=True)
class RunningServer:
    """One service and its data folder; may be stopped and started again on another port."""

    data: Path
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    port: int = 0
    metrics_port: int = 0
    setup_code: str = ""
    process: warm.Program | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        where = ("--data", str(self.data), "--listen", "127.0.0.1:0")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SATCHEL_")}
        log = self.data.parent / f"{self.data.name}.log"
        with log.open("ab") as errors:
            self.process = warm.start(
                "satchel.server",
                (*where, *self.arguments),
                environment=clean | dict(self.environment),
                stdout=subprocess.PIPE,
                stderr=errors.fileno(),
            )
        line = self._first_line()
        if not line:
            self.kill()
            raise RuntimeError(f"the server did not start: {log.read_text()[-2_000:]}")
        told = json.loads(line)
        self.url, self.port, self.metrics_port = told["url"], told["port"], told["metrics_port"]
        self.setup_code = told.get("setup_code", "")

    def stop(self) -> int:
        """Ask it to stop (SIGTERM) and wait; return its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """Kill it (SIGKILL), as a crash would; return its exit code."""
        return self._end(signal.SIGKILL)

    def admin(self, command: str, **arguments: object) -> object:
        """Run an administrator's command beside it."""
        settings = load_settings({"data": str(self.data)})
        return asyncio.run(run_admin(settings, command, arguments))

    def add_user(
        self, name: str = "ann", *, password: str = PASSWORD, is_admin: bool = False, quota_bytes: int | None = None
    ) -> User:
        """Make an account."""
        self.admin("user.add", name=name, password=password, is_admin=is_admin, quota_bytes=quota_bytes)
        return User(self.url, name, password)

    def counters(self, admin: Session) -> dict:  # type: ignore[type-arg]
        """Return what it did since it started; `admin` is an administrator's session."""
        return ask(self.url, "GET", "/api/v1/admin/counters", token=admin.token).json()

    def metrics(self) -> dict[str, float]:
        """Return its metrics by name with labels, as they are written; it was started with `metrics_listen`."""
        told = ask(f"http://127.0.0.1:{self.metrics_port}", "GET", "/metrics")
        assert told.status == 200, told
        lines = [line for line in told.body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def log(self) -> str:
        """Return all that it wrote to standard error so far."""
        return (self.data.parent / f"{self.data.name}.log").read_text()

    def _first_line(self) -> bytes:
        assert self.process is not None
        assert self.process.stdout is not None
        end = time.monotonic() + START_TIMEOUT_S
        line = b""
        while not line.endswith(b"\n") and time.monotonic() < end:
            if select.select([self.process.stdout], [], [], 1.0)[0]:
                more = os.read(self.process.stdout.fileno(), 4096)
                if not more:
                    return b""
                line += more
        return line

    def _end(self, number: signal.Signals) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        with process:
            process.send_signal(number)
            try:
                return process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@contextlib.contextmanager
def running_server(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[RunningServer]:
    """Run a service on `folder`/data until the block ends."""
    server = RunningServer(folder / "data", arguments, environment or {})
    server.start()
    try:
        yield server
    finally:
        server.stop()


def ask(
    url: str,
    method: str,
    path: str,
    body: object = None,
    *,
    token: str = "",
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, object] | None = None,
) -> Answer:
    """Ask once, on a connection of its own; any status is an answer."""
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    told = dict(headers or {})
    if token:
        told["Authorization"] = f"Bearer {token}"
    if raw is not None:
        told.setdefault("Content-Type", "application/octet-stream" if isinstance(body, bytes) else "application/json")
    full = f"{url}{path}" + (f"?{urlencode(dict(query))}" if query else "")
    request = urllib.request.Request(full, data=raw, method=method, headers=told)
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as response:
            return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())
