"""The daemon's side of the control socket. Invariant: only this user gets in (socket 0600 in a folder 0700, and the
peer's user id is compared), every line is bounded and every wait ends. What is asked is done by the daemon's handler.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec

from satchel.core.errors import Fault, MessageInvalid, TooManyRequests, Unavailable
from satchel.device.control import (
    ANSWER_DEADLINE_S,
    REQUEST_BYTES_MAX,
    SOCKET_NAME,
    WAIT_S_MAX,
    Answer,
    FaultTold,
    Request,
    reachable,
)

CONNECTIONS_MAX = 32
REQUEST_DEADLINE_S = 10.0

Handler = Callable[[Request], Awaitable[object]]


class ControlServer:
    """Listens on the socket and hands each request to `handler`, which returns something JSON can hold or raises."""

    def __init__(self, home: Path, handler: Handler) -> None:
        self._home = home
        self._handler = handler
        self._busy = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Serve until left. The caller holds the daemon's lock, so an old socket is a dead one and is replaced."""
        with reachable(self._home) as path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            door = _bound(path)
        server = await asyncio.start_unix_server(self._serve, sock=door, limit=REQUEST_BYTES_MAX)
        try:
            yield
        finally:
            server.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._home / SOCKET_NAME)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_DEADLINE_S):
                line = await reader.readline()
            answer = await self._answer(writer, line)
            async with asyncio.timeout(REQUEST_DEADLINE_S):
                writer.write(answer + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # The other side is gone, silent or talks nonsense; it is told nothing.
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, line: bytes) -> bytes:
        if _peer_uid(writer) != os.geteuid():
            return _encode_fault(Fault("This daemon belongs to another user."))
        if self._busy >= CONNECTIONS_MAX:
            return _encode_fault(TooManyRequests("Too many commands at once.", retry_after_s=1))
        self._busy += 1
        try:
            request = _decoded(line)
            deadline_s = min(request.timeout_s, WAIT_S_MAX) + ANSWER_DEADLINE_S
            async with asyncio.timeout(deadline_s):
                value = await self._handler(request)
            return msgspec.json.encode(Answer(msgspec.Raw(msgspec.json.encode(value))))
        except TimeoutError:
            return _encode_fault(Unavailable("The daemon took too long.", where="daemon", reason="deadline"))
        except Fault as fault:
            return _encode_fault(fault)
        finally:
            self._busy -= 1


def _decoded(line: bytes) -> Request:
    """Return the request. Raises: MessageInvalid, also for a text that is no UTF-8."""
    try:
        return msgspec.json.decode(line, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageInvalid("The daemon does not know this request.", reason=str(error)) from error


def _encode_fault(fault: Fault) -> bytes:
    told = FaultTold(fault.code, fault.message, {key: str(value) for key, value in fault.fields.items()})
    return msgspec.json.encode(Answer(fault=told))


def _bound(path: str) -> socket.socket:
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The folder is 0700 already; the mode is set before anyone can be accepted.
        door.bind(path)
        os.chmod(path, 0o600)
        door.listen(CONNECTIONS_MAX)
        door.setblocking(False)
    except OSError:
        door.close()
        raise
    return door


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    line = writer.get_extra_info("socket")
    raw = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    return int(uid)
