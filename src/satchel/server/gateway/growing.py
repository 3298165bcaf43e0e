"""An upload while a part of it comes. Invariant: blocks are durable before the row says so.

Every few MiB what can be cut is stored and noted. What is left at the part's end, less than a block, is stored as it is
(the tail), so that each acknowledged byte is kept; it is read again when the next part comes, and cut then. Whether a
file came in one part or in a thousand, it is cut alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from satchel.core.cutting import CDC1, StreamCutter
from satchel.core.errors import MessageInvalid
from satchel.core.hashing import Block, pack_blocks, unpack_blocks
from satchel.core.ids import BlockHash
from satchel.core.limits import BLOCK_BYTES_MAX, SINGLE_BLOCK_BYTES_MAX
from satchel.server.gateway.content import FED_BYTES, RECHECK_MS
from satchel.server.gateway.services import Services
from satchel.server.metadata.upload_sessions import UploadSession, advance, parts_of

TAIL_PIECES_MAX = 64
"""Parts shorter than a block are kept one by one, up to so many; then they are joined."""


class Growing:
    """Takes a part's bytes. Made by `of`, ended by `settled`, `closed` or `whole`."""

    def __init__(self, services: Services, session: UploadSession, tail: bytes) -> None:
        self._services = services
        self._session = session
        # Of a long file the first block is cut too, though little of it may be there.
        self._cutter = StreamCutter(CDC1, is_begun=session.size > SINGLE_BLOCK_BYTES_MAX)
        self._waiting: list[bytes] = [tail] if tail else []
        self._waiting_bytes = len(tail)
        self._fresh: list[bytes] = []
        self._fresh_bytes = 0
        self._looked_ms = services.clock.now_ms()
        self._is_broken = False

    @classmethod
    async def of(cls, services: Services, session: UploadSession) -> Growing:
        """Return an upload with the tail that it has. Raises: BlockDamaged."""
        pieces = unpack_blocks(session.tail)
        parts = await services.blocks.read_bytes(session.ns, [piece.hash for piece in pieces]) if pieces else []
        return cls(services, session, b"".join([bytes(part) for part in parts]))

    async def take(self, piece: bytes) -> None:
        """Take what comes next. Raises: MessageInvalid for more than was said, OffsetMismatch, and as `put_bytes`."""
        if not piece:
            return
        room = self._session.size - self._session.received - self._fresh_bytes
        self._fresh.append(piece[:room])
        self._waiting.append(piece[:room])
        self._fresh_bytes += min(room, len(piece))
        self._waiting_bytes += min(room, len(piece))
        if self._waiting_bytes >= FED_BYTES:
            await self._cut()
        if len(piece) > room:
            raise MessageInvalid("More came than was said.", reason="size", size=self._session.size)

    def is_looked_at_due(self) -> bool:
        """Tell whether it is time to ask again who it is, and begin to wait for the next time."""
        now = self._services.clock.now_ms()
        is_due = now - self._looked_ms >= RECHECK_MS
        if is_due:
            self._looked_ms = now
        return is_due

    async def settled(self) -> UploadSession:
        """Keep all that came and return the upload. Raises: as `take`."""
        if self._is_broken or not self._fresh_bytes:
            return self._session
        blocks = self._cutter.feed_blocks(b"".join(self._waiting))
        self._waiting, self._waiting_bytes = [], 0
        kept = unpack_blocks(self._session.tail)
        if blocks or not self._session.tail or len(kept) >= TAIL_PIECES_MAX:
            kept, rest = [], self._cutter.held
        else:
            rest = b"".join(self._fresh)
        pieces = [rest[at : at + BLOCK_BYTES_MAX] for at in range(0, len(rest), BLOCK_BYTES_MAX)]
        stored = await self._put([*blocks, *pieces])
        listed, tail = stored[: len(blocks)], [*kept, *stored[len(blocks) :]]
        await self._note(listed, tail, received=self._session.received + self._fresh_bytes)
        return self._session

    async def whole(self) -> bytes:
        """Return the packed blocklist of the whole file; the row stays as it is."""
        blocks = self._cutter.feed_blocks(b"".join(self._waiting), is_last=True)
        return await parts_of(self._services.db, self._session) + pack_blocks(await self._put(blocks))

    async def closed(self) -> UploadSession:
        """Cut all that waits, as if the file ended there, and return the upload: a block that was named follows."""
        blocks = self._cutter.feed_blocks(b"".join(self._waiting), is_last=True)
        self._waiting, self._waiting_bytes = [], 0
        await self._note(await self._put(blocks), [], received=self._session.received)
        return self._session

    async def _cut(self) -> None:
        """Store and note what can be cut; that is more than the tail, since more than two blocks wait."""
        blocks = self._cutter.feed_blocks(b"".join(self._waiting))
        self._waiting, self._waiting_bytes = [], 0
        cut = self._session.cut + sum(len(block) for block in blocks)
        came = self._session.received + self._fresh_bytes
        listed = await self._put(blocks)
        await self._note(listed, [], received=cut)
        # What is not in a block yet is all that is fresh now: it goes with the next ones.
        self._fresh, self._fresh_bytes = [self._cutter.held], came - cut

    async def _put(self, blocks: Sequence[bytes | memoryview]) -> list[Block]:
        if not blocks:
            return []
        try:
            wires = await self._services.blocks.put_bytes(self._session.ns, blocks)
        except BaseException:
            self._is_broken = True
            raise
        return [Block(BlockHash(wire.hash), wire.size) for wire in wires]

    async def _note(self, listed: Sequence[Block], tail: Sequence[Block], *, received: int) -> None:
        try:
            self._session = await advance(
                self._services.db,
                self._session,
                blocks=pack_blocks(listed),
                cut=self._session.cut + sum(block.size for block in listed),
                tail=pack_blocks(tail),
                received=received,
                now_ms=self._services.clock.now_ms(),
            )
        except BaseException:
            self._is_broken = True
            raise
