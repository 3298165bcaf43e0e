"""A proxy for tests that lets no WebSocket through, as some networks have one: all else goes both ways."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 4\r\nConnection: close\r\n\r\nno\r\n"
COPIED_BYTES = 64 * 1024


class NoWebSockets:
    """url: where it listens. refused: how many WebSockets were tried."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.refused = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        """Take connections until `end`."""
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += (near, far)
                for copy in (self._upward, self._copy):
                    pair = (near, far) if copy == self._upward else (far, near)
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    def end(self) -> None:
        """End all connections."""
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _upward(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := near.recv(COPIED_BYTES):
                if b"upgrade: websocket" in piece.lower():
                    self.refused += 1
                    near.sendall(REFUSAL)
                    break
                far.sendall(piece)
        for one in (near, far):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(COPIED_BYTES):
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def without_websockets(port: int) -> Iterator[NoWebSockets]:
    """Run one before the service at `port`."""
    proxy = NoWebSockets(port)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.end()
        thread.join(10.0)
