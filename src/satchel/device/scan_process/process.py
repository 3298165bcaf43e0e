"""The other process, seen from the daemon: started, read and ended by its own pid.

Invariant: it ends when its line does. The line is one socket: the order goes in, frames come out, and the process ends
itself when the daemon's side is closed, which the kernel does for a daemon that was killed. Every wait has a limit.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys

from satchel.core.errors import MessageInvalid, Unavailable
from satchel.device.scan_process.frames import LENGTH_BYTES, Order, framed, length_of

PROGRAM = "from satchel.device.scan_process.child import main; main()"

SILENCE_S_MAX = 60.0
"""The process gives a sign of life each second, unless the disk keeps one call waiting."""

END_S_MAX = 2.0
"""A killed process that still waits for its disk is left to end by itself."""


class ProcessLost(Unavailable):
    """The process that scans could not be started, has ended, is silent or cannot be understood. Fields: reason."""


class ScanProcess:
    """One thread reads it; `stop` may be called by any. Leaving the context ends the process."""

    def __init__(self, order: Order, *, silence_s: float = SILENCE_S_MAX, program: str = PROGRAM) -> None:
        """Start it. program: for tests. Raises: ProcessLost."""
        if not sys.executable:
            raise _lost("this Python does not say where it is")
        try:
            self._line, theirs = socket.socketpair()
        except OSError as error:
            raise _lost(str(error.strerror)) from error
        with theirs:
            try:
                # -P: nothing is imported from the folder that the daemon happens to stand in. A group of its own: the
                # Ctrl-C that ends a daemon on a terminal is the daemon's to take.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", program],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    process_group=0,
                )
            except (OSError, subprocess.SubprocessError) as error:
                self._line.close()
                raise _lost(f"cannot be started: {getattr(error, 'strerror', error)}") from error
        limit = struct.pack("@ll", int(silence_s), int(silence_s % 1 * 1_000_000))
        self._line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._order = order
        self.is_stopped = False
        """It was told to stop: that it is lost then is no failure of its own."""

    @property
    def pid(self) -> int:
        """Its number."""
        number: int = self._process.pid
        return number

    def __enter__(self) -> ScanProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S_MAX)
        self._line.close()

    def stop(self) -> None:
        """End the process, and whatever waits for it, because nobody wants the scan any more. Idempotent."""
        self.is_stopped = True
        self._end()

    def _end(self) -> None:
        self._process.kill()
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)

    def send_order(self) -> None:
        """Say what is to be scanned; once. Raises: ProcessLost."""
        try:
            self._line.sendall(framed(self._order))
        except (OSError, MessageInvalid) as error:
            raise _lost(f"takes no order: {error}") from error

    def next_body(self) -> bytes:
        """Wait for the next frame and return its body. Raises: ProcessLost."""
        head = self._take(LENGTH_BYTES)
        try:
            size = length_of(head)
        except MessageInvalid as fault:
            raise _lost(fault.message) from fault
        return self._take(size)

    def _take(self, size: int) -> bytes:
        # One call for all of it: each one hands the interpreter over and has to wait to get it back.
        try:
            data = self._line.recv(size, socket.MSG_WAITALL)
        except BlockingIOError as error:
            raise _lost("silent") from error
        except OSError as error:
            raise _lost(f"cannot be read: {error.strerror}") from error
        if len(data) < size:
            raise _lost(self._how_it_ended())
        return data

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            return "silent in the middle of a frame"
        return f"killed by signal {-code}" if code < 0 else f"ended with code {code}"


def _lost(reason: str) -> ProcessLost:
    return ProcessLost("The process that scans is lost.", where="scan", reason=reason)
