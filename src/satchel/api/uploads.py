"""Uploads in parts, typed. Invariant: a part that broke off is sent from where the server stands.

Source: docs/use/api.md.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO

import msgspec

from satchel.core.errors import FileChanging, OffsetMismatch, Unavailable
from satchel.core.limits import MIB
from satchel.device.api import Api, Item, Progress

PART_BYTES = 32 * MIB
"""A part's length: a break costs at most so much again, and mostly nothing."""
PIECE_BYTES = MIB
TRIES_MAX = 8
"""Parts one after another that brought nothing."""
PAUSE_S = 1.0


def _nothing(upload_id: str) -> None:
    """Nobody wants to know."""


class Upload(msgspec.Struct, frozen=True):
    """An upload as it stands. offset: how many bytes the server has; expires_ms: when it forgets them."""

    id: str
    name: str
    size: int
    offset: int
    created_ms: int
    expires_ms: int
    is_finished: bool


class _Uploads(msgspec.Struct, frozen=True):
    items: list[Upload]
    after: str = ""


class UploadCalls(Api):
    """The service's REST interface, with uploads in parts."""

    async def begin_upload(
        self, path: str, size: int, *, base_rev: int | None = None, sha256: str = "", mtime_ns: int = 0
    ) -> Upload:
        """Begin an upload. base_rev: only if the file is still at that rev, 0: only if nothing is there. mtime_ns: of
        the file, 0: the present.

        Raises: NotFound, NameInvalid, QuotaExceeded, LimitExceeded.
        """
        body = {"path": path, "size": size, "base_rev": base_rev, "sha256": sha256, "mtime_ns": mtime_ns}
        return await self._ask("POST", "/api/v1/uploads", Upload, body=body)

    async def upload_of(self, upload_id: str) -> Upload:
        """Return where an upload stands. Raises: NotFound."""
        return await self._ask("GET", f"/api/v1/uploads/{upload_id}", Upload)

    async def uploads(self) -> AsyncIterator[Upload]:
        """Yield the uploads that are not finished, the oldest first."""
        after, has_more = "", True
        while has_more:
            page = await self._ask("GET", "/api/v1/uploads", _Uploads, {"after": after})
            for one in page.items:
                yield one
            after, has_more = page.after, bool(page.after)

    async def add_part(self, upload_id: str, offset: int, data: bytes) -> None:
        """Add bytes to what is there. Raises: OffsetMismatch, NotFound, Unavailable (ask where it stands)."""
        headers = {
            "Upload-Offset": str(offset),
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(data)),
        }
        async with self._http.request(
            "PATCH", f"/api/v1/uploads/{upload_id}", headers=headers, data=_pieces(data), bytes_expected=len(data)
        ) as response:
            if response.status != 204:
                await self._refuse(response)

    async def finish_upload(self, upload_id: str) -> Item:
        """Make the file of what came. Idempotent. Raises: OffsetMismatch, BlockMismatch, PreconditionFailed."""
        return await self._ask("POST", f"/api/v1/uploads/{upload_id}/finish", Item)

    async def abandon_upload(self, upload_id: str) -> None:
        """Forget an upload. Raises: NotFound."""
        await self._tell("DELETE", f"/api/v1/uploads/{upload_id}")

    async def upload_in_parts(
        self,
        path: str,
        source: BinaryIO,
        *,
        size: int,
        base_rev: int | None = None,
        mtime_ns: int = 0,
        upload_id: str = "",
        begun: Callable[[str], None] = _nothing,
        progress: Progress | None = None,
    ) -> Item:
        """Store `size` bytes of `source` (seekable, at its first byte) as the file at a path, over any breaks.

        upload_id: of an upload that was begun before, by this call or another, to go on with; begun: told the id of
        one that is begun now. Raises: as `begin_upload`, BlockMismatch; FileChanging when the source is shorter;
        Unavailable when nothing goes through.
        """
        if not upload_id:
            sha256 = await asyncio.to_thread(_sha256, source, size)
            made = await self.begin_upload(path, size, base_rev=base_rev, sha256=sha256, mtime_ns=mtime_ns)
            upload_id = made.id
            begun(upload_id)
        tries, told = 0, 0
        while True:
            stands = await self.upload_of(upload_id)
            if progress is not None:
                progress(stands.offset - told)
            tries, told = (0 if stands.offset > told else tries + 1), stands.offset
            if stands.offset >= size:
                return await self.finish_upload(upload_id)
            part = await asyncio.to_thread(_read, source, stands.offset, min(PART_BYTES, size - stands.offset))
            try:
                await self.add_part(upload_id, stands.offset, part)
            except (Unavailable, OffsetMismatch):
                if tries >= TRIES_MAX:
                    raise
                await asyncio.sleep(PAUSE_S)


async def _pieces(data: bytes) -> AsyncIterator[memoryview]:
    for at in range(0, len(data), PIECE_BYTES):
        yield memoryview(data)[at : at + PIECE_BYTES]


def _read(source: BinaryIO, at: int, length: int) -> bytes:
    source.seek(at)
    data = source.read(length)
    if not data:
        raise FileChanging("The file became shorter while it was read.", path=b"")
    return data


def _sha256(source: BinaryIO, size: int) -> str:
    hasher, left = hashlib.sha256(), size
    source.seek(0)
    while left and (piece := source.read(min(MIB, left))):
        hasher.update(piece)
        left -= len(piece)
    if left:
        raise FileChanging("The file is shorter than was said.", path=b"")
    return hasher.hexdigest()
