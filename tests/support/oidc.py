"""A real provider of OpenID Connect of its own, for tests: on a free port of this machine, with whoever a test names.

It signs what it says with a key of its own; people are added and changed while it runs.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.support.memory_disk import memory_disk

START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 60.0


class Provider:
    """A provider at `issuer`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.issuer = f"http://127.0.0.1:{port}"

    def person(self, subject: str, **claims: object) -> str:
        """Add a person, or change what is said of one; return the subject."""
        status, _ = self.ask("PUT", f"/users/{subject}", json.dumps(claims), kind="application/json")
        assert status == 204
        return subject

    def sign_in(self, page: str, subject: str | None) -> dict[str, str]:
        """Sign in on the page that a browser was sent to (None: refuse); return what it is sent back with.

        Its own page of the service is under `to`.
        """
        parts = urlsplit(page)
        form = urlencode({"sub": subject} if subject is not None else {"action": "deny"})
        status, back = self.ask("POST", f"{parts.path}?{parts.query}", form)
        assert status == 302, (status, back)
        told = urlsplit(back)
        return {name: values[0] for name, values in parse_qs(told.query).items()} | {
            "to": f"{told.scheme}://{told.netloc}{told.path}"
        }

    def ask(
        self, method: str, path: str, body: str = "", *, kind: str = "application/x-www-form-urlencoded"
    ) -> tuple[int, str]:
        """Ask once; return the status and where it leads."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)) as line:
            line.request(method, path, body, {"Content-Type": kind})
            answer = line.getresponse()
            answer.read()
            return answer.status, answer.headers.get("location", "")


@contextlib.contextmanager
def running_provider() -> Iterator[Provider]:
    """Run a provider until the block ends."""
    with tempfile.TemporaryDirectory(prefix="oidc-", dir=memory_disk()) as folder:
        port, log = free_port(), Path(folder, "log")
        command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, "PYTHONWARNINGS": "ignore"}
            )
        try:
            _wait(process, port, log)
            yield Provider(port)
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a port of this machine that nobody uses now."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the provider did not start: {log.read_text(errors='replace')[-2_000:]}")


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    """One provider for the run (for each worker of a parallel run)."""
    with running_provider() as running:
        yield running
