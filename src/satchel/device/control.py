"""How the command line talks to the daemon: a Unix socket in SATCHEL_HOME, one JSON line asked, one answered.

Invariant: every line is bounded and every wait ends. This is the asking side and what both sides share; it blocks, and
imports little, so that `satchel status` starts fast.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from satchel.core.errors import DaemonNotRunning, Fault, MessageInvalid, Unavailable, every_fault

T = TypeVar("T")

SOCKET_NAME = "control.sock"
REQUEST_BYTES_MAX = 64 * 1024
REPLY_BYTES_MAX = 4 * 1024 * 1024
ANSWER_DEADLINE_S = 30.0
WAIT_S_MAX = 24 * 3600.0
_SOCKET_PATH_BYTES_MAX = 100
"""The kernel's limit is 108; a longer one is reached through a handle of its folder."""


class Request(msgspec.Struct, frozen=True):
    """What the command line asks.

    do: ping, status, reload, pause, resume, hint, wait, held, allow_held, undo_held, undo, resolve, exclude, include,
    excluded, conflicts, limit (take the limits of the settings), set_limits (those of `limits`), page (open it), stop.
    local: the link it is about, "" for all. timeout_s: for `wait`, `undo` and `resolve`.
    paths: relative to the linked folder, what to `exclude` or `include`, or conflicted copies to `resolve`, by keep:
    copy, original, both or newest. with_new: `undo` takes away what came new. limits: like `up=500K`.
    """

    do: str
    local: str = ""
    timeout_s: float = 0.0
    paths: tuple[str, ...] = ()
    keep: str = ""
    with_new: bool = False
    limits: tuple[str, ...] = ()


class FaultTold(msgspec.Struct, frozen=True):
    """A fault on its way to the command line."""

    code: str
    message: str
    fields: dict[str, str] = {}


class Answer(msgspec.Struct, frozen=True):
    """What the daemon says: a fault, or `value` as JSON of the type that belongs to the request."""

    value: msgspec.Raw = msgspec.Raw(b"null")
    fault: FaultTold | None = None


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
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MessageInvalid(
                "The daemon is of another version. Run 'satchel daemon stop', then 'satchel daemon start'.",
                reason=str(error),
            ) from error
        raise fault_of(answer.fault.code, answer.fault.message, answer.fault.fields)

    def _exchange(self, line: bytes, timeout_s: float) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line_out:
            line_out.settimeout(timeout_s)
            try:
                with reachable(self._home) as path:
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


@contextlib.contextmanager
def reachable(home: Path) -> Iterator[str]:
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
