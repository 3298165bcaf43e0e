"""Pictures of images and of the pages of PDF, and where they are kept: rows of `thumbnails`. Invariant: a picture is
kept by the content that it shows, in the namespace that holds that; whoever asks has been authorized.

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
PAGE_BYTES_MAX = 6 * 1024 * 1024
_PROGRAM = str(Path(thumbnailer.__file__))
_TRIED_ONCE = frozenset(("unreadable", "too_large"))


class Edge(IntEnum):
    """The longest edge of a picture, in pixels."""

    SMALL = 128
    MEDIUM = 512
    LARGE = 1_600


class PageWidth(IntEnum):
    """How wide the picture of a page is, in pixels."""

    SMALL = 800
    MEDIUM = 1_400
    LARGE = 2_400


class PageSizes(NamedTuple):
    """How many pages a document has, and the width and height of each in points, of at most the first 2,000."""

    total: int
    sizes: list[tuple[float, float]]


class Picture(NamedTuple):
    """What is kept of a content. body: WebP; refusal: why there is none, empty when there is."""

    body: bytes
    refusal: str


class Thumbnailer:
    """Makes pictures. time_s: what one may take; program: for tests."""

    def __init__(self, *, time_s: float = TIME_S_MAX, program: str = _PROGRAM) -> None:
        self._limited = Limited(program, time_s=time_s, waiting_max=WAITING_MAX)

    async def drawn(self, kind: str, data: bytes, edge: int, page: int = 0) -> bytes:
        """Return the picture, WebP; of `pages`, what `page_sizes` reads. page: which, from 0.

        Raises: MessageInvalid when none can be made, Unavailable (retry) when too many are asked for.
        """
        packages = ("PIL",) if kind == "image" else ("PIL", "pypdfium2")
        folders = sorted({folder_of(package) for package in packages})
        bytes_max = PAGE_BYTES_MAX if kind == "page" else DRAWN_BYTES_MAX
        told = [kind, str(int(edge)), str(page), *folders]
        _, body = await self._limited.answer(told, data, bytes_max=bytes_max)
        return body

    async def picture_of(self, kind: str, data: bytes, edge: int, page: int = 0) -> Picture:
        """Return the picture, or why there is none, to be kept. Raises: MessageInvalid for what may work another time,
        Unavailable (retry)."""
        try:
            return Picture(await self.drawn(kind, data, edge, page), "")
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


def page_sizes(told: bytes) -> PageSizes:
    """Return what the program says of a document's pages."""
    total, *sizes = told.decode().split("\n")
    pairs = (line.split(" ") for line in sizes)
    return PageSizes(int(total), [(float(width), float(height)) for width, height in pairs])


async def kept_picture(
    db: Database, ns: NamespaceId, content: ContentHash, kind: str, edge: int, page: int = 0
) -> Picture | None:
    """Return what is kept of a content, None for nothing."""
    text = "SELECT body, refusal FROM thumbnails WHERE ns = $1 AND source = $2 AND edge = $3"
    rows = await db.glance(lambda conn: conn.fetch(text, ns, _source(content, kind, page), int(edge)))
    return Picture(*rows[0]) if rows else None


async def keep_picture(
    db: Database,
    ns: NamespaceId,
    content: ContentHash,
    kind: str,
    edge: int,
    picture: Picture,
    *,
    now_ms: int,
    page: int = 0,
) -> None:
    """Keep what came of a content. Idempotent."""
    text = (
        "INSERT INTO thumbnails (ns, source, edge, body, refusal, made_at) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT (ns, source, edge) DO NOTHING"
    )
    values = (ns, _source(content, kind, page), int(edge), *picture, now_ms)
    await db.write(THUMBNAILS_KEY + ns, lambda conn: conn.execute(text, *values))


def _source(content: ContentHash, kind: str, page: int) -> bytes:
    which = page.to_bytes(4, "big") if kind == "page" else b""
    return content + bytes([KINDS_OF_PICTURE.index(kind) + 1]) + which
