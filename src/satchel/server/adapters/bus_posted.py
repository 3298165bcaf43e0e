"""The bus of a gateway whose positions go through a log of events. Invariant: own listeners hear at once.

Those of other gateways hear from a notifier, which reads what the commit put into the outbox.
"""

from __future__ import annotations

from collections.abc import Callable

from satchel.core.ids import NamespaceId
from satchel.server.adapters.bus_memory import Listeners
from satchel.server.ports import Post


class PostedBus:
    """Bus of one gateway. wake: called after each commit; the relay then looks at the outbox."""

    def __init__(self, post: Post, server_id: str, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._post = post
        self._listeners: Listeners[NamespaceId, int] = Listeners()
        self._end = post.listen(server_id, self._listeners.tell)

    async def publish(self, ns: NamespaceId, seq: int) -> None:
        """See Bus."""
        self._listeners.tell(ns, seq)
        self._wake()

    def subscribe(self, listener: Callable[[NamespaceId, int], None]) -> Callable[[], None]:
        """See Bus."""
        return self._listeners.add(listener)

    def on_gap(self, listener: Callable[[], None]) -> Callable[[], None]:
        """See Bus."""
        return self._post.on_gap(listener)

    async def close(self) -> None:
        """See Bus. The post is closed by whoever opened it."""
        self._end()
        self._listeners.clear()
