"""One object for the small puts of one moment. Invariant: a put is answered only once the object that holds its bytes
is durable, and one whose caller goes away takes nothing from the others.

On an object store a put costs the same for a kilobyte and for a megabyte. While some are on their way, those that come
gather, and go as one object under the name of the first: a pack is records one after another, whoever sent them. A put
that comes alone waits for nobody. Source: docs/design (blocks and packs).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from satchel.core.limits import KIB
from satchel.server.db.gathering import Gathering, Slots
from satchel.server.ports import BlockStore, Place, Span

SHARED_BYTES_MAX = 64 * KIB
"""A longer put goes by itself."""
GROUP_MAX = 64
PUTS_AT_ONCE = 2
WAIT_S = 60.0

Bytes = bytes | memoryview


class _Put(NamedTuple):
    name: str
    pieces: Sequence[Bytes]
    size: int


class SharedPuts:
    """`BlockStore` over `inner`, whose short puts share objects."""

    def __init__(self, inner: BlockStore) -> None:
        self._inner = inner
        self._slots = Slots(PUTS_AT_ONCE, wait_s=WAIT_S, where="blocks")
        self._waiting: Gathering[None, _Put, Place] = Gathering(self._put_all, self._slots.taken, count_max=GROUP_MAX)

    async def put(self, name: str, pieces: Sequence[Bytes]) -> Place:
        """See BlockStore."""
        size = sum(len(piece) for piece in pieces)
        if size > SHARED_BYTES_MAX:
            return await self._inner.put(name, pieces)
        return await self._waiting.ask(None, _Put(name, pieces, size))

    async def get(self, spans: Sequence[Span]) -> list[bytes | None]:
        """See BlockStore."""
        return await self._inner.get(spans)

    async def delete(self, name: str) -> None:
        """See BlockStore."""
        await self._inner.delete(name)

    async def names(self, prefix: str) -> list[str]:
        """See BlockStore."""
        return await self._inner.names(prefix)

    async def open_names(self) -> frozenset[str]:
        """See BlockStore."""
        return await self._inner.open_names()

    async def probe(self) -> None:
        """See BlockStore."""
        await self._inner.probe()

    async def close(self) -> None:
        """See BlockStore."""
        await self._inner.close()

    async def _put_all(self, _: None, puts: Sequence[_Put]) -> list[Place]:
        try:
            place = await self._inner.put(puts[0].name, [piece for put in puts for piece in put.pieces])
        finally:
            self._slots.release()
        places, offset = [], place.offset
        for put in puts:
            places.append(Place(place.name, offset))
            offset += put.size
        return places
