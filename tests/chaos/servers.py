"""The real servers of a run, each started when it is first asked for, and the processes of the service on them."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.kafka import KafkaBroker, running_kafka
from tests.support.postgres import PostgresServer, running_postgres
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server, running_s3
from tests.support.server import RunningServer
from tests.support.valkey import ValkeyServer, running_valkey

EVERY_ROLE = ("gateway", "gateway", "notifier", "upkeep")
GATEWAYS = ("gateway", "gateway")
LEAN = ("gateway",)


class Servers:
    """Stores that a scenario asks for. What is started here ends with the block; what was given goes on.

    is_lean: without Valkey and Kafka, and gateways alone; for scenarios that are not about those.
    """

    def __init__(
        self,
        stack: contextlib.ExitStack,
        *,
        is_lean: bool = False,
        s3: S3Server | None = None,
        valkey: ValkeyServer | None = None,
    ) -> None:
        self._stack = stack
        self.is_lean = is_lean
        self._postgres: PostgresServer | None = None
        self._s3 = s3
        self._valkey = valkey
        self._kafka: KafkaBroker | None = None

    @property
    def postgres(self) -> PostgresServer:
        """A PostgreSQL that fsyncs."""
        self._postgres = self._postgres or self._stack.enter_context(running_postgres())
        return self._postgres

    @property
    def s3(self) -> S3Server:
        self._s3 = self._s3 or self._stack.enter_context(running_s3())
        return self._s3

    @property
    def valkey(self) -> ValkeyServer:
        self._valkey = self._valkey or self._stack.enter_context(running_valkey())
        return self._valkey

    @property
    def kafka(self) -> KafkaBroker:
        self._kafka = self._kafka or self._stack.enter_context(running_kafka())
        return self._kafka

    async def environment(self, *, s3_endpoint: str = "", bus: str = "") -> Environment:
        """Return the settings of a service on fresh places. bus: `redis` for one that does without Kafka.

        s3_endpoint: of a proxy before S3.
        """
        return await asyncio.to_thread(self._environment, s3_endpoint, bus)

    def _environment(self, s3_endpoint: str, bus: str) -> Environment:
        name = f"chaos_{uuid.uuid4().hex[:12]}"
        variables = {
            "SATCHEL_DATABASE_URL": self.postgres.create(name),
            "SATCHEL_BLOCKS_URL": self.s3.url(name, endpoint=s3_endpoint),
            **S3_KEYS,
        }
        if bus == "redis" or not self.is_lean:
            variables["SATCHEL_STATE_URL"] = self.valkey.url()
            variables["SATCHEL_BUS_URL"] = self.valkey.url() if bus == "redis" else self.kafka.url(name)
        return Environment(name, self.s3.url(name), variables)


S3_KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


@dataclass(frozen=True, slots=True)
class Environment:
    """Settings of a service. name: of its database, prefix and topic; blocks_url: of S3 without a proxy between."""

    name: str
    blocks_url: str
    variables: Mapping[str, str]

    @property
    def database_url(self) -> str:
        return self.variables["SATCHEL_DATABASE_URL"]


@dataclass(frozen=True, slots=True)
class Service:
    """Processes of one service, each with an address that outlives it."""

    processes: tuple[RunningServer, ...]
    roles: tuple[str, ...]

    @property
    def gateways(self) -> list[RunningServer]:
        return [one for one, role in zip(self.processes, self.roles, strict=True) if role == "gateway"]

    def addresses(self) -> list[Callable[[], str]]:
        """Return what gives the gateways' addresses."""
        return [lambda one=one: one.url for one in self.gateways]  # type: ignore[misc]

    def ended(self) -> list[str]:
        """Return the names of those that ended by themselves."""
        return [one.data.name for one in self.processes if one.process is not None and one.process.poll() is not None]


@contextlib.asynccontextmanager
async def running_service(folder: Path, variables: Mapping[str, str], roles: Sequence[str]) -> AsyncIterator[Service]:
    """Start the processes one after the other, as the first brings the schema up to date; end them all.

    In threads: what stands between them and their stores may be served by this loop.
    """
    processes = tuple(
        RunningServer(folder / f"{role}-{number}", ("--roles", role), variables) for number, role in enumerate(roles)
    )
    try:
        for one in processes:
            await asyncio.to_thread(one.start)
            # Its place from now on, so that it is found again after it was killed.
            one.arguments = (*one.arguments, "--listen", f"127.0.0.1:{one.port}")
        yield Service(processes, tuple(roles))
    finally:
        for one in reversed(processes):
            await asyncio.to_thread(one.stop)
