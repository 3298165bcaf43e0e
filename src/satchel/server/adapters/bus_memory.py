"""The bus of one process. Invariant: every listener hears every position, in the publisher's own call."""

from __future__ import annotations

from collections.abc import Callable

from satchel.core.ids import NamespaceId

Listener = Callable[[NamespaceId, int], None]


class MemoryBus:
    """Bus within one process."""

    def __init__(self) -> None:
        self._listeners: dict[int, Listener] = {}
        self._next = 0

    async def publish(self, ns: NamespaceId, seq: int) -> None:
        """See Bus."""
        for listener in list(self._listeners.values()):
            listener(ns, seq)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """See Bus."""
        number = self._next
        self._next += 1
        self._listeners[number] = listener

        def end() -> None:
            self._listeners.pop(number, None)

        return end

    async def close(self) -> None:
        """See Bus."""
        self._listeners.clear()
