"""What the service needs of the world: time, stored bytes, wake-ups, short-lived facts. Invariant: no room knows more.

Adapters implement these ports; one contract suite per port runs over every adapter. Source: docs/design/020.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from satchel.core.ids import NamespaceId

T = TypeVar("T")


class Clock(Protocol):
    """Time and randomness, so that nothing else asks the machine for them."""

    def now_ms(self) -> int:
        """Return Unix time in ms."""
        ...

    def random(self, count: int) -> bytes:
        """Return `count` bytes that nobody can guess."""
        ...

    async def sleep_s(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class Workers(Protocol):
    """A bounded pool for work that would block the loop (hashing, compression)."""

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises. Waits for a free worker."""
        ...


class Place(NamedTuple):
    """Where bytes were put: the object's name and the offset of the first byte."""

    name: str
    offset: int


class Span(NamedTuple):
    """A part of a stored object, in bytes."""

    name: str
    offset: int
    length: int


class BlockStore(Protocol):
    """Objects of bytes by name (`packs/{last two hex digits}/{id}`). It knows nothing of blocks."""

    async def put(self, name: str, pieces: Sequence[bytes | memoryview]) -> Place:
        """Store the pieces one after another, durable on return; return where the first byte is.

        An adapter that appends may use an object of its own instead of making `name`.
        Raises: StorageFull, StorageFailed (the bytes do not count), Unavailable (retry).
        """
        ...

    async def get(self, spans: Sequence[Span]) -> list[bytes | None]:
        """Return the bytes of each span, in order; None where the object is missing or ends before the span does.

        Raises: StorageFailed, Unavailable (retry).
        """
        ...

    async def delete(self, name: str) -> None:
        """Remove the object; one that is missing is no error. Idempotent."""
        ...

    async def names(self, prefix: str) -> list[str]:
        """Return the names that start with `prefix`, in order."""
        ...

    async def probe(self) -> None:
        """Return when a write would work now. Raises: StorageFull, StorageFailed, Unavailable."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of everything."""
        ...


class Bus(Protocol):
    """Positions, nothing more: 'namespace 7 is at 4711'. Losing one costs latency, never data."""

    async def publish(self, ns: NamespaceId, seq: int) -> None:
        """Tell all listeners of all processes. Never raises for a bus that is down."""
        ...

    def subscribe(self, listener: Callable[[NamespaceId, int], None]) -> Callable[[], None]:
        """Call `listener` (which must not block) for each position; return what ends it."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class EphemeralState(Protocol):
    """Facts that may be lost at any time: who is connected. Members of a key end `ttl_s` after they were last added."""

    async def add_member(self, key: str, member: str, *, ttl_s: float) -> None:
        """Add or renew a member."""
        ...

    async def remove_member(self, key: str, member: str) -> None:
        """Remove a member; one that is missing is no error."""
        ...

    async def members(self, key: str) -> list[str]:
        """Return the members that have not ended, in order."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...
