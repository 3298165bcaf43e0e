"""Two gateways, a notifier and an upkeep on real PostgreSQL, S3, Valkey and Kafka: one service to its devices."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from satchel.server.adapters.machine import MachineClock
from satchel.server.db.opening import open_database
from satchel.server.upkeep.schedule import TaskState, task_states
from tests.support.cluster import Cluster, Stores, running_cluster
from tests.support.devices import Device, device, wait_for, wait_until_equal
from tests.support.kafka import KafkaBroker
from tests.support.postgres import PostgresServer
from tests.support.s3 import S3Server
from tests.support.server import User, ask
from tests.support.valkey import ValkeyServer

SOON_S = 20.0
"""Far below the five minutes after which a device with a stream looks by itself."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two devices of one account, each at a gateway of its own."""

    cluster: Cluster
    database_url: str
    laptop: Device
    desk: Device


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
    s3_server: S3Server,
    valkey_running: ValkeyServer,
    kafka_broker: KafkaBroker,
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("cluster")
    stores = Stores(postgres_server, s3_server, valkey_running, kafka_broker)
    environment = stores.environment()
    with running_cluster(folder, environment) as cluster:
        user = cluster.one.add_user("ann")
        elsewhere = User(cluster.other.url, user.name, user.password)
        with device(folder, "laptop", user) as laptop, device(folder, "desk", elsewhere) as desk:
            yield Pair(cluster, environment["SATCHEL_DATABASE_URL"], laptop, desk)


def test_a_change_at_one_gateway_reaches_a_device_at_the_other(pair: Pair) -> None:
    for number in range(3):
        name = f"note {number}.txt"
        (pair.laptop.folder / name).write_text(f"number {number}")
        there = pair.desk.folder / name
        wait_for(there.exists, "a change does not cross to the other gateway", SOON_S)
        assert there.read_text() == f"number {number}"
        (pair.desk.folder / f"answer {number}.txt").write_text("seen")
        wait_for((pair.laptop.folder / f"answer {number}.txt").exists, "and does not come back", SOON_S)


def test_large_and_small_files_and_their_edits_arrive_whole(pair: Pair) -> None:
    (pair.laptop.folder / "large.bin").write_bytes(os.urandom(9_000_000))
    for number in range(50):
        (pair.desk.folder / f"small {number}").write_bytes(os.urandom(700 * number))
    wait_until_equal([pair.laptop, pair.desk])
    with (pair.desk.folder / "large.bin").open("r+b") as file:
        file.seek(4_000_000)
        file.write(b"in the middle")
    wait_until_equal([pair.laptop, pair.desk])


def test_a_killed_gateway_and_notifier_lose_nothing(pair: Pair) -> None:
    (pair.laptop.folder / "before.txt").write_text("before")
    pair.cluster.notifier.kill()
    (pair.laptop.folder / "meanwhile.txt").write_text("meanwhile")
    wait_for(lambda: pair.laptop.status().state == "in_sync", "the laptop does not come to rest")
    pair.cluster.notifier.start()
    wait_for((pair.desk.folder / "meanwhile.txt").exists, "the log was not read on from where it was", SOON_S)
    wait_until_equal([pair.laptop, pair.desk])


def test_processes_without_a_gateway_answer_health_and_nothing_else(pair: Pair) -> None:
    for process in (pair.cluster.notifier, pair.cluster.upkeep):
        assert ask(process.url, "GET", "/health").status == 200
        assert ask(process.url, "POST", "/api/v1/login", {}).status == 404
        assert ask(process.url, "POST", "/sync/v1/commit", b"").status == 404


def test_the_outbox_is_drained_and_upkeep_has_its_tasks(pair: Pair) -> None:
    async def looked_up() -> tuple[int, list[TaskState]]:
        db = await open_database(pair.database_url, MachineClock())
        try:
            rows = await db.read(lambda conn: conn.fetch("SELECT COUNT(*) FROM outbox"))
            return rows[0][0], await task_states(db)
        finally:
            await db.close()

    (pair.laptop.folder / "last.txt").write_text("last")
    wait_until_equal([pair.laptop, pair.desk])
    wait_for(lambda: asyncio.run(looked_up())[0] == 0, "a position stays in the outbox", SOON_S)
    assert {state.name for state in asyncio.run(looked_up())[1]} >= {"journal", "op-results", "usage"}
