"""A balancer for tests: takes TCP connections and hands each to the next gateway that says it is ready.

It looks at `/ready` before each connection, so it notices a change as soon as the next one comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from tests.support.server import RunningServer

LOOK_TIMEOUT_S = 10.0
COPIED_BYTES = 64 * 1024


@dataclass(slots=True)
class Balancer:
    """Where it listens, and what it did. refused: connections for which no gateway was ready."""

    gateways: Sequence[RunningServer]
    url: str = ""
    refused: int = 0
    handed: dict[int, int] = field(default_factory=dict)
    _turn: itertools.count[int] = field(default_factory=itertools.count)
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def end(self) -> None:
        """End all connections."""
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)
        # A transport that was closed lets go of its socket in the loop's next turn.
        await asyncio.sleep(0)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        with contextlib.suppress(asyncio.CancelledError):
            await self._hand_on(reader, writer)

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = next(self._turn)
        for place in range(len(self.gateways)):
            number = (first + place) % len(self.gateways)
            gateway = self.gateways[number]
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                if not await _is_ready(gateway.port):
                    continue
                to_read, to_write = await asyncio.open_connection("127.0.0.1", gateway.port)
                self.handed[number] = self.handed.get(number, 0) + 1
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(_copied(reader, to_write))
                        group.create_task(_copied(to_read, writer))
                finally:
                    to_write.close()
                    writer.close()
                return
        self.refused += 1
        writer.close()


async def _is_ready(port: int) -> bool:
    async with asyncio.timeout(LOOK_TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return b" 200 " in await reader.readline()
        finally:
            writer.close()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(COPIED_BYTES):
            writer.write(piece)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def balancing(gateways: Sequence[RunningServer]) -> AsyncIterator[Balancer]:
    """Balance between these while the block runs. A gateway that was started again is found at its new port."""
    balancer = Balancer(gateways)
    server = await asyncio.start_server(balancer.connected, "127.0.0.1", 0)
    balancer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield balancer
    finally:
        server.close()
        await balancer.end()
