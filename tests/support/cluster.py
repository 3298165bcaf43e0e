"""A service of several processes on real servers: two gateways, a notifier and an upkeep, over one PostgreSQL, one S3
bucket, one Valkey and one Kafka topic.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.kafka import KafkaBroker
from tests.support.postgres import PostgresServer
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.server import RunningServer
from tests.support.valkey import ValkeyServer


@dataclass(frozen=True, slots=True)
class Stores:
    """The servers that a cluster stands on."""

    postgres: PostgresServer
    s3: S3Server
    valkey: ValkeyServer
    kafka: KafkaBroker

    def environment(self) -> dict[str, str]:
        """Return the settings of a service that stands on fresh places of them."""
        name = f"cluster_{uuid.uuid4().hex}"
        return {
            "SATCHEL_DATABASE_URL": self.postgres.create(name),
            "SATCHEL_BLOCKS_URL": self.s3.url(name),
            "SATCHEL_STATE_URL": self.valkey.url(),
            "SATCHEL_BUS_URL": self.kafka.url(name),
            "SATCHEL_DRAIN_WAIT_S": "0",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }


@dataclass(frozen=True, slots=True)
class Cluster:
    """Its processes. one, other: gateways."""

    one: RunningServer
    other: RunningServer
    notifier: RunningServer
    upkeep: RunningServer

    @property
    def processes(self) -> tuple[RunningServer, ...]:
        return self.one, self.other, self.notifier, self.upkeep


@contextlib.contextmanager
def running_cluster(folder: Path, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """Start the processes, one after the other as the first brings the schema up to date; end them all."""

    def process(name: str, roles: str) -> RunningServer:
        return RunningServer(folder / name, ("--roles", roles), environment)

    cluster = Cluster(
        process("one", "gateway"), process("other", "gateway"), process("notifier", "notifier"), process("up", "upkeep")
    )
    try:
        for each in cluster.processes:
            each.start()
        yield cluster
    finally:
        for each in reversed(cluster.processes):
            each.stop()
