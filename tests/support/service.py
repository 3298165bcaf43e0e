"""The service that the end-to-end tests run on: the embedded server, or many processes on real stores.

`pytest --service=cluster` takes two gateways, a notifier and an upkeep on PostgreSQL, S3, Valkey and Kafka, one device
at each gateway. `--service=alone` is the same with nobody behind the URLs of Valkey and Kafka.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cluster import Stores, running_cluster
from tests.support.kafka import running_kafka
from tests.support.postgres import running_postgres
from tests.support.s3 import running_s3
from tests.support.server import RunningServer, User, running_server
from tests.support.valkey import running_valkey

SERVICES = ("embedded", "cluster", "alone")


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that tests may stop and start again. here, there: the processes that two devices ask; may be one."""

    here: RunningServer
    there: RunningServer

    @property
    def is_running(self) -> bool:
        return all(one.process is not None for one in (self.here, self.there))

    def stop(self) -> None:
        """Have it answer nobody."""
        for one in (self.here, self.there):
            one.stop()

    def start(self) -> None:
        """Have it answer again, where it did before."""
        for one in (self.here, self.there):
            if one.process is None:
                one.start()

    def add_user(self, name: str) -> tuple[User, User]:
        """Make an account; return it as each of the two knows it."""
        user = self.here.add_user(name)
        return user, User(self.there.url, user.name, user.password)


@contextlib.contextmanager
def running_service(kind: str, folder: Path) -> Iterator[RunningService]:
    """Run one of `SERVICES` until the block ends."""
    with contextlib.ExitStack() as stack:
        if kind == "embedded":
            here = there = stack.enter_context(running_server(folder))
        else:
            cluster = stack.enter_context(running_cluster(folder, _environment(kind, stack)))
            here, there = cluster.one, cluster.other
        for one in {id(one): one for one in (here, there)}.values():
            # A fixed port, so that a restarted server is found again.
            one.arguments = (*one.arguments, "--listen", f"127.0.0.1:{one.port}")
        yield RunningService(here, there)


def _environment(kind: str, stack: contextlib.ExitStack) -> Mapping[str, str]:
    postgres, s3 = stack.enter_context(running_postgres()), stack.enter_context(running_s3())
    valkey, kafka = stack.enter_context(running_valkey()), stack.enter_context(running_kafka())
    environment = Stores(postgres, s3, valkey, kafka).environment()
    if kind == "alone":
        nobody = stack.enter_context(_closed_port())
        environment["SATCHEL_STATE_URL"] = f"redis://127.0.0.1:{nobody}/0"
        environment["SATCHEL_BUS_URL"] = f"kafka://127.0.0.1:{nobody}?topic=nobody"
    return environment


@contextlib.contextmanager
def _closed_port() -> Iterator[int]:
    """Hold a port at which nobody listens, so that nobody else begins to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        yield port


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """The service that `--service` names, for one file of tests."""
    with running_service(str(request.config.getoption("--service")), tmp_path_factory.mktemp("service")) as running:
        yield running
