"""`satchel.api` against a real server, also over a line that breaks again and again."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

from satchel.api import Client
from satchel.core.limits import KIB, MIB
from tests.support.server import PASSWORD, running_server

LINE_BYTES_MAX = 900 * KIB


@contextlib.asynccontextmanager
async def breaking_line(port: int, choice: random.Random) -> AsyncIterator[str]:
    """Give an address that leads to the port over connections that break after some hundred KiB."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int) -> None:
        while left > 0 and (piece := await reader.read(min(left, 64 * KIB))):
            writer.write(piece)
            await writer.drain()
            left -= len(piece)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(OSError, ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(copy(reader, back, choice.randrange(KIB, LINE_BYTES_MAX)))
                group.create_task(copy(there, writer, LINE_BYTES_MAX))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_a_program_uploads_over_a_line_that_breaks_and_shares_by_a_link(tmp_path: Path) -> None:
    data = os.urandom(3 * MIB + 5)

    async def program(url: str, port: int) -> None:
        async with Client(url) as stranger:
            signed = await stranger.login("ann", PASSWORD, "a program")
        async with Client(url, signed.token) as client:
            upload = await client.begin_upload("/film.mp4", len(data))
            await client.add_part(upload.id, 0, data[: 700 * KIB])
            assert [(one.id, one.offset) async for one in client.uploads()] == [(upload.id, 700 * KIB)]
            async with breaking_line(port, random.Random(3)) as line, Client(line, signed.token) as far:
                item = await far.upload_in_parts("/film.mp4", io.BytesIO(data), size=len(data), upload_id=upload.id)
            assert (item.name, item.size) == ("film.mp4", len(data))
            into = io.BytesIO()
            await client.download("/film.mp4", into)
            assert into.getvalue() == data
            made = await client.make_link({"path": "/film.mp4"})
            assert [link.id async for link in client.links()] == [made.id]

    with running_server(tmp_path) as server:
        server.add_user("ann")
        asyncio.run(program(server.url, server.port))
