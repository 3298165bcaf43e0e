"""The bus of one process. Invariant: every listener hears every position, in the publisher's own call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

from satchel.core.ids import NamespaceId

Told = ParamSpec("Told")


class Listeners(Generic[Told]):
    """Those that are called, in the order in which they came; each may end while it is called."""

    def __init__(self) -> None:
        self._listeners: dict[int, Callable[Told, None]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, listener: Callable[Told, None]) -> Callable[[], None]:
        """Call `listener` from now on; return what ends it. Ending it again changes nothing."""
        number = self._next
        self._next += 1
        self._listeners[number] = listener

        def end() -> None:
            self._listeners.pop(number, None)

        return end

    def tell(self, *told: Told.args, **named: Told.kwargs) -> None:
        """Call all of them."""
        for listener in list(self._listeners.values()):
            listener(*told, **named)

    def clear(self) -> None:
        """End all of them."""
        self._listeners.clear()


class MemoryBus:
    """Bus within one process. Nothing is ever missed, so nobody is told of a gap."""

    def __init__(self) -> None:
        self._listeners: Listeners[NamespaceId, int] = Listeners()
        self._gap_listeners: Listeners[[]] = Listeners()

    async def publish(self, ns: NamespaceId, seq: int) -> None:
        """See Bus."""
        self._listeners.tell(ns, seq)

    def subscribe(self, listener: Callable[[NamespaceId, int], None]) -> Callable[[], None]:
        """See Bus."""
        return self._listeners.add(listener)

    def on_gap(self, listener: Callable[[], None]) -> Callable[[], None]:
        """See Bus."""
        return self._gap_listeners.add(listener)

    async def close(self) -> None:
        """See Bus."""
        self._listeners.clear()
        self._gap_listeners.clear()
