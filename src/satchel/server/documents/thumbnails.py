"""Small pictures of images and of the first pages of PDF, and where they are kept: rows of `thumbnails`. Invariant: a
picture is kept by the content that it shows, in the namespace that holds that; whoever asks has been authorized.

What no picture can be made of is kept too, so that it is tried once. Source: docs/design/060 (6, 7).
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from satchel.core.errors import MessageInvalid
from satchel.core.ids import ContentHash, NamespaceId
from satchel.server.db.engine import Database
from satchel.server.documents import thumbnailer
from satchel.server.documents.kinds import KINDS_OF_PICTURE
from satchel.server.documents.limited import TIME_S_MAX, Limited, folder_of, told_reason

THUMBNAILS_KEY = b"thumbnails"
"""Group-commit key, with the namespace, of writes to the pictures."""
WAITING_MAX = 64
"""A page of a folder asks for so many at once."""
DRAWN_BYTES_MAX = 2 * 1024 * 1024
_PROGRAM = str(Path(thumbnailer.__file__))
_TRIED_ONCE = frozenset(("unreadable", "too_large"))


class Edge(IntEnum):
    """The longest edge of a picture, in pixels."""

    SMALL = 128
    MEDIUM = 512
    LARGE = 1_600


class Picture(NamedTuple):
    """What is kept of a content. body: WebP; refusal: why there is none, empty when there is."""

    body: bytes
    refusal: str


class Thumbnailer:
    """Makes pictures. time_s: what one may take; program: for tests."""

    def __init__(self, *, time_s: float = TIME_S_MAX, program: str = _PROGRAM) -> None:
        self._limited = Limited(program, time_s=time_s, waiting_max=WAITING_MAX)

    async def drawn(self, kind: str, data: bytes, edge: Edge) -> bytes:
        """Return the picture, WebP.

        Raises: MessageInvalid when none can be made, Unavailable (retry) when too many are asked for.
        """
        packages = ("PIL", "pypdfium2") if kind == "pdf" else ("PIL",)
        folders = sorted({folder_of(package) for package in packages})
        _, body = await self._limited.answer([kind, str(int(edge)), *folders], data, bytes_max=DRAWN_BYTES_MAX)
        return body

    async def picture_of(self, kind: str, data: bytes, edge: Edge) -> Picture:
        """Return the picture, or why there is none, to be kept. Raises: MessageInvalid for what may work another time,
        Unavailable (retry)."""
        try:
            return Picture(await self.drawn(kind, data, edge), "")
        except MessageInvalid as refused:
            reason = str(refused.fields["reason"])
            if reason not in _TRIED_ONCE:
                raise
            return Picture(b"", reason)


def shown(picture: Picture) -> bytes:
    """Return the picture's bytes. Raises: MessageInvalid when there is none."""
    if picture.refusal:
        raise MessageInvalid(told_reason(picture.refusal), reason=picture.refusal)
    return picture.body


async def kept_picture(db: Database, ns: NamespaceId, content: ContentHash, kind: str, edge: Edge) -> Picture | None:
    """Return what is kept of a content, None for nothing."""
    text = "SELECT body, refusal FROM thumbnails WHERE ns = $1 AND source = $2 AND edge = $3"
    rows = await db.glance(lambda conn: conn.fetch(text, ns, _source(content, kind), int(edge)))
    return Picture(*rows[0]) if rows else None


async def keep_picture(
    db: Database, ns: NamespaceId, content: ContentHash, kind: str, edge: Edge, picture: Picture, *, now_ms: int
) -> None:
    """Keep what came of a content. Idempotent."""
    text = (
        "INSERT INTO thumbnails (ns, source, edge, body, refusal, made_at) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT (ns, source, edge) DO NOTHING"
    )
    values = (ns, _source(content, kind), int(edge), *picture, now_ms)
    await db.write(THUMBNAILS_KEY + ns, lambda conn: conn.execute(text, *values))


def _source(content: ContentHash, kind: str) -> bytes:
    return content + bytes([KINDS_OF_PICTURE.index(kind) + 1])
