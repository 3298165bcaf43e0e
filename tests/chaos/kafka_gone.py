"""Kafka is gone for minutes and comes back empty; then old records come again, doubled and in any order."""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from satchel.core.errors import Unavailable
from satchel.server.adapters.machine import MachineClock
from satchel.server.db.opening import open_database
from satchel.server.notify.relay import waiting_txn
from tests.chaos.load import finish, load
from tests.chaos.scene import Broken, Figures, Scene
from tests.chaos.servers import EVERY_ROLE, Environment, Servers, running_service

WRITERS = 50
PAUSE_S = 0.8
BEFORE_S = 20.0
GONE_S = 600.0
DRAINED_S = 90.0
READ_S = 15.0
OLD_MAX = 2_000

Record = tuple[bytes, bytes]
"""Key and value."""


async def run(scene: Scene, servers: Servers) -> Figures:
    """Take it away, bring it back, and say again what was said before."""
    writers = scene.count(WRITERS, least=8)
    environment = await servers.environment()
    figures = Figures({"writers": writers, "s without Kafka": round(scene.seconds(GONE_S, least=3.0), 1)})
    async with (
        running_service(scene.folder, environment.variables, EVERY_ROLE) as service,
        load(scene, service, environment, writers=writers, pause_s=PAUSE_S * min(1.0, scene.scale * 4)) as running,
    ):
        await running.more(writers)
        await asyncio.sleep(scene.seconds(BEFORE_S, least=1.0))
        old = await _records(servers.kafka.server, environment.name)
        scene.tell(f"{len(old):,} records of before are kept to come late")
        await asyncio.to_thread(servers.kafka.stop)
        await asyncio.sleep(scene.seconds(GONE_S, least=3.0))
        await running.more(1)
        await asyncio.to_thread(servers.kafka.start)
        scene.tell(f"Kafka is back, empty; {running.ops:,} ops acknowledged")
        await running.more(writers)
        doubled = [*old, *old]
        scene.chance("late").shuffle(doubled)
        figures["late and doubled records"] = await _sent(servers.kafka.server, environment.name, doubled)
        await running.more(writers)
        await finish(running, figures)
        figures["s until the outbox was empty"] = round(await _drained(environment), 1)
    return figures


async def _records(server: str, topic: str) -> list[Record]:
    """Return what stands in the topic, as far as one look gets."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=server, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    try:
        found: list[Record] = []
        end = time.monotonic() + READ_S
        while len(found) < OLD_MAX and time.monotonic() < end:
            got = await consumer.getmany(timeout_ms=1_000, max_records=OLD_MAX)
            if found and not got:
                break
            found += [(one.key, one.value) for part in got.values() for one in part]
    finally:
        await consumer.stop()
    if not found:
        raise Broken("no record reached Kafka while it was there")
    return found[:OLD_MAX]


async def _sent(server: str, topic: str, records: list[Record]) -> int:
    producer = AIOKafkaProducer(bootstrap_servers=server)
    await producer.start()
    try:
        for key, value in records:
            await producer.send(topic, key=key, value=value)
        await producer.flush()
    finally:
        await producer.stop()
    return len(records)


async def _drained(environment: Environment) -> float:
    """Return the seconds until no position waits to be told. Raises: Broken."""
    began = time.monotonic()
    db = await open_database(environment.database_url, MachineClock())
    try:
        async with asyncio.timeout(DRAINED_S):
            while await db.read(lambda conn: waiting_txn(conn, limit=1)):  # noqa: ASYNC110  # a row tells nobody
                await asyncio.sleep(0.1)
    except (TimeoutError, Unavailable) as error:
        raise Broken(f"positions stay in the outbox: {error}") from error
    finally:
        await db.close()
    return time.monotonic() - began
