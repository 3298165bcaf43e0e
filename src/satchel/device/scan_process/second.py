"""A second process beside the one that scans: it looks at known folders from the other end of the tree.

Invariant: it reads, answers and nothing else, and it ends when the first one does. It is a fork of the first, taken
before that has threads or any file open, so it costs no start of its own. Lost, silent or not to be had, the first one
looks at all by itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from satchel.device.disk import LocalDisk
from satchel.device.drive import drive
from satchel.device.index.reader import open_reader
from satchel.device.scan_process.frames import LENGTH_BYTES, Order
from satchel.device.scanner.beside import Folder, Looked, look_below, unlooked

REQUESTS_MAX = 2
"""One is being looked at, the next waits."""
BEAT_S = 1.0
SILENCE_S_MAX = 30.0
END_S_MAX = 1.0
END_LOOK_S = 0.01

_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(list[Folder])
_answers = msgspec.msgpack.Decoder(Looked)


class SecondProcess:
    """A `Looker`. live: called each second while it is waited for."""

    def __init__(
        self,
        order: Order,
        *,
        other_lines: Sequence[int],
        live: Callable[[], None],
        silence_s: float = SILENCE_S_MAX,
    ) -> None:
        """Fork. other_lines: handles that the second process must not hold. Raises: OSError."""
        self._live = live
        self._silence_s = silence_s
        self._due: deque[Sequence[Folder]] = deque()
        self._line, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self._line.close()
            for handle in other_lines:
                os.close(handle)
            _serve_and_end(order, theirs)
        theirs.close()
        self._is_lost = False
        self._is_closed = False

    @property
    def has_room(self) -> bool:
        """See Looker."""
        return not self._is_lost and len(self._due) < REQUESTS_MAX

    def give(self, folders: Sequence[Folder]) -> None:
        """See Looker."""
        self._due.append(folders)
        if not self._is_lost:
            try:
                _send(self._line, list(folders))
            except OSError:
                self._lose()

    def answers(self, *, is_waited: bool) -> list[Looked]:
        """See Looker."""
        found: list[Looked] = []
        while self._due:
            if not self._is_lost and not self._is_ready(is_waited=is_waited and not found):
                break
            answer = None if self._is_lost else self._next()
            found.append(unlooked(self._due[0]) if answer is None else answer)
            self._due.popleft()
        return found

    def close(self) -> None:
        """End it, and wait until it has ended; one that its disk holds is left to end by itself. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = self._is_lost = True
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        self._line.close()
        until_s = time.monotonic() + END_S_MAX
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(self.pid, os.WNOHANG) == (0, 0) and time.monotonic() < until_s:
                time.sleep(END_LOOK_S)

    def _is_ready(self, *, is_waited: bool) -> bool:
        if not is_waited:
            return bool(select.select([self._line], [], [], 0)[0])
        until_s = time.monotonic() + self._silence_s
        while time.monotonic() < until_s:
            if select.select([self._line], [], [], min(BEAT_S, self._silence_s))[0]:
                return True
            self._live()
        self._lose()
        return True

    def _next(self) -> Looked | None:
        try:
            return _answers.decode(_take(self._line))
        except (OSError, EOFError, msgspec.DecodeError):
            self._lose()
            return None

    def _lose(self) -> None:
        self._is_lost = True
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)


def can_help() -> bool:
    """True where a second process may run beside this one."""
    return hasattr(os, "fork") and hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1


def _serve_and_end(order: Order, line: socket.socket) -> None:
    """Answer until the other side is gone. Never returns, and never runs what the fork was in the middle of."""
    try:
        disk = LocalDisk(order.root, has_xattrs=order.has_xattrs)
        reader = open_reader(order.index)
        while True:
            folders = _requests.decode(_take(line))
            _send(line, drive(look_below(disk, reader, folders)))
    finally:
        os._exit(0)


def _send(line: socket.socket, value: list[Folder] | Looked) -> None:
    body = _encoder.encode(value)
    line.sendall(len(body).to_bytes(LENGTH_BYTES, "big") + body)


def _take(line: socket.socket) -> bytes:
    size = int.from_bytes(_exactly(line, LENGTH_BYTES), "big")
    return _exactly(line, size)


def _exactly(line: socket.socket, size: int) -> bytes:
    data = line.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise EOFError
    return data
