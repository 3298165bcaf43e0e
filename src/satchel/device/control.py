"""How the command line talks to the daemon: a Unix socket in SATCHEL_HOME, one JSON line asked, one answered.

Invariant: only this user gets in (socket 0600 in a folder 0700, and the peer's user id is compared), every line is
bounded and every wait ends. What is asked is done by the daemon; this file only carries it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from satchel.core.errors import DaemonNotRunning, Fault, MessageInvalid, TooManyRequests, Unavailable, every_fault

T = TypeVar("T")

SOCKET_NAME = "control.sock"
REQUEST_BYTES_MAX = 64 * 1024
REPLY_BYTES_MAX = 4 * 1024 * 1024
CONNECTIONS_MAX = 32
REQUEST_DEADLINE_S = 10.0
ANSWER_DEADLINE_S = 30.0
WAIT_S_MAX = 24 * 3600.0
_SOCKET_PATH_BYTES_MAX = 100
"""The kernel's limit is 108; a longer one is reached through a handle of its folder."""


class Request(msgspec.Struct, frozen=True):
    """What the command line asks.

    do: ping, status, reload, pause, resume, hint, wait, held, allow_held, undo_held, stop.
    local: the link it is about, "" for all. timeout_s: for `wait` only.
    """

    do: str
    local: str = ""
    timeout_s: float = 0.0


class FaultTold(msgspec.Struct, frozen=True):
    """A fault on its way to the command line."""

    code: str
    message: str
    fields: dict[str, str] = {}


class Answer(msgspec.Struct, frozen=True):
    """What the daemon says: a fault, or `value` as JSON of the type that belongs to the request."""

    value: msgspec.Raw = msgspec.Raw(b"null")
    fault: FaultTold | None = None


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
        with _reachable(self._home) as path:
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
            request = msgspec.json.decode(line, type=Request)
            deadline_s = min(request.timeout_s, WAIT_S_MAX) + ANSWER_DEADLINE_S
            async with asyncio.timeout(deadline_s):
                value = await self._handler(request)
            return msgspec.json.encode(Answer(msgspec.Raw(msgspec.json.encode(value))))
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return _encode_fault(MessageInvalid("The daemon does not know this request.", reason=str(error)))
        except TimeoutError:
            return _encode_fault(Unavailable("The daemon took too long.", where="daemon", reason="deadline"))
        except Fault as fault:
            return _encode_fault(fault)
        finally:
            self._busy -= 1


class ControlClient:
    """The command line's side; blocking. Every call raises DaemonNotRunning, or the Fault that the daemon told."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def is_running(self) -> bool:
        """Tell whether a daemon answers."""
        try:
            self.ask(Request("ping"), object)
        except (DaemonNotRunning, Unavailable):
            return False
        return True

    def ask(self, request: Request, into: type[T]) -> T:
        """Send one request and return its answer as `into`."""
        line = msgspec.json.encode(request) + b"\n"
        raw = self._exchange(line, min(request.timeout_s, WAIT_S_MAX) + ANSWER_DEADLINE_S + 2)
        try:
            answer = msgspec.json.decode(raw, type=Answer)
            if answer.fault is None:
                return msgspec.json.decode(answer.value, type=into)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise MessageInvalid(
                "The daemon is of another version. Run 'satchel daemon stop', then 'satchel daemon start'.",
                reason=str(error),
            ) from error
        raise fault_of(answer.fault.code, answer.fault.message, answer.fault.fields)

    def _exchange(self, line: bytes, timeout_s: float) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line_out:
            line_out.settimeout(timeout_s)
            try:
                with _reachable(self._home) as path:
                    line_out.connect(path)
                line_out.sendall(line)
                return _read_line(line_out)
            except TimeoutError as error:
                raise Unavailable("The daemon does not answer.", where="daemon", reason="timeout") from error
            except OSError as error:
                raise DaemonNotRunning("The daemon is not running.", socket=str(self._home / SOCKET_NAME)) from error


def fault_of(code: str, message: str, fields: dict[str, str]) -> Fault:
    """Return the fault of that code, a plain one for a code that this version does not know."""
    for kind in every_fault():
        if kind.code == code:
            return kind(message, **fields)
    return Fault(message, **fields)


def _encode_fault(fault: Fault) -> bytes:
    told = FaultTold(fault.code, fault.message, {key: str(value) for key, value in fault.fields.items()})
    return msgspec.json.encode(Answer(fault=told))


def _read_line(line_in: socket.socket) -> bytes:
    pieces, size = [], 0
    while True:
        piece = line_in.recv(65536)
        pieces.append(piece)
        size += len(piece)
        if not piece or piece.endswith(b"\n"):
            return b"".join(pieces)
        if size > REPLY_BYTES_MAX:
            raise MessageInvalid("The daemon's answer is too long.", reason="too_long")


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


@contextlib.contextmanager
def _reachable(home: Path) -> Iterator[str]:
    """Give a path of the socket that fits into a Unix address, however long SATCHEL_HOME is."""
    path = str(home / SOCKET_NAME)
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES_MAX:
        yield path
        return
    folder = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET_NAME}"
    finally:
        os.close(folder)


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    line = writer.get_extra_info("socket")
    raw = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    return int(uid)
