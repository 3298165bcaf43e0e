"""A server that does nothing, on the same uvicorn with the same settings: what any service on it can reach at most.

Small answers, large bodies each way, long-polls and streams that are woken all at once. `python -m bench.load.bare`
tells its port in one JSON line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
import uvloop

from satchel.core.limits import MIB
from satchel.server.gateway.deadlines import WatchedProtocol

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SMALL = b'{"status":"ok"}'
LARGE = bytes(4 * MIB)
PIECE_BYTES = 256 * 1024
PUSHED = b"pushed" + bytes(1_300)
"""About what a small file's entry with its content takes in a frame."""
BACKLOG = 2_048


class Bare:
    """The application. Whoever waits is woken by `POST /wake`."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request or serve one stream."""
        if scope["type"] == "websocket":
            await self._stream(receive, send)
            return
        while (await receive()).get("more_body", False):
            pass
        path = scope["path"]
        if path == "/wake":
            self._news.set()
            self._news = asyncio.Event()
        elif path == "/wait":
            await self._news.wait()
        if path == "/large":
            await self._large(send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"15")]})
        await send({"type": "http.response.body", "body": SMALL})

    async def _large(self, send: Send) -> None:
        length = b"%d" % len(LARGE)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        for at in range(0, len(LARGE), PIECE_BYTES):
            piece = LARGE[at : at + PIECE_BYTES]
            await send({"type": "http.response.body", "body": piece, "more_body": at + PIECE_BYTES < len(LARGE)})

    async def _stream(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.send", "bytes": b"welcome"})
        while True:
            await self._news.wait()
            await send({"type": "websocket.send", "bytes": PUSHED})


async def main() -> None:
    """Serve until killed."""
    with contextlib.suppress(OSError, ValueError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = uvicorn.Server(
        uvicorn.Config(
            Bare(),
            port=0,
            loop="none",
            http=WatchedProtocol,
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            backlog=BACKLOG,
        )
    )
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{port}", "port": port}) + "\n")
    sys.stdout.flush()
    await server.main_loop()


if __name__ == "__main__":
    uvloop.run(main())
