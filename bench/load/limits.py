"""What the stores can do at most with nothing of ours before them: one fsync, one committed row, one object.

Taken in the same run as the service's figures, from the generator's core, so that the two can be divided.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qs, urlsplit

import asyncpg
from obstore.store import S3Store

from bench.load.work import BATCH_FILES, BLOCK_BYTES, BLOCKS

PUT_BYTES = BLOCKS * BLOCK_BYTES


def fsyncs_per_s(folder: str, seconds: float) -> float:
    """Return how often a second 4 KiB appended to a file can be made durable, one after another."""
    return _appends_per_s(folder, 4_096, seconds)


def durable_mb_per_s(folder: str, seconds: float) -> float:
    """Return how many MB a second can be made durable in pieces of 4 MiB."""
    return _appends_per_s(folder, PUT_BYTES, seconds) * PUT_BYTES / 1e6


def _appends_per_s(folder: str, size: int, seconds: float) -> float:
    path, data, count = os.path.join(folder, "bare"), os.urandom(size), 0
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    began_s = time.perf_counter()
    try:
        while (took_s := time.perf_counter() - began_s) < seconds:
            os.write(file, data)
            os.fdatasync(file)
            count += 1
    finally:
        os.close(file)
        os.unlink(path)
    return count / took_s


async def inserts_per_s(url: str, seconds: float, *, connections: int) -> float:
    """Return how many transactions of one small row PostgreSQL commits a second, on so many connections."""
    pool = await asyncpg.create_pool(url, min_size=connections, max_size=connections)
    try:
        await pool.execute("CREATE TABLE IF NOT EXISTS bare (id BIGSERIAL PRIMARY KEY, body BYTEA NOT NULL)")

        async def insert(number: int) -> None:
            await pool.execute("INSERT INTO bare (body) VALUES ($1)", os.urandom(200))

        return await _rate(insert, seconds, at_once=connections)
    finally:
        await pool.close()


async def copied_rows_per_s(url: str, seconds: float) -> float:
    """Return how many small rows a second come in by COPY, in durable batches as long as the load's."""
    conn = await asyncpg.connect(url)
    try:
        await conn.execute("CREATE TABLE IF NOT EXISTS copied (id BIGINT, body BYTEA NOT NULL)")
        rows = [(number, os.urandom(200)) for number in range(BATCH_FILES)]

        async def copy(number: int) -> None:
            await conn.copy_records_to_table("copied", records=rows)

        return await _rate(copy, seconds, at_once=1) * len(rows)
    finally:
        await conn.close()


async def object_mb_per_s(url: str, keys: Sequence[str], seconds: float, *, at_once: int) -> tuple[float, float]:
    """Return the MB a second of bare PUTs and of bare GETs of 4 MiB at the object store. keys: id and secret."""
    where = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(where.query).items()}
    store = S3Store(
        where.netloc,
        prefix=where.path.strip("/") + "-bare",
        endpoint=query["endpoint"],
        region=query["region"],
        access_key_id=keys[0],
        secret_access_key=keys[1],
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    data = os.urandom(PUT_BYTES)
    made = 0

    async def put(number: int) -> None:
        nonlocal made
        made = max(made, number + 1)
        await store.put_async(f"object-{number}", data)

    async def get(number: int) -> None:
        await (await store.get_async(f"object-{number % made}")).bytes_async()

    up = await _rate(put, seconds, at_once=at_once)
    down = await _rate(get, seconds, at_once=at_once)
    return up * PUT_BYTES / 1e6, down * PUT_BYTES / 1e6


async def _rate(work: Callable[[int], Awaitable[None]], seconds: float, *, at_once: int) -> float:
    """Return how often a second `work` was done, by so many that do it one time after another."""
    loop = asyncio.get_running_loop()
    began_s, count = loop.time(), 0

    async def repeat() -> None:
        nonlocal count
        while loop.time() - began_s < seconds:
            count += 1
            await work(count - 1)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(repeat())
    return count / (loop.time() - began_s)


async def database_bytes(url: str) -> tuple[int, int]:
    """Return the bytes that the database holds, and those that its log has taken so far."""
    conn = await asyncpg.connect(url)
    try:
        size: int = await conn.fetchval("SELECT pg_database_size(current_database())")
        written: int = await conn.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
        return size, int(written)
    finally:
        await conn.close()
